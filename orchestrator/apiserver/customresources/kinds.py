"""From one version of a CustomResourceDefinition to the `Kind` that serves it.

Owns the strategy of custom resources: defaults, validation, columns, selectable fields, conversion without a
webhook. Pure. Mirrors k8s.io/apiextensions-apiserver/pkg/registry/customresource.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator.api import fields
from orchestrator.api.durations import human_duration
from orchestrator.api.errors import BadRequest, Cause
from orchestrator.api.kinds.columns import NAME, parse_time, ref
from orchestrator.api.kinds.descriptor import Column, Conversion, Kind, ScalePaths
from orchestrator.api.objects import Object, copy_object, name_of
from orchestrator.api.resources import Resource
from orchestrator.api.schema import schema_from_openapi_v3
from orchestrator.api.selectors import parse_label_selector
from orchestrator.api.structural.cel.rules import build_tree, validate_rules
from orchestrator.api.structural.defaulting import apply_defaults, drop_nulls, prune
from orchestrator.api.structural.embedded import validate_embedded
from orchestrator.api.structural.json_path import compile_path, plain_fields
from orchestrator.api.structural.lists import validate_lists
from orchestrator.api.structural.values import ROOT, UNKNOWN, Node, json_type, validate_value

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete"
    " validation"
)
_INT32_MAX = 2**31 - 1


def versions_of(definition: Object) -> list[Mapping[str, Any]]:
    """The versions of a definition, as they stand in its spec."""
    return list(definition["spec"].get("versions") or ())


def storage_version_of(definition: Object) -> str:
    """The name of the version that objects are stored in."""
    return next(str(v["name"]) for v in versions_of(definition) if v.get("storage"))


def resource_of(definition: Object, version: str) -> Resource:
    """The REST resource of one version, under the names that were accepted."""
    spec = definition["spec"]
    names = spec["names"]
    return Resource(spec["group"], version, names["plural"], names["kind"], spec.get("scope") == "Namespaced")


def kind_of(definition: Object, version: Mapping[str, Any], conversion: Conversion | None) -> Kind:
    """The kind that serves one version; `conversion` None when stored objects are served as they are."""
    spec = definition["spec"]
    names = (definition.get("status") or {}).get("acceptedNames") or {}
    if not names.get("kind"):
        names = spec["names"]
    schema: Node = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    strategy = _Strategy(schema, scale)
    columns = _columns(version)
    return Kind(
        resource_of(definition, version["name"]),
        "",
        names.get("singular") or "",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=VERBS,
        has_status=subresources.get("status") is not None,
        status_metadata=(),
        scale=_scale_paths(scale) if scale is not None else None,
        has_generation=True,
        unconditional_update=False,
        default=strategy.default,
        validate=strategy.validate,
        validate_update=strategy.validate_update,
        prepare_status_update=strategy.prepare_status_update,
        validate_status_update=strategy.validate_update,
        columns=(NAME, *(column for column, _ in columns)),
        row=partial(_row, [(column.type, find) for column, find in columns]),
        selectable_fields=_selectable_fields(version),
        conversion=conversion,
        deprecation=_deprecation(definition, version),
        schema=schema_from_openapi_v3(schema),
    )


def _deprecation(definition: Object, version: Mapping[str, Any]) -> str:
    """The warning of a deprecated version: its author's words, else kube-apiserver's."""
    if not version.get("deprecated"):
        return ""
    spec = definition["spec"]
    default = f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    return str(version.get("deprecationWarning") or default)


def _scale_paths(scale: Mapping[str, Any]) -> ScalePaths:
    return ScalePaths(
        str(scale["specReplicasPath"]).lstrip("."),
        str(scale["statusReplicasPath"]).lstrip("."),
        str(scale.get("labelSelectorPath") or "").lstrip("."),
    )


# --- defaults and validation ---


class _Strategy:
    """What the schema of one version does to its objects."""

    def __init__(self, schema: Node, scale: Mapping[str, Any] | None) -> None:
        self._schema = schema
        self._scale = scale
        self._rules = build_tree(schema, is_resource=True)

    def default(self, obj: Object) -> None:
        """Drop nulls that may not be, fill in defaults."""
        drop_nulls(obj, self._schema)
        apply_defaults(obj, self._schema)

    def prepare_status_update(self, new: Object, old: Object) -> None:
        """Defaults of the status; the rest has its own already."""
        self.default(new)

    def validate(self, obj: Object) -> list[Cause]:
        """Everything wrong with a new object."""
        causes = self._validate(obj, UNKNOWN)
        causes += validate_lists(obj, self._schema)
        return causes + self._validate_rules(causes, obj, UNKNOWN)

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        """Everything wrong with a changed object that was not wrong before."""
        causes = self._validate(new, old)
        repeated = validate_lists(new, self._schema)
        if repeated and not validate_lists(old, self._schema):
            causes += repeated
        return causes + self._validate_rules(causes, new, old)

    def _validate(self, obj: Object, old: Any) -> list[Cause]:
        causes = validate_value(obj, self._schema, old=old)
        if self._scale is not None:
            causes += _validate_scale(obj, self._scale)
        return causes + validate_embedded(obj, self._schema)

    def _validate_rules(self, causes: list[Cause], obj: Object, old: Any) -> list[Cause]:
        if self._rules is None:
            return []
        if any(cause.reason in _BLOCKING for cause in causes):
            return [fields.invalid(ROOT, None, _UNCHECKED)]
        return validate_rules(self._rules, obj, old)


def _validate_scale(obj: Object, scale: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("specReplicasPath", "statusReplicasPath"):
        path = str(scale[key])
        value = _found(obj, path)
        if value is None:
            continue
        if type(value) is not int:
            detail = f"{path} accessor error: {_go_text(value)} is of the type {_go_type(value)}, expected int64"
            causes.append(fields.invalid(path, 0, detail))
        elif value < 0:
            causes.append(fields.invalid(path, value, "should be a non-negative integer"))
        elif value > _INT32_MAX:
            causes.append(fields.invalid(path, value, f"should be less than or equal to {_INT32_MAX}"))
    selector_path = scale.get("labelSelectorPath")
    selector = _found(obj, selector_path) if selector_path else None
    if isinstance(selector, str):
        try:
            parse_label_selector(selector)
        except BadRequest as error:
            causes.append(fields.invalid(str(selector_path), selector, error.message))
    elif selector is not None:
        detail = (
            f"{selector_path} accessor error: {_go_text(selector)} is of the type {_go_type(selector)}, expected string"
        )
        causes.append(fields.invalid(str(selector_path), "", detail))
    return causes


def _found(obj: Any, path: str) -> Any:
    for name in path.split("."):
        if name:
            obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _go_type(value: Any) -> str:
    kinds = {"boolean": "bool", "integer": "int64", "number": "float64", "array": "[]interface {}"}
    kind = json_type(value)
    return "map[string]interface {}" if kind == "object" else kinds.get(kind, kind)


def _go_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


# --- columns and fields ---

_AGE: dict[str, Any] = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": ref("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "creationTimestamp"),
}


def _columns(version: Mapping[str, Any]) -> list[tuple[Column, Callable[[Any], list[Any]]]]:
    return [
        (
            Column(
                entry["name"],
                entry["type"],
                entry.get("format") or "",
                entry.get("description")
                or f"Custom resource definition column (in JSONPath format): {entry['jsonPath']}",
                entry.get("priority") or 0,
            ),
            compile_path(entry["jsonPath"]),
        )
        for entry in version.get("additionalPrinterColumns") or (_AGE,)
    ]


def _row(columns: list[tuple[str, Callable[[Any], list[Any]]]], obj: Object, now: datetime) -> list[Any]:
    cells: list[Any] = [name_of(obj)]
    for kind, find in columns:
        found = find(obj)
        cells.append(_cell(kind, found[0], now) if found else None)
    return cells


def _cell(kind: str, value: Any, now: datetime) -> Any:
    """One cell as the server's table converter fills it; None where the value does not fit the column."""
    if kind == "string":
        if value is None:
            return "<nil>"
        if isinstance(value, dict | list):
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return _go_text(value)
    if kind == "date":
        moment = parse_time(value) if isinstance(value, str) else None
        if not isinstance(value, str):
            return None
        return "<invalid>" if moment is None else human_duration((now - moment).total_seconds())
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else value


def _selectable_fields(version: Mapping[str, Any]) -> dict[str, Callable[[Object], str]]:
    readers: dict[str, Callable[[Object], str]] = {}
    for entry in version.get("selectableFields") or ():
        path = entry["jsonPath"]
        if plain_fields(path):
            readers[path.lstrip(".")] = partial(_field_text, compile_path(path))
    return readers


def _field_text(find: Callable[[Any], list[Any]], obj: Object) -> str:
    found = find(obj)
    return _go_text(found[0]) if found and not isinstance(found[0], dict | list) and found[0] is not None else ""


# --- conversion ---


def conversion_of(
    definition: Object,
    version: Mapping[str, Any],
    fetch: Callable[[Sequence[Object], str], Awaitable[list[Object]]] | None,
) -> Conversion | None:
    """How stored objects become objects of this version; `fetch` asks the webhook, if there is one.

    None while everything that can be stored was defaulted and pruned by the very schema that is served: the
    definition has one version and never changed.
    """
    if definition["metadata"].get("generation") == 1 and len(versions_of(definition)) == 1:
        return None
    schema: Node = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    stored = resource_of(definition, storage_version_of(definition))
    served = resource_of(definition, version["name"])

    def to_stored(obj: Object) -> Object:
        return relabelled(obj, stored.api_version)

    def from_stored(obj: Object) -> Object:
        return completed(relabelled(obj, served.api_version), schema)

    if fetch is None:
        return Conversion(stored, to_stored, from_stored)

    async def fetch_to_stored(objects: Sequence[Object]) -> list[Object]:
        return [completed(obj, stored_schema) for obj in await fetch(objects, stored.api_version)]

    async def fetch_from_stored(objects: Sequence[Object]) -> list[Object]:
        return [completed(obj, schema) for obj in await fetch(objects, served.api_version)]

    stored_schema = next(
        (v.get("schema") or {}).get("openAPIV3Schema") or {} for v in versions_of(definition) if v.get("storage")
    )
    return Conversion(stored, to_stored, from_stored, fetch_to_stored, fetch_from_stored)


def completed(obj: Object, schema: Node) -> Object:
    """A stored object as its schema would have it today: pruned and with defaults; a copy."""
    fresh: Object = copy_object(prune(obj, schema, is_root=True))
    drop_nulls(fresh, schema)
    apply_defaults(fresh, schema)
    return fresh


def relabelled(obj: Object, api_version: str) -> Object:
    """Conversion strategy None: only the apiVersion changes."""
    if obj.get("apiVersion") == api_version:
        return obj
    return {**obj, "apiVersion": api_version}
