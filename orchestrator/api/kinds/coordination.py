"""Lease. Mirrors k8s.io/kubernetes/pkg/apis/coordination."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age, dig, ref
from orchestrator.api.kinds.defaulting import struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import LEASES


def default_lease(obj: Object) -> None:
    """The spec is a struct."""
    struct(obj, "spec")


def validate_lease(obj: Object) -> list[Cause]:
    """Durations are positive, transitions not negative."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        causes.append(fields.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        causes.append(fields.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    strategy = spec.get("strategy")
    if strategy is not None:
        path = "spec.strategy.strategy"  # The path is the API server's.
        if "/" in strategy:
            causes += [fields.invalid(path, strategy, text) for text in names.is_qualified_name(strategy)]
        elif strategy != "OldestEmulationVersion":
            causes.append(fields.not_supported(path, strategy, ("OldestEmulationVersion",)))
    if spec.get("preferredHolder") and not strategy:
        causes.append(fields.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return causes


def _row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), dig(obj, "spec", "holderIdentity") or "", age(obj, now)]


LEASE = Kind(
    LEASES,
    "io.k8s.api.coordination.v1.Lease",
    "lease",
    create_on_update=True,
    unconditional_update=False,
    renewed=("spec", "renewTime"),
    default=default_lease,
    validate=validate_lease,
    columns=(NAME, Column("Holder", description=ref("coordination.v1.LeaseSpec", "holderIdentity")), AGE),
    row=_row,
)
