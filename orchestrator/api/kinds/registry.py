"""The registry of kinds: found by the URL's group, version and plural, or by an object's kind.

Built-in kinds are registered once at start; kinds of CustomResourceDefinitions come and go at run
time through the same two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orchestrator.api.kinds.descriptor import Kind


class Registry:
    """The kinds that one API server serves."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str, str], Kind] = {}
        self._by_storage: dict[str, list[Kind]] = {}
        """Group-resource in the store → kinds that are stored there: the versions of one resource"""
        self.generation = 0
        """Counts changes, so that what is derived (discovery, OpenAPI) knows when it is stale."""
        self._builtin_groups: set[str] = set()
        self._builtin_generation = -1
        self.listeners: list[Callable[[str, str], None]] = []
        """Called with the group and version of every kind that came or went."""
        for kind in kinds:
            self.register(kind)

    def register(self, kind: Kind) -> None:
        """Serve a kind from now on, or replace its descriptor."""
        resource = kind.resource
        self._forget(self._by_path.get((resource.group, resource.version, resource.plural)))
        self._by_storage.setdefault(kind.stored_resource, []).append(kind)
        self._by_path[resource.group, resource.version, resource.plural] = kind
        self._by_kind[resource.group, resource.version, resource.kind] = kind
        self._changed(kind)

    def unregister(self, kind: Kind) -> None:
        """Stop to serve a kind; unknown ones are ignored."""
        resource = kind.resource
        self._forget(self._by_path.pop((resource.group, resource.version, resource.plural), None))
        self._by_kind.pop((resource.group, resource.version, resource.kind), None)
        self._changed(kind)

    def _forget(self, kind: Kind | None) -> None:
        if kind is not None:
            together = self._by_storage[kind.stored_resource]
            together[:] = [one for one in together if one is not kind]
            if not together:
                del self._by_storage[kind.stored_resource]

    def siblings(self, kind: Kind) -> list[Kind]:
        """The same resource in other groups and versions."""
        together = self._by_storage.get(kind.stored_resource, ())
        return [one for one in together if one.resource != kind.resource] if len(together) > 1 else []

    def _changed(self, kind: Kind) -> None:
        self.generation += 1
        for listener in self.listeners:
            listener(kind.resource.group, kind.resource.version)

    def by_path(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind behind `/apis/<group>/<version>/.../<plural>`."""
        return self._by_path.get((group, version, plural))

    def is_builtin_group(self, group: str) -> bool:
        """Whether a kind of this group is served without a CustomResourceDefinition."""
        if self._builtin_generation != self.generation:
            self._builtin_groups = {kind.resource.group for kind in self._by_path.values() if kind.schema is None}
            self._builtin_generation = self.generation
        return group in self._builtin_groups

    def has_version(self, group: str, version: str) -> bool:
        """Whether any kind is served in this group and version."""
        return any(path[:2] == (group, version) for path in self._by_path)

    def by_kind(self, group: str, version: str, kind: str) -> Kind | None:
        """The kind that an object's apiVersion and kind name."""
        return self._by_kind.get((group, version, kind))

    def __iter__(self) -> Iterator[Kind]:
        """All kinds, in order of registration."""
        return iter(tuple(self._by_path.values()))

    def __len__(self) -> int:
        return len(self._by_path)
