"""When claims and volumes keep their finalizers."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.storageprotection import (
    CLAIM_FINALIZER,
    attributes_classes_of,
    claims_of,
    is_claim_in_use,
    plan_finalizers,
)


@pytest.mark.parametrize(
    ("present", "deleted", "in_use", "expected"),
    [
        ([], False, False, [CLAIM_FINALIZER]),
        (["x"], False, True, ["x", CLAIM_FINALIZER]),
        ([CLAIM_FINALIZER], False, False, None),
        ([CLAIM_FINALIZER], True, True, None),
        ([CLAIM_FINALIZER, "x"], True, False, ["x"]),
        ([], True, False, None),
    ],
)
def test_finalizers(present: list[str], deleted: bool, in_use: bool, expected: list[str] | None) -> None:
    claim: dict[str, Any] = {"metadata": {"name": "c", "finalizers": present}}
    if deleted:
        claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert plan_finalizers(claim, CLAIM_FINALIZER, in_use=in_use) == expected


def test_only_pods_that_were_bound_use_a_claim() -> None:
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "b", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "e"},
    ]
    pod = {"metadata": {"name": "p", "namespace": "d"}, "spec": {"volumes": volumes}}
    assert claims_of(pod) == ["d/c", "d/p-b"]
    assert not is_claim_in_use([pod])
    assert is_claim_in_use([{**pod, "spec": {"volumes": volumes, "nodeName": "n"}}])
    assert claims_of({**pod, "status": {"phase": "Succeeded"}}) == ["d/c"]


def test_a_claim_uses_the_class_it_asks_for_has_and_is_on_its_way_to() -> None:
    status = {
        "currentVolumeAttributesClassName": "slow",
        "modifyVolumeStatus": {"targetVolumeAttributesClassName": "fast"},
    }
    claim = {"spec": {"volumeAttributesClassName": "fast"}, "status": status}
    assert attributes_classes_of(claim) == ["fast", "slow"]
    assert attributes_classes_of({"spec": {}}) == []
