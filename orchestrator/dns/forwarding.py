"""Who is asked about names outside of the cluster; pure.

The ConfigMap `kube-dns` in kube-system says so, as in kubernetes.io "Customizing DNS Service": `stubDomains` maps
domains to the servers that know them, `upstreamNameservers` takes the place of the machine's resolvers for the rest.
Both are JSON.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from orchestrator.api.objects import Object

PORT = 53
STUB_DOMAINS, UPSTREAM = "stubDomains", "upstreamNameservers"
DOMAINS_MAX = 256
SERVERS_MAX = 3

Server = tuple[str, int]


class Forwarding(Struct, frozen=True):
    """Servers by domain, and those for everything else (empty: the machine's)."""

    stubs: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)
    upstream: tuple[Server, ...] = ()

    def servers_for(self, name: str) -> tuple[Server, ...]:
        """Those of the longest domain that the name is in; empty when the machine's resolvers are to be asked."""
        domain = name
        while domain:
            if domain in self.stubs:
                return self.stubs[domain]
            domain = domain.partition(".")[2]
        return self.upstream


def parse_forwarding(config_map: Object | None) -> Forwarding:
    """What the ConfigMap says; ValueError names what is wrong with it."""
    data = (config_map or {}).get("data") or {}
    stubs = _json(data, STUB_DOMAINS, dict)
    if len(stubs) > DOMAINS_MAX:
        raise ValueError(f"{STUB_DOMAINS}: more than {DOMAINS_MAX} domains")
    return Forwarding(
        {domain.strip(".").lower(): _servers(STUB_DOMAINS, servers) for domain, servers in stubs.items()},
        _servers(UPSTREAM, _json(data, UPSTREAM, list)),
    )


def _json(data: Mapping[str, str], key: str, kind: type[Any]) -> Any:
    try:
        value = json.loads(data.get(key) or ("{}" if kind is dict else "[]"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{key}: not JSON: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{key}: not a JSON {'object' if kind is dict else 'array'}")
    return value


def _servers(key: str, items: Any) -> tuple[Server, ...]:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{key}: servers are an array of texts")
    return tuple(_server(key, item) for item in items[:SERVERS_MAX])


def _server(key: str, text: str) -> Server:
    address, colon, port = text.partition(":")
    try:
        number = int(port) if colon else PORT
        if not 0 < number < 65_536:
            raise ValueError
        return str(ipaddress.IPv4Address(address)), number
    except ValueError:
        raise ValueError(f"{key}: {text!r} is not an IPv4 address with or without a port") from None
