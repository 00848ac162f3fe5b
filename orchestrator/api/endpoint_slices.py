"""EndpointSlices: whose they are, and those of Services that are led to this process itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.api.objects import Object, labels_of, namespace_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SERVICE_INDEX = "service"
"""An informer's index of EndpointSlices by the key of their Service: `add_index(SERVICE_INDEX, service_keys)`."""


def service_keys(one: Object) -> list[str]:
    """The key (`namespace/name`) of the Service that a slice belongs to, if it says so."""
    name = labels_of(one).get(SERVICE_NAME_LABEL)
    return [f"{namespace_of(one)}/{name}"] if name else []


def slice_of_own_listeners(
    namespace: str,
    name: str,
    address: str,
    ports: Iterable[tuple[str, int, str]],
    labels: Mapping[str, str] | None = None,
) -> Object:
    """The one slice of a Service of the same name without a selector, behind which this process listens.

    `ports` are name, number and protocol of each.
    """
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {SERVICE_NAME_LABEL: name, **(labels or {})}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}],
        "ports": [{"name": port, "port": number, "protocol": protocol} for port, number, protocol in ports],
    }
