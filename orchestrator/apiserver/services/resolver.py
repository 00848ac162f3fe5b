"""Where a Service that the API server itself calls can be reached: webhooks, aggregated APIs.

The API server runs outside of the pod network's service proxy, so it goes to a ready endpoint directly, as
kube-apiserver does with `--enable-aggregator-routing`.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.objects import Object, labels_of
from orchestrator.apiserver.admission.plugin import Reader


class Address(NamedTuple):
    """A host (an IP, or a name for ExternalName) and a port."""

    host: str
    port: int


async def resolve_service(reader: Reader, namespace: str, name: str, port: int) -> Address:
    """A ready endpoint behind a Service's port; ServiceUnavailable when there is none."""
    service = await reader.read("services", name, namespace)
    if service is None:
        raise errors.ServiceUnavailable(f'service "{name}" not found')
    if service["spec"].get("type") == "ExternalName":
        return Address(service["spec"]["externalName"], port)
    wanted = next((one for one in service["spec"].get("ports") or () if one.get("port") == port), None)
    if wanted is None:
        raise errors.ServiceUnavailable(f'no service port {port} found for service "{name}"')
    slices = await reader.read_all("endpointslices.discovery.k8s.io", namespace)
    candidates = addresses_behind([one for one in slices if labels_of(one).get(SERVICE_NAME_LABEL) == name], wanted)
    if not candidates:
        raise errors.ServiceUnavailable(f'no endpoints available for service "{name}"')
    return random.choice(candidates)


def addresses_behind(slices: list[Object], port: dict[str, Any]) -> list[Address]:
    """All ready addresses of a Service's port."""
    found: list[Address] = []
    for one in slices:
        number = next(
            (p.get("port") for p in one.get("ports") or () if (p.get("name") or "") == (port.get("name") or "")), None
        )
        if number is None:
            continue
        for endpoint in one.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found += [Address(address, number) for address in endpoint.get("addresses") or ()]
    return found
