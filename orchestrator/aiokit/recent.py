"""A map of bounded size that forgets what nobody asked for: for answers that are the same again and again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentMap(Generic[K, V]):
    """Two generations of at most `entries_max` entries; what is found in the old one moves to the new one.

    Cheaper than a least-recently-used order: nothing is moved while the new generation fills up, and forgetting is
    dropping a dict. Values are never None.
    """

    __slots__ = ("_entries_max", "_new", "_old")

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: K) -> V | None:
        """The value of a key, unless it was forgotten."""
        found = self._new.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Remember a value for a key."""
        if len(self._new) >= self._entries_max:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def first(self, key: K, value: V) -> V:
        """The value that was given first for this key."""
        found = self._new.get(key)
        if found is None:
            found = self._old.get(key, value)
            self.put(key, found)
        return found
