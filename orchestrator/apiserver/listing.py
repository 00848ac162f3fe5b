"""Lists: selectors, resource versions, pages.

A page's continue token pins the revision of the first page, so that a client that follows it sees
one consistent moment (API conventions, "Retrieving large result sets in chunks").
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson
from msgspec import Struct

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, labels_of, name_of, namespace_of
from orchestrator.api.selectors import FieldSelector, LabelSelector, parse_field_selector, parse_label_selector
from orchestrator.apiserver.request import ApiRequest

INT64_MAX, UINT64_MAX = 2**63 - 1, 2**64 - 1
DIGITS_MAX = 20
"""Of such a number, with its sign; Python refuses to read some that are much longer."""
_NUMBER = re.compile(r"[+-]?[0-9]+")

CONTINUE_VERSION = "meta.k8s.io/v1"
CONTINUE_SECONDS_MAX = 300
"""How old the moment may be that pages are read at. kube-apiserver has etcd forget it after 5 to 10 minutes."""


class Position(NamedTuple):
    """Where a list begins to read."""

    revision: int | None
    """None: the current one; -1, only in tokens: the current one, which is not that of the pages before."""
    after: tuple[str, str] | None
    """(namespace, name) of the last object of the page before."""
    since: int
    """When the first page was read, in seconds since 1970; 0: not known, for a token that somebody else made."""


class Selection(Struct, frozen=True):
    """What a list or watch is about, beyond resource and namespace."""

    labels: LabelSelector
    fields: FieldSelector
    readers: Mapping[str, Callable[[Object], str]]
    name: str = ""
    """Set when the field selector demands one name: a single look-up answers it."""
    index: tuple[str, str] | None = None
    """A (field, value) that the store's dispatch index serves, e.g. (`spec.nodeName`, `n1`)."""
    is_of_served: bool = False
    """Whether it asks for fields that an object has as it is served, after a webhook has converted it."""

    @property
    def is_everything(self) -> bool:
        return self.labels.is_everything and not self.fields.requirements

    def matches(self, obj: Object) -> bool:
        """Whether an object is selected; in its stored form, unless the selection `is_of_served`."""
        if not self.labels.is_everything and not self.labels.matches(labels_of(obj)):
            return False
        for field, operator, value in self.fields.requirements:
            if (self.readers[field](obj) == value) != (operator != "!="):
                return False
        return True


def parse_selection(request: ApiRequest, indexed_fields: Mapping[str, Mapping[str, object]]) -> Selection:
    """The selectors of a request; 400 when they do not parse or name a field that is not selectable."""
    kind = request.kind
    label_text = request.query.get("labelSelector", "")
    field_text = request.query.get("fieldSelector", "")
    labels = parse_label_selector(label_text)
    fields = parse_field_selector(field_text)
    readers: dict[str, Callable[[Object], str]] = {
        "metadata.name": name_of,
        "metadata.namespace": namespace_of,
        **kind.selectable_fields,
    }
    name, index = request.name, None
    indexable = indexed_fields.get(kind.stored_resource, {})
    if not kind.resource.namespaced:
        del readers["metadata.namespace"]
    fields.check_supported(readers, default_message=not kind.selectable_fields and kind.schema is None)
    for field, operator, value in fields.requirements:
        if operator != "!=" and value:
            if field == "metadata.name":
                name = value
            elif field in indexable:
                index = (field, value)
    conversion = kind.conversion
    is_of_served = (
        conversion is not None
        and conversion.fetch_from_stored is not None
        and any(field in kind.selectable_fields for field, _, _ in fields.requirements)
    )
    return Selection(labels, fields, readers, name, index, is_of_served)


def selected_name(field_selector: str) -> str:
    """The one name that a field selector asks for, or an empty string; what is malformed asks for none."""
    if "metadata.name" not in field_selector:
        return ""
    try:
        return parse_field_selector(field_selector).exact_match("metadata.name") or ""
    except ValueError:
        return ""


def check_timeout(request: ApiRequest) -> None:
    """400 unless `timeoutSeconds` is a number; a list is answered at once, whatever it is."""
    parse_number(request.query.get("timeoutSeconds", ""))


def parse_number(text: str) -> int:
    """A number that a query has, 0 when absent; 400 in the words of Go's parser when it is none of 64 bits."""
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > DIGITS_MAX or not -INT64_MAX - 1 <= int(text) <= INT64_MAX:
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def parse_limit(request: ApiRequest) -> int:
    """`limit`; 0 means no limit, as do negative numbers."""
    return max(parse_number(request.query.get("limit", "")), 0)


def parse_resource_version(text: str, *, parameter: str = "resourceVersion") -> int | None:
    """A resource version as a revision; None when absent; 400 when it is no number of 64 bits."""
    if not text:
        return None
    is_number = text.isascii() and text.isdigit()
    if not is_number or len(text) > DIGITS_MAX or int(text) > UINT64_MAX:
        why = "value out of range" if is_number else "invalid syntax"
        raise errors.BadRequest(f'{parameter}: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}')
    return int(text)


def encode_continue(revision: int, namespace: str, name: str, *, namespaced_list: bool, since: int) -> str:
    """A token for the page after (namespace, name) at this revision, whose first page was read at `since`."""
    start = name if namespaced_list or not namespace else f"{namespace}/{name}"
    token = orjson.dumps({"v": CONTINUE_VERSION, "rv": revision, "start": start + "\0", "since": since})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode_continue(token: str, namespace: str) -> tuple[int, tuple[str, str], int]:
    """The inverse: (revision, (namespace, name) after which to go on, since when); 400 when it is not one of ours.

    A revision of -1 means: at the current one (the inconsistent continuation after `Expired`).
    """
    prefix = "continue key is not valid: "
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise errors.BadRequest(
            f"invalid continue token: {prefix}illegal base64 data at input byte {_first_bad_byte(token)}"
        ) from None
    try:
        content = orjson.loads(raw)
        version, revision, start = content.get("v", ""), content.get("rv", 0), content.get("start", "")
        since = content.get("since", 0)
    except (orjson.JSONDecodeError, AttributeError):
        raise errors.BadRequest(f"invalid continue token: {prefix}invalid character") from None
    if version != CONTINUE_VERSION:
        raise errors.BadRequest(
            f'invalid continue token: {prefix}server does not recognize this encoded version "{version}"'
        )
    if not isinstance(revision, int) or revision == 0:
        raise errors.BadRequest(f"invalid continue token: {prefix}incorrect encoded start resourceVersion")
    if not isinstance(start, str) or not start:
        raise errors.BadRequest(f"invalid continue token: {prefix}encoded start key empty")
    if not isinstance(since, int):
        since = 0
    start = start.removesuffix("\0")
    if namespace:
        return revision, (namespace, start.rpartition("/")[2]), since
    first, _, rest = start.partition("/")
    return revision, (first, rest) if rest else ("", first), since


def expired_continue(fresh_token: str) -> errors.Expired:
    """The 410 for a token whose revision is compacted or too old, with a token that goes on at the current one."""
    error = errors.Expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new"
        " list without the continue parameter, or use the continue token in this response to retrieve the"
        " remainder of the results. Continuing with the provided token results in an inconsistent list -"
        " objects that were created, modified, or deleted between the time the first chunk was returned and"
        " now may show up in the list."
    )
    error.continue_token = fresh_token
    return error


def check_version_match(query: Mapping[str, str], *, is_watch: bool) -> str:
    """`resourceVersionMatch`, validated together with its companions (KEP-1904, KEP-3157)."""
    match = query.get("resourceVersionMatch", "")
    version = query.get("resourceVersion", "")
    initial = query.get("sendInitialEvents", "")
    causes: list[Cause] = []
    if is_watch:
        if initial and match != "NotOlderThan":
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                    "resourceVersionMatch",
                )
            )
        elif not initial and match:
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                    "resourceVersionMatch",
                )
            )
    else:
        if initial:
            causes.append(
                Cause("FieldValueForbidden", "Forbidden: sendInitialEvents is forbidden for list", "sendInitialEvents")
            )
        if match and not version:
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
                    "resourceVersionMatch",
                )
            )
        elif match and query.get("continue"):
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: resourceVersionMatch is forbidden when continue is provided",
                    "resourceVersionMatch",
                )
            )
        elif match not in ("", "Exact", "NotOlderThan"):
            causes.append(
                Cause(
                    "FieldValueNotSupported",
                    f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""',
                    "resourceVersionMatch",
                )
            )
        elif match == "Exact" and version == "0":
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
                    "resourceVersionMatch",
                )
            )
    if causes:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", causes)
    return match


def _first_bad_byte(token: str) -> int:
    """Where Go's base64 decoder would stop: the first foreign character, or the end of a cut group."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for position, character in enumerate(token):
        if character not in alphabet:
            return position
    return len(token) // 4 * 4
