"""Health-check ports: tell load balancers which nodes have endpoints of a Service with the policy `Local`.

`plan_health` decides what each node says, `HealthPorts` listens on the nodes' addresses. Mirrors kube-proxy's
ServiceHealthServer (KEP-27 of sig-network, `spec.healthCheckNodePort`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.logs import get_logger
from orchestrator.proxy.topology import NodeFacts, endpoints_of, local_to

REQUEST_SECONDS_MAX = 5.0
REQUEST_BYTES_MAX = 16 << 10

Listener = tuple[str, int]
"""Address of a node, and port."""


@dataclass(frozen=True, slots=True)
class Health:
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
            len({e.address for e in local_to(endpoints, node) if e.is_ready}),
        )
        for node in nodes
        if node.ip
    }


class HealthPorts:
    """The listeners of all Services on all nodes."""

    def __init__(self) -> None:
        self._wanted: dict[str, dict[Listener, Health]] = {}
        self._servers: dict[Listener, asyncio.Server] = {}
        self._log = get_logger("kube-proxy")

    def update(self, key: str, health: dict[Listener, Health]) -> None:
        """Replace what is said about one Service; listeners follow with `apply`."""
        if health:
            self._wanted[key] = health
        else:
            self._wanted.pop(key, None)

    async def apply(self) -> None:
        """Open and close listeners. A port that somebody else has is logged, and tried again next time."""
        wanted = {listener for healths in self._wanted.values() for listener in healths}
        for listener in self._servers.keys() - wanted:
            self._servers.pop(listener).close()
        for listener in wanted - self._servers.keys():
            try:
                self._servers[listener] = await asyncio.start_server(self._serve, *listener, limit=REQUEST_BYTES_MAX)
            except OSError as error:
                self._log.warning("health_port.taken", address=listener[0], port=listener[1], error=str(error))

    def close(self) -> None:
        """Stop listening."""
        while self._servers:
            self._servers.popitem()[1].close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener = writer.get_extra_info("sockname")[:2]
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                await reader.readuntil(b"\r\n\r\n")
                health = next((healths[listener] for healths in self._wanted.values() if listener in healths), None)
                if health is not None:
                    writer.write(health.response())
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # not a request, or nobody there any more
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()
