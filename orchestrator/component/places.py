"""Places where a component makes sockets although its process is not there: network namespaces of others.

Only shapes: the kubelet's Docker network has the places, Service proxy and DNS use them. A socket stays in the
namespace that it was made in, whoever holds it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

SERVICES = "services/"
"""The place whose own addresses are the Service range; no node can have this name."""
MACHINE = "machine/"
"""The machine itself, with all its addresses."""


class PlaceLost(OSError):
    """A place is gone with all sockets in it; it is made anew for whoever asks for sockets again."""


class Listener(NamedTuple):
    """Where clients knock."""

    place: str
    """SERVICES, MACHINE or the name of a node."""
    address: str
    """`0.0.0.0`: every address of the place."""
    protocol: str
    """`tcp` or `udp`."""
    port: int


class Places(Protocol):
    """Where sockets can be made."""

    async def socket(self, place: str, kind: socket.SocketKind) -> socket.socket:
        """An unbound, non-blocking IPv4 socket in a place, made if need be; OSError, KeyError for an unknown place."""
        ...

    async def lost(self) -> None:
        """Return when a place of sockets that were handed out is gone."""
        ...


class HostPorts(Protocol):
    """What pods ask for on their nodes."""

    def forwards(self) -> Mapping[Listener, tuple[str, int]]:
        """Where to listen, and the address and port that it leads to."""
        ...

    def on_change(self, call: Callable[[], None]) -> None:
        """Have something called whenever `forwards` has changed."""
        ...
