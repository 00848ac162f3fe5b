"""What `rollout status` says."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli.errors import CliError
from orchestrator.cli.rollout_status import JUDGES


def judge(kind: str, status: dict[str, Any], **spec: Any) -> tuple[str, bool]:
    metadata = {"name": "web", "generation": 2}
    return JUDGES[kind]({"metadata": metadata, "spec": spec, "status": {"observedGeneration": 2, **status}})


@pytest.mark.parametrize(
    ("kind", "spec", "status", "said", "is_done"),
    [
        ("Deployment", {}, {"observedGeneration": 1}, "Waiting for deployment spec update to be observed...", False),
        ("Deployment", {"replicas": 3}, {"updatedReplicas": 1}, "1 out of 3 new replicas have been updated...", False),
        ("Deployment", {"replicas": 1}, {"updatedReplicas": 1, "replicas": 3}, "2 old replicas are pending", False),
        ("Deployment", {"replicas": 1}, {"updatedReplicas": 1, "replicas": 1}, "0 of 1 updated replicas are", False),
        ("Deployment", {"replicas": 0}, {}, 'deployment "web" successfully rolled out', True),
        ("DaemonSet", {}, {"desiredNumberScheduled": 2}, "0 out of 2 new pods have been updated...", False),
        (
            "DaemonSet",
            {},
            {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1},
            "0 of 1 updated pods are available...",
            False,
        ),
        ("DaemonSet", {}, {}, 'daemon set "web" successfully rolled out', True),
        ("StatefulSet", {"replicas": 2}, {"readyReplicas": 1}, "Waiting for 1 pods to be ready...", False),
        (
            "StatefulSet",
            {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
            {"readyReplicas": 2, "updatedReplicas": 1},
            "partitioned roll out complete: 1 new pods have been updated...",
            True,
        ),
        (
            "StatefulSet",
            {"replicas": 1},
            {"readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            "0 pods at revision b...",
            False,
        ),
        (
            "StatefulSet",
            {"replicas": 1},
            {"readyReplicas": 1, "currentReplicas": 1, "updateRevision": "a", "currentRevision": "a"},
            "statefulset rolling update complete 1 pods at revision a...",
            True,
        ),
    ],
)
def test_status(kind: str, spec: dict[str, Any], status: dict[str, Any], said: str, is_done: bool) -> None:
    text, done = judge(kind, status, **spec)
    assert said in text
    assert done is is_done


@pytest.mark.parametrize("kind", ["DaemonSet", "StatefulSet"])
def test_without_a_rolling_update_there_is_nothing_to_wait_for(kind: str) -> None:
    with pytest.raises(CliError, match="only available for RollingUpdate"):
        judge(kind, {}, updateStrategy={"type": "OnDelete"})


def test_a_deployment_past_its_deadline() -> None:
    condition = {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}
    with pytest.raises(CliError, match="exceeded its progress deadline"):
        judge("Deployment", {"conditions": [condition]})
