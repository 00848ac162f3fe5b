"""Services and slices as short expressions."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object
from orchestrator.proxy.ruleset import Layout
from orchestrator.proxy.topology import NodeFacts

LAYOUT = Layout(table="t", bridge="br0", services="10.96.0.0/16")
NODES = [NodeFacts("node-1", "172.30.0.2", "10.244.0.0/24"), NodeFacts("node-2", "172.30.0.3", "10.244.1.0/24")]


def service(
    name: str = "web", *, ip: str = "10.96.0.1", ports: list[dict[str, Any]] | None = None, **spec: Any
) -> Object:
    spec = {"type": "ClusterIP", "clusterIP": ip, "ports": ports or [{"port": 80, "protocol": "TCP"}], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def slices(*addresses: str, protocol: str = "TCP", port: int = 8080) -> list[Object]:
    """One slice; an address is on node-1 when its third part is 0, else on node-2."""
    endpoints = [
        {"addresses": [address], "nodeName": f"node-{int(address.split('.')[2]) + 1}", "conditions": {"ready": True}}
        for address in addresses
    ]
    return [{"addressType": "IPv4", "ports": [{"port": port, "protocol": protocol}], "endpoints": endpoints}]
