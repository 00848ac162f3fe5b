"""How fast a size may change: bounds, stabilisation, policies. Pure.

Without `spec.behavior` sizes at most double (or reach 4) in one step, and shrink only to the highest
size recommended in the last five minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, field

DOWN_WINDOW_SECONDS = 300.0
WINDOW_SECONDS_MAX = 3600.0
GROWTH_FACTOR = 2
GROWTH_MIN = 4

Condition = tuple[str, str, str, str]
"""Type, status, reason, message."""


class Recommendation(NamedTuple):
    """A size that metrics asked for, at a time."""

    at: float
    replicas: int


class Change(NamedTuple):
    """By how many replicas the size changed (above zero: grew), at a time."""

    at: float
    by: int


class Memory(Struct):
    """What one autoscaler remembers; lost in a restart, as in Kubernetes. Bounded by the longest window."""

    recommendations: list[Recommendation] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def forget_before(self, moment: float) -> None:
        """Drop what no window reaches any more."""
        self.recommendations = [one for one in self.recommendations if one.at >= moment]
        self.changes = [one for one in self.changes if one.at >= moment]


class Decision(NamedTuple):
    """The size to set, and what the conditions say about it."""

    replicas: int
    conditions: list[Condition]


def plan_size(spec: Mapping[str, Any], current: int, wanted: int, memory: Memory, now: float) -> Decision:
    """From the size that metrics ask for to the one to set; remembers the recommendation."""
    behavior = spec.get("behavior")
    low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
    if behavior is None:
        return _without_behavior(low, high, current, wanted, memory, now)
    return _with_behavior(behavior, low, high, current, wanted, memory, now)


_STABLE_DOWN = "recent recommendations were higher than current one, applying the highest recent recommendation"
_STABLE_UP = "recent recommendations were lower than current one, applying the lowest recent recommendation"
_READY = ("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
_IN_RANGE = ("ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FEW = "the desired replica count is less than the minimum replica count"
_TOO_MANY = "the desired replica count is more than the maximum replica count"
_TOO_FAST_UP = "the desired replica count is increasing faster than the maximum scale rate"
_TOO_FAST_DOWN = "the desired replica count is decreasing faster than the maximum scale rate"


def _limited(reason: str, message: str) -> Condition:
    return ("ScalingLimited", "True", reason, message)


def _without_behavior(low: int, high: int, current: int, wanted: int, memory: Memory, now: float) -> Decision:
    memory.forget_before(now - DOWN_WINDOW_SECONDS)
    stable = max([wanted, *(one.replicas for one in memory.recommendations)])
    memory.recommendations.append(Recommendation(now, wanted))
    able = _READY if stable == wanted else ("AbleToScale", "True", "ScaleDownStabilized", _STABLE_DOWN)
    rate = max(GROWTH_FACTOR * current, GROWTH_MIN)
    floor = low
    if stable < floor:
        return Decision(floor, [able, _limited("TooFewReplicas", _TOO_FEW)])
    if stable > min(high, rate):
        reason = ("ScaleUpLimit", _TOO_FAST_UP) if high > rate else ("TooManyReplicas", _TOO_MANY)
        return Decision(min(high, rate), [able, _limited(*reason)])
    return Decision(stable, [able, _IN_RANGE])


def _with_behavior(
    behavior: Mapping[str, Any], low: int, high: int, current: int, wanted: int, memory: Memory, now: float
) -> Decision:
    up, down = behavior.get("scaleUp") or {}, behavior.get("scaleDown") or {}
    up_window = float(up.get("stabilizationWindowSeconds") or 0)
    down_seconds = down.get("stabilizationWindowSeconds")
    down_window = DOWN_WINDOW_SECONDS if down_seconds is None else float(down_seconds)
    memory.forget_before(now - WINDOW_SECONDS_MAX)
    lowest = min([wanted, *(one.replicas for one in memory.recommendations if one.at > now - up_window)])
    highest = max([wanted, *(one.replicas for one in memory.recommendations if one.at > now - down_window)])
    memory.recommendations.append(Recommendation(now, wanted))
    stable = min(max(current, lowest), highest)
    able: Condition = _READY
    if stable > wanted:
        able = ("AbleToScale", "True", "ScaleDownStabilized", _STABLE_DOWN)
    elif stable < wanted:
        able = ("AbleToScale", "True", "ScaleUpStabilized", _STABLE_UP)
    if stable > current:
        limit = max(current, up_limit(up, current, memory.changes, now))
        if stable > min(high, limit):
            reason = ("ScaleUpLimit", _TOO_FAST_UP) if high > limit else ("TooManyReplicas", _TOO_MANY)
            return Decision(min(high, limit), [able, _limited(*reason)])
    elif stable < current:
        limit = min(current, down_limit(down, current, memory.changes, now))
        if stable < max(low, limit):
            reason = ("ScaleDownLimit", _TOO_FAST_DOWN) if low < limit else ("TooFewReplicas", _TOO_FEW)
            return Decision(max(low, limit), [able, _limited(*reason)])
    return Decision(stable, [able, _IN_RANGE])


def _start_of_period(current: int, changes: Sequence[Change], now: float, seconds: float) -> int:
    """The size at the beginning of a policy's period."""
    return current - sum(one.by for one in changes if one.at > now - seconds)


def up_limit(rules: Mapping[str, Any], current: int, changes: Sequence[Change], now: float) -> int:
    """The largest size that the policies for growing allow now."""
    select = rules.get("selectPolicy") or "Max"
    if select == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules.get("policies") or ():
        start = _start_of_period(current, changes, now, policy["periodSeconds"])
        if policy["type"] == "Pods":
            limits.append(start + policy["value"])
        else:
            limits.append(math.ceil(start * (1 + policy["value"] / 100)))  # in this order, as the rounding shows
    if not limits:
        return current
    return min(limits) if select == "Min" else max(limits)


def down_limit(rules: Mapping[str, Any], current: int, changes: Sequence[Change], now: float) -> int:
    """The smallest size that the policies for shrinking allow now; `Max` means the largest change."""
    select = rules.get("selectPolicy") or "Max"
    if select == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules.get("policies") or ():
        start = _start_of_period(current, changes, now, policy["periodSeconds"])
        if policy["type"] == "Pods":
            limits.append(start - policy["value"])
        else:
            limits.append(math.trunc(start * (1 - policy["value"] / 100)))
    if not limits:
        return current
    return max(limits) if select == "Min" else min(limits)
