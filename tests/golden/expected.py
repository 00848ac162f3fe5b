"""What may differ between a recording and our answer, each entry with its reason.

The recordings come from v1.20.2 (and, for custom resources, v1.36); we serve v1.36. Where the newer
version documents another behaviour, ours is right and the difference is expected.
"""

from __future__ import annotations

import re
from typing import Any

from tests.golden.compare import MISSING, Difference

ADDED_SINCE: tuple[tuple[str, str], ...] = (
    (r"\.spec\.(ipFamilies|ipFamilyPolicy)", "dual-stack Services, v1.23"),
    (r"\.spec\.internalTrafficPolicy", "v1.26"),
    (r"\.spec\.allocateLoadBalancerNodePorts", "v1.24"),
    (r"\.spec\.(completionMode|suspend|podReplacementPolicy)$", "Job fields, v1.24 to v1.34"),
    (r"\.spec\.jobTemplate\.spec\.(completionMode|suspend|podReplacementPolicy)$", "Job fields, v1.24 to v1.34"),
    (r"\.spec\.persistentVolumeClaimRetentionPolicy", "v1.32"),
    (r"\.metadata\.labels(\.kubernetes\.io/metadata\.name)?$", "every namespace carries its name as a label, v1.21"),
    (r"\.metadata\.generation$", "pods and others have a generation, v1.33 to v1.35"),
    (r"\.observedGeneration$", "pod conditions, v1.33 to v1.35"),
    (r"^\.body\.metadata\.(name|namespace)$", "a TokenRequest names its account, v1.22"),
    (r"\.status\.user\.extra$", "the credential's id, v1.32"),
    (r"\.spec\.(volumeMode|resizePolicy|hostUsers)$", "newer defaults"),
)
"""Fields that ours has and a v1.20 recording cannot have."""

OWNED_SINCE: tuple[tuple[str, str], ...] = (
    (r"\.f:(nodeSelector|selector)(\.|$)", "selectors of pods are atomic maps, v1.21"),
    (r"\.f:(roleRef|fieldRef|secretKeyRef|configMapKeyRef|resourceFieldRef|dataSource)\.", "atomic references, v1.21"),
    (r"\.f:(imagePullSecrets|secrets|ownerReferences)\.k:[^.]*\.", "items that are references are atomic, v1.21"),
    (r"\.f:(scopeSelector|requiredDuringSchedulingIgnoredDuringExecution)\.", "atomic selectors, v1.21"),
    (r"\.f:service\.f:port\.", "ports of backends are atomic, v1.30"),
    (r"\.f:metadata\.f:creationTimestamp$", "an unset creationTimestamp is no longer encoded as null, v1.35"),
    (r"\.f:emptyDir$", "applying an empty struct owns it"),
    (
        r"\.f:(ipFamilies|ipFamilyPolicy|internalTrafficPolicy|allocateLoadBalancerNodePorts|completionMode|suspend"
        r"|podReplacementPolicy|manualSelector|persistentVolumeClaimRetentionPolicy|storageCapacity|seLinuxMount"
        r"|requiresRepublish|kubernetes\.io/metadata\.name)(\.|$)",
        "fields that a v1.20 recording cannot have",
    ),
)
"""Parts of managedFields that differ from a v1.20 recording."""

REWORDED: tuple[tuple[str, str], ...] = ()


def prepare(theirs: dict[str, Any], ours: dict[str, Any], scenario: dict[str, Any]) -> tuple[Any, Any]:
    """Bring both sides into a comparable form."""
    if scenario["server"].startswith("v1.20"):
        for side in (theirs, ours):
            _align_managed_fields(side)
    return theirs, ours


def is_expected(difference: Difference, scenario: dict[str, Any], step: dict[str, Any]) -> str:
    """The reason why this difference is right, or an empty string."""
    old = scenario["server"].startswith("v1.20")
    if old and difference.recorded is MISSING:
        for pattern, reason in ADDED_SINCE:
            if re.search(pattern, difference.path):
                return reason
    if old and ".managedFields" in difference.path:
        for pattern, reason in OWNED_SINCE:
            if re.search(pattern, difference.path):
                return reason
        if difference.recorded is MISSING and "kubernetes.io/metadata.name" in str(difference.ours):
            return "every namespace carries its name as a label, v1.21"
    if old and difference.path.endswith(".creationTimestamp") and difference.recorded is None:
        return "an unset creationTimestamp is no longer sent as null, v1.35"
    if old and re.search(r"\.status\.(resourceRules|nonResourceRules)\[", difference.path):
        return "rules come in no promised order, and selfsubjectreviews are new (v1.28)"
    if old and "Invalid value: " in str(difference.recorded) and "resourceAttributes" in str(difference.ours):
        return "values are shown as JSON, v1.33"
    if scenario["id"] == "k-crd-scope-immutable" and step["request"]["method"] == "PATCH":
        return "a definition is established before its creation is answered; see k-crd-scope-immutable-established"
    if scenario["id"] == "k-watch-old-rv" and ".events[0]" in difference.path:
        return "the recorded server had forgotten revision 1, ours remembers it"
    if difference.path.endswith(".metadata.resourceVersion") and "list-rv" in str(difference.recorded):
        return "revisions of lists are not comparable"
    return ""


def _align_managed_fields(value: Any) -> None:
    """Bring entries to what v1.20 and ours have in common: no subresource, and creators own no status (v1.22)."""
    if isinstance(value, dict):
        entries = value.get("managedFields")
        if isinstance(entries, list):
            kept = []
            for entry in entries:
                fields = entry.get("fieldsV1") or {}
                if entry.pop("subresource", "") != "status" and len(fields) > 1:
                    fields.pop("f:status", None)
                if set(fields) != {"f:status"} and fields:
                    kept.append(entry)
            value["managedFields"] = kept
            if not kept:
                del value["managedFields"]
        for item in value.values():
            _align_managed_fields(item)
    elif isinstance(value, list):
        for item in value:
            _align_managed_fields(item)
