"""What a write holds for its object until it is committed: an address, a port, a share of a quota."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.api.objects import Object
from orchestrator.store import Key


@dataclass(frozen=True, slots=True)
class Reservation:
    """Made by a write hook; it ends when the object is committed or when it is undone."""

    undo: Callable[[], None]
    companions: Sequence[tuple[Key, Object]] = ()
    """Objects that are created together with the object, and not without it."""
