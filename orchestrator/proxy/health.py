"""Health-check ports: tell load balancers which nodes have endpoints of a Service with the policy `Local`.

`plan_health` decides what each node says; pure. Mirrors kube-proxy's ServiceHealthServer (KEP-27 of sig-network,
`spec.healthCheckNodePort`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from msgspec import Struct

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.proxy.listener import Listener, Response
from orchestrator.proxy.topology import NodeFacts, endpoints_of, local_to


class Health(Struct, frozen=True):
    """What a node says about a Service."""

    namespace: str
    name: str
    local_endpoints: int

    def response(self) -> Response:
        """200 where there are endpoints, else 503."""
        content = {
            "service": {"namespace": self.namespace, "name": self.name},
            "localEndpoints": self.local_endpoints,
            "serviceProxyHealthy": True,
        }
        return Response(
            json.dumps(content, indent="\t").encode(),
            content_type="application/json",
            status=HTTPStatus.OK if self.local_endpoints else HTTPStatus.SERVICE_UNAVAILABLE,
            headers=(("X-Load-Balancing-Endpoint-Weight", str(self.local_endpoints)),),
        )


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


class ServiceHealth:
    """What is said on the health-check ports of all Services."""

    def __init__(self) -> None:
        self._said: dict[str, dict[Listener, Health]] = {}

    def update(self, key: str, health: dict[Listener, Health]) -> None:
        """Replace what is said about one Service."""
        if health:
            self._said[key] = health
        else:
            self._said.pop(key, None)

    def find(self, listener: Listener) -> Health | None:
        """What a node says on a port; None when no Service has it."""
        return next((healths[listener] for healths in self._said.values() if listener in healths), None)
