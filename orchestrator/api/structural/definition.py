"""Is a schema structural, and does what it says make sense?

Owns the validation of `openAPIV3Schema` in CustomResourceDefinitions, CEL rules included. Never looks at custom
resources. Mirrors k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation and
k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{validation,defaulting}.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.structural.cel.cost import (
    RULE_COST_MAX,
    SCHEMA_COST_MAX,
    Estimator,
    max_elements,
    over_budget,
)
from orchestrator.api.structural.defaulting import apply_defaults, prune
from orchestrator.api.structural.embedded import validate_embedded
from orchestrator.api.structural.json_path import plain_fields
from orchestrator.api.structural.patterns import complaint_about
from orchestrator.api.structural.values import Node, validate_value

_NESTED = ("anyOf", "allOf", "oneOf")
_SCALARS = ("string", "integer", "number", "boolean")
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_ROOT_WITH_STATUS = (
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
    "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items",
    "properties", "externalDocs", "example", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
)  # fmt: skip
_RULE_MESSAGE_MAX = 2048


def validate_definition(schema: Node, path: str, *, has_status: bool) -> list[Cause]:
    """Everything wrong with the schema of one version; `path` names it in messages."""
    causes: list[Cause] = []
    if has_status:
        for name, value in schema.items():
            if value and name not in _ROOT_WITH_STATUS:
                names = " ".join(_go_name(allowed) for allowed in _ROOT_WITH_STATUS)
                detail = (
                    f"only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
                )
                causes.append(fields.invalid(path, schema, detail))
                break
    if schema.get("nullable"):
        causes.append(fields.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    causes += _validate_node(schema, path)
    if not causes:
        structural = _validate_structure(schema, path, level="root") + _validate_completeness(schema, path)
        causes += sorted(structural, key=lambda cause: (cause.field, cause.message))
    if not causes:
        causes += _validate_defaults(schema, path, is_root=True)
        causes += _RulesCheck(schema).run(schema, path)
    return causes


def _go_name(name: str) -> str:
    plain = name.replace("x-kubernetes-", "x-")
    return "".join(part[:1].upper() + part[1:] for part in plain.split("-"))


# --- what every node may say -----------------------------------------------------------------------


def _validate_node(node: Node, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"):
        if node.get(key):
            causes.append(fields.forbidden(f"{path}.{key}", f"{key} is not supported"))
    if node.get("type") == "null":
        causes.append(fields.forbidden(f"{path}.type", "type cannot be set to null"))
    elif node.get("type") and node["type"] not in (*_SCALARS, "array", "object"):
        supported = ("array", "boolean", "integer", "number", "object", "string")
        causes.append(fields.not_supported(f"{path}.type", node["type"], supported))
    if isinstance(node.get("items"), list):
        causes.append(fields.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if node.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(fields.forbidden(f"{path}.uniqueItems", detail))
    additional, properties = node.get("additionalProperties"), node.get("properties") or {}
    if additional is not None:
        if properties and additional is not True:
            detail = "additionalProperties and properties are mutual exclusive"
            causes.append(fields.forbidden(f"{path}.additionalProperties", detail))
        if isinstance(additional, Mapping):
            causes += _validate_node(additional, f"{path}.additionalProperties")
    for name, child in properties.items():
        causes += _validate_node(child, fields.key(f"{path}.properties", name))
    if isinstance(node.get("not"), Mapping):
        causes += _validate_node(node["not"], f"{path}.not")
    for key in ("allOf", "oneOf", "anyOf"):
        for position, child in enumerate(node.get(key) or ()):
            causes += _validate_node(child, fields.index(f"{path}.{key}", position))
    if isinstance(node.get("items"), Mapping):
        causes += _validate_node(node["items"], f"{path}.items")
    return causes + _validate_extensions(node, path)


def _validate_extensions(node: Node, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if node.get("x-kubernetes-preserve-unknown-fields") is False:
        causes.append(
            fields.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
        )
    kind = node.get("type") or ""
    map_type, list_type = node.get("x-kubernetes-map-type"), node.get("x-kubernetes-list-type")
    keys = node.get("x-kubernetes-list-map-keys") or []
    if map_type is not None:
        causes += _must_be(kind, "object", f"{path}.type", "must be object if x-kubernetes-map-type is specified")
        if map_type not in ("granular", "atomic"):
            causes.append(fields.not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))
    if list_type is not None:
        causes += _must_be(kind, "array", f"{path}.type", "must be array if x-kubernetes-list-type is specified")
        if list_type not in ("atomic", "set", "map"):
            supported = ("atomic", "map", "set")
            causes.append(fields.not_supported(f"{path}.x-kubernetes-list-type", list_type, supported))
    if keys:
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        causes += _must_be(list_type or "", "map", f"{path}.x-kubernetes-list-type", detail)
    if list_type == "map":
        causes += _validate_list_map(node, keys, path)
    if list_type == "set":
        causes += _validate_list_set(node, path)
    return causes


def _must_be(value: str, wanted: str, path: str, detail: str) -> list[Cause]:
    if value == wanted:
        return []
    return [fields.invalid(path, value, detail) if value else fields.required(path, detail)]


def _validate_list_map(node: Node, keys: list[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    keys_path = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        causes.append(fields.required(keys_path, "must not be empty if x-kubernetes-list-type is map"))
    items = node.get("items")
    if not isinstance(items, Mapping):
        causes.append(fields.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
        return causes
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        causes.append(fields.invalid(f"{path}.items.type", items.get("type") or "", detail))
    if items.get("nullable"):
        causes.append(
            fields.forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is map")
        )
    properties, required = items.get("properties") or {}, items.get("required") or ()
    if any(key not in properties for key in keys):
        causes.append(fields.invalid(keys_path, keys, "entries must all be names of item properties"))
    for key in keys:
        child = properties.get(key)
        if child is None:
            continue
        child_path = fields.key(f"{path}.items.properties", key)
        if child.get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            causes.append(fields.invalid(f"{child_path}.type", child["type"], detail))
        if child.get("nullable"):
            detail = "cannot be nullable when x-kubernetes-list-type is map"
            causes.append(fields.forbidden(f"{child_path}.nullable", detail))
        if key not in required and child.get("default") is None:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            causes.append(fields.required(f"{child_path}.default", detail))
    if len(set(keys)) != len(keys):
        causes.append(fields.invalid(keys_path, keys, "must not contain duplicate entries"))
    return causes


def _validate_list_set(node: Node, path: str) -> list[Cause]:
    items = node.get("items")
    if not isinstance(items, Mapping):
        return []
    causes: list[Cause] = []
    if items.get("nullable"):
        causes.append(
            fields.forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set")
        )
    for kind, key in (("object", "x-kubernetes-map-type"), ("array", "x-kubernetes-list-type")):
        if items.get("type") != kind:
            continue
        wanted = items.get(key)
        if wanted != "atomic" and not (kind == "array" and wanted is None):
            detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
            where = f"{path}.items.{key}"
            causes.append(fields.required(where, detail) if wanted is None else fields.invalid(where, wanted, detail))
    return causes


# --- structure -------------------------------------------------------------------------------------

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_EMPTY_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def _validate_structure(node: Node, path: str, *, level: str) -> list[Cause]:
    causes: list[Cause] = []
    kind, properties = node.get("type") or "", node.get("properties") or {}
    items, additional = node.get("items"), node.get("additionalProperties")
    embedded = bool(node.get("x-kubernetes-embedded-resource"))
    int_or_string = bool(node.get("x-kubernetes-int-or-string"))
    preserve = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    if kind == "array" and not isinstance(items, Mapping):
        causes.append(fields.required(f"{path}.items", "must be specified"))
    if isinstance(items, Mapping):
        causes += _validate_structure(items, f"{path}.items", level="item")
    for name, child in properties.items():
        causes += _validate_structure(child, fields.key(f"{path}.properties", name), level="field")
    if additional is not None:
        if level == "root":
            causes.append(fields.forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(additional, Mapping):
            causes += _validate_structure(additional, f"{path}.additionalProperties", level="field")
    if int_or_string:
        for key, is_set in (
            ("x-kubernetes-preserve-unknown-fields", preserve),
            ("x-kubernetes-embedded-resource", embedded),
        ):
            if is_set:
                detail = "must be false if x-kubernetes-int-or-string is true"
                causes.append(fields.invalid(f"{path}.{key}", True, detail))
    skip_any_of = node.get("anyOf") == _INT_OR_STRING
    first_all_of = (node.get("allOf") or [{}])[0].get("anyOf") == _INT_OR_STRING
    causes += _validate_junctors(node, path, skip_any_of=skip_any_of, skip_in_first_all_of=first_all_of)
    if embedded and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        causes += _must_be(kind, "object", f"{path}.type", detail)
    elif not kind and not int_or_string and not preserve:
        causes.append(fields.required(f"{path}.type", _EMPTY_TYPE[level]))
    if embedded and additional is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        causes.append(fields.forbidden(f"{path}.additionalProperties", detail))
    if level == "root" and kind and kind != "object":
        causes.append(fields.invalid(f"{path}.type", kind, "must be object at the root"))
    causes += _validate_type_meta(properties, path, is_resource=level == "root" or embedded, is_root=level == "root")
    if embedded and not preserve and not properties:
        detail = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        causes.append(fields.required(f"{path}.properties", detail))
    return causes


def _validate_type_meta(properties: Mapping[str, Any], path: str, *, is_resource: bool, is_root: bool) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("kind", "apiVersion"):
        if name in properties and is_resource and properties[name].get("type") != "string":
            where = f"{fields.key(f'{path}.properties', name)}.type"
            causes.append(fields.invalid(where, properties[name].get("type") or "", "must be string"))
    if "metadata" not in properties:
        return causes
    where = fields.key(f"{path}.properties", "metadata")
    metadata = properties["metadata"]
    if is_resource and metadata.get("type") != "object":
        causes.append(fields.invalid(f"{where}.type", metadata.get("type") or "", "must be object"))
    if is_root:
        rest = {key for key, value in metadata.items() if value and key not in ("type", "default", "properties")}
        others = set(metadata.get("properties") or {}) - {"name", "generateName"}
        if others or rest - {"description"}:
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            causes.append(fields.forbidden(where, detail))
    return causes


def _validate_junctors(
    node: Node, path: str, *, skip_any_of: bool = False, skip_in_first_all_of: bool = False
) -> list[Cause]:
    causes: list[Cause] = []
    if not skip_any_of:
        for position, branch in enumerate(node.get("anyOf") or ()):
            causes += _validate_nested(branch, fields.index(f"{path}.anyOf", position))
    for position, branch in enumerate(node.get("allOf") or ()):
        skip = skip_in_first_all_of and position == 0
        causes += _validate_nested(branch, fields.index(f"{path}.allOf", position), skip_any_of=skip)
    for position, branch in enumerate(node.get("oneOf") or ()):
        causes += _validate_nested(branch, fields.index(f"{path}.oneOf", position))
    if isinstance(node.get("not"), Mapping):
        causes += _validate_nested(node["not"], f"{path}.not")
    pattern = node.get("pattern")
    if pattern and (complaint := complaint_about(pattern)):
        detail = f"must be a valid regular expression, but isn't: {complaint}"
        causes.append(fields.invalid(f"{path}.pattern", pattern, detail))
    return causes


_FORBIDDEN_WHEN_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}


def _validate_nested(node: Node, path: str, *, skip_any_of: bool = False) -> list[Cause]:
    causes = _validate_junctors(node, path, skip_any_of=skip_any_of)
    if isinstance(node.get("items"), Mapping):
        causes += _validate_nested(node["items"], f"{path}.items")
    for name, child in (node.get("properties") or {}).items():
        causes += _validate_nested(child, fields.key(f"{path}.properties", name))
    for key, detail in _FORBIDDEN_WHEN_NESTED.items():
        if node.get(key) not in (None, False, "", []):
            causes.append(fields.forbidden(f"{path}.{key}", detail))
    if "metadata" in (node.get("properties") or {}):
        where = fields.key(f"{path}.properties", "metadata")
        causes.append(fields.forbidden(where, "must not be specified in a nested context"))
    return causes


def _validate_completeness(node: Node, path: str) -> list[Cause]:
    """Whatever a junctor speaks about must be specified outside of it."""
    causes: list[Cause] = []
    for key in _NESTED:
        for position, branch in enumerate(node.get(key) or ()):
            causes += _missing(branch, node, fields.index(f"{path}.{key}", position), path)
    if isinstance(node.get("not"), Mapping):
        causes += _missing(node["not"], node, f"{path}.not", path)
    if isinstance(node.get("items"), Mapping):
        causes += _validate_completeness(node["items"], f"{path}.items")
    for name, child in (node.get("properties") or {}).items():
        causes += _validate_completeness(child, fields.key(f"{path}.properties", name))
    if isinstance(node.get("additionalProperties"), Mapping):
        causes += _validate_completeness(node["additionalProperties"], f"{path}.additionalProperties")
    return causes


def _missing(nested: Node, structure: Node | None, path: str, structure_path: str) -> list[Cause]:
    if structure is None:
        detail = f"because it is defined in {path}"
        return [fields.required(structure_path, detail)]
    causes: list[Cause] = []
    for key in _NESTED:
        for position, branch in enumerate(nested.get(key) or ()):
            causes += _missing(branch, structure, fields.index(f"{path}.{key}", position), structure_path)
    if isinstance(nested.get("not"), Mapping):
        causes += _missing(nested["not"], structure, f"{path}.not", structure_path)
    if isinstance(nested.get("items"), Mapping):
        inner = structure.get("items")
        inner = inner if isinstance(inner, Mapping) else None
        causes += _missing(nested["items"], inner, f"{path}.items", f"{structure_path}.items")
    for name, child in (nested.get("properties") or {}).items():
        specified = (structure.get("properties") or {}).get(name)
        where, place = fields.key(f"{path}.properties", name), fields.key(f"{structure_path}.properties", name)
        causes += _missing(child, specified, where, place)
    return causes


# --- defaults --------------------------------------------------------------------------------------


def _validate_defaults(node: Node, path: str, *, is_root: bool = False) -> list[Cause]:
    causes: list[Cause] = []
    default = node.get("default")
    if default is not None:
        where = f"{path}.default"
        if is_root:
            causes.append(fields.forbidden(where, "must not be set at the root"))
        completed = copy.deepcopy(default)
        apply_defaults(completed, node)
        if prune(default, node) != default:
            causes.append(fields.invalid(where, default, "must not have unknown fields"))
        else:
            causes += validate_embedded(completed, node, where, is_root=False)
            causes += validate_value(completed, node, where)
    if isinstance(node.get("items"), Mapping):
        causes += _validate_defaults(node["items"], f"{path}.items")
    for name, child in (node.get("properties") or {}).items():
        causes += _validate_defaults(child, fields.key(f"{path}.properties", name))
    if isinstance(node.get("additionalProperties"), Mapping):
        causes += _validate_defaults(node["additionalProperties"], f"{path}.additionalProperties")
    return causes


# --- CEL rules -------------------------------------------------------------------------------------


class _RulesCheck:
    """Compiles all rules of a schema and adds up what they may cost."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._total = 0

    def run(self, node: Node, path: str) -> list[Cause]:
        """Everything wrong with the rules of the schema."""
        causes = self._visit(node, path, cardinality=1, uncorrelatable="")
        if self._total > SCHEMA_COST_MAX:
            detail = (
                "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by"
                f" factor of {over_budget(self._total, SCHEMA_COST_MAX)} (try simplifying the rule, or adding maxItems,"
                " maxProperties, and maxLength where arrays, maps, and strings are used)"
            )
            causes.append(fields.forbidden(path, detail))
        return causes

    def _visit(self, node: Node, path: str, *, cardinality: int, uncorrelatable: str) -> list[Cause]:
        causes: list[Cause] = []
        if node.get("x-kubernetes-validations"):
            causes += self._check_rules(node, path, cardinality, uncorrelatable)
        for name, child in (node.get("properties") or {}).items():
            where = fields.key(f"{path}.properties", name)
            causes += self._visit(child, where, cardinality=cardinality, uncorrelatable=uncorrelatable)
        items, values = node.get("items"), node.get("additionalProperties")
        if isinstance(values, Mapping):
            where = f"{path}.additionalProperties"
            many = cardinality * max_elements(node)
            causes += self._visit(values, where, cardinality=many, uncorrelatable=uncorrelatable)
        if isinstance(items, Mapping):
            lost = uncorrelatable or ("" if node.get("x-kubernetes-list-type") == "map" else path)
            many = cardinality * max_elements(node)
            causes += self._visit(items, f"{path}.items", cardinality=many, uncorrelatable=lost)
        return causes

    def _check_rules(self, node: Node, path: str, cardinality: int, uncorrelatable: str) -> list[Cause]:
        from orchestrator.api.structural.cel.environment import Checker

        is_resource = node is self._root or bool(node.get("x-kubernetes-embedded-resource"))
        checker = Checker(node, is_resource=is_resource)
        estimator = Estimator(node)
        causes: list[Cause] = []
        for position, rule in enumerate(node["x-kubernetes-validations"]):
            where = fields.index(f"{path}.x-kubernetes-validations", position)
            causes += _validate_rule_texts(rule, node, where)
            expression = rule.get("rule") or ""
            if not expression.strip() or not checker.is_visible:
                continue
            causes += self._compile(checker, estimator, rule, where, cardinality, uncorrelatable)
        return causes

    def _compile(
        self, checker: Any, estimator: Estimator, rule: Mapping[str, Any], where: str, cardinality: int, lost: str
    ) -> list[Cause]:
        from orchestrator.api.structural.cel.environment import DoesNotCompile

        expression, optional = rule["rule"], bool(rule.get("optionalOldSelf"))
        try:
            compiled = checker.compile(expression, optional_old_self=optional)
        except DoesNotCompile as error:
            return [fields.invalid(f"{where}.rule", _go_rule(rule), f"compilation failed: {error}")]
        causes: list[Cause] = []
        if compiled.return_type().name() not in ("BOOL", "DYN"):
            detail = "cel expression must evaluate to a bool"
            causes.append(fields.invalid(f"{where}.rule", _go_rule(rule), detail))
        uses_old = checker.uses_old_self(expression) if not optional else "oldSelf" in expression
        if uses_old and lost and not optional:
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
            causes.append(fields.invalid(f"{where}.rule", expression, detail))
        if rule.get("optionalOldSelf") is not None and not uses_old:
            detail = "may not be set if oldSelf is not used in rule"
            causes.append(fields.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], detail))
        cost = estimator.cost(compiled.serialize()) * cardinality
        self._total += cost
        if cost > RULE_COST_MAX:
            detail = (
                f"estimated rule cost exceeds budget by factor of {over_budget(cost, RULE_COST_MAX)} (try simplifying"
                " the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are used)"
            )
            causes.append(fields.forbidden(f"{where}.rule", detail))
        message = rule.get("messageExpression")
        if message and message.strip():
            try:
                result = checker.compile(message, optional_old_self=optional)
            except DoesNotCompile as error:
                detail = f"messageExpression compilation failed: {error}"
                causes.append(fields.invalid(f"{where}.messageExpression", _go_rule(rule), detail))
            else:
                if result.return_type().name() not in ("STRING", "DYN"):
                    detail = "messageExpression must evaluate to a string"
                    causes.append(fields.invalid(f"{where}.messageExpression", _go_rule(rule), detail))
        return causes


def _go_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }


def _validate_rule_texts(rule: Mapping[str, Any], node: Node, where: str) -> list[Cause]:
    causes: list[Cause] = []
    expression, message = rule.get("rule") or "", rule.get("message") or ""
    if not expression.strip():
        causes.append(fields.required(f"{where}.rule", "rule is not specified"))
    if message and not message.strip():
        causes.append(fields.invalid(f"{where}.message", message, "message must be non-empty if specified"))
    elif "\n" in message.strip():
        causes.append(fields.invalid(f"{where}.message", message, "message must not contain line breaks"))
    elif "\n" in expression.strip() and not message:
        causes.append(fields.required(f"{where}.message", "message must be specified if rule contains line breaks"))
    if len(message) > _RULE_MESSAGE_MAX:
        causes.append(fields.too_long(f"{where}.message", _RULE_MESSAGE_MAX))
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        causes.append(fields.required(f"{where}.messageExpression", "must be non-empty if specified"))
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        causes.append(fields.not_supported(f"{where}.reason", reason, _REASONS))
    field_path = rule.get("fieldPath")
    if field_path:
        complaint = _complaint_about_path(field_path, node)
        if complaint:
            detail = f"fieldPath must be a valid path: {complaint}"
            causes.append(fields.invalid(f"{where}.fieldPath", field_path, detail))
    return causes


def _complaint_about_path(text: str, node: Node) -> str:
    names = plain_fields(text)
    if not names:
        return "expected . or [' at the start of each name"
    return "" if node_at(node, names) is not None else f"does not refer to a valid field: {text}"


def node_at(node: Node, names: list[str]) -> Node | None:
    """The node of a field, followed through properties and maps; None when the schema does not know it."""
    current: Node | None = node
    for name in names:
        if current is None:
            return None
        additional = current.get("additionalProperties")
        current = (current.get("properties") or {}).get(name)
        if current is None and isinstance(additional, Mapping):
            current = additional
    return current
