"""Follows FlowSchemas and PriorityLevelConfigurations: says to which flow and level a request belongs.

A change takes effect with the next request. The answer for the same user, verb and resource is remembered, so that a
request costs one look into a dictionary. The cluster's own components do not pass here at all: they talk to the API
in process. Watches and byte streams occupy a seat only until they are open. Mirrors k8s.io/apiserver's
flowcontrol configuration controller, without its writes (`upkeep` does those).
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.aiokit.clock import Clock
from orchestrator.api.kinds.flowcontrol_defaults import CATCH_ALL, MANDATORY_LEVELS, MANDATORY_SCHEMAS
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS
from orchestrator.apiserver.flowcontrol.levels import FlowCounts, Level, Pool, plan_limits
from orchestrator.apiserver.flowcontrol.matching import Digest, precedence, schema_matches
from orchestrator.store import Event, EventType, Store

REMEMBERED_MAX = 8192
"""Requests whose flow is remembered."""


class Ticket:
    """Where a request belongs: its level, and which flow of the level it is part of. Shared by like requests."""

    __slots__ = ("counts", "flow", "level", "level_uid", "schema_uid")

    def __init__(self, *, level: Level, flow: str, counts: FlowCounts, schema_uid: str, level_uid: str) -> None:
        self.level = level
        self.flow = flow
        self.counts = counts
        self.schema_uid = schema_uid
        self.level_uid = level_uid

    def check(self) -> None:
        """Raise Rejected where the request would be refused at once."""
        self.level.check(self.flow, self.counts)

    def try_acquire(self) -> bool:
        """Take a seat without waiting, if that is possible; each needs one `release`."""
        return self.level.try_acquire(self.counts)

    async def acquire(self) -> None:
        """Take a seat, after waiting for one if needed; raises Rejected. Each needs one `release`."""
        await self.level.acquire(self.flow, self.counts)

    def release(self) -> None:
        """Give the seat back."""
        self.level.release(self.counts)


class FlowControl:
    """The priority levels and flows of one API server."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._schemas = {name_of(schema): schema for schema in MANDATORY_SCHEMAS}
        self._levels = {name_of(level): level for level in MANDATORY_LEVELS}
        self._pool = Pool(clock)
        self._ordered: list[Object] = []
        self._counts: dict[tuple[str, str], FlowCounts] = {}
        """(FlowSchema, priority level) → what happened"""
        self._tickets: dict[Digest, Ticket] = {}
        self._is_stale = True
        store.observe(FLOW_SCHEMAS.group_resource, self._on_schema)
        store.observe(PRIORITY_LEVEL_CONFIGURATIONS.group_resource, self._on_level)

    def classify(self, digest: Digest) -> Ticket:
        """Where a request belongs: to the first FlowSchema in order of precedence that is about it."""
        if self._is_stale:
            self._configure()
        ticket = self._tickets.get(digest)
        if ticket is None:
            if len(self._tickets) >= REMEMBERED_MAX:
                self._tickets.clear()
            ticket = self._tickets[digest] = self._ticket(digest)
        return ticket

    def levels(self) -> dict[str, Level]:
        """Name → priority level, as they are configured now."""
        if self._is_stale:
            self._configure()
        return self._pool.levels

    def counts(self) -> Iterator[tuple[str, str, FlowCounts]]:
        """(FlowSchema, priority level, what happened to its requests) of every flow schema that was used."""
        for (schema, level), counts in self._counts.items():
            yield schema, level, counts

    def _ticket(self, digest: Digest) -> Ticket:
        schema = next((one for one in self._ordered if schema_matches(one, digest)), self._schemas[CATCH_ALL])
        spec, name = schema["spec"], name_of(schema)
        level = spec["priorityLevelConfiguration"]["name"]
        distinguisher = {"ByUser": digest.user, "ByNamespace": digest.namespace}.get(_method_of(spec), "")
        return Ticket(
            level=self._pool.levels[level],
            flow=f"{name}/{distinguisher}",
            counts=self._counts.setdefault((name, level), FlowCounts()),
            schema_uid=schema["metadata"].get("uid") or "",
            level_uid=self._levels[level]["metadata"].get("uid") or "",
        )

    def _configure(self) -> None:
        self._is_stale = False
        self._tickets.clear()
        # One whose level does not exist takes part in nothing.
        usable = [one for one in self._schemas.values() if level_of(one) in self._levels]
        self._ordered = sorted(usable, key=precedence)
        existing = {(name_of(one), level_of(one)) for one in usable}
        self._counts = {key: counts for key, counts in self._counts.items() if key in existing or counts.executing}
        self._pool.configure(plan_limits(self._levels))

    # Events; run in the commit.

    def _on_schema(self, event: Event) -> None:
        self._note(self._schemas, event, MANDATORY_SCHEMAS)

    def _on_level(self, event: Event) -> None:
        self._note(self._levels, event, MANDATORY_LEVELS)

    def _note(self, known: dict[str, Object], event: Event, mandatory: tuple[Object, ...]) -> None:
        name, obj = event.record.key.name, event.record.obj
        if event.type is EventType.DELETED:
            del known[name]
            known.update((name_of(one), one) for one in mandatory if name_of(one) == name)
        else:
            if (old := known.get(name)) is not None and old["spec"] == obj["spec"] and _uid(old) == _uid(obj):
                return  # a status, a label: the flows are as before
            known[name] = obj
        self._is_stale = True


def level_of(schema: Object) -> str:
    """The name of the priority level that a FlowSchema leads to."""
    return str((schema["spec"].get("priorityLevelConfiguration") or {}).get("name") or "")


def _method_of(spec: Object) -> str:
    return str((spec.get("distinguisherMethod") or {}).get("type") or "")


def _uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid") or "")
