"""A range of cluster IPs has two bands (KEP-3070), and each address is offered once."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

import pytest

from orchestrator.apiserver.services.addresses import candidates, is_ready, plan_range


@pytest.mark.parametrize(
    ("cidr", "static", "usable"),
    [
        ("10.0.0.0/32", 0, 0),
        ("10.0.0.0/31", 0, 0),
        ("10.0.0.0/30", 0, 2),
        ("10.0.0.0/28", 0, 14),
        ("10.0.0.0/27", 16, 30),
        ("10.0.0.0/24", 16, 254),
        ("10.0.0.0/22", 63, 1022),
        ("10.0.0.0/20", 255, 4094),
        ("10.0.0.0/16", 256, 65_534),
    ],
)
def test_bands(cidr: str, static: int, usable: int) -> None:
    network = IPv4Network(cidr)
    band = plan_range(network)
    assert max(0, band.last - band.first + 1) == usable
    assert band.dynamic - band.first == static
    offered = list(candidates(band, random.Random(1)))
    assert len(offered) == len(set(offered)) == usable
    assert {int(IPv4Address(one)) for one in offered} == set(range(band.first, band.last + 1))
    upper = offered[: usable - static]
    assert all(int(IPv4Address(one)) >= band.dynamic for one in upper)


@pytest.mark.parametrize(
    ("service_cidr", "ready"),
    [
        ({"metadata": {}}, True),
        ({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}, True),
        ({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
    ],
)
def test_only_ready_ranges_are_allocated_from(service_cidr: dict[str, object], ready: bool) -> None:
    assert is_ready(service_cidr) is ready
