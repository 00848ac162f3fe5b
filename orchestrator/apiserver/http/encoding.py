"""Response bodies: what the core answered, in the media type and shape that the client asked for.

Objects are sent as the bytes that the store holds wherever possible: an object, every item of a
list and every frame of a watch was encoded once, when it was written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.scale import SCALE
from orchestrator.api.objects import Object
from orchestrator.apiserver.http.negotiation import PARTIAL_LIST, PROTOBUF, TABLE, YAML, Negotiated
from orchestrator.apiserver.request import ListResult, ObjectResult
from orchestrator.apiserver.tables import partial_metadata, table
from orchestrator.apiserver.watching import Change, ObjectWatch, bookmark_object
from orchestrator.store import Record


def encode_value(value: Any, negotiated: Negotiated) -> bytes:
    """Any JSON value in the negotiated media type."""
    if negotiated.media_type == YAML:
        from orchestrator.api.yaml_text import to_yaml

        return to_yaml(value).encode()
    if negotiated.media_type == PROTOBUF:
        from orchestrator.api.protobuf import encode_protobuf

        return encode_protobuf(value)
    if negotiated.pretty:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"
    return orjson.dumps(value) + b"\n"


def encode_object(result: ObjectResult, kind: Kind, negotiated: Negotiated, *, now: datetime, include: str) -> bytes:
    """One object, or its Table, or only its metadata."""
    obj = result.obj
    if obj.get("kind") == SCALE.resource.kind and kind.scale is not None:
        kind = SCALE
    if negotiated.shape and obj.get("kind") != "Status":
        if negotiated.shape == TABLE:
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            value = table(
                kind, [obj], now=now, list_metadata=metadata, include=include, version=negotiated.shape_version
            )
        else:
            value = partial_metadata(kind, obj, negotiated.shape_version)
        return encode_value(value, negotiated)
    if result.raw is not None and negotiated.media_type not in (YAML, PROTOBUF) and not negotiated.pretty:
        return result.raw + b"\n"
    return encode_value(obj, negotiated)


def encode_list(result: ListResult, negotiated: Negotiated, *, now: datetime, include: str) -> bytes:
    """A list in the asked-for shape; plain JSON lists are joined from stored bytes."""
    metadata: Object = {"resourceVersion": str(result.revision)} if result.revision else {}
    if result.continue_token:
        metadata["continue"] = result.continue_token
    if result.remaining:
        metadata["remainingItemCount"] = result.remaining
    kind, convert = result.kind, result.convert
    if negotiated.shape:
        objects = (convert(record.obj) if convert else record.obj for record in result.records)
        version = negotiated.shape_version
        if negotiated.shape == TABLE:
            value = table(kind, objects, now=now, list_metadata=metadata, include=include, version=version)
        else:
            value = {
                "kind": PARTIAL_LIST,
                "apiVersion": f"meta.k8s.io/{version}",
                "metadata": metadata,
                "items": [partial_metadata(kind, obj, version) for obj in objects],
            }
        return encode_value(value, negotiated)
    resource = kind.resource
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata}
    if convert is not None or negotiated.media_type in (YAML, PROTOBUF) or negotiated.pretty:
        items = [(convert(record.obj) if convert else record.obj) for record in result.records]
        if not is_custom(kind):
            items = [{key: item[key] for key in item if key not in ("kind", "apiVersion")} for item in items]
        return encode_value({**head, "items": items}, negotiated)
    item_bytes = raw_item_of(kind)
    return b'%b,"items":[%b]}\n' % (
        orjson.dumps(head)[:-1],
        b",".join([item_bytes(record) for record in result.records]),
    )


def is_custom(kind: Kind) -> bool:
    """Whether this is a custom resource, whose list items carry their own kind and apiVersion."""
    return kind.schema is not None


def raw_item_of(kind: Kind) -> Callable[[Record], bytes]:
    """How a record's bytes stand in a list: typed lists leave out each item's kind and apiVersion."""
    if is_custom(kind):
        return lambda record: record.raw
    resource = kind.resource
    prefix = orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","

    def without_prefix(record: Record) -> bytes:
        raw = record.raw
        if raw.startswith(prefix):
            return b"{" + raw[len(prefix) :]
        return orjson.dumps({key: value for key, value in record.obj.items() if key not in ("kind", "apiVersion")})

    return without_prefix


class WatchEncoder:
    """Turns changes into frames; frames of unchanged store events are shared between watchers."""

    def __init__(
        self, watch: ObjectWatch, negotiated: Negotiated, *, now: Callable[[], datetime], include: str
    ) -> None:
        self._watch = watch
        self._kind = watch.kind
        self._negotiated = negotiated
        self._now = now
        self._include = include
        self._is_first = True
        # A Table's ages differ from moment to moment, so that its frames cannot be shared.
        self._is_shared = negotiated.shape != TABLE
        self._cache_key = (
            watch.kind.resource.version,
            negotiated.media_type,
            negotiated.shape,
            negotiated.shape_version,
        )

    def encode(self, change: Change) -> bytes:
        """One frame, with its line end or its length prefix."""
        event = change.event
        if event is None or not self._is_shared:
            return self._encode(change)
        frames = event.frames
        frame = frames.get(self._cache_key)
        if frame is None:
            frame = frames[self._cache_key] = self._encode(change)
        return frame

    def error(self, status: Object) -> bytes:
        """The frame that ends a failed watch."""
        return self._frame("ERROR", status, None)

    def _encode(self, change: Change) -> bytes:
        if change.record is None:
            bookmark = bookmark_object(self._kind, change)
            if self._negotiated.shape == TABLE:
                bookmark = self._table([bookmark], str(change.revision))
            elif self._negotiated.shape:
                bookmark = partial_metadata(self._kind, bookmark, self._negotiated.shape_version)
            return self._frame(change.type, bookmark, None)
        record = change.record
        if self._negotiated.shape == TABLE:
            obj = self._watch.convert(record.obj)
            return self._frame(change.type, self._table([obj], obj["metadata"]["resourceVersion"]), None)
        if self._negotiated.shape:
            obj = self._watch.convert(record.obj)
            return self._frame(change.type, partial_metadata(self._kind, obj, self._negotiated.shape_version), None)
        if self._kind.conversion is None:
            return self._frame(change.type, record.obj, record.raw)
        return self._frame(change.type, self._watch.convert(record.obj), None)

    def _table(self, objects: list[Object], revision: str) -> Object:
        # Only the first event repeats the columns; clients keep them.
        with_columns, self._is_first = self._is_first, False
        is_bookmark = not objects[0]["metadata"].get("name")
        return table(
            self._kind,
            [] if is_bookmark else objects,
            now=self._now(),
            list_metadata={"resourceVersion": revision},
            include=self._include,
            version=self._negotiated.shape_version,
            with_columns=with_columns,
        )

    def _frame(self, event_type: str, obj: Object, raw: bytes | None) -> bytes:
        if self._negotiated.media_type == PROTOBUF:
            from orchestrator.api.protobuf import encode_watch_frame

            return encode_watch_frame(event_type, obj)
        return b'{"type":"%b","object":%b}\n' % (event_type.encode(), raw if raw is not None else orjson.dumps(obj))
