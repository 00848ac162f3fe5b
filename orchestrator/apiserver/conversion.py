"""From the stored version of an object to the served one and back, by function or by webhook.

The core asks here; which way a kind converts is the business of its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.request import ObjectResult
from orchestrator.store import Event, Record


async def to_stored(kind: Kind, obj: Object) -> Object:
    """The object as the store keeps it; raises ApiError when a webhook fails."""
    conversion = kind.conversion
    if conversion is None:
        return obj
    if conversion.fetch_to_stored is not None:
        return (await conversion.fetch_to_stored([obj]))[0]
    return conversion.to_stored(obj)


async def from_stored(kind: Kind, obj: Object) -> Object:
    """The object as this kind serves it; raises ApiError when a webhook fails."""
    conversion = kind.conversion
    if conversion is None:
        return obj
    if conversion.fetch_from_stored is not None:
        return (await conversion.fetch_from_stored([obj]))[0]
    return conversion.from_stored(obj)


async def stored_result(kind: Kind, record: Record, *, code: int = 200) -> ObjectResult:
    """The answer that is one stored object."""
    if kind.conversion is None:
        return ObjectResult(record.obj, record.raw, code)
    return ObjectResult(await from_stored(kind, record.obj), None, code)


async def served_records(kind: Kind, records: Sequence[Record]) -> list[Record]:
    """The records with what a webhook has to convert converted; others convert when they are encoded."""
    conversion = kind.conversion
    if conversion is None or conversion.fetch_from_stored is None or not records:
        return list(records)
    objects = await conversion.fetch_from_stored([record.obj for record in records])
    return [
        Record(record.key, orjson.dumps(obj), record.revision, record.create_revision, obj)
        for record, obj in zip(records, objects, strict=True)
    ]


async def served_events(kind: Kind, events: Sequence[Event]) -> list[Event]:
    """The events with the states before and after as they are served, converted in one call."""
    records = [record for event in events for record in (event.record, event.previous) if record is not None]
    served = iter(await served_records(kind, records))
    return [Event(event.type, next(served), next(served) if event.previous is not None else None) for event in events]


def at_encoding(kind: Kind) -> Callable[[Object], Object] | None:
    """What is left to convert when records from `served_records` are encoded; None for nothing."""
    conversion = kind.conversion
    return None if conversion is None or conversion.fetch_from_stored is not None else conversion.from_stored
