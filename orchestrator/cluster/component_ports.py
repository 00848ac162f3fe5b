"""What is reached through a port-forward to a pod that shows a component: the ports that component has in Kubernetes.

Nothing listens on them: a connection is made when somebody asks, within the process.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial

from orchestrator.aiokit.socket_stream import SocketStream
from orchestrator.client.client import Client
from orchestrator.component.component_pages import ComponentPages
from orchestrator.component.delegated_auth import DelegatedAuth
from orchestrator.component.kubelet_api import PortStream
from orchestrator.component.secure_server import SecureServer

SECURE_PORTS = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
"""`--secure-port` of the components that have pages of their own (docs, "Ports and Protocols")."""


class ComponentPorts:
    """Connects to the components of one process."""

    def __init__(
        self,
        *,
        clients: Mapping[str, Client],
        is_running: Callable[[str], bool],
        make_tls: Callable[[], ssl.SSLContext],
        api_address: tuple[str, int],
    ) -> None:
        """`clients` are those of components, by name; `api_address` is where the API server listens."""
        self._api_address = api_address
        self._servers = {
            component: SecureServer(
                ComponentPages(DelegatedAuth(client), is_running=partial(is_running, component)).answer,
                make_tls=make_tls,
            )
            for component, client in clients.items()
            if component in SECURE_PORTS
        }

    async def close(self) -> None:
        """End all connections."""
        for server in self._servers.values():
            await server.close()

    async def dial(self, component: str, port: int) -> PortStream:
        """Connect to a port of a component; ConnectionRefusedError where it has none."""
        if component == "kube-apiserver" and port == self._api_address[1]:
            return SocketStream(*await asyncio.open_connection(*self._api_address))
        if SECURE_PORTS.get(component) == port:
            return await self._servers[component].connect()
        raise ConnectionRefusedError("connection refused")
