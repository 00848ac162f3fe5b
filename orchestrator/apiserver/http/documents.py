"""Documents that are no resources: discovery, version, health, metrics.

Discovery is computed from the registry when it changed, and kept as bytes with an ETag otherwise.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.apiserver import discovery
from orchestrator.apiserver.aggregation.api_services import ApiServices
from orchestrator.apiserver.http.encoding import encode_value
from orchestrator.apiserver.http.health import Health
from orchestrator.apiserver.http.negotiation import JSON, Negotiated, is_for_people, negotiate
from orchestrator.apiserver.http.plain_text import page_not_found
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.apiserver.server_metrics import ServerMetrics

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

KUBERNETES_VERSION = "v1.36.0"
"""The API version that this server claims to serve."""

AGGREGATED_VERSION = "v2"
"""Of the discovery documents that tell everything at once: v2beta1 is no longer served."""

NO_COMMIT = "0" * 40
"""git's name for no commit: a package does not know the one it was made of, and clients expect hexadecimal digits."""


def version_info(project_version: str) -> Object:
    """The document at `/version`."""
    major, minor = KUBERNETES_VERSION[1:].split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"{KUBERNETES_VERSION}+orchestrator.{project_version}",
        "gitCommit": NO_COMMIT,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"{sys.implementation.name}-{platform.python_version()}",
        "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }


class Documents:
    """Registers the documents with an HTTP server."""

    def __init__(self, http: HttpServer, *, project_version: str) -> None:
        self._http = http
        self._registry = http.api.registry
        version = version_info(project_version)
        self._version = encode_value(version, Negotiated(pretty=True))
        self._server_metrics = ServerMetrics(http.api.store, version)
        self._cache: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._generation = (-1, -1)
        self.api_services: ApiServices | None = None
        """Says in which order groups come, and what other servers serve."""
        http.paths["/version"] = http.paths["/version/"] = self.version
        http.paths["/"] = self.root
        for path in ("/api", "/api/"):
            http.paths[path] = self.core
        for path in ("/apis", "/apis/"):
            http.paths[path] = self.groups
        http.path_prefixes["/apis/"] = self.group
        http.path_prefixes["/api/"] = self.group
        self.health = Health(http)
        http.paths["/metrics"] = self.metrics
        http.paths["/metrics/slis"] = self.slis

    # Discovery.

    async def core(self, request: HttpRequest) -> web.StreamResponse:
        """`/api`, classic or aggregated."""
        return self._discovery(request, is_core=True)

    async def groups(self, request: HttpRequest) -> web.StreamResponse:
        """`/apis`, classic or aggregated."""
        return self._discovery(request, is_core=False)

    def _groups(self) -> dict[str, list[str]]:
        """Group → versions that are served here or elsewhere, in the order of their APIServices."""
        served = discovery.groups_of(self._registry)
        if self.api_services is None:
            return served
        groups: dict[str, list[str]] = {}
        remote = self.api_services.remote
        for group, versions in self.api_services.order().items():
            shown = [v for v in versions if v in served.get(group, ()) or (group, v) in remote]
            if shown:
                groups[group] = shown
        for group, versions in served.items():
            # What is served and not registered yet: its APIService is on its way.
            known = groups.setdefault(group, [])
            known += [version for version in versions if version not in known]
        return groups

    def _remote(self) -> dict[tuple[str, str], discovery.RemoteVersion]:
        services = self.api_services
        if services is None:
            return {}
        return {
            which: discovery.RemoteVersion(services.resources.get(which, ()), services.is_available(which))
            for which in services.remote
        }

    def _discovery(self, request: HttpRequest, *, is_core: bool) -> web.StreamResponse:
        for clause in request.header("Accept").split(","):
            media_type, *parameters = (part.strip() for part in clause.split(";"))
            values = dict(parameter.partition("=")[::2] for parameter in parameters)
            if values.get("as") == "APIGroupDiscoveryList" and values.get("g") == "apidiscovery.k8s.io":
                version = values.get("v", "v2")
                if media_type == JSON and version == AGGREGATED_VERSION:
                    content_type = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                    build = partial(
                        discovery.aggregated,
                        self._registry,
                        is_core=is_core,
                        api_version=version,
                        groups=self._groups(),
                        remote=self._remote(),
                    )
                    return self._document(request, content_type, build)
            elif media_type in (JSON, "*/*", "application/*"):
                break
        if is_core:
            return self._document(request, JSON, lambda: discovery.api_versions(request.raw.host))
        return self._document(request, JSON, lambda: discovery.api_group_list(self._groups()))

    async def group(self, request: HttpRequest) -> web.StreamResponse:
        """`/api/v1`, `/apis/<group>` and `/apis/<group>/<version>`."""
        parts = [part for part in request.path.split("/") if part][1:]
        groups = self._groups()
        if request.path.startswith("/api/"):
            group, version = "", parts[0]
        elif len(parts) == 1 and parts[0] in groups:
            group = parts[0]
            return self._document(
                request,
                JSON,
                lambda: {"kind": "APIGroup", "apiVersion": "v1", **discovery.api_group(group, groups[group])},
            )
        else:
            group, version = parts[0], parts[1] if len(parts) > 1 else ""
        if version not in groups.get(group, ()):
            if self._registry.is_builtin_group(group):
                raise errors.NotFound("the server could not find the requested resource")
            return page_not_found()
        return self._document(request, JSON, lambda: discovery.api_resource_list(self._registry, group, version))

    def _document(self, request: HttpRequest, content_type: str, build: Callable[[], Object]) -> web.StreamResponse:
        generation = (self._registry.generation, self.api_services.generation if self.api_services else 0)
        if self._generation != generation:
            self._cache.clear()
            self._generation = generation
        negotiated = negotiate(request.header("Accept"), shapes=()) if content_type == JSON else Negotiated()
        if content_type == JSON and is_for_people(request.query, request.header("User-Agent")):
            negotiated = negotiated.indented()
        if negotiated.media_type != JSON or negotiated.pretty:
            body = encode_value(build(), negotiated)
            return web.Response(body=body, headers={"Content-Type": negotiated.content_type})
        cached = self._cache.get((request.path, content_type))
        if cached is None:
            body = orjson.dumps(build())
            tag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
            cached = self._cache[request.path, content_type] = (body, tag)
        body, tag = cached
        if content_type == JSON:
            return web.Response(body=body, headers={"Content-Type": JSON})
        headers = {"Content-Type": content_type, "ETag": tag, "Cache-Control": "public", "Vary": "Accept"}
        if request.header("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    # The rest.

    async def root(self, request: HttpRequest) -> web.StreamResponse:
        """All paths, as kube-apiserver lists them at `/`."""
        return self._json(request, {"paths": self.paths()})

    def paths(self) -> list[str]:
        """All paths in order."""
        paths = {path for path in self._http.paths if path != "/"}
        for group, versions in self._groups().items():
            base = f"/apis/{group}" if group else "/api"
            paths |= {base, *(f"{base}/{version}" for version in versions)}
        return sorted(paths)

    async def version(self, request: HttpRequest) -> web.StreamResponse:
        """Which Kubernetes this is."""
        return web.Response(body=self._version, headers={"Content-Type": JSON})

    async def metrics(self, request: HttpRequest) -> web.StreamResponse:
        """Prometheus' text format."""
        from prometheus_client import ProcessCollector

        from orchestrator.component.metrics import REGISTRY

        process = ProcessCollector(registry=None)
        return _metrics_page(REGISTRY, self._http.request_metrics, self._server_metrics, process)

    async def slis(self, request: HttpRequest) -> web.StreamResponse:
        """How the health checks went."""
        return _metrics_page(self.health)

    def _json(self, request: HttpRequest, value: Object) -> web.Response:
        return web.Response(body=encode_value(value, Negotiated(pretty=True)), headers={"Content-Type": JSON})


def _metrics_page(*collectors: Collector) -> web.Response:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=generate_latest(registry), headers=headers)
