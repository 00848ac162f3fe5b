"""Pools of addresses as people write them."""

from __future__ import annotations

import pytest

from orchestrator.config import ConfigError, load_config
from orchestrator.config.addresses import parse_pool


@pytest.mark.parametrize(
    ("items", "pool"),
    [
        (["192.0.2.7"], ["192.0.2.7"]),
        (["192.0.2.7-192.0.2.9"], ["192.0.2.7", "192.0.2.8", "192.0.2.9"]),
        (["192.0.2.0/30"], ["192.0.2.1", "192.0.2.2"]),
        (["192.0.2.4/31", "192.0.2.5"], ["192.0.2.4", "192.0.2.5"]),
        ([], []),
    ],
)
def test_addresses_ranges_and_networks(items: list[str], pool: list[str]) -> None:
    assert parse_pool(items) == pool


@pytest.mark.parametrize("wrong", ["192.0.2.9-192.0.2.7", "192.0.2.300", "10.0.0.0/8", "192.0.2.1/24", "::1"])
def test_what_is_no_pool_stops_the_start(wrong: str) -> None:
    with pytest.raises(ConfigError, match="LOAD_BALANCER_ADDRESSES"):
        load_config(None, environ={"ORCHESTRATOR_LOAD_BALANCER_ADDRESSES": wrong})
