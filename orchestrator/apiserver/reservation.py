"""What a write holds for its object until it is committed: an address, a port.

Owns that nothing which was held outlives a write that failed, or one whose client gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec import Struct

from orchestrator.aiokit.threads import to_its_end
from orchestrator.api.objects import Object
from orchestrator.logs import get_logger
from orchestrator.store import Key, Record, Store


class Reservation(Struct, frozen=True):
    """Made by a write hook; it ends when the object is committed or when it is undone."""

    undo: Callable[[], None]
    companions: Sequence[tuple[Key, Object]] = ()
    """Objects that are created together with the object, and not without it."""


WriteHook = Callable[[Object, Object | None], Awaitable[Reservation | None]]
"""(new, old): reserves what an object needs (an IP, a port) and may fill it in."""


async def reserve(hooks: Iterable[WriteHook], new: Object, old: Object | None) -> list[Reservation]:
    """What hooks hold for a write; raises what one of them raises after giving back what the others hold."""
    reservations: list[Reservation] = []
    for hook in hooks:
        try:
            reservation = await hook(new, old)
        except BaseException:
            give_back(reservations)
            raise
        if reservation is not None:
            reservations.append(reservation)
    return reservations


def give_back(reservations: Iterable[Reservation]) -> None:
    """Undo what was held for a write that does not come."""
    for reservation in reservations:
        reservation.undo()


async def commit(store: Store, reservations: Sequence[Reservation], write: Awaitable[Record]) -> Record:
    """Write an object and what was reserved with it; raises the store's error after giving everything back.

    A caller that is cancelled waits for the end: only then it is known whether the object holds what was reserved.
    """
    if not reservations:
        return await write
    return await to_its_end(asyncio.ensure_future(_commit_all(store, reservations, write)))


async def _commit_all(store: Store, reservations: Sequence[Reservation], write: Awaitable[Record]) -> Record:
    """All are submitted together, so that they share one commit; companions of a write that fails go again."""
    companions = [store.create(*companion) for one in reservations for companion in one.companions]
    try:
        if not companions:
            return await write
        *created, written = await asyncio.gather(*companions, write, return_exceptions=True)
        if isinstance(written, Record):
            for failure in created:
                if not isinstance(failure, Record):
                    # Who made the reservation sees the object without its companion, and repairs that.
                    get_logger("apiserver").warning("companion.missing", of=written.key, error=str(failure))
            return written
        for companion in created:
            if isinstance(companion, Record):
                await store.delete(companion.key)
        raise written
    except Exception:
        give_back(reservations)
        raise
