"""What objects take of a quota, and which quotas count them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.pod_resources import pod_amounts
from orchestrator.api.quota import matches_scopes, may_use, usage
from orchestrator.api.resources import CONFIG_MAPS, DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES


def texts(usage: Any) -> dict[str, str]:
    return {name: str(amount) for name, amount in usage.items() if str(amount) != "0"}


def container(cpu: str = "", memory: str = "", **more: Any) -> dict[str, Any]:
    requests = {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}
    return {"resources": {"requests": requests, "limits": requests}, **more}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pods", "pods"), ("requests.cpu", "pods"), ("limits.memory", "pods"), ("cpu", "pods"),
        ("requests.nvidia.com/gpu", "pods"), ("hugepages-2Mi", "pods"), ("count/pods", "pods"),
        ("requests.storage", "persistentvolumeclaims"), ("persistentvolumeclaims", "persistentvolumeclaims"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
        ("services.nodeports", "services"), ("count/deployments.apps", "deployments.apps"),
        ("configmaps", "configmaps"),
    ],
)  # fmt: skip
def test_which_resource_a_name_counts(name: str, expected: str) -> None:
    resources = ("pods", "persistentvolumeclaims", "services", "configmaps", "deployments.apps", "jobs.batch")
    assert [resource for resource in resources if may_use(resource, [name])] == [expected]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [container("1", "1Gi"), container("500m")]}, {"cpu": "1500m", "memory": "1Gi"}),
        ({"containers": [container("1")], "initContainers": [container("3")]}, {"cpu": "3"}),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("1", restartPolicy="Always"), container("2")],
            },
            {"cpu": "3"},
        ),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("2"), container("2", restartPolicy="Always")],
            },
            {"cpu": "3"},
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, {"cpu": "1250m"}),
        ({"containers": [container("1")], **container("4")}, {"cpu": "4"}),
    ],
)
def test_pod_totals(spec: dict[str, Any], expected: dict[str, str]) -> None:
    assert texts(pod_amounts(spec, "requests")) == expected


def test_a_pod_counts_until_it_ended() -> None:
    one: dict[str, Any] = {"spec": {"containers": [container("1", "1Gi")]}}
    one["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "2", "x.io/gpu": "2"}
    assert texts(usage(PODS.group_resource, one)) == {
        "count/pods": "1", "pods": "1", "cpu": "2", "requests.cpu": "2", "requests.x.io/gpu": "2",
        "limits.cpu": "1", "limits.memory": "1Gi",
    }  # fmt: skip
    assert texts(usage(PODS.group_resource, {**one, "status": {"phase": "Succeeded"}})) == {"count/pods": "1"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "ClusterIP", "ports": [{}]}, {}),
        ({"type": "NodePort", "ports": [{}, {}]}, {"services.nodeports": "2"}),
        ({"type": "LoadBalancer", "ports": [{}]}, {"services.loadbalancers": "1", "services.nodeports": "1"}),
        (
            {"type": "LoadBalancer", "ports": [{}, {"nodePort": 30000}], "allocateLoadBalancerNodePorts": False},
            {"services.loadbalancers": "1", "services.nodeports": "1"},
        ),
    ],
)
def test_services(spec: dict[str, Any], expected: dict[str, str]) -> None:
    assert texts(usage(SERVICES.group_resource, {"spec": spec})) == {"count/services": "1", "services": "1", **expected}


def test_claims_count_for_their_class_too() -> None:
    spec = {"resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "gold"}
    assert texts(usage(PERSISTENT_VOLUME_CLAIMS.group_resource, {"metadata": {}, "spec": spec})) == {
        "count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "2Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "2Gi",
    }  # fmt: skip


def test_other_kinds_are_only_counted() -> None:
    assert texts(usage(DEPLOYMENTS.group_resource, {})) == {"count/deployments.apps": "1"}
    assert texts(usage(CONFIG_MAPS.group_resource, {})) == {"count/configmaps": "1", "configmaps": "1"}


def scoped(scope: str, operator: str = "Exists", *values: str) -> dict[str, Any]:
    requirement = {"scopeName": scope, "operator": operator, "values": list(values)}
    return {"spec": {"scopeSelector": {"matchExpressions": [requirement]}}}


TERM = {"podAffinityTerm": {"namespaces": ["other"]}}


@pytest.mark.parametrize(
    ("quota", "spec", "expected"),
    [
        ({"spec": {}}, {}, True),
        ({"spec": {"scopes": ["BestEffort"]}}, {"containers": [{}]}, True),
        ({"spec": {"scopes": ["BestEffort"]}}, {"containers": [container("1")]}, False),
        ({"spec": {"scopes": ["NotBestEffort"]}}, {"containers": [container("1")]}, True),
        (scoped("Terminating"), {"activeDeadlineSeconds": 0}, True),
        (scoped("Terminating"), {}, False),
        (scoped("NotTerminating"), {}, True),
        (scoped("PriorityClass", "In", "high"), {"priorityClassName": "high"}, True),
        (scoped("PriorityClass", "In", "high"), {}, False),
        (scoped("PriorityClass", "NotIn", "high"), {"priorityClassName": "low"}, True),
        (scoped("PriorityClass", "Exists"), {"priorityClassName": "low"}, True),
        (scoped("PriorityClass", "DoesNotExist"), {}, True),
        (scoped("CrossNamespacePodAffinity"), {}, False),
        (
            scoped("CrossNamespacePodAffinity"),
            {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [TERM]}}},
            True,
        ),
    ],
)
def test_scopes(quota: dict[str, Any], spec: dict[str, Any], expected: bool) -> None:
    assert matches_scopes(quota, PODS.group_resource, {"spec": spec}) is expected


def test_scopes_of_pods_leave_out_everything_else() -> None:
    assert not matches_scopes(scoped("NotTerminating"), CONFIG_MAPS.group_resource, {})
    fast = {"spec": {"volumeAttributesClassName": "fast"}}
    quota = scoped("VolumeAttributesClass", "In", "fast")
    assert matches_scopes(quota, PERSISTENT_VOLUME_CLAIMS.group_resource, fast)
