"""A state machine of writers, listers and watchers against a simple model of one collection.

Whatever order requests come in: every write has a higher resourceVersion than the one before; a list is the state of
one revision, in one page or in many; a watch from any version seen reports each change after it once, in order, and
with selectors as if the collection held nothing else. So list, then watch, misses nothing, and a watch that broke off
goes on where it was.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, resource_version_of
from orchestrator.api.resources import CONFIG_MAPS
from orchestrator.client.transport import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, WatchStream
from orchestrator.testing import running_cluster

NAMESPACE = "default"
SECONDS_MAX = 5.0
names = st.sampled_from(["a", "b", "c", "d"])
colors = st.sampled_from(["red", "blue", ""])
values = st.sampled_from(["1", "2", "3"])
selections = st.sampled_from([("", ""), ("color=red", ""), ("color!=red", ""), ("", "metadata.name=a")])


@dataclass(frozen=True)
class Item:
    """What the model knows of an object."""

    color: str
    value: str
    version: int


@dataclass(frozen=True)
class Change:
    """One committed write: before and after, None where there was nothing."""

    version: int
    name: str
    old: Item | None
    new: Item | None


@dataclass
class Follower:
    """An open watch, what it selects, and what it still has to report."""

    stream: WatchStream
    selection: tuple[str, str]
    after: int
    """The version of the last change that is accounted for."""
    seen: int
    """The version that it could be resumed from."""


def selects(selection: tuple[str, str], name: str, item: Item | None) -> bool:
    if item is None:
        return False
    labels, fields = selection
    if labels:
        return (item.color == "red") == (labels == "color=red")
    return not fields or name == "a"


def expected_event(selection: tuple[str, str], change: Change) -> tuple[str, str, int] | None:
    before = selects(selection, change.name, change.old)
    after = selects(selection, change.name, change.new)
    if not before and not after:
        return None
    kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
    return kind, change.name, change.version


def config_map(name: str, color: str, value: str, version: int | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": NAMESPACE, "labels": {"color": color} if color else {}}
    if version is not None:
        metadata["resourceVersion"] = str(version)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


class Collection(RuleBasedStateMachine):
    versions = Bundle("versions")
    followers = Bundle("followers")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.items: dict[str, Item] = {}
        self.changes: list[Change] = []
        self.open: list[Follower] = []
        self.version = 0

    def run(self, coroutine: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(SECONDS_MAX):
                return await coroutine

        return self.runner.run(bounded())

    @initialize(target=versions)
    def start(self) -> int:
        cluster = self.run(self.stack.enter_async_context(running_cluster(nodes=0, controllers=(), scheduler=False)))
        self.client = cluster.client()
        self.version = int(resource_version_of(self.run(self.client.list(CONFIG_MAPS, NAMESPACE))))
        return self.version

    def teardown(self) -> None:
        for follower in self.open:
            follower.stream.close()
        self.runner.run(self.stack.aclose())
        self.runner.close()

    # Writes.

    def committed(self, name: str, obj: Object | None, version: int) -> int:
        assert version > self.version, "resource versions only grow"
        old = self.items.pop(name, None)
        new = None
        if obj is not None:
            labels = obj["metadata"].get("labels") or {}
            new = self.items[name] = Item(labels.get("color", ""), obj["data"]["value"], version)
        self.changes.append(Change(version, name, old, new))
        self.version = version
        return version

    def written(self, name: str, obj: Object) -> int:
        """A write that may have changed nothing, in which case it got no new version."""
        version = int(resource_version_of(obj))
        current = self.items.get(name)
        return version if current is not None and current.version == version else self.committed(name, obj, version)

    @rule(target=versions, name=names, color=colors, value=values)
    def create(self, name: str, color: str, value: str) -> Any:
        creation = self.client.create(CONFIG_MAPS, config_map(name, color, value))
        if name in self.items:
            with pytest.raises(errors.AlreadyExists):
                self.run(creation)
            return multiple()
        obj = self.run(creation)
        return self.committed(name, obj, int(resource_version_of(obj)))

    @rule(target=versions, name=names, color=colors, value=values, is_stale=st.booleans())
    def update(self, name: str, color: str, value: str, is_stale: bool) -> Any:
        current = self.items.get(name)
        version = current.version if current else 1
        update = self.client.update(CONFIG_MAPS, config_map(name, color, value, 1 if is_stale else version))
        if current is None or is_stale:
            with pytest.raises(errors.NotFound if current is None else errors.Conflict):
                self.run(update)
            return multiple()
        obj = self.run(update)
        if (current.color, current.value) == (color, value):
            assert int(resource_version_of(obj)) == current.version, "a write without a change is none"
        return self.written(name, obj)

    @rule(target=versions, name=names, value=values, color=colors, way=st.sampled_from([MERGE_PATCH, JSON_PATCH]))
    def patch(self, name: str, value: str, color: str, way: str) -> Any:
        patch: Any = {"data": {"value": value}, "metadata": {"labels": {"color": color or None}}}
        if way == JSON_PATCH:
            patch = [{"op": "replace", "path": "/data/value", "value": value}]
        call = self.client.patch(CONFIG_MAPS, name, patch, NAMESPACE, content_type=way)
        if name not in self.items:
            with pytest.raises(errors.NotFound):
                self.run(call)
            return multiple()
        return self.written(name, self.run(call))

    @rule(target=versions, name=names, value=values)
    def apply(self, name: str, value: str) -> int:
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}
        query = {"fieldManager": "machine", "force": "true"}
        obj = self.run(self.client.patch(CONFIG_MAPS, name, applied, NAMESPACE, content_type=APPLY_PATCH, query=query))
        assert obj["data"]["value"] == value
        return self.written(name, obj)

    @rule(name=names, is_stale=st.booleans())
    def delete(self, name: str, is_stale: bool) -> None:
        current = self.items.get(name)
        version = "1" if is_stale else ""
        call = self.client.delete(CONFIG_MAPS, name, NAMESPACE, resource_version=version)
        if current is None or is_stale:
            with pytest.raises(errors.NotFound if current is None else errors.Conflict):
                self.run(call)
            return
        self.run(call)
        self.committed(name, None, self.listed_version())

    @rule(selection=selections)
    def delete_collection(self, selection: tuple[str, str]) -> None:
        doomed = [name for name in sorted(self.items) if selects((selection[0], ""), name, self.items[name])]
        before = self.version
        self.run(self.client.delete_collection(CONFIG_MAPS, NAMESPACE, label_selector=selection[0]))
        for position, name in enumerate(doomed, 1):
            self.committed(name, None, before + position)
        assert self.listed_version() == self.version

    def listed_version(self) -> int:
        return int(resource_version_of(self.run(self.client.list(CONFIG_MAPS, NAMESPACE))))

    # Reads.

    @rule(target=versions, selection=selections, limit=st.integers(0, 3))
    def list(self, selection: tuple[str, str], limit: int) -> int:
        found: list[Object] = []
        token, versions = "", set()
        while True:
            page = self.run(
                self.client.list(
                    CONFIG_MAPS, NAMESPACE, label_selector=selection[0], field_selector=selection[1], limit=limit,
                    continue_token=token,
                )
            )  # fmt: skip
            assert not limit or len(page["items"]) <= limit
            found += page["items"]
            versions.add(int(resource_version_of(page)))
            token = page["metadata"].get("continue", "")
            if not token:
                break
        assert versions == {self.version}
        assert {name_of(one): int(resource_version_of(one)) for one in found} == {
            name: item.version for name, item in self.items.items() if selects(selection, name, item)
        }
        assert [name_of(one) for one in found] == sorted(name_of(one) for one in found)
        return self.version

    @rule(limit=st.integers(1, 2), name=names, value=values, color=colors)
    def page_through_a_changing_collection(self, limit: int, name: str, value: str, color: str) -> None:
        wanted = {name: item.version for name, item in self.items.items()}
        page = self.run(self.client.list(CONFIG_MAPS, NAMESPACE, limit=limit))
        self.apply(name, value)
        found = page["items"]
        while token := page["metadata"].get("continue", ""):
            page = self.run(self.client.list(CONFIG_MAPS, NAMESPACE, limit=limit, continue_token=token))
            found += page["items"]
        assert {name_of(one): int(resource_version_of(one)) for one in found} == wanted, "all pages are of one revision"

    @rule(target=followers, version=versions, selection=selections)
    def watch(self, version: int, selection: tuple[str, str]) -> Follower:
        follower = Follower(self.opened(version, selection), selection, version, version)
        self.open.append(follower)
        return follower

    def opened(self, version: int, selection: tuple[str, str]) -> WatchStream:
        stream: WatchStream = self.run(
            self.client.watch(
                CONFIG_MAPS, NAMESPACE, resource_version=str(version), label_selector=selection[0],
                field_selector=selection[1],
            )
        )  # fmt: skip
        return stream

    @rule(follower=followers)
    def break_off_and_resume(self, follower: Follower) -> None:
        follower.stream.close()
        follower.stream = self.opened(follower.seen, follower.selection)

    @rule(follower=followers)
    def read(self, follower: Follower) -> None:
        expected = [
            event
            for change in self.changes
            if change.version > follower.after and (event := expected_event(follower.selection, change))
        ]
        received: list[tuple[str, str, int]] = []
        while len(received) < len(expected):
            for kind, obj in self.run(follower.stream.next_batch()):
                version = int(resource_version_of(obj))
                assert version >= follower.seen
                follower.seen = version
                if kind != "BOOKMARK":
                    received.append((kind, name_of(obj), version))
        assert received == expected
        follower.after = max(follower.after, self.version)

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        for name, item in self.items.items():
            obj = self.run(self.client.get(CONFIG_MAPS, name, NAMESPACE))
            assert (obj["data"]["value"], int(resource_version_of(obj))) == (item.value, item.version)


Collection.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCollection = Collection.TestCase
