"""What the CEL library lacks, written in what it has: comprehensions with two variables, and optional results; pure.

    list.all(i, v, p)  exists  existsOne  transformList(i, v, [p,] t)  transformMap(k, v, [p,] t)
    transformMapEntry(k, v, [p,] {k: t})  format.validate(text)  format.named(name)

A macro becomes a loop over the positions or keys of its list or map, which binds the value to the second variable;
what returns an optional becomes `optional.ofNonZeroValue` around a function that returns nothing or something.
Source: the two-variable comprehensions of cel-go's extensions and k8s.io/apiserver/pkg/cel/library.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.api.structural.cel.tokens import Token, joined, nesting, tokenize

_ARGUMENTS = {
    "all": (3,), "exists": (3,), "existsOne": (3,), "transformList": (3, 4), "transformMap": (3, 4),
    "transformMapEntry": (3, 4), "validate": (1,), "named": (1,),
}  # fmt: skip
_MENTIONED = re.compile(r"\b(?:" + "|".join(_ARGUMENTS) + r")\s*\(")


def expand(expression: str) -> str:
    """The expression without macros that the library does not know; the same text where there are none."""
    if not _MENTIONED.search(expression):
        return expression
    return _Expansion().expand(tokenize(expression))


Tokens = Sequence[Token]


class _Expansion:
    """One expression; numbers the lists that it binds."""

    def __init__(self) -> None:
        self._count = 0

    def expand(self, tokens: Tokens) -> str:
        """Macros from left to right, so that a receiver is expanded before what is called on it."""
        done: list[Token] = []
        position = 0
        while position < len(tokens):
            call = self._call_at(tokens, position, done)
            if call is None:
                done.append(tokens[position])
                position += 1
                continue
            end, start, text = call
            done[start:] = [Token("name", text)]  # as one operand, for what is called on it
            position = end
        return joined(done)

    def _call_at(self, tokens: Tokens, position: int, done: list[Token]) -> tuple[int, int, str] | None:
        """(where the call ends, where its receiver starts in `done`, what it becomes), if a macro is called here."""
        kind, name = tokens[position]
        if kind != "name" or name not in _ARGUMENTS or _last(done) != ".":
            return None
        opening = _skip_space(tokens, position + 1)
        if opening >= len(tokens) or tokens[opening][1] != "(":
            return None
        end = _matching(tokens, opening)
        if end is None:
            return None
        arguments = _split(tokens[opening + 1 : end])
        if len(arguments) not in _ARGUMENTS[name]:
            return None
        dot = max(index for index, token in enumerate(done) if token[1] == ".")
        start = _start_of_operand(done, dot)
        receiver = joined(done[start:dot]).strip()
        if not receiver or (name == "named" and receiver != "format"):
            return None
        expanded = self._replacement(name, receiver, [self.expand(argument).strip() for argument in arguments])
        return None if expanded is None else (end + 1, start, expanded)

    def _replacement(self, name: str, receiver: str, arguments: list[str]) -> str | None:
        if name == "validate":
            return f"optional.ofNonZeroValue(k8s.complaints({receiver}, {arguments[0]}))"
        if name == "named":
            return f"optional.ofNonZeroValue(k8s.format({arguments[0]}))"
        key, value, *rest = arguments
        if not (key.isidentifier() and value.isidentifier()):
            return None
        self._count += 1
        whole = f"k8s_{self._count}"

        def bound(body: str) -> str:
            return f"cel.bind({value}, {whole}[{key}], {body})"

        keys = f"k8s.keys({whole})"
        if len(rest) == 2:
            keys += f".filter({key}, {bound(rest[0])})"
        body = rest[-1]
        loops = {
            "all": f"{keys}.all({key}, {bound(body)})",
            "exists": f"{keys}.exists({key}, {bound(body)})",
            "existsOne": f"{keys}.exists_one({key}, {bound(body)})",
            "transformList": f"{keys}.map({key}, {bound(body)})",
            "transformMap": f"k8s.merged({keys}.map({key}, {{{key}: {bound(body)}}}))",
            "transformMapEntry": f"k8s.merged({keys}.map({key}, {bound(body)}))",
        }
        return f"cel.bind({whole}, {receiver}, {loops[name]})"


def _last(tokens: Tokens) -> str:
    return next((text for kind, text in reversed(tokens) if kind != "space"), "")


def _skip_space(tokens: Tokens, position: int) -> int:
    while position < len(tokens) and tokens[position][0] == "space":
        position += 1
    return position


def _matching(tokens: Tokens, opening: int) -> int | None:
    """Where the bracket that opens here is closed."""
    depth = 0
    for position in range(opening, len(tokens)):
        depth += nesting(tokens[position])
        if depth == 0:
            return position
    return None


def _split(tokens: Tokens) -> list[Tokens]:
    """The arguments between the parentheses of a call."""
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += nesting(token)
        if token == ("other", ",") and depth == 0:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return [argument for argument in arguments if any(token.kind != "space" for token in argument)]


def _start_of_operand(tokens: Tokens, end: int) -> int:
    """Where the operand begins that ends before `end`: `a.b[c].d(e)`, `(a + b)`, `[a]`, `{a: b}`, `"text"`."""
    position = end
    while True:
        position = _start_of_part(tokens, position)
        dot = _back_over_space(tokens, position) - 1
        if dot > 0 and tokens[dot] == ("other", "?"):
            dot -= 1  # a.?b
        if dot <= 0 or tokens[dot] != ("other", "."):
            return position
        position = dot


def _start_of_part(tokens: Tokens, end: int) -> int:
    """Where the last part of an operand begins, what is between its dots: a name or literal, with calls and indexes."""
    position = end
    while (last := _back_over_space(tokens, position) - 1) >= 0:
        kind, text = tokens[last]
        if kind in ("name", "text", "number"):
            # `in` stands before an operand, as operators do.
            return position if text == "in" else last
        if nesting(tokens[last]) >= 0 or (position < end and text == "}"):
            return position
        position = _opening_of(tokens, last)
    return position


def _back_over_space(tokens: Tokens, position: int) -> int:
    while position > 0 and tokens[position - 1].kind == "space":
        position -= 1
    return position


def _opening_of(tokens: Tokens, closing: int) -> int:
    depth = 0
    for position in range(closing, -1, -1):
        depth -= nesting(tokens[position])
        if depth == 0:
            return position
    return 0
