"""NodeMetrics and PodMetrics (`metrics.k8s.io/v1beta1`): what `kubectl top` and the autoscaler read.

Nothing of them is stored: the API server asks the kubelets. Mirrors metrics-server's API; the published
OpenAPI definitions lack it, hence the structure stands here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orchestrator.api.kinds.columns import NAME
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.api.resources import NODE_METRICS, POD_METRICS
from orchestrator.api.schema import schema_from_openapi_v3

_USAGE: Final = {
    "description": "The memory usage is the memory working set.",
    "type": "object",
    "additionalProperties": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    },
}
_WINDOW: Final = {
    "timestamp": {
        "description": "Metrics were collected in the interval (timestamp - window, timestamp].",
        "type": "string",
        "format": "date-time",
    },
    "window": {"description": "The length of that interval, as a duration.", "type": "string"},
}
_CONTAINER: Final = {
    "description": "Metrics of one container.",
    "type": "object",
    "required": ["name", "usage"],
    "properties": {"name": {"description": "The container's name in the pod.", "type": "string"}, "usage": _USAGE},
}


def _structure(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "type": "object", "properties": {**_WINDOW, **properties}}


def _node_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), *_shown(obj["usage"]), obj["window"]]


def _pod_row(obj: Object, now: datetime) -> list[Any]:
    usages = [container["usage"] for container in obj["containers"]]
    total = {
        resource: str(sum((parse_quantity(usage[resource]) for usage in usages), parse_quantity("0")))
        for resource in ("cpu", "memory")
    }
    return [name_of(obj), *_shown(total), obj["window"]]


def _shown(usage: dict[str, str]) -> list[str]:
    return [usage["cpu"], usage["memory"]]


_COLUMNS = (
    NAME,
    Column("cpu", description="CPU in use"),
    Column("memory", description="Memory in use"),
    Column("window", description="The interval over which the usage is averaged"),
)

NODE_METRICS_KIND = Kind(
    NODE_METRICS,
    "",
    "",
    verbs=("get", "list"),
    columns=_COLUMNS,
    row=_node_row,
    schema=schema_from_openapi_v3(_structure("NodeMetrics sets resource usage metrics of a node.", {"usage": _USAGE})),
)
POD_METRICS_KIND = Kind(
    POD_METRICS,
    "",
    "",
    verbs=("get", "list"),
    columns=_COLUMNS,
    row=_pod_row,
    schema=schema_from_openapi_v3(
        _structure(
            "PodMetrics sets resource usage metrics of a pod.",
            {"containers": {"description": "Metrics of all containers.", "type": "array", "items": _CONTAINER}},
        )
    ),
)
