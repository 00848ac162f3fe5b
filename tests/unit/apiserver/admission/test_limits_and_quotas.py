"""LimitRanger's defaults and bounds, and what ResourceQuota reserves or refuses."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.api import errors
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.quota import missing_specifications, usage
from orchestrator.apiserver.admission.limit_ranger import (
    ANNOTATION,
    LimitRanger,
    claim_violations,
    fill_defaults,
    pod_violations,
)
from orchestrator.apiserver.admission.plugin import Attributes
from orchestrator.apiserver.admission.resource_quota import ResourceQuota, plan_reservation
from orchestrator.apiserver.user import User
from orchestrator.store import EventType, Store

REGISTRY = Registry(builtin_kinds())


def pod(**resources: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "web"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]},
    }


def limit(kind: str = "Container", **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def test_defaults_fill_what_is_not_said_and_are_noted() -> None:
    given = pod(requests={"memory": "10Mi"})
    fill_defaults(given, [limit(default={"cpu": "500m", "memory": "64Mi"}, defaultRequest={"cpu": "100m"})])
    assert given["spec"]["containers"][0]["resources"] == {
        "requests": {"memory": "10Mi", "cpu": "100m"},
        "limits": {"cpu": "500m", "memory": "64Mi"},
    }
    assert given["metadata"]["annotations"] == {
        ANNOTATION: "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"
    }


def test_nothing_to_fill_leaves_no_note() -> None:
    given = pod(requests={"cpu": "1"}, limits={"cpu": "1"})
    fill_defaults(given, [limit(default={"cpu": "500m"}, defaultRequest={"cpu": "100m"})])
    assert "annotations" not in given["metadata"]


@pytest.mark.parametrize(
    ("bound", "resources", "why"),
    [
        (limit(min={"cpu": "100m"}), {}, ["minimum cpu usage per Container is 100m.  No request is specified"]),
        (
            limit(min={"cpu": "100m"}),
            {"requests": {"cpu": "50m"}},
            ["minimum cpu usage per Container is 100m, but request is 50m"],
        ),
        (limit(min={"cpu": "100m"}), {"requests": {"cpu": "100m"}}, []),
        (limit(max={"cpu": "1"}), {}, ["maximum cpu usage per Container is 1.  No limit is specified"]),
        (limit(max={"cpu": "1"}), {"limits": {"cpu": "2"}}, ["maximum cpu usage per Container is 1, but limit is 2"]),
        (
            limit("Pod", max={"memory": "1Gi"}),
            {"limits": {"memory": "2Gi"}},
            ["maximum memory usage per Pod is 1Gi, but limit is 2147483648"],
        ),
        (
            limit(maxLimitRequestRatio={"cpu": "2"}),
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
            ["cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000"],
        ),
        (
            limit(maxLimitRequestRatio={"cpu": "2"}),
            {},
            ["cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"],
        ),
        (limit(maxLimitRequestRatio={"cpu": "2"}), {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}, []),
    ],
)
def test_bounds_of_pods(bound: dict[str, Any], resources: dict[str, Any], why: list[str]) -> None:
    assert pod_violations(pod(**resources), [bound]) == why


def test_bounds_of_claims() -> None:
    bound = limit("PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "5Gi"})
    for storage, why in (
        ("512Mi", ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi"]),
        ("2Gi", []),
        ("6Gi", ["maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"]),
    ):
        claim = {"spec": {"resources": {"requests": {"storage": storage}}}}
        assert claim_violations(claim, [bound]) == why


def test_an_overhead_is_not_within_the_bounds() -> None:
    given = pod(limits={"memory": "1Gi"})
    given["spec"]["overhead"] = {"memory": "1Gi"}
    assert pod_violations(given, [limit("Pod", max={"memory": "1Gi"})]) == []


class _Observed:
    """A store as far as a plugin sees it: it tells of one LimitRange."""

    def observe(self, group_resource: str, tell: Callable[[Any], None]) -> None:
        obj = {"spec": {"limits": [limit("PersistentVolumeClaim", max={"storage": "1Gi"})]}}
        tell(SimpleNamespace(type=EventType.ADDED, record=SimpleNamespace(key=("", "web", "l"), obj=obj)))


def test_what_is_being_deleted_may_still_lose_its_finalizers() -> None:
    ranger = LimitRanger(cast("Store", _Observed()))
    before: dict[str, Any] = {"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}}
    after: dict[str, Any] = {"metadata": {}}
    assert ranger.handles(attributes(after, plural="persistentvolumeclaims", old=before))
    before["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not ranger.handles(attributes(after, plural="persistentvolumeclaims", old=before))


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"hard": hard}
    if used is not None:
        status["used"] = used
    return {"metadata": {"name": "q", "namespace": "web"}, "spec": {"hard": hard, **spec}, "status": status}


def attributes(obj: dict[str, Any], *, plural: str = "pods", old: dict[str, Any] | None = None) -> Attributes:
    kind = REGISTRY.by_path("", "v1", plural)
    assert kind is not None
    operation: Any = "CREATE" if old is None else "UPDATE"
    return Attributes(operation, kind, "web", "p", "", obj, old, User("bob"), False)


def test_a_reservation_adds_what_the_object_uses() -> None:
    given = quota({"pods": "2", "requests.cpu": "1"}, {"pods": "1", "requests.cpu": "300m"})
    reserved = plan_reservation(attributes(pod(requests={"cpu": "200m"})), given)
    assert reserved is not None
    assert reserved["status"]["used"] == {"pods": "2", "requests.cpu": "500m"}
    assert given["status"]["used"]["pods"] == "1"


@pytest.mark.parametrize(
    ("given", "resources", "why"),
    [
        (
            quota({"pods": "1", "requests.cpu": "1"}, {"pods": "1", "requests.cpu": "0"}),
            {"requests": {"cpu": "2"}},
            "exceeded quota: q, requested: pods=1,requests.cpu=2, used: pods=1,requests.cpu=0,"
            " limited: pods=1,requests.cpu=1",
        ),
        (quota({"requests.cpu": "1"}, {"requests.cpu": "0"}), {}, "failed quota: q: must specify requests.cpu for: c"),
        (quota({"pods": "1"}, {}), {}, "status unknown for quota: q, resources: pods"),
    ],
)
def test_a_refusal_says_why(given: dict[str, Any], resources: dict[str, Any], why: str) -> None:
    with pytest.raises(errors.Forbidden) as refused:
        plan_reservation(attributes(pod(**resources)), given)
    assert refused.value.message == f'pods "p" is forbidden: {why}'


def test_quotas_of_other_things_and_scopes_do_not_count() -> None:
    assert plan_reservation(attributes(pod()), quota({"configmaps": "0"}, {"configmaps": "0"})) is None
    given = quota({"pods": "0"}, {"pods": "0"}, scopes=["NotBestEffort"])
    assert plan_reservation(attributes(pod()), given) is None


def test_an_update_pays_the_difference_and_a_smaller_object_nothing() -> None:
    def service(ports: int) -> dict[str, Any]:
        return {
            "metadata": {"name": "s"},
            "spec": {"type": "NodePort", "ports": [{"port": n + 1} for n in range(ports)]},
        }

    given = quota({"services.nodeports": "3"}, {"services.nodeports": "2"})
    grown = plan_reservation(attributes(service(3), plural="services", old=service(2)), given)
    assert grown is not None
    assert grown["status"]["used"] == {"services.nodeports": "3"}
    assert plan_reservation(attributes(service(1), plural="services", old=service(2)), given) is None


def test_devices_of_each_class_are_counted() -> None:
    requests = [
        {"name": "a", "exactly": {"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 2}},
        {"name": "b", "exactly": {"deviceClassName": "iron", "allocationMode": "All"}},
        {"name": "c", "firstAvailable": [
            {"name": "d", "deviceClassName": "gold", "allocationMode": "ExactCount", "count": 1},
            {"name": "e", "deviceClassName": "gold", "allocationMode": "ExactCount", "count": 3},
        ]},
    ]  # fmt: skip
    used = usage("resourceclaims.resource.k8s.io", {"spec": {"devices": {"requests": requests}}})
    assert {name: str(amount) for name, amount in used.items()} == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gold.deviceclass.resource.k8s.io/devices": "5",
        "iron.deviceclass.resource.k8s.io/devices": "32",
    }


def test_containers_of_a_pod_with_resources_of_its_own_need_none() -> None:
    given = pod()
    assert missing_specifications(given, ["limits.cpu"]) == "limits.cpu for: c"
    given["spec"]["resources"] = {"requests": {"memory": "1Gi"}}
    assert missing_specifications(given, ["limits.cpu"]) == ""


def test_a_pod_that_gets_a_deadline_comes_into_another_scope() -> None:
    store = _Observed()
    plugin = ResourceQuota(cast("Store", store))
    before, after = pod(), pod()
    assert not plugin.handles(attributes(after, old=before))
    after["spec"]["activeDeadlineSeconds"] = 5
    assert plugin.handles(attributes(after, old=before))
    reserved = plan_reservation(
        attributes(after, old=before), quota({"pods": "1"}, {"pods": "0"}, scopes=["Terminating"])
    )
    assert reserved is not None
    assert reserved["status"]["used"] == {"pods": "1"}
