"""Every message of the table: what is written is read back as it was, by value and by type."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api import schema
from orchestrator.api.protobuf.messages import definition_name, message, message_name, table

# Special messages are covered where they stand in others; options of the envelope are no objects.
SPECIAL = (
    "JSONSchemaPropsOr", "v1.JSON", "Quantity", "IntOrString", "v1.Time", "MicroTime", "Timestamp", "Duration",
    "FieldsV1", "Verbs", "ExtraValue", "machinery.runtime",
)  # fmt: skip
MESSAGES = sorted(
    name for name in table() if not any(part in name for part in SPECIAL) or name.endswith(".JSONSchemaProps")
)
DEPTH = 3


def texts(*, empty: bool) -> st.SearchStrategy[str]:
    return st.text(min_size=0 if empty else 1, max_size=8)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=3), children, max_size=2),
    max_leaves=4,
)
times = st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20))
micro_times = st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27))


def scalar(type_name: str, *, zero: bool) -> st.SearchStrategy[Any] | None:
    """Values of a type that is no object; `zero` allows 0, false and empty."""
    bits = {"int32": 31, "int64": 63}.get(type_name)
    if bits:
        return st.integers(-(2**bits), 2**bits - 1).filter(lambda value: zero or value != 0)
    match type_name:
        case "bool":
            return st.booleans() if zero else st.just(True)
        case "double":
            return st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda value: value % 1 != 0)
        case "string":
            return texts(empty=zero)
        case "bytes":
            return st.binary(min_size=0 if zero else 1, max_size=8).map(lambda value: base64.b64encode(value).decode())
        case "meta.v1.Time":
            return times
        case "meta.v1.MicroTime":
            return micro_times
        case "machinery.api.resource.Quantity":
            return st.sampled_from(["0", "100m", "1.5Gi", "-3", "2e3"])
        case "machinery.util.intstr.IntOrString":
            return st.integers(0 if zero else 1, 2**31 - 1) | texts(empty=zero)
        case "meta.v1.FieldsV1":
            return st.dictionaries(st.text(max_size=3), json_values, max_size=3)
        case "machinery.runtime.RawExtension" | "apiextensions.v1.JSON":
            return json_values.filter(lambda value: value is not None)
        case "meta.v1.Verbs":
            return st.lists(texts(empty=True), max_size=3)
    if type_name.endswith(".ExtraValue"):
        return st.lists(texts(empty=True), max_size=3)
    return None


def objects(name: str, depth: int = 0, required: frozenset[str] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """Objects as JSON has them; only required lists and maps may be empty, for the wire has no empty ones."""
    if required is None:
        required = frozenset(schema.definitions().get(definition_name(name), {}).get("required") or ())
    always: dict[str, st.SearchStrategy[Any]] = {}
    sometimes: dict[str, st.SearchStrategy[Any]] = {}
    inlined: list[st.SearchStrategy[dict[str, Any]]] = []
    for field, type_name, *rest in table()[name].values():
        kind = rest[0] if rest else ""
        is_required = field in required
        if kind == "inline":
            inlined.append(objects(type_name, depth, required))
            continue
        zero = kind in ("pointer", "list", "map") or is_required
        value = scalar(type_name, zero=zero)
        if value is None:
            if depth >= DEPTH:
                if kind and is_required:
                    always[field] = st.just([] if kind == "list" else {})
                continue
            value = union(type_name, depth + 1)
            if value is None:
                value = st.deferred(lambda name=type_name: objects(name, depth + 1))  # type: ignore[misc]
        least = 0 if is_required else 1
        if kind == "list":
            value = st.lists(value, min_size=least, max_size=2)
        elif kind == "map":
            value = st.dictionaries(texts(empty=True), value, min_size=least, max_size=2)
        (always if is_required and kind else sometimes)[field] = value
    drawn = st.fixed_dictionaries(always, optional=sometimes)
    for inner in inlined:
        drawn = st.tuples(drawn, inner).map(lambda pair: {**pair[0], **pair[1]})
    return drawn


def union(type_name: str, depth: int) -> st.SearchStrategy[Any] | None:
    props = st.deferred(lambda: objects("apiextensions.v1.JSONSchemaProps", depth + 1))
    if type_name.endswith("OrBool"):
        return st.booleans() | props
    if type_name.endswith("OrArray"):
        return props | st.lists(props, min_size=1, max_size=2)
    if type_name.endswith("OrStringArray"):
        return props | st.lists(texts(empty=True), min_size=1, max_size=2)
    return None


def canonical(value: Any) -> bytes:
    """Tells 1 from true and from 1.0, and not the order of fields."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sample(name: str, depth: int = 0, required: frozenset[str] | None = None) -> dict[str, Any]:
    """One object with every field set."""
    if required is None:
        required = frozenset(schema.definitions().get(definition_name(name), {}).get("required") or ())
    obj: dict[str, Any] = {}
    for number, (field, type_name, *rest) in table()[name].items():
        kind = rest[0] if rest else ""
        if kind == "inline":
            obj |= sample(type_name, depth, required)
            continue
        value: Any = {
            "string": f"{field} ä", "bool": True, "int32": -int(number), "int64": 2**62 + int(number), "double": 0.5,
            "bytes": "/wA=", "meta.v1.Time": "2026-01-02T03:04:05Z", "meta.v1.MicroTime": "1969-12-31T23:59:59.000001Z",
            "machinery.api.resource.Quantity": "100m", "machinery.util.intstr.IntOrString": "25%",
            "machinery.runtime.RawExtension": {"a": [1]}, "apiextensions.v1.JSON": [None, False],
            "meta.v1.FieldsV1": {"f:x": {}}, "meta.v1.Verbs": ["get"],
        }.get(type_name)  # fmt: skip
        if type_name.endswith("ExtraValue"):
            value = ["x", ""]
        elif "JSONSchemaPropsOr" in type_name:
            value = True if type_name.endswith("Bool") else [{"type": "string"}]
            if type_name.endswith("StringArray"):
                value = ["x"]
        elif value is None:
            if depth > DEPTH:
                if kind and field in required:
                    obj[field] = [] if kind == "list" else {}
                continue
            value = sample(type_name, depth + 1)
        obj[field] = [value, value] if kind == "list" else {"k": value, "": value} if kind == "map" else value
    return obj


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_of_every_message_survives(name: str) -> None:
    obj = sample(name)
    encoded = message(name).write(obj)
    assert canonical(message(name).read(encoded, 0, len(encoded), 0)) == canonical(obj)


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_objects_of_every_message_survive(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(MESSAGES))
    obj = data.draw(objects(name))
    encoded = message(name).write(obj)
    assert canonical(message(name).read(encoded, 0, len(encoded), 0)) == canonical(obj)


def test_names_of_messages_and_definitions_are_two_ways() -> None:
    for name in table():
        assert message_name(definition_name(name)) == name


def test_fields_are_those_of_the_published_api() -> None:
    """The table and the OpenAPI definitions name the same fields, apart from apiVersion and kind."""

    def names(message: str) -> set[str]:
        found: set[str] = set()
        for field, type_name, *rest in table()[message].values():
            found |= names(type_name) if rest == ["inline"] else {field}
        return found

    for name in table():
        properties = schema.definitions().get(definition_name(name), {}).get("properties")
        if properties:
            assert set(properties) - names(name) <= {"apiVersion", "kind"}, name
            assert names(name) <= set(properties), name


def test_all_types_are_known() -> None:
    for name, fields in table().items():
        for field, type_name, *rest in fields.values():
            assert type_name in ("string", "bool", "int32", "int64", "double", "bytes") or type_name in table()
            assert not rest or rest[0] in ("list", "map", "inline", "pointer"), (name, field)
