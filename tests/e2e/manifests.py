"""Pods of the tests as short expressions, and what tests ask of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.orchestrator_process import Kubectl

BUSYBOX = "orchestrator.test/busybox:1"
WAIT = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"
"""A script that does nothing until it is asked to end."""

Pod = dict[str, Any]


def container(script: str = WAIT, *, name: str = "main", **fields: Any) -> dict[str, Any]:
    """A container that runs a shell script."""
    return {"name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script], **fields}


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> Pod:
    """A pod that ends soon after it is deleted."""
    spec.setdefault("terminationGracePeriodSeconds", 1)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [*containers] or [container()], **spec},
    }


def apply(k: Kubectl, *objects: dict[str, Any]) -> None:
    """Create the objects."""
    k("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]}))


def wait_for_pod(k: Kubectl, name: str, predicate: Callable[[Pod], bool], *, seconds: float = 60.0) -> Pod:
    """Follow one pod until the predicate holds."""
    found = k.wait_for(
        "pods", lambda pods: any(p["metadata"]["name"] == name and predicate(p) for p in pods), seconds=seconds
    )
    return next(p for p in found if p["metadata"]["name"] == name)


def status_of(pod: Pod, name: str = "main") -> dict[str, Any]:
    """The status of one container; empty before there is one."""
    sections = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    for section in sections:
        for entry in pod.get("status", {}).get(section, ()):
            if entry["name"] == name:
                return dict(entry)
    return {}


def waiting_reason(pod: Pod, name: str = "main") -> str:
    """Why a container waits; empty when it does not."""
    return str(status_of(pod, name).get("state", {}).get("waiting", {}).get("reason", ""))


def condition(pod: Pod, type_: str) -> dict[str, Any]:
    """One condition; empty before there is one."""
    return next((dict(c) for c in pod.get("status", {}).get("conditions", ()) if c["type"] == type_), {})


def is_running(pod: Pod) -> bool:
    """Whether all containers run."""
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return pod.get("status", {}).get("phase") == "Running" and all("running" in s["state"] for s in statuses)


def has_phase(*phases: str) -> Callable[[Pod], bool]:
    """A predicate: the pod is in one of the phases."""
    return lambda pod: pod.get("status", {}).get("phase") in phases


def output_of(k: Kubectl, manifest: Pod, *, phase: str = "Succeeded") -> str:
    """Run a pod to its end and return the log of its container `main`."""
    manifest["spec"].setdefault("restartPolicy", "Never")
    apply(k, manifest)
    name = manifest["metadata"]["name"]
    ended = wait_for_pod(k, name, has_phase("Succeeded", "Failed"))
    log = k("logs", name, "-c", "main")
    assert ended["status"]["phase"] == phase, (ended["status"], log)
    return log


def wait_for_event(k: Kubectl, reason: str, text: str = "") -> dict[str, Any]:
    """Wait for an event with this reason whose message contains the text."""

    def matches(event: dict[str, Any]) -> bool:
        return event["reason"] == reason and text in event["message"]

    found = k.wait_for("events", lambda events: any(map(matches, events)))
    return next(filter(matches, found))
