"""Regular expressions with the semantics of RE2, which Go and so Kubernetes use: linear time, no look-around.

Owns the matching of `pattern` in schemas. RE2 comes with the CEL library, which is only imported when the
first pattern is met. Mirrors Go's regexp as k8s.io/kube-openapi/pkg/validation uses it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

_PATTERNS_MAX = 4096


@lru_cache(maxsize=1)
def _environment() -> Any:
    from cel_expr_python import cel

    return cel.NewEnv(variables={"text": cel.Type.STRING})


@lru_cache(maxsize=_PATTERNS_MAX)
def _program(pattern: str) -> Any:
    # A JSON string is a CEL string literal, once characters beyond the basic plane are left as they are.
    return _environment().compile(f"text.matches({json.dumps(pattern, ensure_ascii=False)})")


def is_match(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text; ValueError when it is no RE2 expression."""
    result = _program(pattern).eval(data={"text": text})
    value = result.value()
    if isinstance(value, bool):
        return value
    raise ValueError(_why(str(value)))


def complaint_about(pattern: str) -> str:
    """Why a text is no regular expression, in Go's words where they are known; empty when it is one."""
    try:
        is_match(pattern, "")
    except (ValueError, RuntimeError) as error:
        return f"error parsing regexp: {_why(str(error))}"
    return ""


def _why(text: str) -> str:
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    return text.removeprefix("invalid regular expression: ").removeprefix("Invalid regex: ")
