"""What one NetworkPolicy allows."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.proxy.policy.plan import PodFacts, plan_policy, pod_facts


def policy(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": {"podSelector": {}, **spec}}


ANYBODY: dict[str, Any] = {"podSelector": {}}


def shape(rules: tuple[str, ...]) -> list[str]:
    """Rules with the digests left out."""
    return [
        " ".join(word.partition("_")[0] if word.startswith("@") else word for word in rule.split()) for rule in rules
    ]


@pytest.mark.parametrize(
    ("ingress", "rules"),
    [
        pytest.param([], [], id="nobody"),
        pytest.param([{}], ["accept"], id="everybody"),
        pytest.param([{"from": [], "ports": []}], ["accept"], id="empty lists are as good as none"),
        pytest.param([{"from": [ANYBODY]}], ["ip saddr @pods accept"], id="pods"),
        pytest.param(
            [{"ports": [{"protocol": "UDP", "port": 53}, {"port": 80, "endPort": 90}, {"protocol": "SCTP"}]}],
            [
                "meta l4proto udp th dport 53 accept",
                "meta l4proto tcp th dport 80-90 accept",
                "meta l4proto sctp accept",
            ],
            id="ports",
        ),
        pytest.param(
            [{"from": [ANYBODY, {"namespaceSelector": {}}], "ports": [{"port": 1}, {"port": 2}]}],
            [f"ip saddr @pods meta l4proto tcp th dport {port} accept" for port in (1, 2, 1, 2)],
            id="every peer with every port",
        ),
        pytest.param(
            [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"]}}]}],
            ["ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 ip saddr != 10.1.2.0/24 accept"],
            id="block with exceptions",
        ),
        pytest.param([{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}], [], id="IPv6"),
        pytest.param(
            [{"ports": [{"port": "web"}]}], ["ip daddr . meta l4proto . th dport @ports accept"], id="named port"
        ),
    ],
)  # fmt: skip
def test_ingress_rules(ingress: list[Any], rules: list[str]) -> None:
    planned = plan_policy(policy(ingress=ingress))
    assert list(planned.accepts) == ["Ingress"]
    assert shape(planned.accepts["Ingress"]) == rules


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, ["Ingress"]),
        ({"egress": [{}]}, ["Ingress", "Egress"]),
        ({"policyTypes": ["Egress"]}, ["Egress"]),
        ({"policyTypes": ["Ingress", "Egress"]}, ["Ingress", "Egress"]),
    ],
)
def test_directions(spec: dict[str, Any], directions: list[str]) -> None:
    assert list(plan_policy(policy(**spec)).accepts) == directions


def test_a_named_port_means_what_it_means_for_the_destination() -> None:
    port = {"ports": [{"port": "web"}]}
    inward = plan_policy(policy(podSelector={"matchLabels": {"app": "db"}}, ingress=[port]))
    (named,) = inward.sets
    assert named.scope == inward.subject
    outward = plan_policy(policy(policyTypes=["Egress"], egress=[{**port, "to": [{"namespaceSelector": {}}]}]))
    assert {one.scope.namespace for one in outward.sets} == {""}
    outside = plan_policy(policy(policyTypes=["Egress"], egress=[{**port, "to": [{"ipBlock": {"cidr": "1.0.0.0/8"}}]}]))
    assert outside.accepts == {"Egress": ()}


def pod(**fields: Any) -> dict[str, Any]:
    one: dict[str, Any] = {
        "metadata": {"name": "a", "namespace": "default", "labels": {"app": "a"}},
        "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 9}]}]},
        "status": {"podIP": "10.244.0.5", "hostIP": "172.30.0.2", "phase": "Running"},
    }
    for section, changes in fields.items():
        one[section] |= changes
    return one


def test_facts_of_a_pod() -> None:
    assert pod_facts(pod()) == PodFacts(
        "default/a", "default", "10.244.0.5", "172.30.0.2", {"app": "a"}, (("web", "TCP", 8080),)
    )


@pytest.mark.parametrize(
    "other", [None, pod(status={"podIP": ""}), pod(status={"phase": "Failed"}), pod(spec={"hostNetwork": True})]
)
def test_pods_that_policies_are_not_about(other: Any) -> None:
    assert pod_facts(other) is None
