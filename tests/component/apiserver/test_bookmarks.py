"""Bookmarks: a client whose watch shows it nothing still learns where to go on.

Source: the API concepts' chapter "Watch bookmarks", KEP-956.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.api.resources import CONFIG_MAPS
from orchestrator.apiserver.inprocess import component_user
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.watching import BOOKMARK_SECONDS, Change, ObjectWatch
from orchestrator.client.client import Client
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import ManualClock, running_cluster, settle

WATCH_SECONDS = 200


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cluster(clock: ManualClock) -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False, clock=clock) as cluster:
        yield cluster


async def open_watch(cluster: Cluster, **query: str) -> ObjectWatch:
    """A watch of a client that selects what nobody makes."""
    kind = cluster.api.registry.by_path("", "v1", "configmaps")
    assert kind is not None
    parameters = {"labelSelector": "wanted", "timeoutSeconds": str(WATCH_SECONDS), **query}
    user = component_user("kubernetes-admin", ("system:masters",))
    return await cluster.api.watch(ApiRequest(verb="watch", kind=kind, user=user, query=parameters))


async def make(client: Client, name: str, **labels: str) -> int:
    """Create an object; returns its revision."""
    obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
    }
    return int((await client.create(CONFIG_MAPS, obj))["metadata"]["resourceVersion"])


def told(changes: list[Change]) -> list[tuple[str, int]]:
    return [(change.type, change.revision) for change in changes]


async def test_events_that_a_client_does_not_select_do_not_put_its_bookmark_off(
    cluster: Cluster, clock: ManualClock
) -> None:
    watch = await open_watch(cluster, allowWatchBookmarks="true")
    reading = asyncio.create_task(watch.next_changes())
    revision = 0
    for number in range(int(BOOKMARK_SECONDS) // 20):
        revision = await make(cluster.client(), f"unseen-{number}")
        await clock.run(20)
    assert reading.done()
    assert told(await reading) == [("BOOKMARK", revision)]
    watch.close()


async def test_a_watch_whose_time_is_over_tells_how_far_it_came(cluster: Cluster, clock: ManualClock) -> None:
    watch = await open_watch(cluster, allowWatchBookmarks="true")
    await clock.run(WATCH_SECONDS - 10)
    reading = asyncio.create_task(watch.next_changes())
    await settle()
    revision = await make(cluster.client(), "unseen")
    await clock.run(10)
    assert told(await reading) == [("BOOKMARK", revision)]
    assert await watch.next_changes() == []
    watch.close()


async def test_nobody_gets_bookmarks_who_does_not_ask_for_them(cluster: Cluster, clock: ManualClock) -> None:
    watch = await open_watch(cluster)
    reading = asyncio.create_task(watch.next_changes())
    await make(cluster.client(), "unseen")
    await clock.run(WATCH_SECONDS)
    assert await reading == []
    watch.close()


async def test_a_component_of_the_cluster_is_not_woken_for_bookmarks(cluster: Cluster, clock: ManualClock) -> None:
    client = cluster.client()
    stream = await client.watch(
        CONFIG_MAPS, resource_version="0", label_selector="wanted", timeout_seconds=WATCH_SECONDS
    )
    reading = asyncio.create_task(stream.next_batch())
    revision = await make(client, "unseen")
    await clock.run(WATCH_SECONDS - 1)
    assert not reading.done()
    await clock.run(1)
    assert [(event.type, event.object["metadata"]["resourceVersion"]) for event in await reading] == [
        ("BOOKMARK", str(revision))
    ]
    assert await stream.next_batch() == []
    stream.close()
