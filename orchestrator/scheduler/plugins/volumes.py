"""VolumeRestrictions, NodeVolumeLimits and VolumeZone: what volumes that exist allow.

Exclusive use of disks and of ReadWriteOncePod claims, how many volumes of a CSI driver a node can attach, and the
zone that a volume is in (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes,
https://kubernetes.io/docs/concepts/storage/storage-limits/).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Final

from orchestrator.api.objects import Object, labels_of, name_of, namespace_of
from orchestrator.api.resources import (
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    Resource,
)
from orchestrator.scheduler.framework import SKIP, UNSIGNABLE, Action, ClusterEvent, Cycle, Plugin, Reads, Skip, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.plugins.volume_binding import claims_of, driver_of, handle_of, is_bound, volume_of
from orchestrator.scheduler.pod_info import PodInfo

_BETA: Final = "failure-domain.beta.kubernetes.io/"
_STABLE: Final = "topology.kubernetes.io/"
ZONE_LABELS: Final = tuple(prefix + part for prefix in (_STABLE, _BETA) for part in ("zone", "region"))


class VolumeRestrictions(Plugin):
    """A ReadWriteOncePod claim has one pod in the cluster, some kinds of disks one pod on a node."""

    name: ClassVar[str] = "VolumeRestrictions"
    reads = Reads.USAGE
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    hints: ClassVar[Mapping[Resource, Action]] = {
        PODS: Action.DELETE | Action.UPDATE,
        PERSISTENT_VOLUME_CLAIMS: Action.ADD | Action.UPDATE,
        NODES: Action.ADD,
    }
    _in_use = Verdict(
        "VolumeRestrictions",
        ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",),
    )
    _no_disk = Verdict("VolumeRestrictions", ("node(s) had no available disk",))

    def sign(self, cycle: Cycle) -> Hashable:
        return UNSIGNABLE if cycle.pod.claims or _disks(cycle.pod) else None

    def pre_filter(self, cycle: Cycle) -> Skip | None:
        pod = cycle.pod
        exclusive = {
            f"{namespace_of(claim)}/{name_of(claim)}"
            for claim in (claims_of(pod, cycle.listers) if pod.claims else ())
            if "ReadWriteOncePod" in ((claim.get("spec") or {}).get("accessModes") or ())
        }
        if not exclusive and not _disks(pod):
            return SKIP
        users = sum(len(cycle.cache.claim_users.get(key, ())) for key in exclusive)
        cycle.notes[self.name] = [exclusive, users]
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        if cycle.notes[self.name][1]:
            return self._in_use
        mine = _disks(cycle.pod)
        if mine and any(_conflict(disk, other) for pod in node.pods.values() for other in _disks(pod) for disk in mine):
            return self._no_disk
        return None

    def add_pod(self, cycle: Cycle, pod: PodInfo, node: NodeInfo) -> None:
        self._count(cycle, pod, 1)

    def remove_pod(self, cycle: Cycle, pod: PodInfo, node: NodeInfo) -> None:
        self._count(cycle, pod, -1)

    def _count(self, cycle: Cycle, pod: PodInfo, sign: int) -> None:
        noted = cycle.notes.get(self.name)
        if noted is not None:
            noted[1] += sign * sum(f"{pod.namespace}/{claim.name}" in noted[0] for claim in pod.claims)

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is not PODS:
            return True
        gone = event.old_pod
        if gone is None:
            return event.new_pod is not None and event.new_pod.uid == pod.uid
        if gone.namespace == pod.namespace and {claim.name for claim in gone.claims} & {c.name for c in pod.claims}:
            return True
        return any(_conflict(disk, other) for disk in _disks(pod) for other in _disks(gone))


_Disk = tuple[str, str, bool]
"""(kind, what identifies it, whether it is mounted read-only)."""


def _disks(pod: PodInfo) -> tuple[_Disk, ...]:
    volumes = pod.spec.get("volumes")
    if not volumes:
        return ()
    known: tuple[_Disk, ...] | None = pod.fragments.get(VolumeRestrictions.name)
    if known is None:
        known = pod.fragments[VolumeRestrictions.name] = tuple(disk for volume in volumes if (disk := _disk(volume)))
    return known


def _disk(volume: Mapping[str, Any]) -> _Disk | None:
    if source := volume.get("gcePersistentDisk"):
        return "gce", source.get("pdName") or "", bool(source.get("readOnly"))
    if source := volume.get("awsElasticBlockStore"):
        return "aws", source.get("volumeID") or "", False
    if source := volume.get("iscsi"):
        return "iscsi", source.get("iqn") or "", bool(source.get("readOnly"))
    if source := volume.get("rbd"):
        image = "/".join((*sorted(source.get("monitors") or ()), source.get("pool") or "", source.get("image") or ""))
        return "rbd", image, bool(source.get("readOnly"))
    return None


def _conflict(one: _Disk, other: _Disk) -> bool:
    return one[:2] == other[:2] and not (one[2] and other[2])


class NodeVolumeLimits(Plugin):
    """A node attaches only so many volumes of a CSI driver as its CSINode says."""

    name: ClassVar[str] = "NodeVolumeLimits"
    reads = Reads.USAGE
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    hints: ClassVar[Mapping[Resource, Action]] = {
        CSI_NODES: Action.ADD | Action.UPDATE,
        PODS: Action.DELETE,
        PERSISTENT_VOLUME_CLAIMS: Action.ADD | Action.UPDATE,
        NODES: Action.ADD,
    }
    _refusal = Verdict("NodeVolumeLimits", ("node(s) exceed max volume count",))

    def sign(self, cycle: Cycle) -> Hashable:
        return UNSIGNABLE if cycle.pod.claims else None

    def pre_filter(self, cycle: Cycle) -> Skip | None:
        if not cycle.pod.claims or not cycle.listers.list(CSI_NODES):
            return SKIP
        cycle.notes[self.name] = self._volumes(cycle, cycle.pod)
        return None

    def _volumes(self, cycle: Cycle, pod: PodInfo) -> dict[tuple[str, str], None]:
        listers = cycle.listers
        found: dict[tuple[str, str], None] = {}
        for claim in claims_of(pod, listers):
            volume = volume_of(claim, listers)
            driver = driver_of(claim, volume, listers)
            if driver:
                found[driver, handle_of(claim, volume)] = None
        return found

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        wanted: dict[tuple[str, str], None] = cycle.notes[self.name]
        limits = _limits(cycle.listers.find(CSI_NODES, node.name))
        if not limits or not any(driver in limits for driver, _ in wanted):
            return None
        attached: dict[tuple[str, str], None] = {}
        for pod in node.pods.values():
            if pod.claims:
                attached.update(self._volumes(cycle, pod))
        new = [driver for driver, handle in wanted if (driver, handle) not in attached]
        for driver in set(new) & limits.keys():
            if sum(one == driver for one, _ in attached) + new.count(driver) > limits[driver]:
                return self._refusal
        return None

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is PODS:
            return event.old_pod is not None and bool(event.old_pod.claims)
        return True


def _limits(csi_node: Object | None) -> dict[str, int]:
    drivers = ((csi_node or {}).get("spec") or {}).get("drivers") or ()
    return {
        driver["name"]: int(count)
        for driver in drivers
        if (count := (driver.get("allocatable") or {}).get("count")) is not None
    }


class VolumeZone(Plugin):
    """A volume that is labelled with a zone is used from nodes of that zone."""

    name: ClassVar[str] = "VolumeZone"
    reads = Reads.NODE
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    hints: ClassVar[Mapping[Resource, Action]] = {
        PERSISTENT_VOLUMES: Action.ADD | Action.UPDATE,
        PERSISTENT_VOLUME_CLAIMS: Action.ADD | Action.UPDATE,
        NODES: Action.ADD | Action.UPDATE,
    }
    _refusal = Verdict("VolumeZone", ("node(s) had no available volume zone",), resolvable=False)

    def sign(self, cycle: Cycle) -> Hashable:
        return UNSIGNABLE if cycle.pod.claims else None

    def pre_filter(self, cycle: Cycle) -> Skip | None:
        places: list[tuple[str, frozenset[str]]] = []
        for claim in claims_of(cycle.pod, cycle.listers) if cycle.pod.claims else ():
            volume = volume_of(claim, cycle.listers) if is_bound(claim) else None
            labels = labels_of(volume or {})
            # A volume that is in several zones names them all, separated by two underscores.
            places += [(key, frozenset(labels[key].split("__"))) for key in ZONE_LABELS if key in labels]
        if not places:
            return SKIP
        cycle.notes[self.name] = places
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        labels = node.labels
        if not any(key in labels for key in ZONE_LABELS):
            return None
        for key, values in cycle.notes[self.name]:
            here = labels.get(key)
            if here is None and key.startswith(_BETA):
                here = labels.get(_STABLE + key.removeprefix(_BETA))
            if here not in values:
                return self._refusal
        return None
