"""Where a proxy without a packet filter listens, and where that leads."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.component.places import MACHINE, SERVICES, Listener
from orchestrator.proxy.userspace.plan import Route, plan_routes
from tests.unit.proxy.services import NODES, service, slices

POD_1, POD_2 = "10.244.0.5", "10.244.1.5"
TARGET_1, TARGET_2 = (POD_1, 8080), (POD_2, 8080)
BOTH = slices(POD_1, POD_2)
CLUSTER = Listener(SERVICES, "10.96.0.1", "tcp", 80)
ELSEWHERE = "172.30.0.1"
NODE_PORT: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}


def plan(one: dict[str, Any] | None, endpoints: list[dict[str, Any]] = BOTH) -> dict[Listener, Route]:
    return plan_routes(one, endpoints, NODES)


@pytest.mark.parametrize(
    ("one", "endpoints"),
    [
        pytest.param(None, BOTH, id="gone"),
        pytest.param(service(ip="None"), BOTH, id="headless"),
        pytest.param(service(ip="", type="ExternalName"), BOTH, id="ExternalName"),
        pytest.param(service(), [], id="no endpoints: the kernel refuses"),
        pytest.param(service(ports=[{"port": 80, "protocol": "SCTP"}]), slices(POD_1, protocol="SCTP"), id="SCTP"),
        pytest.param(service(ports=[{"port": 8080}]), slices("10.96.0.1"), id="a server on the address itself"),
    ],
)
def test_what_is_not_listened_on(one: dict[str, Any] | None, endpoints: list[dict[str, Any]]) -> None:
    assert plan(one, endpoints) == {}


def test_a_cluster_ip_leads_to_all_endpoints() -> None:
    assert plan(service()) == {CLUSTER: Route((TARGET_1, TARGET_2))}


def test_every_kind_of_listener_has_its_place() -> None:
    ports = [{"port": 80, "nodePort": 30000, "protocol": "UDP"}]
    one = service(type="LoadBalancer", externalIPs=["203.0.113.1", NODES[0].ip], ports=ports)
    one["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}]}}
    assert set(plan(one, slices(POD_1, protocol="UDP"))) == {
        Listener(SERVICES, "10.96.0.1", "udp", 80),
        Listener(MACHINE, "203.0.113.1", "udp", 80),
        Listener("node-1", NODES[0].ip, "udp", 80),
        Listener(MACHINE, "192.0.2.1", "udp", 80),
        Listener(MACHINE, "0.0.0.0", "udp", 30000),
        Listener("node-1", NODES[0].ip, "udp", 30000),
        Listener("node-2", NODES[1].ip, "udp", 30000),
    }


@pytest.mark.parametrize(
    ("client", "targets"),
    [
        pytest.param("10.244.0.9", (TARGET_1,), id="a pod beside the endpoint"),
        pytest.param("10.244.1.9", (), id="a pod of another node"),
        pytest.param(NODES[1].ip, (), id="a hostNetwork pod of another node"),
        pytest.param(ELSEWHERE, (TARGET_1,), id="the machine"),
    ],
)
def test_the_internal_policy_local_goes_by_the_clients_node(client: str, targets: tuple[Any, ...]) -> None:
    route = plan(service(internalTrafficPolicy="Local"), slices(POD_1))[CLUSTER]
    assert route.targets_for(client) == targets


def test_the_external_policy_local_goes_by_the_node_that_was_asked() -> None:
    routes = plan(service(externalTrafficPolicy="Local", **NODE_PORT), slices(POD_1))
    near, far = (routes[Listener(node.name, node.ip, "tcp", 30000)] for node in NODES)
    assert near.targets_for(ELSEWHERE) == (TARGET_1,)
    assert far.targets_for(ELSEWHERE) == ()
    # For the node's own pods the policy does not count.
    assert far.targets_for("10.244.1.9") == (TARGET_1,)
    assert routes[Listener(MACHINE, "0.0.0.0", "tcp", 30000)].targets_for(ELSEWHERE) == (TARGET_1,)


def test_source_ranges_of_a_load_balancer() -> None:
    one = service(type="LoadBalancer", loadBalancerSourceRanges=["198.51.100.0/24", " fd00::/8"])
    one["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    route = plan(one)[Listener(MACHINE, "192.0.2.1", "tcp", 80)]
    assert route.targets_for("198.51.100.7") == (TARGET_1, TARGET_2)
    assert route.targets_for("203.0.113.7") == ()


def test_the_health_check_port_is_answered_on_each_node() -> None:
    one = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32000)
    found = {listener: route for listener, route in plan(one).items() if listener.port == 32000}
    assert found == {Listener(node.name, node.ip, "tcp", 32000): Route((), answers_as=node.ip) for node in NODES}


def test_session_affinity_has_a_name_and_a_time() -> None:
    route = plan(service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 7}}))[
        CLUSTER
    ]
    assert (route.affinity, route.affinity_seconds) == ("default/web//tcp", 7)


def test_endpoints_that_end_serve_when_there_is_no_other() -> None:
    (one,) = slices(POD_1)
    one["endpoints"][0]["conditions"] = {"ready": False, "serving": True, "terminating": True}
    assert plan(service(), [one])[CLUSTER].targets == (TARGET_1,)
