"""What a runtime asks of the network of its pods: addresses, connections, host ports.

Only shapes. `PodNetwork` makes all of it in the kernel; `docker.network.DockerNetwork` has the Engine make it.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec import Struct

from orchestrator.kubelet.network.plan import HostPort


class Endpoint(Struct, frozen=True):
    """A container's connection to a network of the Engine's."""

    network: str
    """Its name."""
    address: str

    def config(self) -> dict[str, object]:
        """NetworkingConfig of POST /containers/create."""
        return {"EndpointsConfig": {self.network: {"IPAMConfig": {"IPv4Address": self.address}}}}


class SandboxNetwork(Protocol):
    """The network of a cluster's pods, shared by the nodes of this process."""

    @property
    def enters_namespaces(self) -> bool:
        """Whether this process configures the namespaces of sandboxes itself, which takes root."""
        ...

    async def start(self) -> None:
        """Make or repair everything that is not a pod's own; may be called again at any time. RuntimeFailure."""
        ...

    def helper_settings(self, node_name: str) -> Mapping[str, object] | None:
        """What makes the container of a node's namespace a helper; None where it only holds the namespace."""
        ...

    def namespace_by(self, node_name: str, ensure: Callable[[], Awaitable[str]]) -> None:
        """Tell how the container of a node's namespace is found or made."""
        ...

    async def ensure_node(
        self, node_name: str, node_ip: str, pod_cidr: str, *, namespace_id: str = "", namespace_pid: int = 0
    ) -> None:
        """A node has these addresses, and a namespace of its own when it says so; harmless to repeat."""
        ...

    def endpoint(self, name: str, *, node_name: str, host_ports: tuple[HostPort, ...] = ()) -> Endpoint | None:
        """The connection that the sandbox of this name is to be created with; None: it is connected later."""
        ...

    def claim(self, name: str, sandbox_id: str) -> None:
        """The sandbox of this name has been created."""
        ...

    def reserve(self, *, node_name: str, sandbox_id: str, host_ports: tuple[HostPort, ...] = ()) -> str:
        """Set the address aside that `attach` will give to the sandbox; `detach` gives it back. NetworkUnavailable."""
        ...

    async def attach(
        self,
        *,
        node_name: str,
        sandbox_id: str,
        pid: int,
        host_ports: tuple[HostPort, ...] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> str:
        """Connect a sandbox that runs; returns the pod's address. Harmless to repeat. NetworkUnavailable."""
        ...

    async def detach(self, sandbox_id: str) -> None:
        """Take a sandbox off the network and give its address back; succeeds when it is off already."""
        ...

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        """The addresses of a sandbox that is attached; empty otherwise."""
        ...

    def is_attached(self, sandbox_id: str) -> bool: ...

    def reserved_sandboxes(self, node_name: str) -> frozenset[str]:
        """The sandboxes of a node that hold an address; those that the Engine does not know can be detached."""
        ...

    async def dial(
        self, sandbox_id: str, port: int, *, node_name: str, pid: int, is_host_network: bool
    ) -> socket.socket:  # fmt: skip
        """A connection to a port on the loopback of a sandbox that runs as `pid`, IPv4 first. OSError."""
        ...
