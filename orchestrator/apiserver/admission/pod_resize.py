"""PodResizeValidator: a resize that its pod's node could never carry out is refused at once (KEP-1287).

Mirrors kube-apiserver's plugin of that name: pods that are bound to a node, requests of CPU and memory against what
the node may give to pods. What fits the node, but not beside its other pods, is for the kubelet to defer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api import errors
from orchestrator.api.errors import Cause, Forbidden
from orchestrator.api.pod_resources import POD_LEVEL_RESOURCES, amounts_of, pod_amounts
from orchestrator.api.quantity import ZERO, Quantity
from orchestrator.api.resources import NODES
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader

OS_LABEL = "kubernetes.io/os"


class PodResizeValidator(AdmissionPlugin):
    """Runs when the resources of a bound pod change."""

    name = "PodResizeValidator"
    resources = frozenset(("pods",))

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.subresource == "resize"
            and attributes.operation == "UPDATE"
            and attributes.group_resource == "pods"
            and bool(attributes.obj["spec"].get("nodeName"))
        )

    async def validate(self, attributes: Attributes) -> None:
        assert attributes.old is not None
        spec = attributes.obj["spec"]
        if spec == attributes.old["spec"]:
            return
        node = await self._reader.read(NODES.group_resource, spec["nodeName"])
        if node is None:
            raise _forbidden(attributes, f'node "{spec["nodeName"]}" not found')
        system = (node["metadata"].get("labels") or {}).get(OS_LABEL, "linux")
        if system != "linux":
            why = f'pod resize is only supported on linux nodes, node "{spec["nodeName"]}" is "{system}"'
            raise _forbidden(attributes, why, "UnsupportedPlatform")
        excess = describe_excess(spec, (node.get("status") or {}).get("allocatable") or {})
        if excess:
            raise _forbidden(attributes, f"node didn't have enough allocatable resources: {excess}", "NodeCapacity")


def describe_excess(spec: Mapping[str, Any], allocatable: Mapping[str, Any]) -> str:
    """What a pod requests beyond a node's allocatable CPU (shown in thousandths) and memory; empty if it fits."""
    requests, room = pod_amounts(spec, "requests"), amounts_of(allocatable)
    found = []
    for name in POD_LEVEL_RESOURCES:
        wanted, has = requests.get(name, ZERO), room.get(name, ZERO)
        if wanted > has:
            found.append(f"{name}, requested: {_whole(name, wanted)}, allocatable: {_whole(name, has)}")
    return "; ".join(found)


def _whole(name: str, amount: Quantity) -> int:
    return amount.milli() if name == "cpu" else amount.value()


def _forbidden(attributes: Attributes, why: str, cause: str = "") -> Forbidden:
    resource = attributes.kind.resource
    error = errors.forbidden(resource.group, resource.plural, attributes.name, why)
    if cause:
        error.causes = (Cause(cause, ""),)
    return error
