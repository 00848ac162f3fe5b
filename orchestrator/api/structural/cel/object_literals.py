"""Typed literals of mutating policies, as maps: `Object.spec{replicas: 3}` becomes `{"replicas": 3}`; pure.

In kube-apiserver `Object` and its fields are types made from the kind's schema, and `JSONPatch` is one of its own.
The CEL library has no types that come and go at run time, so literals lose their type here and the object that they
describe is checked against the schema afterwards. Source: KEP-3962.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.structural.cel.tokens import CLOSING, OPENING, Token, tokenize


def without_types(expression: str) -> str:
    """The expression with maps in place of typed literals; anything else to the letter."""
    tokens = tokenize(expression)
    literals = _typed_literals(tokens)
    dropped = {position for start, brace in literals.items() for position in range(start, brace)}
    braces = set(literals.values())
    out: list[str] = []
    nesting: list[bool] = []
    before = previous = ""
    for position, (kind, text) in enumerate(tokens):
        if position in dropped:
            continue
        if kind == "other" and text in OPENING:
            nesting.append(position in braces)
        elif kind == "other" and text in CLOSING and nesting:
            nesting.pop()
        elif kind == "name" and nesting and nesting[-1] and _begins_field(before, previous):
            text = f'"{text}"'
        out.append(text)
        if kind != "space":
            before, previous = previous, text
    return "".join(out)


def _begins_field(before: str, previous: str) -> bool:
    """Whether a name after these two tokens is that of a field: `{name`, `, name`, or with `?` an optional one."""
    return previous in ("{", ",") or (previous == "?" and before in ("{", ","))


def _typed_literals(tokens: Sequence[Token]) -> dict[int, int]:
    """Position of the first token of each `Object.a.b{` or `JSONPatch{`, and that of its brace."""
    found: dict[int, int] = {}
    before = ""
    for start, (kind, text) in enumerate(tokens):
        if kind == "name" and text in ("Object", "JSONPatch") and before != ".":
            end = start + 1
            while text == "Object" and [one for one, _ in tokens[end : end + 2]] == ["other", "name"]:
                if tokens[end][1] != ".":
                    break
                end += 2
            while end < len(tokens) and tokens[end][0] == "space":
                end += 1
            if end < len(tokens) and tokens[end] == ("other", "{"):
                found[start] = end
        if kind != "space":
            before = text
    return found
