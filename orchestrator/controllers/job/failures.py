"""What a failed pod means for its Job: pod failure policy, and when which pod finished. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.controllers.pods import created_at, time_of

Action = Literal["Count", "Ignore", "FailIndex", "FailJob"]


class Judgement(NamedTuple):
    """What the pod failure policy says about one pod."""

    action: Action = "Count"
    message: str = ""


def judge(job: Object, pod: Object) -> Judgement:
    """Match a failed pod against `podFailurePolicy`; the first rule that matches decides (KEP-3329)."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        message = ""
        if rule.get("onExitCodes"):
            message = _match_exit_codes(rule, pod, number)
        elif rule.get("onPodConditions"):
            message = _match_conditions(rule, pod, number)
        if message:
            return Judgement(rule["action"], message)
    return Judgement()


def _match_exit_codes(rule: dict[str, Any], pod: Object, number: int) -> str:
    wanted = rule["onExitCodes"]
    status = pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        if wanted.get("containerName") and wanted["containerName"] != container.get("name"):
            continue
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        if not code:
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            return (
                f"Container {container['name']} for pod {namespace_of(pod)}/{name_of(pod)} failed with exit code "
                f"{code} matching {rule['action']} rule at index {number}"
            )
    return ""


def _match_conditions(rule: dict[str, Any], pod: Object, number: int) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    for pattern in rule["onPodConditions"]:
        for condition in conditions:
            same_type = condition.get("type") == pattern["type"]
            if same_type and condition.get("status") == (pattern.get("status") or "True"):
                return (
                    f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {pattern['type']} matching "
                    f"{rule['action']} rule at index {number}"
                )
    return ""


def finished_at(pod: Object) -> datetime:
    """When the last container ended; else when the pod stopped to be ready, was told to go, or was made."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    times = [
        time_of(((container.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for container in status.get("containerStatuses") or ()
    ]
    known = [moment for moment in times if moment is not None]
    if known and len(known) == len(times):
        return max(known)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "False":
            moment = time_of(condition.get("lastTransitionTime"))
            if moment is not None:
                return moment
    # The mark of a deletion is set to when the grace period ends.
    ends = time_of(metadata.get("deletionTimestamp"))
    if ends is not None:
        return ends - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return created_at(pod)


def restarts(pod: Object) -> int:
    """All container restarts of a pod together."""
    status = pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return sum(container.get("restartCount") or 0 for container in statuses)
