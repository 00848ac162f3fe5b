"""A cluster never takes an address range in which the machine's own resolver lies."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from orchestrator.kubelet.network.plan import plan_cidrs
from orchestrator.kubelet.network.pod_network import nameservers


def test_resolvers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# a comment\nsearch example\nnameserver 10.244.255.53\nnameserver ::1\n nameserver 10.96.0.53 \n")
    assert nameservers(file) == [IPv4Network("10.244.255.53"), IPv4Network("10.96.0.53")]
    assert nameservers(tmp_path / "none") == []


def test_ranges_that_hold_a_resolver_are_left_out() -> None:
    chosen = plan_cidrs([IPv4Network("10.244.255.53"), IPv4Network("10.96.0.53")])
    assert chosen.pods == IPv4Network("10.245.0.0/16")
    assert chosen.services == IPv4Network("10.97.0.0/16")
