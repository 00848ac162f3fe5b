"""Reviews: kinds that are only created, answered at once and never stored.

Tokens (authentication.k8s.io) and permissions (authorization.k8s.io). The API server fills in the status.
Mirrors k8s.io/kubernetes/pkg/apis/authentication and .../authorization.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.defaulting import struct
from orchestrator.api.kinds.descriptor import Kind, Validate
from orchestrator.api.objects import Object, namespace_of
from orchestrator.api.resources import (
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
    Resource,
)


def _default(obj: Object) -> None:
    struct(obj, "spec")
    struct(obj, "status")


def _default_access(obj: Object) -> None:
    struct(obj, "spec")
    struct(obj, "status").setdefault("allowed", False)


def _validate_attributes(spec: dict[str, Any], path: str) -> list[Cause]:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        return [
            fields.invalid(
                f"{path}.nonResourceAttributes",
                other,
                "cannot be specified in combination with resourceAttributes",
            )
        ]
    if resource is None and other is None:
        return [
            fields.invalid(
                f"{path}.resourceAttributes",
                None,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        ]
    return _validate_selectors(resource or {}, f"{path}.resourceAttributes")


def _validate_selectors(resource: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("fieldSelector", "labelSelector"):
        selector = resource.get(key)
        if selector is None:
            continue
        where = f"{path}.{key}"
        raw, requirements = selector.get("rawSelector") or "", selector.get("requirements") or ()
        if raw and requirements:
            causes.append(
                fields.invalid(f"{where}.rawSelector", raw, "may not specified at the same time as requirements")
            )
        if not raw and not requirements:
            causes.append(
                fields.required(
                    f"{where}.requirements", f"when {where} is specified, requirements or rawSelector is required"
                )
            )
    return causes


def validate_self_access(obj: Object) -> list[Cause]:
    """About a resource or a path, one of them; the object carries no metadata."""
    return _validate_attributes(obj.get("spec") or {}, "spec")


def validate_access(obj: Object) -> list[Cause]:
    """Who, and about what."""
    spec = obj.get("spec") or {}
    causes = _validate_attributes(spec, "spec")
    if not spec.get("user") and not spec.get("groups"):
        causes.append(
            fields.invalid("spec.user", spec.get("user") or "", "at least one of user or group must be specified")
        )
    return causes


def validate_local_access(obj: Object) -> list[Cause]:
    """As `validate_access`, about a resource of the object's namespace."""
    causes = validate_access(obj)
    spec = obj.get("spec") or {}
    resource = spec.get("resourceAttributes")
    if resource is not None and (resource.get("namespace") or "") != namespace_of(obj):
        causes.append(
            fields.invalid(
                "spec.resourceAttributes.namespace", resource.get("namespace") or "", "must match metadata.namespace"
            )
        )
    if spec.get("nonResourceAttributes") is not None:
        causes.append(
            fields.invalid(
                "spec.nonResourceAttributes", spec["nonResourceAttributes"], "disallowed on this kind of request"
            )
        )
    return causes


def _nothing(obj: Object) -> list[Cause]:
    return []


def _review(resource: Resource, definition: str, *, access: bool = False, validate: Validate = _nothing) -> Kind:
    return Kind(
        resource,
        f"io.k8s.api.{definition}.v1.{resource.kind}",
        resource.kind.lower(),
        verbs=("create",),
        default=_default_access if access else _default,
        validate=validate,
    )


SELF_SUBJECT_REVIEW = _review(SELF_SUBJECT_REVIEWS, "authentication")
TOKEN_REVIEW = _review(TOKEN_REVIEWS, "authentication")
LOCAL_SUBJECT_ACCESS_REVIEW = _review(
    LOCAL_SUBJECT_ACCESS_REVIEWS, "authorization", access=True, validate=validate_local_access
)
SELF_SUBJECT_ACCESS_REVIEW = _review(
    SELF_SUBJECT_ACCESS_REVIEWS, "authorization", access=True, validate=validate_self_access
)
SELF_SUBJECT_RULES_REVIEW = _review(SELF_SUBJECT_RULES_REVIEWS, "authorization")
SUBJECT_ACCESS_REVIEW = _review(SUBJECT_ACCESS_REVIEWS, "authorization", access=True, validate=validate_access)
