"""ServiceAccount and Binding: an identity for pods, and the act of placing a pod.

Mirrors registry/core/serviceaccount and the binding checks of pkg/apis/core/validation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age, count, ref
from orchestrator.api.kinds.defaulting import struct
from orchestrator.api.kinds.descriptor import Column, Kind, Subresource
from orchestrator.api.objects import Object, annotations_of, name_of
from orchestrator.api.resources import BINDINGS, SERVICE_ACCOUNTS


def _service_account_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), count(obj.get("secrets")), age(obj, now)]


def validate_binding(obj: Object) -> list[Cause]:
    """The target is a node, named."""
    target = obj.get("target") or {}
    causes: list[Cause] = []
    kind = target.get("kind") or ""
    if kind not in ("", "Node"):
        causes.append(fields.not_supported("target.kind", kind, ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(fields.required("target.name"))
    return causes


def _default_binding(obj: Object) -> None:
    struct(obj, "target")


_MOUNTABLE_SECRETS = "kubernetes.io/enforce-mountable-secrets"


def _warn_service_account(new: Object, old: Object | None) -> list[str]:
    def enforces(account: Object) -> bool:
        return annotations_of(account).get(_MOUNTABLE_SECRETS) in ("1", "t", "T", "TRUE", "true", "True")

    if not enforces(new) or (old is not None and enforces(old)):
        return []
    where = fields.key("metadata.annotations", _MOUNTABLE_SECRETS)
    return [f"{where}: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"]


SERVICE_ACCOUNT = Kind(
    SERVICE_ACCOUNTS,
    "io.k8s.api.core.v1.ServiceAccount",
    "serviceaccount",
    short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), group="authentication.k8s.io", version="v1"),),
    unconditional_update=False,
    warn=_warn_service_account,
    columns=(NAME, Column("Secrets", description=ref("core.v1.ServiceAccount", "secrets")), AGE),
    row=_service_account_row,
    delete_returns_object=True,
)

BINDING = Kind(
    BINDINGS,
    "io.k8s.api.core.v1.Binding",
    "binding",
    verbs=("create",),
    default=_default_binding,
    validate=validate_binding,
)
