"""StatefulSet and ControllerRevision. Mirrors registry/apps/statefulset and .../controllerrevision."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import (
    int_or_percent,
    non_negative,
    validate_not_more_than_100_percent,
    validate_positive_int_or_percent,
    validate_workload_selector,
)
from orchestrator.api.kinds.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    age,
    container_cells,
    dig,
    ref,
)
from orchestrator.api.kinds.core.persistent_volume_claim import default_claim, warn_claim_spec
from orchestrator.api.kinds.core.pod_spec import default_pod_template
from orchestrator.api.kinds.core.pod_template import validate_selected_template
from orchestrator.api.kinds.core.pod_warnings import warn_pod_template
from orchestrator.api.kinds.defaulting import condition_times, fill, fill_empty, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind, ScalePaths
from orchestrator.api.kinds.go_values import go_struct
from orchestrator.api.objects import Object, controller_of, name_of
from orchestrator.api.resources import CONTROLLER_REVISIONS, STATEFUL_SETS

_NO_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_CHANGEABLE = frozenset({
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
})  # fmt: skip


def default_stateful_set(obj: Object) -> None:
    """One pod after the other; claims stay when pods or the set go."""
    spec = struct(obj, "spec")
    fill(struct(obj, "status"), replicas=0, availableReplicas=0)
    fill_empty(spec, podManagementPolicy="OrderedReady")
    fill(spec, replicas=1, revisionHistoryLimit=10)
    strategy = struct(spec, "updateStrategy")
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        fill(struct(strategy, "rollingUpdate"), partition=0, maxUnavailable=1)
    policy = struct(spec, "persistentVolumeClaimRetentionPolicy")
    fill_empty(policy, whenDeleted="Retain", whenScaled="Retain")
    default_pod_template(struct(spec, "template"))
    for claim in items(spec, "volumeClaimTemplates"):
        claim.update(apiVersion="v1", kind="PersistentVolumeClaim")
        struct(claim, "metadata")
        default_claim(claim)


def prepare_create(obj: Object) -> None:
    """Status is the controller's."""
    obj["status"] = {"replicas": 0, "availableReplicas": 0}


def validate_stateful_set(obj: Object) -> list[Cause]:
    """Policies, numbers, selector, template."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    policy = spec.get("podManagementPolicy") or ""
    if not policy:
        causes.append(fields.required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        causes.append(fields.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    causes += _validate_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        value = retention.get(key) or ""
        if value not in ("Retain", "Delete"):
            causes.append(
                fields.not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{key}", value, ("Retain", "Delete"))
            )
    causes += non_negative(spec, "replicas", "spec") + non_negative(spec, "minReadySeconds", "spec")
    causes += non_negative(spec.get("ordinals") or {}, "start", "spec.ordinals")
    causes += validate_workload_selector(spec.get("selector"), "spec.selector", "statefulset")
    template = _with_claims(spec.get("template"), spec.get("volumeClaimTemplates") or ())
    return causes + validate_selected_template(template, spec.get("selector"), "spec.template", kind="StatefulSet")


def _with_claims(template: dict[str, Any] | None, claims: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The template as its pods will be: claims are volumes, instead of those with the same names."""
    claimed = [dig(claim, "metadata", "name") or "" for claim in claims]
    if template is None or not claimed:
        return template
    pod_spec = template.get("spec") or {}
    volumes = [volume for volume in pod_spec.get("volumes") or () if volume.get("name") not in claimed]
    volumes += [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claimed]
    return {**template, "spec": {**pod_spec, "volumes": volumes}}


def _validate_strategy(strategy: dict[str, Any], path: str) -> list[Cause]:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    where = f"{path}.rollingUpdate"
    if not kind:
        return [fields.required(path)]
    if kind == "OnDelete":
        if rolling is not None:
            return [fields.invalid(where, rolling, "only allowed for updateStrategy 'RollingUpdate'")]
        return []
    if kind != "RollingUpdate":
        value = go_struct(strategy, Type="", RollingUpdate=None)
        return [fields.invalid(path, value, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    causes = non_negative(rolling, "partition", where)
    unavailable = rolling.get("maxUnavailable")
    if unavailable is not None:
        spot = f"{where}.maxUnavailable"
        causes += validate_positive_int_or_percent(unavailable, spot)
        if not causes and int_or_percent(unavailable) == 0:
            causes.append(fields.invalid(spot, unavailable, "cannot be 0"))
        causes += validate_not_more_than_100_percent(unavailable, spot)
    return causes


def validate_stateful_set_update(new: Object, old: Object) -> list[Cause]:
    """Only some fields of the spec change."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = validate_stateful_set(new)

    def fixed(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key not in _CHANGEABLE}

    if fixed(spec) != fixed(before):
        causes.append(fields.forbidden("spec", _NO_CHANGE))
    return causes


def _warn(new: Object, old: Object | None) -> list[str]:
    spec = new["spec"]
    warnings: list[str] = []
    if old is None or spec != old["spec"]:
        warnings += warn_pod_template(spec.get("template"), "spec.template")
    for position, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        where = fields.index("spec.volumeClaimTemplates", position)
        # kube-apiserver's own path, on updates
        warnings += warn_claim_spec(claim.get("spec") or {}, where if old is None else f"{where}.Spec")
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        warnings.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )
    return warnings


def _validate_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    causes: list[Cause] = []
    for key in ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas",
                "observedGeneration", "collisionCount"):  # fmt: skip
        causes += non_negative(status, key, "status")
    replicas = status.get("replicas") or 0
    for key in ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"):
        if (status.get(key) or 0) > replicas:
            causes.append(
                fields.invalid(f"status.{key}", status.get(key) or 0, "cannot be greater than status.replicas")
            )
    available, collisions = status.get("availableReplicas") or 0, status.get("collisionCount") or 0
    if available > (status.get("readyReplicas") or 0):
        detail = "cannot be greater than status.readyReplicas"
        causes.append(fields.invalid("status.availableReplicas", available, detail))
    if collisions < (dig(old, "status", "collisionCount") or 0):
        causes.append(fields.invalid("status.collisionCount", collisions, "cannot be decremented"))
    return causes


def _row(obj: Object, now: datetime) -> list[Any]:
    ready = dig(obj, "status", "readyReplicas") or 0
    return [
        name_of(obj),
        f"{ready}/{dig(obj, 'spec', 'replicas') or 0}",
        age(obj, now),
        *container_cells(dig(obj, "spec", "template", "spec")),
    ]


STATEFUL_SET = Kind(
    STATEFUL_SETS,
    "io.k8s.api.apps.v1.StatefulSet",
    "statefulset",
    short_names=("sts",),
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    scale=ScalePaths(),
    has_generation=True,
    default=default_stateful_set,
    prepare_create=prepare_create,
    validate=validate_stateful_set,
    validate_update=validate_stateful_set_update,
    validate_status_update=_validate_status,
    validate_name=names.is_dns1123_label,
    warn=_warn,
    columns=(NAME, Column("Ready", description="Number of the pod with ready state"), AGE, CONTAINERS, IMAGES),
    row=_row,
)


# --- ControllerRevision -----------------------------------------------------------------------


def _default_revision(obj: Object) -> None:
    fill(obj, revision=0)


def validate_revision(obj: Object) -> list[Cause]:
    """The revision is not negative, and there is data."""
    causes: list[Cause] = []
    if obj.get("data") is None:
        causes.append(fields.required("data", "data is mandatory"))
    revision = obj.get("revision") or 0
    if revision < 0:
        causes.append(fields.invalid("revision", revision, "must be greater than or equal to 0"))
    return causes


def _validate_revision_update(new: Object, old: Object) -> list[Cause]:
    causes = validate_revision(new)
    if new.get("data") != old.get("data"):
        causes.append(fields.immutable("data", new.get("data")))
    return causes


def _revision_row(obj: Object, now: datetime) -> list[Any]:
    owner = controller_of(obj)
    shown = NONE
    if owner:
        group = str(owner.get("apiVersion") or "").rpartition("/")[0]
        kind = str(owner.get("kind") or "").lower()
        shown = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [name_of(obj), shown, obj.get("revision") or 0, age(obj, now)]


CONTROLLER_REVISION = Kind(
    CONTROLLER_REVISIONS,
    "io.k8s.api.apps.v1.ControllerRevision",
    "controllerrevision",
    default=_default_revision,
    validate=validate_revision,
    validate_update=_validate_revision_update,
    columns=(
        NAME,
        Column("Controller", description="Controller of the object"),
        Column("Revision", description=ref("apps.v1.ControllerRevision", "revision")),
        AGE,
    ),
    row=_revision_row,
)
