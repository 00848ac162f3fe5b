"""Causes: the texts that clients see."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.intstr import int_value, is_percentage, scaled_value


@pytest.mark.parametrize(
    ("cause", "reason", "message"),
    [
        (fields.required("a"), "FieldValueRequired", "Required value"),
        (fields.required("a", "why"), "FieldValueRequired", "Required value: why"),
        (fields.invalid("a", "x", "why"), "FieldValueInvalid", 'Invalid value: "x": why'),
        (fields.invalid("a", 'x"\n', "why"), "FieldValueInvalid", 'Invalid value: "x\\"\\n": why'),
        (fields.invalid("a", -1, "why"), "FieldValueInvalid", "Invalid value: -1: why"),
        (fields.invalid("a", None, "why"), "FieldValueInvalid", "Invalid value: null: why"),
        (fields.invalid("a", fields.OMIT, "why"), "FieldValueInvalid", "Invalid value: why"),
        (fields.invalid("a", {"b": "<"}, "why"), "FieldValueInvalid", 'Invalid value: {"b":"\\u003c"}: why'),
        (fields.type_invalid("a", "string", "why"), "FieldValueTypeInvalid", 'Invalid value: "string": why'),
        (
            fields.not_supported("a", "x", ["b", "a"]),
            "FieldValueNotSupported",
            'Unsupported value: "x": supported values: "b", "a"',
        ),
        (fields.duplicate("a", {"name": "a"}), "FieldValueDuplicate", 'Duplicate value: {"name":"a"}'),
        (fields.not_found("a", "x"), "FieldValueNotFound", 'Not found: "x"'),
        (fields.forbidden("a", "why"), "FieldValueForbidden", "Forbidden: why"),
        (fields.too_long("a", 10), "FieldValueTooLong", "Too long: may not be more than 10 bytes"),
        (fields.too_many("a", 4, 3), "FieldValueTooMany", "Too many: 4: must have at most 3 items"),
        (fields.immutable("a", True), "FieldValueInvalid", "Invalid value: true: field is immutable"),
    ],
)
def test_causes(cause: Cause, reason: str, message: str) -> None:
    assert (cause.reason, cause.message, cause.field) == (reason, message, "a")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e6, "1e+06"), (2.0, "2"), (0.0003, "0.0003"), (1.5e-7, "1.5e-07"), (100000.0, "100000"), (-2.5, "-2.5")],
)
def test_floats_print_as_go_prints_them(value: Any, text: str) -> None:
    assert fields.format_float(value) == text


def test_paths() -> None:
    path = fields.index(fields.child("spec", "template", "containers"), 0)
    assert fields.key(fields.child(path, "limits"), "cpu") == "spec.template.containers[0].limits[cpu]"
    assert fields.child("", "metadata") == "metadata"


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(3, 10, 3, 3), ("25%", 10, 3, 2), ("100%", 7, 7, 7), ("0%", 7, 0, 0), ("1%", 4, 1, 0)],
)
def test_int_or_string(value: int | str, total: int, up: int, down: int) -> None:
    assert scaled_value(value, total, round_up=True) == up
    assert scaled_value(value, total, round_up=False) == down


def test_int_or_string_refuses_other_strings() -> None:
    with pytest.raises(ValueError, match="string is not a percentage"):
        scaled_value("5", 10, round_up=True)
    assert int_value("5") == 5
    assert not is_percentage("5")
