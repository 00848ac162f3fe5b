"""What one Service needs in the packet filter."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.proxy.plan import Frontend, ServiceRules, plan_ranges, plan_service

from .services import NODES, service, slices

POD_1, POD_2 = "10.244.0.5", "10.244.1.5"
BOTH = slices(POD_1, POD_2)
CLUSTER = Frontend("10.96.0.1", "tcp", 80)


def plan(one: dict[str, Any] | None, endpoints: list[dict[str, Any]] = BOTH) -> ServiceRules | None:
    return plan_service(one, endpoints, NODES)


def labelled(key: str, value: str) -> dict[str, Any]:
    return {**service(), "metadata": {"name": "x", "namespace": "y", "labels": {key: value}}}


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(None, id="gone"),
        pytest.param(service(ip="None"), id="headless"),
        pytest.param(service(ip="", type="ExternalName"), id="ExternalName"),
        pytest.param(service(ip="fd00::1"), id="IPv6 only"),
        pytest.param(labelled("service.kubernetes.io/service-proxy-name", "other"), id="another proxy's"),
        pytest.param(labelled("service.kubernetes.io/headless", ""), id="declared headless"),
    ],
)
def test_services_that_need_no_rules(one: dict[str, Any] | None) -> None:
    assert plan(one) is None


def test_a_plain_service_is_elements_only() -> None:
    rules = plan(service())
    assert rules is not None
    assert not rules.chains
    assert rules.frontends[CLUSTER].targets == ((POD_1, 8080), (POD_2, 8080))
    assert rules.addresses == {POD_1, POD_2}


def test_every_kind_of_frontend() -> None:
    one = service(type="LoadBalancer", externalIPs=["203.0.113.1"], ports=[{"port": 80, "nodePort": 30000}])
    one["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}]}}
    rules = plan(one)
    assert rules is not None
    assert {(f.address, f.port) for f in rules.frontends} == {
        ("10.96.0.1", 80), ("203.0.113.1", 80), ("192.0.2.1", 80), ("", 30000)
    }  # fmt: skip


def test_without_endpoints_frontends_lead_nowhere() -> None:
    rules = plan(service(type="NodePort", ports=[{"port": 80, "nodePort": 30000}]), [])
    assert rules is not None
    assert all(not way.targets and not way.chain for way in rules.frontends.values())


def test_the_internal_policy_local_decides_by_the_clients_node() -> None:
    rules = plan(service(internalTrafficPolicy="Local"), slices(POD_1))
    assert rules is not None
    way = rules.frontends[CLUSTER]
    assert way.drops_rest
    assert rules.chains[way.chain][0] == "ip saddr { 10.244.1.0/24, 172.30.0.3 } return"


def test_the_external_policy_local_has_a_frontend_for_each_node() -> None:
    one = service(type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "nodePort": 30000}])
    rules = plan(one, slices(POD_1))
    assert rules is not None
    near, far = (rules.frontends[Frontend(node.ip, "tcp", 30000)] for node in NODES)
    assert (near.drops_rest, far.drops_rest) == (False, True)
    # Pods come first: for them the policy does not count.
    assert rules.chains[far.chain] == (
        f"ip saddr 10.244.1.0/24 meta l4proto tcp dnat ip to numgen random mod 1 map {{ 0 : {POD_1} . 8080 }}",
    )


def test_session_affinity_remembers_each_client_for_its_time() -> None:
    one = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 7}})
    rules = plan(one)
    assert rules is not None
    assert set(rules.affinity_sets.values()) == {7}
    chain = rules.chains[rules.frontends[CLUSTER].chain]
    assert [line.split()[:2] for line in chain[:2]] == [["ip", "saddr"]] * 2  # remembered clients before new ones
    assert "numgen random mod 2" in chain[2]


def test_a_load_balancer_may_have_clients_from_some_sources_only() -> None:
    one = service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24", " 198.51.100.0/24"])
    one["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    rules = plan(one)
    assert rules is not None
    (chain,) = (rules.chains[name] for name in rules.firewalls.values())
    assert chain == ("ip saddr { 192.0.2.0/24, 198.51.100.0/24 } return", "drop")
    assert set(rules.firewalls) == {Frontend("203.0.113.1", "tcp", 80)}


@pytest.mark.parametrize(
    ("cidrs", "ranges"),
    [
        ([], ["10.96.0.0/16"]),
        ([["10.96.0.0/16"], ["192.0.2.0/24", "fd00::/108"]], ["10.96.0.0/16", "192.0.2.0/24"]),
        ([["10.96.0.0/16"], ["10.96.4.0/24"]], ["10.96.0.0/16"]),
        ([["10.96.0.0/12"]], ["10.96.0.0/12"]),
    ],
)
def test_ranges_of_cluster_ips(cidrs: list[list[str]], ranges: list[str]) -> None:
    assert plan_ranges([{"spec": {"cidrs": one}} for one in cidrs], "10.96.0.0/16") == tuple(ranges)
