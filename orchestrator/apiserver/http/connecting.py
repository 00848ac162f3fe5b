"""CONNECT: what admission is told of a request that opens a stream to a pod, a Service or a node.

The object of such a request is made of its URL: PodExecOptions, PodAttachOptions, PodPortForwardOptions or
PodProxyOptions and their like. Mirrors kube-apiserver's ConnectResource.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.api.objects import Object
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.routing import Route
from orchestrator.apiserver.request import ApiRequest, is_true
from orchestrator.apiserver.server import ApiServer

_STREAMS = ("stdin", "stdout", "stderr", "tty")


async def admit_connect(api: ApiServer, request: HttpRequest, api_request: ApiRequest, route: Route) -> None:
    """Ask admission about a connection; raises what it is refused with."""
    kinds = {one.name: one.kind for one in api_request.kind.subresources}
    options = options_of(kinds[route.subresource], request.query_pairs, route.rest)
    await api.admit_connect(api_request, options)


def options_of(kind: str, query: Iterable[tuple[str, str]], path: str) -> Object:
    """The options object of a subresource, from the URL's query and what follows the subresource in its path."""
    options: Object = {"kind": kind, "apiVersion": "v1"}
    if kind.endswith("ProxyOptions"):
        return {**options, "path": f"/{path.lstrip('/')}"}
    for name, value in query:
        if kind == "PodPortForwardOptions":
            if name == "ports":
                options.setdefault("ports", []).extend(int(port) for port in value.split(",") if port.isdecimal())
        elif name in _STREAMS:
            if is_true(value):
                options[name] = True
        elif name == "container" and value:
            options[name] = value
        elif name == "command" and kind == "PodExecOptions":
            options.setdefault("command", []).append(value)
    return options
