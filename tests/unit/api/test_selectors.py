"""Label and field selectors: grammar, messages, matching, and what an index may use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.errors import BadRequest
from orchestrator.api.selectors import (
    EVERYTHING,
    NOTHING,
    LabelSelector,
    Requirement,
    from_label_selector,
    from_labels,
    parse_field_selector,
    parse_label_selector,
)


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (x, y)", {"a": "y"}, True),
        ("a in (x,y)", {}, False),
        ("a notin (x,y)", {}, True),
        ("a notin (x,y)", {"a": "x"}, False),
        ("a=", {"a": ""}, True),
        ("a in (,)", {"a": ""}, True),
        ("in in (in)", {"in": "in"}, True),
        ("a>5", {"a": "6"}, True),
        ("a<5", {"a": "6"}, False),
        ("a>5", {"a": "x"}, False),
        ("a>5", {}, False),
        ("a=b,c!=d,e in (x,y),!f,g", {"a": "b", "e": "x", "g": "1"}, True),
        ("a=b,a=c", {"a": "b"}, False),
        ("x.io/y = z", {"x.io/y": "z"}, True),
    ],
)
def test_label_selector_matches(text: str, labels: dict[str, str], selected: bool) -> None:
    assert parse_label_selector(text).matches(labels) is selected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
            "the value must be an integer",
        ),
    ],
)
def test_label_selector_errors(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_label_selector(text)
    assert caught.value.message == message


def test_selector_objects() -> None:
    assert from_label_selector(None) is NOTHING
    assert not NOTHING.matches({"a": "b"})
    assert from_label_selector({}) is EVERYTHING
    selector = from_label_selector(
        {
            "matchLabels": {"a": "b"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["x", "y"]},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.matches({"a": "b", "c": "x"})
    assert not selector.matches({"a": "b", "c": "x", "d": ""})
    assert str(selector) == "a=b,c in (x,y),!d"
    assert selector.exact_matches() == {"a": "b"}
    assert selector.exact_match("c") is None
    assert from_labels(None) is EVERYTHING


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "Bad"},
        {"key": "a", "operator": "In", "values": []},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a b", "operator": "Exists"},
    ],
)
def test_bad_expressions(expression: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        from_label_selector({"matchExpressions": [expression]})


_keys = st.sampled_from(["a", "b", "c.d/e"])
_values = st.sampled_from(["", "x", "y", "7", "12"])
_requirements = st.one_of(
    st.builds(lambda k, op, v: Requirement(k, op, (v,)), _keys, st.sampled_from(["=", "==", "!="]), _values),
    st.builds(
        lambda k, op, v: Requirement(k, op, tuple(sorted(v))),
        _keys,
        st.sampled_from(["in", "notin"]),
        st.sets(_values, min_size=1),
    ),
    st.builds(lambda k, op: Requirement(k, op), _keys, st.sampled_from(["exists", "!"])),
    st.builds(lambda k, op, v: Requirement(k, op, (str(v),)), _keys, st.sampled_from(["gt", "lt"]), st.integers(0, 20)),
)


@given(st.lists(_requirements, max_size=4), st.dictionaries(_keys, _values))
def test_text_form_selects_the_same(requirements: list[Requirement], labels: dict[str, str]) -> None:
    selector = LabelSelector(tuple(requirements))
    parsed = parse_label_selector(str(selector))
    assert parsed == selector
    assert parsed.matches(labels) == all(requirement.matches(labels) for requirement in requirements)


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("", []),
        ("metadata.name=x,status.phase!=Running", [("metadata.name", "=", "x"), ("status.phase", "!=", "Running")]),
        ("a==b", [("a", "=", "b")]),
        ("a=", [("a", "=", "")]),
        (r"a=b\,c\=d\\", [("a", "=", "b,c=d\\")]),
        (",a=b,", [("a", "=", "b")]),
    ],
)
def test_field_selector(text: str, requirements: list[tuple[str, str, str]]) -> None:
    selector = parse_field_selector(text)
    assert selector.requirements == requirements
    assert parse_field_selector(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "invalid selector: 'foo'; can't understand 'foo'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=b\\x", "invalid field selector: invalid escape sequence: \\x"),
    ],
)
def test_field_selector_errors(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_field_selector(text)
    assert caught.value.message == message


def test_field_selector_matches_and_refuses_unknown_fields() -> None:
    selector = parse_field_selector("spec.nodeName=n1,status.phase!=Failed")
    assert selector.matches({"spec.nodeName": "n1"})
    assert not selector.matches({"spec.nodeName": "n1", "status.phase": "Failed"}.__getitem__)
    assert selector.exact_match("spec.nodeName") == "n1"
    assert selector.exact_match("status.phase") is None
    with pytest.raises(BadRequest, match=r"^field label not supported: spec\.nodeName$"):
        selector.check_supported({"metadata.name", "status.phase"})
