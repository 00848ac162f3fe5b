"""The Node object of a kubelet: registration, conditions, heartbeats, lease.

Owns what a node says about itself. Never looks at pods. Mirrors pkg/kubelet/nodestatus and
k8s.io/component-helpers/apimachinery/lease.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from orchestrator.aiokit.clock import Clock, format_micro_time, format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, uid_of
from orchestrator.api.resources import LEASES, NODES
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.kubelet.eviction.plan import Threshold
from orchestrator.kubelet.images.garbage_collection import ImageGcPolicy
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import DeviceCounts
from orchestrator.kubelet.runtime import Image, RuntimeInfo
from orchestrator.kubelet.shutdown import ShutdownPeriods
from orchestrator.logs import get_logger

KUBELET_VERSION = "v1.36.0"
LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION_SECONDS = 40
LEASE_RENEW_SECONDS = 10.0
HEARTBEAT_SLOT_SECONDS = 1.0
STATUS_REPORT_SECONDS = 300.0
IMAGES_REPORTED_MAX = 50
NAMES_OF_IMAGE_REPORTED_MAX = 5
PODS_MAX = 110
NO_DEVICES: Mapping[str, DeviceCounts] = {}
UNKNOWN_DISK = "100Gi"
"""What a node without a disk of its own claims to have."""


class NodeOptions(Struct, frozen=True):
    """What the operator says about a node; the rest comes from the runtime."""

    name: str
    ip: str
    pod_cidr: str = ""
    capacity: Mapping[str, str] = field(default_factory=dict)
    """Overrides of cpu, memory, pods, ephemeral-storage, and any extended resource."""
    reserved: Mapping[str, str] = field(default_factory=dict)
    """What allocatable lacks of the capacity (kube-reserved and system-reserved)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    kubelet_port: int = 10250
    machine_id: str = ""
    seccomp_root: Path | None = None
    """Where Localhost seccomp profiles lie."""
    allowed_unsafe_sysctls: Sequence[str] = ()
    eviction_thresholds: Sequence[Threshold] = ()
    """When the node is under pressure (evictionHard, evictionSoft)."""
    eviction_pod_grace_seconds: int = 0
    """What a pod has at most to end when a soft threshold asks for it (evictionMaxPodGracePeriod)."""
    shutdown: ShutdownPeriods = ShutdownPeriods()
    """How pods end with the node."""
    image_gc_file: Path | None = None
    """Where the memory of pulled images is; None: images are never collected."""
    image_gc_policy: ImageGcPolicy = field(default_factory=ImageGcPolicy)
    static_pod_folder: Path | None = None
    """Where the manifests of static pods lie (staticPodPath)."""
    paths: NodePaths | None = None
    """What paths of the node mean on this machine; None: it has no kubelet directory, and takes no plugins."""
    log_folder: Path | None = None
    """What the page `/logs/` shows; None: there is no such page."""


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


def _advertises_more(node: Object, devices: Collection[str]) -> bool:
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


def _conditions(health: NodeHealth, now: datetime, old: Sequence[Object]) -> list[Object]:
    known = {condition["type"]: condition for condition in old}
    stamp = format_time(now)

    def condition(type_: str, is_true: bool, reason: str, message: str) -> Object:
        text = "True" if is_true else "False"
        before = known.get(type_)
        moved = before is None or before.get("status") != text
        return {
            "type": type_,
            "status": text,
            "lastHeartbeatTime": stamp,
            "lastTransitionTime": stamp if moved or before is None else before["lastTransitionTime"],
            "reason": reason,
            "message": message,
        }

    memory = ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available") if (
        health.memory_pressure
    ) else ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")  # fmt: skip
    disk = ("KubeletHasDiskPressure", "kubelet has disk pressure") if (
        health.disk_pressure
    ) else ("KubeletHasNoDiskPressure", "kubelet has no disk pressure")  # fmt: skip
    pids = ("KubeletHasInsufficientPID", "kubelet has insufficient PID available") if (
        health.pid_pressure
    ) else ("KubeletHasSufficientPID", "kubelet has sufficient PID available")  # fmt: skip
    ready = ("KubeletNotReady", health.not_ready) if health.not_ready else (
        "KubeletReady",
        "kubelet is posting ready status",
    )  # fmt: skip
    return [
        condition("MemoryPressure", health.memory_pressure, *memory),
        condition("DiskPressure", health.disk_pressure, *disk),
        condition("PIDPressure", health.pid_pressure, *pids),
        condition("Ready", not health.not_ready, *ready),
    ]


def heartbeat_delay_seconds(name: str, now: float, period_seconds: float) -> float:
    """How long to wait for the node's next turn, about the period at most; `now` is a monotonic time.

    The heartbeats of many nodes are spread over the period, but by slots: those of one slot become one commit.
    """
    slots = round(period_seconds / HEARTBEAT_SLOT_SECONDS)
    turn = zlib.crc32(name.encode()) % slots * HEARTBEAT_SLOT_SECONDS
    delay = (turn - now) % period_seconds
    # A timer may fire a little before its time: that is still this turn, not a moment before the next one.
    return delay if delay > HEARTBEAT_SLOT_SECONDS / 2 else delay + period_seconds


class NodeReporter:
    """Keeps one Node object and its Lease up to date; the kubelet calls it, it has no task of its own."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        options: NodeOptions,
        devices: Callable[[], Mapping[str, DeviceCounts]] = dict,
    ) -> None:
        """`devices` tells what device plugins offer now."""
        self._devices = devices
        self._reported_devices: Mapping[str, DeviceCounts] = NO_DEVICES
        self._client = client
        self._clock = clock
        self._options = options
        self._node: Object | None = None
        self._lease: Object | None = None
        self._reported: NodeHealth | None = None
        self._reported_at = 0.0
        self._images: Sequence[Image] = ()
        """Those of the last report."""
        self._seen: Object | None = None
        """The Node as others had it when there was last nothing to report."""
        self._log = get_logger("kubelet", node=options.name)

    @property
    def node(self) -> Object | None:
        """The Node as it was last seen, or None before registration."""
        return self._node

    async def register(self, info: RuntimeInfo, health: NodeHealth, images: Sequence[Image]) -> None:
        """Create the Node, or bring labels and status of the existing one up to date."""
        wanted = plan_node(self._options, info)
        status = plan_node_status(self._options, info, health, images, self._clock.now(), {})
        try:
            self._node = await self._client.create(NODES, {**wanted, "status": status})
            self._log.info("node.registered", ip=self._options.ip, pod_cidr=self._options.pod_cidr)
        except errors.AlreadyExists:
            self._node = await self._client.get(NODES, self._options.name)
            known = self._node["metadata"].get("labels") or {}
            labels = {k: v for k, v in wanted["metadata"]["labels"].items() if known.get(k) != v}
            patch: Object = {"metadata": {"labels": labels}} if labels else {}
            if self._options.pod_cidr and not (self._node.get("spec") or {}).get("podCIDR"):
                patch["spec"] = wanted["spec"]
            if patch:
                self._node = await self._client.patch(NODES, self._options.name, patch)
        await self._report(info, health, images)

    async def report(
        self, info: RuntimeInfo, health: NodeHealth, images: Sequence[Image], *, seen: Object | None = None
    ) -> None:
        """Write the status when health, images or devices changed, five minutes after the last, or as `seen` calls for.

        `seen`: the Node as others have it now; extended resources that were advertised on it become allocatable.
        """
        is_changed = seen is not None and seen is not self._seen and _advertises_more(seen, self._devices())
        if is_changed:
            self._node = seen
        age = self._clock.monotonic() - self._reported_at
        is_same = health == self._reported and images == self._images and self._devices() == self._reported_devices
        if is_same and age < STATUS_REPORT_SECONDS and not is_changed:
            self._seen = seen
            return
        try:
            await self._report(info, health, images)
        except errors.NotFound:
            # Somebody deleted the Node; a kubelet that still runs registers it again.
            await self.register(info, health, images)

    async def _report(self, info: RuntimeInfo, health: NodeHealth, images: Sequence[Image]) -> None:
        assert self._node is not None
        old: Object = self._node.get("status") or {}
        devices = self._devices()
        status = plan_node_status(self._options, info, health, images, self._clock.now(), old, devices)
        changed: dict[str, Any] = {key: value for key, value in status.items() if old.get(key) != value}
        if "allocatable" in changed:
            gone = extended_resources(old.get("allocatable") or {}).keys() - status["allocatable"].keys()
            changed["allocatable"] = {**status["allocatable"], **dict.fromkeys(gone)}
        if "addresses" in changed:
            changed["addresses"] = [{"$patch": "replace"}, *changed["addresses"]]
        self._node = await self._client.patch(
            NODES,
            self._options.name,
            {"status": changed},
            subresource="status",
            content_type=STRATEGIC_MERGE_PATCH,
        )
        if self._reported is not None and self._reported.not_ready != health.not_ready:
            self._log.info("node.health", ready=not health.not_ready, reason=health.not_ready)
        self._reported = health
        self._images = images
        self._reported_devices = devices
        self._reported_at = self._clock.monotonic()

    def forget(self) -> None:
        """The Node may be gone: the next report is written in any case, and registers it again if need be."""
        self._reported = None

    async def renew_lease(self) -> None:
        """Say that this node is alive (KEP-589); raises ApiError, and is tried again at the next heartbeat."""
        stamp = format_micro_time(self._clock.now())
        if self._lease is None:
            try:
                self._lease = await self._client.get(LEASES, self._options.name, LEASE_NAMESPACE)
            except errors.NotFound:
                self._lease = await self._client.create(LEASES, self._new_lease(stamp))
                return
        renewed = {**self._lease, "spec": {**self._lease["spec"], **self._holding(stamp)}}
        owner = self._owner()
        if owner and self._lease["metadata"].get("ownerReferences") != owner:
            renewed["metadata"] = {**self._lease["metadata"], "ownerReferences": owner}
        try:
            self._lease = await self._client.update(LEASES, renewed)
        except errors.NotFound:
            # Leases go with their Node.
            self._lease = None
            self.forget()
            raise
        except errors.Conflict:
            self._lease = None
            raise

    def _owner(self) -> list[Object]:
        if self._node is None:
            return []
        name = self._options.name
        return [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid_of(self._node)}]

    def _new_lease(self, stamp: str) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._options.name,
                "namespace": LEASE_NAMESPACE,
                "ownerReferences": self._owner(),
            },
            "spec": self._holding(stamp),
        }

    def _holding(self, stamp: str) -> Object:
        return {
            "holderIdentity": self._options.name,
            "leaseDurationSeconds": LEASE_DURATION_SECONDS,
            "renewTime": stamp,
        }
