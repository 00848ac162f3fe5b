"""Requests and limits as the kernel takes them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.cgroups.values import CgroupValues
from orchestrator.kubelet.pod import qos_class_of
from orchestrator.kubelet.resources.values import (
    cpu_quota,
    cpu_shares,
    oom_score_adj,
    pod_cgroup_values,
    resources_of,
)
from tests.unit.kubelet.pods import pod

GIB = 1 << 30


@pytest.mark.parametrize(("milli", "shares"), [(0, 2), (1, 2), (100, 102), (1000, 1024), (10**9, 262_144)])
def test_cpu_shares(milli: int, shares: int) -> None:
    assert cpu_shares(milli) == shares


@pytest.mark.parametrize(("milli", "quota"), [(0, 0), (1, 1000), (100, 10_000), (2500, 250_000)])
def test_cpu_quota(milli: int, quota: int) -> None:
    assert cpu_quota(milli) == quota


def with_resources(requests: Object | None = None, limits: Object | None = None) -> Object:
    obj = pod()
    obj["status"] = {}
    obj["spec"]["containers"][0]["resources"] = {"requests": requests or {}, "limits": limits or {}}
    return obj


@pytest.mark.parametrize(
    ("requests", "limits", "qos", "score"),
    [
        ({}, {}, "BestEffort", 1000),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed", -997),
        ({}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed", -997),
        ({"memory": "1Gi"}, {}, "Burstable", 750),
        ({"cpu": "1"}, {}, "Burstable", 999),
        ({"memory": "4Gi"}, {}, "Burstable", 3),
    ],
)
def test_qos_and_oom_score(requests: Object, limits: Object, qos: str, score: int) -> None:
    obj = with_resources(requests, limits)
    assert qos_class_of(obj) == qos
    assert oom_score_adj(obj, obj["spec"]["containers"][0], 4 * GIB) == score


def test_limits_become_cgroup_values() -> None:
    obj = with_resources(limits={"cpu": "250m", "memory": "64Mi"})
    found = resources_of(obj, obj["spec"]["containers"][0], GIB)
    assert (found.cpu_shares, found.cpu_quota_microseconds, found.memory_bytes) == (256, 25_000, 64 << 20)


def test_a_system_pod_is_spared_only_when_its_node_needs_it() -> None:
    obj = pod(priority=2_000_001_000, priorityClassName="system-node-critical")
    assert oom_score_adj(obj, obj["spec"]["containers"][0], GIB) == -997
    obj = pod(priority=2_000_000_000, priorityClassName="system-cluster-critical")
    assert oom_score_adj(obj, obj["spec"]["containers"][0], GIB) == 1000


def test_what_a_pod_asks_for_beyond_its_containers_is_shared_by_them() -> None:
    obj = pod("a", "b", resources={"requests": {"memory": "1Gi"}})
    obj["status"] = {}
    obj["spec"]["containers"][0]["resources"] = {"requests": {"memory": "512Mi"}}
    scores = [oom_score_adj(obj, container, 4 * GIB) for container in obj["spec"]["containers"]]
    assert scores == [1000 - 1000 * 768 // 4096, 1000 - 1000 * 256 // 4096]


def limited(name: str, cpu: str, memory: str = "") -> Object:
    limits = {"cpu": cpu, "memory": memory} if memory else {"cpu": cpu}
    return {"name": name, "image": "app:1", "resources": {"requests": {"cpu": "50m"}, "limits": limits}}


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ({}, CgroupValues(cpu_shares=2)),
        ({"containers": [limited("a", "1", "64Mi")]}, CgroupValues(51, 100_000, 64 << 20)),
        (
            {"containers": [limited("a", "1", "64Mi"), limited("b", "500m", "1Mi")]},
            CgroupValues(102, 150_000, 65 << 20),
        ),
        ({"containers": [limited("a", "1", "64Mi"), limited("b", "500m")]}, CgroupValues(102, 150_000, 0)),
        (
            {"containers": [limited("a", "1", "64Mi")], "initContainers": [limited("i", "2", "80Mi")]},
            CgroupValues(51, 200_000, 80 << 20),
        ),
        (
            {
                "containers": [limited("a", "1", "64Mi")],
                "initContainers": [{**limited("s", "2", "80Mi"), "restartPolicy": "Always"}],
            },
            CgroupValues(102, 300_000, 144 << 20),
        ),
        (
            {
                "containers": [limited("a", "1"), {"name": "b", "image": "app:1"}],
                "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3", "memory": "1Gi"}},
            },
            CgroupValues(2048, 300_000, 1 << 30),
        ),
        (
            {"containers": [limited("a", "1", "64Mi")], "overhead": {"cpu": "1", "memory": "6Mi"}},
            CgroupValues(1075, 200_000, 70 << 20),
        ),
    ],
)
def test_a_pod_is_bounded_as_its_containers_are_together(spec: dict[str, Any], values: CgroupValues) -> None:
    obj = pod(**spec)
    obj["status"] = {}
    assert pod_cgroup_values(obj) == values
