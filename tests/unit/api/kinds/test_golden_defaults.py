"""Defaults: an object created with the least comes back with what a real API server fills in."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import copy_object
from tests.unit.api.kinds import golden

# Written by admission and by allocators, which know the cluster; kinds know one object.
ADMISSION: dict[str, dict[str, tuple[str, ...]]] = {
    "Pod": {
        "spec": ("serviceAccountName", "serviceAccount", "tolerations", "priority", "preemptionPolicy",
                 "priorityClassName", "overhead", "runtimeClassName"),
    },
    "Service": {"spec": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort")},
    "Node": {"spec": ("taints",)},
    "CertificateSigningRequest": {"spec": ("username", "groups", "uid", "extra")},
    "PersistentVolume": {"metadata": ("finalizers",)},
    "PersistentVolumeClaim": {"metadata": ("finalizers",)},
}  # fmt: skip
# v1.36 fills in fields that v1.20 did not have.
ADDED: dict[str, dict[str, tuple[str, ...]]] = {
    "Service": {"spec": ("internalTrafficPolicy", "allocateLoadBalancerNodePorts")},
    "Namespace": {"metadata": ("labels",)},
    "Job": {
        "spec": (
            "completionMode",
            "suspend",
            "podReplacementPolicy",
            "selector",
            "manualSelector",
            "ttlSecondsAfterFinished",
        ),
        "spec.template.metadata": ("labels",),
        "metadata": ("labels",),
    },
    "StatefulSet": {
        "spec": ("persistentVolumeClaimRetentionPolicy",),
        "spec.updateStrategy.rollingUpdate": ("maxUnavailable",),
        "status": ("availableReplicas",),
    },
    "PersistentVolumeClaim": {"spec": ("dataSourceRef",)},
    "DaemonSet": {"spec.updateStrategy.rollingUpdate": ("maxSurge",)},
    "CSIDriver": {"spec": ("requiresRepublish", "storageCapacity", "seLinuxMount")},
    "HorizontalPodAutoscaler": {"status": ("currentReplicas",)},
    "PriorityLevelConfiguration": {"spec.limited": ("nominalConcurrencyShares", "lendablePercent")},
}
# Scenarios that another part of the server answers for.
SKIPPED = {
    "pod-seccomp-annotation": "v1.27 and later no longer turn the annotation into a field",
    "pod-case-insensitive-fields": "the decoder is case-sensitive since v1.22",
    "pod-with-token-serviceaccount": "admission injects the token volume",
    "svc-fixed-clusterip": "externalTrafficPolicy is also filled in for externalIPs since v1.26",
    "pvc-default-storageclass": "admission finds the default class",
    "limitrange-pod-defaults": "admission fills in the defaults of LimitRanges",
}


def _cases() -> list[tuple[str, Any]]:
    cases = []
    for recording in golden.recordings("defaults"):
        for number, step in enumerate(recording["steps"]):
            request, response = step["request"], step["response"]
            kind, namespace, name, is_subresource = golden.kind_of(request["path"])
            if request["method"] != "POST" or kind is None or name or is_subresource:
                continue
            body = request.get("body")
            if not isinstance(body, dict) or response["code"] != 201 or recording["id"] in SKIPPED:
                continue
            if any(ids in str(body) for ids in ("<uid", "<clusterIP")):
                continue
            cases.append((f"{recording['id']}-{number}", (kind, namespace, body, response["body"])))
    return cases


def _comparable(obj: dict[str, Any], kind: str) -> Any:
    out = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    meta = obj.get("metadata") or {}
    out["metadata"] = {key: meta[key] for key in ("labels", "annotations", "finalizers") if meta.get(key)}
    out = copy_object(out)
    for table in (ADMISSION, ADDED):
        for path, keys in table.get(kind, {}).items():
            section: Any = out
            for part in path.split("."):
                section = section.get(part) if isinstance(section, dict) else None
            for key in keys if isinstance(section, dict) else ():
                section.pop(key, None)
    return _pruned(out)


def _pruned(value: Any) -> Any:
    """Without creation times of templates and placeholders that stand for allocated numbers."""
    if isinstance(value, dict):
        pruned = {key: _pruned(item) for key, item in value.items() if key not in ("creationTimestamp", "nodePort")}
        return {key: item for key, item in pruned.items() if item is not None}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


@pytest.mark.parametrize("case", golden.params(_cases()))
def test_same_object(case: Any) -> None:
    kind, namespace, body, expected = case
    obj, causes = golden.created(kind, body, namespace)
    assert not causes
    assert _comparable(obj, kind.resource.kind) == _comparable(expected, kind.resource.kind)
