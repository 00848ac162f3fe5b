"""Claims that pods get from templates: their names, their owner, and when a pod needs them no longer."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.controllers.resourceclaim import generate_name, is_done, plan_claim


@pytest.mark.parametrize(
    ("pod", "reference", "expected"),
    [
        ("web", "gpu", "web-gpu-"),
        ("w" * 40, "gpu-0123456789", f"{'w' * 40}-gpu-0123456789-"),
        # Too long together: both give, in proportion.
        ("w" * 90, "g" * 30, f"{'w' * 42}-{'g' * 14}"),
    ],
)
def test_a_generated_name_leaves_room_for_its_random_end(pod: str, reference: str, expected: str) -> None:
    assert generate_name(pod, reference) == expected
    assert len(expected) <= 57


def test_a_claim_is_the_pods_and_has_what_the_template_says() -> None:
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    template: Object = {
        "metadata": {"name": "t", "namespace": "default", "labels": {"of": "template"}},
        "spec": {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": spec},
    }
    pod: Object = {"metadata": {"name": "web", "namespace": "default", "uid": "u"}}
    assert plan_claim(pod, {"name": "gpu"}, template) == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": "web-gpu-",
            "namespace": "default",
            "labels": {"a": "b"},
            "annotations": {"c": "d", "resource.kubernetes.io/pod-claim-name": "gpu"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": "web",
                    "uid": "u",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"status": {"phase": "Running"}}, False),
        ({"status": {"phase": "Succeeded"}}, True),
        ({"status": {"phase": "Failed"}}, True),
        ({"metadata": {"deletionTimestamp": "t"}, "spec": {}, "status": {"phase": "Pending"}}, True),
        ({"metadata": {"deletionTimestamp": "t"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}, False),
    ],
)
def test_a_pod_is_done_when_nothing_of_it_will_run(pod: dict[str, Any], expected: bool) -> None:
    assert is_done({"metadata": {}, **pod}) is expected
