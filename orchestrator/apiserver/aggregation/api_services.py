"""Follows APIServices: keeps the local ones, checks the servers of the others, knows who serves what.

Owns the condition `Available` and what was discovered at each remote server. An APIService takes effect in the
commit that stores it. Mirrors kube-aggregator's autoregister and availability controllers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import format_time
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.kinds.extensions import API_SERVICE
from orchestrator.api.objects import Object, condition_of, copy_object, labels_of, name_of
from orchestrator.apiserver.aggregation.plan import (
    AUTOMANAGED_LABEL,
    LOCAL,
    PASSED,
    GroupVersion,
    group_version_of,
    is_local,
    plan_availability,
    plan_local_services,
    plan_order,
    remote_user_headers,
    unavailable,
)
from orchestrator.apiserver.authorizer import Attributes, check
from orchestrator.apiserver.customresources.naming import with_condition
from orchestrator.apiserver.deletion import DeleteOptions
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.services.resolver import resolve_service
from orchestrator.apiserver.user import MASTERS_GROUP, User
from orchestrator.client.transport import Request
from orchestrator.logs import get_logger
from orchestrator.store import Event, EventType

if TYPE_CHECKING:
    import aiohttp

API_SERVICE_OBJECTS = API_SERVICE.resource.group_resource
SLICES = "endpointslices.discovery.k8s.io"
CHECK_SECONDS_MAX = 5.0
CHECK_INTERVAL_SECONDS = 30.0
DISCOVERY_BYTES_MAX = 4 * 1024 * 1024
_USER = User("system:apiserver", groups=(MASTERS_GROUP,))
_AGENT = "kube-aggregator"
_CHECK_USER = remote_user_headers(User("system:kube-aggregator", groups=(MASTERS_GROUP,)))


class Unreachable(Exception):
    """A remote server did not answer as it should; the text says how."""


class ApiServices:
    """The APIServices of one API server; `identity` is the folder with the front proxy's certificate."""

    def __init__(self, server: ApiServer, identity: Path) -> None:
        self._server = server
        self._identity = identity
        self._services: dict[str, Object] = {}
        self.remote: dict[GroupVersion, Object] = {}
        """Group version → the APIService whose Service answers for it."""
        self.resources: dict[GroupVersion, list[Object]] = {}
        """What was found at the remote servers: entries of an APIResourceList."""
        self.openapi: dict[GroupVersion, str] = {}
        """Where a remote server has its OpenAPI v3 document: path and query."""
        self._openapi_v2: dict[GroupVersion, tuple[float, Any]] = {}
        """When a remote server was asked for its OpenAPI v2 document, and the document (None: it has none)"""
        self.generation = 0
        """Counts changes of what discovery says."""
        self._by_service: dict[tuple[str, str], set[str]] = {}
        self._contexts: dict[str, tuple[str, ssl.SSLContext]] = {}
        self._queue: WorkQueue[str] = WorkQueue(clock=server.clock, backoff=ItemBackoff(max_seconds=30.0))
        self._session: aiohttp.ClientSession | None = None
        self._log = get_logger("apiserver/aggregation")

    def follow(self) -> None:
        """Learn what is stored, and stay current from now on."""
        store = self._server.store
        store.observe(API_SERVICE_OBJECTS, self._on_api_service)
        store.observe("services", lambda event: self._on_service(event, event.record.key.name))
        store.observe(
            SLICES, lambda event: self._on_service(event, labels_of(event.record.obj).get(SERVICE_NAME_LABEL, ""))
        )
        self._server.registry.listeners.append(self._on_registry)
        self._server.remote_groups = self

    async def start(self) -> None:
        """Create what is missing of the local ones, before the first request."""
        await asyncio.gather(*(self._settle(name) for name in plan_local_services(self._server.registry)))

    async def close(self) -> None:
        """Let go of connections to remote servers."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def order(self) -> dict[str, list[str]]:
        """Group → versions in the order of discovery, of everything that is registered."""
        return plan_order(self._services.values())

    def is_available(self, which: GroupVersion) -> bool:
        """Whether a remote group version may be asked."""
        condition = condition_of(self.remote[which], "Available")
        return condition is not None and condition.get("status") == "True"

    # Events; run in the commit.

    def _on_api_service(self, event: Event) -> None:
        name, new = event.record.key.name, event.record.obj
        old = self._services.pop(name, None)
        if old is not None and not is_local(old):
            self.remote.pop(group_version_of(old), None)
            reference = old["spec"]["service"]
            self._by_service.get((reference["namespace"], reference["name"]), set()).discard(name)
        if event.type is EventType.DELETED:
            self._contexts.pop(name, None)
            self.resources.pop(group_version_of(new), None)
            self.openapi.pop(group_version_of(new), None)
            self._openapi_v2.pop(group_version_of(new), None)
        else:
            self._services[name] = new
            if not is_local(new):
                self.remote[group_version_of(new)] = new
                reference = new["spec"]["service"]
                self._by_service.setdefault((reference["namespace"], reference["name"]), set()).add(name)
        self.generation += 1
        if old is None or event.type is EventType.DELETED or old["spec"] != new["spec"]:
            self._queue.add(name)

    def _on_service(self, event: Event, name: str) -> None:
        for waiting in self._by_service.get((event.record.key.namespace, name), ()):
            self._queue.add(waiting)

    def _on_registry(self, group: str, version: str) -> None:
        self._queue.add(GroupVersion(group, version).api_service)

    # What needs writes and calls.

    async def run(self) -> None:
        """Check and register until cancelled."""
        while True:
            name = await self._queue.get()
            try:
                again_seconds = await self._settle(name)
            except errors.ApiError as error:
                self._log.warning("apiservice.unsettled", name=name, error=error.message)
                self._queue.add_rate_limited(name)
            else:
                if again_seconds is None:
                    self._queue.forget(name)
                elif again_seconds:
                    self._queue.forget(name)
                    self._queue.add_after(name, again_seconds)
                else:
                    self._queue.add_rate_limited(name)
            finally:
                self._queue.done(name)

    async def _settle(self, name: str) -> float | None:
        """Bring one APIService where it should be; seconds until it is looked at again, 0: with back-off."""
        service = self._services.get(name)
        version, _, group = name.partition(".")
        kinds = self._server.registry
        own = [kind for kind in kinds if kind.resource.group == group and kind.resource.version == version]
        wanted = plan_local_services(own).get(name)
        if service is None:
            if wanted is not None:
                await self._create(wanted)
            return None
        if is_local(service):
            if wanted is None and labels_of(service).get(AUTOMANAGED_LABEL) == "true":
                await self._delete(name)
            else:
                await self._report(service, LOCAL)
            return None
        condition = await self._check(service)
        await self._report(service, condition)
        return CHECK_INTERVAL_SECONDS if condition["status"] == "True" else 0

    async def _check(self, service: Object) -> Object:
        reference, which = service["spec"]["service"], group_version_of(service)
        found = await self._server.read("services", reference["name"], reference["namespace"])
        slices = await self._server.read_all(SLICES, reference["namespace"])
        condition = plan_availability(service["spec"], found, slices)
        if condition is not None:
            return condition
        path = f"/apis/{which.group}/{which.version}"
        try:
            document = await self.fetch(service, path)
        except Unreachable as error:
            return unavailable("FailedDiscoveryCheck", f"failing or missing response from {error}")
        resources = document.get("resources") if isinstance(document, dict) else None
        self._discovered(which, resources if isinstance(resources, list) else [])
        try:
            index = await self.fetch(service, "/openapi/v3")
        except Unreachable:
            index = None  # not every server has one
        paths = index.get("paths") if isinstance(index, dict) else None
        entry = (paths or {}).get(path.removeprefix("/"))
        if isinstance(entry, dict) and str(entry.get("serverRelativeURL")).startswith("/"):
            self.openapi[which] = str(entry["serverRelativeURL"])
        else:
            self.openapi.pop(which, None)
        return PASSED

    def _discovered(self, which: GroupVersion, resources: list[Object]) -> None:
        if self.resources.get(which) != resources:
            self.resources[which] = resources
            self.generation += 1

    async def target(self, service: Object) -> tuple[str, str]:
        """(base URL of a server behind an APIService, the name its certificate must have); ServiceUnavailable."""
        reference = service["spec"]["service"]
        name, namespace = reference["name"], reference["namespace"]
        address = await resolve_service(self._server, namespace, name, reference.get("port") or 443)
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"https://{host}:{address.port}", f"{name}.{namespace}.svc"

    async def read(self, user: User, request: Request) -> Object:
        """Get or list at the server of a remote group version, as this user; for components, which have no socket."""
        resource = request.resource
        which = GroupVersion(resource.group, resource.version)
        check(
            self._server.authorizer,
            Attributes(
                user=user,
                verb=request.verb,
                group=resource.group,
                version=resource.version,
                resource=resource.plural,
                subresource=request.subresource,
                namespace=request.namespace,
                name=request.name,
            ),
        )
        service = self.remote.get(which)
        if service is None:
            raise errors.NotFound("the server could not find the requested resource")
        if not self.is_available(which):
            raise errors.ServiceUnavailable("the server is currently unable to handle the request")
        path = quote(resource.path(request.namespace, request.name, request.subresource), safe="/*")
        query = "?" + urlencode(request.query) if request.query else ""
        try:
            code, answer = await self._call(service, path + query, remote_user_headers(user))
        except Unreachable as error:
            raise errors.ServiceUnavailable(f"error trying to reach service: {error}") from None
        if not isinstance(answer, dict):
            raise errors.InternalError(f"{path} answered no object")
        if code >= 400:
            raise errors.from_status({**answer, "code": code})
        return answer

    async def fetch(self, service: Object, path: str) -> Any:
        """A JSON document of a remote server, asked as the aggregator itself; Unreachable."""
        code, document = await self._call(service, path, _CHECK_USER)
        if not 200 <= code < 300:
            shown = (await self.target(service))[0] + path
            raise Unreachable(f"{shown}: bad status from {shown}: {code}")
        return document

    async def _call(self, service: Object, path: str, user: Sequence[tuple[str, str]]) -> tuple[int, Any]:
        """(HTTP code, JSON document) of a path that is quoted already; an error needs no document. Unreachable."""
        import aiohttp
        from yarl import URL

        shown = path
        try:
            base, server_name = await self.target(service)
            shown = base + path
            if self._session is None:
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=16, force_close=True), trust_env=False
                )
            async with self._session.get(
                URL(shown, encoded=True),
                headers=[("Accept", "application/json"), *user],
                ssl=self.context(service),
                server_hostname=server_name,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=CHECK_SECONDS_MAX),
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > DISCOVERY_BYTES_MAX:
                        raise Unreachable(f"{shown}: the answer is larger than {DISCOVERY_BYTES_MAX} bytes")
                if response.status >= 300 and response.content_type != "application/json":
                    return response.status, {"message": body.decode(errors="replace").strip()}
            return response.status, orjson.loads(body)
        except TimeoutError:
            raise Unreachable(f'{shown}: Get "{shown}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError, ValueError, errors.ServiceUnavailable) as error:
            raise Unreachable(f'{shown}: Get "{shown}": {error}') from error

    async def openapi_v2(self) -> list[tuple[str, Any]]:
        """(path prefix, OpenAPI v2 document) of the remote group versions; each is asked twice a minute at most."""
        available = [which for which in self.remote if self.is_available(which)]
        documents = await asyncio.gather(*(self._openapi_v2_of(which) for which in available))
        return [
            (f"/apis/{which.group}/{which.version}", document)
            for which, document in zip(available, documents, strict=True)
            if document is not None
        ]

    async def _openapi_v2_of(self, which: GroupVersion) -> Any:
        now = self._server.clock.monotonic()
        asked, known = self._openapi_v2.get(which, (None, None))
        if asked is not None and now - asked < CHECK_INTERVAL_SECONDS:
            return known
        service = self.remote.get(which)
        if service is None:
            return None  # gone since it was looked up
        try:
            document = await self.fetch(service, "/openapi/v2")
        except Unreachable:
            document = None
        if document == known:
            document = known  # the same object, so that nothing is merged again
        self._openapi_v2[which] = (now, document)
        return document

    def context(self, service: Object) -> ssl.SSLContext:
        """TLS to the server of an APIService: its CA bundle, and our certificate as the front proxy; ValueError."""
        name, spec = name_of(service), service["spec"]
        key = f"{spec.get('caBundle')}/{spec.get('insecureSkipTLSVerify')}"
        known = self._contexts.get(name)
        if known is not None and known[0] == key:
            return known[1]
        pem = None
        if spec.get("caBundle"):
            try:
                pem = base64.b64decode(spec["caBundle"], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError(f"unable to load root certificates: {error}") from error
        context = ssl.create_default_context(cadata=pem)
        if spec.get("insecureSkipTLSVerify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self._identity / "front-proxy-client.crt", self._identity / "front-proxy-client.key")
        self._contexts[name] = (key, context)
        return context

    # Writes.

    async def _create(self, wanted: Object) -> None:
        try:
            await self._server.handle(
                ApiRequest("create", API_SERVICE, _USER, body=copy_object(wanted), user_agent=_AGENT)
            )
        except errors.AlreadyExists:
            return
        await self._report(wanted, LOCAL)

    async def _delete(self, name: str) -> None:
        request = ApiRequest("delete", API_SERVICE, _USER, "", name, user_agent=_AGENT)
        try:
            await self._server.delete_object(request, DeleteOptions())
        except errors.NotFound:
            return

    async def _report(self, service: Object, condition: Object) -> None:
        now = format_time(self._server.clock.now())
        current = condition_of(service, "Available") or {}
        if all(current.get(field) == value for field, value in condition.items()):
            return

        async def change(latest: Object) -> Object:
            changed = copy_object(latest)
            status = changed.setdefault("status", {})
            status["conditions"] = with_condition(status.get("conditions") or [], condition, now)
            changed["metadata"].pop("resourceVersion", None)
            return changed

        request = ApiRequest("patch", API_SERVICE, _USER, "", name_of(service), subresource="status", user_agent=_AGENT)
        try:
            await self._server.change_object(request, change, trusted=True)
        except errors.NotFound:
            return  # somebody deleted it meanwhile
