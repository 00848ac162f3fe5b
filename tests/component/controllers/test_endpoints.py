"""EndpointSlices and Endpoints on a running cluster."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, annotations_of, condition_of, labels_of, name_of
from orchestrator.api.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, REPLICA_SETS, SERVICES
from orchestrator.controllers.endpoints.triggers import LAST_CHANGE

from .conftest import Stage, replica_set


def service(**spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec},
    }


def mine(slices: list[Object]) -> list[Object]:
    return [one for one in slices if labels_of(one).get("kubernetes.io/service-name") == "web"]


def ready_names(slices: list[Object]) -> set[str]:
    return {
        endpoint["targetRef"]["name"]
        for one in mine(slices)
        for endpoint in one["endpoints"] or ()
        if endpoint["conditions"]["ready"]
    }


async def test_slices_and_endpoints_follow_pods(stage: Stage) -> None:
    await stage.client.create(SERVICES, service())
    await stage.client.create(REPLICA_SETS, replica_set(replicas=3))
    slices = mine(await stage.until(ENDPOINT_SLICES, lambda s: len(ready_names(s)) == 3))
    (one,) = slices
    assert name_of(one).startswith("web-")
    assert labels_of(one) == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert one["addressType"] == "IPv4"
    assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert one["metadata"]["ownerReferences"][0]["kind"] == "Service"
    endpoints = await stage.until_one(
        ENDPOINTS, "web", lambda e: [len(s.get("addresses") or ()) for s in e.get("subsets") or ()] == [3]
    )
    assert endpoints["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert labels_of(endpoints)["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    pods = (await stage.client.list(PODS, "default"))["items"]
    moments = {(condition_of(pod, "Ready") or {})["lastTransitionTime"] for pod in pods}
    moments.add((await stage.client.get(SERVICES, "web", "default"))["metadata"]["creationTimestamp"])
    for written in (one, endpoints):
        assert annotations_of(written)[LAST_CHANGE] in moments
    gone = next(iter(ready_names(slices)))
    await stage.client.delete(PODS, gone, "default")
    await stage.until(ENDPOINT_SLICES, lambda s: len(ready_names(s)) == 3 and gone not in ready_names(s))
    assert [name_of(s) for s in mine((await stage.client.list(ENDPOINT_SLICES, "default"))["items"])] == [name_of(one)]
    await stage.client.delete(SERVICES, "web", "default")
    await stage.until(ENDPOINT_SLICES, lambda s: not mine(s))
    await stage.until(ENDPOINTS, lambda e: "web" not in {name_of(x) for x in e})


async def test_pods_that_are_not_ready_are_listed_but_not_ready(stage: Stage) -> None:
    await stage.client.create(SERVICES, service())
    await stage.client.create(REPLICA_SETS, replica_set(replicas=1))
    await stage.until(ENDPOINT_SLICES, lambda s: len(ready_names(s)) == 1)
    (pod,) = (await stage.client.list(PODS, "default"))["items"]
    not_ready = [{"type": "Ready", "status": "False"}]
    await stage.client.patch(PODS, name_of(pod), {"status": {"conditions": not_ready}}, "default", subresource="status")

    def conditions(slices: list[Object]) -> list[dict[str, bool]]:
        return [endpoint["conditions"] for one in mine(slices) for endpoint in one["endpoints"]]

    expected = [{"ready": False, "serving": False, "terminating": False}]
    await stage.until(ENDPOINT_SLICES, lambda s: conditions(s) == expected)
    await stage.until_one(
        ENDPOINTS, "web", lambda e: [len(s.get("notReadyAddresses") or ()) for s in e["subsets"]] == [1]
    )
    await stage.client.patch(SERVICES, "web", {"spec": {"publishNotReadyAddresses": True}}, "default")
    expected = [{"ready": True, "serving": False, "terminating": False}]
    await stage.until(ENDPOINT_SLICES, lambda s: conditions(s) == expected)


async def test_a_service_without_pods_has_one_empty_slice(stage: Stage) -> None:
    await stage.client.create(SERVICES, service())
    slices = await stage.until(ENDPOINT_SLICES, lambda s: len(mine(s)) == 1)
    assert not mine(slices)[0]["endpoints"]


async def test_more_than_a_hundred_pods_need_several_slices_without_duplicates(stage: Stage) -> None:
    await stage.client.create(REPLICA_SETS, replica_set(replicas=250))
    await stage.client.create(SERVICES, service())
    slices = mine(await stage.until(ENDPOINT_SLICES, lambda s: len(ready_names(s)) == 250))
    assert sorted(len(one["endpoints"]) for one in slices) <= [100] * len(slices)
    assert len(slices) <= 4
    listed = [endpoint["targetRef"]["name"] for one in slices for endpoint in one["endpoints"]]
    assert len(listed) == len(set(listed)) == 250


async def test_a_changed_selector_moves_the_service_to_other_pods(stage: Stage) -> None:
    await stage.client.create(REPLICA_SETS, replica_set("web", 2))
    await stage.client.create(REPLICA_SETS, replica_set("api", 1))
    await stage.client.create(SERVICES, service())
    await stage.until(ENDPOINT_SLICES, lambda s: len(ready_names(s)) == 2)
    await stage.client.patch(SERVICES, "web", {"spec": {"selector": {"app": "api"}}}, "default")

    def only_api(slices: list[Object]) -> bool:
        names = ready_names(slices)
        return len(names) == 1 and next(iter(names)).startswith("api-")

    await stage.until(ENDPOINT_SLICES, only_api)


async def test_hand_written_endpoints_are_mirrored(stage: Stage) -> None:
    await stage.client.create(SERVICES, service(selector=None))
    subsets = [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"name": "http", "port": 9000}]}]
    metadata = {"name": "web", "namespace": "default"}
    body: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
    await stage.client.create(ENDPOINTS, body)
    (one,) = mine(await stage.until(ENDPOINT_SLICES, lambda s: len(mine(s)) == 1))
    assert one["endpoints"][0]["addresses"] == ["192.0.2.7"]
    assert one["ports"][0]["port"] == 9000
    assert labels_of(one)["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
    await stage.client.delete(ENDPOINTS, "web", "default")
    await stage.until(ENDPOINT_SLICES, lambda s: not mine(s))
