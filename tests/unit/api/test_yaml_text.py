"""YAML as Go's library writes it, and as everybody reads it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.api.yaml_text import to_yaml
from orchestrator.cli.manifests import parse_manifest


def test_yaml_has_the_shape_of_kubectls() -> None:
    value = {
        "spec": {"ports": [{"port": 80, "name": "http"}], "args": ["--flag", "true", "1.0", "y", ""]},
        "data": {"script": "first\nsecond\n", "date": "2026-01-01"},
        "empty": {},
        "none": None,
    }
    assert to_yaml(value) == (
        'data:\n  date: "2026-01-01"\n  script: |\n    first\n    second\nempty: {}\nnone: null\n'
        'spec:\n  args:\n  - --flag\n  - "true"\n  - "1.0"\n  - "y"\n  - ""\n  ports:\n  - name: http\n    port: 80\n'
    )


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@example({"\x85\n": None})
@example({"a": "two\nlines \n"})
@given(st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=4))
def test_yaml_reads_back_as_what_was_printed(value: dict[str, Any]) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "content": value}
    text = to_yaml(obj)
    assert yaml.safe_load(text) == obj
    (manifest,) = parse_manifest(text.encode(), "test")
    assert manifest.object == obj


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a: b", "'a: b'"),
        ("#x", "'#x'"),
        ("null", '"null"'),
        ("1e3", '"1e3"'),
        ("yes", '"yes"'),
        ("one\ntwo", "|-\n  one\n  two"),
        (" indented\n", '" indented\\n"'),
    ],
)
def test_how_a_text_is_quoted(text: str, shown: str) -> None:
    assert to_yaml({"a": text}) == f"a: {shown}\n"
