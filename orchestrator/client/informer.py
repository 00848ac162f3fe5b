"""Informers: a local, read-only copy of a collection, kept up to date by list and watch.

Mirrors client-go's shared informers. An informer lists once, then follows the watch; after a
disconnect it resumes, after `Expired` it lists again and tells handlers the difference. Handlers
are plain functions that add keys to work queues. Objects in the cache belong to everybody: never
modify them (a mutation detector checks this in tests).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import orjson

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object, key_of, namespace_of, resource_version_of
from orchestrator.api.resources import Resource
from orchestrator.client.client import Client
from orchestrator.client.transport import WatchStream
from orchestrator.logs import get_logger

IndexFunction = Callable[[Object], Iterable[str]]
"""The values under which an index finds an object."""

Objects = list[Object]

LIST_CHUNK = 500


class Handler(Protocol):
    """Called after the cache changed: (None, new) added, (old, new) changed, (old, None) deleted."""

    def __call__(self, old: Object | None, new: Object | None) -> None: ...


class Informer:
    """The cache of one resource, optionally narrowed by namespace and selectors.

    `run` keeps it up to date until cancelled. Reads are synchronous and see one consistent moment
    between two awaits.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        clock: Clock,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        detect_mutations: bool = False,
    ) -> None:
        self.resource = resource
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._objects: dict[str, Object] = {}
        self._by_namespace: dict[str, dict[str, Object]] = {}
        self._index_functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._backoff = ItemBackoff(base_seconds=0.05, max_seconds=30.0, items_max=1)
        self._resource_version = ""
        self._progress: asyncio.Event | None = None
        self._fingerprints: dict[str, bytes] | None = {} if detect_mutations else None
        self._log = get_logger("informer", resource=resource.group_resource)

    # Set-up, before `run`.

    def add_handler(self, handler: Handler) -> None:
        """Call this function after every change; one that comes late first hears of what is there."""
        self._handlers.append(handler)
        for obj in self._objects.values():
            handler(None, obj)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep an index; adding the same name twice keeps the first."""
        if name in self._index_functions:
            return
        self._index_functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._index_one(name, key, None, obj)

    # Reading.

    @property
    def has_synced(self) -> bool:
        """Whether the first list arrived."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    @property
    def resource_version(self) -> str:
        """How far the cache has come."""
        return self._resource_version

    async def progress(self) -> None:
        """Return once the cache has come further than it is now."""
        if self._progress is None:
            self._progress = asyncio.Event()
        await self._progress.wait()

    def get(self, key: str) -> Object | None:
        """The object with this key (`namespace/name`, or `name`)."""
        return self._objects.get(key)

    def list(self, namespace: str = "") -> Objects:
        """All objects, or those of one namespace."""
        source = self._by_namespace.get(namespace, {}) if namespace else self._objects
        return [*source.values()]

    def is_empty(self, namespace: str) -> bool:
        """Whether there is nothing in a namespace."""
        return namespace not in self._by_namespace

    def by_index(self, index: str, value: str) -> Objects:
        """The objects that an index holds under a value."""
        return [*self._indexes[index].get(value, {}).values()]

    def index(self, index: str) -> Mapping[str, Mapping[str, Object]]:
        """An index itself: its values, and by key the objects under each."""
        return self._indexes[index]

    def __len__(self) -> int:
        return len(self._objects)

    # Following the API.

    async def run(self) -> None:
        """List, watch, and begin again after errors; ends only by cancellation."""
        while True:
            try:
                if not self._resource_version:
                    await self._list()
                await self._follow()
            except errors.Expired as error:
                self._resource_version = ""
                await self._pause("informer.expired", error)
            except errors.ApiError as error:
                await self._pause("informer.retry", error)
            except OSError as error:
                await self._pause("informer.disconnected", error)

    async def _pause(self, why: str, error: Exception) -> None:
        delay = self._backoff.next_delay("")
        self._log.info(why, error=str(error), delay_seconds=delay)
        await self._clock.sleep(delay)

    async def _list(self) -> None:
        items: Objects = []
        token = ""
        while True:
            page = await self._client.list(
                self.resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=LIST_CHUNK,
                continue_token=token,
            )
            items += page.get("items") or ()
            metadata = page["metadata"]
            token = metadata.get("continue") or ""
            if not token:
                break
        self._replace(items)
        self._resource_version = metadata["resourceVersion"]
        self._backoff.forget("")
        self._synced.set()
        self._tell_progress()

    async def _follow(self) -> None:
        stream: WatchStream = await self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        try:
            while True:
                batch = await stream.next_batch()
                if not batch:
                    return  # the server ends watches from time to time; resume where we are
                self._backoff.forget("")
                for event_type, obj in batch:
                    if event_type != "BOOKMARK":
                        key = key_of(obj)
                        self._apply(key, None if event_type == "DELETED" else obj, obj)
                    self._resource_version = resource_version_of(obj)
                self._tell_progress()
        finally:
            stream.close()

    def _tell_progress(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    # The cache; plain functions, so that no reader ever sees half a change.

    def _replace(self, items: Objects) -> None:
        fresh = {self._key_of_item(item): item for item in items}
        for key in [key for key in self._objects if key not in fresh]:
            self._apply(key, None, None)
        for key, obj in fresh.items():
            known = self._objects.get(key)
            if known is None or resource_version_of(known) != resource_version_of(obj):
                self._apply(key, obj, None)

    def _key_of_item(self, item: Object) -> str:
        # Items of a typed list carry neither apiVersion nor kind on the wire; consumers expect them.
        if "kind" not in item:
            item["apiVersion"] = self.resource.api_version
            item["kind"] = self.resource.kind
        return key_of(item)

    def _apply(self, key: str, obj: Object | None, last_state: Object | None) -> None:
        old = self._objects.get(key)
        if obj is None:
            if old is None:
                return
            del self._objects[key]
        else:
            self._objects[key] = obj
        subject = obj if obj is not None else old
        assert subject is not None
        namespace = namespace_of(subject)
        if namespace:
            bucket = self._by_namespace.setdefault(namespace, {})
            if obj is None:
                bucket.pop(key, None)
                if not bucket:
                    del self._by_namespace[namespace]
            else:
                bucket[key] = obj
        for index in self._index_functions:
            self._index_one(index, key, old, obj)
        if self._fingerprints is not None:
            self._check_mutation(key, old, obj)
        # The last state of a deleted object is newer than what the cache held.
        gone = last_state if obj is None and last_state is not None else old
        for handler in self._handlers:
            handler(gone if obj is None else old, obj)

    def _index_one(self, index: str, key: str, old: Object | None, obj: Object | None) -> None:
        function, values = self._index_functions[index], self._indexes[index]
        before = function(old) if old is not None else ()
        after = function(obj) if obj is not None else ()
        if obj is not None and before == after:
            for value in after:  # as with most changes: under the same values as before
                values[value][key] = obj
            return
        for value in before:
            bucket = values.get(value)
            if bucket is not None:
                bucket.pop(key, None)
                if not bucket:
                    del values[value]
        for value in after:
            values.setdefault(value, {})[key] = obj  # type: ignore[assignment]

    def _check_mutation(self, key: str, old: Object | None, obj: Object | None) -> None:
        assert self._fingerprints is not None
        known = self._fingerprints.pop(key, None)
        if old is not None and known is not None and orjson.dumps(old) != known:
            raise AssertionError(f"{self.resource.plural} {key} was modified in the informer's cache")
        if obj is not None:
            self._fingerprints[key] = orjson.dumps(obj)


class Informers:
    """The informers that the components of one identity share: one per resource and selector."""

    def __init__(self, client: Client, *, clock: Clock, detect_mutations: bool = False) -> None:
        self._client = client
        self._clock = clock
        self._detect_mutations = detect_mutations
        self._informers: dict[tuple[Resource, str, str], Informer] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(self, resource: Resource, *, label_selector: str = "", field_selector: str = "") -> Informer:
        """The shared informer of a resource; made on first use, started by `run` or at once when running."""
        identity = (resource, label_selector, field_selector)
        informer = self._informers.get(identity)
        if informer is None:
            informer = Informer(
                self._client,
                resource,
                clock=self._clock,
                label_selector=label_selector,
                field_selector=field_selector,
                detect_mutations=self._detect_mutations,
            )
            self._informers[identity] = informer
            if self._group is not None:
                self._start(informer)
        return informer

    def not_synced(self) -> list[str]:
        """The resources whose first list did not arrive yet."""
        return [one.resource.group_resource for one in self._informers.values() if not one.has_synced]

    async def wait_synced(self) -> None:
        """Return once every informer that was asked for so far has its first list."""
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    async def run(self) -> None:
        """Run all informers, those made later included; ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in self._informers.values():
                    self._start(informer)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def _start(self, informer: Informer) -> None:
        assert self._group is not None
        self._group.create_task(informer.run(), name=f"informer/{informer.resource.group_resource}")
