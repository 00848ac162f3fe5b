"""Which updates only renew an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.api.kinds.coordination import LEASE
from orchestrator.api.managed_fields import ManagerId
from orchestrator.api.objects import Object, copy_object
from orchestrator.apiserver.renewal import plan_renewal

LATER = "2026-01-01T00:00:10.000000Z"
KUBELET = ManagerId("kubelet", "Update", "coordination.k8s.io/v1")


def entry(manager: str, *fields: str, operation: str = "Update", time: str = "2026-01-01T00:00:00Z") -> Object:
    owned: Object = {"f:spec": {f"f:{field}": {} for field in fields}}
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "coordination.k8s.io/v1",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": owned,
    }


def lease(*entries: Object) -> Object:
    return {
        "kind": "Lease",
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {
            "name": "n",
            "namespace": "kube-node-lease",
            "uid": "u",
            "resourceVersion": "7",
            "ownerReferences": [{"kind": "Node", "name": "n", "uid": "v", "controller": True}],
            "managedFields": list(entries) or [entry("kubelet", "holderIdentity", "renewTime")],
        },
        "spec": {"holderIdentity": "n", "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"},
    }


def renewed(stored: Object, moment: Any = LATER) -> Object:
    body = copy_object(stored)
    body["spec"]["renewTime"] = moment
    return body


def test_the_time_moves_and_with_it_the_entry_of_its_owner() -> None:
    stored = lease()
    before = copy_object(stored)

    after = plan_renewal(LEASE, renewed(stored), stored, KUBELET, "2026-01-01T00:00:10Z")

    assert after == {
        **before,
        "metadata": {
            **before["metadata"],
            "managedFields": [entry("kubelet", "holderIdentity", "renewTime", time="2026-01-01T00:00:10Z")],
        },
        "spec": {**before["spec"], "renewTime": LATER},
    }
    assert list(after)[:3] == ["kind", "apiVersion", "metadata"]
    assert stored == before


def test_entries_stay_in_the_order_of_their_times() -> None:
    stored = lease(entry("kubelet", "renewTime"), entry("other", "strategy", time="2026-01-01T00:00:05Z"))

    after = plan_renewal(LEASE, renewed(stored), stored, KUBELET, "2026-01-01T00:00:10Z")

    assert after is not None
    assert [one["manager"] for one in after["metadata"]["managedFields"]] == ["other", "kubelet"]


def change(path: str, value: Any) -> Callable[[Object], None]:
    """A change of one field; None takes it away."""
    *parents, name = path.split(".")

    def apply(obj: Object) -> None:
        for parent in parents:
            obj = obj[parent]
        if value is None:
            del obj[name]
        else:
            obj[name] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.holderIdentity", "m"),
        ("spec.holderIdentity", None),
        ("spec.leaseTransitions", 1),
        ("spec.leaseDurationSeconds", True),  # equal to 1 in Python, and a 400 from the API
        ("spec.renewTime", None),
        ("spec.renewTime", "2026-01-01T00:00:00.000000Z"),
        ("spec.renewTime", "2026-01-01T00:00:10Z"),
        ("spec.renewTime", 10),
        ("spec", None),
        ("metadata.resourceVersion", "6"),
        ("metadata.resourceVersion", None),
        ("metadata.uid", "w"),
        ("metadata.labels", {"a": "b"}),
        ("metadata.ownerReferences", []),
        ("metadata.ownerReferences", [{"kind": "Node", "name": "n", "uid": "v", "controller": 1}]),
        ("metadata.managedFields", [{}]),
        ("metadata", None),
        ("status", {}),
        ("kind", "Node"),
        ("apiVersion", "v1"),
    ],
)
def test_whatever_else_changes_makes_it_an_update_like_any_other(path: str, value: Any) -> None:
    stored = lease()
    body = renewed(stored)
    change(path, value)(body)

    assert plan_renewal(LEASE, body, stored, KUBELET, "") is None


@pytest.mark.parametrize("body", [None, [], "x", {}])
def test_what_is_no_object_is_no_renewal(body: Any) -> None:
    assert plan_renewal(LEASE, body, lease(), KUBELET, "") is None


@pytest.mark.parametrize(
    "entries",
    [
        [entry("other", "renewTime")],
        [entry("kubelet", "renewTime", operation="Apply")],
        [entry("kubelet", "holderIdentity")],
        [entry("kubelet", "renewTime"), entry("other", "renewTime", operation="Apply")],
    ],
    ids=["another manager", "an applier", "nobody", "two owners"],
)
def test_only_the_one_who_owns_the_time_alone_renews(entries: list[Object]) -> None:
    stored = lease(*entries)

    assert plan_renewal(LEASE, renewed(stored), stored, KUBELET, "") is None
