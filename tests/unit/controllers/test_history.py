"""Revisions: which one is the present template, and which may go."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.history import (
    REVISION_LABEL,
    new_revision,
    plan_revision,
    plan_truncation,
    template_of,
)


def owner(image: str = "a", limit: int = 10) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "w", "namespace": "d", "uid": "W", "annotations": {"why": "because"}},
        "spec": {"template": template, "revisionHistoryLimit": limit},
    }


def revision(image: str, number: int) -> dict[str, Any]:
    one = new_revision(owner(image), number, 0)
    one["metadata"]["uid"] = f"{image}{number}"
    return one


def test_a_revision_records_the_template_and_gives_it_back() -> None:
    one = revision("a", 1)
    assert one["data"]["spec"]["template"]["$patch"] == "replace"
    assert template_of(one) == owner("a")["spec"]["template"]
    assert one["metadata"]["labels"] == {
        "app": "w", "controller.kubernetes.io/hash": one["metadata"]["name"].removeprefix("w-")}  # fmt: skip
    assert one["metadata"]["annotations"] == {"why": "because"}


def test_a_collision_gives_another_name() -> None:
    names = {new_revision(owner(), 1, collisions)["metadata"]["name"] for collisions in range(3)}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("present", "image", "outcome"),
    [
        ([], "a", ("create", 1)),
        ([("a", 1)], "a", ("keep", 1)),
        ([("a", 1)], "b", ("create", 2)),
        ([("a", 1), ("b", 2)], "a", ("renumber", 3)),
        ([("b", 2), ("a", 3)], "a", ("keep", 3)),
    ],
)
def test_which_revision_is_the_present_template(
    present: list[tuple[str, int]], image: str, outcome: tuple[str, int]
) -> None:
    plan = plan_revision(owner(image), [revision(*one) for one in present], 0)
    if plan.keep is not None:
        assert outcome == ("keep", plan.keep["revision"])
    elif plan.renumber is not None:
        assert outcome == ("renumber", plan.number)
        assert template_of(plan.renumber) == owner(image)["spec"]["template"]
    else:
        assert plan.create is not None
        assert outcome == ("create", plan.create["revision"])


def test_only_revisions_that_nobody_uses_go_beyond_the_limit() -> None:
    revisions = [revision(image, number) for number, image in enumerate("abcde", 1)]
    names = [one["metadata"]["name"] for one in revisions]
    pod = {"metadata": {"labels": {REVISION_LABEL: names[0]}}}
    gone = plan_truncation(owner(limit=1), revisions, [pod], [names[4]])
    assert [one["metadata"]["name"] for one in gone] == names[1:3]
    assert plan_truncation(owner(limit=3), revisions, [pod], [names[4]]) == []
