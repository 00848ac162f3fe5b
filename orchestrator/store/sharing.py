"""Equal parts of different objects, held once.

Pods of one template differ in names, times and addresses; everything else of their decoded dicts is equal.
Holding each such part once takes three fifths of what they need in memory. See docs/decisions/0010.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object

ENTRIES_MAX = 4096
"""Of each kind of part and generation; a part that is seen again moves to the new generation."""


class _Generations:
    """A map that forgets what was not asked for while it filled up."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def first(self, key: Any, part: Any) -> Any:
        """The part that was given first for this key."""
        found = self._new.get(key)
        if found is not None:
            return found
        found = self._old.get(key, part)
        if len(self._new) >= ENTRIES_MAX:
            self._old, self._new = self._new, {}
        self._new[key] = found
        return found


class PartPool:
    """The parts of the objects that it was shown last; of bounded size."""

    def __init__(self) -> None:
        self._texts = _Generations()
        self._numbers = _Generations()
        self._dicts = _Generations()
        self._lists = _Generations()

    def __len__(self) -> int:
        return len(self._texts) + len(self._numbers) + len(self._dicts) + len(self._lists)

    def share(self, obj: Object) -> None:
        """Put, for each part of an object, one that is equal and was seen before; the object stays what it is.

        Works because objects are immutable by convention: nobody changes a part, so nobody sees who else has it.
        """
        for key, value in obj.items():
            obj[key] = self._shared(value)

    def _shared(self, part: Any) -> Any:
        kind = type(part)
        if kind is str:
            return self._texts.first(part, part)
        if kind is dict:
            for key, value in part.items():
                part[key] = self._shared(value)
            # Its values are shared already: they are equal when they are the same. They live as long as the entry.
            return self._dicts.first((*part, *map(id, part.values())), part)
        if kind is list:
            part[:] = map(self._shared, part)
            return self._lists.first(tuple(map(id, part)), part)
        if kind is int:
            return self._numbers.first(part, part)
        return part
