"""From what pods use to how many there should be. Pure.

Pods that start or lack metrics are counted so that they make no change larger (Kubernetes docs,
"Horizontal Pod Autoscaling: Algorithm details"). Amounts are thousandths of a unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from orchestrator.aiokit.clock import parse_time
from orchestrator.api.objects import Object, condition_of, is_terminating, name_of, namespace_of
from orchestrator.api.quantity import milli_value
from orchestrator.controllers.pods import is_ready, phase_of, time_of

CPU_INITIALIZATION = timedelta(minutes=5)
INITIAL_READINESS = timedelta(seconds=30)
TOLERANCE = 0.1

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class MetricError(Exception):
    """A metric cannot be had or used; the text stands in conditions and events.

    `context` stands before it where all failures of an autoscaler are summed up.
    """

    def __init__(self, text: str, context: str = "") -> None:
        super().__init__(text)
        self.context = context


class Sample(NamedTuple):
    """What one pod used on average over a window."""

    milli: int
    at: datetime
    window: timedelta


class Measure(Struct, frozen=True):
    """The size that a metric asks for, and what it showed."""

    replicas: int
    average_milli: int
    utilization: int | None = None


class Tolerances(NamedTuple):
    """How far from the target nothing happens."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def cover(self, ratio: float) -> bool:
        """Whether a ratio of usage and target is close enough to 1."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


def samples_of(metrics: Iterable[Object], resource: str, container: str = "") -> dict[str, Sample]:
    """PodMetrics by pod name; pods of which a container has no value are left out.

    MetricError when a pod's metrics do not know the container that is asked for.
    """
    samples: dict[str, Sample] = {}
    for one in metrics:
        chosen = [c for c in one.get("containers") or () if not container or c.get("name") == container]
        if container and not chosen:
            raise MetricError(
                f"failed to get container metrics: container {container} not present in metrics for pod "
                f"{namespace_of(one)}/{name_of(one)}"
            )
        values = [(c.get("usage") or {}).get(resource) for c in chosen]
        if not values or any(value is None for value in values):
            continue
        total = sum(milli_value(value) for value in values)
        samples[name_of(one)] = Sample(total, parse_time(one["timestamp"]), _duration(one.get("window") or "0s"))
    return samples


def _duration(text: str) -> timedelta:
    parts = re.findall(r"([0-9.]+)(ms|us|µs|ns|h|m|s)", text)
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


class _Groups(Struct):
    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def _group(pods: Sequence[Object], samples: Mapping[str, Sample], resource: str, now: datetime) -> _Groups:
    groups = _Groups(0, set(), set(), set())
    for pod in pods:
        name = name_of(pod)
        if is_terminating(pod) or phase_of(pod) == "Failed":
            groups.ignored.add(name)
        elif phase_of(pod) == "Pending":
            groups.unready.add(name)
        elif name not in samples:
            groups.missing.add(name)
        elif resource == "cpu" and _is_starting(pod, samples[name], now):
            groups.unready.add(name)
        else:
            groups.ready += 1
    return groups


def _is_starting(pod: Object, sample: Sample, now: datetime) -> bool:
    """Whether the CPU that a pod uses is that of its start."""
    ready = condition_of(pod, "Ready")
    started = time_of((pod.get("status") or {}).get("startTime"))
    changed = time_of((ready or {}).get("lastTransitionTime"))
    if ready is None or started is None or changed is None:
        return True
    if started + CPU_INITIALIZATION > now:
        return ready.get("status") == "False" or sample.at < changed + sample.window
    return ready.get("status") == "False" and started + INITIAL_READINESS > changed


def requests_of(pods: Sequence[Object], resource: str, container: str = "") -> dict[str, int]:
    """What each pod (or one container of it) requests; MetricError when one requests nothing."""
    requests: dict[str, int] = {}
    for pod in pods:
        spec = pod.get("spec") or {}
        holders = [*(spec.get("containers") or ())]
        holders += [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
        own = ((spec.get("resources") or {}).get("requests") or {}).get(resource)
        if own is not None and not container:
            requests[name_of(pod)] = milli_value(own)
            continue
        total = 0
        for holder in holders:
            if container and holder.get("name") != container:
                continue
            text = ((holder.get("resources") or {}).get("requests") or {}).get(resource)
            if text is None:
                raise MetricError(
                    f"missing request for {resource} in container {holder.get('name')} of Pod {name_of(pod)}"
                )
            total += milli_value(text)
        requests[name_of(pod)] = total
    return requests


def plan_by_utilization(
    current: int,
    target: int,
    resource: str,
    pods: Sequence[Object],
    samples: Mapping[str, Sample],
    now: datetime,
    *,
    container: str = "",
    tolerances: Tolerances = Tolerances(),  # noqa: B008 - immutable
) -> Measure:
    """The size at which pods would use `target` percent of their requests."""
    groups, known = _prepare(pods, samples, resource, now)
    requests = requests_of(pods, resource, container)
    total_requested = sum(requests[name] for name in known if name in requests)
    if not total_requested:
        raise MetricError("no metrics returned matched known pods")
    utilization = _percent(known, requests)
    average = sum(known.values()) // len(known)

    def ratio_of(values: Mapping[str, int]) -> float:
        return _percent(values, requests) / target

    fallback = {name: requests[name] * max(100, target) // 100 for name in groups.missing}
    replicas = _size(current, ratio_of, groups, known, fallback, tolerances)
    return Measure(replicas, average, utilization)


def _percent(values: Mapping[str, int], requests: Mapping[str, int]) -> int:
    requested = sum(requests[name] for name in values if name in requests)
    used = sum(value for name, value in values.items() if name in requests)
    return used * 100 // requested if requested else 0


def plan_by_average(
    current: int,
    target_milli: int,
    resource: str,
    pods: Sequence[Object],
    samples: Mapping[str, Sample],
    now: datetime,
    *,
    tolerances: Tolerances = Tolerances(),  # noqa: B008 - immutable
) -> Measure:
    """The size at which pods would use `target_milli` on average."""
    groups, known = _prepare(pods, samples, resource, now)

    def ratio_of(values: Mapping[str, int]) -> float:
        return (sum(values.values()) // len(values)) / target_milli

    fallback = dict.fromkeys(groups.missing, target_milli)
    replicas = _size(current, ratio_of, groups, known, fallback, tolerances)
    return Measure(replicas, sum(known.values()) // len(known))


def plan_by_total(
    current: int, value_milli: int, target_milli: int, pods: Sequence[Object], *, tolerances: Tolerances
) -> int:
    """The size at which a value that all pods share would be its target (Object and External with `value`)."""
    ratio = value_milli / target_milli
    if current == 0:
        return math.ceil(ratio)
    if tolerances.cover(ratio):
        return current
    if not pods:
        raise MetricError(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    return math.ceil(ratio * sum(phase_of(pod) == "Running" and is_ready(pod) for pod in pods))


def plan_by_share(replicas: int, value_milli: int, target_milli: int, *, tolerances: Tolerances) -> Measure:
    """The size at which each pod's share of a value is its target (Object and External with `averageValue`).

    `replicas`: how many pods there are by the status of the scale.
    """
    if replicas == 0:
        return Measure(math.ceil(value_milli / target_milli), value_milli)
    wanted = replicas
    if not tolerances.cover(value_milli / (target_milli * replicas)):
        wanted = math.ceil(value_milli / target_milli)
    return Measure(wanted, math.ceil(value_milli / replicas))


def _prepare(
    pods: Sequence[Object], samples: Mapping[str, Sample], resource: str, now: datetime
) -> tuple[_Groups, dict[str, int]]:
    if not pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    groups = _group(pods, samples, resource, now)
    left_out = groups.ignored | groups.unready
    names = {name_of(pod) for pod in pods}
    known = {name: one.milli for name, one in samples.items() if name in names and name not in left_out}
    if not known:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return groups, known


def _size(
    current: int,
    ratio_of: Callable[[Mapping[str, int]], float],
    groups: _Groups,
    known: Mapping[str, int],
    fallback: Mapping[str, int],
    tolerances: Tolerances,
) -> int:
    ratio = ratio_of(known)
    grows_while_starting = bool(groups.unready) and ratio > 1.0
    if not grows_while_starting and not groups.missing:
        return current if tolerances.cover(ratio) else math.ceil(ratio * groups.ready)
    values = dict(known)
    # Pods without metrics are taken to use what speaks against a change: nothing when it would grow.
    if ratio < 1.0:
        values |= fallback
    elif ratio > 1.0:
        values |= dict.fromkeys(groups.missing, 0)
    if grows_while_starting:
        values |= dict.fromkeys(groups.unready, 0)
    corrected = ratio_of(values)
    turned = (ratio < 1.0 < corrected) or (ratio > 1.0 > corrected)
    if tolerances.cover(corrected) or turned:
        return current
    wanted = math.ceil(corrected * len(values))
    if (corrected < 1.0 and wanted > current) or (corrected > 1.0 and wanted < current):
        return current
    return wanted
