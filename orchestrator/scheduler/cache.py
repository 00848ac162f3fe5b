"""The scheduler's picture of the cluster: nodes, bound pods, assumed pods, and a journal of changes.

Owns what the scheduling cycle reads. A cycle never awaits, so the cache itself is the snapshot. An
assumed pod is one whose binding is under way: it counts on its node already. Every change that can
matter to a placement gets a number in a bounded journal, by which heaps of scored nodes catch up
(`heap`). Mirrors kube-scheduler's internal cache; never talks to the API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.scheduler.devices.ledger import DeviceLedger
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.volume_promises import VolumeReservations

JOURNAL_MAX: Final = 16_384


class Change(NamedTuple):
    """One line of the journal."""

    node: NodeInfo
    pod: PodInfo | None
    """The pod that came or went; None when the node itself changed."""
    sign: int
    """+1 came, -1 went; 0 for a changed node."""


class Cache:
    """Nodes and the pods on them."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        """Schedulable or not, but known as objects."""
        self._all: dict[str, NodeInfo] = {}
        self._pods: dict[str, tuple[PodInfo, NodeInfo]] = {}
        self._assumed: set[str] = set()
        self._number = 0
        self._journal: list[Change] = []
        self._journal_start = 0
        self.topology_version = 0
        """Rises when a node comes, goes, or changes its labels or taints."""
        self.affinity_pods = 0
        """How many placed pods have pod (anti-)affinity terms: none is the fast case."""
        self.image_nodes: Counter[str] = Counter()
        """On how many nodes an image is."""
        self.priorities: Counter[int] = Counter()
        """How many placed pods have a priority: tells at once whether preemption can help."""
        self.claim_users: dict[str, set[str]] = {}
        """Uids of the placed pods that use a claim, by its key."""
        self.reservations = VolumeReservations()
        """Volumes promised to pods whose binding is under way."""
        self.devices = DeviceLedger()
        """Devices of drivers, and whose they are."""
        self.namespaces: dict[str, Mapping[str, str]] = {}
        """Labels of the namespaces, for namespaceSelector."""

    def __len__(self) -> int:
        return len(self.nodes)

    # The journal.

    @property
    def version(self) -> int:
        """The number of the next change."""
        return self._journal_start + len(self._journal)

    def changes_since(self, version: int) -> Iterator[Change] | None:
        """The changes from this number on; None when the journal no longer reaches back so far."""
        if version < self._journal_start:
            return None
        return iter(self._journal[version - self._journal_start :])

    def _record(self, change: Change) -> None:
        self._journal.append(change)
        if len(self._journal) > 2 * JOURNAL_MAX:
            del self._journal[:JOURNAL_MAX]
            self._journal_start += JOURNAL_MAX

    # Nodes.

    def set_node(self, node: Object) -> None:
        """A node came or changed. A heartbeat that changes nothing of interest leaves no trace."""
        name = name_of(node)
        info = self._all.get(name)
        if info is None:
            info = self._all[name] = NodeInfo(name, self._next_number())
        known = info.obj
        if known is not None and not matters(known, node):
            info.obj = node
            return
        if known is not None:
            self._count_images(info, -1)
        if known is None or _is_other_place(known, node):
            self.topology_version += 1
        info.set_node(node)
        self._count_images(info, 1)
        self.nodes[name] = info
        self._record(Change(info, None, 0))

    def remove_node(self, name: str) -> None:
        """A node went; its pods stay known until they go themselves."""
        info = self.nodes.pop(name, None)
        if info is None:
            return
        self._count_images(info, -1)
        info.set_node(None)
        self.topology_version += 1
        if not info.pods:
            del self._all[name]
        self._record(Change(info, None, 0))

    def _count_images(self, info: NodeInfo, sign: int) -> None:
        for image in info.images:
            count = self.image_nodes[image] + sign
            if count:
                self.image_nodes[image] = count
            else:
                del self.image_nodes[image]

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """A namespace came, changed its labels, or went (None)."""
        if self.namespaces.get(name) == labels:
            return
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = labels
        self.topology_version += 1  # namespaceSelectors may now match other pods

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    # Pods.

    def node_of(self, uid: str) -> str:
        """The node that a pod is placed or assumed on; empty when it is not."""
        placed = self._pods.get(uid)
        return placed[1].name if placed is not None else ""

    def pod(self, uid: str) -> PodInfo | None:
        """A placed or assumed pod."""
        placed = self._pods.get(uid)
        return placed[0] if placed is not None else None

    def is_assumed(self, uid: str) -> bool:
        """Whether the pod's binding has not been seen yet."""
        return uid in self._assumed

    def assume(self, pod: PodInfo, node: NodeInfo) -> None:
        """Count a pod on its node before the API knows."""
        self._place(pod, node)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> bool:
        """Take an assumption back; False when the pod is no longer assumed."""
        if uid not in self._assumed:
            return False
        self.remove_pod(uid)
        return True

    def set_pod(self, pod: PodInfo) -> None:
        """A bound pod was seen: it confirms an assumption, corrects one, or is new."""
        self._assumed.discard(pod.uid)
        placed = self._pods.get(pod.uid)
        if placed is not None:
            known, node = placed
            if node.name == pod.node_name and not counts_differently(known, pod):
                node.pods[pod.uid] = pod
                self._pods[pod.uid] = (pod, node)
                if pod.uid in node.pods_with_affinity:
                    node.pods_with_affinity[pod.uid] = pod
                if pod.uid in node.pods_with_anti_affinity:
                    node.pods_with_anti_affinity[pod.uid] = pod
                return
            self.remove_pod(pod.uid)
        home = self._all.get(pod.node_name)
        if home is None:
            home = self._all[pod.node_name] = NodeInfo(pod.node_name, self._next_number())
        self._place(pod, home)

    def remove_pod(self, uid: str) -> PodInfo | None:
        """A pod went, or ended; None when it was not here."""
        self._assumed.discard(uid)
        placed = self._pods.pop(uid, None)
        if placed is None:
            return None
        pod, node = placed
        self.affinity_pods -= uid in node.pods_with_affinity
        for claim in pod.claims:
            key = f"{pod.namespace}/{claim.name}"
            self.claim_users[key].discard(uid)
            if not self.claim_users[key]:
                del self.claim_users[key]
        node.remove_pod(uid)
        left = self.priorities[pod.priority] - 1
        if left:
            self.priorities[pod.priority] = left
        else:
            del self.priorities[pod.priority]
        self._record(Change(node, pod, -1))
        if node.obj is None and not node.pods:
            self._all.pop(node.name, None)
        return pod

    def _place(self, pod: PodInfo, node: NodeInfo) -> None:
        node.add_pod(pod)
        self._pods[pod.uid] = (pod, node)
        self.affinity_pods += pod.uid in node.pods_with_affinity
        for claim in pod.claims:
            self.claim_users.setdefault(f"{pod.namespace}/{claim.name}", set()).add(pod.uid)
        self.priorities[pod.priority] += 1
        self._record(Change(node, pod, 1))

    def has_lower_priority(self, priority: int) -> bool:
        """Whether any placed pod is less important than this."""
        return any(other < priority for other in self.priorities)


def matters(old: Object, new: Object) -> bool:
    """Whether a changed node can change a placement; heartbeats and addresses cannot."""
    if _is_other_place(old, new):
        return True
    old_status, new_status = old.get("status") or {}, new.get("status") or {}
    return any(old_status.get(field) != new_status.get(field) for field in ("allocatable", "capacity", "images"))


def _is_other_place(old: Object, new: Object) -> bool:
    old_spec, new_spec = old.get("spec") or {}, new.get("spec") or {}
    return (
        labels_of(old) != labels_of(new)
        or old_spec.get("taints") != new_spec.get("taints")
        or bool(old_spec.get("unschedulable")) != bool(new_spec.get("unschedulable"))
    )


def counts_differently(old: PodInfo, new: PodInfo) -> bool:
    """Whether a changed pod changes what its node has left, or who matches it."""
    return (
        old.requests != new.requests
        or old.labels != new.labels
        or old.is_terminating != new.is_terminating
        or old.priority != new.priority
    )
