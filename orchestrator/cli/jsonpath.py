"""kubectl's JSONPath templates: `-o jsonpath=...` and the paths of `custom-columns` and `--sort-by`.

This dialect is kubectl's own (templates with `{range}` and literal text, `\\.` in names, relative
paths without `$`), documented in the JSONPath page of the kubectl reference; libraries for RFC 9535 refuse
much of it. Pure: a template is parsed once into steps, and applied to JSON values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

Step = Callable[[list[Any]], list[Any]]
DEPTH_MAX: Final = 32


class JSONPathError(ValueError):
    """The template is not understood, or it does not fit the data."""


class _Text(NamedTuple):
    text: str


class _Path(NamedTuple):
    steps: tuple[Step, ...]


class _Range(NamedTuple):
    path: _Path
    body: tuple[Any, ...]


class Template:
    """A parsed template."""

    def __init__(self, source: str) -> None:
        self._nodes, rest = _parse_nodes(_tokens(source), depth=0)
        if rest is not None:
            raise JSONPathError("not in range, nothing to end")

    def render(self, value: Any) -> str:
        """The text that the template makes of a JSON value; JSONPathError for an index that does not exist."""
        return "".join(_render(self._nodes, value))


def _render(nodes: Sequence[Any], value: Any) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, _Text):
            yield node.text
        elif isinstance(node, _Range):
            for item in find(node.path.steps, value):
                yield from _render(node.body, item)
        else:
            yield " ".join(text_of(each) for each in find(node.steps, value))


def text_of(value: Any) -> str:
    """A result as kubectl prints it: texts plainly, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    """("text", ...) and ("action", ...) parts; an action is what stands inside braces."""
    position = 0
    while position < len(source):
        start = source.find("{", position)
        if start < 0:
            yield "text", source[position:]
            return
        if start > position:
            yield "text", source[position:start]
        end = _closing(source, start + 1, "}")
        if end < 0:
            raise JSONPathError("unclosed action")
        yield "action", source[start + 1 : end].strip()
        position = end + 1


def _closing(source: str, position: int, wanted: str) -> int:
    """Where the wanted bracket stands, outside of quotes and nested brackets; -1 when it is missing."""
    depth, quote = 0, ""
    while position < len(source):
        character = source[position]
        if character == "\\":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == wanted and depth == 0:
            return position
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        position += 1
    return -1


def _parse_nodes(tokens: Iterator[tuple[str, str]], *, depth: int) -> tuple[tuple[Any, ...], str | None]:
    if depth > DEPTH_MAX:
        raise JSONPathError(f"more than {DEPTH_MAX} nested ranges")
    nodes: list[Any] = []
    for kind, text in tokens:
        if kind == "text":
            nodes.append(_Text(text))
        elif text == "end":
            return tuple(nodes), text
        elif text == "range" or text.startswith("range "):
            body, end = _parse_nodes(tokens, depth=depth + 1)
            if end is None:
                raise JSONPathError("unexpected EOF: a range without {end}")
            nodes.append(_Range(_Path(parse_path(text[len("range") :])), body))
        else:
            nodes += _parse_action(text)
    return tuple(nodes), None


def _parse_action(text: str) -> Iterator[Any]:
    """One action: quoted texts and paths, one after the other."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif text[position] in "'\"":
            end = _closing_quote(text, position)
            yield _Text(_unquoted(text[position : end + 1]))
            position = end + 1
        else:
            end = _end_of_path(text, position)
            yield _Path(parse_path(text[position:end]))
            position = end


def _closing_quote(text: str, start: int) -> int:
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == text[start]:
            return position
        position += 1
    raise JSONPathError("unterminated quoted string")


def _end_of_path(text: str, position: int) -> int:
    while position < len(text) and not text[position].isspace():
        if text[position] == "\\":
            position += 1
        elif text[position] == "[":
            position = _closing(text, position + 1, "]")
            if position < 0:
                raise JSONPathError("unterminated array")
        position += 1
    return position


_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), text[1:-1])


_NAME: Final = re.compile(r"(?:\\.|[^\s.\[\]{}()'\"\\,])+")
_NUMBER: Final = re.compile(r"-?\d+")


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of one path such as `.items[*].metadata.name`; JSONPathError when it is not one."""
    steps: list[Step] = []
    rest = text.strip().lstrip("$@")
    while rest:
        if rest.startswith(".."):
            steps.append(_descendants)
            rest = rest[2:] if rest[2:3] != "[" else rest[1:]
            if rest.startswith(".["):
                rest = rest[1:]
            elif not rest.startswith(("*", "[")):
                rest = f".{rest}"
        elif rest.startswith((".*", "*")):
            steps.append(_children)
            rest = rest.lstrip(".")[1:]
        elif rest.startswith(".["):
            rest = rest[1:]
        elif rest == ".":
            rest = ""
        elif rest.startswith("["):
            end = _closing(rest, 1, "]")
            if end < 0:
                raise JSONPathError("unterminated array")
            steps.append(_bracket(rest[1:end].strip()))
            rest = rest[end + 1 :]
        else:
            match = _NAME.match(rest, 1 if rest.startswith(".") else 0)
            if match is None:
                raise JSONPathError(f"unrecognized character in action: {rest[:1]!r}")
            steps.append(_field(re.sub(r"\\(.)", r"\1", match[0])))
            rest = rest[match.end() :]
    return tuple(steps)


def find(steps: Sequence[Step], value: Any) -> list[Any]:
    """Every value that the path leads to; a field that is missing leads nowhere."""
    values = [value]
    for step in steps:
        values = step(values)
    return values


def _field(name: str) -> Step:
    def step(values: list[Any]) -> list[Any]:
        return [value[name] for value in values if isinstance(value, dict) and name in value]

    return step


def _children(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found


def _descendants(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    pending = list(reversed(values))
    while pending:
        value = pending.pop()
        found.append(value)
        pending += reversed(_children([value]))
    return found


def _bracket(text: str) -> Step:
    if text.startswith("?"):
        return _filter(text[1:].strip())
    if text == "*" or text == "":
        return _children
    parts = [part.strip() for part in _split(text, ",")]
    if len(parts) > 1:
        steps = [_bracket(part) for part in parts]
        return lambda values: [found for value in values for step in steps for found in step([value])]
    if text[0] in "'\"" and text[-1] == text[0]:
        return _field(_unquoted(text))
    if ":" in text:
        return _slice(text)
    if not _NUMBER.fullmatch(text):
        raise JSONPathError(f"invalid array index {text}")
    return _index(int(text))


def _split(text: str, separator: str) -> list[str]:
    parts, start, position, quote = [], 0, 0, ""
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == separator:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _index(index: int) -> Step:
    def step(values: list[Any]) -> list[Any]:
        found = []
        for value in values:
            if not isinstance(value, list):
                raise JSONPathError(f"{text_of(value)[:80]} is not array or slice")
            if not -len(value) <= index < len(value):
                raise JSONPathError(f"array index out of bounds: index {index}, length {len(value)}")
            found.append(value[index])
        return found

    return step


def _slice(text: str) -> Step:
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 3 or not all(part == "" or _NUMBER.fullmatch(part) for part in parts):
        raise JSONPathError(f"invalid array index {text}")
    bounds = slice(*(int(part) if part else None for part in parts))
    if bounds.step is not None and bounds.step <= 0:
        raise JSONPathError("step must be > 0")
    return lambda values: [item for value in values if isinstance(value, list) for item in value[bounds]]


_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<=": lambda left, right: bool(left <= right),
    ">=": lambda left, right: bool(left >= right),
    "<": lambda left, right: bool(left < right),
    ">": lambda left, right: bool(left > right),
}


def _filter(text: str) -> Step:
    if not (text.startswith("(") and text.endswith(")")):
        raise JSONPathError(f"unrecognized filter: {text}")
    inner = text[1:-1].strip()
    match = re.match(r"((?:\\.|\[[^\]]*\]|'[^']*'|\"[^\"]*\"|[^=!<>])+)(==|!=|<=|>=|<|>)(.+)$", inner, re.DOTALL)
    if match is None:
        steps = parse_path(inner)
        return lambda values: [item for item in _children(values) if find(steps, item)]
    left, compare, right = _operand(match[1]), _OPERATORS[match[2]], _operand(match[3])

    def accepts(item: Any) -> bool:
        one, other = left(item), right(item)
        if len(one) > 1 or len(other) > 1:
            raise JSONPathError("can only compare one element at a time")
        if not one or not other:
            return False
        try:
            return compare(one[0], other[0])
        except TypeError:
            return False

    return lambda values: [item for item in _children(values) if accepts(item)]


def _operand(text: str) -> Callable[[Any], list[Any]]:
    text = text.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        literal: Any = _unquoted(text)
    elif text in ("true", "false"):
        literal = text == "true"
    else:
        try:
            literal = int(text) if _NUMBER.fullmatch(text) else float(text)
        except ValueError:
            steps = parse_path(text)
            return lambda item: find(steps, item)
    return lambda _item: [literal]
