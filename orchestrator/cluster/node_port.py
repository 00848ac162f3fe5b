"""Port 10250 of the nodes: what the kubelets' own HTTPS server is made with."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.original_destination import original_destination
from orchestrator.api.node_ports import KUBELET
from orchestrator.client.client import Client
from orchestrator.component.delegated_auth import DelegatedAuth
from orchestrator.component.kubelet_api import KubeletApi, KubeletConnector, PortStream, StreamSession
from orchestrator.component.places import Places, until_lost
from orchestrator.component.secure_server import SecureServer
from orchestrator.component.supervisor import Supervisor
from orchestrator.kubelet.server.node_port import NodePort

if TYPE_CHECKING:
    from aiohttp import web

BACKLOG = 128


def listen_for_nodes(address: str) -> socket.socket:
    """A socket on an address of this machine to which rules lead what is sent to port 10250 of a node. OSError."""
    listening = socket.create_server((address, 0), backlog=BACKLOG)
    listening.setblocking(False)
    return listening


class NodePorts:
    """Makes the servers of port 10250, and has them supervised."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        kubelets: KubeletConnector,
        nodes: Mapping[str, str],
        client_for: Callable[[str], Client],
        make_tls: Callable[[], ssl.SSLContext],
        clock: Clock,
    ) -> None:
        """`nodes` are names by address."""
        self._supervisor = supervisor
        self._kubelets = kubelets
        self._nodes = nodes
        self._client_for = client_for
        self._make_tls = make_tls
        self._clock = clock

    def serve_all(self, listening: socket.socket) -> None:
        """One server for all nodes, behind a socket to which rules lead."""
        self._supervisor.add("kubelets/port", partial(self._server(original_destination).serve, listening))

    def serve_each(self, places: Places) -> None:
        """A server for each node, in that node's own namespace."""
        for address, node in self._nodes.items():
            server = self._server(partial(_node_itself, address))
            self._supervisor.add(f"kubelets/port/{node}", partial(_serve_node, places, node, server))

    def _server(self, destination: Callable[[Any], tuple[str, int] | None]) -> SecureServer:
        port = NodePort(
            self._kubelets,
            nodes=self._nodes,
            auth_for=lambda node: DelegatedAuth(self._client_for(node)),
            streams=NodeStreams(self._clock),
            destination=destination,
        )
        return SecureServer(port.answer, make_tls=self._make_tls)


def _node_itself(address: str, _connection: object) -> tuple[str, int]:
    return address, KUBELET


async def _serve_node(places: Places, node: str, server: SecureServer) -> None:
    """Serve port 10250 of a node until cancelled. PlaceLost, OSError."""
    await places.ready(node)
    with await places.make_socket(node, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("0.0.0.0", KUBELET))
        listening.listen(BACKLOG)
        await until_lost(places, server.serve(listening))


class NodeStreams:
    """Serves exec, attach and port-forward as the API server does; implements `kubelet.node_port.StreamServer`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def serve(
        self, request: web.BaseRequest, kubelet: KubeletApi, what: str, pod: tuple[str, str], container: str
    ) -> web.StreamResponse:
        from orchestrator.api import errors
        from orchestrator.apiserver.http import port_forward, remote_command
        from orchestrator.apiserver.http.request import HttpRequest
        from orchestrator.apiserver.user import ANONYMOUS

        asked = HttpRequest(request, ANONYMOUS)  # who it is was asked before, and does not matter any more
        namespace, name = pod
        if what == "portForward":

            async def dial(port: int) -> PortStream:
                return await kubelet.port_forward(namespace, name, port)

            return await port_forward.serve(asked, dial, target=f"{name}_{namespace}", clock=self._clock)
        stdin, stdout, stderr, tty = (_flag(asked.query, flag) for flag in ("input", "output", "error", "tty"))
        if not (stdin or stdout or stderr):
            raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
        wanted = remote_command.Wanted(stdin=stdin, stdout=stdout, stderr=stderr and not tty, tty=tty)
        command = [value for key, value in asked.query_pairs if key == "command"]

        async def opener() -> StreamSession:
            if what == "attach":
                return await kubelet.attach(
                    namespace, name, container, stdin=stdin, stdout=stdout, stderr=wanted.stderr, tty=tty
                )
            return await kubelet.exec(
                namespace, name, container, command, stdin=stdin, stdout=stdout, stderr=wanted.stderr, tty=tty
            )

        return await remote_command.serve(asked, wanted, opener, clock=self._clock, has_exit_code=what == "exec")


def _flag(query: Mapping[str, str], name: str) -> bool:
    """As the kubelet reads it: 1 and nothing else."""
    return query.get(name) == "1"
