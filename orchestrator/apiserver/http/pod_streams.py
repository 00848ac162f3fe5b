"""`pods/log`, `pods/exec` and `pods/attach`: byte streams between a client and a kubelet.

Owns the protocols on the client's side (chunked text for logs; WebSocket v4 and v5 channels for exec
and attach, see KEP-4006); the other side is a `KubeletApi`. Mirrors kube-apiserver's pod REST
subresources together with the kubelet's remote command server.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson
from aiohttp import WSMsgType, web

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object
from orchestrator.apiserver.http.routing import Route, is_true
from orchestrator.apiserver.http.server import HttpRequest, HttpServer
from orchestrator.apiserver.request import ApiRequest
from orchestrator.component.kubelet_api import KubeletApi, KubeletConnector, PodLogOptions, StreamSession

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
OUTPUT_CHUNK = 32 * 1024


class PodStreams:
    """Serves the streaming subresources of pods."""

    def __init__(self, http: HttpServer, kubelets: KubeletConnector) -> None:
        self._api = http.api
        self._kubelets = kubelets
        http.streams["pods", "log"] = self.log
        http.streams["pods", "exec"] = self.exec
        http.streams["pods", "attach"] = self.attach

    async def log(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """GET of a container's log, followed if asked for."""
        if api_request.verb != "get":
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        pod = await self._pod(api_request)
        options = log_options(request.query, pod)
        kubelet = self._kubelet_of(pod)
        chunks = await kubelet.logs(route.namespace, route.name, options)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        async with aclosing(chunks) as stream:
            # The first chunk is awaited before the headers are sent, so that an error can still be a Status.
            first = await anext(aiter(stream), None)
            response.enable_chunked_encoding()
            await response.prepare(request.raw)
            if first is not None:
                await response.write(first)
                async for chunk in stream:
                    await response.write(chunk)
        return response

    async def exec(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """Run a command in a container."""
        command = [value for name, value in request.query_pairs if name == "command"]
        if not command:
            raise errors.BadRequest("you must specify at least 1 command for the container")
        pod = await self._pod(api_request)
        container = container_of(pod, request.query.get("container", ""))
        streams = _Streams(request)
        _check_upgrade(request)
        session = await self._kubelet_of(pod).exec(
            route.namespace,
            route.name,
            container,
            command,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr and not streams.tty,
            tty=streams.tty,
        )
        return await serve_session(request, session, streams)

    async def attach(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """Connect to the main process of a container."""
        pod = await self._pod(api_request)
        container = container_of(pod, request.query.get("container", ""))
        streams = _Streams(request)
        _check_upgrade(request)
        session = await self._kubelet_of(pod).attach(
            route.namespace,
            route.name,
            container,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr and not streams.tty,
            tty=streams.tty,
        )
        return await serve_session(request, session, streams)

    async def _pod(self, api_request: ApiRequest) -> Object:
        pod = await self._api.read("pods", api_request.name, api_request.namespace)
        if pod is None:
            raise errors.not_found("", "pods", api_request.name)
        return pod

    def _kubelet_of(self, pod: Object) -> KubeletApi:
        node = pod["spec"].get("nodeName")
        if not node:
            raise errors.BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
        kubelet = self._kubelets.kubelet(node)
        if kubelet is None:
            raise errors.InternalError(f'no kubelet of node "{node}" is connected')
        return kubelet


class _Streams:
    """Which streams a client wants."""

    def __init__(self, request: HttpRequest) -> None:
        query = request.query
        self.stdin = is_true(query.get("stdin", ""))
        self.stdout = is_true(query.get("stdout", ""))
        self.stderr = is_true(query.get("stderr", ""))
        self.tty = is_true(query.get("tty", ""))
        if not (self.stdin or self.stdout or self.stderr):
            raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")


def log_options(query: dict[str, str], pod: Object) -> PodLogOptions:
    """`PodLogOptions` from the URL; 400 or 422 when they are wrong."""
    causes: list[Cause] = []

    def number(name: str, minimum: int) -> int | None:
        text = query.get(name, "")
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if value < minimum:
            causes.append(
                Cause("FieldValueInvalid", f"Invalid value: {value}: must be greater than or equal to {minimum}", name)
            )
        return value

    tail_lines, limit_bytes = number("tailLines", 0), number("limitBytes", 1)
    since_seconds = number("sinceSeconds", 1)
    since_time = query.get("sinceTime") or None
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
    if causes:
        raise errors.invalid("", "PodLogOptions", pod["metadata"]["name"], causes)
    return PodLogOptions(
        container=container_of(pod, query.get("container", "")),
        follow=is_true(query.get("follow", "")),
        previous=is_true(query.get("previous", "")),
        since_seconds=since_seconds,
        since_time=since_time,
        timestamps=is_true(query.get("timestamps", "")),
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


def _check_upgrade(request: HttpRequest) -> None:
    if request.header("Upgrade").lower() != "websocket":
        raise errors.BadRequest(
            "this stream is served over WebSocket only; use a client that speaks v5.channel.k8s.io or v4.channel.k8s.io"
        )


async def serve_session(request: HttpRequest, session: StreamSession, streams: _Streams) -> web.StreamResponse:
    """Pump bytes between a WebSocket and a session until the process or the client ends."""
    socket = web.WebSocketResponse(
        protocols=PROTOCOLS, max_msg_size=MESSAGE_BYTES_MAX, compress=False, timeout=5.0, heartbeat=None
    )
    try:
        await socket.prepare(request.raw)
        protocol = socket.ws_protocol or ""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_pump_input(socket, session, streams, protocol), name="stream/input")
            status = await _pump_output(socket, session, streams)
            reading.cancel()
        if not socket.closed:
            await socket.send_bytes(bytes([ERROR]) + orjson.dumps(status))
            await socket.close()
    except* ConnectionError:
        pass  # the client is gone; the process goes on, as it does behind a kubelet
    finally:
        await session.close()
    return socket


async def _pump_output(socket: web.WebSocketResponse, session: StreamSession, streams: _Streams) -> Object:
    while (output := await session.read()) is not None:
        channel, data = output
        wanted = streams.stdout if channel == STDOUT else streams.stderr
        if wanted:
            for start in range(0, len(data), OUTPUT_CHUNK):
                await socket.send_bytes(bytes([channel]) + data[start : start + OUTPUT_CHUNK])
    try:
        return exit_status(await session.wait())
    except errors.ApiError as error:
        return error.to_status()


async def _pump_input(socket: web.WebSocketResponse, session: StreamSession, streams: _Streams, protocol: str) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            data = message.data.encode()
        elif message.type is WSMsgType.BINARY:
            data = message.data
        else:
            continue
        if not data:
            continue
        channel, payload = data[0], data[1:]
        if channel == STDIN and streams.stdin:
            await session.write(payload)
        elif channel == RESIZE and streams.tty:
            size = _terminal_size(payload)
            if size is not None:
                await session.resize(*size)
        elif channel == CLOSE and protocol.startswith("v5") and payload[:1] == bytes([STDIN]):
            await session.close_stdin()
    if streams.stdin:
        await session.close_stdin()


def _terminal_size(payload: bytes) -> tuple[int, int] | None:
    try:
        size = orjson.loads(payload)
        return int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def exit_status(code: int) -> Object:
    """What the error channel says at the end: Success, or the exit code (v4 of the remote command protocol)."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: error executing command, exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
