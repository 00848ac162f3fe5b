"""Field ownership and server-side apply through the whole API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import CONFIG_MAPS, DEPLOYMENTS, NODES, PODS, SERVICE_ACCOUNTS, Resource
from orchestrator.client.client import Client
from orchestrator.client.transport import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, Request
from orchestrator.testing import ManualClock, running_cluster

NAMESPACE = "default"


class Api:
    """Writes in the name of any manager."""

    def __init__(self, cluster: Any, clock: ManualClock) -> None:
        self.client: Client = cluster.client()
        self.clock = clock

    async def apply(
        self,
        resource: Resource,
        config: Object,
        manager: str = "m1",
        *,
        force: bool = False,
        subresource: str = "",
        query: dict[str, str] | None = None,
    ) -> Object:
        given = {"fieldManager": manager, "force": "true" if force else "", **(query or {})}
        query = {key: value for key, value in given.items() if value}
        name = config["metadata"]["name"]
        request = Request("patch", resource, _namespace(resource), name, subresource, query, config, APPLY_PATCH)
        return await self.client.transport.send(request)

    async def create(self, resource: Resource, obj: Object, manager: str = "creator") -> Object:
        query = {"fieldManager": manager}
        return await self.client.transport.send(
            Request("create", resource, _namespace(resource), query=query, body=obj)
        )

    async def patch(
        self, resource: Resource, name: str, body: Any, manager: str, kind: str = MERGE_PATCH, subresource: str = ""
    ) -> Object:
        query = {"fieldManager": manager}
        request = Request("patch", resource, _namespace(resource), name, subresource, query, body, kind)
        return await self.client.transport.send(request)

    async def get(self, resource: Resource, name: str) -> Object:
        return await self.client.get(resource, name, _namespace(resource))


def _namespace(resource: Resource) -> str:
    return NAMESPACE if resource.namespaced else ""


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    clock = ManualClock()
    async with running_cluster(nodes=0, controllers=(), scheduler=False, clock=clock) as cluster:
        api = Api(cluster, clock)
        account = {"metadata": {"name": "default"}, "automountServiceAccountToken": False}
        with suppress(errors.AlreadyExists):  # the cluster may have made it itself
            await api.create(SERVICE_ACCOUNTS, account)
        yield api


def config_map(name: str = "c", **data: Any) -> Object:
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    if data:
        obj["data"] = data
    return obj


def deployment(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


def owners(obj: Object) -> dict[str, Any]:
    """manager, operation and subresource → fields."""
    return {
        "/".join(filter(None, (e["manager"], e["operation"], e.get("subresource")))): e["fieldsV1"]
        for e in obj["metadata"].get("managedFields") or ()
    }


async def test_apply_creates_and_changes_nothing_the_second_time(api: Api) -> None:
    created = await api.apply(CONFIG_MAPS, config_map(a="1"))
    assert owners(created) == {"m1/Apply": {"f:data": {"f:a": {}}}}
    api.clock.advance(5)
    again = await api.apply(CONFIG_MAPS, config_map(a="1"))
    assert again == created


async def test_apply_removes_what_it_leaves_out(api: Api) -> None:
    await api.apply(CONFIG_MAPS, config_map(a="1", b="2"))
    await api.patch(CONFIG_MAPS, "c", {"data": {"z": "9"}}, "editor")
    changed = await api.apply(CONFIG_MAPS, config_map(a="1"))
    assert changed["data"] == {"a": "1", "z": "9"}
    assert owners(changed) == {"m1/Apply": {"f:data": {"f:a": {}}}, "editor/Update": {"f:data": {"f:z": {}}}}


async def test_conflict_and_force(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment(replicas=1), "kubectl-client-side-apply")
    config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 3}}
    with pytest.raises(errors.Conflict) as caught:
        await api.apply(DEPLOYMENTS, config)
    owner = '"kubectl-client-side-apply" using apps/v1'
    assert caught.value.message == f"Apply failed with 1 conflict: conflict with {owner}: .spec.replicas"
    assert (await api.get(DEPLOYMENTS, "d"))["spec"]["replicas"] == 1
    forced = await api.apply(DEPLOYMENTS, config, force=True)
    assert forced["spec"]["replicas"] == 3
    assert forced["metadata"]["generation"] == 2
    assert owners(forced)["m1/Apply"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(forced)["kubectl-client-side-apply/Update"]["f:spec"]


async def test_defaults_are_the_creators_admission_is_nobodys(api: Api) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    created = await api.create(PODS, pod)
    fields = owners(created)["creator/Update"]
    container = fields["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert "f:imagePullPolicy" in container
    assert created["spec"]["tolerations"]
    assert "f:tolerations" not in fields["f:spec"]
    assert "f:status" not in fields


async def test_status_has_owners_of_its_own(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment(replicas=1))
    status = {"status": {"replicas": 1, "observedGeneration": 1}, "spec": {"replicas": 9}}
    changed = await api.patch(DEPLOYMENTS, "d", status, "controller", subresource="status")
    assert changed["spec"]["replicas"] == 1
    assert set(owners(changed)["controller/Update/status"]) == {"f:status"}
    config = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 9}, "status": {"updatedReplicas": 0, "readyReplicas": 1},
    }  # fmt: skip
    applied = await api.apply(DEPLOYMENTS, config, "sm", subresource="status")
    assert applied["spec"]["replicas"] == 1
    assert set(owners(applied)["sm/Apply/status"]) == {"f:status"}


async def test_times_move_only_with_changes(api: Api) -> None:
    created = await api.create(CONFIG_MAPS, config_map(a="1"))
    api.clock.advance(10)
    same = await api.patch(CONFIG_MAPS, "c", {"data": {"a": "1"}}, "creator")
    assert same == created
    changed = await api.patch(CONFIG_MAPS, "c", {"data": {"a": "2"}}, "creator")
    before, after = created["metadata"]["managedFields"][0], changed["metadata"]["managedFields"][0]
    assert after["time"] > before["time"]
    assert after["fieldsV1"] == before["fieldsV1"]


async def test_clients_that_know_nothing_of_owners_keep_them(api: Api) -> None:
    created = await api.create(CONFIG_MAPS, config_map(a="1"))
    query = {"fieldManager": "creator"}
    request = Request("update", CONFIG_MAPS, NAMESPACE, "c", query=query, body=config_map(a="1"))
    updated = await api.client.transport.send(request)
    assert owners(updated) == owners(created)


async def test_ownership_can_be_cleared_and_comes_back_with_an_apply(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map(a="1"))
    cleared = await api.patch(CONFIG_MAPS, "c", {"metadata": {"managedFields": [{}]}}, "creator")
    assert "managedFields" not in cleared["metadata"]
    changed = await api.patch(CONFIG_MAPS, "c", {"data": {"b": "2"}}, "creator")
    assert "managedFields" not in changed["metadata"], "not tracked until the first apply"
    applied = await api.apply(CONFIG_MAPS, config_map(c="3"))
    assert owners(applied) == {
        "m1/Apply": {"f:data": {"f:c": {}}},
        "before-first-apply/Update": {"f:data": {".": {}, "f:a": {}, "f:b": {}}},
    }


async def test_entries_can_be_edited_with_a_json_patch(api: Api) -> None:
    await api.apply(CONFIG_MAPS, config_map(a="1"))
    patch = [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "renamed"}]
    edited = await api.patch(CONFIG_MAPS, "c", patch, "editor", JSON_PATCH)
    assert owners(edited) == {"renamed/Apply": {"f:data": {"f:a": {}}}}


async def test_more_than_ten_updaters_are_merged(api: Api) -> None:
    obj = await api.create(CONFIG_MAPS, config_map(k0="0"), "m0")
    for number in range(1, 13):
        api.clock.advance(1)
        obj = await api.patch(CONFIG_MAPS, "c", {"data": {f"k{number}": "0"}}, f"m{number}")
    managers = [entry["manager"] for entry in obj["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert managers[0] == "ancient-changes"
    assert managers[-1] == "m12"


@pytest.mark.parametrize(
    ("config", "manager", "query", "error", "message"),
    [
        (config_map(a="1"), "", {}, errors.Invalid,
         'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'),
        ({"kind": "ConfigMap", "metadata": {"name": "c"}}, "m", {}, errors.BadRequest,
         "Incorrect version specified in apply patch. Specified patch version: , expected: v1"),
        ({**config_map(), "metadata": {"name": "c", "managedFields": []}}, "m", {}, errors.BadRequest,
         "metadata.managedFields must be nil"),
        ({**config_map(), "bogus": 1}, "m", {"fieldValidation": "Ignore"}, errors.ApiError,
         "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .bogus: field not declared in schema"),
        ({**config_map(), "metadata": {"name": "c", "uid": "u"}}, "m", {}, errors.Conflict,
         'Operation cannot be fulfilled on configmaps "c": uid mismatch: the provided object specified uid u,'
         " and no existing object was found"),
    ],
)  # fmt: skip
async def test_refused(
    api: Api, config: Object, manager: str, query: dict[str, str], error: type[errors.ApiError], message: str
) -> None:
    with pytest.raises(error) as caught:
        await api.apply(CONFIG_MAPS, config, manager, query=query)
    assert caught.value.message == message


async def test_force_is_for_apply_alone(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map(a="1"))
    request = Request("patch", CONFIG_MAPS, NAMESPACE, "c", "", {"force": "true"}, {"data": {}}, MERGE_PATCH)
    with pytest.raises(errors.Invalid, match="force: Forbidden: may not be specified for non-apply patch"):
        await api.client.transport.send(request)


async def test_a_stale_resource_version_conflicts(api: Api) -> None:
    created = await api.apply(CONFIG_MAPS, config_map(a="1"))
    await api.apply(CONFIG_MAPS, config_map(a="2"))
    stale = config_map(a="3")
    stale["metadata"]["resourceVersion"] = created["metadata"]["resourceVersion"]
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        await api.apply(CONFIG_MAPS, stale)


async def test_dry_run_stores_nothing(api: Api) -> None:
    tried = await api.apply(CONFIG_MAPS, config_map(a="1"), query={"dryRun": "All"})
    assert owners(tried) == {"m1/Apply": {"f:data": {"f:a": {}}}}
    with pytest.raises(errors.NotFound):
        await api.get(CONFIG_MAPS, "c")


async def test_null_in_a_map_is_an_empty_value(api: Api) -> None:
    applied = await api.apply(CONFIG_MAPS, config_map(a=None))
    assert applied["data"] == {"a": ""}
    assert owners(applied) == {"m1/Apply": {"f:data": {"f:a": {}}}}


async def test_kubectl_keeps_its_annotation_in_step(api: Api) -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    obj = config_map(a="1")
    obj["metadata"]["annotations"] = {annotation: '{"data":{"a":"1"}}'}
    await api.create(CONFIG_MAPS, obj, "kubectl-client-side-apply")
    applied = await api.apply(CONFIG_MAPS, config_map(a="2"), "kubectl")
    assert applied["data"] == {"a": "2"}
    assert applied["metadata"]["annotations"][annotation] == (
        '{"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}\n'
    )


async def test_scale_owns_the_replicas_of_its_parent(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment(replicas=1))
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 4}}
    with pytest.raises(errors.Conflict) as caught:
        await api.apply(DEPLOYMENTS, scale, "hpa", subresource="scale")
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "creator" using autoscaling/v1: .spec.replicas'
    )
    applied = await api.apply(DEPLOYMENTS, scale, "hpa", subresource="scale", force=True)
    assert applied["spec"] == {"replicas": 4}
    parent = await api.get(DEPLOYMENTS, "d")
    assert owners(parent)["hpa/Apply/scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(parent)["creator/Update"]["f:spec"]
    await api.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 5}}, "kubectl", subresource="scale")
    parent = await api.get(DEPLOYMENTS, "d")
    assert owners(parent)["kubectl/Update/scale"] == {"f:spec": {"f:replicas": {}}}
    assert "hpa/Apply/scale" not in owners(parent)


async def test_a_binding_has_no_owner(api: Api) -> None:
    await api.create(NODES, {"metadata": {"name": "n"}})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    created = await api.create(PODS, pod)
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await api.client.transport.send(Request("create", PODS, NAMESPACE, "p", "binding", body=binding))
    bound = await api.get(PODS, "p")
    assert bound["spec"]["nodeName"] == "n"
    assert owners(bound) == owners(created)
    conditions = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "podIPs": [{"ip": "10.0.0.1"}]}}
    running = await api.patch(PODS, "p", conditions, "kubelet", STRATEGIC_MERGE_PATCH, "status")
    fields = ("f:lastProbeTime", "f:lastTransitionTime", "f:status", "f:type")  # unset times are sent as null
    assert owners(running)["kubelet/Update/status"] == {
        "f:status": {
            "f:conditions": {'k:{"type":"Ready"}': {".": {}, **{name: {} for name in fields}}},
            "f:podIPs": {".": {}, 'k:{"ip":"10.0.0.1"}': {".": {}, "f:ip": {}}},
        }
    }
