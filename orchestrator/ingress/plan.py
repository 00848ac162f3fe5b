"""Which backend a request goes to; pure.

Source: kubernetes.io/docs/concepts/services-networking/ingress (path types, host wildcards) and the API reference.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import Struct, field

from orchestrator.api.objects import Object, annotations_of, key_of, namespace_of

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
EXACT = "Exact"


class Backend(Struct, frozen=True):
    """A port of a Service."""

    service: str
    """`namespace/name`."""
    port: str | int


class PathRule(Struct, frozen=True):
    """One path of a host."""

    path: str
    is_exact: bool
    backend: Backend

    def matches(self, path: str) -> bool:
        """Exactly, or element by element: `/foo` is a prefix of `/foo/bar` and not of `/foobar`."""
        if self.is_exact:
            return path == self.path
        prefix = self.path.rstrip("/")
        return path == prefix or path.startswith(f"{prefix}/")


class Routes(Struct):
    """All rules, by host; `*.example.com` stands under `example.com` in `wildcards`."""

    hosts: dict[str, list[PathRule]] = field(default_factory=dict)
    wildcards: dict[str, list[PathRule]] = field(default_factory=dict)
    default: Backend | None = None

    def find(self, host: str, path: str) -> Backend | None:
        """The backend of a request: the longest path of the most specific host, else the default backend."""
        host, path = host.lower().rstrip("."), normalized(path)
        _, _, parent = host.partition(".")
        for rules in (self.hosts.get(host), self.wildcards.get(parent), self.hosts.get("")):
            for rule in rules or ():
                if rule.matches(path):
                    return rule.backend
        return self.default


def normalized(path: str) -> str:
    """A path without escapes and dot segments: `/public/../admin` must not pass as something below `/public`."""
    decoded = unquote(path) or "/"
    clean = posixpath.normpath(decoded)
    if clean.startswith("//"):  # POSIX keeps exactly two of them
        clean = clean[1:]
    return clean + "/" if decoded.endswith("/") and clean != "/" else clean


def is_ours(ingress: Object, classes: Iterable[str]) -> bool:
    """Whether an Ingress belongs to one of the classes, by its field or by the annotation that came before."""
    name = (ingress.get("spec") or {}).get("ingressClassName")
    return (name if name is not None else annotations_of(ingress).get(CLASS_ANNOTATION)) in set(classes)


def plan_routes(ingresses: Iterable[Object]) -> Routes:
    """Routes of these Ingresses; of two that claim the same path the older one has it."""
    routes = Routes()
    claimed: set[tuple[str, str, bool]] = set()
    for ingress in sorted(ingresses, key=_age):
        spec, namespace = ingress.get("spec") or {}, namespace_of(ingress)
        default = _backend(spec.get("defaultBackend"), namespace)
        if default is not None and routes.default is None:
            routes.default = default
        for rule in spec.get("rules") or ():
            host = (rule.get("host") or "").lower()
            paths = (rule.get("http") or {}).get("paths") or ()
            if not paths and default is not None:
                paths = [{"path": "/", "backend": spec["defaultBackend"]}]
            for item in paths:
                backend = _backend(item.get("backend"), namespace)
                is_exact = item.get("pathType") == EXACT
                path = item.get("path") or "/"
                if backend is None or (host, path, is_exact) in claimed:
                    continue
                claimed.add((host, path, is_exact))
                table, name = (routes.wildcards, host[2:]) if host.startswith("*.") else (routes.hosts, host)
                table.setdefault(name, []).append(PathRule(path, is_exact, backend))
    for table in (routes.hosts, routes.wildcards):
        for rules in table.values():
            rules.sort(key=lambda one: (len(one.path.rstrip("/")), one.is_exact), reverse=True)
    return routes


def _age(ingress: Object) -> tuple[str, str]:
    return (ingress["metadata"].get("creationTimestamp") or "", key_of(ingress))


def _backend(backend: Mapping[str, Any] | None, namespace: str) -> Backend | None:
    # Simplified: a backend that is a resource instead of a Service serves nothing.
    service = (backend or {}).get("service")
    if not service:
        return None
    port = service.get("port") or {}
    return Backend(f"{namespace}/{service['name']}", port.get("name") or port.get("number") or 0)


def plan_secrets(ingresses: Iterable[Object]) -> dict[str, str]:
    """Server name → key of the Secret with its certificate; wildcards as they are written, older Ingresses first."""
    found: dict[str, str] = {}
    for ingress in sorted(ingresses, key=_age):
        spec = ingress.get("spec") or {}
        for item in spec.get("tls") or ():
            if not item.get("secretName"):
                continue
            hosts = item.get("hosts") or [rule.get("host") or "" for rule in spec.get("rules") or ()] or [""]
            for host in hosts:
                found.setdefault(host.lower(), f"{namespace_of(ingress)}/{item['secretName']}")
    return found


def endpoint_port(service: Object, wanted: str | int) -> tuple[str, int] | None:
    """(name, number) of a Service's port that a backend names; None when it has no such port."""
    for port in (service.get("spec") or {}).get("ports") or ():
        if wanted in (port.get("name"), port.get("port")):
            return port.get("name") or "", port["port"]
    return None


def addresses(slices: Iterable[Object], port_name: str) -> list[tuple[str, int]]:
    """Ready endpoints behind a port, or those that go and still serve when there is no other (KEP-1669)."""
    ready, going = [], []
    for one in slices:
        number = next((p.get("port") for p in one.get("ports") or () if (p.get("name") or "") == port_name), None)
        if number is None or one.get("addressType") != "IPv4":
            continue
        for endpoint in one.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            target = (endpoint["addresses"][0], number)
            if conditions.get("ready") is not False:
                ready.append(target)
            elif conditions.get("serving") and conditions.get("terminating"):
                going.append(target)
    return ready or going
