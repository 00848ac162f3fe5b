"""What a change of a Pod means for the work on it. Pure functions."""

from __future__ import annotations

from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import grace_seconds_of, spec_of

_WATCHED = ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations")


def is_news(old: Object, new: Object) -> bool:
    """Whether a change is more than our own status coming back."""
    if old is new:
        return False
    before, after = old["metadata"], new["metadata"]
    if any(before.get(field) != after.get(field) for field in _WATCHED):
        return True
    if spec_of(old) is not spec_of(new) and spec_of(old) != spec_of(new):
        return True
    gates = {gate["conditionType"] for gate in spec_of(new).get("readinessGates") or ()}
    return bool(gates) and _conditions(old, gates) != _conditions(new, gates)


def _conditions(pod: Object, types: set[str]) -> list[Object]:
    return [c for c in (pod.get("status") or {}).get("conditions") or () if c.get("type") in types]


def is_more_urgent(old: Object, new: Object) -> bool:
    """Whether the pod has to end now, or sooner than it had to."""
    if not new["metadata"].get("deletionTimestamp"):
        return False
    return not old["metadata"].get("deletionTimestamp") or grace_seconds_of(new) < grace_seconds_of(old)


def shows_in_volumes(old: Object, new: Object) -> bool:
    """Whether a volume may show it: labels and annotations can be files of a downwardAPI volume."""
    if not spec_of(new).get("volumes"):
        return False
    before, after = old["metadata"], new["metadata"]
    return any(before.get(field) != after.get(field) for field in ("labels", "annotations"))
