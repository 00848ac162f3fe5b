"""Environment variables out of a file that another container of the pod wrote (`fileKeyRef`, KEP-3721).

Owns the file format, a small part of what a shell reads:

    # a comment
    NAME = 'a value, taken as it is,
    over several lines if need be'

Pure functions. Never opens a file.
"""

from __future__ import annotations

import re

FILE_BYTES_MAX = 64 * 1024
_NAME = re.compile(r"\s*([^\s=#'][^\s=']*)[ \t]*=[ \t]*'")


class EnvFileError(Exception):
    """The text is not an environment file; the message names the line."""


def parse_env_file(text: str) -> dict[str, str]:
    """The variables of a file; a name that comes twice has its last value."""
    variables: dict[str, str] = {}
    position = 0
    while position < len(text):
        end = text.find("\n", position)
        line = text[position : len(text) if end < 0 else end]
        if not line.strip() or line.lstrip().startswith("#"):
            position += len(line) + 1
            continue
        match = _NAME.match(text, position)
        if match is None or "\n" in match[0].lstrip():
            raise EnvFileError(f"line {_line(text, position)}: expected NAME='value'")
        closing = text.find("'", match.end())
        if closing < 0:
            raise EnvFileError(f"line {_line(text, position)}: the value has no closing quote")
        end = text.find("\n", closing)
        rest = text[closing + 1 : len(text) if end < 0 else end]
        if rest.strip():
            raise EnvFileError(f"line {_line(text, closing)}: unexpected text after the closing quote")
        variables[match[1]] = text[match.end() : closing]
        position = closing + 1 + len(rest) + 1
    return variables


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
