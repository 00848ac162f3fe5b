"""Reading KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), strictly.

Owns which keys there are and what is refused; profiles are put together by `profile`. A key that nothing reads
is an error, as in kube-scheduler, so that a typing error cannot go unnoticed
(https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from orchestrator.scheduler.fields import ConfigurationError, check_fields
from orchestrator.scheduler.framework import Plugin
from orchestrator.scheduler.profile import Profile, build_profile, default_profile

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"

_READ: Final = {
    "apiVersion": str,
    "kind": str,
    "profiles": list,
    "podInitialBackoffSeconds": int,
    "podMaxBackoffSeconds": int,
}
_WITHOUT_EFFECT: Final = {
    # Every node is looked at, in one thread, in the process of the API: docs/limits.md.
    "percentageOfNodesToScore": int,
    "parallelism": int,
    "leaderElection": dict,
    "clientConnection": dict,
    "enableProfiling": bool,
    "enableContentionProfiling": bool,
    "delayCacheUntilActive": bool,
}


class SchedulerConfig(Struct, frozen=True):
    """What KubeSchedulerConfiguration sets; see `parse_configuration`."""

    profiles: tuple[Profile, ...]
    backoff_initial_seconds: float = 1.0
    backoff_seconds_max: float = 10.0
    unschedulable_seconds_max: float = 300.0
    """After this long a refused pod is tried again whatever happened."""
    binds_in_flight_max: int = 128
    """Each waits for its commit, which all of them share; kube-scheduler sets no bound. With as many as clients create
    pods at once, pods do not pile up before the scheduler."""


def default_config() -> SchedulerConfig:
    """One default profile and kube-scheduler's back-off."""
    return SchedulerConfig(profiles=(default_profile(),))


def parse_configuration(
    document: Mapping[str, Any], *, registry: Mapping[str, type[Plugin]] | None = None
) -> SchedulerConfig:
    """Read a KubeSchedulerConfiguration; ConfigurationError names what is wrong, in one line.

    `registry`: further plugins by name; those installed by entry point are looked up when a name is unknown.
    """
    if document.get("extenders"):
        raise ConfigurationError("extenders: not supported; use a plugin")
    check_fields(document, {**_READ, **_WITHOUT_EFFECT, "extenders": list})
    if (kind := document.get("kind", "KubeSchedulerConfiguration")) != "KubeSchedulerConfiguration":
        raise ConfigurationError(f"kind: {kind!r} is not KubeSchedulerConfiguration")
    if (version := document.get("apiVersion", API_VERSION)) != API_VERSION:
        raise ConfigurationError(f"apiVersion: {version!r} is not {API_VERSION}")
    initial = _seconds(document, "podInitialBackoffSeconds", 1)
    longest = _seconds(document, "podMaxBackoffSeconds", 10)
    if initial <= 0:
        raise ConfigurationError("podInitialBackoffSeconds: must be greater than 0")
    if longest < initial:
        raise ConfigurationError("podMaxBackoffSeconds: must be greater than or equal to PodInitialBackoffSeconds")
    profiles: list[Profile] = []
    for position, entry in enumerate(document.get("profiles") or ({},)):
        try:
            profile = build_profile(entry, registry)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"profiles[{position}]: {error}") from error
        if any(other.scheduler_name == profile.scheduler_name for other in profiles):
            raise ConfigurationError(f"profiles[{position}].schedulerName: Duplicate value: {profile.scheduler_name!r}")
        profiles.append(profile)
    return SchedulerConfig(tuple(profiles), backoff_initial_seconds=initial, backoff_seconds_max=longest)


def _seconds(document: Mapping[str, Any], key: str, default: int) -> float:
    value = document.get(key)
    return float(default if value is None else value)
