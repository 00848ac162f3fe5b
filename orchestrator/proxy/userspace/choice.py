"""Which endpoint a client gets: any one, or the one that it had before (session affinity `ClientIP`)."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.aiokit.clock import Clock
from orchestrator.proxy.topology import Target
from orchestrator.proxy.userspace.plan import Route

CLIENTS_MAX = 65_536
"""Clients that are remembered, of all Services together; the one that was away longest is forgotten first."""


class _Seen(NamedTuple):
    target: Target
    at: float


class Chooser:
    """Remembers clients."""

    def __init__(self, clock: Clock, *, shuffle: Callable[[list[Target]], None] = random.shuffle) -> None:
        self._clock = clock
        self._shuffle = shuffle
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def candidates(self, route: Route, client: str) -> list[Target]:
        """The endpoints to try for a new connection, in this order; empty when nobody serves this client."""
        found = [*route.targets_for(client)]
        self._shuffle(found)
        seen = self._seen.get((route.affinity, client)) if route.affinity else None
        if seen is not None and seen.target in found and self._clock.monotonic() - seen.at < route.affinity_seconds:
            found.remove(seen.target)
            found.insert(0, seen.target)
        return found

    def remember(self, route: Route, client: str, target: Target) -> None:
        """A client was led to an endpoint, now."""
        if not route.affinity:
            return
        key = (route.affinity, client)
        self._seen[key] = _Seen(target, self._clock.monotonic())
        self._seen.move_to_end(key)
        if len(self._seen) > CLIENTS_MAX:
            self._seen.popitem(last=False)
