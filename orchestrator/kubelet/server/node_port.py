"""Port 10250 of every node: a kubelet's own HTTPS server, one for all nodes of the process.

Rules lead there what is sent to the address of a node, and each connection tells which node it was meant for. Owns who
may see what, and the answers to who may not; the pages are those of `pages`, the streams those of `server`. Mirrors
pkg/kubelet/server with its authentication and authorization (docs, "Kubelet authentication/authorization"; KEP-2862).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.aiokit.original_destination import original_destination
from orchestrator.api import errors
from orchestrator.api.node_ports import KUBELET
from orchestrator.api.objects import Object
from orchestrator.component.client_certificates import certificate_of_peer
from orchestrator.component.delegated_auth import DelegatedAuth
from orchestrator.component.kubelet_api import KubeletApi, KubeletConnector, PodLogOptions
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from aiohttp import web

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
RUN_OUTPUT_BYTES_MAX = 1 << 20


def plan_subresources(path: str) -> tuple[str, ...]:
    """The subresources of `nodes` of which one has to be allowed for a path, most specific first."""
    for prefix, subresources in (
        ("/stats", ("stats",)),
        ("/metrics", ("metrics",)),
        ("/logs", ("log",)),
        ("/checkpoint", ("checkpoint",)),
        ("/pods", ("pods", "proxy")),
        ("/runningpods", ("pods", "proxy")),
        ("/healthz", ("healthz", "proxy")),
        ("/configz", ("configz", "proxy")),
    ):
        if path == prefix or path.startswith(f"{prefix}/"):
            return subresources
    return ("proxy",)


class StreamServer(Protocol):
    """Serves connections that are upgraded: exec, attach, port-forward."""

    async def serve(
        self, request: web.BaseRequest, kubelet: KubeletApi, what: str, pod: tuple[str, str], container: str
    ) -> web.StreamResponse:
        """`what` is `exec`, `attach` or `portForward`, `pod` its (namespace, name). ApiError."""
        ...


class NodePort:
    """Answers what is asked of the nodes on port 10250."""

    def __init__(
        self,
        kubelets: KubeletConnector,
        *,
        nodes: Mapping[str, str],
        auth_for: Callable[[str], DelegatedAuth],
        streams: StreamServer,
        destination: Callable[[Any], tuple[str, int] | None] = original_destination,
    ) -> None:
        """`nodes` are names by address; `auth_for` asks the API server in the name of a node's kubelet.

        `destination` finds out where the socket of a connection was addressed to.
        """
        self._kubelets = kubelets
        self._nodes = dict(nodes)
        self._auth_for = auth_for
        self._streams = streams
        self._destination = destination
        self._log = get_logger("kubelet")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request; 421 when it was meant for no node."""
        from aiohttp import web

        node = self._node_of(request)
        kubelet = self._kubelets.kubelet(node) if node else None
        if kubelet is None:
            return web.Response(status=421, text="no kubelet has this address\n")
        try:
            return await self._checked(request, node, kubelet)
        except errors.ApiError as error:
            return web.Response(status=error.code, text=f"{error.message}\n")
        except ConnectionResetError:
            raise
        except Exception as error:
            self._log.exception("request.failed", method=request.method, path=request.path)
            return web.Response(status=500, text=f"{error}\n")

    def _node_of(self, request: web.BaseRequest) -> str:
        """By the address that was asked for; from its own namespace a node comes with its address to the machine's."""
        transport = request.transport
        if transport is None:
            return ""
        asked = self._destination(transport.get_extra_info("socket"))
        if asked is None or asked[1] != KUBELET:
            return ""
        peer = transport.get_extra_info("peername")
        return self._nodes.get(asked[0]) or self._nodes.get(str(peer[0]), "")

    async def _checked(self, request: web.BaseRequest, node: str, kubelet: KubeletApi) -> web.StreamResponse:
        from aiohttp import web

        assert request.transport is not None
        auth = self._auth_for(node)
        certificate = certificate_of_peer(request.transport)
        user = await auth.authenticate(certificate, request.headers.get("Authorization", ""))
        if user is None:
            return web.Response(status=401, text="Unauthorized")
        verb, subresources = VERBS.get(request.method, ""), plan_subresources(request.path)
        if not await _is_allowed(auth, user, node, verb, subresources):
            which = " ".join(subresources)
            name = user.get("username", "")
            text = f"Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{which}])"
            return web.Response(status=403, text=text)
        return await self._serve(request, kubelet)

    async def _serve(self, request: web.BaseRequest, kubelet: KubeletApi) -> web.StreamResponse:
        from aiohttp import web

        _, what, *rest = request.path.split("/")
        if what in ("exec", "attach", "portForward", "run", "containerLogs"):
            return await self._serve_container(request, kubelet, what, rest)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="405: Method Not Allowed")
        page = await kubelet.page(request.path, request.query)
        if page is None:
            return web.Response(status=404, text="404 page not found\n")
        content_type, body = page
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _serve_container(
        self, request: web.BaseRequest, kubelet: KubeletApi, what: str, rest: Sequence[str]
    ) -> web.StreamResponse:
        """`/<what>/<namespace>/<pod>[/<uid>]/<container>`; a port-forward names no container."""
        from aiohttp import web

        rest = [part for part in rest if part]
        has_container = what != "portForward"
        if len(rest) not in ((3, 4) if has_container else (2, 3)):
            return web.Response(status=404, text="404 page not found\n")
        namespace, pod, container = rest[0], rest[1], rest[-1] if has_container else ""
        if what == "containerLogs":
            return await _send_logs(request, kubelet, namespace, pod, container)
        if what == "run":
            return await _run(request, kubelet, namespace, pod, container)
        return await self._streams.serve(request, kubelet, what, (namespace, pod), container)


async def _is_allowed(auth: DelegatedAuth, user: Object, node: str, verb: str, subresources: Sequence[str]) -> bool:
    for subresource in subresources:
        attributes = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": node}
        if await auth.is_allowed(user, {"resourceAttributes": attributes}):
            return True
    return False


def log_options(query: Mapping[str, str], container: str) -> PodLogOptions:
    """The options of `/containerLogs`; BadRequest."""

    def number(name: str) -> int | None:
        text = query.get(name, "")
        if not text:
            return None
        if not text.isdecimal():
            raise errors.BadRequest(f'{{"message": "Unable to decode query: {name} must be a number, not {text}"}}')
        return int(text)

    def flag(name: str) -> bool:
        return query.get(name, "").lower() in ("true", "1", "t")

    return PodLogOptions(
        container=container,
        follow=flag("follow"),
        previous=flag("previous"),
        since_seconds=number("sinceSeconds"),
        since_time=query.get("sinceTime") or None,
        timestamps=flag("timestamps"),
        tail_lines=number("tailLines"),
        limit_bytes=number("limitBytes"),
    )


async def _send_logs(
    request: web.BaseRequest, kubelet: KubeletApi, namespace: str, pod: str, container: str
) -> web.StreamResponse:
    from aiohttp import web

    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, text="405: Method Not Allowed")
    chunks = await kubelet.logs(namespace, pod, log_options(request.query, container))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    async with aclosing(chunks) as stream:
        await response.prepare(request)
        async for chunk in stream:
            await response.write(chunk)
    return response


async def _run(
    request: web.BaseRequest, kubelet: KubeletApi, namespace: str, pod: str, container: str
) -> web.StreamResponse:
    """Run a command without a stream and answer with what it printed, whatever its exit code."""
    from aiohttp import web

    if request.method != "POST":
        return web.Response(status=405, text="405: Method Not Allowed")
    command = request.query.get("cmd", "").split(" ")
    session = await kubelet.exec(
        namespace, pod, container, command, stdin=False, stdout=True, stderr=True, tty=False
    )  # fmt: skip
    try:
        output = b"".join([data async for data in _output_of(session)])
        code = await session.wait()
    finally:
        await session.close()
    if code:
        return web.Response(status=500, body=output + f"command terminated with exit code {code}\n".encode())
    return web.Response(body=output, headers={"Content-Type": "text/plain; charset=utf-8"})


async def _output_of(session: Any) -> AsyncIterator[bytes]:
    left = RUN_OUTPUT_BYTES_MAX
    while (read := await session.read()) is not None and left > 0:
        yield read[1][:left]
        left -= len(read[1])
