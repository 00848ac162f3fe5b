"""Profiles: which plugins place the pods of one schedulerName, in which order, with which weights.

Owns reading KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) from a dict, and third-party
plugins, which are found by entry point in the group `orchestrator.scheduler_plugins`. Mirrors
kube-scheduler's default plugins and profile handling
(https://kubernetes.io/docs/reference/scheduling/config/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.scheduler.framework import Plugin
from orchestrator.scheduler.plugins.image_locality import ImageLocality
from orchestrator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from orchestrator.scheduler.plugins.node_affinity import NodeAffinity
from orchestrator.scheduler.plugins.node_basics import NodeName, NodePorts, NodeUnschedulable
from orchestrator.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from orchestrator.scheduler.plugins.pod_topology_spread import PodTopologySpread
from orchestrator.scheduler.plugins.taint_toleration import TaintToleration
from orchestrator.scheduler.pod_info import DEFAULT_SCHEDULER_NAME

ENTRY_POINT_GROUP: Final = "orchestrator.scheduler_plugins"

DEFAULT_PLUGINS: Final[tuple[tuple[type[Plugin], int], ...]] = (
    (NodeUnschedulable, 0),
    (NodeName, 0),
    (TaintToleration, 3),
    (NodeAffinity, 2),
    (NodePorts, 0),
    (NodeResourcesFit, 1),
    (PodTopologySpread, 2),
    (InterPodAffinity, 2),
    (NodeResourcesBalancedAllocation, 1),
    (ImageLocality, 1),
)
"""In kube-scheduler's order, with the weights of its default profile."""

ELSEWHERE: Final = frozenset(
    {
        "PrioritySort",
        "SchedulingGates",
        "DefaultPreemption",
        "DefaultBinder",
        "VolumeRestrictions",
        "NodeVolumeLimits",
        "VolumeBinding",
        "VolumeZone",
        "DynamicResources",
    }
)
"""Plugins of kube-scheduler that a configuration may name, but that are no filter or score here."""


class ConfigurationError(ValueError):
    """The configuration is wrong; the message names the field."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The plugins of one schedulerName, in order."""

    scheduler_name: str
    filters: tuple[Plugin, ...]
    scorers: tuple[tuple[Plugin, int], ...]

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Every plugin once, filters first."""
        extra = tuple(plugin for plugin, _ in self.scorers if plugin not in self.filters)
        return self.filters + extra


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """What KubeSchedulerConfiguration sets; see `parse_configuration`."""

    profiles: tuple[Profile, ...]
    backoff_initial_seconds: float = 1.0
    backoff_seconds_max: float = 10.0
    unschedulable_seconds_max: float = 300.0
    """After this long a refused pod is tried again whatever happened."""
    binds_in_flight_max: int = 16


def default_profile() -> Profile:
    """The profile of `default-scheduler`."""
    return _profile({})


def default_config() -> SchedulerConfig:
    """One default profile and kube-scheduler's back-off."""
    return SchedulerConfig(profiles=(default_profile(),))


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


def parse_configuration(
    document: Mapping[str, Any], *, registry: Mapping[str, type[Plugin]] | None = None
) -> SchedulerConfig:
    """Read a KubeSchedulerConfiguration; ConfigurationError names what is wrong.

    `registry`: further plugins by name; those installed by entry point are looked up when a name is unknown.
    """
    kind = document.get("kind", "KubeSchedulerConfiguration")
    if kind != "KubeSchedulerConfiguration":
        raise ConfigurationError(f"kind: {kind!r} is not KubeSchedulerConfiguration")
    initial = float(document.get("podInitialBackoffSeconds") or 1)
    longest = float(document.get("podMaxBackoffSeconds") or 10)
    if initial <= 0:
        raise ConfigurationError("podInitialBackoffSeconds: must be greater than 0")
    if longest < initial:
        raise ConfigurationError("podMaxBackoffSeconds: must be greater than or equal to PodInitialBackoffSeconds")
    profiles: list[Profile] = []
    for position, entry in enumerate(document.get("profiles") or ({},)):
        try:
            profile = _profile(entry, registry)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"profiles[{position}]: {error}") from error
        if any(other.scheduler_name == profile.scheduler_name for other in profiles):
            raise ConfigurationError(f"profiles[{position}].schedulerName: Duplicate value: {profile.scheduler_name!r}")
        profiles.append(profile)
    return SchedulerConfig(tuple(profiles), backoff_initial_seconds=initial, backoff_seconds_max=longest)


def _profile(entry: Mapping[str, Any], registry: Mapping[str, type[Plugin]] | None = None) -> Profile:
    known: dict[str, type[Plugin]] = {plugin.name: plugin for plugin, _ in DEFAULT_PLUGINS}
    known.update(registry or {})
    arguments = {config["name"]: config.get("args") or {} for config in entry.get("pluginConfig") or ()}
    plugins = entry.get("plugins") or {}
    multi = plugins.get("multiPoint") or {}
    defaults = {plugin.name: weight for plugin, weight in DEFAULT_PLUGINS}
    base = _merged(defaults, multi)
    filters = _merged(base, plugins.get("filter") or {})
    scorers = _merged(base, plugins.get("score") or {})
    made: dict[str, Plugin] = {}

    def make(name: str) -> Plugin:
        if name not in made:
            cls = known.get(name)
            if cls is None:
                known.update(third_party_plugins())
                cls = known.get(name)
            if cls is None:
                raise ValueError(f'plugin "{name}" does not exist')
            made[name] = cls(arguments.get(name))
        return made[name]

    filtering = tuple(plugin for name in filters if (plugin := make(name)).filters())
    scoring = tuple((plugin, weight or 1) for name, weight in scorers.items() if (plugin := make(name)).scores())
    for name in arguments:
        if name not in made and name not in ELSEWHERE:
            raise ValueError(f'pluginConfig: plugin "{name}" is not enabled')
    return Profile(entry.get("schedulerName") or DEFAULT_SCHEDULER_NAME, filtering, scoring)


def _merged(base: Mapping[str, int], change: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    disabled = {item.get("name") for item in change.get("disabled") or ()}
    result = {name: weight for name, weight in base.items() if "*" not in disabled and name not in disabled}
    for item in change.get("enabled") or ():
        name = item["name"]
        if name not in ELSEWHERE:
            result[name] = int(item.get("weight") or base.get(name, 0) or 0)
    return result
