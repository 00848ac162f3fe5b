"""Comprehensions with two variables and named formats: how they are rewritten, what they mean, how they are checked."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.structural.cel.environment import Checker, DoesNotCompile, EvaluationFailed, evaluate
from orchestrator.api.structural.cel.macros import expand

LOOP = "cel.bind(k8s_1, {}, k8s.keys(k8s_1).all(i, cel.bind(v, k8s_1[i], v > i)))"


@pytest.mark.parametrize(
    "receiver",
    [
        "a", "self.a", "self.a.b", "a[0]", "a[0][1]", "f(a)", "f(a)[0].b", "(a + b)", "[1, 2]", "{'a': 1}", "'text'",
        "a.b(c, d)[1]", "self.?a.orValue([])", "a .b",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "!", "x && ", "x in ", "-", "1 + ", "[0] == [1] || ", "x ? ", "f(1) > "])
def test_the_operand_before_a_macro_is_found(before: str, receiver: str) -> None:
    call = ".all(i, v, v > i)"
    assert expand(f"{before}{receiver}{call} && true") == f"{before}{LOOP.format(receiver)} && true"


@pytest.mark.parametrize(
    "expression",
    [
        "self.all(x, x > 1)",
        "self.exists(x, x > 1)",
        "'a.all(i, v, 1)'",
        "self.validate",
        "all(i, v, true)",
        "self.all(i, v, true",
        "self.map(x, x, x)",
        "other.named('x')",
        "// self.all(i, v, true)\ntrue",
    ],
)
def test_what_is_no_macro_stays_as_it_is(expression: str) -> None:
    assert expand(expression) == expression


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("self.list.all(i, v, v > i)", True),
        ("self.list.all(i, v, v > 5)", False),
        ("self.map.all(k, v, k.startsWith('k') && v < 3)", True),
        ("self.list.exists(i, v, i == 2 && v == 9)", True),
        ("self.map.exists(k, v, v == 7)", False),
        ("self.list.existsOne(i, v, v == 9)", True),
        ("self.list.transformList(i, v, v * 10 + i)", [50, 71, 92]),
        ("self.list.transformList(i, v, v > 5, v)", [7, 9]),
        ("self.map.transformList(k, v, k + string(v))", ["k11", "k22"]),
        ("self.map.transformMap(k, v, v * 2)", {"k1": 2, "k2": 4}),
        ("self.map.transformMap(k, v, v > 1, v)", {"k2": 2}),
        ("self.list.transformMap(i, v, v)", {0: 5, 1: 7, 2: 9}),
        ("self.map.transformMapEntry(k, v, {string(v): k})", {"1": "k1", "2": "k2"}),
        ("self.nested.all(k, l, l.exists(i, v, v == i))", True),
        ("self.list.transformList(i, v, v).size() == 3 && self.list.all(i, v, true)", True),
        ("!format.dns1123Label().validate('a-b').hasValue()", True),
        ("format.dns1123Label().validate('A_B').value().size()", 1),
        ("format.dns1123LabelPrefix().validate('a-').hasValue()", False),
        ("format.named('uuid').value().validate('x').value()", ["does not match the UUID format"]),
        ("format.named('nothing').hasValue()", False),
        ("format.date().validate('2024-02-30').hasValue()", True),
        ("format.datetime().validate('2024-02-28T00:00:00Z').hasValue()", False),
        ("format.byte().validate('YQ==').hasValue()", False),
        ("format.uri().validate('https://a.example.com/b').hasValue()", False),
        ("format.labelValue().validate('-').hasValue()", True),
        ("format.qualifiedName().validate('example.com/a').hasValue()", False),
    ],
)
def test_values(expression: str, value: Any) -> None:
    data = {"list": [5, 7, 9], "map": {"k1": 1, "k2": 2}, "nested": {"a": [0], "b": [5, 1]}}
    assert evaluate(expression, {"self": data, "oldSelf": None, "__old": None, "__has_old": False}) == value


def test_keys_of_a_map_are_made_once() -> None:
    variables = {"self": {"a": 1, "b": 1}, "oldSelf": None, "__old": None, "__has_old": False}
    with pytest.raises(EvaluationFailed, match="already exists"):
        evaluate("self.transformMapEntry(k, v, {v: k})", variables)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("self.list.all(i, v, v > 'x')", "applied to '(int, string)'"),
        ("self.list.all(i, v, i.startsWith('x'))", "no matching overload for 'startsWith'"),
        ("self.map.all(k, v, v.startsWith('x'))", "no matching overload for 'startsWith'"),
        ("format.dns1123Label().validate(self.list)", "no matching overload for 'k8s.complaints'"),
        ("format.nothing().validate('a')", "undeclared reference"),
        ("format.dns1123Label().validate('a') == true", "no matching overload for '_==_'"),
    ],
)
def test_types_are_checked(expression: str, complaint: str) -> None:
    integer = {"type": "integer"}
    properties = {
        "list": {"type": "array", "items": integer},
        "map": {"type": "object", "additionalProperties": integer},
    }
    checker = Checker({"type": "object", "properties": properties}, is_resource=False)
    checker.compile("self.list.all(i, v, v > i) && self.map.all(k, v, k != '' && v > 1)")
    checker.compile("!format.dns1123Label().validate('a').hasValue()")
    with pytest.raises(DoesNotCompile, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        checker.compile(expression)
