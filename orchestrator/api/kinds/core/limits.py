"""LimitRange and ResourceQuota: defaults, validation. Enforcing them is admission's work.

Mirrors ValidateLimitRange and ValidateResourceQuota of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, CREATED_AT, NAME, age, dig, name_and_created_at
from orchestrator.api.kinds.core.resource_names import (
    is_overcommit_allowed,
    is_standard_quota,
    parsed,
    validate_limit_range_resource_name,
    validate_quota_resource_name,
    validate_resource_amount,
)
from orchestrator.api.kinds.defaulting import canonical_quantities, clear_status, items, spec_and_status, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import LIMIT_RANGES, RESOURCE_QUOTAS

_LIMITS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def default_limit_range(obj: Object) -> None:
    """A container's default limit is the maximum, its default request the limit, else the minimum."""
    spec = struct(obj, "spec")
    if spec.get("limits") is None:
        spec["limits"] = None
    for item in items(spec, "limits"):
        for key in _LIMITS:
            canonical_quantities(item.get(key))
        if item.get("type") != "Container":
            continue
        default, request = struct(item, "default"), struct(item, "defaultRequest")
        for name, amount in (item.get("max") or {}).items():
            default.setdefault(name, amount)
        for name, amount in default.items():
            request.setdefault(name, amount)
        for name, amount in (item.get("min") or {}).items():
            request.setdefault(name, amount)
        for key in ("default", "defaultRequest"):
            if not item[key]:
                del item[key]


def validate_limit_range(obj: Object) -> list[Cause]:
    """Each item: names, and min <= default request <= default <= max."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, item in enumerate(dig(obj, "spec", "limits") or ()):
        path = fields.index("spec.limits", position)
        kind = item.get("type") or ""
        if "/" in kind or kind not in ("Container", "Pod", "PersistentVolumeClaim"):
            complaints = names.is_qualified_name(kind)
            causes += [fields.invalid(f"{path}.type", kind, text) for text in complaints]
            if not complaints and "/" not in kind:
                causes.append(fields.invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            causes.append(fields.duplicate(f"{path}.type", kind))
        seen.add(kind)
        causes += _validate_item(item, kind, path)
    return causes


def _validate_item(item: dict[str, Any], kind: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    keys: set[str] = set()
    for field in ("max", "min"):
        for name in sorted(item.get(field) or {}):
            causes += validate_limit_range_resource_name(name, kind, fields.key(f"{path}.{field}", name))
            keys.add(name)
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            if item.get(field):
                causes.append(fields.forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
    else:
        for field in ("default", "defaultRequest"):
            for name in sorted(item.get(field) or {}):
                causes += validate_limit_range_resource_name(name, kind, fields.key(f"{path}.{field}", name))
                keys.add(name)
    if (
        kind == "PersistentVolumeClaim"
        and "storage" not in (item.get("min") or {})
        and "storage" not in (item.get("max") or {})
    ):
        causes.append(
            fields.required(
                f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"
            )
        )
    for name in sorted(item.get("maxLimitRequestRatio") or {}):
        causes += validate_limit_range_resource_name(name, kind, fields.key(f"{path}.maxLimitRequestRatio", name))
        keys.add(name)
    for name in sorted(keys):
        causes += _validate_order(item, name, path)
    return causes


def _validate_order(item: dict[str, Any], name: str, path: str) -> list[Cause]:
    causes: list[Cause] = []

    def amount(field: str) -> Any:
        text = (item.get(field) or {}).get(name)
        return None if text is None else parsed(text)

    low, high = amount("min"), amount("max")
    request, default, ratio = amount("defaultRequest"), amount("default"), amount("maxLimitRequestRatio")

    def add(field: str, value: Any, detail: str) -> None:
        causes.append(fields.invalid(fields.key(f"{path}.{field}", name), str(value), detail))

    if low is not None and high is not None and low > high:
        add("min", low, f"min value {low} is greater than max value {high}")
    if request is not None and low is not None and low > request:
        add("defaultRequest", request, f"min value {low} is greater than default request value {request}")
    if request is not None and high is not None and request > high:
        add("defaultRequest", request, f"default request value {request} is greater than max value {high}")
    if request is not None and default is not None and request > default:
        add("defaultRequest", request, f"default request value {request} is greater than default limit value {default}")
    if default is not None and low is not None and low > default:
        add("default", low, f"min value {low} is greater than default value {default}")
    if default is not None and high is not None and default > high:
        add("default", high, f"default value {default} is greater than max value {high}")
    if ratio is not None:
        if ratio.nanos < 10**9:
            add("maxLimitRequestRatio", ratio, f"ratio {ratio} is less than 1")
        if low is not None and high is not None and not low.is_zero() and high.nanos < ratio.nanos:
            limit = high.nanos / low.nanos
            if ratio.nanos / 10**9 > limit:
                add(
                    "maxLimitRequestRatio",
                    ratio,
                    f"ratio {ratio} is greater than max/min = {limit:f}",
                )
    if not is_overcommit_allowed(name) and request is not None and default is not None and request != default:
        detail = f"default value {default} must equal to defaultRequest value {request} in {name}"
        add("defaultRequest", request, detail)
    return causes


LIMIT_RANGE = Kind(
    LIMIT_RANGES,
    "io.k8s.api.core.v1.LimitRange",
    "limitrange",
    short_names=("limits",),
    create_on_update=True,
    default=default_limit_range,
    validate=validate_limit_range,
    columns=(NAME, CREATED_AT),
    row=name_and_created_at,
)


# --- ResourceQuota ----------------------------------------------------------------------------

_SCOPES_TOLD_MAX = 64
"""There are seven; each that is none is told of together with all of them."""
_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
_EXISTS_SCOPES = frozenset(
    {"BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"}
)
_OF_PODS = frozenset({
    "pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory",
})  # fmt: skip
_SCOPE_RESOURCES = {
    **dict.fromkeys(("CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"),
                    _OF_PODS),
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}  # fmt: skip
"""Which resources the objects in a scope use."""


def default_quota(obj: Object) -> None:
    """Amounts in their canonical form."""
    spec_and_status(obj)
    canonical_quantities(obj["spec"].get("hard"))
    canonical_quantities(obj["status"].get("hard"))
    canonical_quantities(obj["status"].get("used"))


def validate_quota(obj: Object) -> list[Cause]:
    """Names and amounts under `hard`, scopes."""
    return _validate_quota_spec(obj.get("spec") or {}, "spec") + _validate_amounts(
        (obj.get("status") or {}), "status", ("hard", "used")
    )


def _validate_amounts(holder: dict[str, Any], path: str, keys: tuple[str, ...]) -> list[Cause]:
    causes: list[Cause] = []
    for key in keys:
        amounts = holder.get(key) or {}
        for name in sorted(amounts):
            where = fields.key(f"{path}.{key}", name)
            causes += validate_quota_resource_name(name, where) + validate_resource_amount(name, amounts[name], where)
    return causes


def _validate_quota_spec(spec: dict[str, Any], path: str) -> list[Cause]:
    causes = _validate_amounts(spec, path, ("hard",))
    scopes = spec.get("scopes") or []
    if scopes:
        where = f"{path}.scopes"
        found = [*dict.fromkeys(scopes)]  # one that is repeated is not wrong, and says nothing new
        for scope in islice(found, _SCOPES_TOLD_MAX):
            if scope not in _SCOPES:
                causes.append(fields.invalid(where, scopes, "unsupported scope"))
            causes += _validate_scope_resources(spec, scope, where, scopes)
        causes += _validate_scopes_agree(found, where, scopes)
    selector = spec.get("scopeSelector")
    if selector:
        causes += _validate_scope_selector(selector, spec, f"{path}.scopeSelector")
    return causes


def _validate_scopes_agree(found: list[str], path: str, value: Any) -> list[Cause]:
    return [
        fields.invalid(path, value, "conflicting scopes")
        for one, other in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
        if one in found and other in found
    ]


def _validate_scope_resources(spec: dict[str, Any], scope: str, path: str, value: Any) -> list[Cause]:
    """Each of the well-known resources that this scope says nothing about."""
    counted = _SCOPE_RESOURCES.get(scope)
    return [
        fields.invalid(path, value, "unsupported scope applied to resource")
        for name in sorted(spec.get("hard") or {})
        if counted is not None and is_standard_quota(name) and name not in counted
    ]


def _validate_scope_selector(selector: dict[str, Any], spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    found: list[str] = []
    for requirement in selector.get("matchExpressions") or ():
        scope, operator = requirement.get("scopeName") or "", requirement.get("operator") or ""
        values = requirement.get("values") or ()
        where = f"{path}.matchExpressions"
        if scope not in _SCOPES:
            causes.append(fields.invalid(f"{where}.scopeName", scope, "unsupported scope"))
        causes += _validate_scope_resources(spec, scope, where, selector)
        found.append(scope)
        if scope in _EXISTS_SCOPES and operator != "Exists":
            causes.append(
                fields.invalid(
                    f"{where}.operator",
                    operator,
                    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                    "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
                )
            )
        if operator in ("In", "NotIn"):
            if not values:
                causes.append(
                    fields.required(
                        f"{where}.values",
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    )
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                causes.append(
                    fields.invalid(
                        f"{where}.values",
                        values,
                        "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                    )
                )
        else:
            causes.append(fields.invalid(f"{where}.operator", operator, "not a valid selector operator"))
    return causes + _validate_scopes_agree(found, f"{path}.matchExpressions", spec.get("scopes"))


def validate_quota_update(new: Object, old: Object) -> list[Cause]:
    """The scopes never change."""
    causes = validate_quota(new)
    scopes = dig(new, "spec", "scopes")
    if set(scopes or ()) != set(dig(old, "spec", "scopes") or ()):
        causes.append(fields.invalid("spec.scopes", scopes, "field is immutable"))
    return causes


def _quota_row(obj: Object, now: datetime) -> list[Any]:
    hard, used = dig(obj, "status", "hard") or {}, dig(obj, "status", "used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits") else requests).append(text)
    return [name_of(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


RESOURCE_QUOTA = Kind(
    RESOURCE_QUOTAS,
    "io.k8s.api.core.v1.ResourceQuota",
    "resourcequota",
    short_names=("quota",),
    has_status=True,
    default=default_quota,
    prepare_create=clear_status,
    validate=validate_quota,
    validate_update=validate_quota_update,
    validate_status_update=lambda new, old: _validate_amounts(new.get("status") or {}, "status", ("hard", "used")),
    columns=(
        NAME,
        Column(
            "Request", description="Request represents a minimum amount of cpu/memory that a container may consume."
        ),
        Column(
            "Limit",
            description="Limits control the maximum amount of cpu/memory that a container may use independent of "
            "contention on the node.",
        ),
        AGE,
    ),
    row=_quota_row,
    delete_returns_object=True,
)
