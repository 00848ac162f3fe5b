"""Health-check ports: tell load balancers which nodes have endpoints of a Service with the policy `Local`.

`plan_health` decides what each node says, `HealthServer` says it. Mirrors kube-proxy's
ServiceHealthServer (KEP-27 of sig-network, `spec.healthCheckNodePort`).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.proxy.topology import NodeFacts, endpoints_of, local_to

REQUEST_SECONDS_MAX = 5.0
REQUEST_BYTES_MAX = 16 << 10
SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h: where a connection was addressed to before it was translated."""

Listener = tuple[str, int]
"""Address of a node, and port."""


class Health(Struct, frozen=True):
    """What a node says about a Service."""

    namespace: str
    name: str
    local_endpoints: int

    def response(self) -> bytes:
        """The whole HTTP response: 200 where there are endpoints, else 503."""
        status = HTTPStatus.OK if self.local_endpoints else HTTPStatus.SERVICE_UNAVAILABLE
        content = {
            "service": {"namespace": self.namespace, "name": self.name},
            "localEndpoints": self.local_endpoints,
            "serviceProxyHealthy": True,
        }
        body = json.dumps(content, indent="\t").encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
            f"X-Load-Balancing-Endpoint-Weight: {self.local_endpoints}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


def plan_health(service: Object | None, slices: Sequence[Object], nodes: Sequence[NodeFacts]) -> dict[Listener, Health]:
    """What each node says on the Service's health-check port; empty for Services without one."""
    spec = (service or {}).get("spec") or {}
    port = spec.get("healthCheckNodePort")
    if (
        service is None
        or not port
        or spec.get("type") != "LoadBalancer"
        or spec.get("externalTrafficPolicy") != "Local"
    ):
        return {}
    endpoints = [
        endpoint
        for one in spec.get("ports") or ()
        for endpoint in endpoints_of(slices, one.get("name") or "", one.get("protocol") or "TCP")
    ]
    return {
        (node.ip, port): Health(
            namespace_of(service),
            name_of(service),
            # Those that terminate do not count: the balancer is to go elsewhere in time (KEP-1669).
            len({e.target[0] for e in local_to(endpoints, node) if e.is_ready}),
        )
        for node in nodes
        if node.ip
    }


class HealthServer:
    """One listener for all Services and nodes: rules lead there, and each connection tells whom it was meant for."""

    def __init__(self, address: str) -> None:
        """`address` is one of this machine's that rules may lead to."""
        self._address = address
        self._said: dict[str, dict[Listener, Health]] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> Listener:
        """Begin to listen; returns where. OSError."""
        self._server = await asyncio.start_server(self._serve, self._address, 0, limit=REQUEST_BYTES_MAX)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def update(self, key: str, health: dict[Listener, Health]) -> None:
        """Replace what is said about one Service."""
        if health:
            self._said[key] = health
        else:
            self._said.pop(key, None)

    def _asked(self, connection: Any) -> Health | None:
        try:
            original = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        except OSError:
            return None  # it was not led here by a rule
        (port,) = struct.unpack_from("!H", original, 2)
        listener = (socket.inet_ntoa(original[4:8]), port)
        return next((healths[listener] for healths in self._said.values() if listener in healths), None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            health = self._asked(writer.get_extra_info("socket"))
            if health is not None:
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(health.response())
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # not a request, or nobody there any more
        finally:
            writer.close()
