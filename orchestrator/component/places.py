"""Places where a component makes sockets although its process is not there: network namespaces of others.

The kubelet's Docker network has the places; Service proxy, DNS and the kubelets' own server use them. A socket stays
in the namespace that it was made in, whoever holds it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

SERVICES = "services/"
"""The place whose own addresses are the Service range; no node can have this name."""
MACHINE = "machine/"
"""The machine itself, with all its addresses."""


class PlaceLost(OSError):
    """A place is gone with all sockets in it; it is made anew for whoever asks for sockets again."""


class PlaceNotReady(OSError):
    """A place that has not been made yet; whoever waits with `Places.ready` is told when it can be."""


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

    async def make_socket(self, place: str, kind: socket.SocketKind) -> socket.socket:
        """An unbound, non-blocking IPv4 socket in a place, which is made anew if need be.

        OSError (PlaceNotReady, PlaceLost among them); KeyError for an unknown place.
        """
        ...

    async def ready(self, place: str) -> None:
        """Return when sockets can be made in a place."""
        ...

    async def lost(self) -> None:
        """Return when a place of sockets that were handed out is gone."""
        ...


async def until_lost(places: Places, work: Coroutine[Any, Any, None]) -> None:
    """Do the work until a place of sockets is lost: PlaceLost."""
    working, lost = asyncio.ensure_future(work), asyncio.ensure_future(places.lost())
    try:
        await asyncio.wait((working, lost), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        else:
            raise PlaceLost(errno.ENETDOWN, "the network namespace of a socket is gone")
    finally:
        for task in (working, lost):
            task.cancel()
        await asyncio.gather(working, lost, return_exceptions=True)


class HostPorts(Protocol):
    """What pods ask for on their nodes."""

    def forwards(self) -> Mapping[Listener, tuple[str, int]]:
        """Where to listen, and the address and port that it leads to."""
        ...

    def on_change(self, call: Callable[[], None]) -> None:
        """Have something called whenever `forwards` has changed."""
        ...
