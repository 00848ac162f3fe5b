"""Label selectors and field selectors: parsing, matching, and what an index can use of them.

Owns the two grammars and their error messages. Never knows which fields a kind can be selected by;
callers ask `FieldSelector.check_supported` with their list. Parsed selectors are shared through bounded
caches and are immutable. Mirrors k8s.io/apimachinery/pkg/labels and pkg/fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from .errors import BadRequest
from .fields import invalid, quote
from .names import is_label_key, is_label_value

_SELECTOR_CACHE_SIZE = 4096
_REMEMBERED_CHARACTERS_MAX = 4096
"""Of a selector: longer ones are rare, and may be as long as a request."""

IN: Final = "in"
NOT_IN: Final = "notin"
EQUALS: Final = "="
DOUBLE_EQUALS: Final = "=="
NOT_EQUALS: Final = "!="
EXISTS: Final = "exists"
DOES_NOT_EXIST: Final = "!"
GREATER_THAN: Final = "gt"
LESS_THAN: Final = "lt"

_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_PRINTED = {EQUALS: "=", DOUBLE_EQUALS: "==", NOT_EQUALS: "!=", GREATER_THAN: ">", LESS_THAN: "<"}
_OPERATOR_TOKENS = {
    "in": IN, "notin": NOT_IN, "=": EQUALS, "==": DOUBLE_EQUALS, "!=": NOT_EQUALS, ">": GREATER_THAN, "<": LESS_THAN,
}  # fmt: skip
_EXPRESSION_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}
_INT64 = re.compile(r"[+-]?[0-9]+")


class Requirement(NamedTuple):
    """One term of a label selector; `values` is sorted and without duplicates."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil the term."""
        key, operator, values = self
        if operator in (EQUALS, DOUBLE_EQUALS, IN):
            return key in labels and labels[key] in values
        if operator in (NOT_EQUALS, NOT_IN):
            return key not in labels or labels[key] not in values
        if operator == EXISTS:
            return key in labels
        if operator == DOES_NOT_EXIST:
            return key not in labels
        if key not in labels:
            return False
        actual, wanted = _int64(labels[key]), _int64(values[0])
        if actual is None or wanted is None:
            return False
        return actual > wanted if operator == GREATER_THAN else actual < wanted

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == DOES_NOT_EXIST:
            return f"!{self.key}"
        values = ",".join(self.values)
        if self.operator in (IN, NOT_IN):
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{_PRINTED[self.operator]}{values}"


class LabelSelector:
    """A conjunction of requirements on labels; `nothing` matches no object at all."""

    __slots__ = ("_equal", "_other", "is_nothing", "requirements")

    def __init__(self, requirements: tuple[Requirement, ...] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda requirement: requirement.key))
        self.is_nothing = nothing
        equal: dict[str, str] = {}
        other: list[Requirement] = []
        for requirement in self.requirements:
            single = requirement.operator in (EQUALS, DOUBLE_EQUALS, IN) and len(requirement.values) == 1
            if single and equal.get(requirement.key, requirement.values[0]) == requirement.values[0]:
                equal[requirement.key] = requirement.values[0]
            else:
                other.append(requirement)
        self._equal = equal.items()
        self._other = tuple(other)

    @property
    def is_everything(self) -> bool:
        """Whether every object matches."""
        return not self.requirements and not self.is_nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        if self.is_nothing:
            return False
        if self._equal and not self._equal <= labels.items():
            return False
        for requirement in self._other:  # noqa: SIM110 - a generator would double the time of the common case
            if not requirement.matches(labels):
                return False
        return True

    def exact_match(self, key: str) -> str | None:
        """The only value of this label that an object can have to be selected, if there is just one."""
        for requirement in self.requirements:
            if (
                requirement.key == key
                and requirement.operator in (EQUALS, DOUBLE_EQUALS, IN)
                and len(requirement.values) == 1
            ):
                return requirement.values[0]
        return None

    def exact_matches(self) -> dict[str, str]:
        """Every label for which only one value is possible: what an index on labels can look up."""
        return dict(self._equal)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"LabelSelector({'<nothing>' if self.is_nothing else str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LabelSelector)
            and self.requirements == other.requirements
            and self.is_nothing == other.is_nothing
        )

    def __hash__(self) -> int:
        return hash((self.requirements, self.is_nothing))


EVERYTHING: Final = LabelSelector()
NOTHING: Final = LabelSelector(nothing=True)


def _int64(text: str) -> int | None:
    if not _INT64.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


# --- label selectors as text -------------------------------------------------------------------

_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<symbol>[=!(),><]+)|(?P<word>[^ \t\r\n=!(),><\0]+))")
_SYMBOLS = (")", ",", "!", "==", "=", ">", "<", "!=", "(")
_END = ""
_WORD = "word"


def _tokens(text: str) -> list[tuple[str, str]]:
    """Pairs of token type and literal; types are the symbols themselves, `in`, `notin`, `word` or the end."""
    found: list[tuple[str, str]] = []
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        word = match["word"]
        if word is not None:
            found.append((word if word in ("in", "notin") else _WORD, word))
            continue
        run = match["symbol"]
        while run:
            # the longest operator that the run of symbols begins with
            symbol = run[:2] if run[:2] in _SYMBOLS else run[:1]
            found.append((symbol, symbol))
            run = run[len(symbol) :]
    found.append((_END, ""))
    return found


class _ParseError(Exception):
    pass


class _LabelParser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._position = 0

    def _peek(self, *, value: bool = True) -> tuple[str, str]:
        kind, literal = self._tokens[min(self._position, len(self._tokens) - 1)]
        return (_WORD, literal) if value and kind in ("in", "notin") else (kind, literal)

    def _next(self, *, value: bool = True) -> tuple[str, str]:
        token = self._peek(value=value)
        self._position += 1
        return token

    def parse(self) -> tuple[Requirement, ...]:
        requirements: list[Requirement] = []
        while True:
            kind, literal = self._peek()
            if kind == _END:
                return tuple(requirements)
            if kind not in (_WORD, "!"):
                raise BadRequest(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except _ParseError as error:
                raise BadRequest(f"unable to parse requirement: {error}") from None
            kind, literal = self._next()
            if kind == _END:
                return tuple(requirements)
            if kind != ",":
                raise BadRequest(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self._peek()
            if kind not in (_WORD, "!"):
                raise BadRequest(f"found '{literal}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        kind, key = self._next()
        negated = kind == "!"
        if negated:
            kind, key = self._next()
        if kind != _WORD:
            raise _ParseError(f"found '{key}', expected: identifier")
        if complaints := is_label_key(key):
            raise _ParseError(f"<nil>: {invalid('', key, '; '.join(complaints)).message}")
        if negated or self._peek()[0] in (_END, ","):
            return Requirement(key, DOES_NOT_EXIST if negated else EXISTS)
        kind, literal = self._next(value=False)
        operator = _OPERATOR_TOKENS.get(kind)
        if operator is None:
            raise _ParseError(f"found '{literal}', expected: {_BINARY_OPERATORS}")
        values = self._value_list() if operator in (IN, NOT_IN) else self._exact_value()
        complaint = requirement_complaint(key, operator, values)
        if complaint:
            raise _ParseError(complaint)
        return Requirement(key, operator, tuple(sorted(values)))

    def _exact_value(self) -> set[str]:
        if self._peek()[0] in (_END, ","):
            return {""}
        kind, literal = self._next()
        if kind != _WORD:
            raise _ParseError(f"found '{literal}', expected: identifier")
        return {literal}

    def _value_list(self) -> set[str]:
        kind, literal = self._next()
        if kind != "(":
            raise _ParseError(f"found '{literal}' expected: '('")
        kind, literal = self._peek()
        if kind == ")":
            self._next()
            return {""}
        if kind not in (_WORD, ","):
            raise _ParseError(f"found '{literal}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            kind, literal = self._next()
            following, following_literal = self._peek()
            if kind == _WORD:
                values.add(literal)
                if following == ")":
                    self._next()
                    return values
                if following != ",":
                    raise _ParseError(f"found '{following_literal}', expected: ',' or ')'")
            elif kind == ",":
                if not values:
                    values.add("")
                if following in (")", ","):
                    values.add("")
                if following == ")":
                    self._next()
                    return values
            else:
                raise _ParseError(f"found '{literal}', expected: ',', or identifier")


def requirement_complaint(key: str, operator: str, values: Collection[str]) -> str:
    """Why a term of a label selector is not valid, as `field: message`; empty when it is."""
    complaints: list[str] = []

    def add(path: str, value: Any, detail: str) -> None:
        complaints.append(f"{path}: {invalid(path, value, detail).message}")

    if problems := is_label_key(key):
        add("key", key, "; ".join(problems))
    if operator in (IN, NOT_IN):
        if not values:
            add("values", [], "for 'in', 'notin' operators, values set can't be empty")
    elif operator in (EXISTS, DOES_NOT_EXIST):
        if values:
            add("values", list(values), "values set must be empty for exists and does not exist")
    elif operator in (GREATER_THAN, LESS_THAN):
        if len(values) != 1:
            add("values", list(values), "for 'Gt', 'Lt' operators, exactly one value is required")
        for position, value in enumerate(values):
            if _int64(value) is None:
                add(f"values[{position}]", value, "for 'Gt', 'Lt' operators, the value must be an integer")
    elif len(values) != 1:
        add("values", list(values), "exact-match compatibility requires one single value")
    for position, value in enumerate(values):
        if problems := is_label_value(value):
            add(f"values[{position}][{key}]", value, "; ".join(problems))
    if len(complaints) > 1:
        return "[" + ", ".join(complaints) + "]"
    return complaints[0] if complaints else ""


def parse_label_selector(text: str) -> LabelSelector:
    """The selector that `a=b,c!=d,e in (x,y),!f,g,h>1` stands for; BadRequest when it is malformed."""
    parse = _parse_labels if len(text) <= _REMEMBERED_CHARACTERS_MAX else _parse_labels.__wrapped__
    return parse(text)


@lru_cache(maxsize=_SELECTOR_CACHE_SIZE)
def _parse_labels(text: str) -> LabelSelector:
    if not text:
        return EVERYTHING
    requirements = _LabelParser(text).parse()
    return LabelSelector(requirements) if requirements else EVERYTHING


# --- label selectors as objects ----------------------------------------------------------------


@lru_cache(maxsize=_SELECTOR_CACHE_SIZE)
def _from_encoded(encoded: bytes) -> LabelSelector:
    selector = orjson.loads(encoded)
    requirements = [Requirement(key, EQUALS, (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _EXPRESSION_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise BadRequest(f"{quote(expression.get('operator', ''))} is not a valid label selector operator")
        values = expression.get("values") or []
        complaint = requirement_complaint(expression.get("key", ""), operator, values)
        if complaint:
            raise BadRequest(complaint)
        requirements.append(Requirement(expression.get("key", ""), operator, tuple(sorted(set(values)))))
    return LabelSelector(tuple(requirements)) if requirements else EVERYTHING


def from_label_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector of a `metav1.LabelSelector`: None selects nothing, an empty one everything.

    BadRequest when an expression is malformed.
    """
    if selector is None:
        return NOTHING
    encoded = orjson.dumps(selector)
    read = _from_encoded if len(encoded) <= _REMEMBERED_CHARACTERS_MAX else _from_encoded.__wrapped__
    return read(encoded)


def from_labels(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector that wants exactly these labels (`spec.selector` of a Service); empty selects everything."""
    if not labels:
        return EVERYTHING
    return _from_encoded(orjson.dumps({"matchLabels": labels}))


# --- field selectors ---------------------------------------------------------------------------


class FieldSelector:
    """A conjunction of `field = value` and `field != value`."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: list[tuple[str, str, str]] | None = None) -> None:
        self.requirements: list[tuple[str, str, str]] = requirements or []
        """(field, `=` or `!=`, value); shared, do not modify."""

    @property
    def is_everything(self) -> bool:
        """Whether every object matches."""
        return not self.requirements

    def matches(self, fields: Mapping[str, str] | Callable[[str], str]) -> bool:
        """Whether an object with these fields is selected; a field that is absent counts as empty."""
        for field, operator, value in self.requirements:
            actual = fields(field) if callable(fields) else fields.get(field, "")
            if (actual == value) != (operator == EQUALS):
                return False
        return True

    def exact_match(self, field: str) -> str | None:
        """The value that this field must have, if the selector names one: what an index can look up."""
        for name, operator, value in self.requirements:
            if name == field and operator == EQUALS:
                return value
        return None

    def check_supported(self, supported: Collection[str], *, default_message: bool = False) -> None:
        """BadRequest when a field is used that the kind cannot be selected by.

        `default_message`: the wording for kinds with no selectable fields of their own.
        """
        for field, _, _ in self.requirements:
            if field in supported:
                continue
            if default_message:
                raise BadRequest(
                    f'{quote(field)} is not a known field selector: only "metadata.name", "metadata.namespace"'
                )
            raise BadRequest(f"field label not supported: {field}")

    def __str__(self) -> str:
        return ",".join(f"{field}{operator}{_escape(value)}" for field, operator, value in self.requirements)

    def __repr__(self) -> str:
        return f"FieldSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSelector) and self.requirements == other.requirements

    def __hash__(self) -> int:
        return hash(tuple(self.requirements))


EVERY_FIELD: Final = FieldSelector()

_FIELD_OPERATOR = re.compile(r"!=|==|=")


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    if not any(char in value for char in "\\,="):
        return value
    out: list[str] = []
    escaped = False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{char}")
            out.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            out.append(char)
    if escaped:
        raise BadRequest("invalid field selector: invalid escape sequence: \\")
    return "".join(out)


def _split_terms(text: str) -> list[str]:
    terms: list[str] = []
    start = position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == ",":
            terms.append(text[start:position])
            start = position + 1
        position += 1
    terms.append(text[start:])
    return terms


def parse_field_selector(text: str) -> FieldSelector:
    r"""The selector that `metadata.name=x,status.phase!=Running` stands for; `\` escapes `,`, `=` and itself.

    BadRequest when it is malformed.
    """
    parse = _parse_fields if len(text) <= _REMEMBERED_CHARACTERS_MAX else _parse_fields.__wrapped__
    return parse(text)


@lru_cache(maxsize=_SELECTOR_CACHE_SIZE)
def _parse_fields(text: str) -> FieldSelector:
    requirements: list[tuple[str, str, str]] = []
    for term in sorted(_split_terms(text)):
        if not term:
            continue
        match = _FIELD_OPERATOR.search(term)
        if match is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        operator = NOT_EQUALS if match[0] == "!=" else EQUALS
        requirements.append((term[: match.start()], operator, _unescape(term[match.end() :])))
    return FieldSelector(requirements) if requirements else EVERY_FIELD


def exact_match(selector: LabelSelector | FieldSelector, name: str) -> str | None:
    """The only value of a label or field that can be selected, if there is just one."""
    return selector.exact_match(name)
