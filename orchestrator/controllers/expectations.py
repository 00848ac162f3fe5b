"""What a controller wrote and its cache does not show yet.

A controller that acts on a cache which lacks its own last writes makes duplicates. Before it acts
again on a key it asks here whether the caches have caught up. Exact instead of counted: a write is
seen when the informer has come to its resource version (versions are comparable, KEP-5504), a
deletion is seen when the object is gone, replaced or marked. Mirrors what kube-controller-manager
reaches with expectations (ControllerExpectations) and staleness mitigation (KEP-5647).
"""

from __future__ import annotations

from msgspec import Struct, field

from orchestrator.api.objects import Object, is_terminating, key_of, resource_version_of, uid_of
from orchestrator.client.informer import Informer

RECHECK_SECONDS = 30.0
"""When to look again at an unfulfilled key in case no event leads back to it (after a relist)."""


def is_at_least(resource_version: str, wanted: str) -> bool:
    """Whether one resource version is as new as another; versions that are no numbers count as new enough."""
    try:
        return int(resource_version or 0) >= int(wanted)
    except ValueError:
        return True


class _Pending(Struct):
    written: dict[Informer, str] = field(default_factory=dict)
    deleted: dict[tuple[Informer, str], str] = field(default_factory=dict)


class Expectations:
    """Pending writes by the key of the object that they were made for; bounded by what is in flight."""

    def __init__(self) -> None:
        self._pending: dict[str, _Pending] = {}

    def wrote(self, key: str, informer: Informer, obj: Object) -> None:
        """The API answered a create or update with this object."""
        version = resource_version_of(obj)
        if not version or is_at_least(informer.resource_version, version):
            return
        written = self._pending.setdefault(key, _Pending()).written
        if informer not in written or not is_at_least(written[informer], version):
            written[informer] = version

    def deleted(self, key: str, informer: Informer, obj: Object) -> None:
        """The API accepted the deletion of this object."""
        self._pending.setdefault(key, _Pending()).deleted[informer, key_of(obj)] = uid_of(obj)

    def is_fulfilled(self, key: str) -> bool:
        """Whether the caches show every write that was made for this key."""
        pending = self._pending.get(key)
        if pending is None:
            return True
        for informer, version in [*pending.written.items()]:
            if is_at_least(informer.resource_version, version):
                del pending.written[informer]
        for (informer, name), uid in [*pending.deleted.items()]:
            cached = informer.get(name)
            if cached is None or uid_of(cached) != uid or is_terminating(cached):
                del pending.deleted[informer, name]
        if pending.written or pending.deleted:
            return False
        del self._pending[key]
        return True

    async def fulfilled(self, key: str) -> None:
        """Wait until the caches show every write that was made for this key; for controllers with one worker."""
        while not self.is_fulfilled(key):
            pending = self._pending[key]
            # All of them have to come: which one is waited for makes no difference.
            informer = next(iter((*pending.written, *(informer for informer, _ in pending.deleted))))
            await informer.progress()

    def forget(self, key: str) -> None:
        """The object is gone."""
        self._pending.pop(key, None)
