"""Events: what a component did to an object, for people who run `kubectl describe`.

Mirrors client-go's EventRecorder: equal events of one object become one Event with a count, and
`event_correlator` keeps them few. Recording never waits and never fails its caller; posting happens in one task, from a
bounded queue. What does not fit is dropped and counted, as in Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import Clock, format_micro_time, format_time
from orchestrator.aiokit.recent import RecentMap
from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of, resource_version_of, uid_of
from orchestrator.api.resources import EVENTS
from orchestrator.client.client import Client
from orchestrator.component.event_correlator import COMBINED, REMEMBERED_MAX, EventCorrelator
from orchestrator.logs import get_logger

QUEUE_MAX = 10_000
MESSAGE_BYTES_MAX = 1_024


class _Occurrence(Struct, frozen=True):
    reference: dict[str, str]
    type: str
    reason: str
    message: str
    at: datetime
    component: str


class _Posted(Struct):
    name: str
    namespace: str
    count: int


def reference_to(obj: Object, *, field_path: str = "") -> dict[str, str]:
    """The ObjectReference that an Event's `involvedObject` carries."""
    reference = {
        "kind": obj["kind"],
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": uid_of(obj),
        "apiVersion": obj["apiVersion"],
        "resourceVersion": resource_version_of(obj),
        "fieldPath": field_path,
    }
    return {key: value for key, value in reference.items() if value}


class EventRecorder:
    """Records events as one source (`source.component`, optionally `source.host`)."""

    def __init__(
        self, client: Client, *, component: str, clock: Clock, host: str = "", actions: Mapping[str, str] | None = None
    ) -> None:
        """`actions`: what was done, by reason; with them events are shaped as in events.k8s.io (kube-scheduler)."""
        self._client = client
        self._actions = actions
        self._clock = clock
        self._component = component
        self._host = host
        self._queue: deque[_Occurrence] = deque()
        self._wake = asyncio.Event()
        self._posted: RecentMap[tuple[Any, ...], _Posted] = RecentMap(REMEMBERED_MAX // 2)
        self._posted_total = 0
        self._correlator = EventCorrelator()
        self._log = get_logger("events", source=component)
        self.dropped_total = 0

    def event(
        self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "", component: str = ""
    ) -> None:  # fmt: skip
        """Record `Normal` or `Warning`, a CamelCase reason and a sentence about an object.

        `component`: who says so, if it is not the recorder's own.
        """
        if len(self._queue) >= QUEUE_MAX:
            self.dropped_total += 1
            return
        if len(message) > MESSAGE_BYTES_MAX:
            message = message[: MESSAGE_BYTES_MAX - 3] + "..."
        self._queue.append(
            _Occurrence(
                reference_to(obj, field_path=field_path),
                type,
                reason,
                message,
                self._clock.now(),
                component or self._component,
            )
        )
        self._wake.set()

    async def run(self) -> None:
        """Post what was recorded; ends only by cancellation."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                occurrence = self._queue.popleft()
                try:
                    await self._post(occurrence)
                except (errors.ApiError, OSError) as error:
                    # Events are best effort: a namespace that is being deleted refuses them.
                    self.dropped_total += 1
                    self._log.debug("event.refused", reason=occurrence.reason, error=str(error))

    async def _post(self, occurrence: _Occurrence) -> None:
        reference, now = occurrence.reference, self._clock.monotonic()
        subject = reference.get("uid") or reference["name"]
        kind = (subject, occurrence.type, occurrence.reason)
        message = self._correlator.combine(kind, occurrence.message, now)
        shown = COMBINED if message is not occurrence.message else message
        identity = (*kind, reference.get("fieldPath", ""), shown)
        posted = self._posted.get(identity)
        if posted is not None:
            posted.count += 1
        if not self._correlator.admit(subject, now):
            self.dropped_total += posted is None
            return  # one that was posted before keeps its count, for the next time that it may be told
        if posted is not None:
            try:
                await self._client.patch(
                    EVENTS, posted.name, self._again(occurrence, message, posted), posted.namespace
                )
                return
            except errors.NotFound:
                pass  # expired meanwhile: begin again
        namespace = reference.get("namespace") or "default"
        name = f"{reference['name']}.{int(self._clock.now().timestamp() * 1e6):x}{self._posted_total & 0xFFF:03x}"
        await self._client.create(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": reference,
                "reason": occurrence.reason,
                "message": message,
                "type": occurrence.type,
                "reportingComponent": occurrence.component,
                **self._first(occurrence),
            },
        )
        self._posted.put(identity, _Posted(name, namespace, 1))
        self._posted_total += 1

    def _first(self, occurrence: _Occurrence) -> Object:
        """What an event carries beside what both shapes have."""
        if self._actions is not None:
            return {
                "eventTime": format_micro_time(occurrence.at),
                "action": self._actions[occurrence.reason],
                "reportingInstance": self._host or occurrence.component,
            }
        stamp = format_time(occurrence.at)
        source = {"component": occurrence.component, **({"host": self._host} if self._host else {})}
        times = {"firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1}
        return {"source": source, "reportingInstance": self._host, **times}

    def _again(self, occurrence: _Occurrence, message: str, posted: _Posted) -> Object:
        """The patch for an event that happened once more."""
        if self._actions is not None:
            seen = {"count": posted.count, "lastObservedTime": format_micro_time(occurrence.at)}
            return {"series": seen, "message": message}
        return {"count": posted.count, "lastTimestamp": format_time(occurrence.at), "message": message}
