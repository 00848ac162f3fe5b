"""CEL rules: evaluation, transitions, messages, Kubernetes' functions."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.structural.cel.environment import Checker, DoesNotCompile, evaluate
from orchestrator.api.structural.cel.names import escape
from orchestrator.api.structural.cel.rules import build_tree, uses_old_self, validate_rules
from orchestrator.api.structural.cel.values import to_cel
from orchestrator.api.structural.values import UNKNOWN


def run(schema: dict[str, Any], value: Any, old: Any = UNKNOWN) -> list[tuple[str, str]]:
    return [(c.field, c.message) for c in validate_rules(build_tree(schema), value, old)]


def node(kind: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "x-kubernetes-validations": list(rules), **more}


def test_a_rule_that_fails_names_its_place_and_its_message() -> None:
    schema = {
        "type": "object",
        "properties": {"a": node("integer", {"rule": "self > 2", "message": "too small"}, {"rule": "self < 1"})},
    }
    assert run(schema, {"a": 2}) == [
        ("a", "Invalid value: 2: too small"),
        ("a", "Invalid value: 2: failed rule: self < 1"),
    ]
    assert run(schema, {}) == []


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("FieldValueInvalid", "Invalid value: m"),
        ("FieldValueForbidden", "Forbidden: m"),
        ("FieldValueRequired", "Required value: m"),
    ],
)
def test_reasons(reason: str, message: str) -> None:
    schema = node("object", {"rule": "false", "message": "m", "reason": reason})
    causes = validate_rules(build_tree(schema), {"a": 1})
    assert [(c.reason, c.message) for c in causes] == [(reason, message)]


def test_message_expressions_and_field_paths() -> None:
    rule = {"rule": "self.a < 3", "messageExpression": "'a is %d'.format([self.a])", "fieldPath": ".a"}
    schema = node("object", rule, properties={"a": {"type": "integer"}})
    assert run(schema, {"a": 5}) == [("a", "Invalid value: 5: a is 5")]
    broken = {"rule": "false", "messageExpression": "self.nope", "message": "plain"}
    assert run(node("object", broken), {"a": 5}) == [("<nil>", "Invalid value: plain")]


def test_transition_rules_run_where_there_is_an_old_value() -> None:
    schema = {"type": "object", "properties": {"a": node("integer", {"rule": "self >= oldSelf"})}}
    assert run(schema, {"a": 1}) == []
    assert run(schema, {"a": 1}, {}) == []
    assert run(schema, {"a": 1}, {"a": 1}) == []
    assert run(schema, {"a": 1}, {"a": 2}) == [("a", "Invalid value: 1: failed rule: self >= oldSelf")]


def test_items_of_list_maps_find_their_old_selves_and_others_do_not() -> None:
    item = node("object", {"rule": "self.v == oldSelf.v"}, properties={"n": {}, "v": {"type": "integer"}})
    by_key = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}
    old, new = [{"n": "a", "v": 1}, {"n": "b", "v": 2}], [{"n": "b", "v": 3}, {"n": "c", "v": 1}]
    assert [field for field, _ in run({"type": "array", "items": item, **by_key}, new, old)] == ["[0]"]
    assert run({"type": "array", "items": item}, new, old) == []


def test_optional_old_self() -> None:
    schema = node(
        "integer", {"rule": "oldSelf.hasValue() ? self > oldSelf.value() : self == 1", "optionalOldSelf": True}
    )
    assert run(schema, 1) == []
    assert run(schema, 2) != []
    assert run(schema, 2, 1) == []
    assert run(schema, 1, 2) != []


def test_a_rule_that_held_not_before_is_forgiven_while_nothing_changes() -> None:
    schema = node("object", {"rule": "self.a > 5"}, properties={"a": {"type": "integer"}})
    assert run(schema, {"a": 1}, {"a": 1}) == []
    assert run(schema, {"a": 2}, {"a": 1}) != []


def test_an_error_is_a_failure_of_the_rule() -> None:
    schema = node("object", {"rule": "self.a > 5"}, properties={"a": {"type": "integer"}})
    assert run(schema, {}) == [("<nil>", 'Invalid value: "object": no such key: a evaluating rule: self.a > 5')]


def test_a_rule_that_loops_too_often_is_a_failure_and_the_last_rule_that_runs() -> None:
    rule = {"rule": "self.all(x, self.all(y, y == x))"}
    schema = node("array", rule, {"rule": "self.size() < 0"}, items={"type": "integer"}, maxItems=725)
    assert run(schema, [20] * 725) == [
        (
            "<nil>",
            "Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules "
            "will be run due to call cost exceeds limit for rule: self.all(x, self.all(y, y == x))",
        )
    ]


def test_a_message_that_loops_too_often_is_not_used() -> None:
    loop = "self.all(x, self.all(y, y == x)) ? 'a' : 'b'"
    schema = node("array", {"rule": "false", "messageExpression": loop, "message": "no"}, items={"type": "integer"})
    assert run(schema, [20] * 725) == [("<nil>", "Invalid value: no")]


def test_every_resource_has_a_type_and_a_name() -> None:
    schema = node("object", {"rule": "self.metadata.name == 'n' && self.kind == 'K'"})
    tree = build_tree(schema, is_resource=True)
    assert validate_rules(tree, {"kind": "K", "apiVersion": "v1", "metadata": {"name": "n", "uid": "u"}}) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a"), ("a-b", "a__dash__b"), ("a.b/c", "a__dot__b__slash__c"), ("in", "__in__"),
     ("a__b", "a__underscores__b"),
     ("1a", None), ("a b", None)],
)  # fmt: skip
def test_names_are_escaped(name: str, expected: str | None) -> None:
    assert escape(name) == expected


def test_formats_become_cel_types() -> None:
    schema = {
        "type": "object",
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "for": {"type": "string", "format": "duration"},
            "raw": {"type": "string", "format": "byte"},
            "n": {"type": "number"},
        },
    }
    value = to_cel({"at": "2020-01-01T00:00:00Z", "for": "90s", "raw": "YWI=", "n": 1}, schema)
    rule = (
        "self.at < timestamp('2020-01-02T00:00:00Z') && self.__for__ == duration('1m30s') && self.raw == b'ab'"
        " && self.n / 2.0 == 0.5"
    )
    assert evaluate(rule, {"self": value, "oldSelf": None, "__old": None, "__has_old": False}) is True


@pytest.mark.parametrize(
    "expression",
    [
        "[1, 2, 3].isSorted()", "[1, 2].sum() == 3", "[1.5, 0.5].min() == 0.5", "[1, 3].max() == 3",
        "[1, 2].indexOf(2) == 1", "[1, 2, 1].lastIndexOf(1) == 2", "sets.contains([1, 2], [2])",
        "sets.equivalent([1, 1], [1])", "!sets.intersects([1], [2])", "'ab12'.find('[0-9]+') == '12'",
        "'a1b2'.findAll('[0-9]') == ['1', '2']", "url('https://h:80/p?q=1').getHostname() == 'h'",
        "url('https://h/p?q=1').getQuery() == {'q': ['1']}", "!isURL('a b')", "isIP('::1') && !isIP('1.2.3')",
        "ip('10.0.0.1').family() == 4", "string(ip('10.0.0.1')) == '10.0.0.1'",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1')", "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.0.0.5/8').masked() == cidr('10.0.0.0/8')", "cidr('10.0.0.0/8').prefixLength() == 8",
        "quantity('1Ki').isGreaterThan(quantity('1k'))", "quantity('1') == quantity('1000m')",
        "quantity('1').add(quantity('500m')).sub(1).compareTo(quantity('0.5')) == 0", "quantity('5').asInteger() == 5",
        "quantity('-1').sign() == -1", "isQuantity('1Gi') && !isQuantity('x')",
        "semver('1.10.0').isGreaterThan(semver('1.9.9'))", "semver('1.0.0-a').isLessThan(semver('1.0.0'))",
        "semver('1.2.3').minor() == 2", "'a,b'.split(',').join('-') == 'a-b'", "'%s-%d'.format(['a', 1]) == 'a-1'",
        "optional.of(1).orValue(2) == 1", "cel.bind(x, 2, x * x) == 4", "[1, 2].exists_one(x, x == 1)",
        "{'a': 1}[?'b'].orValue(7) == 7", "1 < 1.5",
    ],
)  # fmt: skip
def test_functions(expression: str) -> None:
    assert evaluate(expression, {"self": 0, "oldSelf": None, "__old": None, "__has_old": False}) is True
    Checker({"type": "integer"}, is_resource=False).compile(expression)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("self.nope > 1", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^"),
        ("self.a == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("1 +", "Syntax error: mismatched input '<EOF>' expecting"),
        ("quantity('1').isGreaterThan(semver('1.0.0'))", "found no matching overload for 'isGreaterThan'"),
        ("nope()", "undeclared reference to 'nope'"),
    ],
)
def test_what_does_not_compile(expression: str, text: str) -> None:
    checker = Checker({"type": "object", "properties": {"a": {"type": "integer"}}}, is_resource=False)
    with pytest.raises(DoesNotCompile) as raised:
        checker.compile(expression)
    assert text in str(raised.value)


@pytest.mark.parametrize("name", ["labels", "match_labels", "node-ports", "_hidden"])
def test_maps_below_objects_have_typed_values(name: str) -> None:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    checker = Checker({"type": "object", "properties": {name: counts, "nodePorts": counts}}, is_resource=False)
    field = escape(name)
    checker.compile(f"self.{field}['a'] > 1 && self.{field}.all(key, key != '') && self.nodePorts['b'] == 2")
    with pytest.raises(DoesNotCompile, match=r"applied to '\(int, string\)'"):
        checker.compile(f"self.{field}['a'] > 'x'")


def test_names_that_differ_in_underscores_alone() -> None:
    node = {"type": "object", "properties": {"x_y": {"type": "integer"}, "xY": {"type": "string"}}}
    Checker(node, is_resource=False).compile("self.x_y > 1 && self.xY != ''")


def test_positions_do_not_move_with_optional_old_self() -> None:
    checker = Checker({"type": "integer"}, is_resource=False)
    with pytest.raises(DoesNotCompile, match="<input>:1:1: undeclared reference"):
        checker.compile("nope", optional_old_self=True)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("self == oldSelf", True), ("self == 'oldSelf'", False), ("oldSelfish", False), ("has(oldSelf.a)", True)],
)
def test_uses_old_self(expression: str, expected: bool) -> None:
    assert uses_old_self(expression) is expected
