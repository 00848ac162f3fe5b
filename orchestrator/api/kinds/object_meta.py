"""Metadata that every object has: what is valid on create and on update.

Mirrors ValidateObjectMeta and ValidateObjectMetaUpdate of k8s.io/apimachinery/pkg/api/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.label_selectors import validate_labels
from orchestrator.api.objects import Object

ANNOTATIONS_BYTES_MAX = 256 * 1024
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_BUILTIN_PREFIX = "io.k8s.api."
"""Of the names of OpenAPI definitions; those of custom resources begin with their own group."""
_NOT_OWNERS = frozenset({("", "v1", "Event")})

NameCheck = Callable[[str], list[str]]


def validate_annotations(annotations: Mapping[str, str] | None, path: str) -> list[Cause]:
    """Keys (in any case) and the size of all together."""
    causes: list[Cause] = []
    total = 0
    for key, value in sorted((annotations or {}).items()):
        causes += [fields.invalid(path, key, text) for text in names.is_qualified_name(key.lower())]
        total += len(key.encode()) + len(str(value).encode())
    if total > ANNOTATIONS_BYTES_MAX:
        causes.append(fields.too_long(path, ANNOTATIONS_BYTES_MAX))
    return causes


def _validate_finalizers(finalizers: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    found: set[str] = set()
    for finalizer in finalizers:
        causes += [fields.invalid(path, finalizer, text) for text in names.is_qualified_name(finalizer)]
        found.add(finalizer)
    if {"orphan", "foregroundDeletion"} <= found:
        causes.append(fields.invalid(path, finalizers, "finalizer foregroundDeletion and orphan cannot be both set"))
    return causes


def _validate_builtin_finalizers(finalizers: Any, path: str) -> list[Cause]:
    """Built-in kinds only know the standard finalizers; others carry a domain."""
    causes: list[Cause] = []
    for position, finalizer in enumerate(finalizers):
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            causes.append(
                fields.invalid(
                    fields.index(path, position),
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    return causes


def _validate_owner_references(references: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    controllers = 0
    for reference in references:
        api_version, kind = reference.get("apiVersion") or "", reference.get("kind") or ""
        group, _, version = api_version.rpartition("/")
        if not version:
            causes.append(fields.invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        if not kind:
            causes.append(fields.invalid(f"{path}.kind", kind, "kind must not be empty"))
        if not reference.get("name"):
            causes.append(fields.invalid(f"{path}.name", "", "name must not be empty"))
        if not reference.get("uid"):
            causes.append(fields.invalid(f"{path}.uid", "", "uid must not be empty"))
        if (group, version, kind) in _NOT_OWNERS:
            causes.append(
                fields.invalid(
                    path,
                    reference,
                    f"{group}/{version}, Kind={kind} is disallowed from being an owner",
                )
            )
        if reference.get("controller"):
            controllers += 1
    if controllers > 1:
        marked = [f"{r.get('kind')}/{r.get('name')}" for r in references if r.get("controller")]
        causes.append(
            fields.invalid(
                path,
                references,
                f'Only one reference can have Controller set to true. Found "true" in references for {marked[0]} '
                f"and {marked[1]}",
            )
        )
    return causes


def validate_object_meta(
    obj: Object, kind: Kind | None = None, *, namespaced: bool | None = None, name_check: NameCheck | None = None
) -> list[Cause]:
    """Everything wrong with the metadata of a new object, whose name has been generated if it had to be."""
    meta = obj.get("metadata") or {}
    check = name_check or (kind.validate_name if kind else None) or names.is_dns1123_subdomain
    is_namespaced = namespaced if namespaced is not None else (kind.resource.namespaced if kind else True)
    causes: list[Cause] = []
    base = meta.get("generateName") or ""
    if base:
        causes += [
            fields.invalid("metadata.generateName", base, text) for text in check(names.mask_trailing_dash(base))
        ]
    name = meta.get("name") or ""
    if not name:
        causes.append(fields.required("metadata.name", "name or generateName is required"))
    else:
        causes += [fields.invalid("metadata.name", name, text) for text in check(name)]
    namespace = meta.get("namespace") or ""
    if is_namespaced:
        if not namespace:
            causes.append(fields.required("metadata.namespace"))
        else:
            causes += [fields.invalid("metadata.namespace", namespace, t) for t in names.is_dns1123_label(namespace)]
    elif namespace:
        causes.append(fields.forbidden("metadata.namespace", "not allowed on this type"))
    return causes + _validate_common(meta, kind)


def _validate_common(meta: Mapping[str, Any], kind: Kind | None, *, known_entries: Sequence[Any] = ()) -> list[Cause]:
    causes: list[Cause] = []
    generation = meta.get("generation") or 0
    if generation < 0:
        causes.append(fields.invalid("metadata.generation", generation, "must be greater than or equal to 0"))
    if labels := meta.get("labels"):
        causes += validate_labels(labels, "metadata.labels")
    if annotations := meta.get("annotations"):
        causes += validate_annotations(annotations, "metadata.annotations")
    if references := meta.get("ownerReferences"):
        causes += _validate_owner_references(references, "metadata.ownerReferences")
    if finalizers := meta.get("finalizers"):
        causes += _validate_finalizers(finalizers, "metadata.finalizers")
    if entries := meta.get("managedFields"):
        causes += _validate_managed_fields(entries, "metadata.managedFields", known_entries)
    if finalizers and kind is not None and kind.definition.startswith(_BUILTIN_PREFIX):
        causes += _validate_builtin_finalizers(finalizers, "metadata.finalizers")
    return causes


def _validate_managed_fields(entries: Any, path: str, known: Sequence[Any]) -> list[Cause]:
    causes: list[Cause] = []
    for position, entry in enumerate(entries):
        if entry in known:
            continue
        where = fields.index(path, position)
        operation, manager = entry.get("operation") or "", entry.get("manager") or ""
        if operation not in ("Apply", "Update"):
            causes.append(fields.invalid(f"{where}.operation", operation, "must be `Apply` or `Update`"))
        kind = entry.get("fieldsType")
        if kind and kind != "FieldsV1":
            causes.append(fields.invalid(f"{where}.fieldsType", kind, "must be `FieldsV1`"))
        causes += validate_field_manager(manager, f"{where}.manager")
        subresource = entry.get("subresource") or ""
        if len(subresource.encode()) > 256:
            causes.append(fields.too_long(f"{where}.subresource", 256))
    return causes


def validate_field_manager(manager: str, path: str) -> list[Cause]:
    """At most 128 bytes, all printable."""
    if len(manager.encode()) > 128:
        return [fields.too_long(path, 128)]
    if manager.isprintable():
        return []
    for position, char in enumerate(manager):
        if not char.isprintable():
            return [fields.invalid(path, manager, f"invalid character {char!a} (at position {position})")]
    return []


_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def validate_object_meta_update(new: Object, old: Object, kind: Kind | None = None) -> list[Cause]:
    """Everything wrong with the metadata of an updated object, given the stored one."""
    meta, before = new.get("metadata") or {}, old.get("metadata") or {}
    causes: list[Cause] = []
    if before.get("deletionTimestamp"):
        added = [f for f in meta.get("finalizers") or () if f not in (before.get("finalizers") or ())]
        if added:
            causes.append(
                fields.forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{', '.join(fields.quote(f) for f in sorted(added))}}}",
                )
            )
    if not meta.get("resourceVersion"):
        causes.append(fields.invalid("metadata.resourceVersion", 0, "must be specified for an update"))
    generation = meta.get("generation") or 0
    if generation < (before.get("generation") or 0):
        causes.append(fields.invalid("metadata.generation", generation, "must not be decremented"))
    for key in _IMMUTABLE:
        if (meta.get(key) or None) != (before.get(key) or None):
            causes.append(fields.immutable(f"metadata.{key}", meta.get(key)))
    # What was stored was valid.
    changed = {key: value for key, value in meta.items() if before.get(key) != value}
    return causes + _validate_common(changed, kind, known_entries=before.get("managedFields") or ())
