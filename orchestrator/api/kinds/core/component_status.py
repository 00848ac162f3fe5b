"""ComponentStatus: read-only, deprecated since v1.19, still served. Its objects are made up on request."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api.kinds.columns import NAME
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import COMPONENT_STATUSES


def _row(obj: Object, now: datetime) -> list[Any]:
    for condition in obj.get("conditions") or ():
        if condition.get("type") == "Healthy":
            state = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            return [name_of(obj), state, condition.get("message") or "", condition.get("error") or ""]
    return [name_of(obj), "Unknown", "", ""]


COMPONENT_STATUS = Kind(
    COMPONENT_STATUSES,
    "io.k8s.api.core.v1.ComponentStatus",
    "componentstatus",
    short_names=("cs",),
    verbs=("get", "list"),
    columns=(
        NAME,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    ),
    row=_row,
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
)
