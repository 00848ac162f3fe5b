"""Endpoints in as few and as stable slices as possible."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.objects import Object
from orchestrator.controllers.endpoints import slices
from orchestrator.controllers.endpoints.slices import SlicePlan, plan_slices, wanted_groups


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "d", "uid": "s"},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": "http"}],
            "ipFamilies": ["IPv4"],
            **spec,
        },
    }


def pod(
    n: int,
    *,
    ready: bool = True,
    terminating: bool = False,
    phase: str = "Running",
    port: int = 8080,
    ips: tuple[str, ...] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": f"p{n}", "namespace": "d", "uid": f"u{n}", "labels": {"app": "web"}}
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ips = (f"10.0.{n // 250}.{n % 250 + 1}",) if ips is None else ips
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": port}]}], **spec},
        "status": {
            "phase": phase,
            "podIP": ips[0] if ips else "",
            "podIPs": [{"ip": ip} for ip in ips],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


NODES = {"n1": {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}}


def plan(
    pods: list[dict[str, Any]],
    existing: list[dict[str, Any]],
    svc: dict[str, Any] | None = None,
    limit: int = 100,
) -> SlicePlan:
    svc = svc or service()
    return plan_slices(svc, wanted_groups(svc, pods, NODES), existing, limit=limit)


def apply(existing: list[dict[str, Any]], changes: SlicePlan) -> list[dict[str, Any]]:
    kept = {one["metadata"]["name"]: one for one in existing}
    for one in changes.delete:
        del kept[one["metadata"]["name"]]
    for one in changes.update:
        kept[one["metadata"]["name"]] = one
    for one in changes.create:
        name = f"web-{max([int(n[4:]) for n in kept] or [0]) + 1}"
        kept[name] = {**one, "metadata": {**one["metadata"], "name": name}}
    return list(kept.values())


def test_the_entry_of_a_pod() -> None:
    (created,) = plan([pod(1, hostname="h", subdomain="web")], []).create
    assert created["endpoints"] == [
        {
            "addresses": ["10.0.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "d", "name": "p1", "uid": "u1"},
            "nodeName": "n1",
            "zone": "z1",
            "hostname": "h",
        }
    ]
    assert created["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert created["metadata"]["generateName"] == "web-"


@pytest.mark.parametrize(
    ("one", "publish", "expected"),
    [
        (pod(1), False, (True, True, False)),
        (pod(1, ready=False), False, (False, False, False)),
        (pod(1, ready=False), True, (True, False, False)),
        (pod(1, terminating=True), False, (False, True, True)),
        (pod(1, terminating=True, ready=False), False, (False, False, True)),
        (pod(1, phase="Succeeded"), False, None),
        (pod(1, phase="Failed"), True, None),
        (pod(1, ips=()), True, None),
    ],
)
def test_conditions(one: dict[str, Any], publish: bool, expected: tuple[bool, bool, bool] | None) -> None:
    (created,) = plan([one], [], service(publishNotReadyAddresses=publish)).create
    if expected is None:
        assert created["endpoints"] == []
    else:
        assert tuple(created["endpoints"][0]["conditions"].values()) == expected


def test_pods_with_other_port_numbers_get_their_own_slice() -> None:
    created = plan([pod(1), pod(2, port=9090)], []).create
    assert sorted(one["ports"][0]["port"] for one in created) == [8080, 9090]


def test_both_families_get_slices_and_an_unused_one_a_placeholder() -> None:
    dual = service(ipFamilies=["IPv4", "IPv6"])
    created = plan([pod(1, ips=("10.0.0.1", "fd00::1")), pod(2)], [], dual).create
    assert {one["addressType"]: [e["addresses"] for e in one["endpoints"]] for one in created} == {
        "IPv4": [["10.0.0.1"], ["10.0.0.3"]],
        "IPv6": [["fd00::1"]],
    }
    created = plan([pod(2)], [], dual).create
    assert {one["addressType"]: len(one["endpoints"]) for one in created} == {"IPv4": 1, "IPv6": 0}


def test_nothing_changes_when_nothing_changed() -> None:
    pods = [pod(n) for n in range(7)]
    existing = apply([], plan(pods, [], limit=3))
    assert [len(one["endpoints"]) for one in existing] == [3, 3, 1]
    again = plan(pods, existing, limit=3)
    assert (again.create, again.update, again.delete) == ([], [], [])


def test_one_changed_pod_writes_one_slice() -> None:
    pods = [pod(n) for n in range(9)]
    existing = apply([], plan(pods, [], limit=3))
    pods[4] = pod(4, ready=False)
    changes = plan(pods, existing, limit=3)
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


def test_a_replaced_pod_takes_the_place_of_the_old_one() -> None:
    existing = apply([], plan([pod(n) for n in range(3)], [], limit=3))
    changes = plan([pod(0), pod(1), pod(7)], existing, limit=3)
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


def test_a_changed_port_rewrites_the_slice_and_keeps_its_name() -> None:
    existing = apply([], plan([pod(1)], []))
    changes = plan([pod(1, port=9090)], existing)
    assert [one["metadata"]["name"] for one in changes.update] == ["web-1"]
    assert (changes.create, changes.delete) == ([], [])


def test_the_last_slice_stays_empty() -> None:
    existing = apply([], plan([pod(1)], []))
    changes = plan([], existing)
    assert [(one["metadata"]["name"], one["endpoints"]) for one in changes.update] == [("web-1", [])]
    assert (changes.create, changes.delete) == ([], [])


def test_hints_follow_the_traffic_distribution() -> None:
    (created,) = plan([pod(1), pod(2, ready=False)], [], service(trafficDistribution="PreferSameZone")).create
    assert [endpoint.get("hints") for endpoint in created["endpoints"]] == [{"forZones": [{"name": "z1"}]}, None]


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=8), st.integers(1, 5))
def test_after_any_history_every_pod_is_listed_exactly_once(history: list[set[int]], limit: int) -> None:
    existing: list[dict[str, Any]] = []
    for members in history:
        existing = apply(existing, plan([pod(n) for n in sorted(members)], existing, limit=limit))
        listed = [endpoint["targetRef"]["name"] for one in existing for endpoint in one["endpoints"]]
        assert sorted(listed) == sorted(f"p{n}" for n in members)
        assert all(len(one["endpoints"]) <= limit for one in existing)
        assert existing


def test_the_cache_makes_entries_anew_only_for_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = slices.entries_of

    def counting(service: Object, one: Object, node: Object | None) -> list[slices.Entry]:
        made.append(one["metadata"]["name"])
        return real(service, one, node)

    monkeypatch.setattr(slices, "entries_of", counting)
    nodes: Any = {}
    cache = slices.EntryCache()
    members = [pod(number) for number in range(3)]
    one = service()
    cache.groups(one, members, nodes)
    changed = [members[0], {**members[1]}, members[2]]
    groups = cache.groups(one, changed, nodes)
    assert made == ["p0", "p1", "p2", "p1"]
    assert [g.endpoints for g in groups] == [g.endpoints for g in slices.wanted_groups(one, changed, nodes)]
    made.clear()
    cache.groups({**one}, changed, nodes)
    assert len(made) == 3
