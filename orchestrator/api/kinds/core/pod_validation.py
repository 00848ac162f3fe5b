"""Which pods are valid, and which updates of them.

Mirrors ValidatePodCreate, ValidatePodUpdate, ValidatePodStatusUpdate, ValidatePodResize and
ValidatePodEphemeralContainersUpdate of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.fields import format_value
from orchestrator.api.kinds.changes import describe_changes
from orchestrator.api.kinds.core.container_validation import validate_images
from orchestrator.api.kinds.core.pod_annotations import (
    MIRROR,
    validate_annotations_update,
    validate_pod_annotations,
    validate_profiles_match,
)
from orchestrator.api.kinds.core.pod_spec_validation import validate_pod_spec
from orchestrator.api.kinds.core.quality_of_service import qos_class
from orchestrator.api.objects import Object, annotations_of, copy_object, name_of

_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod(obj: Object) -> list[Cause]:
    """Everything wrong with a new pod."""
    spec = obj.get("spec") or {}
    causes = _validate_metadata_and_spec(obj, spec)
    if spec.get("ephemeralContainers"):
        causes.append(fields.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("schedulingGates") and spec.get("nodeName"):
        causes.append(fields.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    if annotations := annotations_of(obj):
        causes += validate_profiles_match(annotations, spec, "spec")
    return causes


def _validate_metadata_and_spec(obj: Object, spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    if annotations := annotations_of(obj):
        causes += validate_pod_annotations(annotations, spec, "metadata.annotations")
    causes += validate_pod_spec(spec, "spec")
    if volumes := spec.get("volumes"):
        causes += _validate_pod_volumes(name_of(obj), volumes, has_account=bool(spec.get("serviceAccountName")))
    causes += validate_images(spec.get("containers") or (), "spec.containers")
    if containers := spec.get("initContainers"):
        causes += validate_images(containers, "spec.initContainers")
    return causes


def _validate_pod_volumes(pod: str, volumes: list[dict[str, Any]], *, has_account: bool) -> list[Cause]:
    """What of its volumes depends on the pod's name and account."""
    causes: list[Cause] = []
    made = {f"{pod}-{volume.get('name') or ''}" for volume in volumes if pod and volume.get("ephemeral") is not None}
    for position, volume in enumerate(volumes):
        where, name = fields.index("spec.volumes", position), volume.get("name") or ""
        if pod and name and volume.get("ephemeral") is not None:
            claim = f"{pod}-{name}"
            causes += [
                fields.invalid(f"{where}.name", name, f"PVC name {fields.quote(claim)}: {text}")
                for text in names.is_dns1123_subdomain(claim)
            ]
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        if claim in made:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            causes.append(fields.invalid(f"{where}.persistentVolumeClaim.claimName", claim, detail))
        if has_account:
            continue
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                spot = fields.index(f"{where}.projected.sources", number)
                detail = "must not be specified when serviceAccountName is not set"
                causes.append(fields.forbidden(f"{spot}.serviceAccountToken", detail))
    return causes


# --- updates ----------------------------------------------------------------------------------


def _validate_container_updates(new: dict[str, Any], old: dict[str, Any]) -> tuple[list[Cause], bool]:
    """The causes, and whether comparing further makes no sense."""
    for key in ("containers", "initContainers"):
        after, before = new.get(key) or [], old.get(key) or []
        if len(after) != len(before):
            return [fields.forbidden(f"spec.{key}", "pod updates may not add or remove containers")], True
    return [], False


def _validate_deadline(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    path = "spec.activeDeadlineSeconds"
    after, before = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if after is not None:
        if not 0 <= after <= 2**31 - 1:
            return [fields.invalid(path, after, names.range_message(0, 2**31 - 1))]
        if before is not None and before < after:
            return [fields.invalid(path, after, "must be less than or equal to previous value")]
    elif before is not None:
        return [fields.invalid(path, None, "must not update from a positive integer to nil value")]
    return []


def _validate_tolerations(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    def without_seconds(toleration: dict[str, Any]) -> frozenset[tuple[str, Any]]:
        return frozenset(item for item in toleration.items() if item[0] != "tolerationSeconds")

    kept = {without_seconds(toleration) for toleration in new.get("tolerations") or ()}
    for toleration in old.get("tolerations") or ():
        if without_seconds(toleration) not in kept:
            return [
                fields.forbidden(
                    "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
                )
            ]
    return []


def _validate_gates(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    before = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    return [
        fields.forbidden(
            f"{fields.index('spec.schedulingGates', position)}.name",
            f"only deletion is allowed, but found new scheduling gate '{name}'",
        )
        for position, gate in enumerate(new.get("schedulingGates") or ())
        if (name := gate.get("name") or "") not in before
    ]


def _is_gated_selector_tightened(new: dict[str, Any], old: dict[str, Any]) -> bool:
    after, before = new.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    return before.items() <= after.items()


def _gated_affinity_causes(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    """Terms that a gated pod has may only get more requirements."""
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    path = f"spec.affinity.nodeAffinity.{key}.nodeSelectorTerms"

    def terms_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
        affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(key) or {}
        return affinity.get("nodeSelectorTerms") or []

    terms, before = terms_of(new), terms_of(old)
    if not before:
        return []
    if len(terms) != len(before):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [fields.invalid(path, terms, detail)]
    detail = "only additions are allowed (no mutations or deletions)"
    return [
        fields.invalid(fields.index(path, position), term, detail)
        for position, (term, other) in enumerate(zip(terms, before, strict=True))
        if not _has_only_additions(term, other)
    ]


def _has_only_additions(term: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("matchExpressions", "matchFields")
    if not any(other.get(key) for key in keys):
        return not any(term.get(key) for key in keys)  # what matches nothing stays so
    return all((term.get(key) or [])[: len(other.get(key) or ())] == (other.get(key) or []) for key in keys)


def _munge(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """The new spec with everything that may change put back, to compare the rest."""
    munged = copy_object(new)
    for key in ("containers", "initContainers"):
        for container, before in zip(munged.get(key) or (), old.get(key) or (), strict=True):
            container["image"] = before.get("image")
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _restore(munged, old, key)
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and munged.get("terminationGracePeriodSeconds") == 1:
        _restore(munged, old, "terminationGracePeriodSeconds")
    if old.get("schedulingGates"):
        if _is_gated_selector_tightened(new, old):
            _restore(munged, old, "nodeSelector")
        if (munged.get("affinity") or {}) != (old.get("affinity") or {}):
            node = (munged.get("affinity") or {}).get("nodeAffinity")
            before_affinity = old.get("affinity") or {}
            if node is not None or before_affinity.get("nodeAffinity") is not None:
                affinity = munged.setdefault("affinity", {})
                _restore(affinity, before_affinity, "nodeAffinity")
                if not affinity and "affinity" not in old:
                    del munged["affinity"]
    return munged


def _restore(munged: dict[str, Any], old: dict[str, Any], key: str) -> None:
    if key in old:
        munged[key] = old[key]
    else:
        munged.pop(key, None)


def validate_pod_update(new: Object, old: Object) -> list[Cause]:
    """A pod's spec is fixed, but for images, deadline, added tolerations, removed gates."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = _validate_metadata_and_spec(new, spec)
    causes += validate_annotations_update(annotations_of(new), annotations_of(old), "metadata.annotations")
    updates, stop = _validate_container_updates(spec, before)
    causes += updates
    if stop:
        return causes
    causes += _validate_deadline(spec, before) + _validate_tolerations(spec, before) + _validate_gates(spec, before)
    if before.get("schedulingGates"):
        if not _is_gated_selector_tightened(spec, before):
            causes.append(
                fields.invalid(
                    "spec.nodeSelector",
                    spec.get("nodeSelector"),
                    "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                )
            )
        causes += _gated_affinity_causes(spec, before)
    munged = _munge(spec, before)
    if munged != before:
        causes.append(fields.forbidden("spec", _UPDATABLE + describe_changes(munged, before)))
    return causes


_SYSTEM_CONDITIONS = frozenset(("PodScheduled", "Ready", "Initialized"))


def validate_pod_status_update(new: Object, old: Object) -> list[Cause]:
    """Addresses are addresses; containers that ended for good stay ended."""
    status, before = new.get("status") or {}, old.get("status") or {}
    causes = validate_annotations_update(annotations_of(new), annotations_of(old), "metadata.annotations")
    for position, condition in enumerate(status.get("conditions") or ()):
        name = condition.get("type") or ""
        if name not in _SYSTEM_CONDITIONS:
            where = f"{fields.index('metadata.conditions', position)}.Type"  # so the path reads in kube-apiserver, too
            causes += [fields.invalid(where, name, text) for text in names.is_qualified_name(name)]
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        causes += [
            fields.invalid("status.nominatedNodeName", nominated, t) for t in names.is_dns1123_subdomain(nominated)
        ]
    if before.get("qosClass") and status.get("qosClass") not in (None, before["qosClass"]):
        causes.append(fields.immutable("status.qosClass", status.get("qosClass")))
    spec = old.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        for key in ("containerStatuses", "initContainerStatuses"):
            causes += _validate_transitions(status.get(key) or (), before.get(key) or (), spec, f"status.{key}")
    debuggers = before.get("ephemeralContainerStatuses") or ()
    if debuggers:
        current = status.get("ephemeralContainerStatuses") or ()
        causes += _validate_transitions(current, debuggers, {}, "status.ephemeralContainerStatuses")
    causes += _validate_claim_statuses(status, spec)
    causes += _validate_addresses(status.get("podIPs") or (), "status.podIPs")
    if hosts := status.get("hostIPs"):
        first = hosts[0].get("ip") or ""
        if first != (status.get("hostIP") or ""):
            where = f"{fields.index('status.hostIPs', 0)}.ip"
            causes.append(fields.invalid(where, first, "must be equal to `hostIP`"))
        causes += _validate_addresses(hosts, "status.hostIPs")
    return causes


def _validate_addresses(entries: Sequence[dict[str, Any]], path: str) -> list[Cause]:
    """Addresses of a pod or of its node: at most one of each family, none twice."""
    causes: list[Cause] = []
    for position, entry in enumerate(entries):
        ip = entry.get("ip") or ""
        causes += [fields.invalid(fields.index(path, position), ip, text) for text in names.is_ip(ip)]
    if len(entries) < 2:
        return causes
    ips = [entry.get("ip") or "" for entry in entries]
    parsed = [ip for ip in map(names.parse_ip, ips) if ip is not None]
    if len(ips) > 2 or len({ip.version for ip in parsed}) < 2:
        causes.append(fields.invalid(path, list(entries), "may specify no more than one IP for each IP family"))
    return causes + [
        fields.duplicate(fields.index(path, position), entries[position]) for position in sorted(fields.repeated(ips))
    ]


def _validate_claim_statuses(status: dict[str, Any], spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for position, entry in enumerate(status.get("resourceClaimStatuses") or ()):
        where, name = f"{fields.index('status.resourceClaimStatuses', position)}.name", entry.get("name") or ""
        if name not in known:
            causes.append(fields.invalid(where, name, "must match the name of an entry in `spec.resourceClaims`"))
        if name in seen:
            causes.append(fields.duplicate(where, name))
        seen.add(name)
        claim = entry.get("resourceClaimName")
        if claim is not None:
            causes += [fields.invalid(where, claim, text) for text in names.is_dns1123_subdomain(claim)]
    return causes


def _could_restart_all(spec: dict[str, Any]) -> bool:
    return any(
        rule.get("action") == "RestartAllContainers"
        for key in ("containers", "initContainers")
        for container in spec.get(key) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _validate_transitions(new: Any, old: Any, spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if _could_restart_all(spec):
        return causes
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    current = {entry.get("name"): entry for entry in new}
    ruled = {
        c.get("name")
        for key in ("containers", "initContainers")
        for c in spec.get(key) or ()
        if c.get("restartPolicyRules") or c.get("restartPolicy") in ("Always", "OnFailure")
    }
    for position, entry in enumerate(old):
        name = entry.get("name")
        terminated = (entry.get("state") or {}).get("terminated")
        if terminated is None or name in sidecars or name in ruled:
            continue
        if terminated.get("exitCode") and spec.get("restartPolicy") == "OnFailure":
            continue
        later = current.get(name)
        if later is not None and (later.get("state") or {}).get("terminated") is None:
            causes.append(
                fields.forbidden(
                    fields.index(path, position) + ".state", "may not be transitioned to non-terminated state"
                )
            )
    return causes


def validate_ephemeral_containers_update(new: Object, old: Object) -> list[Cause]:
    """Debug containers are only added, and not to pods that the API server only mirrors."""
    if MIRROR in annotations_of(old):
        return [fields.forbidden("", "static pods do not support ephemeral containers")]
    spec, path = new.get("spec") or {}, "spec.ephemeralContainers"
    causes = _validate_metadata_and_spec(new, spec)
    after = {container.get("name"): container for container in spec.get("ephemeralContainers") or ()}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container.get("name")
        which = f"existing ephemeral containers {format_value(name)}"
        if name not in after:
            causes.append(fields.forbidden(path, f"{which} may not be removed\n"))
        elif after[name] != container:
            changes = describe_changes(after[name], container)
            causes.append(fields.forbidden(path, f"{which} may not be changed\n{changes}"))
    return causes


def _restore_sizes(resources: dict[str, Any], kept: dict[str, Any]) -> None:
    """Requests and limits of CPU and memory as they were."""
    for kind in ("limits", "requests"):
        for name in ("cpu", "memory"):
            was = (kept.get(kind) or {}).get(name)
            if was is not None:
                resources.setdefault(kind, {})[name] = was
            else:
                (resources.get(kind) or {}).pop(name, None)
        if not resources.get(kind):
            resources.pop(kind, None)


def _validate_same_containers(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    """A resize finds each container where it was."""
    causes = []
    for key in ("containers", "initContainers"):
        after, before = new.get(key) or [], old.get(key) or []
        path = f"spec.{key}"
        if len(after) != len(before):
            causes.append(fields.forbidden(path, f"{key} may not be added or removed on resize"))
            continue
        causes += [
            fields.forbidden(f"{fields.index(path, position)}.name", f"{key} may not be renamed or reordered on resize")
            for position, (container, original) in enumerate(zip(after, before, strict=True))
            if container.get("name") != original["name"]
        ]
    return causes


def validate_pod_resize(new: Object, old: Object) -> list[Cause]:
    """Only CPU and memory of containers and of the pod change, and the pod keeps its quality of service."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if MIRROR in annotations_of(old):
        return [fields.forbidden("", "static pods cannot be resized")]
    if (before.get("os") or {}).get("name") == "windows":
        return [fields.forbidden("", "windows pods cannot be resized")]
    causes = _validate_metadata_and_spec(new, spec)
    if moved := _validate_same_containers(spec, before):
        return causes + moved
    if qos_class(spec) != qos_class(before):
        causes.append(fields.invalid("spec", qos_class(spec), "Pod QOS Class may not change as a result of resizing"))
    munged = copy_object(spec)
    for key in ("containers", "initContainers"):
        for container, original in zip(munged.get(key) or (), before.get(key) or (), strict=True):
            _restore_sizes(container.setdefault("resources", {}), original.get("resources") or {})
            if key == "containers" or original.get("restartPolicy") == "Always":
                continue
            if container.get("resources") != original.get("resources"):
                causes.append(
                    fields.forbidden(f"spec.{key}", "resources for non-sidecar init containers are immutable")
                )
    if munged.get("resources") and before.get("resources"):
        _restore_sizes(munged["resources"], before["resources"])
    if munged != before:
        causes.append(
            fields.forbidden("spec", "only cpu and memory resources are mutable" + describe_changes(munged, before))
        )
    return causes
