"""The HTTPS listener: accepts connections, finds the handler, turns every failure into a Status.

Owns what is HTTP: TLS, methods, media types, chunked watches. Resource requests go to the core
(`ApiServer`), everything else to a handler that was registered for its path. Mirrors the handler
chain of kube-apiserver: authentication, impersonation, authorization, then the request itself.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiohttp import web

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver import authorizer
from orchestrator.apiserver.authentication.authenticator import Authenticator
from orchestrator.apiserver.authentication.impersonation import HEADERS as IMPERSONATION_HEADERS
from orchestrator.apiserver.authentication.impersonation import NobodyImpersonated, impersonated
from orchestrator.apiserver.field_ownership import APPLY_PREFIX
from orchestrator.apiserver.flowcontrol import TOO_MANY, Digest, FlowControl, Rejected, Ticket
from orchestrator.apiserver.http.bodies import NotJson, decode_body, is_nested_too_deep, read_body
from orchestrator.apiserver.http.compression import COMPRESS_FROM_BYTES, accepts_gzip, gzip
from orchestrator.apiserver.http.deadlines import deadline_seconds, within
from orchestrator.apiserver.http.encoding import WatchEncoder, encode_list, encode_object, encode_value
from orchestrator.apiserver.http.negotiation import (
    JSON,
    PROTOBUF,
    SHAPES,
    SHAPES_OF_STREAMED_LISTS,
    TABLE,
    YAML,
    Negotiated,
    check_route,
    is_for_people,
    negotiate,
)
from orchestrator.apiserver.http.plain_text import page_not_found, plain_error
from orchestrator.apiserver.http.request import About, HttpRequest, PathHandler, StreamHandler
from orchestrator.apiserver.http.routing import Route, parse_path, verb_of
from orchestrator.apiserver.patching import check_patch_type, patch_problems
from orchestrator.apiserver.request import ApiRequest, ListResult, ObjectResult, is_true
from orchestrator.apiserver.request_metrics import MUTATING, RequestLabels, RequestMetrics, metric_verb, scope_of
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.tables import included_object
from orchestrator.apiserver.uids import UidSource
from orchestrator.apiserver.watching import ObjectWatch
from orchestrator.component.client_certificates import certificate_of_peer
from orchestrator.httpkit.connections import ClientGone, Connections
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.apiserver.aggregation.plan import GroupVersion

AUDIT_ID_CHARACTERS_MAX = 64
WARNINGS_MAX = 50
WARNING_BYTES_MAX = 4096

T = TypeVar("T")

_VERBS_OF_OBJECTS = frozenset(("get", "update", "patch", "delete"))
_METHOD_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Seat:
    """`async with` it: work on a request when it is its turn, counted as in flight; raises Rejected."""

    __slots__ = ("_inflight", "_kind", "_ticket")

    def __init__(self, ticket: Ticket, inflight: dict[str, int], kind: str) -> None:
        self._ticket = ticket
        self._inflight = inflight
        self._kind = kind

    async def __aenter__(self) -> None:
        if not self._ticket.try_acquire():
            await self._ticket.acquire()
        self._inflight[self._kind] += 1

    async def __aexit__(self, *exc_info: object) -> None:
        self._inflight[self._kind] -= 1
        self._ticket.release()


class RemoteServers(Protocol):
    """Other servers that serve group versions behind ours (aggregation)."""

    def find(self, path: str) -> GroupVersion | None:
        """The remote group version that a path belongs to."""
        ...

    async def serve(self, request: HttpRequest, which: GroupVersion, route: Route | None) -> web.StreamResponse:
        """Authorize a request as any other, and have the other server answer it."""
        ...


class HttpServer:
    """Serves one `ApiServer` over HTTPS."""

    def __init__(self, api: ApiServer, *, authenticator: Authenticator, clock: Clock) -> None:
        self.api = api
        self.authenticator = authenticator
        self.clock = clock
        self.paths: dict[str, PathHandler] = {}
        """Exact path → handler."""
        self.path_prefixes: dict[str, PathHandler] = {}
        """`/openapi/v3/` → handler of everything below."""
        self.streams: dict[tuple[str, str], StreamHandler] = {}
        """(group-resource, subresource) → handler of a byte stream: logs, exec, proxies."""
        self._stream_loaders: dict[tuple[str, str], Callable[[], None]] = {}
        self.aggregator: RemoteServers | None = None
        self.flow_control = FlowControl(api.store, clock)
        self.request_metrics = RequestMetrics(self.flow_control)
        self._audit_ids = UidSource()
        self._watches: set[asyncio.Task[object]] = set()
        self._log = get_logger("apiserver/http")
        self._runner: web.ServerRunner | None = None
        self._tls: ssl.SSLContext | None = None
        self._connections: Connections | None = None

    def load_streams_later(self, resource: str, subresources: Sequence[str], load: Callable[[], None]) -> None:
        """Have `load` register the handlers of these subresources when the first of them is asked for."""
        for subresource in subresources:
            self._stream_loaders[resource, subresource] = load

    def _stream(self, resource: str, subresource: str) -> StreamHandler | None:
        key = (resource, subresource)
        if key not in self.streams and (load := self._stream_loaders.get(key)) is not None:
            load()
        return self.streams.get(key)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen; returns the port. Raises OSError when the address cannot be had."""
        self._tls = tls
        self._connections = Connections(self._serve)
        self._runner = web.ServerRunner(self._connections, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls, backlog=1024, reuse_address=True)
        await site.start()
        addresses = self._runner.addresses
        return int(addresses[0][1])

    async def listen_also(self, host: str, port: int) -> int:
        """Listen on a second address, on the same port when it is free there; returns the port. OSError."""
        assert self._runner is not None
        try:
            site = web.TCPSite(self._runner, host, port, ssl_context=self._tls, backlog=1024, reuse_address=True)
            await site.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not port:
                raise
            return await self.listen_also(host, 0)
        return int(self._runner.addresses[-1][1])

    async def close(self) -> None:
        """Stop listening and end open watches."""
        for task in list(self._watches):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until_disconnected(self, raw: web.BaseRequest, work: Coroutine[Any, Any, T]) -> T:
        """Do a part of the work of one request, but stop as soon as its client is gone; raises ClientGone then."""
        assert self._connections is not None
        if _is_disconnected(raw):
            work.close()
            raise ClientGone("the client is gone")
        task = asyncio.create_task(work, name=f"request{raw.path}")
        self._connections.when_lost[raw.protocol] = task.cancel
        try:
            await asyncio.wait((task,))
            if task.cancelled():
                raise ClientGone("the client is gone")
            return task.result()
        finally:
            self._connections.when_lost.pop(raw.protocol, None)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # One request.

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        started = self.clock.monotonic()
        about = About(self._audit_id(raw))
        response = await self._answer(raw, about)
        about.add_headers(response)
        self.request_metrics.finished(about.labels, response.status, self.clock.monotonic() - started)
        return response

    def _audit_id(self, raw: web.BaseRequest) -> str:
        """The name that a client gave its request, or a new one (k8s.io/apiserver `WithAuditInit`)."""
        given = raw.headers.get("Audit-ID", "")
        return given[:AUDIT_ID_CHARACTERS_MAX] if given and given.isascii() else self._audit_ids.next()

    async def _answer(self, raw: web.BaseRequest, about: About) -> web.StreamResponse:
        try:
            return await self._dispatch(raw, about)
        except Rejected as error:
            response = plain_error(error.code, TOO_MANY)
            response.headers["Retry-After"] = str(error.retry_after_seconds)
            return response
        except errors.ApiError as error:
            return status_response(error, raw)
        except NobodyImpersonated as error:
            return plain_error(500, f'Internal Server Error: "{raw.path_qs}": {error}')
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception as error:
            if is_nested_too_deep(error):
                return status_response(errors.BadRequest("exceeded max depth"), raw)
            self._log.exception("request.failed", method=raw.method, path=raw.path)
            return status_response(errors.InternalError.because(str(error)), raw)

    async def _dispatch(self, raw: web.BaseRequest, about: About) -> web.StreamResponse:
        certificate = certificate_of_peer(raw.transport)
        user = await self.authenticator.authenticate(certificate, raw.headers.get("Authorization", ""))
        if any(header in raw.headers for header in IMPERSONATION_HEADERS):
            user = impersonated(self.api.authorizer, user, raw.headers)
        request = HttpRequest(raw, user, about)
        route = parse_path(request.path)
        verb = request.method.lower() if route is None else verb_of(request.method, route, request.query)
        about.ticket = self.flow_control.classify(_digest(request, route, verb))
        seconds = deadline_seconds(request.query, verb, route.subresource if route is not None else "")
        if seconds is None:
            return await self._route(request, route, verb)
        return await within(self.clock, seconds, self._route(request, route, verb))

    async def _route(self, request: HttpRequest, route: Route | None, verb: str) -> web.StreamResponse:
        if self.aggregator is not None and (elsewhere := self.aggregator.find(request.path)) is not None:
            return await self.aggregator.serve(request, elsewhere, route)
        if route is None:
            async with self.seat(request):
                return await self._serve_path(request)
        assert request.about.ticket is not None
        request.about.ticket.check()  # before its body is read: a flood costs as little as possible
        return await self._serve_resource(request, route, verb)

    def seat(self, request: HttpRequest, verb: str = "get") -> Seat:
        """To work on a request when it is its turn."""
        assert request.about.ticket is not None, "every request is classified before it is served"
        kind = "mutating" if verb in MUTATING else "readOnly"
        return Seat(request.about.ticket, self.request_metrics.inflight, kind)

    async def _serve_path(self, request: HttpRequest) -> web.StreamResponse:
        self.authorize_path(request)
        served, handler = request.path, self.paths.get(request.path)
        if handler is None:
            for prefix, candidate in self.path_prefixes.items():
                if request.path.startswith(prefix):
                    served, handler = prefix, candidate
                    break
        if handler is None:
            return page_not_found()
        request.about.labels = RequestLabels(metric_verb(_METHOD_VERBS.get(request.method, "")), subresource=served)
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        return await handler(request)

    def authorize_path(self, request: HttpRequest) -> None:
        """Raise Forbidden unless the user may do this to a path that is no resource."""
        verb = request.method.lower()
        authorizer.check(self.api.authorizer, authorizer.Attributes(user=request.user, verb=verb, path=request.path))

    async def _serve_resource(self, request: HttpRequest, route: Route, verb: str) -> web.StreamResponse:
        kind = self.api.registry.by_path(route.group, route.version, route.plural)
        if kind is None:
            self.authorize_unknown(request, route, verb)
            if not self.api.registry.is_builtin_group(route.group):
                return page_not_found()
            raise errors.NotFound("the server could not find the requested resource")
        if (unserved := _unserved(kind, route, verb)) is not None:
            self.authorize_unknown(request, route, verb)
            raise unserved
        if kind.resource.namespaced != bool(route.namespace) and (
            not kind.resource.namespaced or route.name or verb == "create"
        ):
            raise errors.NotFound("the server could not find the requested resource")
        api_request = ApiRequest(
            verb=verb,
            kind=kind,
            user=request.user,
            namespace=route.namespace,
            name=route.name,
            subresource=route.subresource,
            query=request.query,
            user_agent=request.header("User-Agent"),
        )
        stream = self._stream(kind.resource.group_resource, route.subresource) if route.subresource else None
        labels = RequestLabels(
            metric_verb(verb, is_stream=stream is not None and route.subresource != "log"),
            "All" if api_request.dry_run else "",
            route.group,
            route.version,
            route.plural,
            route.subresource,
            scope_of(verb, route.namespace, route.name),
        )
        request.about.labels = labels
        if stream is not None:
            async with self.seat(request, verb):
                self.api.authorize(api_request)
            self.request_metrics.long_running(labels, 1)
            try:
                return await stream(request, api_request, route)
            finally:
                self.request_metrics.long_running(labels, -1)
        if route.rest:
            raise errors.NotFound("the server could not find the requested resource")
        if kind.schema is None:
            check_route(request.header("Accept"), has_stream=verb in ("list", "watch"))
        negotiated = negotiate(
            request.header("Accept"),
            has_protobuf=kind.schema is None,
            shapes=_shapes_of(kind, route, verb, request.query),
        )
        include = included_object(request.query) if negotiated.shape == TABLE else ""
        if is_for_people(request.query, api_request.user_agent):
            negotiated = negotiated.indented()
        if kind.deprecation:
            api_request.warnings.append(kind.deprecation)
        if verb == "watch":
            return await self._serve_watch(request, api_request, negotiated, include)
        if verb not in ("get", "list"):
            await self._read_body(request, api_request)
        if verb == "patch" and api_request.content_type.startswith(APPLY_PREFIX):
            request.about.labels = labels._replace(verb="APPLY")
        async with self.seat(request, verb):
            try:
                result = await self.api.handle(api_request)
            except errors.ApiError as error:
                if not api_request.warnings:
                    raise
                response = status_response(error, request.raw)
                add_warnings(response, api_request.warnings)
                return response
            return self._respond(request, api_request, result, negotiated, include)

    def authorize_unknown(self, request: HttpRequest, route: Route, verb: str) -> None:
        """Who may not ask at all does not learn what exists."""
        authorizer.check(
            self.api.authorizer,
            authorizer.Attributes(
                user=request.user,
                verb=verb or request.method.lower(),
                group=route.group,
                version=route.version,
                resource=route.plural,
                subresource=route.subresource,
                namespace=route.namespace,
                name=route.name,
            ),
        )

    async def _read_body(self, request: HttpRequest, api_request: ApiRequest) -> None:
        body = await read_body(request.raw, self.clock)
        content_type = request.header("Content-Type")
        media_type = content_type.partition(";")[0].strip().lower()
        if api_request.verb == "patch":
            api_request.content_type = media_type
            check_patch_type(api_request)
        if not body:
            if api_request.verb in ("create", "update", "patch"):
                raise errors.BadRequest("EOF" if api_request.verb != "patch" else "unexpected end of JSON input")
            return
        if media_type == PROTOBUF and api_request.kind.schema is not None and api_request.verb in ("create", "update"):
            raise errors.UnsupportedMediaType(
                f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}"
            )
        try:
            api_request.body = decode_body(body, content_type or JSON, api_request.problems)
        except NotJson as error:
            if api_request.verb == "patch":
                raise
            is_object = api_request.verb in ("create", "update")
            raise error.of_type(api_request.kind.resource.kind if is_object else "DeleteOptions") from error
        if media_type in ("", JSON) and api_request.verb in ("create", "update"):
            api_request.raw_body = body
        elif api_request.verb == "patch" and api_request.field_validation != "Ignore":
            api_request.problems += patch_problems(api_request.content_type, body, api_request.body)

    def _respond(
        self,
        request: HttpRequest,
        api_request: ApiRequest,
        result: ObjectResult | ListResult,
        negotiated: Negotiated,
        include: str,
    ) -> web.Response:
        now = self.clock.now()
        if isinstance(result, ListResult):
            body, code = encode_list(result, negotiated, now=now, include=include), 200
        else:
            body = encode_object(result, api_request.kind, negotiated, now=now, include=include)
            code = result.code
        headers = {"Content-Type": negotiated.content_type}
        if len(body) >= COMPRESS_FROM_BYTES and accepts_gzip(request.header("Accept-Encoding")):
            body = gzip(body)
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        response = web.Response(status=code, body=body, headers=headers)
        if api_request.warnings:
            add_warnings(response, api_request.warnings)
        return response

    # Watches.

    async def _serve_watch(
        self, request: HttpRequest, api_request: ApiRequest, negotiated: Negotiated, include: str
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        content_type = negotiated.content_type
        if negotiated.media_type == PROTOBUF:
            content_type += ";stream=watch"
        response.headers["Content-Type"] = content_type
        request.about.add_headers(response)
        add_warnings(response, api_request.warnings)
        try:
            async with self.seat(request):
                watch = await self.api.watch(api_request)
        except errors.Expired as expired:
            # A watch that cannot begin so far back begins, and ends with an error event.
            await response.prepare(request.raw)
            await response.write(_error_frame(negotiated, expired.to_status()))
            return response
        task = asyncio.current_task()
        assert task is not None
        assert self._connections is not None
        self._watches.add(task)
        self._connections.when_lost[request.raw.protocol] = task.cancel
        self.request_metrics.long_running(request.about.labels, 1)
        try:
            encoder = WatchEncoder(
                watch,
                negotiated,
                now=self.clock.now,
                include=include,
            )
            frames = _watch_frames(watch, encoder)
            if request.header("Upgrade").strip().lower() == "websocket":
                from orchestrator.apiserver.http import read_socket

                return await read_socket.serve_watch(request, frames, is_text=negotiated.media_type != PROTOBUF)
            response.enable_chunked_encoding()
            await response.prepare(request.raw)
            async for several in frames:
                await response.write(b"".join(several))
        except (ConnectionError, asyncio.CancelledError):
            # The client went away, or the server is closing: either ends the watch, quietly.
            if not _is_disconnected(request.raw):
                raise
        finally:
            self._watches.discard(task)
            self._connections.when_lost.pop(request.raw.protocol, None)
            self.request_metrics.long_running(request.about.labels, -1)
            watch.close()
        return response


async def _watch_frames(watch: ObjectWatch, encoder: WatchEncoder) -> AsyncIterator[list[bytes]]:
    """What a watch sends, as much at a time as there is."""
    while True:
        try:
            changes = await watch.next_changes()
        except errors.ApiError as error:
            yield [encoder.error(error.to_status())]
            return
        if not changes:
            return
        yield [encoder.encode(change) for change in changes]


def _is_disconnected(raw: web.BaseRequest) -> bool:
    return raw.transport is None or raw.transport.is_closing()


def _unserved(kind: Kind, route: Route, verb: str) -> errors.ApiError | None:
    """Why no handler is behind a URL and a method; None when one is.

    Built-in kinds have one route for the collection and one for each object, with verbs of their own.
    """
    if not verb:
        # What a client asks of a backend by OPTIONS is not ours to refuse; only proxies have that method.
        is_proxy = route.subresource == "proxy" and any(one.name == "proxy" for one in kind.subresources)
        return None if is_proxy else errors.method_not_allowed()
    if verb in ("update", "patch") and not route.name:
        return errors.BadRequest("name must be provided") if kind.schema is not None else errors.method_not_allowed()
    if kind.schema is None and route.name and not route.subresource:
        if _VERBS_OF_OBJECTS.isdisjoint(kind.verbs):
            return errors.NotFound("the server could not find the requested resource")
        if verb == "create":
            return errors.method_not_allowed()
    return None


def _shapes_of(kind: Kind, route: Route, verb: str, query: Mapping[str, str]) -> tuple[str, ...]:
    """In which other shapes an answer can be sent."""
    if route.subresource not in ("", "status", "scale") or kind.verbs == ("create",):
        return ()  # what is only asked and never stored (reviews, bindings) has no columns
    if verb == "watch" and is_true(query.get("sendInitialEvents")):
        return SHAPES_OF_STREAMED_LISTS
    return SHAPES


def _digest(request: HttpRequest, route: Route | None, verb: str) -> Digest:
    user = request.user
    if route is None:
        return Digest(user.name, user.groups, verb, request.path)
    resource = f"{route.plural}/{route.subresource}" if route.subresource else route.plural
    return Digest(user.name, user.groups, verb, "", route.group, resource, route.namespace)


def add_warnings(response: web.StreamResponse, warnings: list[str]) -> None:
    """RFC 7234 Warning headers with code 299, as kube-apiserver sends them."""
    size = 0
    for text in warnings[:WARNINGS_MAX]:
        size += len(text)
        if size > WARNING_BYTES_MAX:
            return
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
        response.headers.add("Warning", f'299 - "{quoted}"')


def status_response(error: errors.ApiError, raw: web.BaseRequest) -> web.Response:
    """The answer for an error: its Status, in the media type that the client asked for if possible."""
    try:
        negotiated = negotiate(raw.headers.get("Accept", ""))
    except errors.ApiError:
        negotiated = Negotiated()
    is_indented = is_for_people(raw.query, raw.headers.get("User-Agent", ""))
    plain = Negotiated(negotiated.media_type, pretty=is_indented)
    headers = {"Content-Type": plain.content_type}
    if error.retry_after_seconds:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return web.Response(status=error.code, body=encode_value(error.to_status(), plain), headers=headers)


def _error_frame(negotiated: Negotiated, status: Object) -> bytes:
    if negotiated.media_type == PROTOBUF:
        from orchestrator.api.protobuf import encode_watch_frame

        return encode_watch_frame("ERROR", status)
    return encode_value({"type": "ERROR", "object": status}, Negotiated())
