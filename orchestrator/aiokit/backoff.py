"""Exponential back-off per item, as client-go's ItemExponentialFailureRateLimiter counts it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class ItemBackoff:
    """Delays that double with every failure of the same item, up to a maximum.

    At most `items_max` items are remembered; the one that failed longest ago is forgotten first,
    which only makes its next delay short again.
    """

    def __init__(self, *, base_seconds: float = 0.005, max_seconds: float = 1000.0, items_max: int = 100_000) -> None:
        self._base_seconds = base_seconds
        self._max_seconds = max_seconds
        self._items_max = items_max
        self._failures: OrderedDict[Hashable, int] = OrderedDict()

    def next_delay(self, item: Hashable) -> float:
        """Count one more failure of this item; returns how many seconds to wait now."""
        failures = self._failures.pop(item, 0)
        self._failures[item] = failures + 1
        if len(self._failures) > self._items_max:
            self._failures.popitem(last=False)
        return min(self._base_seconds * 2.0 ** min(failures, 60), self._max_seconds)

    def failures(self, item: Hashable) -> int:
        """How often this item failed since it was last forgotten."""
        return self._failures.get(item, 0)

    def forget(self, item: Hashable) -> None:
        """The item succeeded (or is gone): its next failure starts at the base delay."""
        self._failures.pop(item, None)
