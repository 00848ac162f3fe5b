"""Whole objects on the wire: `k8s\\x00`, then `runtime.Unknown{typeMeta, raw}`; and frames of a watch.

Owns the way from apiVersion and kind to a message. The outside gets errors of `orchestrator.api.errors`:
400 for what is malformed, 406 for a kind that has no protobuf form. Mirrors
k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import orjson

from orchestrator.api import errors, schema
from orchestrator.api.objects import Object
from orchestrator.api.protobuf.messages import Message, message, message_name, table
from orchestrator.api.protobuf.values import bytes_field, read_fields
from orchestrator.api.protobuf.wire import BYTES, Malformed, chunk, tag_of

MAGIC = b"k8s\x00"
BYTES_MAX = 3 * 1024 * 1024
"""The largest body that is decoded: kube-apiserver's limit for one request."""
TYPE_CHARACTERS_MAX = 512
"""The longest apiVersion or kind that is looked up, and so remembered."""

_PROTOBUF = ("", "application/vnd.kubernetes.protobuf")
_TAG_1, _TAG_2 = tag_of(1, BYTES), tag_of(2, BYTES)
_NO_ENCODING = tag_of(3, BYTES) + b"\x00" + tag_of(4, BYTES) + b"\x00"


class UnknownKind(Malformed):
    """An object of a kind that has no message."""


@lru_cache(maxsize=1024)
def message_of(api_version: str, kind: str) -> Message | None:
    """The message of a kind; None when it has none, as custom resources and Tables."""
    group, _, version = api_version.rpartition("/")
    if schema.has_kind(group, version, kind):
        name = message_name(schema.for_kind(group, version, kind).definition)
        return message(name) if name in table() else None
    # Kinds that are no resources are not in the OpenAPI: options, lists of anything, partial metadata, reviews.
    package = f"{group.partition('.')[0] or 'core'}.{version}"
    for name in (f"{package}.{kind}", f"meta.v1.{kind}"):
        is_of_any_group = kind.endswith("Options")
        if name in table() and (name.startswith(package) or group in ("", "meta.k8s.io") or is_of_any_group):
            return message(name)
    return None


def decode_protobuf(body: bytes) -> Object:
    """The object in an envelope, as JSON has it; raises BadRequest, or RequestEntityTooLarge."""
    if len(body) > BYTES_MAX:
        raise errors.RequestEntityTooLarge(f"Request entity too large: limit is {BYTES_MAX}")
    try:
        return read_envelope(body, 0)
    except UnknownKind as error:
        raise errors.BadRequest(str(error)) from error
    except IndexError as error:
        raise errors.BadRequest("unable to decode the protobuf message: unexpected end") from error
    except (ValueError, struct.error) as error:
        raise errors.BadRequest(f"unable to decode the protobuf message: {error}") from error


def read_envelope(data: bytes, depth: int) -> Object:
    """The object in an envelope; raises ValueError, IndexError or struct.error when it is malformed."""
    if not data.startswith(MAGIC):
        raise UnknownKind(
            "provided data does not appear to be a protobuf message, expected prefix ["
            + " ".join(str(byte) for byte in MAGIC)
            + "]"
        )
    unknown = read_fields(data[len(MAGIC) :])
    type_meta = read_fields(bytes_field(unknown, 1))
    api_version, kind = bytes_field(type_meta, 1).decode(), bytes_field(type_meta, 2).decode()
    raw = bytes_field(unknown, 2)
    if bytes_field(unknown, 3):
        raise Malformed(f"the content encoding {bytes_field(unknown, 3)!r} is not known")
    content_type = bytes_field(unknown, 4).decode()
    if content_type == "application/json":
        value = orjson.loads(raw)
        if not isinstance(value, dict):
            raise Malformed("the JSON in the envelope is no object")
        return value
    if content_type not in _PROTOBUF:
        raise Malformed(f"the content type {content_type!r} is not known")
    if not kind:
        raise UnknownKind("Object 'Kind' is missing in the protobuf message")
    if len(api_version) > TYPE_CHARACTERS_MAX or len(kind) > TYPE_CHARACTERS_MAX:
        raise Malformed(f"apiVersion and kind have {TYPE_CHARACTERS_MAX} characters at most")
    found = message_of(api_version, kind)
    if found is None and not api_version:
        raise UnknownKind("Object 'apiVersion' is missing in the protobuf message")
    if found is None:
        raise UnknownKind(f'no kind "{kind}" is registered for version "{api_version}" as protobuf')
    # Discovery's own documents have no apiVersion.
    obj: Object = {"kind": kind, "apiVersion": api_version} if api_version else {"kind": kind}
    found.read_into(obj, raw, 0, len(raw), depth)
    return obj


def encode_protobuf(obj: Object) -> bytes:
    """An object in its envelope; raises NotAcceptable when its kind has no protobuf form."""
    api_version, kind = str(obj.get("apiVersion") or ""), str(obj.get("kind") or "")
    found = message_of(api_version, kind)
    if found is None:
        raise errors.NotAcceptable(f"{kind} of {api_version} has no protobuf encoding")
    try:
        raw = found.write(obj)
    except (ValueError, TypeError, AttributeError, KeyError, struct.error, RecursionError) as error:
        raise errors.InternalError(f"{kind} cannot be encoded as protobuf: {error}") from error
    type_meta = chunk(_TAG_1, api_version.encode()) + chunk(_TAG_2, kind.encode())
    return b"".join((MAGIC, chunk(_TAG_1, type_meta), chunk(_TAG_2, raw), _NO_ENCODING))


def encode_watch_frame(event_type: str, obj: Object) -> bytes:
    """One event of a `stream=watch` answer: its length in four bytes, big-endian, then a bare WatchEvent.

    The event itself has no envelope; the object within it has one.
    """
    extension = chunk(_TAG_1, encode_protobuf(obj))
    event = chunk(_TAG_1, event_type.encode()) + chunk(_TAG_2, extension)
    return struct.pack(">I", len(event)) + event
