"""The token volume that admission gives to pods."""

from __future__ import annotations

from typing import Any

from orchestrator.api.resources import PODS
from orchestrator.testing import running_cluster


def pod(name: str, image: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": image}]},
    }


def volume_of(pod: dict[str, Any]) -> str:
    """The name of the only volume, which every container mounts."""
    [volume] = pod["spec"]["volumes"]
    assert all([mount["name"] for mount in c["volumeMounts"]] == [volume["name"]] for c in pod["spec"]["containers"])
    return str(volume["name"])


async def test_pods_of_one_template_stay_alike_and_others_draw_another_name() -> None:
    async with running_cluster() as cluster:
        client = cluster.client()
        one = volume_of(await client.create(PODS, pod("one", "app:1")))
        two = volume_of(await client.create(PODS, pod("two", "app:1")))
        other = volume_of(await client.create(PODS, pod("other", "app:2")))
        assert one.startswith("kube-api-access-")
        assert one == two != other


async def test_a_pod_that_brings_a_token_volume_of_its_own_keeps_its_name() -> None:
    async with running_cluster() as cluster:
        own = pod("own", "app:1")
        own["spec"]["volumes"] = [{"name": "kube-api-access-mine", "emptyDir": {}}]
        assert volume_of(await cluster.client().create(PODS, own)) == "kube-api-access-mine"
