"""EndpointSlices, Endpoints and mirroring as the conformance suite exercises them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object, annotations_of, labels_of, name_of, uid_of
from orchestrator.api.resources import ENDPOINT_SLICES, ENDPOINTS, EVENTS, NODES, PODS, SERVICES, STATEFUL_SETS
from orchestrator.apiserver.bootstrap import publish_endpoints
from orchestrator.controllers.endpoints.triggers import LAST_CHANGE

from .conftest import Stage
from .test_endpoints import mine, service
from .test_statefulset import stateful_set


def pod(name: str, labels: dict[str, str], *ports: tuple[str, int, str], **spec: Any) -> Object:
    listed = [{"name": port, "containerPort": number, "protocol": protocol} for port, number, protocol in ports]
    container = {"name": "c", "image": "web:1", "ports": listed}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [container], **spec},
    }


def by_pod(slices: list[Object]) -> dict[str, dict[str, Any]]:
    return {one["targetRef"]["name"]: one for s in mine(slices) for one in s["endpoints"] or ()}


async def test_named_ports_give_every_pod_its_own_number(stage: Stage) -> None:
    """Pods that serve one port name on different numbers share no slice; one without it is in none with ports."""
    ports = [{"name": "http", "port": 80, "targetPort": "web"},
             {"name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP"}]  # fmt: skip
    await stage.client.create(SERVICES, service(ports=ports))
    await stage.client.create(PODS, pod("one", {"app": "web"}, ("web", 8080, "TCP"), ("dns", 5353, "UDP")))
    await stage.client.create(PODS, pod("two", {"app": "web"}, ("web", 9090, "TCP")))
    slices = mine(await stage.until(ENDPOINT_SLICES, lambda s: len(by_pod(s)) == 2))
    found = {
        one["endpoints"][0]["targetRef"]["name"]: [(p["name"], p["port"], p["protocol"]) for p in one["ports"]]
        for one in slices
    }
    assert found == {"one": [("http", 8080, "TCP"), ("dns", 5353, "UDP")], "two": [("http", 9090, "TCP")]}
    endpoints = await stage.until_one(ENDPOINTS, "web", lambda one: len(one.get("subsets") or ()) == 2)
    assert sorted(len(subset["ports"]) for subset in endpoints["subsets"]) == [1, 2]


async def test_an_endpoint_tells_its_node_its_zone_and_its_pod(stage: Stage) -> None:
    labels = {"topology.kubernetes.io/zone": "a"}
    await stage.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}})
    await stage.client.create(SERVICES, service())
    made = await stage.client.create(PODS, pod("one", {"app": "web"}, nodeName="n"))
    slices = await stage.until(ENDPOINT_SLICES, lambda s: len(by_pod(s)) == 1)
    endpoint = by_pod(slices)["one"]
    assert (endpoint["nodeName"], endpoint["zone"]) == ("n", "a")
    assert endpoint["targetRef"] == {"kind": "Pod", "namespace": "default", "name": "one", "uid": uid_of(made)}
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    await stage.client.patch(NODES, "n", {"metadata": {"labels": {"topology.kubernetes.io/zone": "b"}}})
    await stage.until(ENDPOINT_SLICES, lambda s: by_pod(s)["one"].get("zone") == "b")


async def test_topology_mode_shares_endpoints_out_to_zones(stage: Stage) -> None:
    for name in ("a", "b"):
        metadata = {"name": name, "labels": {"topology.kubernetes.io/zone": name}}
        made = await stage.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        status = {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}
        await stage.client.update_status(NODES, {**made, "status": status})
    mode = {"service.kubernetes.io/topology-mode": "Auto"}
    one = service(trafficDistribution="PreferClose")
    one["metadata"]["annotations"] = mode
    await stage.client.create(SERVICES, one)
    for number in range(4):
        await stage.client.create(PODS, pod(f"p{number}", {"app": "web"}, nodeName="a"))

    def serve(*zones: str) -> Any:
        def check(slices: list[Object]) -> bool:
            hints = [endpoint.get("hints") or {} for endpoint in by_pod(slices).values()]
            return sorted(zone["name"] for one in hints for zone in one.get("forZones") or ()) == [*zones]

        return check

    await stage.until(ENDPOINT_SLICES, serve("a", "a", "b", "b"))
    # Three times the CPU: three of the four endpoints.
    patch = {"status": {"allocatable": {"cpu": "12"}}}
    await stage.client.patch(NODES, "a", patch, subresource="status")
    await stage.until(ENDPOINT_SLICES, serve("a", "a", "a", "b"))
    await stage.client.patch(NODES, "b", {"metadata": {"labels": {"topology.kubernetes.io/zone": None}}})
    await stage.until(ENDPOINT_SLICES, serve())
    # Without the mode it is the distribution that counts.
    annotations = {"metadata": {"annotations": dict.fromkeys(mode)}}
    await stage.client.patch(SERVICES, "web", annotations, "default")
    await stage.until(ENDPOINT_SLICES, serve("a", "a", "a", "a"))

    def said(events: list[Object]) -> bool:
        found = {(e["type"], e["reason"], e["message"]) for e in events}
        why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
        enabled = ("Normal", "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")
        return {enabled, ("Warning", "TopologyAwareHintsDisabled", f"{why}, addressType: IPv4")} <= found

    await stage.until(EVENTS, said)


async def test_a_headless_service_names_the_members_of_its_stateful_set(stage: Stage) -> None:
    await stage.client.create(SERVICES, service(clusterIP="None"))
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=2))
    slices = await stage.until(ENDPOINT_SLICES, lambda s: len(by_pod(s)) == 2)
    assert {name: one["hostname"] for name, one in by_pod(slices).items()} == {"web-0": "web-0", "web-1": "web-1"}
    assert labels_of(mine(slices)[0])["service.kubernetes.io/headless"] == ""
    endpoints = await stage.until_one(
        ENDPOINTS, "web", lambda one: [len(s["addresses"]) for s in one.get("subsets") or ()] == [2]
    )
    assert [a["hostname"] for a in endpoints["subsets"][0]["addresses"]] == ["web-0", "web-1"]
    assert labels_of(endpoints)["service.kubernetes.io/headless"] == ""


async def test_unready_pods_are_published_when_the_service_says_so(stage: Stage) -> None:
    """As peers of a StatefulSet need it: they find each other before they are ready."""
    await stage.client.create(SERVICES, service(clusterIP="None", publishNotReadyAddresses=True))
    await stage.client.create(PODS, pod("one", {"app": "web"}))
    await stage.until(ENDPOINT_SLICES, lambda s: len(by_pod(s)) == 1)
    not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await stage.client.patch(PODS, "one", not_ready, "default", subresource="status")
    expected = {"ready": True, "serving": False, "terminating": False}
    await stage.until(ENDPOINT_SLICES, lambda s: by_pod(s)["one"]["conditions"] == expected)
    one = await stage.client.get(ENDPOINTS, "web", "default")
    assert "notReadyAddresses" not in one["subsets"][0]


async def test_a_terminating_pod_still_serves_but_is_not_ready(stage: Stage) -> None:
    await stage.client.create(SERVICES, service())
    held = pod("one", {"app": "web"})
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await stage.client.create(PODS, held)
    await stage.until(ENDPOINT_SLICES, lambda s: len(by_pod(s)) == 1)
    stage.lingers = lambda pod: True
    await stage.client.delete(PODS, "one", "default")
    expected = {"ready": False, "serving": True, "terminating": True}
    await stage.until(ENDPOINT_SLICES, lambda s: by_pod(s)["one"]["conditions"] == expected)
    await stage.until_one(ENDPOINTS, "web", lambda one: not one.get("subsets"))
    await stage.client.patch(PODS, "one", {"metadata": {"finalizers": None}}, "default")
    await stage.until(ENDPOINT_SLICES, lambda s: not by_pod(s))


async def test_deleted_slices_and_endpoints_come_back(stage: Stage) -> None:
    await stage.client.create(SERVICES, service())
    await stage.client.create(PODS, pod("one", {"app": "web"}))
    slices = mine(await stage.until(ENDPOINT_SLICES, lambda s: len(by_pod(s)) == 1))
    await stage.client.delete(ENDPOINT_SLICES, name_of(slices[0]), "default")
    await stage.until(ENDPOINT_SLICES, lambda s: [uid_of(o) for o in mine(s)] not in ([], [uid_of(slices[0])]))
    before = await stage.until_one(ENDPOINTS, "web", lambda one: bool(one.get("subsets")))
    await stage.client.delete(ENDPOINTS, "web", "default")
    await stage.until_one(ENDPOINTS, "web", lambda one: uid_of(one) != uid_of(before))


async def test_a_service_that_loses_its_selector_keeps_its_endpoints(stage: Stage) -> None:
    """From then on somebody else looks after them (Services without selectors)."""
    await stage.client.create(SERVICES, service())
    await stage.client.create(PODS, pod("one", {"app": "web"}))
    await stage.until_one(ENDPOINTS, "web", lambda one: bool(one.get("subsets")))
    await stage.client.patch(SERVICES, "web", {"spec": {"selector": None}}, "default")
    subsets = [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 80}]}]
    await stage.client.patch(ENDPOINTS, "web", {"subsets": subsets}, "default")
    manager = "endpointslicemirroring-controller.k8s.io"
    await stage.until(ENDPOINT_SLICES, lambda s: ["192.0.2.9"] in [
        endpoint["addresses"] for one in mine(s) for endpoint in one["endpoints"]
        if labels_of(one)["endpointslice.kubernetes.io/managed-by"] == manager
    ])  # fmt: skip


@pytest.mark.parametrize("headless", [False, True])
async def test_mirrored_endpoints_follow_every_change(stage: Stage, headless: bool) -> None:
    await stage.client.create(SERVICES, service(selector=None, **({"clusterIP": "None"} if headless else {})))
    metadata = {
        "name": "web",
        "namespace": "default",
        "labels": {"mine": "yes"},
        "annotations": {"mine": "too", LAST_CHANGE: "2026-01-01T00:00:00Z"},
    }
    subsets = [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "example", "port": 80, "protocol": "TCP"}]}]
    made = await stage.client.create(
        ENDPOINTS, {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
    )

    def shows(*addresses: str, port: int) -> Any:
        return lambda slices: (
            sorted(e["addresses"][0] for one in mine(slices) for e in one["endpoints"]) == sorted(addresses)
            and {p["port"] for one in mine(slices) for p in one["ports"]} == {port}
        )

    (first,) = mine(await stage.until(ENDPOINT_SLICES, shows("10.1.2.3", port=80)))
    assert labels_of(first)["mine"] == "yes"
    assert annotations_of(first) == {"mine": "too"}
    assert [ref["uid"] for ref in first["metadata"]["ownerReferences"]] == [uid_of(made)]
    both = [{"ip": "10.1.2.3"}, {"ip": "10.2.3.4"}]
    changed = [{"addresses": both, "ports": [{"name": "example", "port": 8080, "protocol": "TCP"}]}]
    await stage.client.patch(ENDPOINTS, "web", {"subsets": changed}, "default")
    (second,) = mine(await stage.until(ENDPOINT_SLICES, shows("10.1.2.3", "10.2.3.4", port=8080)))
    assert uid_of(second) == uid_of(first)
    await stage.client.patch(ENDPOINTS, "web", {"metadata": {"annotations": {"mine": None}}}, "default")
    await stage.until(ENDPOINT_SLICES, lambda s: [annotations_of(one) for one in mine(s)] == [{}])
    unready = [{"notReadyAddresses": both[:1], "ports": changed[0]["ports"]}]
    await stage.client.patch(ENDPOINTS, "web", {"subsets": unready}, "default")
    await stage.until(ENDPOINT_SLICES, lambda s: [
        e["conditions"]["ready"] for one in mine(s) for e in one["endpoints"]] == [False])  # fmt: skip
    await stage.client.patch(
        ENDPOINTS, "web", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}, "default"
    )
    await stage.until(ENDPOINT_SLICES, lambda s: not mine(s))


async def test_the_api_server_has_endpoints_and_a_slice(stage: Stage) -> None:
    """The test cluster has no listener, so what a start would publish is written here."""
    await publish_endpoints(stage.client, "192.0.2.1", 6443)
    endpoints = await stage.client.get(ENDPOINTS, "kubernetes", "default")
    ports = [{"name": "https", "port": 6443, "protocol": "TCP"}]
    assert endpoints["subsets"] == [{"addresses": [{"ip": "192.0.2.1"}], "ports": ports}]
    one = await stage.client.get(ENDPOINT_SLICES, "kubernetes", "default")
    assert [e["addresses"] for e in one["endpoints"]] == [["192.0.2.1"]]
    # It is not mirrored a second time.
    await stage.client.create(SERVICES, service(selector=None))
    await stage.client.create(ENDPOINTS, {"apiVersion": "v1", "kind": "Endpoints", "subsets": endpoints["subsets"],
                                          "metadata": {"name": "web", "namespace": "default"}})  # fmt: skip
    slices = await stage.until(ENDPOINT_SLICES, lambda s: len(mine(s)) == 1)
    assert sum(labels_of(s).get("kubernetes.io/service-name") == "kubernetes" for s in slices) == 1
