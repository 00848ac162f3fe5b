"""`pods/log`, `pods/exec`, `pods/attach` and `pods/portforward`: byte streams between a client and a kubelet.

Owns what is asked of which container, and who may; the other side is a `KubeletApi`. How bytes travel
to the client is in `remote_command` and `port_forward`. Mirrors kube-apiserver's pod REST subresources.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web
from msgspec.structs import replace

from orchestrator.aiokit.clock import parse_time
from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, uid_of
from orchestrator.apiserver.http import port_forward, read_socket, remote_command
from orchestrator.apiserver.http.connecting import admit_connect
from orchestrator.apiserver.http.remote_command import Wanted
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.routing import Route
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.apiserver.listing import parse_number
from orchestrator.apiserver.request import ApiRequest, is_true
from orchestrator.component.kubelet_api import KubeletApi, KubeletConnector, PodLogOptions, PortStream, StreamSession


class PodStreams:
    """Serves the streaming subresources of pods."""

    def __init__(self, http: HttpServer, kubelets: KubeletConnector) -> None:
        self._http = http
        self._api = http.api
        self._kubelets = kubelets
        http.streams["pods", "log"] = self.log
        http.streams["pods", "exec"] = self.exec
        http.streams["pods", "attach"] = self.attach
        http.streams["pods", "portforward"] = self.port_forward

    async def log(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """GET of a container's log, followed if asked for."""
        if api_request.verb != "get":
            raise errors.method_not_allowed()
        pod = await self._pod(api_request)
        options = log_options(request.query, pod)
        kubelet = await self._kubelet_of(pod)
        chunks = await kubelet.logs(route.namespace, route.name, options)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        async with aclosing(chunks) as stream:
            # The first chunk is awaited before the headers are sent, so that an error can still be a Status;
            # a follower gets them at once, for its first line may come much later.
            first = None if options.follow else await anext(aiter(stream), None)
            if remote_command.is_websocket(request):
                return await read_socket.serve(request, first, stream)
            response.enable_chunked_encoding()
            await response.prepare(request.raw)
            if first is not None:
                await response.write(first)
            if first is not None or options.follow:
                await self._http.until_disconnected(request.raw, _copy_log(stream, response))
        return response

    async def exec(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """Run a command in a container."""
        await self._check_connect(request, api_request, route)
        command = [value for name, value in request.query_pairs if name == "command"]
        if not command:
            raise errors.BadRequest("you must specify at least 1 command for the container")
        pod = await self._pod(api_request)
        container = container_of(pod, request.query.get("container", ""))
        kubelet = await self._kubelet_of(pod)
        wanted = Wanted.of(request)

        async def opener() -> StreamSession:
            return await kubelet.exec(
                route.namespace,
                route.name,
                container,
                command,
                stdin=wanted.stdin,
                stdout=wanted.stdout,
                stderr=wanted.stderr,
                tty=wanted.tty,
            )

        return await remote_command.serve(request, wanted, opener, clock=self._http.clock, has_exit_code=True)

    async def attach(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """Connect to the main process of a container."""
        await self._check_connect(request, api_request, route)
        pod = await self._pod(api_request)
        container = container_of(pod, request.query.get("container", ""))
        kubelet = await self._kubelet_of(pod)
        wanted = Wanted.of(request)

        async def opener() -> StreamSession:
            return await kubelet.attach(
                route.namespace,
                route.name,
                container,
                stdin=wanted.stdin,
                stdout=wanted.stdout,
                stderr=wanted.stderr,
                tty=wanted.tty,
            )

        return await remote_command.serve(request, wanted, opener, clock=self._http.clock, has_exit_code=False)

    async def port_forward(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """Connect to ports of a pod."""
        await self._check_connect(request, api_request, route)
        pod = await self._pod(api_request)
        kubelet = await self._kubelet_of(pod)

        async def dial(port: int) -> PortStream:
            return await kubelet.port_forward(route.namespace, route.name, port)

        target = f"{route.name}_{route.namespace}, uid {uid_of(pod)}"
        return await port_forward.serve(request, dial, target=target, clock=self._http.clock)

    async def _check_connect(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> None:
        """GET and POST connect; GET, which a WebSocket needs, takes the right to `create` as well (KEP-4006).

        Admission comes after authorization and before the pod is looked for.
        """
        if api_request.verb not in ("get", "create"):
            raise errors.method_not_allowed()
        if api_request.verb == "get":
            self._api.authorize(replace(api_request, verb="create"))
        await admit_connect(self._api, request, api_request, route)

    async def _pod(self, api_request: ApiRequest) -> Object:
        pod = await self._api.read("pods", api_request.name, api_request.namespace)
        if pod is None:
            raise errors.not_found("", "pods", api_request.name)
        return pod

    async def _kubelet_of(self, pod: Object) -> KubeletApi:
        node = pod["spec"].get("nodeName")
        if not node:
            raise errors.BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
        kubelet = self._kubelets.kubelet(node)
        if kubelet is None:
            if await self._api.read("nodes", node) is None:
                # The resource of the request and the name of the node: so says kube-apiserver.
                raise errors.not_found("", "pods", node)
            raise errors.InternalError(f'no kubelet of node "{node}" is connected')
        return kubelet


async def _copy_log(chunks: AsyncGenerator[bytes, None], response: web.StreamResponse) -> None:
    async for chunk in chunks:
        await response.write(chunk)


def log_options(query: dict[str, str], pod: Object) -> PodLogOptions:
    """`PodLogOptions` from the URL; 400 or 422 when they are wrong."""
    causes: list[Cause] = []

    def number(name: str, minimum: int) -> int | None:
        text = query.get(name, "")
        if not text:
            return None
        value = parse_number(text)
        if value < minimum:
            causes.append(
                Cause("FieldValueInvalid", f"Invalid value: {value}: must be greater than or equal to {minimum}", name)
            )
        return value

    tail_lines, limit_bytes = number("tailLines", 0), number("limitBytes", 1)
    since_seconds = number("sinceSeconds", 1)
    since_time = query.get("sinceTime") or None
    if since_time:
        try:
            parse_time(since_time)
        except ValueError:
            raise errors.BadRequest(
                f'invalid sinceTime "{since_time}": it must be a time as RFC 3339 writes it'
            ) from None
    if since_seconds is not None and since_time:
        causes.append(
            Cause("FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", "")
        )
    stream = query.get("stream") or "All"
    if stream not in ("All", "Stdout", "Stderr"):
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"',
                "stream",
            )
        )
    elif stream != "All" and tail_lines is not None:
        message = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"
        causes.append(Cause("FieldValueForbidden", message, ""))
    if causes:
        raise errors.invalid("", "PodLogOptions", pod["metadata"]["name"], causes)
    return PodLogOptions(
        container=container_of(pod, query.get("container", "")),
        follow=is_true(query.get("follow")),
        previous=is_true(query.get("previous")),
        since_seconds=since_seconds,
        since_time=since_time,
        timestamps=is_true(query.get("timestamps")),
        tail_lines=tail_lines,
        limit_bytes=limit_bytes,
        stream=stream,
    )


def container_of(pod: Object, name: str) -> str:
    """The container that is meant: by name, by annotation, or the only one; 400 when it is not clear."""
    spec, pod_name = pod["spec"], pod["metadata"]["name"]
    main = [container["name"] for container in spec.get("containers") or ()]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    ephemeral = [container["name"] for container in spec.get("ephemeralContainers") or ()]
    if not name:
        name = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
        if name in main:
            return name
        if len(main) == 1:
            return str(main[0])
        choices = f"choose one of: [{' '.join(main)}]"
        if init:
            choices += f" or one of the init containers: [{' '.join(init)}]"
        raise errors.BadRequest(f"a container name must be specified for pod {pod_name}, {choices}")
    if name not in (*main, *init, *ephemeral):
        raise errors.BadRequest(f"container {name} is not valid for pod {pod_name}")
    return name
