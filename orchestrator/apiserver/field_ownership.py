"""Field ownership: `metadata.managedFields` of every write, and server-side apply.

Owns what a request means for ownership: which manager it is, which fields its resource or subresource
can own, the errors of apply. The rules themselves are in `api.managed_fields`. Mirrors the field managers
that kube-apiserver's handlers call.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api import errors
from orchestrator.api.decode import decode, warnings_of
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.managed_fields import (
    ApplyConflict,
    ManagerId,
    NotTyped,
    Scope,
    Structure,
    conflict_error,
    plan_apply,
    plan_update,
    settle,
    structure_of,
)
from orchestrator.api.managed_fields.checking import check_typed
from orchestrator.api.managed_fields.entries import Entry, is_reset, read
from orchestrator.api.managed_fields.ownership import KUBECTL, LAST_APPLIED
from orchestrator.api.managed_fields.scale import from_scale, to_scale
from orchestrator.api.objects import Object, copy_object, name_of, namespace_of
from orchestrator.api.schema import Schema, for_kind
from orchestrator.apiserver.incoming import normalized, schema_of, wrong_kind
from orchestrator.apiserver.request import ApiRequest, is_true

APPLY_PREFIX = "application/apply-patch"
UNTRACKED_SUBRESOURCES = frozenset({"binding", "eviction"})
"""Their effect on the pod has no owner."""
ANNOTATIONS_BYTES_MAX = 256 * 1024

_STRUCTURES_MAX = 1024

SCALE_API_VERSION = "autoscaling/v1"
_SCALE = Scope(only=frozenset({"f:spec"}))


@lru_cache(maxsize=1)
def scale_structure() -> Structure:
    """The structure of a Scale."""
    return structure_of(for_kind("autoscaling", "v1", "Scale"))


class UntypedPatch(errors.ApiError):
    """An applied configuration that does not fit its schema: a 500 without a reason, as kube-apiserver answers it."""

    code, reason = 500, ""
    has_details = False


class FieldOwnership:
    """Keeps track of who set which field."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_create(self, request: ApiRequest, obj: Object) -> None:
        """Record the creator's fields; changes `obj` in place. Before admission: what it adds has no owner."""
        if is_apply(request):
            return
        metadata = obj["metadata"]
        given = metadata.pop("managedFields", None)
        entries = [] if not given or is_reset(given) else read(given) or []
        entries = self._updated(request, {}, obj, entries)
        if entries:
            metadata["managedFields"] = entries

    def on_update(self, request: ApiRequest, new: Object, old: Object) -> None:
        """Record the fields that this update set; changes `new` in place."""
        if is_apply(request):
            return
        metadata = new["metadata"]
        before: list[Entry] = old["metadata"].get("managedFields") or []
        entries = before
        given = metadata.pop("managedFields", None)
        if given and given != before and not request.subresource:
            entries = [] if is_reset(given) else read(given) or before
        # Objects whose ownership was cleared stay untracked until somebody applies.
        if entries and request.subresource not in UNTRACKED_SUBRESOURCES:
            entries = self._updated(request, old, new, entries)
        if entries:
            metadata["managedFields"] = entries

    def entries_of_new(self, request: ApiRequest, obj: Object, kind: str) -> list[Entry]:
        """Who owns what of an object that a subresource creates and nobody stores (a TokenRequest)."""
        group, _, version = obj["apiVersion"].rpartition("/")
        return plan_update(
            _structure(for_kind(group, version, kind)),
            {},
            obj,
            entries=[],
            manager=ManagerId(request.field_manager, "Update", obj["apiVersion"], request.subresource),
            time=format_time(self._clock.now()),
            scope=_MAIN_WITHOUT_STATUS,
        )

    def settle(self, new: Object, old: Object) -> None:
        """After admission: a write that changed nothing does not move times either; changes `new` in place."""
        settle(new, old)

    def _updated(self, request: ApiRequest, old: Object, new: Object, entries: list[Entry]) -> list[Entry]:
        kind = request.kind
        try:
            return plan_update(
                structure_of_kind(kind),
                old,
                new,
                entries=entries,
                manager=updater_of(request),
                # Entries that a scale makes have no time in kube-apiserver.
                time="" if request.owned_through else format_time(self._clock.now()),
                scope=scope_of(kind, request.subresource),
            )
        except NotTyped:
            # An item of a list without its keys: validation refuses the object, or nobody can own in it.
            return entries

    def apply_scale(
        self, request: ApiRequest, replicas_path: str, parent: Object, scale: Object
    ) -> tuple[Object, list[Entry]]:
        """(the scale with a configuration applied, the parent's entries after it); Conflict.

        To a Scale, whoever owns the parent's number of replicas owns `spec.replicas`. Source: KEP-2155.
        """
        path = tuple(f"f:{part}" for part in replicas_path.split(".") if part)
        config = check_configuration(request.body, SCALE_API_VERSION, "Scale", scale_structure())
        before: list[Entry] = parent["metadata"].get("managedFields") or []
        try:
            plan = plan_apply(
                scale_structure(),
                scale,
                config,
                entries=to_scale(before, path, SCALE_API_VERSION),
                manager=ManagerId(request.field_manager, "Apply", "", "scale"),
                api_version=SCALE_API_VERSION,
                time=format_time(self._clock.now()),
                scope=_SCALE,
                force=is_forced(request),
            )
        except ApplyConflict as error:
            raise conflict_error(error.conflicts) from None
        api_version = request.kind.resource.api_version
        return plan.obj, from_scale(before, plan.entries, path, SCALE_API_VERSION, api_version)

    def check_apply(self, request: ApiRequest, body: Any) -> Object:
        """The configuration that a request applies, with its type checked; it is not decoded: nulls count."""
        kind = request.kind
        resource = kind.resource
        for problem in request.problems:
            if request.field_validation == "Strict":
                raise errors.BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {problem}")
            if request.field_validation == "Warn":
                request.warn(warnings_of(problem))
        if isinstance(body, dict) and body.get("apiVersion") == resource.api_version:
            kind_name = body.get("kind") or ""
            if kind_name != resource.kind:
                raise wrong_kind(kind, body)
        return check_configuration(body, resource.api_version, resource.kind, structure_of_kind(kind))

    def apply(self, request: ApiRequest, current: Object | None, applied: Object) -> Object:
        """A fresh object: the current one (None: none yet) with a checked configuration applied; Conflict."""
        kind = request.kind
        manager = ManagerId(request.field_manager, "Apply", "", request.subresource)
        if current is not None and current["metadata"].get("managedFields"):
            entries: list[Entry] = current["metadata"]["managedFields"]
        else:
            entries = []
        try:
            plan = plan_apply(
                structure_of_kind(kind),
                current,
                applied,
                entries=entries,
                manager=manager,
                api_version=kind.resource.api_version,
                time=format_time(self._clock.now()),
                scope=scope_of(kind, request.subresource),
                force=is_forced(request),
            )
        except ApplyConflict as error:
            raise conflict_error(error.conflicts) from None
        except NotTyped as error:
            what = f"{namespace_of(applied)}/{name_of(applied)}; {kind.resource.api_version}, Kind={kind.resource.kind}"
            raise UntypedPatch(f"failed to create typed live object ({what}): {error}") from None
        decoded, _ = decode(plan.obj, schema_of(kind), field_validation="Ignore", kind=kind.resource.kind)
        new = copy_object(normalized(decoded, kind))
        if manager.manager == KUBECTL:
            _sync_last_applied(new, applied)
        if plan.entries:
            new["metadata"]["managedFields"] = plan.entries
        else:
            new["metadata"].pop("managedFields", None)
        return new


def updater_of(request: ApiRequest) -> ManagerId:
    """Whose fields those are that a request sets by an update, or a patch of any kind but apply."""
    subresource = request.owned_through or request.subresource
    return ManagerId(request.field_manager, "Update", request.kind.resource.api_version, subresource)


def is_apply(request: ApiRequest) -> bool:
    """Whether a request is a server-side apply."""
    return request.verb == "patch" and request.content_type.startswith(APPLY_PREFIX)


def is_forced(request: ApiRequest) -> bool:
    """Whether an apply takes fields away from their owners."""
    return is_true(request.query.get("force"))


def check_configuration(body: Any, api_version: str, kind: str, structure: Structure) -> Object:
    """An applied configuration with metadata of its own; BadRequest or UntypedPatch when it cannot be applied."""
    if not isinstance(body, dict):
        raise errors.BadRequest(f"error decoding YAML: the body must be an object of kind {kind}")
    given = body.get("apiVersion") or ""
    if given != api_version:
        raise errors.BadRequest(
            f"Incorrect version specified in apply patch. Specified patch version: {given}, expected: {api_version}"
        )
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise errors.BadRequest("metadata.managedFields must be nil")
    try:
        check_typed(structure, body)
    except NotTyped as error:
        group_version = api_version if "/" in api_version else f"/{api_version}"
        name = f"{namespace_of(body)}/{name_of(body)}" if isinstance(metadata, dict) else "/"
        what = f"{name}; {group_version}, Kind={kind}"
        raise UntypedPatch(f"failed to create typed patch object ({what}): {error}") from None
    return {**body, "metadata": dict(metadata or {})}


def check_patch_options(request: ApiRequest) -> None:
    """422 unless an apply names its manager, and for `force` on any other patch."""
    if is_apply(request):
        if request.query.get("fieldManager"):
            return
        cause = Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
    elif "force" in request.query:
        cause = Cause("FieldValueForbidden", "Forbidden: may not be specified for non-apply patch", "force")
    else:
        return
    raise errors.invalid("meta.k8s.io", "PatchOptions", "", [cause])


@lru_cache(maxsize=_STRUCTURES_MAX)
def _structure(schema: Schema) -> Structure:
    return structure_of(schema)


def structure_of_kind(kind: Kind) -> Structure:
    """The compiled structure of a kind, made once per schema."""
    return _structure(schema_of(kind))


_MAIN = Scope()
_MAIN_WITHOUT_STATUS = Scope(hidden=frozenset({"f:status"}))
_STATUS = Scope(only=frozenset({"f:status"}))


@lru_cache(maxsize=16)
def _status_and_metadata(fields: tuple[str, ...]) -> Scope:
    owned = frozenset(f"f:{field}" for field in fields)
    return Scope(only=frozenset({"f:status", "f:metadata"}), only_metadata=owned)


def scope_of(kind: Kind, subresource: str) -> Scope:
    """What a write through a resource or subresource can own: of spec and status only what it does not reset."""
    if subresource == "status":
        return _status_and_metadata(kind.status_metadata) if kind.status_metadata else _STATUS
    return _MAIN_WITHOUT_STATUS if kind.has_status else _MAIN


def _sync_last_applied(new: Object, applied: Object) -> None:
    """kubectl's annotation of client-side apply, where there is one, follows its server-side apply."""
    annotations = new["metadata"].get("annotations")
    if not annotations or LAST_APPLIED not in annotations:
        return
    metadata = dict(applied.get("metadata") or {})
    given = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    if "annotations" in metadata:
        metadata["annotations"] = given
    text = orjson.dumps({**applied, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    annotations[LAST_APPLIED] = text
    if sum(len(key) + len(value) for key, value in annotations.items()) > ANNOTATIONS_BYTES_MAX:
        del annotations[LAST_APPLIED]
