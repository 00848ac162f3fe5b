"""Waiting until a cache shows what was written."""

from __future__ import annotations

import asyncio

from orchestrator.api.objects import key_of
from orchestrator.api.resources import CONFIG_MAPS
from orchestrator.client.informer import Informers
from orchestrator.controllers.expectations import Expectations
from orchestrator.testing import running_cluster


async def test_writes_and_deletions_are_waited_for_until_the_cache_shows_them() -> None:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as cluster, asyncio.TaskGroup() as group:
        client = cluster.client()
        informers = Informers(client, clock=cluster.clock)
        cache = informers.informer(CONFIG_MAPS)
        running = group.create_task(informers.run())
        await informers.wait_synced()
        expectations = Expectations()
        for name in ("a", "b"):
            made = await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
            expectations.wrote("key", cache, made)
            assert not expectations.is_fulfilled("key")
        await expectations.fulfilled("another key")
        assert cache.get("default/b") is None
        await expectations.fulfilled("key")
        assert cache.get("default/b") == made

        await client.delete(CONFIG_MAPS, "b", "default")
        expectations.deleted("key", cache, made)
        assert cache.get(key_of(made)) is not None
        await expectations.fulfilled("key")
        assert cache.get(key_of(made)) is None
        running.cancel()
