"""Renewals of Leases take a shorter way through the API server, which nobody can tell."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestrator.aiokit.clock import format_micro_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object
from orchestrator.api.resources import (
    LEASES,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import ManualClock, running_cluster

NAMESPACE = "kube-node-lease"
POLICY_API = "admissionregistration.k8s.io/v1"


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cluster(clock: ManualClock) -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False, clock=clock) as running:
        yield running


async def lease(cluster: Cluster, name: str, clock: ManualClock) -> Object:
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": format_micro_time(clock.now())}
    obj = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": NAMESPACE}}
    return await cluster.client().create(LEASES, {**obj, "spec": spec})


def renewed(obj: Object, clock: ManualClock) -> Object:
    return {**obj, "spec": {**obj["spec"], "renewTime": format_micro_time(clock.now())}}


async def test_a_renewal_stores_what_any_other_update_would(cluster: Cluster, clock: ManualClock) -> None:
    client = cluster.client()
    first, second = await lease(cluster, "a", clock), await lease(cluster, "b", clock)
    clock.advance(10)
    spec = {"renewTime": format_micro_time(clock.now())}

    short = await client.update(LEASES, renewed(first, clock))
    long = await client.patch(LEASES, "b", {"spec": spec}, NAMESPACE)

    assert short["spec"]["renewTime"] == spec["renewTime"]
    assert short["metadata"]["managedFields"] == long["metadata"]["managedFields"]
    assert short["metadata"]["managedFields"] != first["metadata"]["managedFields"]
    own = ("name", "uid", "resourceVersion")
    assert {**short["spec"], "holderIdentity": ""} == {**long["spec"], "holderIdentity": ""}
    assert {k: v for k, v in short["metadata"].items() if k not in own} == {
        k: v for k, v in long["metadata"].items() if k not in own
    }
    assert int(short["metadata"]["resourceVersion"]) > int(second["metadata"]["resourceVersion"])
    assert await client.get(LEASES, "a", NAMESPACE) == short


async def test_a_renewal_of_what_somebody_changed_conflicts(cluster: Cluster, clock: ManualClock) -> None:
    client = cluster.client()
    stale = await lease(cluster, "a", clock)
    await client.patch(LEASES, "a", {"spec": {"holderIdentity": "other"}}, NAMESPACE)
    clock.advance(10)

    with pytest.raises(errors.Conflict):
        await client.update(LEASES, renewed(stale, clock))


async def test_a_node_renews_its_own_lease_and_no_other(cluster: Cluster, clock: ManualClock) -> None:
    own, other = await lease(cluster, "a", clock), await lease(cluster, "b", clock)
    kubelet = cluster.client("system:node:a", ("system:nodes",))
    clock.advance(10)
    adopted = await kubelet.update(LEASES, renewed(own, clock))  # its first write: now it owns the time
    clock.advance(10)

    await kubelet.update(LEASES, renewed(adopted, clock))

    with pytest.raises(errors.Forbidden):
        await kubelet.update(LEASES, renewed(other, clock))


async def test_policies_see_renewals(cluster: Cluster, clock: ManualClock) -> None:
    client = cluster.client()
    before = await lease(cluster, "a", clock)
    rule = {"operations": ["UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["leases"]}
    spec: Object = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.renewTime == oldObject.spec.renewTime"}],
    }
    policy: Object = {"apiVersion": POLICY_API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "still"}}
    binding: Object = {
        **copy_object(policy),
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": "still", "validationActions": ["Deny"]},
    }
    await client.create(VALIDATING_ADMISSION_POLICIES, {**policy, "spec": spec})
    await client.create(VALIDATING_ADMISSION_POLICY_BINDINGS, binding)
    clock.advance(10)

    with pytest.raises(errors.ApiError, match="failed expression"):
        await client.update(LEASES, renewed(before, clock))

    assert await client.get(LEASES, "a", NAMESPACE) == before


async def test_what_was_read_before_a_renewal_stays_as_it_was(cluster: Cluster, clock: ManualClock) -> None:
    before = await lease(cluster, "a", clock)
    then = copy_object(before)
    clock.advance(60)

    await cluster.client().update(LEASES, renewed(before, clock))

    assert before == then
