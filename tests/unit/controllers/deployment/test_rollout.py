"""Sizes of ReplicaSets: rolling, proportional scaling, fenceposts, clean-up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controllers.deployment import rollout


def deployment(replicas: int, surge: int | str = "25%", unavailable: int | str = "25%", **spec: Any) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {"metadata": {"name": "d"}, "spec": {"replicas": replicas, "strategy": strategy, **spec}}


def rs(
    name: str,
    size: int,
    available: int | None = None,
    *,
    desired: int | None = None,
    maximum: int | None = None,
    created: int = 0,
    revision: int = 0,
    status_replicas: int | None = None,
) -> dict[str, Any]:
    annotations = {}
    if desired is not None:
        annotations["deployment.kubernetes.io/desired-replicas"] = str(desired)
    if maximum is not None:
        annotations["deployment.kubernetes.io/max-replicas"] = str(maximum)
    if revision:
        annotations["deployment.kubernetes.io/revision"] = str(revision)
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "annotations": annotations,
            "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
        },
        "spec": {"replicas": size},
        "status": {
            "availableReplicas": size if available is None else available,
            "replicas": size if status_replicas is None else status_replicas,
        },
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (3, "25%", "25%", (1, 0)),
        (1, "25%", "25%", (1, 0)),
        (1, 0, "25%", (0, 1)),
        (4, 0, 0, (0, 1)),
        (0, "100%", "100%", (0, 1)),
        (5, "100%", 2, (5, 2)),
    ],
)
def test_fenceposts(replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]) -> None:
    assert rollout.fenceposts(deployment(replicas, surge, unavailable)) == expected


@pytest.mark.parametrize(
    ("old", "new", "replicas", "surge", "expected"),
    [
        pytest.param(10, 0, 10, 3, 3, id="only the surge while old pods stand"),
        pytest.param(8, 3, 10, 3, 5, id="grows into the room that old ones left"),
        pytest.param(10, 3, 10, 3, 3, id="no room, no change"),
        pytest.param(12, 3, 10, 3, 3, id="above the maximum: no change"),
        pytest.param(0, 0, 10, 3, 10, id="nothing old: all at once"),
        pytest.param(0, 12, 10, 3, 10, id="too large shrinks"),
    ],
)
def test_size_of_the_new_replica_set(old: int, new: int, replicas: int, surge: int, expected: int) -> None:
    new_rs = rs("new", new)
    assert rollout.plan_new_size(deployment(replicas, surge, 0), [rs("old", old), new_rs], new_rs) == expected


@pytest.mark.parametrize(
    ("old", "new", "unavailable", "expected"),
    [
        pytest.param([rs("a", 10)], rs("new", 0), 2, {"a": 8}, id="down to the minimum"),
        pytest.param([rs("a", 10)], rs("new", 3, 0), 0, {}, id="new pods are not available yet"),
        pytest.param([rs("a", 10)], rs("new", 3, 2), 0, {"a": 8}, id="as many as became available"),
        pytest.param([rs("a", 10, 4)], rs("new", 3, 0), 0, {}, id="unhealthy old pods, but nothing to spare"),
        pytest.param([rs("a", 8, 4), rs("b", 4, created=1)], rs("new", 0), 2, {"a": 4}, id="unhealthy first"),
        pytest.param(
            [rs("b", 5, created=1), rs("a", 5)], rs("new", 5), 2, {"a": 0, "b": 3}, id="oldest first, then the next"
        ),
        pytest.param([rs("a", 0)], rs("new", 10), 2, {}, id="nothing left"),
    ],
)
def test_scale_down_of_old(
    old: list[dict[str, Any]], new: dict[str, Any], unavailable: int, expected: dict[str, int]
) -> None:
    plan = rollout.plan_scale_down_old(deployment(10, 3, unavailable), old, new)
    assert {r["metadata"]["name"]: size for r, size in plan} == expected


@given(
    replicas=st.integers(0, 30),
    surge=st.integers(0, 10),
    unavailable=st.integers(0, 10),
    old=st.lists(st.integers(0, 12), max_size=4),
    new=st.integers(0, 30),
    data=st.data(),
)
def test_scale_down_never_takes_available_pods_below_the_minimum(
    replicas: int, surge: int, unavailable: int, old: list[int], new: int, data: st.DataObject
) -> None:
    d = deployment(replicas, surge, unavailable)
    sets = [rs(f"o{i}", size, data.draw(st.integers(0, size)), created=i) for i, size in enumerate(old)]
    new_rs = rs("new", new, data.draw(st.integers(0, new)))
    minimum = replicas - rollout.max_unavailable(d)
    plan = {r["metadata"]["name"]: size for r, size in rollout.plan_scale_down_old(d, sets, new_rs)}
    available = new_rs["status"]["availableReplicas"]
    for one in sets:
        size = plan.get(one["metadata"]["name"], one["spec"]["replicas"])
        assert size >= 0
        # A ReplicaSet deletes pods that are not available first.
        available += min(size, one["status"]["availableReplicas"])
    before = new_rs["status"]["availableReplicas"] + sum(o["status"]["availableReplicas"] for o in sets)
    assert available >= min(minimum, before)


def names(plan: list[rollout.Resize]) -> dict[str, int]:
    return {r.replica_set["metadata"]["name"]: r.replicas for r in plan}


@pytest.mark.parametrize(
    ("replicas", "old", "new", "expected"),
    [
        pytest.param(
            15,
            [rs("a", 8, desired=10, maximum=13)],
            rs("new", 5, 0, desired=10, maximum=13, created=1),
            {"a": 11, "new": 7},
            id="the example of the documentation",
        ),
        pytest.param(
            5,
            [rs("a", 8, desired=10, maximum=13)],
            rs("new", 5, 0, desired=10, maximum=13, created=1),
            {"a": 5, "new": 3},
            id="down",
        ),
        pytest.param(
            0,
            [rs("a", 8, desired=10, maximum=13)],
            rs("new", 5, 0, desired=10, maximum=13, created=1),
            {"a": 0, "new": 0},
            id="to zero",
        ),
        pytest.param(7, [rs("a", 0)], rs("new", 5, desired=5), {"new": 7}, id="one active"),
        pytest.param(
            7, [rs("a", 3, desired=7), rs("b", 1, desired=7)], rs("new", 7, desired=7), {"a": 0, "b": 0}, id="saturated"
        ),
    ],
)
def test_scaling(replicas: int, old: list[dict[str, Any]], new: dict[str, Any], expected: dict[str, int]) -> None:
    surge = 3
    assert names(rollout.plan_scaling(deployment(replicas, surge, 2), new, old)) == expected


@given(
    replicas=st.integers(1, 60),
    surge=st.integers(1, 10),
    sizes=st.lists(st.integers(1, 20), min_size=2, max_size=5),
    before=st.integers(1, 60),
)
def test_proportional_scaling_uses_exactly_the_allowed_size(
    replicas: int, surge: int, sizes: list[int], before: int
) -> None:
    sets = [rs(f"r{i}", s, 0, desired=before, maximum=before + surge, created=i) for i, s in enumerate(sizes)]
    plan = rollout.plan_scaling(deployment(replicas, surge, 0), sets[-1], sets[:-1])
    assert all(r.replicas >= 0 for r in plan)
    assert len(plan) == len(sets)
    grown = sum(r.replicas for r in plan)
    if before + surge >= sum(sizes):
        assert grown == replicas + surge


def test_clean_up_spares_what_still_has_pods_and_takes_low_revisions_first() -> None:
    old = [rs(f"r{i}", 0, revision=i) for i in range(1, 6)] + [rs("busy", 0, revision=1, status_replicas=1)]
    doomed = rollout.plan_cleanup(deployment(1, revisionHistoryLimit=2), old)
    assert [r["metadata"]["name"] for r in doomed] == ["r1", "r2", "r3"]
    assert rollout.plan_cleanup(deployment(1), old) == []
