"""Columns, fields, scale and conversion of custom kinds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.apiserver.customresources.kinds import conversion_of, kind_of

NOW = datetime(2024, 1, 1, 1, tzinfo=UTC)


def definition(*versions: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": "gadgets.g.example.com", "generation": generation},
        "spec": {
            "group": "g.example.com",
            "scope": "Cluster",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": list(versions),
        },
    }


def version(name: str = "v1", **more: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    return {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}, **more}


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("string", "x", "x"), ("string", True, "true"), ("string", {"a": [1]}, '{"a":[1]}'), ("string", 5, "5"),
        ("integer", 5, 5), ("integer", 5.7, 5), ("integer", "5", None), ("number", 1.5, 1.5), ("boolean", True, True),
        ("boolean", "true", None), ("date", "2024-01-01T00:00:00Z", "60m"), ("date", "yesterday", "<invalid>"),
        ("date", 5, None),
    ],
)  # fmt: skip
def test_cells(kind: str, value: Any, cell: Any) -> None:
    column = {"name": "C", "type": kind, "jsonPath": ".spec.value"}
    made = definition(version(additionalPrinterColumns=[column]))
    served = kind_of(made, made["spec"]["versions"][0], None)
    assert served.row is not None
    assert served.row({"metadata": {"name": "n"}, "spec": {"value": value}}, NOW) == ["n", cell]
    assert served.row({"metadata": {"name": "n"}}, NOW) == ["n", None]


def test_without_columns_there_is_an_age() -> None:
    made = definition(version())
    served = kind_of(made, made["spec"]["versions"][0], None)
    assert [(c.name, c.type) for c in served.columns] == [("Name", "string"), ("Age", "date")]


def test_selectable_fields_are_texts() -> None:
    made = definition(version(selectableFields=[{"jsonPath": ".spec.on"}]))
    readers = kind_of(made, made["spec"]["versions"][0], None).selectable_fields
    assert readers["spec.on"]({"spec": {"on": True}}) == "true"
    assert readers["spec.on"]({}) == ""


def scaled(obj: dict[str, Any]) -> list[tuple[str, str]]:
    paths = {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }  # fmt: skip
    made = definition(version(subresources={"scale": paths}))
    causes = kind_of(made, made["spec"]["versions"][0], None).validate(obj)
    return [(c.field, c.message) for c in causes]


def test_scale_paths_lead_to_numbers_and_selectors() -> None:
    assert scaled({"spec": {"replicas": 3}, "status": {"replicas": 0, "selector": "a=b"}}) == []
    assert scaled({"spec": {"replicas": -1}}) == [
        (".spec.replicas", "Invalid value: -1: should be a non-negative integer")
    ]
    assert scaled({"spec": {"replicas": "x"}})[0] == (
        ".spec.replicas", "Invalid value: 0: .spec.replicas accessor error: x is of the type string, expected int64",
    )  # fmt: skip
    assert scaled({"status": {"selector": "a in"}})[0][0] == ".status.selector"


def test_conversion_is_needed_once_a_stored_object_may_look_different() -> None:
    single = definition(version())
    assert conversion_of(single, single["spec"]["versions"][0], None) is None
    changed = definition(version(), generation=2)
    assert conversion_of(changed, changed["spec"]["versions"][0], None) is not None
    several = definition(version(), version("v2"))
    conversion = conversion_of(several, several["spec"]["versions"][1], None)
    assert conversion is not None
    stored = {"kind": "Gadget", "apiVersion": "g.example.com/v1", "metadata": {"name": "n"}, "old": 1, "spec": {"a": 1}}
    served = conversion.from_stored(stored)
    assert served == {"kind": "Gadget", "apiVersion": "g.example.com/v2", "metadata": {"name": "n"}, "spec": {"a": 1}}
    assert conversion.to_stored(served)["apiVersion"] == "g.example.com/v1"
    assert stored["old"] == 1
