"""The harness itself: what a test's cluster leaves behind."""

from __future__ import annotations

import asyncio
import gc
import weakref

from orchestrator.api.resources import CONFIG_MAPS
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster


async def test_a_cluster_that_has_ended_is_garbage() -> None:
    async def use() -> weakref.ref[Cluster]:
        async with running_cluster() as cluster:
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}
            await cluster.client().create(CONFIG_MAPS, obj)
            return weakref.ref(cluster)

    ended = await use()
    for _ in range(5):
        await asyncio.sleep(0)  # the loop lets go of what it called last
        gc.collect()
    assert ended() is None
    assert gc.get_freeze_count() == 0
