"""Equal parts of different objects, held once.

Pods of one template differ in names, times and addresses; everything else of their decoded dicts is equal.
Holding each such part once takes three fifths of what they need in memory. See docs/decisions/0010.
"""

from __future__ import annotations

from typing import Any

from orchestrator.aiokit.recent import RecentMap
from orchestrator.api.contents import ContentMap
from orchestrator.api.objects import Object

ENTRIES_MAX = 4096
"""Of each kind of part and generation; a part that is seen again moves to the new generation."""
_IDENTITY = frozenset(("name", "uid", "resourceVersion"))
"""Of metadata what no other object has: looking for it would only push out what others have."""


class PartPool:
    """The parts of the objects that it was shown last; of bounded size."""

    def __init__(self) -> None:
        self._contents: ContentMap[Any] = ContentMap()
        self._texts: RecentMap[str, str] = RecentMap(ENTRIES_MAX)
        self._numbers: RecentMap[int, int] = RecentMap(ENTRIES_MAX)
        self._dicts: RecentMap[tuple[Any, ...], Any] = RecentMap(ENTRIES_MAX)
        self._lists: RecentMap[tuple[int, ...], Any] = RecentMap(ENTRIES_MAX)
        self._shared_already: RecentMap[int, object] = RecentMap(ENTRIES_MAX)
        """id → a dict or list that is shared: the next state of an object has most parts of the one before."""

    def __len__(self) -> int:
        texts = len(self._contents) + len(self._texts) + len(self._numbers)
        return texts + len(self._dicts) + len(self._lists) + len(self._shared_already)

    def share(self, obj: Object) -> None:
        """Put, for each part of an object, one that is equal and was seen before; the object stays what it is.

        Works because objects are immutable by convention: nobody changes a part, so nobody sees who else has it.
        """
        for key, value in obj.items():
            if value.__class__ is not dict:
                obj[key] = self._shared(value)
            elif key == "spec":
                obj[key] = self.alike(value)
            elif key == "metadata":
                self._share_values(value, apart=_IDENTITY)
            elif key == "status":
                if (conditions := value.get("conditions")).__class__ is list:
                    value["conditions"] = self.alike(conditions)
                self._share_values(value)
            else:
                obj[key] = self._shared(value)

    def alike(self, part: Any) -> Any:
        """What objects of one template, or of one second, have in common: one look for all of it, not for each part."""
        if self._shared_already.get(id(part)) is part:
            return part
        return self._contents.of(part, lambda: self._shared(part))

    def _share_values(self, part: dict[str, Any], apart: frozenset[str] = frozenset()) -> None:
        texts = self._texts
        for key, value in part.items():
            kind = value.__class__
            if kind is str:
                if key not in apart:
                    part[key] = texts.first(value, value)
            elif kind is dict or kind is list or kind is int:
                part[key] = self._shared(value)

    def _shared(self, part: Any) -> Any:
        kind = type(part)
        if kind is dict:
            # The map holds what it finds, so that no other dict can have its id.
            if self._shared_already.get(id(part)) is part:
                return part
            self._share_values(part)
            # Its values are shared already: they are equal when they are the same. They live as long as the entry.
            found = self._dicts.first((*part, *map(id, part.values())), part)
            self._shared_already.put(id(found), found)
            return found
        if kind is list:
            if self._shared_already.get(id(part)) is part:
                return part
            part[:] = map(self._shared, part)
            found = self._lists.first(tuple(map(id, part)), part)
            self._shared_already.put(id(found), found)
            return found
        if kind is str:
            return self._texts.first(part, part)
        if kind is int:
            return self._numbers.first(part, part)
        return part
