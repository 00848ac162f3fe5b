"""What a write holds for its object until it is committed: an address, a port, a share of a quota."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.store import Key


class Reservation(Struct, frozen=True):
    """Made by a write hook; it ends when the object is committed or when it is undone."""

    undo: Callable[[], None]
    companions: Sequence[tuple[Key, Object]] = ()
    """Objects that are created together with the object, and not without it."""
