"""Keeps the stored FlowSchemas and PriorityLevelConfigurations in order.

Owns the condition `Dangling` of FlowSchemas, and the default objects: what is missing is made again, what is marked
for automatic updates has the default spec, and what is so marked and no default is removed. Mirrors kube-apiserver's
flowcontrol configuration controller and its bootstrap-ensurer ("Maintenance of the Mandatory and Suggested
Configuration Objects" in the documentation).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from orchestrator.aiokit.clock import format_time
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.flowcontrol import FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION
from orchestrator.api.kinds.flowcontrol_defaults import AUTOUPDATE, dangling_condition, default_flow_control
from orchestrator.api.objects import Object, annotations_of, condition_of, name_of
from orchestrator.apiserver.deletion import DeleteOptions
from orchestrator.apiserver.flowcontrol.flow_control import level_of
from orchestrator.apiserver.reporting import API_SERVER, apply_status
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.server import ApiServer
from orchestrator.logs import get_logger
from orchestrator.store import Event, EventType

SCHEMAS = FLOW_SCHEMA.resource.group_resource
LEVELS = PRIORITY_LEVEL_CONFIGURATION.resource.group_resource
_MANAGER = "api-priority-and-fairness-config-consumer-v1"


class _ObjectKey(NamedTuple):
    kind: str
    """A group-resource."""
    name: str


class FlowControlUpkeep:
    """Upkeep of one API server's flow control objects; `ensure` makes a default object what it should be."""

    def __init__(self, server: ApiServer, ensure: Callable[[str, Object], Awaitable[None]]) -> None:
        self._server = server
        self._ensure = ensure
        self._schemas: dict[str, Object] = {}
        self._levels: dict[str, Object] = {}
        self._defaults = {_ObjectKey(one.group_resource, name_of(obj)): obj for one, obj in default_flow_control()}
        self._queue: WorkQueue[_ObjectKey] = WorkQueue(clock=server.clock)
        self._log = get_logger("apiserver/flowcontrol")
        server.store.observe(SCHEMAS, self._on_schema)
        server.store.observe(LEVELS, self._on_level)

    # Events; run in the commit.

    def _on_schema(self, event: Event) -> None:
        self._note(self._schemas, SCHEMAS, event)

    def _on_level(self, event: Event) -> None:
        name = event.record.key.name
        if self._note(self._levels, LEVELS, event):
            for schema in self._schemas.values():
                if level_of(schema) == name:
                    self._queue.add(_ObjectKey(SCHEMAS, name_of(schema)))

    def _note(self, known: dict[str, Object], kind: str, event: Event) -> bool:
        """Remember an object; whether one came or went."""
        name = event.record.key.name
        was_known = name in known
        if event.type is EventType.DELETED:
            known.pop(name, None)
        else:
            known[name] = event.record.obj
        self._queue.add(_ObjectKey(kind, name))
        return was_known != (name in known)

    # What needs writes.

    async def run(self) -> None:
        """Settle objects until cancelled."""
        while True:
            key = await self._queue.get()
            try:
                await self._settle(key)
                self._queue.forget(key)
            except errors.ApiError as error:
                self._log.warning("flowcontrol.unsettled", kind=key.kind, name=key.name, error=error.message)
                self._queue.add_rate_limited(key)
            finally:
                self._queue.done(key)

    async def _settle(self, key: _ObjectKey) -> None:
        kind, known = FLOW_SCHEMA, self._schemas
        if key.kind == LEVELS:
            kind, known = PRIORITY_LEVEL_CONFIGURATION, self._levels
        default, obj = self._defaults.get(key), known.get(key.name)
        if default is not None and (obj is None or obj["spec"] != default["spec"]):
            await self._ensure(key.kind, default)
            obj = known.get(key.name)
        if obj is None:
            return
        if default is None and annotations_of(obj).get(AUTOUPDATE) == "true":
            await self._delete(kind, key.name)
        elif kind is FLOW_SCHEMA:
            await self._report(obj)

    async def _delete(self, kind: Kind, name: str) -> None:
        try:
            await self._server.delete_object(
                ApiRequest("delete", kind, API_SERVER, "", name, user_agent=_MANAGER), DeleteOptions()
            )
        except errors.NotFound:
            return  # somebody else was faster

    async def _report(self, schema: Object) -> None:
        level = level_of(schema)
        condition = dangling_condition(level, exists=level in self._levels)
        current = condition_of(schema, "Dangling") or {}
        if all(current.get(field) == value for field, value in condition.items()):
            return
        since = current.get("lastTransitionTime") if current.get("status") == condition["status"] else None
        condition["lastTransitionTime"] = since or format_time(self._server.clock.now())
        await apply_status(self._server, FLOW_SCHEMA, schema, {"conditions": [condition]}, manager=_MANAGER)
