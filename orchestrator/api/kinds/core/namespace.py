"""Namespace: the finalizer of its content, its phase. Mirrors registry/core/namespace."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age, dig
from orchestrator.api.kinds.defaulting import condition_times, struct
from orchestrator.api.kinds.descriptor import Column, Kind, Subresource
from orchestrator.api.kinds.object_meta import STANDARD_FINALIZERS
from orchestrator.api.objects import Object, is_terminating, name_of
from orchestrator.api.resources import NAMESPACES

NAME_LABEL = "kubernetes.io/metadata.name"


def default_namespace(obj: Object) -> None:
    """Every namespace carries its name as a label."""
    struct(obj, "spec")
    struct(obj, "status")
    if name_of(obj):
        struct(obj, "metadata", "labels")[NAME_LABEL] = name_of(obj)


def prepare_create(obj: Object) -> None:
    """A new namespace is active, and its content must be removed before it goes."""
    obj["status"] = {"phase": "Active"}
    finalizers = struct(obj, "spec").get("finalizers") or []
    if "kubernetes" not in finalizers:
        finalizers = [*finalizers, "kubernetes"]
    obj["spec"]["finalizers"] = finalizers


def prepare_update(new: Object, old: Object) -> None:
    """Only `/finalize` changes the finalizers."""
    if dig(old, "spec", "finalizers"):
        struct(new, "spec")["finalizers"] = old["spec"]["finalizers"]
    else:
        struct(new, "spec").pop("finalizers", None)


def validate(obj: Object) -> list[Cause]:
    """The finalizers of a namespace are qualified names."""
    causes = []
    path = "spec.finalizers"
    for finalizer in dig(obj, "spec", "finalizers") or ():
        causes += [fields.invalid(path, finalizer, text) for text in names.is_qualified_name(finalizer)]
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            causes.append(
                fields.invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")
            )
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """A namespace is terminating exactly when it is being deleted."""
    phase = dig(new, "status", "phase") or ""
    if not is_terminating(new):
        if phase != "Active":
            return [fields.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")]
    elif phase != "Terminating":
        return [fields.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")]
    return []


def row(obj: Object, now: datetime) -> list[Any]:
    """The cells of a namespace."""
    return [name_of(obj), dig(obj, "status", "phase") or "", age(obj, now)]


NAMESPACE = Kind(
    NAMESPACES,
    "io.k8s.api.core.v1.Namespace",
    "namespace",
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    subresources=(Subresource("finalize", "Namespace", ("update",)),),
    default=default_namespace,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_status_update=validate_status_update,
    validate_name=names.is_dns1123_label,
    columns=(NAME, Column("Status", description="The status of the namespace"), AGE),
    row=row,
    selectable_fields={
        "status.phase": lambda obj: dig(obj, "status", "phase") or "",
        "name": name_of,
    },
)
