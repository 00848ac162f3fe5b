"""Expressions cut into tokens, for what is rewritten before the CEL library sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>[bBrR]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
OPENING, CLOSING = "([{", ")]}"


class Token(NamedTuple):
    """A piece of an expression; all pieces together are the expression again."""

    kind: str
    """`space` (comments, too), `text` (a string or bytes literal), `name`, `number`, `other` (one character)"""
    text: str


def tokenize(expression: str) -> list[Token]:
    """Every token of an expression."""
    return [Token(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(expression)]


def joined(tokens: Sequence[Token]) -> str:
    """The text of tokens."""
    return "".join(token.text for token in tokens)


def nesting(token: Token) -> int:
    """1 where a bracket opens, -1 where one closes."""
    if token.kind != "other":
        return 0
    return (token.text in OPENING) - (token.text in CLOSING)
