"""The two phases of a pod's deletion, as a watcher sees them: the mark, also with a grace period of 0, and the end.

Source: k8s.io/apiserver/pkg/registry/rest `BeforeDelete`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestrator.api.objects import Object
from orchestrator.api.resources import CONFIG_MAPS, PODS, SERVICE_ACCOUNTS, Resource
from orchestrator.client.client import Client
from orchestrator.client.transport import WatchEvent
from orchestrator.testing import running_cluster

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"containers": [{"name": "c", "image": "web:1"}], "nodeName": "somewhere"},
}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as cluster:
        client = cluster.client()
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "default"},
        }
        await client.create(SERVICE_ACCOUNTS, account)
        yield client


async def events_until_deleted(client: Client, since: Object, resource: Resource = PODS) -> list[WatchEvent]:
    watch = await client.watch(resource, resource_version=since["metadata"]["resourceVersion"])
    seen: list[WatchEvent] = []
    try:
        while not any(event.type == "DELETED" for event in seen):
            seen += [event for event in await watch.next_batch() if event.type != "BOOKMARK"]
    finally:
        watch.close()
    return seen


def told(event: WatchEvent) -> tuple[str, bool, int | None, int | None]:
    metadata = event.object["metadata"]
    is_marked = "deletionTimestamp" in metadata
    return event.type, is_marked, metadata.get("deletionGracePeriodSeconds"), metadata.get("generation")


async def test_a_forced_deletion_is_marked_before_it_happens(client: Client) -> None:
    made = await client.create(PODS, POD)
    answer = await client.delete(PODS, "p", "default", grace_period_seconds=0)
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 0
    assert [told(event) for event in await events_until_deleted(client, made)] == [
        ("MODIFIED", True, 0, 2),
        ("DELETED", True, 0, 2),
    ]


async def test_the_end_of_a_graceful_deletion_shortens_its_grace_period_first(client: Client) -> None:
    made = await client.create(PODS, POD)
    await client.delete(PODS, "p", "default", grace_period_seconds=30)
    await client.delete(PODS, "p", "default", grace_period_seconds=0)
    assert [told(event) for event in await events_until_deleted(client, made)] == [
        ("MODIFIED", True, 30, 2),
        ("MODIFIED", True, 0, 2),
        ("DELETED", True, 0, 2),
    ]


async def test_a_shorter_grace_period_counts_from_the_first_request(client: Client) -> None:
    await client.create(PODS, POD)
    first = await client.delete(PODS, "p", "default", grace_period_seconds=60)
    second = await client.delete(PODS, "p", "default", grace_period_seconds=10)
    longer = await client.delete(PODS, "p", "default", grace_period_seconds=90)
    assert second["metadata"]["deletionTimestamp"] < first["metadata"]["deletionTimestamp"]
    assert second["metadata"]["deletionGracePeriodSeconds"] == 10
    assert longer["metadata"] == second["metadata"]


async def test_a_pod_with_a_finalizer_is_marked_and_stays(client: Client) -> None:
    finalized = {**POD, "metadata": {**POD["metadata"], "finalizers": ["example.com/hold"]}}
    await client.create(PODS, finalized)
    await client.delete(PODS, "p", "default", grace_period_seconds=0)
    held = await client.get(PODS, "p", "default")
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0


async def test_other_kinds_go_without_a_mark(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap",
                                             "metadata": {"name": "c", "namespace": "default"}})  # fmt: skip
    await client.delete(CONFIG_MAPS, "c", "default", grace_period_seconds=0)
    seen = await events_until_deleted(client, made, CONFIG_MAPS)
    assert [told(event) for event in seen] == [("DELETED", False, None, None)]
