"""ResourceQuotas on a running cluster."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import CONFIG_MAPS, PODS, RESOURCE_QUOTAS, SERVICES

from .conftest import Stage, template


def quota(hard: dict[str, str], **spec: Any) -> Object:
    """The quota `q` in `default`."""
    metadata = {"name": "q", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard, **spec}}


def used(**amounts: str) -> Any:
    wanted = {name.replace("__", "/").replace("_", "."): amount for name, amount in amounts.items()}
    return lambda one: (one.get("status") or {}).get("used") == wanted


def pod(name: str, cpu: str) -> Object:
    one: Object = {"apiVersion": "v1", "kind": "Pod", **template()}
    one["metadata"] = {"name": name, "namespace": "default"}
    one["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return one


async def test_usage_follows_what_comes_and_goes(stage: Stage) -> None:
    await stage.client.create(PODS, pod("one", "500m"))
    await stage.client.create(RESOURCE_QUOTAS, quota({"pods": "5", "requests.cpu": "4", "count/configmaps": "9"}))
    maps = len((await stage.client.list(CONFIG_MAPS, "default"))["items"])
    await stage.until_one(RESOURCE_QUOTAS, "q", used(pods="1", requests_cpu="500m", count__configmaps=str(maps)))
    await stage.client.create(PODS, pod("two", "1"))
    await stage.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}})  # fmt: skip  # noqa: E501
    await stage.until_one(RESOURCE_QUOTAS, "q", used(pods="2", requests_cpu="1500m", count__configmaps=str(maps + 1)))
    (one, _) = sorted((await stage.client.list(PODS, "default"))["items"], key=name_of)
    await stage.finish(one)
    await stage.client.delete(CONFIG_MAPS, "m", "default")
    await stage.until_one(RESOURCE_QUOTAS, "q", used(pods="1", requests_cpu="1", count__configmaps=str(maps)))


async def test_a_changed_quota_counts_anew(stage: Stage) -> None:
    await stage.client.create(RESOURCE_QUOTAS, quota({"pods": "5"}))
    await stage.until_one(RESOURCE_QUOTAS, "q", used(pods="0"))
    service = {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "name": "b"}]}
    service["ports"][0]["name"] = "a"  # type: ignore[index]
    await stage.client.create(
        SERVICES,
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}, "spec": service},
    )
    await stage.client.patch(
        RESOURCE_QUOTAS, "q", {"spec": {"hard": {"pods": None, "services.nodeports": "5"}}}, "default"
    )
    one = await stage.until_one(RESOURCE_QUOTAS, "q", used(services_nodeports="2"))
    assert one["status"]["hard"] == {"services.nodeports": "5"}
