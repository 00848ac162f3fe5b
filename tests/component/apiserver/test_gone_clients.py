"""Clients that leave without a word: what was done for them alone ends with their connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.api.resources import SERVICES
from orchestrator.apiserver.inprocess import component_user
from orchestrator.apiserver.request import ApiRequest
from orchestrator.testing import running_cluster
from tests.golden.replay import session_of


async def test_a_watch_that_has_nothing_to_tell_ends_with_its_client() -> None:
    async with running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster:
        store = cluster.api.store
        before = store.stats().watchers
        async with session_of(cluster) as session, asyncio.timeout(10):
            response = await session.get("/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0")
            assert store.stats().watchers == before + 1
            assert cluster.https is not None
            serving = list(cluster.https._watches)
            response.close()
            await asyncio.wait(serving)
            assert store.stats().watchers == before


async def test_a_service_whose_client_gave_up_holds_its_address_only_if_it_was_stored(tmp_path: Path) -> None:
    async with running_cluster(nodes=0, controllers=(), scheduler=False, data_dir=tmp_path) as cluster:
        kind = cluster.api.registry.by_path("", "v1", SERVICES.plural)
        assert kind is not None
        user = component_user("kubernetes-admin", ("system:masters",))
        client = cluster.client()

        def service(name: str) -> ApiRequest:
            spec = {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}
            body = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
            return ApiRequest("create", kind, user, "default", body=body)

        for turns in range(12):
            creating = asyncio.create_task(cluster.api.handle(service("given-up")))
            for _ in range(turns):
                await asyncio.sleep(0)
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)
            stored = (await client.list(SERVICES, "default", field_selector="metadata.name=given-up"))["items"]
            if stored:
                await client.delete(SERVICES, "given-up", "default")
            await cluster.api.handle(service("next"))
            await client.delete(SERVICES, "next", "default")
