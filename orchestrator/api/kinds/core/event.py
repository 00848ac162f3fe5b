"""Event of core/v1 and of events.k8s.io/v1: two shapes of what is stored once, as core/v1.

Mirrors registry/core/event, the conversion of k8s.io/kubernetes/pkg/apis/events/v1, and the event printer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import NAME, UNKNOWN, dig, ref, translate_timestamp_since
from orchestrator.api.kinds.defaulting import struct
from orchestrator.api.kinds.descriptor import Column, Conversion, Kind
from orchestrator.api.objects import Object, copy_object, name_of, namespace_of
from orchestrator.api.resources import EVENTS, EVENTS_V1

_REASON_BYTES_MAX = 128
_NOTE_BYTES_MAX = 1024

_CORE_ONLY = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)


def default_core_event(obj: Object) -> None:
    """The struct fields that are always present."""
    struct(obj, "involvedObject")
    struct(obj, "source")
    for key in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(key, None)
    for key in ("reportingComponent", "reportingInstance"):
        if obj.get(key) is None:
            obj[key] = ""


def default_event(obj: Object) -> None:
    """The struct fields that are always present."""
    struct(obj, "regarding")
    struct(obj, "deprecatedSource")
    for key in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"):
        obj.setdefault(key, None)


def to_core(obj: Object) -> Object:
    """The core/v1 form of an events.k8s.io/v1 Event."""
    out = copy_object(obj)
    out["apiVersion"] = "v1"
    for core, new in _CORE_ONLY:
        if new in out:
            out[core] = out.pop(new)
    default_core_event(out)
    return out


def from_core(obj: Object) -> Object:
    """The events.k8s.io/v1 form of a core/v1 Event."""
    out = copy_object(obj)
    out["apiVersion"] = "events.k8s.io/v1"
    for core, new in _CORE_ONLY:
        if core in out:
            out[new] = out.pop(core)
    if out.get("deprecatedCount") == 0:
        del out["deprecatedCount"]
    for key in ("reportingController", "reportingInstance"):
        if not out.get(key):
            out.pop(key, None)
    default_event(out)
    return out


def _validate_legacy(obj: Object, involved: str) -> list[Cause]:
    namespace = namespace_of(obj)
    reference = obj.get(involved) or {}
    where = reference.get("namespace") or ""
    path = f"{involved}.namespace"
    if not where:  # what has no namespace is reported in "default"
        if namespace not in ("", "default"):
            return [fields.invalid(path, where, "does not match event.namespace")]
    elif where != namespace:
        return [fields.invalid(path, where, "does not match event.namespace")]
    return []


def validate_core_event(obj: Object) -> list[Cause]:
    """The namespace fits, and new-style events (with an eventTime) name who reported them."""
    causes = _validate_legacy(obj, "involvedObject")
    if obj.get("eventTime"):
        component = obj.get("reportingComponent") or ""
        if not component:
            causes.append(fields.required("reportingController"))
        causes += [fields.invalid("reportingController", component, t) for t in names.is_qualified_name(component)]
        instance = obj.get("reportingInstance") or ""
        if not instance:
            causes.append(fields.required("reportingInstance"))
        if len(instance.encode()) > _REASON_BYTES_MAX:
            causes.append(fields.invalid("repotingIntance", "", f"can have at most {_REASON_BYTES_MAX} characters"))
        action = obj.get("action") or ""
        if not action:
            causes.append(fields.required("action"))
        if len(action.encode()) > _REASON_BYTES_MAX:
            causes.append(fields.invalid("action", "", f"can have at most {_REASON_BYTES_MAX} characters"))
        reason = obj.get("reason") or ""
        if not reason:
            causes.append(fields.required("reason"))
        if len(reason.encode()) > _REASON_BYTES_MAX:
            causes.append(fields.invalid("reason", "", f"can have at most {_REASON_BYTES_MAX} characters"))
        if len((obj.get("message") or "").encode()) > _NOTE_BYTES_MAX:
            causes.append(fields.invalid("message", "", f"can have at most {_NOTE_BYTES_MAX} characters"))
    return causes


def validate_event(obj: Object) -> list[Cause]:
    """An event of events.k8s.io/v1: everything named, nothing of the old shape."""
    causes: list[Cause] = []
    if not obj.get("eventTime"):
        causes.append(fields.required("eventTime"))
    kind = obj.get("type") or ""
    if kind not in ("Normal", "Warning"):
        causes.append(fields.invalid("type", "", f"has invalid value: {kind}"))
    for key in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp"):
        if obj.get(key):
            causes.append(fields.invalid(key, obj[key], "needs to be unset"))
    if obj.get("deprecatedCount"):
        causes.append(fields.invalid("deprecatedCount", obj["deprecatedCount"], "needs to be unset"))
    if obj.get("deprecatedSource"):
        causes.append(fields.invalid("deprecatedSource", obj["deprecatedSource"], "needs to be unset"))
    if causes:
        return causes
    return validate_core_event(to_core(obj))


_IMMUTABLE = (
    ("involvedObject", "regarding"), ("reason", "reason"), ("message", "note"), ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"), ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"), ("type", "type"), ("eventTime", "eventTime"), ("action", "action"),
    ("related", "related"), ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)  # fmt: skip


def validate_event_update(new: Object, old: Object) -> list[Cause]:
    """Only the series of an event changes (and its metadata)."""
    causes: list[Cause] = []
    for core, key in _IMMUTABLE:
        if (new.get(key) or None) != (old.get(key) or None):
            causes.append(
                fields.immutable(core if core != "reportingComponent" else "reportingController", new.get(key))
            )
    return causes


def _source_cell(obj: Object) -> str:
    source = obj.get("source") or {}
    component, host = source.get("component") or obj.get("reportingComponent") or "", source.get("host") or ""
    host = host or obj.get("reportingInstance") or ""
    if component and host:
        return f"{component}, {host}"
    return component


def core_row(obj: Object, now: datetime) -> list[Any]:
    """The cells of an event in its core/v1 form."""
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or first
    count = obj.get("count") or 0
    series = obj.get("series")
    if series:
        last = series.get("lastObservedTime") or last
        count = series.get("count") or 0
    elif not count:
        count = 1
    involved = obj.get("involvedObject") or {}
    target = involved.get("name") or ""
    if involved.get("kind"):
        target = f"{involved['kind'].lower()}/{target}"
    return [
        translate_timestamp_since(last, now) if last else UNKNOWN,
        obj.get("type") or "",
        obj.get("reason") or "",
        target,
        involved.get("fieldPath") or "",
        _source_cell(obj),
        (obj.get("message") or "").strip(),
        translate_timestamp_since(first, now) if first else UNKNOWN,
        count,
        name_of(obj),
    ]


COLUMNS = (
    Column("Last Seen", description=ref("core.v1.Event", "lastTimestamp")),
    Column("Type", description=ref("core.v1.Event", "type")),
    Column("Reason", description=ref("core.v1.Event", "reason")),
    Column("Object", description=ref("core.v1.Event", "involvedObject")),
    Column("Subobject", description=ref("core.v1.ObjectReference", "fieldPath"), priority=1),
    Column("Source", description=ref("core.v1.Event", "source"), priority=1),
    Column("Message", description=ref("core.v1.Event", "message")),
    Column("First Seen", description=ref("core.v1.Event", "firstTimestamp"), priority=1),
    Column("Count", description=ref("core.v1.Event", "count"), priority=1),
    Column("Name", format="name", description=NAME.description, priority=1),
)
_REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _reference_fields(key: str) -> dict[str, Callable[[Object], str]]:
    """The selectable parts of `involvedObject`, under the name that an API version gives it."""

    def reader(part: str) -> Callable[[Object], str]:
        return lambda obj: dig(obj, "involvedObject", part) or ""

    return {f"{key}.{part}": reader(part) for part in _REFERENCE_FIELDS}


CORE_EVENT = Kind(
    EVENTS,
    "io.k8s.api.core.v1.Event",
    "event",
    short_names=("ev",),
    create_on_update=True,
    has_dependents=False,
    default=default_core_event,
    validate=validate_core_event,
    columns=COLUMNS,
    row=core_row,
    selectable_fields={
        **_reference_fields("involvedObject"),
        "reason": lambda obj: obj.get("reason") or "",
        "reportingComponent": lambda obj: obj.get("reportingComponent") or "",
        "source": lambda obj: dig(obj, "source", "component") or obj.get("reportingComponent") or "",
        "type": lambda obj: obj.get("type") or "",
    },
)

EVENT = Kind(
    EVENTS_V1,
    "io.k8s.api.events.v1.Event",
    "event",
    short_names=("ev",),
    create_on_update=True,
    has_dependents=False,
    default=default_event,
    validate=validate_event,
    validate_update=validate_event_update,
    columns=COLUMNS,
    row=lambda obj, now: core_row(to_core(obj), now),
    selectable_fields={  # read from the stored form, which is core/v1
        **_reference_fields("regarding"),
        "reason": lambda obj: obj.get("reason") or "",
        "reportingController": lambda obj: obj.get("reportingComponent") or "",
        "type": lambda obj: obj.get("type") or "",
    },
    conversion=Conversion(EVENTS, to_core, from_core),
)
