"""Expressions of policies and match conditions: what is said when one has no value."""

from __future__ import annotations

import pytest

from orchestrator.apiserver.admission.expressions import ExpressionError, evaluate, meets_conditions

LOOP = {"name": "loop", "expression": "object.l.all(x, object.l.all(y, x == y))"}
MANY = {"object": {"l": [1] * 200}}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("object.gone", "expression 'object.gone' resulted in error: no such key: gone"),
        ("object +", "compilation failed: "),
        (LOOP["expression"], "validation failed due to running out of cost budget, no further validation rules"),
    ],
)
def test_why_there_is_no_value(expression: str, text: str) -> None:
    with pytest.raises(ExpressionError) as error:
        evaluate(expression, MANY)
    assert str(error.value).startswith(text)


def test_a_condition_that_is_false_decides_whatever_is_wrong_with_others() -> None:
    assert not meets_conditions([LOOP, {"name": "no", "expression": "false"}], MANY)
    with pytest.raises(ExpressionError):
        meets_conditions([LOOP, {"name": "yes", "expression": "true"}], MANY)
