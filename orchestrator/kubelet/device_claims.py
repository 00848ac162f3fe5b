"""The devices of a pod's ResourceClaims, which must be prepared before its sandbox is made.

Drivers would do that as plugins of the kubelet (KEP-4381). None can register here, so a pod that was given devices
waits, as it does on every node without their driver; a hollow node has all drivers there are.
"""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.api.resource_claims import (
    ClaimNotCreated,
    allocation_of,
    claim_name_of,
    is_reserved_for,
    references_of,
    results_of,
)
from orchestrator.api.resources import RESOURCE_CLAIMS
from orchestrator.client.client import Client


class DevicesNotReady(Exception):
    """Why the devices of a pod cannot be prepared now."""


async def prepare_devices(client: Client, pod: Object) -> None:
    """Return when the pod needs no device; DevicesNotReady."""
    for reference in references_of(pod):
        try:
            name = claim_name_of(pod, reference)
        except ClaimNotCreated as error:
            raise DevicesNotReady(str(error)) from None
        if name is not None:
            await _prepare(client, pod, name)


async def _prepare(client: Client, pod: Object, name: str) -> None:
    try:
        claim = await client.get(RESOURCE_CLAIMS, name, namespace_of(pod))
    except errors.NotFound:
        raise DevicesNotReady(f"failed to fetch ResourceClaim {name} referenced by pod {name_of(pod)}") from None
    if not is_reserved_for(claim, pod):
        raise DevicesNotReady(
            f"pod {name_of(pod)}({uid_of(pod)}) is not allowed to use ResourceClaim {name}({uid_of(claim)})"
        )
    for driver in sorted({result["driver"] for result in results_of(allocation_of(claim))}):
        raise DevicesNotReady(f"DRA driver {driver} is not registered")
