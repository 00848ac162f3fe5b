"""What the proxy itself answers on nodes: its own pages, and the health-check ports of Services."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from orchestrator.api.node_ports import KUBE_PROXY_HEALTH, KUBE_PROXY_STATUS
from orchestrator.component.places import Listener
from orchestrator.proxy.listener import Asked, NodeListener, Response
from orchestrator.proxy.topology import NodeFacts
from orchestrator.proxy.userspace.plan import EVERY_ADDRESS, Route

Answer = Callable[[Asked], Response | None]


def plan_pages(nodes: Iterable[NodeFacts]) -> dict[Listener, Route]:
    """Where kube-proxy's pages are: health on all addresses of a node, status on its loopback."""
    ports = ((EVERY_ADDRESS, KUBE_PROXY_HEALTH), ("127.0.0.1", KUBE_PROXY_STATUS))
    return {
        Listener(node.name, address, "tcp", port): Route((), answers_as=node.ip)
        for node in nodes
        if node.ip
        for address, port in ports
    }


class PageCarrier:
    """Answers over HTTP on one listener."""

    def __init__(self, route: Route, answer: Answer) -> None:
        self._route = route
        self._answer = answer
        self._listener = NodeListener("", self._answered, destination=_destination)

    async def open(self, listening: socket.socket) -> None:
        """Answer on a bound socket, which is ours from now on; OSError."""
        await self._listener.open_on(listening)

    def follow(self, route: Route) -> None:
        self._route = route

    def close(self) -> None:
        self._listener.close()

    abort = close

    def _answered(self, asked: Asked) -> Response | None:
        """Whoever asks on the loopback is the node itself."""
        node = self._route.answers_as
        client = node if asked.client.startswith("127.") else asked.client
        return self._answer(replace(asked, listener=(node, asked.listener[1]), client=client))


def _destination(connection: Any) -> tuple[str, int]:
    host, port = connection.getsockname()
    return host, port
