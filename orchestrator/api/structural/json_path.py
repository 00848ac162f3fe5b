"""The JSON paths of printer columns, selectable fields and scale subresources.

Owns reading and following `.spec.a`, `['b.c']`, `[0]`, `[*]` and `[?(@.type=="Ready")]`. Never writes.
Mirrors the part of k8s.io/client-go/util/jsonpath that CustomResourceDefinitions may use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Step = Callable[[Any], list[Any]]

_NAME = re.compile(r"\.((?:[^.\[\\]|\\.)+)")
_QUOTED = re.compile(r"\[(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\]")
_INDEX = re.compile(r"\[(-?[0-9]+)\]")
_FILTER = re.compile(r"\[\?\(\s*@(\.[^=!<>\s)]+|\[[^\]]+\])\s*(==|!=|<=|>=|<|>)?\s*([^)]*?)\s*\)\]")


class BadPath(ValueError):
    """The text is no JSON path that is supported here."""


@lru_cache(maxsize=4096)
def compile_path(text: str) -> Step:
    """A function from a value to everything that the path finds in it; BadPath when it does not parse."""
    body = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    steps: list[Step] = []
    position = 0
    while position < len(body):
        step, position = _next_step(body, position, text)
        if step is not None:
            steps.append(step)

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [result for item in found for result in step(item)]
        return found

    return find


def _next_step(body: str, position: int, text: str) -> tuple[Step | None, int]:
    if match := _NAME.match(body, position):
        name = re.sub(r"\\(.)", r"\1", match[1])
        return (_all_values if name == "*" else _field(name)), match.end()
    if match := _QUOTED.match(body, position):
        raw = match[1] if match[1] is not None else match[2]
        return _field(re.sub(r"\\(.)", r"\1", raw)), match.end()
    if match := _INDEX.match(body, position):
        return _item(int(match[1])), match.end()
    if body.startswith("[*]", position):
        return _all_values, position + 3
    if match := _FILTER.match(body, position):
        return _filter(compile_path(match[1]), match[2] or "", match[3]), match.end()
    if body == "." or (position == 0 and body == ""):
        return None, len(body)
    raise BadPath(f"unrecognized character in action: {body[position]!r} in {text}")


def _field(name: str) -> Step:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _item(index: int) -> Step:
    def step(value: Any) -> list[Any]:
        return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []

    return step


def _all_values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _filter(left: Step, operator: str, literal: str) -> Step:
    wanted = _literal(literal)

    def step(value: Any) -> list[Any]:
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        return [item for item in items if _holds(left(item), operator, wanted)]

    return step


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _holds(found: list[Any], operator: str, wanted: Any) -> bool:
    if not found:
        return False
    if not operator:
        return True
    value = found[0]
    if operator == "==":
        return bool(value == wanted)
    if operator == "!=":
        return bool(value != wanted)
    numbers = isinstance(value, int | float) and isinstance(wanted, int | float)
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    if operator == "<":
        return bool(value < wanted)
    if operator == "<=":
        return bool(value <= wanted)
    return bool(value > wanted) if operator == ">" else bool(value >= wanted)


_PLAIN_NAME = re.compile(r"\.([A-Za-z_$][\w$-]*)|\['((?:[^'\\]|\\.)*)'\]|\[\"((?:[^\"\\]|\\.)*)\"\]")


def plain_fields(path: str) -> list[str] | None:
    """The names along a path that has nothing but names; None for any other path."""
    names: list[str] = []
    position = 0
    while position < len(path):
        match = _PLAIN_NAME.match(path, position)
        if match is None:
            return None
        names.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    return names
