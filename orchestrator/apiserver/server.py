"""The API server's core: the verbs, for all kinds alike, on top of the store.

Owns the pipeline of a request: authorize, decode, default, admit, validate, store. Knows nothing of
HTTP (see `apiserver.http`) and nothing of any one kind (see `api.kinds`); what a subresource does
beyond the generic `status` and `scale` is registered from `apiserver.subresources`. Mirrors
kube-apiserver's generic registry and its endpoint handlers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api import errors
from orchestrator.api.decode import NotDecodable
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.object_meta import validate_object_meta, validate_object_meta_update
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, copy_object, name_of
from orchestrator.apiserver import conversion, deletion, incoming, listing, updating
from orchestrator.apiserver.admission.plugin import AdmissionChain, Attributes, Operation
from orchestrator.apiserver.authorizer import Attributes as AuthorizerAttributes
from orchestrator.apiserver.authorizer import Authorizer, check
from orchestrator.apiserver.field_ownership import FieldOwnership, check_patch_options, is_apply, updater_of
from orchestrator.apiserver.patching import apply_patch
from orchestrator.apiserver.reading import WATCH_SECONDS_MIN, ObjectReader, Reader
from orchestrator.apiserver.renewal import plan_renewal
from orchestrator.apiserver.request import ApiRequest, ListResult, ObjectResult, check_options, check_verb
from orchestrator.apiserver.reservation import Reservation, WriteHook, commit, give_back, reserve
from orchestrator.apiserver.store_errors import MODIFIED, translated
from orchestrator.apiserver.uids import UidSource
from orchestrator.apiserver.watching import BOOKMARK_SECONDS, ObjectWatch
from orchestrator.logs import get_logger
from orchestrator.store import Key, Record, Store

if TYPE_CHECKING:
    from orchestrator.apiserver.user import User
    from orchestrator.client.transport import Request

Result = ObjectResult | ListResult
SubresourceHandler = Callable[["ApiServer", ApiRequest], Awaitable[ObjectResult]]
"""Serves one verb of one subresource."""
CommitHook = Callable[[Object | None, Object | None], Awaitable[None]]
"""(new, old): called after an update or deletion was committed; new is None when the object is gone."""

SPEC_SUBRESOURCES = frozenset(("ephemeralcontainers", "resize"))
"""They change what the pod should be, so its generation counts them."""
CONFLICT_RETRIES_MAX = 100
GENERATED_NAME_RETRIES_MAX = 8


class RemoteGroups(Protocol):
    """The group versions that other servers serve behind ours (aggregation)."""

    async def read(self, user: User, request: Request) -> Object:
        """Answer a get or list of one of them as this user; NotFound when nobody serves it, or any other ApiError."""
        ...


class ApiServer:
    """Serves `ApiRequest`s; one per cluster (or several, on a store that allows it)."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: Store,
        clock: Clock,
        authorizer: Authorizer,
        indexed_fields: Mapping[str, Mapping[str, Callable[[Object], str]]],
    ) -> None:
        self.registry = registry
        self.store = store
        self.clock = clock
        self.authorizer = authorizer
        self.admission = AdmissionChain(())
        self.ownership = FieldOwnership(clock)
        self.subresources: dict[tuple[str, str, str], SubresourceHandler] = {}
        """(group-resource, subresource, verb) → handler"""
        self.creators: dict[str, SubresourceHandler] = {}
        """group-resource → handler of `create` for kinds that are asked, not stored (reviews, bindings)"""
        self.readers: dict[str, ObjectReader] = {}
        """group-resource → source of objects that are made up when they are read (metrics)"""
        self.write_hooks: dict[str, list[WriteHook]] = {}
        self.commit_hooks: dict[str, list[CommitHook]] = {}
        self.settle_hooks: dict[str, Callable[[str], Awaitable[None]]] = {}
        """group-resource → what a write of this object (by name) waits for before it is answered."""
        self.remote_groups: RemoteGroups | None = None
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self._reader = Reader(store=store, clock=clock, indexed_fields=indexed_fields, computed=self.readers)
        self.uids = UidSource()
        self._log = get_logger("apiserver")

    # Reading, for admission plugins and subresources: no authorization, no copies.

    async def read_record(self, group_resource: str, name: str, namespace: str = "") -> Record | None:
        """The current record of an object, in its stored version."""
        return await self.store.get(Key(group_resource, namespace, name))

    async def read(self, group_resource: str, name: str, namespace: str = "") -> Object | None:
        """The current object, or None. Read-only."""
        record = await self.read_record(group_resource, name, namespace)
        return record.obj if record else None

    async def read_all(self, group_resource: str, namespace: str = "") -> list[Object]:
        """All current objects of a resource, of one namespace if given. Read-only."""
        page = await self.store.list(group_resource, namespace or None)
        return [record.obj for record in page.records]

    async def close(self) -> None:
        """Let go of what parts of the server hold: connections to webhooks."""
        while self.closers:
            await self.closers.pop()()

    # The entry points.

    def authorize(self, request: ApiRequest) -> None:
        """Raise Forbidden unless the user may do this."""
        name, namespace = request.name, request.namespace
        if not name and "fieldSelector" in request.query:
            # A list of one object is asked for by its name, so that rules with resourceNames can allow it.
            name = listing.selected_name(request.query["fieldSelector"])
        if request.plural == "namespaces" and not request.group:
            # A namespace counts as being inside itself: a RoleBinding in it can allow to read it.
            namespace = request.name
        check(
            self.authorizer,
            AuthorizerAttributes(
                user=request.user,
                verb=request.verb,
                group=request.group,
                version=request.kind.resource.version,
                resource=request.plural,
                subresource=request.subresource,
                namespace=namespace,
                name=name,
                field_selector=request.query.get("fieldSelector", ""),
            ),
        )

    async def handle(self, request: ApiRequest) -> Result:
        """Serve everything but watches and byte streams; raises ApiError."""
        self.authorize(request)
        check_options(request)
        result = await self._serve(request)
        if request.verb not in ("get", "list") and not request.dry_run:
            settle = self.settle_hooks.get(request.kind.resource.group_resource)
            if settle is not None:
                await settle(request.name or name_of(result.obj if isinstance(result, ObjectResult) else {}))
        return result

    async def _serve(self, request: ApiRequest) -> Result:
        if request.subresource:
            return await self._handle_subresource(request)
        verb = request.verb
        if verb == "get":
            return await self._reader.get(request)
        if verb == "list":
            return await self._reader.list_objects(request)
        if verb == "create":
            return await self._create(request)
        if verb == "update":
            return await self._update(request)
        if verb == "patch":
            return await self._patch(request)
        if verb == "delete":
            return await self._delete(request)
        if verb == "deletecollection":
            return await self._delete_collection(request)
        raise errors.method_not_allowed()

    async def watch(
        self,
        request: ApiRequest,
        *,
        bookmark_seconds: float = BOOKMARK_SECONDS,
        default_seconds: float = WATCH_SECONDS_MIN,
    ) -> ObjectWatch:
        """Open a watch, with bookmarks so often if the client wants any; raises ApiError.

        It lasts as long as the client says, or `default_seconds`.
        """
        self.authorize(request)
        return await self._reader.watch(request, bookmark_seconds, default_seconds)

    # Create.

    async def _create(self, request: ApiRequest) -> ObjectResult:
        kind = request.kind
        check_verb(request, "create")
        obj = incoming.decode_object(request, kind, request.body)
        incoming.check_namespace(request, obj)
        creator = self.creators.get(kind.resource.group_resource)
        if creator is not None:
            request.body = obj
            return await creator(self, request)
        return await self.create_object(request, obj)

    async def create_object(self, request: ApiRequest, obj: Object) -> ObjectResult:
        """The second half of a create, for a decoded object; also for creating through PUT and apply."""
        generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
        base = copy_object(obj) if generated else obj
        for attempt in range(GENERATED_NAME_RETRIES_MAX if generated else 1):
            candidate = copy_object(base) if generated else base
            if generated:
                incoming.fill_generate_name(candidate)
            try:
                return await self._create_once(request, candidate)
            except errors.AlreadyExists:
                if generated and attempt < GENERATED_NAME_RETRIES_MAX - 1:
                    continue
                if candidate["metadata"].get("generateName"):
                    raise errors.generated_name_exists(request.group, request.plural, name_of(candidate)) from None
                raise
        raise AssertionError("unreachable")

    async def _create_once(self, request: ApiRequest, obj: Object) -> ObjectResult:
        kind = request.kind
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise errors.BadRequest("resourceVersion should not be set on objects to be created")
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"):
            metadata.pop(field, None)
        metadata["uid"] = self.uids.next()
        metadata["creationTimestamp"] = format_time(self.clock.now())
        if kind.has_generation:
            metadata["generation"] = 1
        if kind.has_status and not kind.keeps_status:
            obj.pop("status", None)
        kind.default(obj)
        status = obj.pop("status", None) if kind.keeps_status else None
        self.ownership.on_create(request, obj)  # nobody owns fields of a status by creating it
        if status is not None:
            obj["status"] = status
        attributes = self._attributes(request, "CREATE", obj, None)
        await self.admission.admit(attributes)
        obj = attributes.obj
        warnings = kind.warn(obj, None)
        kind.prepare_create(obj)
        causes = [*validate_object_meta(obj, kind), *kind.validate(obj)]
        if causes:
            raise errors.invalid(internal_group(kind), kind.resource.kind, name_of(obj), causes)
        if warnings:
            request.warn(warnings)
        await self.admission.validate(attributes)
        reservations = await self._reserve(request, obj, None)
        stored = await conversion.to_stored(kind, obj)
        if request.dry_run:
            return await self._dry_run_create(request, stored)
        key = Key(kind.stored_resource, request.namespace, name_of(obj))
        with translated(kind, name_of(obj)):
            record = await commit(self.store, reservations, self.store.create(key, stored))
        self._tell("created", request, record)
        return await conversion.stored_result(kind, record, code=201)

    def _tell(self, what: str, request: ApiRequest, record: Record) -> None:
        """One line in the log for each write, for those who want to see who told whom."""
        if not self._log.is_enabled_for(logging.DEBUG):
            return
        key = record.key
        resource = f"{key.resource}/{request.subresource}" if request.subresource else key.resource
        name = f"{key.namespace}/{key.name}" if key.namespace else key.name
        self._log.debug(f"object.{what}", resource=resource, name=name, by=request.user.name, revision=record.revision)

    async def _dry_run_create(self, request: ApiRequest, stored: Object) -> ObjectResult:
        name = name_of(stored)
        key = Key(request.kind.stored_resource, request.namespace, name)
        if await self.store.get(key) is not None:
            raise errors.already_exists(request.group, request.plural, name)
        return ObjectResult(await conversion.from_stored(request.kind, stored), None, 201)

    # Update and patch: one pipeline, from the stored object to the next one.

    async def _update(self, request: ApiRequest) -> ObjectResult:
        kind = request.kind
        if not request.subresource:
            check_verb(request, "update")
            if kind.renewed is not None and (renewed := await self._renew(request)) is not None:
                return renewed
        body = copy_object(request.body) if request.shares_body else request.body
        obj = incoming.decode_object(request, kind, body)
        incoming.check_name(request, obj)
        incoming.check_namespace(request, obj)

        # Only a write without a version is tried again, and needs what was sent once more.
        may_repeat = not obj["metadata"].get("resourceVersion")

        async def replace(current: Object) -> Object:
            return copy_object(obj) if may_repeat else obj

        if kind.create_on_update and not request.subresource and await self.store.get(request.key) is None:
            if obj["metadata"].get("uid") or obj["metadata"].get("resourceVersion"):
                raise errors.not_found(request.group, request.plural, request.name)
            try:
                return await self.create_object(request, copy_object(obj))
            except errors.AlreadyExists:
                pass  # somebody was faster: replace theirs
        return await self.change_object(request, replace)

    async def _renew(self, request: ApiRequest) -> ObjectResult | None:
        """The short way of an update that only renews an object; None when it does more, and nothing was done."""
        kind = request.kind
        is_text = request.raw_body is not None or request.problems  # and may name a field twice
        if is_text or request.dry_run or kind.stored_resource in self.write_hooks:
            return None
        record = await self.store.get(request.key)
        if record is None:
            return None
        time = format_time(self.clock.now())
        renewed = plan_renewal(kind, request.body, record.obj, updater_of(request), time)
        if renewed is None or not await self.admission.check(self._attributes(request, "UPDATE", renewed, record.obj)):
            return None
        with translated(kind, request.name):
            written = await self.store.update(record.key, renewed, expected_revision=record.revision)
        await self._committed(record.key.resource, written.obj, record.obj)
        self._tell("updated", request, written)
        return ObjectResult(written.obj, written.raw)

    async def _patch(self, request: ApiRequest) -> ObjectResult:
        kind = request.kind
        if not request.subresource:
            check_verb(request, "patch")
        check_patch_options(request)
        if is_apply(request):
            return await self._apply(request)

        async def patch(current: Object) -> Object:
            patched = apply_patch(request, current)
            # What a patch of the status did not touch is what is stored, and will be taken from there.
            kept = (
                updating.untouched(patched, current) if request.subresource == "status" and kind.schema is None else {}
            )
            changed = {key: value for key, value in patched.items() if key not in kept} if kept else patched
            try:
                new = incoming.decode_object(request, kind, changed)
            except NotDecodable as error:
                raise updating.unusable_patch(request, patched, error) from error
            incoming.check_name(request, new)
            incoming.check_namespace(request, new)
            return updating.fresh(new) | kept

        request.raw_body = None
        return await self.change_object(request, patch)

    async def _apply(self, request: ApiRequest) -> ObjectResult:
        applied = self.ownership.check_apply(request, request.body)
        incoming.check_name(request, applied, is_apply=True)
        incoming.check_namespace(request, applied)

        async def apply(current: Object) -> Object:
            return self.ownership.apply(request, current, applied)

        record = await self.store.get(request.key)
        if record is None:
            if request.subresource or applied["metadata"].get("resourceVersion"):
                raise errors.not_found(request.group, request.plural, request.name)
            if uid := applied["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise errors.conflict(request.group, request.plural, request.name, why)
            try:
                return await self.create_object(request, self.ownership.apply(request, None, applied))
            except errors.AlreadyExists:
                pass  # somebody was faster: apply to theirs
        return await self.change_object(request, apply)

    async def change_object(
        self,
        request: ApiRequest,
        change: Callable[[Object], Awaitable[Object]],
        *,
        kind: Kind | None = None,
        trusted: bool = False,
    ) -> ObjectResult:
        """Read, change, check and write back; again when somebody else was faster.

        `change` gets the stored object in the request's version and returns a fresh one. A
        resourceVersion in it makes the write conditional. `trusted` changes (bindings, evictions)
        skip the separation of spec and status, and the defaults: they are made from what is stored, and may
        have parts in common with it.
        """
        kind = kind or request.kind
        for _ in range(CONFLICT_RETRIES_MAX):
            record = await self._reader.current(request)
            old = await conversion.from_stored(kind, record.obj)
            new = await change(old)
            updating.check_preconditions(request, kind, new, old)
            conditional = bool(new["metadata"].get("resourceVersion")) and request.verb != "patch"
            conditional = conditional or updating.names_version(request)
            prepared = await self._prepare_update(request, kind, new, old, trusted=trusted)
            stored = await conversion.to_stored(kind, prepared)
            if deletion.is_removable(kind, stored):
                if request.dry_run:
                    return ObjectResult(prepared)
                try:
                    with translated(kind, request.name):
                        await self._remove(kind, record)
                except errors.Conflict:
                    if conditional:
                        raise
                    continue
                return ObjectResult(prepared)
            if stored == record.obj:
                return await conversion.stored_result(kind, record)
            reservations = await self._reserve(request, stored, record.obj)
            if request.dry_run:
                return ObjectResult(prepared)
            try:
                with translated(kind, request.name):
                    update = self.store.update(record.key, stored, expected_revision=record.revision)
                    written = await commit(self.store, reservations, update)
            except errors.Conflict:
                if conditional:
                    raise
                continue
            await self._committed(record.key.resource, written.obj, record.obj)
            self._tell("updated", request, written)
            return await conversion.stored_result(kind, written)
        raise errors.conflict(request.group, request.plural, request.name, MODIFIED)

    async def _prepare_update(
        self, request: ApiRequest, kind: Kind, new: Object, old: Object, *, trusted: bool
    ) -> Object:
        """Everything between what the client sent and what may be written."""
        metadata, old_metadata = new["metadata"], old["metadata"]
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            if field in old_metadata:
                metadata[field] = old_metadata[field]
            else:
                metadata.pop(field, None)
        metadata.pop("selfLink", None)
        metadata["resourceVersion"] = old_metadata["resourceVersion"]
        if "generateName" in old_metadata:
            metadata.setdefault("generateName", old_metadata["generateName"])
        if not trusted:
            if request.subresource == "status":
                new = updating.keep_all_but_status(kind, new, old)
                kind.default_status(new)
                self.ownership.on_update(request, new, old)
            else:
                if kind.has_status:
                    updating.carry(new, old, "status")
                kind.default(new)
                self.ownership.on_update(request, new, old)
        else:
            self.ownership.on_update(request, new, old)
        attributes, view = self._attributes(request, "UPDATE", new, old), request.view
        if view is not None:
            attributes.subresource, attributes.obj, attributes.old = view.subresource, view.show(new), view.show(old)
        await self.admission.admit(attributes)
        new = attributes.obj if view is None else view.take(new, attributes.obj)
        if not trusted:
            prepare = kind.prepare_status_update if request.subresource == "status" else kind.prepare_update
            prepare(new, old)
        writes_spec = not trusted or request.subresource in SPEC_SUBRESOURCES
        if (
            kind.has_generation
            and writes_spec
            and request.subresource != "status"
            and updating.differs_in_spec(kind, new, old)
        ):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        self.ownership.settle(new, old)
        causes = validate_object_meta_update(new, old, kind)
        if request.subresource == "status" and not trusted:
            causes += kind.validate_status_update(new, old)
        elif not trusted:
            causes += kind.validate_update(new, old) if kind.validate_update else kind.validate(new)
        if causes:
            raise errors.invalid(internal_group(kind), kind.resource.kind, name_of(new), causes)
        if not trusted:
            warn = kind.warn_status if request.subresource == "status" else kind.warn
            if warnings := warn(new, old):
                request.warn(warnings)
        if view is not None:
            attributes.obj = view.show(new)
        await self.admission.validate(attributes)
        return new

    # Delete.

    async def _delete(self, request: ApiRequest) -> ObjectResult:
        check_verb(request, "delete")
        options = _deletion_options(request)
        return await self.delete_object(request, options)

    async def delete_object(self, request: ApiRequest, options: deletion.DeleteOptions) -> ObjectResult:
        """Delete one object with validated options."""
        kind = request.kind
        for _ in range(CONFLICT_RETRIES_MAX):
            record = await self._reader.current(request)
            obj = record.obj
            deletion.check_preconditions(kind, obj, options)
            attributes = self._attributes(request, "DELETE", {}, await conversion.from_stored(kind, obj))
            await self.admission.validate(attributes)
            plan = deletion.plan_deletion(kind, obj, options, self.clock.now())
            if options.dry_run or request.dry_run:
                return await self._deleted(kind, plan.marked or obj, removed=plan.remove)
            try:
                with translated(kind, request.name):
                    if plan.marked is not None:
                        record = await self.store.update(record.key, plan.marked, expected_revision=record.revision)
                    if plan.remove:
                        record = await self._remove(kind, record)
                        self._tell("deleted", request, record)
            except errors.Conflict:
                continue
            return await self._deleted(kind, record.obj, removed=plan.remove)
        raise errors.conflict(request.group, request.plural, request.name, MODIFIED)

    async def _remove(self, kind: Kind, record: Record) -> Record:
        gone = await self.store.delete(record.key, expected_revision=record.revision)
        await self._committed(record.key.resource, None, gone.obj)
        return gone

    async def _committed(self, resource: str, new: Object | None, old: Object | None) -> None:
        for hook in self.commit_hooks.get(resource, ()):
            await hook(new, old)

    async def _deleted(self, kind: Kind, obj: Object, *, removed: bool) -> ObjectResult:
        """A DELETE answers with the object while it lives on (and always for pods and namespaces), else a Status."""
        if removed and not kind.delete_returns_object:
            resource = kind.resource
            details: Object = {"name": name_of(obj)}
            if resource.group:
                details["group"] = resource.group
            details["kind"] = resource.plural
            details["uid"] = obj["metadata"]["uid"]
            return ObjectResult(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            )
        return ObjectResult(await conversion.from_stored(kind, obj))

    async def _delete_collection(self, request: ApiRequest) -> ListResult:
        check_verb(request, "deletecollection")
        options = _deletion_options(request)
        selected = await self._reader.list_objects(
            ApiRequest("list", request.kind, request.user, request.namespace, query={
                key: value for key, value in request.query.items()
                if key in ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion",
                           "resourceVersionMatch")
            })
        )  # fmt: skip
        for record in selected.records:
            one = ApiRequest(
                "delete",
                request.kind,
                request.user,
                record.key.namespace,
                record.key.name,
                query=request.query,
                user_agent=request.user_agent,
            )
            try:
                await self.delete_object(one, options)
            except errors.NotFound:
                continue  # gone is what was asked for
        return selected

    # Subresources.

    async def _handle_subresource(self, request: ApiRequest) -> ObjectResult:
        kind, name, verb = request.kind, request.subresource, request.verb
        handler = self.subresources.get((kind.resource.group_resource, name, verb))
        if handler is not None:
            return await handler(self, request)
        if name == "status" and kind.has_status:
            if verb == "get":
                return await conversion.stored_result(kind, await self._reader.current(request))
            if verb == "update":
                return await self._update(request)
            if verb == "patch":
                return await self._patch(request)
            raise errors.method_not_allowed()
        if name == "scale" and kind.scale is not None:
            handler = self.subresources.get(("*", "scale", verb))
            if handler is not None:
                return await handler(self, request)
        if any(subresource.name == name for subresource in kind.subresources):
            raise errors.method_not_allowed()
        if kind.schema is not None:
            raise errors.not_found(request.group, request.plural, request.name)
        raise errors.NotFound("the server could not find the requested resource")

    async def admit_subresource(self, request: ApiRequest, obj: Object) -> Object:
        """Admission for what is created below an object and not stored itself: tokens, evictions."""
        attributes = self._attributes(request, "CREATE", obj, None)
        await self.admission.admit(attributes)
        await self.admission.validate(attributes)
        return attributes.obj

    async def admit_connect(self, request: ApiRequest, options: Object) -> None:
        """Admission for a connection to what an object stands for: exec, attach, port-forward, proxies."""
        attributes = self._attributes(request, "CONNECT", options, None)
        await self.admission.admit(attributes)
        await self.admission.validate(attributes)

    # Small things.

    def _attributes(self, request: ApiRequest, operation: Operation, obj: Object, old: Object | None) -> Attributes:
        return Attributes(
            operation=operation,
            kind=request.kind,
            namespace=request.namespace,
            name=request.name or name_of(obj),
            subresource=request.subresource,
            obj=obj,
            old=old,
            user=request.user,
            dry_run=request.dry_run,
            warnings=request.warnings,
        )

    async def _reserve(self, request: ApiRequest, new: Object, old: Object | None) -> Sequence[Reservation]:
        """What the hooks of a kind reserve; a dry run gives it back at once."""
        hooks = self.write_hooks.get(request.kind.stored_resource)
        if not hooks:
            return ()
        reservations = await reserve(hooks, new, old)
        if request.dry_run:
            give_back(reservations)
            return ()
        return reservations


def _deletion_options(request: ApiRequest) -> deletion.DeleteOptions:
    """What the client said about a deletion; from now on the request itself tells whether it is a dry run."""
    options = deletion.parse_delete_options(request.body, dict(request.query))
    request.query = {**request.query, "dryRun": "All" if options.dry_run else ""}
    return options


def internal_group(kind: Kind) -> str:
    """The group that refusals name: that of the type which is validated, for a converted kind the stored one's."""
    stored = kind.conversion.stored_as if kind.conversion is not None else kind.resource
    return stored.group
