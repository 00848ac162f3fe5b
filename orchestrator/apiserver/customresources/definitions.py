"""Follows CustomResourceDefinitions: serves their kinds, accepts their names, removes their instances.

Owns which custom kinds are in the registry. A definition takes effect in the commit that stores it, and the answer
to the request waits until its conditions are written, so that a client that created one may use it at once. What
happens later (a name becomes free, the last instance loses its finalizer) is the work of `run`. Mirrors the
controllers of k8s.io/apiextensions-apiserver/pkg/controller.
"""

from __future__ import annotations

import asyncio
from functools import partial

from orchestrator.aiokit.clock import format_time
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors
from orchestrator.api.kinds.apiextensions.custom_resource_definition import (
    CLEANUP_FINALIZER,
    CUSTOM_RESOURCE_DEFINITION,
    is_condition_true,
)
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, copy_object, is_terminating, name_of
from orchestrator.apiserver import deletion
from orchestrator.apiserver.customresources.naming import plan_status, terminating, with_condition
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.user import MASTERS_GROUP, User
from orchestrator.apiserver.webhook_client import WebhookClient
from orchestrator.logs import get_logger
from orchestrator.store import Event, EventType

DEFINITIONS = CUSTOM_RESOURCE_DEFINITION.resource.group_resource
USER_AGENT = "apiextensions-apiserver-1.36"
_USER = User("system:apiserver", groups=(MASTERS_GROUP,))
_ATTEMPTS_MAX = 20


class CustomResources:
    """The definitions of one API server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._definitions: dict[str, Object] = {}
        self._kinds: dict[str, list[Kind]] = {}
        self._observed: set[str] = set()
        """Group-resources of instances that are observed; observers stay for good."""
        self._queue: WorkQueue[str] = WorkQueue(clock=server.clock)
        self._busy = asyncio.Lock()
        self._webhooks = WebhookClient(server)
        server.closers.append(self._webhooks.close)
        self._log = get_logger("apiserver/customresources")

    def follow(self) -> None:
        """Serve what is stored, and stay current from now on."""
        self._server.store.observe(DEFINITIONS, self._on_definition)

    # A definition changed; runs in the commit.

    def _on_definition(self, event: Event) -> None:
        name = event.record.key.name
        old = self._definitions.get(name)
        if event.type is EventType.DELETED:
            self._definitions.pop(name, None)
            self._server.creators.pop(name, None)
            self._unserve(name)
            if old is not None:
                self._enqueue_siblings(old)
            return
        new = event.record.obj
        self._definitions[name] = new
        if is_terminating(new):
            self._server.creators[name] = _refuse_to_create
        if old is None or new["spec"] != old["spec"] or _served_names(new) != _served_names(old):
            self._serve(name, new)
        self._queue.add(name)
        self._enqueue_siblings(new)

    def _enqueue_siblings(self, definition: Object) -> None:
        group = definition["spec"]["group"]
        for name, other in self._definitions.items():
            if other["spec"]["group"] == group and not is_condition_true(other, "NamesAccepted"):
                self._queue.add(name)

    def _serve(self, name: str, definition: Object) -> None:
        self._unserve(name)
        if not self._may_serve(name, definition):
            return
        # Imported with the first definition: a start without any need not pay for schemas.
        from orchestrator.apiserver.customresources.conversion import WebhookConverter
        from orchestrator.apiserver.customresources.kinds import conversion_of, kind_of, versions_of

        fetch = None
        if (definition["spec"].get("conversion") or {}).get("strategy") == "Webhook":
            fetch = WebhookConverter(definition, self._webhooks).convert
        kinds = [
            kind_of(definition, version, conversion_of(definition, version, fetch))
            for version in versions_of(definition)
            if version.get("served")
        ]
        for kind in kinds:
            self._server.registry.register(kind)
        self._kinds[name] = kinds
        resource = f"{definition['spec']['names']['plural']}.{definition['spec']['group']}"
        if resource not in self._observed:
            self._observed.add(resource)
            self._server.store.observe(resource, partial(self._on_instance, resource))

    def _may_serve(self, name: str, definition: Object) -> bool:
        """An established definition always; a new one as soon as its names are free."""
        if is_condition_true(definition, "Established"):
            return True
        status = plan_status(definition, self._definitions.values(), "")
        return any(c["type"] == "Established" and c["status"] == "True" for c in status["conditions"])

    def _unserve(self, name: str) -> None:
        for kind in self._kinds.pop(name, ()):
            self._server.registry.unregister(kind)

    def _on_instance(self, resource: str, event: Event) -> None:
        if event.type is not EventType.DELETED:
            return
        definition = self._definitions.get(resource)  # a definition is named like what it defines
        if definition is not None and is_terminating(definition):
            self._queue.add(resource)

    # What needs writes.

    async def settle(self, name: str) -> None:
        """Bring one definition where it should be; called before the answer to the request that changed it."""
        async with self._busy:
            definition = self._definitions.get(name)
            if definition is None:
                return
            if is_terminating(definition):
                await self._finalize(definition)
            else:
                await self._accept(definition)

    async def _accept(self, definition: Object) -> None:
        now = format_time(self._server.clock.now())
        if plan_status(definition, self._definitions.values(), now) == definition.get("status"):
            return

        async def change(current: Object) -> Object:
            changed = copy_object(current)
            changed["status"] = plan_status(current, self._definitions.values(), now)
            changed["metadata"].pop("resourceVersion", None)
            return changed

        await self._write(name_of(definition), change, subresource="status")

    async def _finalize(self, definition: Object) -> None:
        name = name_of(definition)
        if CLEANUP_FINALIZER not in (definition["metadata"].get("finalizers") or ()):
            return
        left = await self._delete_instances(definition)
        # Deleting instances committed events of their own, which put this definition into the queue again: harmless.
        now = format_time(self._server.clock.now())
        if left:
            text = "CustomResource deletion is in progress"
            condition = terminating("InstanceDeletionInProgress", text)
        else:
            condition = terminating("InstanceDeletionCompleted", "removed all instances")

        async def mark(current: Object) -> Object:
            changed = copy_object(current)
            status = changed.setdefault("status", {})
            status["conditions"] = with_condition(status.get("conditions") or [], condition, now)
            changed["metadata"].pop("resourceVersion", None)
            return changed

        async def release(current: Object) -> Object:
            changed = await mark(current)
            changed["metadata"]["finalizers"] = [
                finalizer for finalizer in changed["metadata"].get("finalizers") or () if finalizer != CLEANUP_FINALIZER
            ]
            return changed

        await self._write(name, mark if left else release, subresource="status" if left else "")

    async def _delete_instances(self, definition: Object) -> int:
        """Delete every instance; returns how many wait for their finalizers."""
        from orchestrator.apiserver.customresources.kinds import kind_of, versions_of

        # As they are stored: neither a served version nor a conversion webhook is needed to delete.
        version = next(v for v in versions_of(definition) if v.get("storage"))
        kind, server = kind_of(definition, version, None), self._server
        resource = kind.resource.group_resource
        for instance in await server.read_all(resource):
            metadata = instance["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            request = ApiRequest(
                "delete", kind, _USER, metadata.get("namespace") or "", metadata["name"], user_agent=USER_AGENT
            )
            try:
                await server.delete_object(request, deletion.DeleteOptions())
            except errors.NotFound:
                continue  # gone is what was wanted
        return len(await server.read_all(resource))

    async def _write(self, name: str, change: object, *, subresource: str) -> None:
        request = ApiRequest(
            "patch", CUSTOM_RESOURCE_DEFINITION, _USER, "", name, subresource=subresource, user_agent=USER_AGENT
        )
        try:
            # Trusted: finalizers and conditions are written together.
            await self._server.change_object(request, change, trusted=True)  # type: ignore[arg-type]
        except errors.NotFound:
            return  # somebody deleted it meanwhile

    # What happens by itself.

    async def run(self) -> None:
        """Process definitions whose surroundings changed; ends only by cancellation."""
        while True:
            name = await self._queue.get()
            try:
                await self.settle(name)
                self._queue.forget(name)
            except errors.ApiError as error:
                self._log.warning("definition.unsettled", name=name, error=error.message)
                if self._queue.failures(name) < _ATTEMPTS_MAX:
                    self._queue.add_rate_limited(name)
            finally:
                self._queue.done(name)


async def _refuse_to_create(server: ApiServer, request: ApiRequest) -> ObjectResult:
    raise errors.MethodNotAllowed(f"{request.verb} not allowed while custom resource definition is terminating")


def _served_names(definition: Object) -> object:
    status = definition.get("status") or {}
    return status.get("acceptedNames"), is_condition_true(definition, "Established")


def register_custom_resources(server: ApiServer) -> CustomResources:
    """Make a server serve CustomResourceDefinitions; `follow` before the first request, `run` after."""
    custom_resources = CustomResources(server)
    server.settle_hooks[DEFINITIONS] = custom_resources.settle
    return custom_resources
