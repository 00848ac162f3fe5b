"""Profiles: which plugins place the pods of one schedulerName, in which order, with which weights.

Owns the default plugins, what a profile of KubeSchedulerConfiguration changes about them, and third-party
plugins, which are found by entry point in the group `orchestrator.scheduler_plugins`. Mirrors
kube-scheduler's default plugins and profile handling
(https://kubernetes.io/docs/reference/scheduling/config/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from orchestrator.scheduler.fields import ConfigurationError, check_fields, check_range
from orchestrator.scheduler.framework import Plugin
from orchestrator.scheduler.plugins.dynamic_resources import DynamicResources
from orchestrator.scheduler.plugins.image_locality import ImageLocality
from orchestrator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from orchestrator.scheduler.plugins.node_affinity import NodeAffinity
from orchestrator.scheduler.plugins.node_basics import NodeName, NodePorts, NodeUnschedulable
from orchestrator.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from orchestrator.scheduler.plugins.pod_topology_spread import PodTopologySpread
from orchestrator.scheduler.plugins.taint_toleration import TaintToleration
from orchestrator.scheduler.plugins.volume_binding import VolumeBinding
from orchestrator.scheduler.plugins.volumes import NodeVolumeLimits, VolumeRestrictions, VolumeZone
from orchestrator.scheduler.pod_info import DEFAULT_SCHEDULER_NAME

ENTRY_POINT_GROUP: Final = "orchestrator.scheduler_plugins"

CANDIDATES_PERCENT: Final = 10
CANDIDATES_MIN: Final = 100
"""Of the nodes that preemption could use: how many are enough to choose from (DefaultPreemptionArgs)."""

DEFAULT_PLUGINS: Final[tuple[tuple[type[Plugin], int], ...]] = (
    (NodeUnschedulable, 0),
    (NodeName, 0),
    (TaintToleration, 3),
    (NodeAffinity, 2),
    (NodePorts, 0),
    (NodeResourcesFit, 1),
    (VolumeRestrictions, 0),
    (NodeVolumeLimits, 0),
    (VolumeBinding, 0),
    (VolumeZone, 0),
    (PodTopologySpread, 2),
    (InterPodAffinity, 2),
    (DynamicResources, 0),
    (NodeResourcesBalancedAllocation, 1),
    (ImageLocality, 1),
)
"""In kube-scheduler's order, with the weights of its default profile."""

ELSEWHERE: Final = {
    "PrioritySort": "queueSort",
    "SchedulingGates": "preEnqueue",
    "DefaultPreemption": "postFilter",
    "DefaultBinder": "bind",
}
"""Plugins of kube-scheduler that are no filter or score, and where they extend the cycle."""

EXTENSION_POINTS: Final = (
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "multiPoint",
)
_PLUGIN_SETS: Final = dict.fromkeys(EXTENSION_POINTS, dict)


class Profile(Struct, frozen=True):
    """The plugins of one schedulerName, in order."""

    scheduler_name: str
    filters: tuple[Plugin, ...]
    scorers: tuple[tuple[Plugin, int], ...]
    candidates_enough: tuple[int, int] = (CANDIDATES_PERCENT, CANDIDATES_MIN)
    """For preemption: percent of the nodes, number of nodes; the larger counts."""
    preempts: bool = True
    """Whether DefaultPreemption is enabled."""

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Every plugin once, filters first."""
        extra = tuple(plugin for plugin, _ in self.scorers if plugin not in self.filters)
        return self.filters + extra


def default_profile() -> Profile:
    """The profile of `default-scheduler`."""
    return build_profile({})


def third_party_plugins() -> dict[str, type[Plugin]]:
    """Installed plugins of the entry point group, by plugin name."""
    from importlib.metadata import entry_points  # reads every installed distribution: only when asked for

    found: dict[str, type[Plugin]] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        plugin = entry.load()
        if not (isinstance(plugin, type) and issubclass(plugin, Plugin)):
            raise ConfigurationError(f"entry point {entry.name}: {entry.value} is not a scheduler plugin")
        found[plugin.name] = plugin
    return found


def build_profile(entry: Mapping[str, Any], registry: Mapping[str, type[Plugin]] | None = None) -> Profile:
    """One entry of `profiles`; ValueError names what is wrong in it."""
    check_fields(entry, {"schedulerName": str, "percentageOfNodesToScore": int, "plugins": dict, "pluginConfig": list})
    sets = entry.get("plugins") or {}
    check_fields(sets, _PLUGIN_SETS, "plugins")
    for point, change in sets.items():
        _check_plugin_set(change or {}, f"plugins.{point}")
    factory = _Factory(registry or {}, _arguments(entry.get("pluginConfig") or ()))
    defaults = {**{plugin.name: weight for plugin, weight in DEFAULT_PLUGINS}, **dict.fromkeys(ELSEWHERE, 0)}
    base = _merged(defaults, sets.get("multiPoint") or {})
    at = {point: _merged(base, sets.get(point) or {}) for point in EXTENSION_POINTS if point != "multiPoint"}
    for name, point in ELSEWHERE.items():
        if name != "DefaultPreemption" and name not in at[point]:
            raise ValueError(f"plugins.{point}.disabled: {name} has no substitute and must stay enabled")
    filters = tuple(plugin for plugin in map(factory.make, _without_elsewhere(at["filter"])) if plugin.filters())
    scorers = tuple(
        (plugin, at["score"][plugin.name] or 1)
        for plugin in map(factory.make, _without_elsewhere(at["score"]))
        if plugin.scores()
    )
    for names in at.values():
        for name in _without_elsewhere(names):
            factory.make(name)  # whatever is enabled anywhere must exist
    preempts = "DefaultPreemption" in at["postFilter"]
    enough = preemption_arguments(factory.arguments.pop("DefaultPreemption", {}))
    factory.check_all_used()
    return Profile(entry.get("schedulerName") or DEFAULT_SCHEDULER_NAME, filters, scorers, enough, preempts)


def preemption_arguments(arguments: Mapping[str, Any]) -> tuple[int, int]:
    """DefaultPreemptionArgs: (percent of the nodes, number of nodes) that are enough to choose from."""
    names = ("minCandidateNodesPercentage", "minCandidateNodesAbsolute")
    check_fields(arguments, {**_ARGUMENTS, **dict.fromkeys(names, int)}, "DefaultPreemption.args")
    percent, absolute = (arguments.get(name) for name in names)
    return (
        CANDIDATES_PERCENT if percent is None else check_range(percent, 0, 100, names[0]),
        CANDIDATES_MIN if absolute is None else check_range(absolute, 0, 2**31 - 1, names[1]),
    )


_ARGUMENTS: Final[Mapping[str, type]] = {"apiVersion": str, "kind": str}


class _Factory:
    """Makes each plugin of a profile once, with its arguments."""

    def __init__(self, registry: Mapping[str, type[Plugin]], arguments: dict[str, Mapping[str, Any]]) -> None:
        self.arguments = arguments
        self._known: dict[str, type[Plugin]] = {plugin.name: plugin for plugin, _ in DEFAULT_PLUGINS}
        self._known.update(registry)
        self._made: dict[str, Plugin] = {}

    def make(self, name: str) -> Plugin:
        """The plugin of this name; ValueError when there is none, or its arguments are wrong."""
        if name not in self._made:
            if name not in self._known:
                self._known.update(third_party_plugins())
            cls = self._known.get(name)
            if cls is None:
                raise ValueError(f'plugin "{name}" does not exist')
            arguments = self.arguments.get(name) or {}
            if cls.argument_fields is not None:
                check_fields(arguments, {**_ARGUMENTS, **cls.argument_fields}, f"{name}.args")
            self._made[name] = cls(arguments)
        return self._made[name]

    def check_all_used(self) -> None:
        """Arguments for a plugin that is not there would be ignored."""
        for name in self.arguments:
            if name not in self._made:
                raise ValueError(f'pluginConfig: plugin "{name}" is not enabled, or takes no arguments')


def _arguments(entries: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for position, config in enumerate(entries):
        where = f"pluginConfig[{position}]"
        check_fields(config, {"name": str, "args": dict}, where)
        name = config.get("name")
        if not name:
            raise ValueError(f"{where}.name: Required value")
        if name in found:
            raise ValueError(f"{where}: Duplicate value: {name!r}")
        found[name] = config.get("args") or {}
    return found


def _check_plugin_set(change: Any, where: str) -> None:
    check_fields(change, {"enabled": list, "disabled": list}, where)
    for side in ("enabled", "disabled"):
        for position, item in enumerate(change.get(side) or ()):
            check_fields(item, {"name": str, "weight": int}, f"{where}.{side}[{position}]")
            if not item.get("name"):
                raise ValueError(f"{where}.{side}[{position}].name: Required value")
            if (item.get("weight") or 0) < 0:
                raise ValueError(f"{where}.{side}[{position}].weight: must not be negative")


def _without_elsewhere(names: Mapping[str, int]) -> list[str]:
    return [name for name in names if name not in ELSEWHERE]


def _merged(base: Mapping[str, int], change: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    disabled = {item["name"] for item in change.get("disabled") or ()}
    result = {name: weight for name, weight in base.items() if "*" not in disabled and name not in disabled}
    for item in change.get("enabled") or ():
        result[item["name"]] = int(item.get("weight") or base.get(item["name"], 0))
    return result
