"""What a binding makes of a pod."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from orchestrator.api import errors
from orchestrator.apiserver.subresources.binding import plan_bound_pod

NOW = "2026-01-01T00:00:00Z"


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "uid": "1", "resourceVersion": "7", "generation": 1, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app"}], **spec},
        "status": {
            "phase": "Pending",
            "nominatedNodeName": "node-2",
            "conditions": [{"type": "PodScheduled", "status": "False"}, {"type": "Ready", "status": "False"}],
        },
    }


def binding(**metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "target": {"kind": "Node", "name": "node-1"}}


def test_the_node_the_condition_and_what_the_binding_adds() -> None:
    bound = plan_bound_pod(pod(), binding(labels={"zone": "a"}, annotations={"why": "it fits"}), NOW)
    assert bound["spec"]["nodeName"] == "node-1"
    assert bound["metadata"]["labels"] == {"app": "web", "zone": "a"}
    assert bound["metadata"]["annotations"] == {"why": "it fits"}
    assert "resourceVersion" not in bound["metadata"]
    assert "nominatedNodeName" not in bound["status"]
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [
        ("Ready", "False"),
        ("PodScheduled", "True"),
    ]
    assert bound["status"]["conditions"][1]["observedGeneration"] == 1


def test_the_pod_itself_is_not_changed_and_gives_what_stays() -> None:
    stored = pod()
    before = orjson.dumps(stored)
    bound = plan_bound_pod(stored, binding(labels={"zone": "a"}), NOW)
    assert orjson.dumps(stored) == before
    assert bound["spec"]["containers"] is stored["spec"]["containers"]


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (pod(nodeName="node-9"), 'already assigned to node "node-9"'),
        (pod(schedulingGates=[{"name": "g"}]), "non-empty .spec.schedulingGates"),
        ({**pod(), "metadata": {"name": "p", "deletionTimestamp": NOW}}, "is being deleted"),
    ],
)
def test_pods_that_cannot_be_bound(stored: dict[str, Any], why: str) -> None:
    with pytest.raises(errors.Conflict, match=why):
        plan_bound_pod(stored, binding(), NOW)
