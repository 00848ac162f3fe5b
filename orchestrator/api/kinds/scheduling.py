"""PriorityClass and node.k8s.io RuntimeClass. Mirrors pkg/apis/scheduling and pkg/apis/node."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age, ref
from orchestrator.api.kinds.core.node_warnings import DEPRECATED_NODE_LABELS
from orchestrator.api.kinds.core.resource_names import validate_container_resource_name, validate_resource_amount
from orchestrator.api.kinds.core.taints import validate_tolerations
from orchestrator.api.kinds.defaulting import canonical_quantities, fill
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_labels
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import PRIORITY_CLASSES, RUNTIME_CLASSES

SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
USER_PRIORITY_MAX = 1000000000


def _default_priority_class(obj: Object) -> None:
    fill(obj, value=0, preemptionPolicy="PreemptLowerPriority")


def validate_priority_class(obj: Object) -> list[Cause]:
    """Names with `system-` are reserved, and values above 10^9."""
    causes: list[Cause] = []
    name, value = name_of(obj), obj.get("value") or 0
    if name.startswith(SYSTEM_PREFIX):
        why = ""
        if name not in SYSTEM_CLASSES:
            why = f"{name} is not a known system priority class"
        elif value != SYSTEM_CLASSES[name]:
            why = f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
        elif obj.get("globalDefault"):
            why = f"globalDefault of {name} PriorityClass must be false"
        if why:
            causes.append(
                fields.forbidden(
                    "metadata.name",
                    f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. "
                    f"error: {why}",
                )
            )
    elif value > USER_PRIORITY_MAX:
        causes.append(
            fields.forbidden("value", f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}")
        )
    policy = obj.get("preemptionPolicy")
    if policy is not None and policy not in ("Never", "PreemptLowerPriority"):
        causes.append(fields.not_supported("preemptionPolicy", policy, ("Never", "PreemptLowerPriority")))
    return causes


def _validate_priority_class_update(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    if (new.get("value") or 0) != (old.get("value") or 0):
        causes.append(fields.forbidden("value", "may not be changed in an update."))
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        causes.append(fields.immutable("preemptionPolicy", new.get("preemptionPolicy")))
    return causes


def _priority_row(obj: Object, now: datetime) -> list[Any]:
    return [
        name_of(obj),
        obj.get("value") or 0,
        bool(obj.get("globalDefault")),
        age(obj, now),
        obj.get("preemptionPolicy") or "",
    ]


PRIORITY_CLASS = Kind(
    PRIORITY_CLASSES,
    "io.k8s.api.scheduling.v1.PriorityClass",
    "priorityclass",
    short_names=("pc",),
    has_generation=True,
    default=_default_priority_class,
    validate=validate_priority_class,
    validate_update=_validate_priority_class_update,
    columns=(
        NAME,
        Column("Value", "integer", description=ref("scheduling.v1.PriorityClass", "value")),
        Column("Global-Default", "boolean", description=ref("scheduling.v1.PriorityClass", "globalDefault")),
        AGE,
        Column("PreemptionPolicy", description=ref("scheduling.v1.PriorityClass", "preemptionPolicy")),
    ),
    row=_priority_row,
)


# --- RuntimeClass -----------------------------------------------------------------------------


def _default_runtime_class(obj: Object) -> None:
    fill(obj, handler="")
    overhead = obj.get("overhead")
    if isinstance(overhead, dict):
        canonical_quantities(overhead.get("podFixed"))


def validate_runtime_class(obj: Object) -> list[Cause]:
    """A handler's name, what it costs, where it runs."""
    handler = obj.get("handler") or ""
    causes = [fields.invalid("handler", handler, text) for text in names.is_dns1123_label(handler)]
    for name, amount in sorted(((obj.get("overhead") or {}).get("podFixed") or {}).items()):
        # The path is the API server's, which checks an overhead as limits.
        path = fields.key("overhead.limits", name)
        causes += validate_container_resource_name(name, path) + validate_resource_amount(name, amount, path)
    scheduling = obj.get("scheduling")
    if scheduling is not None:
        causes += validate_labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
        tolerations = scheduling.get("tolerations") or []
        causes += validate_tolerations(tolerations, "scheduling.tolerations")
        known: set[tuple[str, ...]] = set()
        for position, toleration in enumerate(tolerations):
            key = tuple(toleration.get(part) or "" for part in ("key", "operator", "value", "effect"))
            if key in known:
                causes.append(fields.duplicate(fields.index("scheduling.tolerations", position), toleration))
            known.add(key)
    return causes


def _validate_runtime_class_update(new: Object, old: Object) -> list[Cause]:
    if (new.get("handler") or "") != (old.get("handler") or ""):
        return [fields.immutable("handler", new.get("handler") or "")]
    return []


def _warn_runtime_class(new: Object, old: Object | None) -> list[str]:
    selector = (new.get("scheduling") or {}).get("nodeSelector") or {}
    return [
        f"scheduling.nodeSelector: {DEPRECATED_NODE_LABELS[key]}"
        for key in sorted(selector)
        if key in DEPRECATED_NODE_LABELS
    ]


RUNTIME_CLASS = Kind(
    RUNTIME_CLASSES,
    "io.k8s.api.node.v1.RuntimeClass",
    "runtimeclass",
    create_on_update=True,
    unconditional_update=False,
    default=_default_runtime_class,
    validate=validate_runtime_class,
    validate_update=_validate_runtime_class_update,
    warn=_warn_runtime_class,
    columns=(NAME, Column("Handler", description=ref("node.v1.RuntimeClass", "handler")), AGE),
    row=lambda obj, now: [name_of(obj), obj.get("handler") or "", age(obj, now)],
)
