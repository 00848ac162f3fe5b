"""Which names a CustomResourceDefinition gets, and the conditions that say so; pure.

Mirrors the naming, establishing and approval controllers of k8s.io/apiextensions-apiserver/pkg/controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.api.kinds.apiextensions.custom_resource_definition import approval_of, is_protected_group
from orchestrator.api.objects import Object

_APPROVAL = "KubernetesAPIApprovalPolicyConformant"


def plan_status(definition: Object, others: Iterable[Object], now: str) -> Object:
    """The status that a definition should have, given the other definitions; `now` stamps changed conditions."""
    status = dict(definition.get("status") or {})
    spec, conditions = definition["spec"], list(status.get("conditions") or ())
    siblings = [
        other
        for other in others
        if other["spec"]["group"] == spec["group"] and other["metadata"]["name"] != definition["metadata"]["name"]
    ]
    accepted, conflict = plan_names(spec["names"], status.get("acceptedNames") or {}, siblings)
    status["acceptedNames"] = accepted
    if conflict is None:
        names_accepted = _condition("NamesAccepted", "True", "NoConflicts", "no conflicts found")
    else:
        names_accepted = _condition("NamesAccepted", "False", *conflict)
    conditions = with_condition(conditions, names_accepted, now)
    established = next((c for c in conditions if c["type"] == "Established"), None)
    if established is None or established["status"] != "True":
        if conflict is None:
            text = "the initial names have been accepted"
            condition = _condition("Established", "True", "InitialNamesAccepted", text)
        else:
            condition = _condition("Established", "False", "NotAccepted", "not all names are accepted")
        conditions = with_condition(conditions, condition, now)
    if is_protected_group(spec["group"]):
        conditions = with_condition(conditions, _approval_condition(definition), now)
    status["conditions"] = conditions
    return status


def plan_names(
    wanted: dict[str, Any], accepted: dict[str, Any], siblings: Iterable[Object]
) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """(the accepted names, what stands against the rest as (reason, message))."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in siblings:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {names.get("plural") or "", names.get("singular") or "", *(names.get("shortNames") or ())}
        kinds |= {names.get("kind") or "", names.get("listKind") or ""}
    resources.discard("")
    kinds.discard("")
    result = dict(accepted)
    problems: list[tuple[str, str]] = []

    def take(key: str, taken: set[str], reason: str) -> None:
        value = wanted.get(key) or ""
        if value in taken:
            problems.append((reason, f'"{value}" is already in use'))
        elif value:
            result[key] = value

    take("plural", resources, "PluralConflict")
    take("singular", resources, "SingularConflict")
    short_names = wanted.get("shortNames") or []
    conflicting = [name for name in short_names if name in resources]
    if conflicting:
        text = ", ".join(f'"{name}" is already in use' for name in conflicting)
        problems.append(("ShortNamesConflict", text if len(conflicting) == 1 else f"[{text}]"))
    elif short_names:
        result["shortNames"] = list(short_names)
    else:
        result.pop("shortNames", None)
    take("kind", kinds, "KindConflict")
    take("listKind", kinds, "ListKindConflict")
    result.setdefault("plural", "")
    result.setdefault("kind", "")
    if wanted.get("categories"):
        result["categories"] = list(wanted["categories"])
    else:
        result.pop("categories", None)
    return result, problems[-1] if problems else None


def _approval_condition(definition: Object) -> dict[str, Any]:
    state, value = approval_of(definition)
    if state == "approved":
        return _condition(_APPROVAL, "True", "ApprovedAnnotation", f"approved in {value}")
    if state == "bypassed":
        return _condition(_APPROVAL, "False", "UnapprovedAnnotation", f'not approved: "{value}"')
    text = (
        'protected groups must have approval annotation "api-approved.kubernetes.io",'
        " see https://github.com/kubernetes/enhancements/pull/1111"
    )
    reason = "MissingAnnotation" if state == "missing" else "InvalidAnnotation"
    return _condition(_APPROVAL, "False", reason, text)


def _condition(condition_type: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": condition_type, "status": status, "reason": reason, "message": message}


def with_condition(conditions: list[Any], condition: dict[str, Any], now: str) -> list[Any]:
    """The conditions with this one set; its time changes only when its status does."""
    for position, current in enumerate(conditions):
        if current["type"] == condition["type"]:
            since = current.get("lastTransitionTime") if current["status"] == condition["status"] else now
            updated = {"lastTransitionTime": since, **condition}
            return [*conditions[:position], updated, *conditions[position + 1 :]]
    return [*conditions, {"lastTransitionTime": now, **condition}]


def terminating(reason: str, message: str) -> dict[str, Any]:
    """The condition of a definition whose instances are being deleted, or are gone."""
    status = "False" if reason == "InstanceDeletionCompleted" else "True"
    return _condition("Terminating", status, reason, message)
