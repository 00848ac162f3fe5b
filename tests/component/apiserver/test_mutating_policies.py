"""Policies that change what is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import (
    CONFIG_MAPS,
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

API = "admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as running:
        yield running


async def establish(cluster: Cluster, name: str, *expressions: str, **spec: Any) -> None:
    admin = cluster.client()
    mutations = [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": one}} for one in expressions]
    policy = {
        "matchConstraints": {"resourceRules": [RULE]},
        "reinvocationPolicy": "Never",
        "mutations": mutations,
        **spec,
    }
    await admin.create(
        MUTATING_ADMISSION_POLICIES,
        {"apiVersion": API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": policy},
    )
    await admin.create(
        MUTATING_ADMISSION_POLICY_BINDINGS,
        {
            "apiVersion": API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    )


async def create(cluster: Cluster, name: str = "c", **data: str) -> Object:
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    return await cluster.client().create(CONFIG_MAPS, {**obj, "data": data})


def put(key: str, value: str) -> str:
    return f"Object{{data: {{'{key}': {value}}}}}"


async def test_each_mutation_sees_what_the_one_before_made(cluster: Cluster) -> None:
    await establish(cluster, "chain", put("one", "object.data.given + '1'"), put("two", "object.data.one + '2'"))
    created = await create(cluster, given="0")
    assert created["data"] == {"given": "0", "one": "01", "two": "012"}


async def test_match_conditions_decide(cluster: Cluster) -> None:
    conditions = [{"name": "wanted", "expression": "has(object.data.wanted)"}]
    await establish(cluster, "some", put("done", "'yes'"), matchConditions=conditions)
    assert (await create(cluster, "a", x="y"))["data"] == {"x": "y"}
    assert (await create(cluster, "b", wanted="y"))["data"] == {"wanted": "y", "done": "yes"}


async def test_a_failure_refuses_unless_it_is_ignored(cluster: Cluster) -> None:
    await establish(cluster, "broken", put("x", "object.data.nosuch"), failurePolicy="Ignore")
    assert (await create(cluster, "a", given="0"))["data"] == {"given": "0"}
    await establish(cluster, "strict", put("x", "object.data.nosuch"), failurePolicy="Fail")
    with pytest.raises(errors.Forbidden, match=r"policy 'strict' with binding 'strict' denied request: .*no such key"):
        await create(cluster, "b", given="0")


async def test_an_earlier_policy_that_asks_for_it_sees_the_changes_of_a_later_one(cluster: Cluster) -> None:
    count = put("count", "string(size(object.data))")
    await establish(cluster, "a-counts", count, reinvocationPolicy="IfNeeded")
    await establish(cluster, "b-adds", put("more", "'x'"))
    assert (await create(cluster, given="0"))["data"] == {"given": "0", "count": "3", "more": "x"}
