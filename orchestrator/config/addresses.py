"""Pools of addresses as people write them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

ADDRESSES_MAX = 65_536


def parse_pool(items: Iterable[str]) -> list[str]:
    """Every IPv4 address of a pool: single ones, ranges `FIRST-LAST` and networks. ValueError names what is wrong."""
    pool: dict[str, None] = {}
    for item in items:
        first, dash, last = item.partition("-")
        if dash:
            numbers = range(int(ipaddress.IPv4Address(first.strip())), int(ipaddress.IPv4Address(last.strip())) + 1)
            if not numbers:
                raise ValueError(f"{item!r} ends before it begins")
        else:
            network = ipaddress.IPv4Network(item)
            numbers = range(int(network.network_address), int(network.broadcast_address) + 1)
            if network.prefixlen < 31:
                numbers = numbers[1:-1]
        if len(pool) + len(numbers) > ADDRESSES_MAX:
            raise ValueError(f"{item!r} makes more than {ADDRESSES_MAX} addresses")
        pool.update((str(ipaddress.IPv4Address(number)), None) for number in numbers)
    return list(pool)
