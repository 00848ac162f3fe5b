"""JSON paths of columns and fields."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.structural.json_path import BadPath, compile_path, plain_fields

OBJECT = {
    "spec": {"a.b": 1, "list": [{"type": "X", "n": 1}, {"type": "Ready", "n": 5}], "s": "text"},
    "metadata": {"labels": {"app.kubernetes.io/name": "n"}},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.s", ["text"]),
        ("{.spec.s}", ["text"]),
        (".spec['a.b']", [1]),
        (".spec.a\\.b", [1]),
        (".metadata.labels.app\\.kubernetes\\.io/name", ["n"]),
        (".spec.list[0].type", ["X"]),
        (".spec.list[-1].type", ["Ready"]),
        (".spec.list[*].type", ["X", "Ready"]),
        ('.spec.list[?(@.type=="Ready")].n', [5]),
        (".spec.list[?(@.n > 3)].type", ["Ready"]),
        (".spec.list[?(@.n != 1)].type", ["Ready"]),
        (".spec.nope.deeper", []),
        (".spec.s.deeper", []),
        (".spec.list[7].type", []),
    ],
)
def test_paths(path: str, expected: list[Any]) -> None:
    assert compile_path(path)(OBJECT) == expected


@pytest.mark.parametrize("path", ["spec", ".a[", ".a[?(]", ".a..b[x]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(BadPath):
        compile_path(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [(".spec.a", ["spec", "a"]), (".m['x.y'].z", ["m", "x.y", "z"]), (".a[0]", None), ("a", None), ("", [])],
)
def test_plain_fields(path: str, expected: list[str] | None) -> None:
    assert plain_fields(path) == expected
