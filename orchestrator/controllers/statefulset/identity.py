"""Names, labels, claims: what makes the pod with one ordinal the same pod for ever. Pure."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.api.objects import Object, copy_object, labels_of, name_of, namespace_of, uid_of
from orchestrator.controllers.history import REVISION_LABEL
from orchestrator.controllers.pods import pod_from_template

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"

_NAME = re.compile(r"(.*)-([0-9]+)")


def split_name(name: str) -> tuple[str, int]:
    """The set and the ordinal that a pod name stands for; the ordinal is -1 when it has none."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else ("", -1)


def is_member(stateful_set: Object, pod: Object) -> bool:
    """Whether a pod is called as one of this set."""
    parent, ordinal = split_name(name_of(pod))
    return ordinal >= 0 and parent == name_of(stateful_set)


def ordinal_of(pod: Object) -> int:
    """The ordinal in a pod's name."""
    return split_name(name_of(pod))[1]


def start_of(stateful_set: Object) -> int:
    """`spec.ordinals.start`: the first ordinal."""
    return int((stateful_set["spec"].get("ordinals") or {}).get("start") or 0)


def ordinals_of(stateful_set: Object) -> range:
    """The ordinals that should exist."""
    start = start_of(stateful_set)
    return range(start, start + int(stateful_set["spec"].get("replicas", 1)))


def revision_of(pod: Object) -> str:
    """The name of the revision that a pod was made from."""
    return labels_of(pod).get(REVISION_LABEL, "")


def claim_name(stateful_set: Object, template: Object, ordinal: int) -> str:
    """The name of the claim for a claim template and an ordinal."""
    return f"{name_of(template)}-{name_of(stateful_set)}-{ordinal}"


def sets_of_claim(name: str) -> list[str]:
    """The names that the set of a claim may have: names of templates and of sets may both have dashes."""
    parts = split_name(name)[0].split("-")
    return ["-".join(parts[start:]) for start in range(1, len(parts))]


def new_pod(stateful_set: Object, template: Object, revision: str, ordinal: int) -> Object:
    """The pod with this ordinal, from a revision's template."""
    pod = pod_from_template(template, stateful_set)
    name = f"{name_of(stateful_set)}-{ordinal}"
    pod["metadata"]["name"] = name
    labels = pod["metadata"].setdefault("labels", {})
    labels.update({POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal), REVISION_LABEL: revision})
    spec = pod["spec"]
    spec["hostname"] = name
    spec["subdomain"] = stateful_set["spec"].get("serviceName") or ""
    claims = {name_of(t): claim_name(stateful_set, t, ordinal) for t in claim_templates(stateful_set)}
    if claims:
        own = [volume for volume in spec.get("volumes") or () if volume.get("name") not in claims]
        spec["volumes"] = [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in claims.items()
        ] + own
    return pod


def claim_templates(stateful_set: Object) -> list[Object]:
    """`spec.volumeClaimTemplates`."""
    return list(stateful_set["spec"].get("volumeClaimTemplates") or ())


def new_claims(stateful_set: Object, ordinal: int) -> list[Object]:
    """The claims that the pod with this ordinal mounts."""
    selector_labels = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
    claims: list[Object] = []
    for template in claim_templates(stateful_set):
        claim = copy_object({**template, "apiVersion": "v1", "kind": "PersistentVolumeClaim"})
        claim.pop("status", None)
        metadata = claim.setdefault("metadata", {})
        metadata["name"] = claim_name(stateful_set, template, ordinal)
        metadata["namespace"] = namespace_of(stateful_set)
        labels = {**(metadata.get("labels") or {}), **selector_labels}
        if labels:
            metadata["labels"] = labels
        if retention(stateful_set)[0] == "Delete":
            metadata["ownerReferences"] = [_reference(stateful_set)]
        claims.append(claim)
    return claims


def plan_labels(pod: Object) -> dict[str, str]:
    """The identity labels that a pod lacks, as those that were adopted do."""
    wanted = {POD_NAME_LABEL: name_of(pod), POD_INDEX_LABEL: str(ordinal_of(pod))}
    return {key: value for key, value in wanted.items() if labels_of(pod).get(key) != value}


def retention(stateful_set: Object) -> tuple[str, str]:
    """(whenDeleted, whenScaled) of the claims: Retain or Delete."""
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") or "Retain", policy.get("whenScaled") or "Retain"


def _reference(owner: Object) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def plan_claim_owners(stateful_set: Object, pod: Object, claim: Object) -> list[dict[str, Any]] | None:
    """The owner references of a claim as the retention policy asks; None when they are right already.

    A claim that is to go with the set belongs to the set, one that is to go with a pod that is scaled
    away to that pod: the garbage collector does the rest (KEP-1847).
    """
    when_deleted, when_scaled = retention(stateful_set)
    is_scaled_away = ordinal_of(pod) not in ordinals_of(stateful_set)
    by_pod = when_scaled == "Delete" and is_scaled_away
    by_set = when_deleted == "Delete" and not by_pod
    present = list(claim["metadata"].get("ownerReferences") or ())
    ours = {uid_of(stateful_set), uid_of(pod)}
    others = [one for one in present if one.get("uid") not in ours]
    if any(one.get("controller") for one in others):
        return None  # somebody else manages this claim
    pod = {"apiVersion": "v1", "kind": "Pod", **pod}
    wanted = others + ([_reference(stateful_set)] if by_set else []) + ([_reference(pod)] if by_pod else [])
    same = sorted(str(one.get("uid")) for one in wanted) == sorted(str(one.get("uid")) for one in present)
    return None if same else wanted


def is_stale_claim(claim: Object, pod_uid: str) -> bool:
    """Whether a claim still belongs to an earlier pod of this name and is about to go with it."""
    references = claim["metadata"].get("ownerReferences") or ()
    return any(one.get("kind") == "Pod" and one.get("uid") != pod_uid for one in references)
