"""FlowSchema and PriorityLevelConfiguration. Mirrors pkg/apis/flowcontrol and its printers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, NONE, age, condition_state, dig, ref
from orchestrator.api.kinds.defaulting import (
    clear_status,
    condition_times,
    fill,
    fill_empty,
    items,
    spec_and_status,
    struct,
)
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.flowcontrol_defaults import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS

_PRECEDENCE_MAX = 10000
_QUEUES_MAX = 10_000_000
_HASH_BITS_MAX = 60
_VERBS = frozenset({"get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"})


def _default_schema(obj: Object) -> None:
    spec_and_status(obj)
    spec = obj["spec"]
    fill_empty(spec, matchingPrecedence=1000)
    fill(struct(spec, "priorityLevelConfiguration"), name="")
    for rule in items(spec, "rules"):
        for resource in items(rule, "resourceRules"):
            if resource.get("clusterScope") is False:
                del resource["clusterScope"]


def validate_flow_schema(obj: Object) -> list[Cause]:
    """Precedence, distinguisher, level, subjects and rules."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    precedence = spec.get("matchingPrecedence") or 0
    if precedence <= 0:
        causes.append(fields.invalid("spec.matchingPrecedence", precedence, "must be a positive value"))
    if precedence > _PRECEDENCE_MAX:
        causes.append(
            fields.invalid("spec.matchingPrecedence", precedence, f"must not be greater than {_PRECEDENCE_MAX}")
        )
    if precedence == 1 and name_of(obj) != "exempt":
        causes.append(
            fields.invalid(
                "spec.matchingPrecedence", precedence, "only the schema named 'exempt' may have matchingPrecedence 1"
            )
        )
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        causes.append(fields.not_supported("spec.distinguisherMethod.type", method, ("ByNamespace", "ByUser")))
    level = dig(spec, "priorityLevelConfiguration", "name") or ""
    if not level:
        causes.append(fields.required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    else:
        causes += [
            fields.invalid("spec.priorityLevelConfiguration.name", level, text)
            for text in names.is_dns1123_subdomain(level)
        ]
    for position, rule in enumerate(spec.get("rules") or ()):
        causes += _validate_rule(rule, fields.index("spec.rules", position))
    return causes + _validate_fixed(obj, spec, MANDATORY_SCHEMAS)


def _validate_fixed(obj: Object, spec: Object, mandatory: Sequence[Object]) -> list[Cause]:
    """Mandatory objects may be deleted, and come back; their specs stay as they are."""
    name = name_of(obj)
    fixed = next((one["spec"] for one in mandatory if name_of(one) == name), None)
    if fixed is None or spec == fixed:
        return []
    return [fields.invalid("spec", "", f"spec of '{name}' must equal the fixed value")]


def _validate_rule(rule: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not rule.get("subjects"):
        causes.append(fields.required(f"{path}.subjects", "subjects must contain at least one value"))
    for position, subject in enumerate(rule.get("subjects") or ()):
        causes += _validate_subject(subject, fields.index(f"{path}.subjects", position))
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        causes.append(fields.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for position, entry in enumerate(rule.get("resourceRules") or ()):
        where = fields.index(f"{path}.resourceRules", position)
        causes += _validate_verbs(entry.get("verbs") or [], f"{where}.verbs")
        for key, one, others in (
            ("apiGroups", "api group", "api groups"),
            ("resources", "resource", "resources"),
        ):
            values = entry.get(key) or []
            if not values:
                causes.append(fields.required(f"{where}.{key}", f"resource rules must supply at least one {one}"))
            else:
                causes += _validate_wildcard(values, f"{where}.{key}", others)
        causes += _validate_namespaces(entry, f"{where}.namespaces")
    for position, entry in enumerate(rule.get("nonResourceRules") or ()):
        where = fields.index(f"{path}.nonResourceRules", position)
        causes += _validate_verbs(entry.get("verbs") or [], f"{where}.verbs")
        urls = entry.get("nonResourceURLs") or []
        if not urls:
            causes.append(
                fields.required(f"{where}.nonResourceURLs", "nonResourceURLs must contain at least one value")
            )
        causes += _validate_wildcard(urls, f"{where}.nonResourceURLs", "non-resource URLs")
        for number, url in enumerate(() if "*" in urls else urls):
            if complaint := _url_complaint(url):
                causes.append(fields.invalid(fields.index(f"{where}.nonResourceURLs", number), url, complaint))
    return causes


def _validate_wildcard(values: list[str], path: str, others: str) -> list[Cause]:
    if "*" in values and len(values) > 1:
        return [fields.invalid(path, values, f"if '*' is present, must not specify other {others}")]
    return []


def _validate_namespaces(rule: dict[str, Any], path: str) -> list[Cause]:
    namespaces = rule.get("namespaces") or []
    if not namespaces and not rule.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        return [fields.required(path, detail)]
    if "*" in namespaces:
        return _validate_wildcard(namespaces, path, "namespaces")
    intro = "each member of this list must be '*' or a DNS-1123 label; "
    return [
        fields.invalid(fields.index(path, position), namespace, intro + text)
        for position, namespace in enumerate(namespaces)
        for text in names.is_dns1123_label(namespace)
    ]


def _url_complaint(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _validate_verbs(verbs: list[str], path: str) -> list[Cause]:
    if not verbs:
        return [fields.required(path, "verbs must contain at least one value")]
    if "*" in verbs:
        if len(verbs) > 1:
            return [fields.invalid(path, verbs, "if '*' is present, must not specify other verbs")]
        return []
    if not set(verbs) <= _VERBS:
        return [fields.not_supported(path, verbs, sorted(_VERBS))]
    return []


def _validate_subject(subject: dict[str, Any], path: str) -> list[Cause]:
    kind = subject.get("kind") or ""
    keys = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
    if kind not in keys:
        return [fields.not_supported(f"{path}.kind", kind, sorted(keys))]
    causes: list[Cause] = []
    for other, key in keys.items():
        if other == kind and subject.get(key) is None:
            causes.append(fields.required(f"{path}.{key}", f"{key} is required when subject kind is '{kind}'"))
        elif other != kind and subject.get(key) is not None:
            causes.append(fields.forbidden(f"{path}.{key}", f"{key} is forbidden when subject kind is not '{other}'"))
    given = subject.get(keys[kind])
    if given is not None:
        name, namespace = given.get("name") or "", given.get("namespace") or ""
        where = f"{path}.{keys[kind]}"
        if not name:
            causes.append(fields.required(f"{where}.name"))
        elif kind == "ServiceAccount" and name != "*":
            causes += [fields.invalid(f"{where}.name", name, text) for text in names.is_dns1123_subdomain(name)]
        if kind == "ServiceAccount" and not namespace:
            causes.append(fields.required(f"{where}.namespace", "must specify namespace for service account"))
        elif kind == "ServiceAccount":
            causes += [
                fields.invalid(f"{where}.namespace", namespace, text) for text in names.is_dns1123_label(namespace)
            ]
    return causes


def _validate_status(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, condition in enumerate(dig(new, "status", "conditions") or ()):
        path, kind = fields.index("status.conditions", position) + ".type", condition.get("type") or ""
        if kind in seen:
            causes.append(fields.duplicate(path, kind))
        seen.add(kind)
        if not kind:
            causes.append(fields.required(path, "must not be empty"))
    return causes


def _schema_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name_of(obj),
        dig(spec, "priorityLevelConfiguration", "name") or NONE,
        spec.get("matchingPrecedence") or 0,
        dig(spec, "distinguisherMethod", "type") or NONE,
        age(obj, now),
        condition_state(obj, "Dangling") or "?",
    ]


FLOW_SCHEMA = Kind(
    FLOW_SCHEMAS,
    "io.k8s.api.flowcontrol.v1.FlowSchema",
    "flowschema",
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    has_generation=True,
    default=_default_schema,
    prepare_create=clear_status,
    validate=validate_flow_schema,
    validate_status_update=_validate_status,
    columns=(
        NAME,
        Column("PriorityLevel", description=ref("flowcontrol.v1.PriorityLevelConfigurationReference", "name")),
        Column("MatchingPrecedence", description=ref("flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence")),
        Column("DistinguisherMethod", description=ref("flowcontrol.v1.FlowSchemaSpec", "distinguisherMethod")),
        AGE,
        Column("MissingPL", description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    row=_schema_row,
    status_metadata=(),
)


# --- PriorityLevelConfiguration ---------------------------------------------------------------


def _default_level(obj: Object) -> None:
    spec_and_status(obj)
    spec = obj["spec"]
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if isinstance(exempt, dict):
        fill(exempt, nominalConcurrencyShares=0, lendablePercent=0)
    if isinstance(limited, dict):
        fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
        queuing = struct(limited, "limitResponse").get("queuing")
        if isinstance(queuing, dict):
            fill_empty(queuing, queues=64, handSize=8, queueLengthLimit=50)


def validate_level(obj: Object) -> list[Cause]:
    """Exempt, or limited with shares and queues."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    if (name_of(obj) == "exempt") != (kind == "Exempt"):
        causes.append(fields.invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            causes.append(fields.forbidden("spec.limited", "must be nil if the type is not Limited"))
        causes += _validate_lending(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            causes.append(fields.forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            causes.append(fields.required("spec.limited", "must not be empty when type is Limited"))
        else:
            causes += _validate_limited(limited, "spec.limited")
    else:
        causes.append(fields.not_supported("spec.type", kind, ("Exempt", "Limited")))
    if kind == "Exempt":
        # How much an exempt level lends is anybody's to decide.
        spec = {**spec, "exempt": MANDATORY_LEVELS[0]["spec"]["exempt"]}
    return causes + _validate_fixed(obj, spec, MANDATORY_LEVELS)


def _validate_limited(limited: dict[str, Any], path: str) -> list[Cause]:
    causes = _validate_lending(limited, path)
    borrowing = limited.get("borrowingLimitPercent") or 0
    if borrowing < 0:
        causes.append(fields.invalid(f"{path}.borrowingLimitPercent", borrowing, "must be a non-negative integer"))
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type") or "", response.get("queuing")
    where = f"{path}.limitResponse"
    if kind == "Reject":
        if queuing is not None:
            causes.append(
                fields.forbidden(f"{where}.queuing", "must be nil if limited.limitResponse.type is not Limited")
            )
    elif kind == "Queue":
        if queuing is None:
            causes.append(
                fields.required(f"{where}.queuing", "must not be empty if limited.limitResponse.type is Limited")
            )
        else:
            causes += _validate_queuing(queuing, f"{where}.queuing")
    else:
        causes.append(fields.not_supported(f"{where}.type", kind, ("Queue", "Reject")))
    return causes


def _validate_lending(settings: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    shares, lendable = settings.get("nominalConcurrencyShares") or 0, settings.get("lendablePercent") or 0
    if shares < 0:
        causes.append(fields.invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if not 0 <= lendable <= 100:
        causes.append(fields.invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive"))
    return causes


def _validate_queuing(queuing: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    queues, hand, limit = (queuing.get(key) or 0 for key in ("queues", "handSize", "queueLengthLimit"))
    if limit <= 0:
        causes.append(fields.invalid(f"{path}.queueLengthLimit", limit, "must be positive"))
    if queues <= 0:
        causes.append(fields.invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > _QUEUES_MAX:
        causes.append(fields.invalid(f"{path}.queues", queues, f"must not be greater than {_QUEUES_MAX}"))
    if hand <= 0:
        causes.append(fields.invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        causes.append(fields.invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > _HASH_BITS_MAX:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than"
            f" {_HASH_BITS_MAX}"
        )
        causes.append(fields.invalid(f"{path}.handSize", hand, detail))
    return causes


def _level_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    holder = spec.get("limited") or spec.get("exempt") or {}
    queuing = dig(holder, "limitResponse", "queuing")
    shown = [queuing.get(key, 0) if queuing else NONE for key in ("queues", "handSize", "queueLengthLimit")]
    shares = holder.get("nominalConcurrencyShares")
    return [name_of(obj), spec.get("type") or "", NONE if shares is None else shares, *shown, age(obj, now)]


PRIORITY_LEVEL_CONFIGURATION = Kind(
    PRIORITY_LEVEL_CONFIGURATIONS,
    "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    "prioritylevelconfiguration",
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    has_generation=True,
    default=_default_level,
    prepare_create=clear_status,
    validate=validate_level,
    validate_status_update=_validate_status,
    columns=(
        NAME,
        Column("Type", description=ref("flowcontrol.v1.PriorityLevelConfigurationSpec", "type")),
        Column(
            "NominalConcurrencyShares",
            description=ref("flowcontrol.v1.LimitedPriorityLevelConfiguration", "nominalConcurrencyShares"),
        ),
        Column("Queues", description=ref("flowcontrol.v1.QueuingConfiguration", "queues")),
        Column("HandSize", description=ref("flowcontrol.v1.QueuingConfiguration", "handSize")),
        Column("QueueLengthLimit", description=ref("flowcontrol.v1.QueuingConfiguration", "queueLengthLimit")),
        AGE,
    ),
    row=_level_row,
    status_metadata=(),
)
