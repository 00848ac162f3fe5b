"""Messages of Go's JSON decoder (encoding/json)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.json_syntax import syntax_problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b'{"a":1', "unexpected end of JSON input"),
        (b"apiVersion: v1", "invalid character 'a' looking for beginning of value"),
        (b"'a'", r"invalid character '\'' looking for beginning of value"),
        (b"{a: 1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"{} {}", "invalid character '{' after top-level value"),
        (b"truth", "invalid character 't' in literal true (expecting 'e')"),
        (b"-a", "invalid character 'a' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b"01", "invalid character '1' after top-level value"),
        (b'"a\nb"', r"invalid character '\n' in string literal"),
        (rb'"\x"', "invalid character 'x' in string escape code"),
        (rb'"\u00g0"', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"[" * 10_001, "exceeded max depth"),
    ],
)
def test_what_is_wrong(text: bytes, problem: str) -> None:
    assert syntax_problem(text) == problem


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(VALUES)
def test_nothing_is_wrong_with_json(value: object) -> None:
    assert syntax_problem(json.dumps(value).encode()) == ""
    assert syntax_problem(json.dumps(value, indent=1).encode()) == ""


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn\\ ', max_size=12))
def test_it_agrees_with_a_parser_on_what_is_json(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda name: 1 / 0)
        is_json = True
    except (ValueError, ZeroDivisionError):
        is_json = False
    assert (syntax_problem(text.encode()) == "") == is_json
