"""/etc/resolv.conf and /etc/hosts."""

from __future__ import annotations

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.volumes.etc_files import hosts_file, is_stub_resolver, resolver_config
from tests.unit.kubelet.pods import pod

NODE = "# of the node\nnameserver 192.0.2.53\nsearch lan.example\noptions timeout:1\n"
CLUSTER = (
    "search ns.svc.cluster.local svc.cluster.local cluster.local lan.example\n"
    "nameserver 10.96.0.10\noptions ndots:5\n"
)  # fmt: skip
OWN = "search lan.example\nnameserver 192.0.2.53\noptions timeout:1\n"

CASES: list[tuple[Object, str]] = [
    (pod(), CLUSTER),
    (pod(dnsPolicy="Default"), OWN),
    (pod(hostNetwork=True), OWN),
    (pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), CLUSTER),
    (
        pod(dnsPolicy="None", dnsConfig={"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "x"}]}),
        "search a\nnameserver 1.1.1.1\noptions x\n",
    ),
    (
        pod(dnsConfig={"options": [{"name": "ndots", "value": "2"}]}),
        CLUSTER.replace("ndots:5", "ndots:2"),
    ),
]


@pytest.mark.parametrize(("obj", "expected"), CASES)
def test_resolver(obj: Object, expected: str) -> None:
    found = resolver_config(obj, cluster_dns=["10.96.0.10"], cluster_domain="cluster.local", node_config=NODE)
    assert found == expected


def test_without_a_cluster_dns_the_node_resolves() -> None:
    assert resolver_config(pod(), cluster_dns=[], cluster_domain="cluster.local", node_config=NODE) == OWN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", True),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.53\n", False),
        ("nameserver 127.0.0.1\n", False),
        ("search lan.example\n", False),
    ],
)
def test_stub_of_systemd_resolved(text: str, expected: bool) -> None:
    assert is_stub_resolver(text) is expected


def test_hosts_of_the_node_for_a_pod_on_its_network() -> None:
    found = hosts_file([], "n1", "", [], node_hosts="127.0.0.1 localhost\n")
    assert found == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
