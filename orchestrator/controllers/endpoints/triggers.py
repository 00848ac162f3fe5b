"""When what led to a change of endpoints happened: the annotation `endpoints.kubernetes.io/last-change-trigger-time`.

Who measures how long a change takes to reach proxies reads it. Mirrors the TriggerTimeTracker of the endpoint
controllers: of all changes since the last look, the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.api.objects import Object, condition_of, key_of

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"


class _Seen(NamedTuple):
    created: str
    pods: dict[str, tuple[Object, str]]
    """By key: the pod as it was, and its time."""


class TriggerTimes:
    """What was last seen of each Service; bounded by the members of Services."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def look(self, key: str, service: Object, pods: Iterable[Object]) -> str:
        """When the first change since the last look happened, as RFC 3339; empty when nothing that counts changed.

        What counts is that a pod became ready or unready, and that the Service was created.
        """
        before = self._seen.get(key)
        known = before.pods if before is not None else {}
        created = service["metadata"].get("creationTimestamp") or ""
        now: dict[str, tuple[Object, str]] = {}
        changes = [created] if before is None or created > before.created else []
        for pod in pods:
            pod_key = key_of(pod)
            entry = known.get(pod_key)
            if entry is not None and entry[0] is pod:
                now[pod_key] = entry
                continue
            moment = (condition_of(pod, "Ready") or {}).get("lastTransitionTime") or ""
            now[pod_key] = (pod, moment)
            if moment > (entry[1] if entry is not None else ""):
                changes.append(moment)
        self._seen[key] = _Seen(created, now)
        return min(filter(None, changes), default="")

    def stamp(self, key: str, service: Object, pods: Iterable[Object], changed: Iterable[Object]) -> None:
        """Look, and annotate the objects that are about to be written; they are the caller's own."""
        moment = self.look(key, service, pods)
        for one in changed:
            annotations = one["metadata"].setdefault("annotations", {})
            if moment:
                annotations[LAST_CHANGE] = moment
            else:
                annotations.pop(LAST_CHANGE, None)
            if not annotations:
                del one["metadata"]["annotations"]

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._seen.pop(key, None)
