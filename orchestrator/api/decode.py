"""From the JSON of a request to the object that the API works with: unknown fields, nulls, types.

Owns what Go's decoder does to a request body at kube-apiserver v1.36: unknown fields are dropped and
named, nulls are unset fields, a value of another type refuses the request, quantities and times take
their canonical text, empty optional lists and maps vanish, as do zeros that mean unset. Never defaults, never
validates values.
Mirrors sigs.k8s.io/json (case-sensitive, strict errors collected) and, for custom resources, the pruning
of k8s.io/apiextensions-apiserver.

A body that needs no change is recognised by a compiled check that allocates nothing and is returned as
it came; only otherwise does the slower walk run that copies and keeps paths.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import orjson

from .contents import ContentMap, content_of
from .errors import BadRequest
from .fields import quote
from .objects import Object
from .quantity import QuantityError, canonical
from .schema import OBJECT_META, Schema, definition
from .zero_values import ZERO_IS_UNSET

FieldValidation = Literal["Ignore", "Warn", "Strict"]

_NONE: frozenset[str] = frozenset()
_STRICT_ERRORS_MAX = 100
"""kube-apiserver stops counting strict errors here."""

_Check = Callable[[Any], bool]


class NotDecodable(BadRequest):
    """The body does not fit the kind; `detail` is the decoder's own text, which patch errors quote."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


_POD_SPEC = "io.k8s.api.core.v1.PodSpec"
_JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_OR_ARRAY, _OR_BOOL, _OR_TEXTS = (f"{_JSON_SCHEMA}Or{other}" for other in ("Array", "Bool", "StringArray"))
_UNIONS = frozenset((_OR_ARRAY, _OR_BOOL, _OR_TEXTS))
"""Either a schema or something else, which the published definitions do not describe."""


# --- the compiled check: is there nothing to do? -------------------------------------------------

_DAY = (
    r"\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
)
"""Every day that each year has; the 29th of February takes the slower way."""
_CANONICAL_TIME = re.compile(_DAY + "Z")
_CANONICAL_MICRO_TIME = re.compile(_DAY + r"\.\d{6}Z")
_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _is_any(value: Any) -> bool:
    return value is not None


def _is_int32(value: Any) -> bool:
    return type(value) is int and -2147483648 <= value <= 2147483647


def _is_int64(value: Any) -> bool:
    return type(value) is int and -9223372036854775808 <= value <= 9223372036854775807


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _is_int_or_string(value: Any) -> bool:
    return type(value) is str or _is_int32(value)


def _is_canonical_quantity(value: Any) -> bool:
    return type(value) is str and _is_canonical_amount(value)


@lru_cache(maxsize=4096)  # the same few amounts stand in most pods, and again in their statuses
def _is_canonical_amount(text: str) -> bool:
    try:
        return canonical(text) == text
    except QuantityError:
        return False


def _is_canonical_time(value: Any) -> bool:
    return type(value) is str and _CANONICAL_TIME.fullmatch(value) is not None


def is_canonical_micro_time(value: Any) -> bool:
    """Whether a value is a `metav1.MicroTime` as the API writes it."""
    return type(value) is str and _CANONICAL_MICRO_TIME.fullmatch(value) is not None


def _is_base64(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(value) % 4 == 0


def _check_of(schema: Schema) -> _Check | type:
    """The compiled check of a node; a bare type means "exactly this type", which the loops test inline."""
    compiled = schema.compiled
    if compiled is None:
        # a recursive definition meets itself while it is being compiled: give it a late-bound check
        schema.compiled = lambda value: _run(schema.compiled, value)
        compiled = schema.compiled = _compile(schema)
    found: _Check | type = compiled
    return found


def _run(check: _Check | type, value: Any) -> bool:
    if isinstance(check, type):
        return type(value) is check
    return check(value)


def _compile(schema: Schema) -> _Check | type:
    kind = schema.kind
    if kind == "object":
        check = _compile_object(schema)
        return _remembered(check) if schema.definition == _POD_SPEC else check
    if kind == "map":
        return _compile_map(schema.values)
    if kind == "list":
        return _compile_list(schema.items)
    if kind == "string":
        return _is_base64 if schema.format == "byte" else str
    if kind == "integer":
        return _is_int32 if schema.format == "int32" else _is_int64
    if kind == "time":
        return is_canonical_micro_time if schema.format == "micro-time" else _is_canonical_time
    if schema.definition in _UNIONS:
        return _compile_union(schema)
    checks: dict[str, _Check | type] = {
        "boolean": bool,
        "number": _is_number,
        "int-or-string": _is_int_or_string,
        "quantity": _is_canonical_quantity,
    }
    return checks.get(kind, _is_any)


def _remembered(check: _Check) -> _Check:
    """The check with what passed it before: most specs of pods and of templates come again."""
    passed: ContentMap[bool] = ContentMap()

    def check_once(value: Any) -> bool:
        content = content_of(value)
        if passed.get(content):
            return True
        is_clean = check(value)
        if is_clean:
            passed.put(content, True)
        return is_clean

    return check_once


def _compile_union(schema: Schema) -> _Check:
    node = definition(_JSON_SCHEMA)
    allows_bool = schema.definition == _OR_BOOL
    return lambda value: (allows_bool and type(value) is bool) or (type(value) is dict and _run(_check_of(node), value))


def _compile_object(schema: Schema) -> _Check:
    checks: dict[str, _Check | type] = {}
    required, omitted = schema.required, ZERO_IS_UNSET.get(schema.definition, _NONE)

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name, child in value.items():
            wanted = checks.get(name)
            if wanted is None:
                node = schema.properties.get(name)
                if node is None:
                    return False
                wanted = _check_of(node)
                if name in omitted or (node.kind in ("list", "map") and name not in required):
                    wanted = _non_empty(wanted)
                elif _keeps_null(schema, node):
                    wanted = _or_null(wanted)
                checks[name] = wanted
            if wanted.__class__ is type:
                if type(child) is not wanted:
                    return False
            elif not wanted(child):
                return False
        return True

    return check


def _non_empty(check: _Check | type) -> _Check:
    """The same check of a field that is not written when it is empty or zero."""
    if isinstance(check, type):
        wanted = check
        return lambda value: type(value) is wanted and bool(value)
    return lambda value: bool(value) and check(value)


def _keeps_null(schema: Schema, node: Schema) -> bool:
    """Whether null is how this field reads when it is unset: times of conditions, which are no pointers in Go."""
    return node.kind == "time" and schema.definition.endswith("Condition")


def _or_null(check: _Check | type) -> _Check:
    return lambda value: value is None or _run(check, value)


def _compile_map(values: Schema | None) -> _Check:
    wanted = _check_of(values) if values is not None else _is_any

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        if wanted.__class__ is type:
            for child in value.values():  # noqa: SIM110 - the loop is half the time of all() with a generator
                if type(child) is not wanted:
                    return False
            return True
        for child in value.values():  # noqa: SIM110
            if not wanted(child):
                return False
        return True

    return check


def _compile_list(items: Schema | None) -> _Check:
    wanted = _check_of(items) if items is not None else _is_any

    def check(value: Any) -> bool:
        if type(value) is not list:
            return False
        if wanted.__class__ is type:
            for child in value:  # noqa: SIM110
                if type(child) is not wanted:
                    return False
            return True
        for child in value:  # noqa: SIM110
            if not wanted(child):
                return False
        return True

    return check


# --- the walk: copy, drop, name, refuse ----------------------------------------------------------


class _Unset:
    """The value of a field that is not there."""


_UNSET = _Unset()


class _Refused(Exception):
    """The body cannot be decoded; the text is the decoder's."""


class _Walk:
    """One decoding: collects unknown fields; the first value of a wrong type ends it."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def decode(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        """The decoded value; `path` names it for strict errors, `struct.go_path` for type errors."""
        kind = schema.kind
        if value is None:
            return _UNSET
        if kind == "object":
            return self._object(value, schema, path, go_path, struct)
        if kind == "map":
            return self._map(value, schema, path, go_path, struct)
        if kind == "list":
            return self._list(value, schema, path, go_path, struct)
        if kind == "string":
            if type(value) is not str:
                raise _wrong_type(value, schema, go_path, struct)
            return _decode_base64(value) if schema.format == "byte" else value
        if kind == "boolean":
            if type(value) is not bool:
                raise _wrong_type(value, schema, go_path, struct)
            return value
        if kind == "integer":
            return _integer(value, schema, go_path, struct)
        if kind == "number":
            if not _is_number(value):
                raise _wrong_type(value, schema, go_path, struct)
            return value
        if kind == "int-or-string":
            return _int_or_string(value)
        if kind == "quantity":
            return _quantity(value)
        if kind == "time":
            return _time(value, micro=schema.format == "micro-time")
        return self._union(value, schema.definition) if schema.definition in _UNIONS else value

    def _union(self, value: Any, name: str) -> Any:
        """A schema, or what may stand in its place; Go's own decoders here do not look for unknown fields."""
        inner, node = _Walk(), definition(_JSON_SCHEMA)
        if type(value) is dict:
            return inner.decode(value, node, "", "", "")
        if name == _OR_BOOL:
            if type(value) is not bool:
                raise _Refused("boolean or JSON schema expected")
            return value
        if type(value) is not list:
            return _UNSET
        if name == _OR_ARRAY:
            decoded = [inner.decode(one, node, "", "", "") for one in value]
            return [{} if one is _UNSET else one for one in decoded]
        if not all(type(one) is str for one in value):
            raise _Refused("json: cannot unmarshal into Go value of type []string")
        return value

    def _object(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        if type(value) is not dict:
            raise _wrong_type(value, schema, go_path, struct)
        properties, required = schema.properties, schema.required
        omitted = ZERO_IS_UNSET.get(schema.definition, _NONE)
        struct_name = schema.struct_name
        out: dict[str, Any] = {}
        for name, child in value.items():
            child_path = f"{path}.{name}" if path else name
            node = properties.get(name)
            if node is None:
                self.add_unknown(child_path)
                continue
            decoded = self.decode(child, node, child_path, f"{go_path}.{name}" if go_path else name, struct_name)
            if decoded is _UNSET:
                if _keeps_null(schema, node):
                    out[name] = None
                continue
            if not decoded and (name in omitted or (node.kind in ("list", "map") and name not in required)):
                continue  # an empty optional list or map is not encoded again, nor is zero where it means unset
            out[name] = decoded
        return out

    def _map(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        if type(value) is not dict:
            raise _wrong_type(value, schema, go_path, struct)
        node = schema.values
        if node is None:
            return value
        out: dict[str, Any] = {}
        for name, child in value.items():
            decoded = self.decode(child, node, f"{path}.{name}", go_path, struct)
            out[name] = _zero_of(node) if decoded is _UNSET else decoded
        return out

    def _list(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        if type(value) is not list:
            raise _wrong_type(value, schema, go_path, struct)
        node = schema.items
        if node is None:
            return value
        out: list[Any] = []
        for position, child in enumerate(value):
            decoded = self.decode(child, node, f"{path}[{position}]", go_path, struct)
            out.append(_zero_of(node) if decoded is _UNSET else decoded)
        return out

    # --- custom resources ---

    def prune(self, value: Any, schema: Schema | None, path: str) -> Any:
        """A custom resource without the fields that its schema does not specify; types are not looked at."""
        if type(value) is list:
            items = schema.items if schema is not None else None
            if schema is not None and schema.preserve_unknown and items is None:
                return value
            return [self.prune(child, items, f"{path}[{position}]") for position, child in enumerate(value)]
        if type(value) is not dict:
            return value
        properties = schema.properties if schema is not None else {}
        values = schema.values if schema is not None else None
        keep = schema is not None and schema.preserve_unknown
        embedded = schema is not None and schema.embedded_resource
        out: dict[str, Any] = {}
        for name, child in value.items():
            child_path = f"{path}.{name}" if path else name
            node = properties.get(name)
            if embedded and name in ("apiVersion", "kind"):
                out[name] = child
            elif embedded and name == "metadata":
                out[name] = self.metadata(child, child_path)
            elif node is not None:
                out[name] = self.prune(child, node, child_path)
            elif values is not None:
                out[name] = self.prune(child, values, child_path)
            elif keep:
                out[name] = child
            else:
                self.add_unknown(child_path)
        return out

    def metadata(self, value: Any, path: str) -> Any:
        """The metadata of a custom resource, which is typed like that of any kind."""
        decoded = self.decode(value, definition(OBJECT_META), path, "", "ObjectMeta")
        return {} if decoded is _UNSET else decoded

    def add_unknown(self, path: str) -> None:
        if len(self.unknown) < _STRICT_ERRORS_MAX:
            self.unknown.append(path)


def _zero_of(schema: Schema) -> Any:
    """What Go leaves in a list or map whose entry is null."""
    if schema.kind in ("list", "map", "any", "raw", "time") or schema.format == "byte":
        return None
    zeros: dict[str, Any] = {
        "string": "", "boolean": False, "integer": 0, "number": 0, "quantity": "0", "int-or-string": 0,
    }  # fmt: skip
    return zeros.get(schema.kind, {})


def _json_kind(value: Any) -> str:
    if type(value) is bool:
        return "bool"
    if type(value) is str:
        return "string"
    if type(value) is list:
        return "array"
    return "object" if type(value) is dict else "number"


def _wrong_type(value: Any, schema: Schema, go_path: str, struct: str) -> _Refused:
    return _unmarshal_error(_json_kind(value), schema.go_type, go_path, struct)


def _unmarshal_error(what: str, go_type: str, go_path: str, struct: str) -> _Refused:
    if not go_path:
        return _Refused(f"json: cannot unmarshal {what} into Go value of type {go_type}")
    return _Refused(f"json: cannot unmarshal {what} into Go struct field {struct}.{go_path} of type {go_type}")


def _number_text(value: int | float) -> str:
    return orjson.dumps(value).decode() if isinstance(value, float) else str(value)


def _integer(value: Any, schema: Schema, go_path: str, struct: str) -> int:
    low, high = _INT_RANGES.get(schema.format, _INT_RANGES["int64"])
    if type(value) is int and low <= value <= high:
        return value
    if type(value) is int or type(value) is float:
        raise _unmarshal_error(f"number {_number_text(value)}", schema.go_type, go_path, struct)
    raise _wrong_type(value, schema, go_path, struct)


def _int_or_string(value: Any) -> int | str:
    if type(value) is str or _is_int32(value):
        accepted: int | str = value
        return accepted
    what = f"number {_number_text(value)}" if _is_number(value) else _json_kind(value)
    raise _unmarshal_error(what, "int32", "", "")


def _quantity(value: Any) -> str:
    try:
        if type(value) is str or _is_number(value):
            return canonical(value)
        return canonical(orjson.dumps(value).decode())
    except QuantityError as error:
        raise _Refused(str(error)) from None


_NEWLINES = str.maketrans("", "", "\r\n")
_BASE64_BODY = re.compile(r"[A-Za-z0-9+/]*")


def _decode_base64(text: str) -> str:
    """The text as it is encoded again; newlines are ignored, as Go's decoder ignores them."""
    if _is_base64(text):
        return text
    compact = text.translate(_NEWLINES)
    if _is_base64(compact):
        return compact
    match = _BASE64_BODY.match(compact)
    assert match is not None
    position = match.end()
    padding = compact[position:]
    if position % 4 in (0, 1) and position == len(compact):
        position -= position % 4  # a quantum that is cut short is reported at its start
    elif padding in ("=", "") and position % 4:
        position = len(compact)
    elif padding.startswith("==") and position % 4 == 2:
        position += 2
    elif padding.startswith("=") and position % 4 == 3:
        position += 1
    raise _Refused(f"illegal base64 data at input byte {position}")


# --- times ---------------------------------------------------------------------------------------

_RFC3339 = "2006-01-02T15:04:05Z07:00"
_RFC3339_MICRO = "2006-01-02T15:04:05.000000Z07:00"
_TIME_PARTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("2006", re.compile(r"\d{4}")), ("-", re.compile("-")), ("01", re.compile(r"\d\d")), ("-", re.compile("-")),
    ("02", re.compile(r"\d\d")), ("T", re.compile("T")), ("15", re.compile(r"\d\d?")), (":", re.compile(":")),
    ("04", re.compile(r"\d\d")), (":", re.compile(":")), ("05", re.compile(r"\d\d")),
)  # fmt: skip
_FRACTION = re.compile(r"[.,](\d+)")
_MICROS = re.compile(r"\.(\d{6})(?!\d)")
_ZONE = re.compile(r"Z|([+-])(\d\d):(\d\d)")


def _time(value: Any, *, micro: bool) -> str:
    if type(value) is not str:
        raise _unmarshal_error(_json_kind(value), "string", "", "")
    if (is_canonical_micro_time if micro else _is_canonical_time)(value):
        return value
    layout = _RFC3339_MICRO if micro else _RFC3339

    def fail(position: int, element: str) -> _Refused:
        where = f"cannot parse {quote(value[position:])} as {quote(element)}"
        return _Refused(f"parsing time {quote(value)} as {quote(layout)}: {where}")

    position = 0
    texts: list[str] = []
    for element, pattern in _TIME_PARTS:
        match = pattern.match(value, position)
        if match is None:
            raise fail(position, element)
        texts.append(match[0])
        position = match.end()
    fraction = "0"
    if micro:
        match = _MICROS.match(value, position)
        if match is None:
            raise fail(position, ".000000")
        fraction, position = match[1], match.end()
    elif match := _FRACTION.match(value, position):
        fraction, position = match[1], match.end()
    zone = _ZONE.match(value, position)
    if zone is None:
        raise fail(position, "Z07:00")
    if zone.end() != len(value):
        raise _Refused(f"parsing time {quote(value)}: extra text: {quote(value[zone.end() :])}")
    year, month, day = int(texts[0]), int(texts[2]), int(texts[4])
    hour, minute, second = int(texts[6]), int(texts[8]), int(texts[10])
    for wrong, name in (
        (not 1 <= month <= 12, "month"),
        (hour > 23, "hour"),
        (minute > 59, "minute"),
        (second > 59, "second"),
    ):
        if wrong:
            raise _Refused(f"parsing time {quote(value)}: {name} out of range")
    offset = timedelta(0)
    if zone[1]:
        offset = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (1 if zone[1] == "+" else -1)
    try:
        moment = datetime(
            year, month, day, hour, minute, second, int(fraction[:6].ljust(6, "0")), tzinfo=timezone(offset)
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Refused(f"parsing time {quote(value)}: day out of range") from None
    text = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment:%H:%M:%S}"
    return f"{text}.{moment.microsecond:06d}Z" if micro else f"{text}Z"


# --- the public functions ------------------------------------------------------------------------


class Repeated(NamedTuple):
    """Which fields a JSON body names more than once, by path; and where, counted in fields from its beginning."""

    again: dict[str, int]
    """Where the field stands for the second time, in document order."""
    first: dict[str, int]
    """Where each field of the body stands for the first time; empty when none is repeated."""


NOTHING_REPEATED = Repeated({}, {})


def decode(
    obj: Object,
    schema: Schema,
    *,
    field_validation: FieldValidation = "Warn",
    repeated: Repeated = NOTHING_REPEATED,
    problems: Sequence[str] = (),
    kind: str = "",
) -> tuple[Object, list[str]]:
    """The object as the API keeps it, and the warnings to send back.

    Never changes `obj`; returns it itself when nothing has to change. `repeated` is what
    `find_duplicate_fields` found in the body, `problems` what else is wrong with its text. With `Strict`, all that
    and unknown fields refuse the request; with `Warn` they become warnings (`unknown field "spec.foo"`). `kind` is
    the kind that was expected, when it may differ from the object's own. NotDecodable (a BadRequest) for a value of
    a wrong type.
    """
    walk = _Walk()
    if schema.structural:
        try:
            decoded = _decode_custom_resource(obj, schema, walk)
        except _Refused as refused:
            raise _cannot_be_handled(obj, kind, str(refused)) from None
        found = [f"duplicate field {quote(path)}" for path in repeated.again]
        found += [f"unknown field {quote(path)}" for path in sorted(walk.unknown)]
    else:
        check = _check_of(schema)
        if _run(check, obj):
            decoded = obj
        else:
            try:
                decoded = walk.decode(obj, schema, "", "", schema.struct_name)
            except _Refused as refused:
                raise _cannot_be_handled(obj, kind, str(refused)) from None
        found = in_document_order(walk.unknown, repeated)
    found = [*problems, *found]
    if not found or field_validation == "Ignore":
        return decoded, []
    if field_validation == "Strict":
        raise _cannot_be_handled(obj, kind, f"strict decoding error: {', '.join(found)}")
    return decoded, [line for text in found for line in warnings_of(text)]


_YAML_ERRORS = "yaml: unmarshal errors:\n"


def warnings_of(text: str) -> list[str]:
    """One warning for each line of what a YAML decoder found; everything else is one warning."""
    _, is_yaml, lines = text.partition(_YAML_ERRORS)
    return [line.strip() for line in lines.split("\n")] if is_yaml else [text]


def _decode_custom_resource(obj: Object, schema: Schema, walk: _Walk) -> Object:
    # The root is always a resource: its type and metadata are not the schema's to specify. Metadata comes first,
    # as it does in the messages of the real server.
    out: Object = {}
    metadata_check = _check_of(definition(OBJECT_META))
    body = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    pruned = walk.prune(body, schema, "")
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            out[name] = value
        elif name == "metadata":
            out[name] = value if _run(metadata_check, value) else walk.metadata(value, "metadata")
        elif name in pruned:
            out[name] = pruned[name]
    return out


def _cannot_be_handled(obj: Object, kind: str, why: str) -> NotDecodable:
    own_kind, api_version = obj.get("kind"), obj.get("apiVersion")
    version = str(api_version or "").rpartition("/")[2]
    shown = own_kind if isinstance(own_kind, str) else kind
    return NotDecodable(f"{shown} in version {quote(version)} cannot be handled as a {kind or shown}: {why}", why)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys as they were written."""


def find_duplicate_fields(body: bytes, obj: Any = None) -> Repeated:
    """The fields that a JSON body names twice.

    `obj`, the decoded body if there is one already, makes the usual answer (none) cheap: a key that was
    named twice is missing in it, and with it two quotation marks.
    """
    if b"\\u" not in body:
        if obj is None:
            obj = orjson.loads(body)
        if orjson.dumps(obj).count(b'"') == body.count(b'"'):
            return NOTHING_REPEATED
    found = Repeated({}, {})
    _count_fields(json.loads(body, object_pairs_hook=_Pairs), "", found, 0)
    return found if found.again else NOTHING_REPEATED


def _count_fields(value: Any, path: str, found: Repeated, position: int) -> int:
    """The position after all fields of the value."""
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, child in value:
            child_path = f"{path}.{name}" if path else name
            position += 1
            found.first.setdefault(child_path, position)
            if name in seen and len(found.again) < _STRICT_ERRORS_MAX:
                found.again.setdefault(child_path, position)
            seen.add(name)
            position = _count_fields(child, child_path, found, position)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            position = _count_fields(child, f"{path}[{index}]", found, position)
    return position


def in_document_order(unknown: Sequence[str], repeated: Repeated) -> list[str]:
    """What is wrong with the fields of a typed object; of what is unknown nobody looks whether it is repeated."""
    found = [(repeated.first.get(path, 0), f"unknown field {quote(path)}") for path in unknown]
    if repeated.again:
        parents = tuple(unknown)
        nested = tuple(f"{path}{sign}" for path in unknown for sign in ".[")
        found += [
            (position, f"duplicate field {quote(path)}")
            for path, position in repeated.again.items()
            if path not in parents and not path.startswith(nested)
        ]
        found.sort(key=lambda one: one[0])
    return [text for _, text in found]
