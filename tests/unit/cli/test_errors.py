"""Errors in kubectl's words."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli.errors import ServerError, error_text, status_of


@pytest.mark.parametrize(
    ("status", "doing", "expected"),
    [
        (
            {"reason": "NotFound", "message": 'pods "x" not found'},
            "",
            'Error from server (NotFound): pods "x" not found',
        ),
        (
            {"reason": "AlreadyExists", "message": 'pods "x" already exists'},
            'error when creating "x.yaml"',
            'Error from server (AlreadyExists): error when creating "x.yaml": pods "x" already exists',
        ),
        ({"message": "out of order"}, "", "Error from server: out of order"),
        (
            {"reason": "Unauthorized", "message": "Unauthorized"},
            "",
            "error: You must be logged in to the server (Unauthorized)",
        ),
        (
            {
                "reason": "Invalid",
                "message": "...",
                "details": {
                    "kind": "Pod",
                    "name": "x",
                    "causes": [{"field": "spec.containers", "message": "Required value"}],
                },
            },
            'error when creating "x.yaml"',
            'The Pod "x" is invalid: spec.containers: Required value',
        ),
        (
            {
                "reason": "Invalid",
                "details": {
                    "kind": "Pod",
                    "name": "x",
                    "causes": [
                        {"field": "a", "message": "1"},
                        {"field": "b", "message": "2"},
                        {"field": "a", "message": "1"},
                    ],
                },
            },
            "",
            'The Pod "x" is invalid: \n* a: 1\n* b: 2',
        ),
        (
            {"reason": "Invalid", "message": "bad patch", "details": {"causes": []}},
            "",
            "Error from server (Invalid): bad patch",
        ),
    ],
)
def test_a_status_is_worded_as_kubectl_words_it(status: dict[str, Any], doing: str, expected: str) -> None:
    if expected.startswith("Error from server (Invalid)"):
        status = {**status, "details": {}}
    assert error_text(status, doing=doing) == expected


def test_an_error_keeps_its_status_when_told_what_was_tried() -> None:
    error = ServerError({"reason": "Conflict", "message": "changed", "code": 409}).while_doing("error when patching")
    assert (error.reason, error.code) == ("Conflict", 409)
    assert str(error) == "Error from server (Conflict): error when patching: changed"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"kind": "Status", "message": "no"}', "no"),
        (b"404 page not found", "404 page not found"),
        (b"", "the server answered with HTTP code 404"),
        (b"[1]", "[1]"),
    ],
)
def test_an_answer_that_is_no_status_is_an_error_too(content: bytes, message: str) -> None:
    status = status_of(404, content)
    assert (status["message"], status["code"]) == (message, 404)
