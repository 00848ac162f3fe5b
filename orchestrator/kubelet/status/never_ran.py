"""Containers that have not run when their pod ends. Pure; mirrors `TerminatePod` of the kubelet's status manager.

Nobody may take them for still to come, so they end as failed; whether they are shown so depends on how far the
pod's initialization came.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.objects import Object
from orchestrator.kubelet.ghosts import GHOST_MESSAGE
from orchestrator.kubelet.pod import init_containers_of, is_sidecar

EXIT_CODE = 137
REASON = "ContainerStatusUnknown"


def end_what_never_ran(pod: Object, init: Sequence[Object], apps: Sequence[Object]) -> None:
    """Change the statuses of containers that wait: those of the app if the pod was initialized, and of init containers
    those before the last one that ran."""
    if _is_initialized(pod, init, apps):
        _end(apps)
    ran = [number for number, entry in enumerate(init) if _has_run(entry)]
    if ran:
        _end(init[: ran[-1] + 1])


def _end(entries: Sequence[Object]) -> None:
    for entry in entries:
        if "waiting" in entry["state"]:
            entry["state"] = {"terminated": {"exitCode": EXIT_CODE, "reason": REASON, "message": GHOST_MESSAGE}}


def _has_run(entry: Object) -> bool:
    return "waiting" not in entry["state"] or bool(entry.get("lastState"))


def _is_initialized(pod: Object, init: Sequence[Object], apps: Sequence[Object]) -> bool:
    if not init or any(map(_has_run, apps)):
        return True
    last = init[-1]
    if is_sidecar(init_containers_of(pod)[-1]):
        return bool(last.get("started")) or "terminated" in last["state"]
    ends = (last["state"].get("terminated"), (last.get("lastState") or {}).get("terminated"))
    return any(end is not None and end["exitCode"] == 0 for end in ends)
