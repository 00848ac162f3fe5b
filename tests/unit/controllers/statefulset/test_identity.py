"""Names of pods and claims, and whose the claims are."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.statefulset.identity import (
    is_stale_claim,
    new_claims,
    plan_claim_owners,
    sets_of_claim,
    split_name,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("web-0", ("web", 0)), ("a-b-12", ("a-b", 12)), ("web", ("", -1)), ("web-x", ("", -1)), ("web-", ("", -1))],
)
def test_split_name(name: str, expected: tuple[str, int]) -> None:
    assert split_name(name) == expected


def stateful_set(when_deleted: str = "Retain", when_scaled: str = "Retain") -> dict[str, Any]:
    claim = {"metadata": {"name": "data", "labels": {"own": "1"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "w", "namespace": "d", "uid": "W"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "w"}},
            "volumeClaimTemplates": [claim],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted, "whenScaled": when_scaled},
        },
    }


def test_claims_carry_the_labels_of_template_and_selector() -> None:
    (claim,) = new_claims(stateful_set(), 1)
    assert claim["metadata"] == {"name": "data-w-1", "namespace": "d", "labels": {"own": "1", "app": "w"}}
    (owned,) = new_claims(stateful_set("Delete"), 1)
    assert [one["uid"] for one in owned["metadata"]["ownerReferences"]] == ["W"]


@pytest.mark.parametrize(
    ("policy", "ordinal", "present", "expected"),
    [
        (("Retain", "Retain"), 0, [], None),
        (("Retain", "Retain"), 0, ["W"], []),
        (("Retain", "Retain"), 5, ["P"], []),
        (("Delete", "Retain"), 0, [], ["W"]),
        (("Delete", "Retain"), 5, [], ["W"]),
        (("Delete", "Retain"), 0, ["W"], None),
        (("Retain", "Delete"), 0, [], None),
        (("Retain", "Delete"), 5, [], ["P"]),
        (("Delete", "Delete"), 0, ["P"], ["W"]),
        (("Delete", "Delete"), 5, ["W"], ["P"]),
        (("Delete", "Delete"), 5, ["W", "other"], ["other", "P"]),
    ],
)
def test_owners_of_a_claim(
    policy: tuple[str, str], ordinal: int, present: list[str], expected: list[str] | None
) -> None:
    pod = {"metadata": {"name": f"w-{ordinal}", "uid": "P"}}
    claim = {"metadata": {"name": f"data-w-{ordinal}", "ownerReferences": [{"uid": uid} for uid in present]}}
    owners = plan_claim_owners(stateful_set(*policy), pod, claim)
    assert (None if owners is None else [one["uid"] for one in owners]) == expected


def test_a_claim_of_another_controller_is_left_alone() -> None:
    claim = {"metadata": {"name": "data-w-0", "ownerReferences": [{"uid": "X", "controller": True}]}}
    assert plan_claim_owners(stateful_set("Delete"), {"metadata": {"name": "w-0", "uid": "P"}}, claim) is None


def test_a_claim_of_an_earlier_pod_is_stale() -> None:
    claim = {"metadata": {"ownerReferences": [{"kind": "Pod", "uid": "old"}]}}
    assert is_stale_claim(claim, "")
    assert is_stale_claim(claim, "new")
    assert not is_stale_claim(claim, "old")
    assert not is_stale_claim({"metadata": {}}, "")


def test_a_claim_tells_the_sets_whose_it_may_be() -> None:
    assert sets_of_claim("data-web-0") == ["web"]
    assert sets_of_claim("my-data-web-app-11") == ["data-web-app", "web-app", "app"]
    assert sets_of_claim("data") == []
    assert sets_of_claim("data-0") == []
