"""How large each ReplicaSet of a Deployment should be now. Pure.

Vocabulary: the *new* ReplicaSet has the Deployment's template, all others are *old*; one is *active*
when its `spec.replicas` is above 0; a Deployment is *saturated* when the new one has all replicas,
available.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.api.intstr import scaled_value
from orchestrator.api.objects import Object, is_terminating, name_of
from orchestrator.controllers.deployment.revisions import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    annotation_number,
    by_creation,
    revision_of,
)
from orchestrator.controllers.pods import created_at


class Resize(NamedTuple):
    """Give a ReplicaSet this many replicas."""

    replica_set: Object
    replicas: int


def size_of(replica_set: Object) -> int:
    """`spec.replicas`."""
    size: int = replica_set["spec"].get("replicas", 1)
    return size


def available_of(replica_set: Object) -> int:
    """`status.availableReplicas`."""
    available: int = (replica_set.get("status") or {}).get("availableReplicas") or 0
    return available


def total_size(replica_sets: Sequence[Object]) -> int:
    """The sum of `spec.replicas`."""
    return sum(map(size_of, replica_sets))


def replicas_of(deployment: Object) -> int:
    """How many replicas the Deployment wants."""
    replicas: int = deployment["spec"].get("replicas", 1)
    return replicas


def is_rolling_update(deployment: Object) -> bool:
    """Whether the strategy is RollingUpdate, which is the default."""
    return ((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


def fenceposts(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: surge is rounded up, unavailable down, never both 0."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    total = replicas_of(deployment)
    surge = scaled_value(rolling.get("maxSurge", "25%"), total, round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable", "25%"), total, round_up=False)
    if surge == 0 and unavailable == 0:
        # Percentages of few replicas can both round to 0, and then nothing could ever move.
        unavailable = 1
    return surge, unavailable


def max_surge(deployment: Object) -> int:
    """How many pods may exist above `spec.replicas`."""
    return fenceposts(deployment)[0] if is_rolling_update(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    """How many of `spec.replicas` may be unavailable."""
    if not is_rolling_update(deployment) or replicas_of(deployment) == 0:
        return 0
    return min(fenceposts(deployment)[1], replicas_of(deployment))


def plan_new_size(deployment: Object, all_sets: Sequence[Object], new: Object) -> int:
    """The size that the new ReplicaSet may have now."""
    wanted, present = replicas_of(deployment), size_of(new)
    if not is_rolling_update(deployment):
        return wanted
    if present >= wanted:
        return wanted
    room = wanted + max_surge(deployment) - total_size(all_sets)
    return present + max(0, min(room, wanted - present))


def plan_scale_down_old(deployment: Object, old: Sequence[Object], new: Object | None) -> list[Resize]:
    """How far old ReplicaSets can shrink without going below `replicas - maxUnavailable`.

    Unhealthy pods of old ReplicaSets go first: they do not count as available anyway.
    """
    active_old = [rs for rs in sorted(old, key=by_creation) if size_of(rs) > 0]
    if not active_old:
        return []
    everything = [*old, new] if new is not None else [*old]
    minimum = replicas_of(deployment) - max_unavailable(deployment)
    new_unavailable = size_of(new) - available_of(new) if new is not None else 0
    budget = total_size(everything) - minimum - new_unavailable
    if budget <= 0:
        return []
    sizes = {name_of(rs): size_of(rs) for rs in active_old}
    for rs in active_old:
        unhealthy = max(0, size_of(rs) - available_of(rs))
        taken = min(budget, unhealthy)
        sizes[name_of(rs)] -= taken
        budget -= taken
    spare = sum(map(available_of, everything)) - minimum
    for rs in active_old:
        if spare <= 0:
            break
        taken = min(spare, sizes[name_of(rs)])
        sizes[name_of(rs)] -= taken
        spare -= taken
    return [Resize(rs, sizes[name_of(rs)]) for rs in active_old if sizes[name_of(rs)] != size_of(rs)]


def is_scaling_event(deployment: Object, replica_sets: Sequence[Object]) -> bool:
    """Whether `spec.replicas` changed since the active ReplicaSets were last written."""
    wanted = replicas_of(deployment)
    for rs in replica_sets:
        if size_of(rs) > 0:
            desired = annotation_number(rs, DESIRED_REPLICAS)
            if desired is not None and desired != wanted:
                return True
    return False


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """Whether the new ReplicaSet has all replicas and all of them are available."""
    wanted = replicas_of(deployment)
    return (
        new is not None
        and size_of(new) == wanted
        and annotation_number(new, DESIRED_REPLICAS) == wanted
        and available_of(new) == wanted
    )


def active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    """The only active ReplicaSet; with none active the latest; None when several are active."""
    everything = [*old, new] if new is not None else [*old]
    active = [rs for rs in everything if size_of(rs) > 0]
    if len(active) == 1:
        return active[0]
    if active:
        return None
    if new is not None:
        return new
    return max(old, key=by_creation, default=None)


def plan_scaling(deployment: Object, new: Object | None, old: Sequence[Object]) -> list[Resize]:
    """What follows from a change of `spec.replicas`; in the middle of a rollout, a share for each ReplicaSet.

    Kubernetes docs, "Deployments: Proportional scaling". Every active ReplicaSet is listed in that
    case, also with its present size, since its annotations change.
    """
    wanted = replicas_of(deployment)
    single = active_or_latest(new, old)
    if single is not None:
        return [Resize(single, wanted)] if size_of(single) != wanted else []
    if is_saturated(deployment, new):
        return [Resize(rs, 0) for rs in sorted(old, key=by_creation) if size_of(rs) > 0]
    if not is_rolling_update(deployment):
        return []
    everything = [*old, new] if new is not None else [*old]
    return _proportional(deployment, [rs for rs in everything if size_of(rs) > 0])


def _proportional(deployment: Object, active: list[Object]) -> list[Resize]:
    wanted = replicas_of(deployment)
    allowed = wanted + max_surge(deployment) if wanted > 0 else 0
    to_add = allowed - total_size(active)
    if to_add > 0:  # the largest first, and the newer of two equal ones
        active = sorted(sorted(active, key=by_creation, reverse=True), key=size_of, reverse=True)
    else:  # the largest first, and the older of two equal ones
        active = sorted(sorted(active, key=by_creation), key=size_of, reverse=True)
    sizes: list[int] = []
    added = 0
    for rs in active:
        share = _share(deployment, rs, to_add, added) if to_add else 0
        sizes.append(size_of(rs) + share)
        added += share
    if to_add and sizes:
        sizes[0] = max(0, sizes[0] + to_add - added)  # what rounding left over goes to the largest
    return [Resize(rs, size) for rs, size in zip(active, sizes, strict=True)]


def _share(deployment: Object, rs: Object, to_add: int, added: int) -> int:
    left = to_add - added
    if left == 0:
        return 0
    fraction = _fraction(deployment, rs)
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(deployment: Object, rs: Object) -> int:
    wanted, size = replicas_of(deployment), size_of(rs)
    if wanted == 0:
        return -size
    before = annotation_number(rs, MAX_REPLICAS) or (deployment.get("status") or {}).get("replicas") or 0
    if not before:
        return 0
    scaled = size * (wanted + max_surge(deployment))
    return (2 * scaled + before) // (2 * before) - size  # rounded half up; all numbers are positive


def plan_cleanup(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets beyond `revisionHistoryLimit` that are empty: the lowest revisions first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    alive = [rs for rs in old if not is_terminating(rs)]
    if limit is None or len(alive) <= limit:
        return []
    ranked = sorted(alive, key=lambda rs: (revision_of(rs), created_at(rs), name_of(rs)))
    return [rs for rs in ranked[: len(alive) - limit] if _is_disposable(rs)]


def _is_disposable(rs: Object) -> bool:
    status = rs.get("status") or {}
    observed = status.get("observedGeneration") or 0
    return not (status.get("replicas") or size_of(rs) or (rs["metadata"].get("generation") or 0) > observed)
