"""The Node object as its kubelet writes it. Pure functions.

Mirrors pkg/kubelet/nodestatus.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.parts import DeviceCounts
from orchestrator.kubelet.runtime import Image, RuntimeInfo

KUBELET_VERSION = "v1.36.0"
HEARTBEAT_SLOT_SECONDS = 1.0
IMAGES_REPORTED_MAX = 50
NAMES_OF_IMAGE_REPORTED_MAX = 5
PODS_MAX = 110
NO_DEVICES: Mapping[str, DeviceCounts] = {}
UNKNOWN_DISK = "100Gi"
"""What a node without a disk of its own claims to have."""


class NodeHealth(Struct, frozen=True):
    """What the conditions say."""

    not_ready: str = ""
    """Why the node is not ready; empty when it is."""
    memory_pressure: bool = False
    disk_pressure: bool = False
    pid_pressure: bool = False


def plan_node(options: NodeOptions, info: RuntimeInfo) -> Object:
    """The Node as a kubelet registers it, without its status."""
    labels = {
        "beta.kubernetes.io/arch": info.architecture,
        "beta.kubernetes.io/os": info.operating_system,
        "kubernetes.io/arch": info.architecture,
        "kubernetes.io/hostname": options.name,
        "kubernetes.io/os": info.operating_system,
        **options.labels,
    }
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": options.name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
    }
    if options.pod_cidr:
        node["spec"].update(podCIDR=options.pod_cidr, podCIDRs=[options.pod_cidr])
    if options.taints:
        node["spec"]["taints"] = [dict(taint) for taint in options.taints]
    return node


def plan_node_status(
    options: NodeOptions,
    info: RuntimeInfo,
    health: NodeHealth,
    images: Sequence[Image],
    now: datetime,
    old: Object,
    devices: Mapping[str, DeviceCounts] = NO_DEVICES,
) -> Object:
    """`status` of the Node; transition times are kept from the old one, heartbeats are now."""
    capacity = {
        "cpu": str(info.cpu_count),
        "ephemeral-storage": f"{info.disk_bytes // 1024}Ki" if info.disk_bytes else UNKNOWN_DISK,
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{info.memory_bytes // 1024}Ki",
        "pods": str(PODS_MAX),
        **extended_resources(old.get("capacity") or {}),
        **{resource: str(counts.capacity) for resource, counts in devices.items()},
        **options.capacity,
    }
    status: Object = {
        "addresses": [
            {"type": "InternalIP", "address": options.ip},
            {"type": "Hostname", "address": options.name},
        ],
        "allocatable": {
            **_less(capacity, options.reserved),
            **{resource: str(counts.allocatable) for resource, counts in devices.items()},
        },
        "capacity": capacity,
        "conditions": _conditions(health, now, old.get("conditions") or ()),
        "features": {"supplementalGroupsPolicy": True},
        "daemonEndpoints": {"kubeletEndpoint": {"Port": options.kubelet_port}},
        "nodeInfo": _node_info(options, info),
        "runtimeHandlers": [
            {"name": name, "features": {"recursiveReadOnlyMounts": False, "userNamespaces": False}}
            for name in info.handlers
        ],
    }
    if reported := plan_images(images):
        status["images"] = reported
    return status


def plan_images(images: Sequence[Image]) -> list[Object]:
    """The largest images and some of their names, as a Node's status shows them; those without a name are of no use."""
    named = [image for image in images if image.digests or image.tags]
    named.sort(key=lambda image: (-image.size_bytes, image.id))
    return [
        {"names": [*image.digests, *image.tags][:NAMES_OF_IMAGE_REPORTED_MAX], "sizeBytes": image.size_bytes}
        for image in named[:IMAGES_REPORTED_MAX]
    ]


def extended_resources(amounts: Mapping[str, str]) -> dict[str, str]:
    """Those that are not Kubernetes' own: somebody advertises them on the Node, and the kubelet keeps them.

    https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    """
    from orchestrator.api.kinds.core.resource_names import is_extended

    return {name: amount for name, amount in amounts.items() if is_extended(name)}


def advertises_more(node: Object, devices: Collection[str]) -> bool:
    """Whether somebody advertised extended resources on the Node that are not allocatable yet, or took some back.

    Those of `devices` are the kubelet's own.
    """
    status = node.get("status") or {}
    capacity, allocatable = (
        {name: amount for name, amount in extended_resources(status.get(part) or {}).items() if name not in devices}
        for part in ("capacity", "allocatable")
    )
    return capacity != allocatable


def _less(capacity: Mapping[str, str], reserved: Mapping[str, str]) -> dict[str, str]:
    from orchestrator.api.quantity import ZERO, parse_quantity

    allocatable = dict(capacity)
    for name, amount in reserved.items():
        if name in allocatable:
            rest = parse_quantity(allocatable[name]) - parse_quantity(amount)
            allocatable[name] = str(max(rest, ZERO))
    return allocatable


def _node_info(options: NodeOptions, info: RuntimeInfo) -> Object:
    identity = options.machine_id or hashlib.md5(options.name.encode(), usedforsecurity=False).hexdigest()
    return {
        "machineID": identity,
        "systemUUID": str(uuid.UUID(identity)) if len(identity) == 32 else identity,
        "bootID": str(uuid.uuid5(uuid.NAMESPACE_DNS, identity)),
        "kernelVersion": info.kernel_version,
        "osImage": info.os_image,
        "containerRuntimeVersion": f"{info.name}://{info.version}",
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": info.operating_system,
        "architecture": info.architecture,
    }


_PRESSURES = (
    (
        "MemoryPressure",
        "memory_pressure",
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ),
    (
        "DiskPressure",
        "disk_pressure",
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ),
    (
        "PIDPressure",
        "pid_pressure",
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ),
)
"""Condition, field of `NodeHealth`, and (reason, message) with and without that pressure."""


def _conditions(health: NodeHealth, now: datetime, old: Sequence[Object]) -> list[Object]:
    known = {condition["type"]: condition for condition in old}
    stamp = format_time(now)

    def condition(type_: str, is_true: bool, reason: str, message: str) -> Object:
        text = "True" if is_true else "False"
        before = known.get(type_)
        return {
            "type": type_,
            "status": text,
            "lastHeartbeatTime": stamp,
            "lastTransitionTime": (
                before["lastTransitionTime"] if before is not None and before.get("status") == text else stamp
            ),
            "reason": reason,
            "message": message,
        }

    conditions = []
    for type_, field_name, pressed, free in _PRESSURES:
        is_pressed = getattr(health, field_name)
        conditions.append(condition(type_, is_pressed, *(pressed if is_pressed else free)))
    if health.not_ready:
        conditions.append(condition("Ready", False, "KubeletNotReady", health.not_ready))
    else:
        conditions.append(condition("Ready", True, "KubeletReady", "kubelet is posting ready status"))
    return conditions


def heartbeat_delay_seconds(name: str, now: float, period_seconds: float) -> float:
    """How long to wait for the node's next turn, about the period at most; `now` is a monotonic time.

    The heartbeats of many nodes are spread over the period, but by slots: those of one slot become one commit.
    """
    slots = round(period_seconds / HEARTBEAT_SLOT_SECONDS)
    turn = zlib.crc32(name.encode()) % slots * HEARTBEAT_SLOT_SECONDS
    delay = (turn - now) % period_seconds
    # A timer may fire a little before its time: that is still this turn, not a moment before the next one.
    return delay if delay > HEARTBEAT_SLOT_SECONDS / 2 else delay + period_seconds
