"""How pods and ResourceClaims are tied to each other; shared by scheduler, controller and kubelet.

Mirrors k8s.io/dynamic-resource-allocation/resourceclaim (KEP-4381).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.api.objects import Object, controller_of, name_of, namespace_of, uid_of

FINALIZER = "resource.kubernetes.io/delete-protection"
"""On a claim while it is allocated."""
POD_CLAIM_ANNOTATION = "resource.kubernetes.io/pod-claim-name"
"""On a claim made from a template: which entry of the pod's `resourceClaims` it is for."""
RESERVED_FOR_MAX = 256
"""Consumers of one claim at the same time."""


class ClaimNotCreated(Exception):
    """A pod's claim is still to be made from its template."""


def references_of(pod: Object) -> list[Object]:
    """`spec.resourceClaims`."""
    return (pod.get("spec") or {}).get("resourceClaims") or []


def claim_name_of(pod: Object, reference: Object) -> str | None:
    """The claim behind an entry of `spec.resourceClaims`; None when none is needed. ClaimNotCreated."""
    if reference.get("resourceClaimName"):
        return str(reference["resourceClaimName"])
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if status.get("name") == reference.get("name"):
            name: str | None = status.get("resourceClaimName")
            return name
    raise ClaimNotCreated(f'pod "{namespace_of(pod)}/{name_of(pod)}": ResourceClaim not created yet')


def claim_names_of(pod: Object) -> Iterator[str]:
    """The claims of a pod that are known by now."""
    for reference in references_of(pod):
        try:
            name = claim_name_of(pod, reference)
        except ClaimNotCreated:
            continue
        if name:
            yield name


def has_new_claims(old: Object, new: Object) -> bool:
    """Whether claims were made for a pod from its templates."""
    if not references_of(new):
        return False
    statuses = [(pod.get("status") or {}).get("resourceClaimStatuses") for pod in (old, new)]
    return statuses[0] != statuses[1]


def is_for_pod(claim: Object, pod: Object) -> bool:
    """Whether a claim was made from a template for this pod."""
    return (controller_of(claim) or {}).get("uid") == uid_of(pod)


def allocation_of(claim: Object) -> Object | None:
    """`status.allocation`; None while a claim has no devices."""
    allocation: Object | None = (claim.get("status") or {}).get("allocation")
    return allocation


def results_of(allocation: Object | None) -> Sequence[Object]:
    """What an allocation consists of, a device each."""
    results: Sequence[Object] = ((allocation or {}).get("devices") or {}).get("results") or ()
    return results


def reserved_for(claim: Object) -> list[Object]:
    """`status.reservedFor`."""
    return (claim.get("status") or {}).get("reservedFor") or []


def is_reserved_for(claim: Object, pod: Object) -> bool:
    """Whether the pod may use the claim already."""
    return any(consumer.get("uid") == uid_of(pod) for consumer in reserved_for(claim))


def consumer(pod: Object) -> Object:
    """The entry of `status.reservedFor` for a pod."""
    return {"resource": "pods", "name": name_of(pod), "uid": uid_of(pod)}
