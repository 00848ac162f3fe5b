"""JSON patch: the operations, their laxness in Kubernetes, their limits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from orchestrator.api.errors import BadRequest, RequestEntityTooLarge
from orchestrator.api.patch import PatchRejected, apply_json_patch

_DOCUMENT: dict[str, Any] = {"a": {"b": 1, "x/y": 2, "m~n": 3}, "l": [1, 2, {"c": 3}]}


def _op(op: str, path: str, **rest: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **rest}


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([_op("add", "/a/z", value=[])], {"a": {"b": 1, "x/y": 2, "m~n": 3, "z": []}, "l": [1, 2, {"c": 3}]}),
        ([_op("add", "/l/1", value=9)], {**_DOCUMENT, "l": [1, 9, 2, {"c": 3}]}),
        ([_op("add", "/l/-", value=9)], {**_DOCUMENT, "l": [1, 2, {"c": 3}, 9]}),
        ([_op("add", "/l/3", value=9)], {**_DOCUMENT, "l": [1, 2, {"c": 3}, 9]}),
        ([_op("remove", "/l/-1")], {**_DOCUMENT, "l": [1, 2]}),
        ([_op("remove", "/a/x~1y"), _op("remove", "/a/m~0n")], {**_DOCUMENT, "a": {"b": 1}}),
        ([_op("replace", "/l/2/c", value=None)], {**_DOCUMENT, "l": [1, 2, {"c": None}]}),
        ([_op("replace", "/new", value=1)], {**_DOCUMENT, "new": 1}),
        ([_op("move", "/l/0", **{"from": "/a/b"})], {"a": {"x/y": 2, "m~n": 3}, "l": [1, 1, 2, {"c": 3}]}),
        (
            [_op("copy", "/k", **{"from": "/l/2"}), _op("add", "/k/d", value=1)],
            {**_DOCUMENT, "k": {"c": 3, "d": 1}},
        ),
        ([_op("test", "/a/b", value=1.0), _op("test", "/nope", value=None)], _DOCUMENT),
    ],
)
def test_operations(ops: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    before = orjson.dumps([_DOCUMENT, ops])
    assert apply_json_patch(_DOCUMENT, ops) == expected
    assert orjson.dumps([_DOCUMENT, ops]) == before


@pytest.mark.parametrize(
    "op",
    [
        _op("add", "/q/r", value=1),
        _op("add", "/l/4", value=1),
        _op("add", "/l/x", value=1),
        _op("add", "", value=1),
        _op("remove", "/nope"),
        _op("remove", "/l/3"),
        _op("replace", "/l/3", value=1),
        _op("test", "/a/b", value=2),
        _op("test", "/a/b", value=True),
        _op("test", "/nope", value=1),
        _op("move", "/z", **{"from": "/nope"}),
        _op("copy", "/z"),
        _op("bogus", "/a"),
        {"op": "add"},
    ],
)
def test_an_operation_that_does_not_apply_refuses_the_patch(op: dict[str, Any]) -> None:
    with pytest.raises(PatchRejected) as caught:
        apply_json_patch(_DOCUMENT, [op])
    status = caught.value.to_status()
    assert (status["code"], status["reason"], status["details"]) == (422, "Invalid", {})
    assert status["message"] == "the server rejected our request due to an error in our request"


def test_limits() -> None:
    with pytest.raises(RequestEntityTooLarge):
        apply_json_patch({}, [_op("test", "/a", value=None)] * 10_001)
    doubling = [_op("copy", f"/{number + 1}", **{"from": f"/{number}"}) for number in range(40)]
    doubling = [
        op for pair in ((op, _op("copy", op["path"] + "/-", **{"from": op["from"]})) for op in doubling) for op in pair
    ]
    with pytest.raises(PatchRejected) as caught:
        apply_json_patch({"0": ["x" * 1000]}, doubling)
    assert "limit" in caught.value.why


@pytest.mark.parametrize("ops", [{}, None, "x", [1]])
def test_what_is_no_patch_is_a_bad_request(ops: Any) -> None:
    with pytest.raises(BadRequest, match="json: cannot unmarshal"):
        apply_json_patch({}, ops)
