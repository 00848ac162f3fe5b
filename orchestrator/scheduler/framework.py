"""The seams of the scheduling cycle: plugins, verdicts, and what a cycle hands from one to the next.

Owns the words: filter, score, normalise, sign, hint. Never knows a particular plugin. Mirrors
kube-scheduler's scheduling framework (https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/).

Every plugin says of what its answers depend (`Reads`). That is what lets the scheduler keep the
nodes of one scheduling signature in a heap and repair it only for nodes that changed.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Protocol

from msgspec import Struct, field

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.api.resources import PODS, Resource
from orchestrator.api.selectors import LabelSelector
from orchestrator.client.client import Client
from orchestrator.scheduler.cache import Cache, Change
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo

MAX_NODE_SCORE: Final = 100
UNSIGNABLE: Final = object()
"""A plugin's answer to `sign`: pods that look the same may still be treated differently."""


class Verdict(Struct, frozen=True):
    """Why a node, or every node, was refused."""

    plugin: str
    reasons: tuple[str, ...]
    resolvable: bool = True
    """Whether evicting pods could change it (Unschedulable, not UnschedulableAndUnresolvable)."""


class Reads(enum.Enum):
    """What a plugin's filter and score depend on, besides the pod's signature."""

    NODE = "the node object"
    USAGE = "the node object and the sums of its pods"
    OTHERS = "pods or nodes elsewhere: the plugin has a tracker for it"
    ANYTHING = "unknown: such a pod is placed by the pass over all nodes"


class Skip:
    """A plugin's answer that it has nothing to say about a pod."""


SKIP: Final = Skip()


class Cycle(Struct):
    """One attempt to place one pod: the pod, the cluster as it is, and what plugins noted."""

    pod: PodInfo
    cache: Cache
    listers: Listers
    notes: dict[str, Any] = field(default_factory=dict)
    """By plugin name: what `pre_filter` and `pre_score` prepared."""
    skip_filter: set[str] = field(default_factory=set)
    skip_score: set[str] = field(default_factory=set)


class Listers(Protocol):
    """What plugins may read besides the cache: objects that select or bound pods."""

    def default_selector(self, pod: PodInfo) -> LabelSelector | None:
        """What the Services and the owner of a pod select together; None when nothing selects it."""
        ...

    def disruption_budgets(self, namespace: str) -> Sequence[Object]:
        """The PodDisruptionBudgets of a namespace."""
        ...

    def find(self, resource: Resource, key: str) -> Object | None:
        """One object, by `namespace/name` or name; None when there is none or the resource is not followed."""
        ...

    def list(self, resource: Resource) -> Sequence[Object]:
        """All objects of a resource."""
        ...

    def volumes_of_class(self, name: str) -> Sequence[Object]:
        """The PersistentVolumes of a storage class; an empty name means those without one."""
        ...

    async def changed(self, resources: Sequence[Resource], *, or_when: asyncio.Event) -> None:
        """Return at the next change of any object of these resources, or when the event is set."""
        ...

    @property
    def budgets_version(self) -> int:
        """Rises with every change of a PodDisruptionBudget."""
        ...


class NoListers:
    """Nothing selects any pod, nothing is protected: for tests and pure use."""

    def default_selector(self, pod: PodInfo) -> LabelSelector | None:
        return None

    def disruption_budgets(self, namespace: str) -> Sequence[Object]:
        return ()

    @property
    def budgets_version(self) -> int:
        return 0

    def find(self, resource: Resource, key: str) -> Object | None:
        return None

    def list(self, resource: Resource) -> Sequence[Object]:
        return ()

    def volumes_of_class(self, name: str) -> Sequence[Object]:
        return ()

    async def changed(self, resources: Sequence[Resource], *, or_when: asyncio.Event) -> None:
        await or_when.wait()  # nothing ever changes


class ReservationError(Exception):
    """What a plugin reserved could not be carried out; the pod is tried again."""


class Reservation(Protocol):
    """What a plugin keeps for a pod on the node chosen for it, until the pod is bound or is not."""

    async def carry_out(self, client: Client, clock: Clock) -> None:
        """Make it true in the API before the pod is bound; ReservationError or ApiError when that fails."""
        ...

    def release(self) -> None:
        """Take it back."""
        ...

    async def undo(self, client: Client) -> None:
        """The pod was not bound after all: take back in the API what may not stay; ApiError when that fails."""
        ...


class Action(enum.Flag):
    """What happened to an object, as far as a placement can depend on it."""

    ADD = enum.auto()
    UPDATE = enum.auto()
    DELETE = enum.auto()
    ALL = ADD | UPDATE | DELETE


class ClusterEvent(Struct, frozen=True):
    """A change that may make refused pods schedulable."""

    resource: Resource
    action: Action
    old: Object | None = None
    new: Object | None = None
    old_pod: PodInfo | None = None
    """For pods: the same, as the scheduler sees it."""
    new_pod: PodInfo | None = None

    @property
    def label(self) -> str:
        """Its name in metrics: `NodeAdd`, `AssignedPodDelete`."""
        kind = "AssignedPod" if self.resource is PODS else self.resource.kind
        return f"{kind}{(self.action.name or '').capitalize()}"


Normalization = Literal["none", "up", "down"]
"""As it is; scaled to 100 by the largest; the same, reversed."""


class Tracker(Protocol):
    """Indexed counts by which one signature's answers depend on other pods or nodes.

    Nodes with the same *factor* get the same verdict and the same score from this plugin.
    """

    def factor(self, node: NodeInfo) -> Hashable:
        """By what this plugin tells nodes apart; asked again when the node or its pods changed."""
        ...

    def observe(self, change: Change) -> None:
        """A pod came or went."""
        ...

    def verdict(self, factor: Any) -> Verdict | None:
        """The filter's answer for nodes with this factor."""
        ...

    def scores(self, factors: Mapping[Any, int]) -> Mapping[Any, int]:
        """Normalised scores, from how many feasible nodes have each factor."""
        ...

    @property
    def refuses(self) -> bool:
        """Whether the filter may refuse any node, as things are."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether the changes observed made all factors invalid, so that all must be asked for again."""
        ...


class Plugin:
    """The base of all plugins; what is not overridden is an extension point not used."""

    name: ClassVar[str]
    """As in kube-scheduler, and in KubeSchedulerConfiguration."""
    reads: ClassVar[Reads] = Reads.ANYTHING
    normalization: ClassVar[Normalization] = "none"
    hints: ClassVar[Mapping[Resource, Action]] = {}
    """Which events may help a pod that this plugin refused."""
    argument_fields: ClassVar[Mapping[str, type] | None] = None
    """The keys of its `pluginConfig` arguments with their types; None: it checks them itself."""

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        self.arguments: Mapping[str, Any] = arguments or {}

    def sign(self, cycle: Cycle) -> Hashable:
        """What of the pod this plugin reads: equal signatures, equal answers. May be `UNSIGNABLE`."""
        return UNSIGNABLE

    def pre_filter(self, cycle: Cycle) -> Verdict | Skip | Collection[str] | None:
        """Prepare; refuse the pod everywhere, skip the filter, or name the only nodes to look at."""
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        """Why the pod must not run on this node; None when it may."""
        return None

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Skip | None:
        """Prepare scoring of the feasible nodes, or skip it."""
        return None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        """How well the pod would be placed on this node; 0 to 100 after normalisation."""
        return 0

    def normalize(self, cycle: Cycle, nodes: Sequence[NodeInfo], scores: list[int]) -> list[int]:
        """Bring the scores of all feasible nodes to 0..100."""
        if self.normalization == "none":
            return scores
        return normalized(scores, reverse=self.normalization == "down")

    def tracker(self, cycle: Cycle) -> Tracker | None:
        """Indexed counts for this signature (`Reads.OTHERS`); None when the plugin has nothing to say."""
        return None

    def reserve(self, cycle: Cycle, node: NodeInfo) -> Reservation | None:
        """Keep what the pod needs on its node beside what the cache counts (volumes); nothing by default."""
        return None

    def add_pod(self, cycle: Cycle, pod: PodInfo, node: NodeInfo) -> None:
        """Suppose that a pod ran on this node: correct what `pre_filter` noted (preemption)."""

    def remove_pod(self, cycle: Cycle, pod: PodInfo, node: NodeInfo) -> None:
        """Suppose that a pod did not run on this node."""

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """Whether an event (one of `hints`) may make a pod schedulable that this plugin refused."""
        return True

    @classmethod
    def filters(cls) -> bool:
        """Whether the plugin has a filter."""
        return cls.filter is not Plugin.filter

    @classmethod
    def scores(cls) -> bool:
        """Whether the plugin has a score."""
        return cls.score is not Plugin.score


class TrackedPlugin(Plugin):
    """A plugin whose filter and score are those of its tracker, made afresh for a pass over all nodes."""

    reads = Reads.OTHERS

    def pre_filter(self, cycle: Cycle) -> Verdict | Skip | Collection[str] | None:
        tracker = cycle.notes[self.name] = self.tracker(cycle)
        return SKIP if tracker is None else None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        tracker: Tracker = cycle.notes[self.name]
        verdict: Verdict | None = tracker.verdict(tracker.factor(node))
        return verdict

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Skip | None:
        return SKIP if cycle.notes[self.name] is None else None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        return 0  # a score only exists relative to all feasible nodes: see `normalize`

    def normalize(self, cycle: Cycle, nodes: Sequence[NodeInfo], scores: list[int]) -> list[int]:
        tracker: Tracker = cycle.notes[self.name]
        factors = [tracker.factor(node) for node in nodes]
        by_factor = tracker.scores(Counter(factors))
        return [by_factor[factor] for factor in factors]

    def add_pod(self, cycle: Cycle, pod: PodInfo, node: NodeInfo) -> None:
        if (tracker := cycle.notes.get(self.name)) is not None:
            tracker.observe(Change(node, pod, 1))

    def remove_pod(self, cycle: Cycle, pod: PodInfo, node: NodeInfo) -> None:
        if (tracker := cycle.notes.get(self.name)) is not None:
            tracker.observe(Change(node, pod, -1))


def normalized(scores: list[int], *, reverse: bool) -> list[int]:
    """Scale to 0..100 by the largest, optionally turned round; all zero is all the worst or best."""
    largest = max(scores, default=0)
    if largest == 0:
        return [MAX_NODE_SCORE] * len(scores) if reverse else scores
    if reverse:
        return [MAX_NODE_SCORE - MAX_NODE_SCORE * score // largest for score in scores]
    return [MAX_NODE_SCORE * score // largest for score in scores]
