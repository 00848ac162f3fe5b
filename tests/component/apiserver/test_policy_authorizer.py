"""Expressions of policies and match conditions that ask the authorizer."""

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
    ROLE_BINDINGS,
    ROLES,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

API = "admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as running:
        # eve may create ConfigMaps, and read the one that is called "special".
        rules = [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["special"], "verbs": ["get"]},
        ]
        client = running.client()
        await client.create(ROLES, {"metadata": {"name": "r", "namespace": "default"}, "rules": rules})
        subjects = [
            {"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "web"},
        ]
        binding = {
            "metadata": {"name": "r", "namespace": "default"},
            "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        }
        await client.create(ROLE_BINDINGS, binding)
        yield running


async def holds(cluster: Cluster, expression: str, user: str = "eve") -> bool:
    """Whether a validation lets this user create a ConfigMap."""
    admin = cluster.client()
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": expression}]}
    await admin.create(VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}, "spec": spec})
    bound = {"policyName": "p", "validationActions": ["Deny"]}
    await admin.create(VALIDATING_ADMISSION_POLICY_BINDINGS, {"metadata": {"name": "p"}, "spec": bound})
    obj: Object = {"metadata": {"name": "c", "namespace": "default"}}
    try:
        await cluster.client(user, ("system:authenticated",)).create(CONFIG_MAPS, obj)
    except errors.ApiError as error:
        if f"failed expression: {expression}" not in error.message:
            raise
        return False
    return True


OF_ROBOT = "authorizer.serviceAccount('web', 'robot').group('').resource('configmaps').namespace('default')"
CHECK = "authorizer.group('').resource('configmaps').namespace('default')"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("authorizer.requestResource.check('create').allowed()", True),
        ("authorizer.requestResource.check('delete').allowed()", False),
        ("!authorizer.requestResource.check('delete').errored()", True),
        (f"{CHECK}.name('special').check('get').allowed()", True),
        (f"{CHECK}.name('other').check('get').allowed()", False),
        (f"{CHECK}.subresource('status').check('create').allowed()", False),
        ("authorizer.group('apps').resource('deployments').check('list').allowed()", False),
        ("authorizer.path('/version').check('get').allowed()", True),
        ("authorizer.path('/nowhere').check('get').allowed()", False),
        (f"{OF_ROBOT}.check('create').allowed()", True),
        (f"{OF_ROBOT}.check('delete').allowed()", False),
    ],
)
async def test_what_a_user_may_do(cluster: Cluster, expression: str, expected: bool) -> None:
    assert await holds(cluster, expression) is expected


async def test_mutations_and_conditions_ask_as_well(cluster: Cluster) -> None:
    admin = cluster.client()
    mutation = "Object{data: {'may': string(authorizer.requestResource.check('delete').allowed())}}"
    spec: dict[str, Any] = {
        "matchConstraints": {"resourceRules": [RULE]},
        "reinvocationPolicy": "Never",
        "matchConditions": [{"name": "c", "expression": "!authorizer.path('/nowhere').check('get').allowed()"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}],
    }
    await admin.create(MUTATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}, "spec": spec})
    await admin.create(MUTATING_ADMISSION_POLICY_BINDINGS, {"metadata": {"name": "p"}, "spec": {"policyName": "p"}})
    eve = cluster.client("eve", ("system:authenticated",))
    created = await eve.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
    assert created["data"] == {"may": "false"}
    created = await admin.create(CONFIG_MAPS, {"metadata": {"name": "b", "namespace": "default"}})
    assert "data" not in created, "an administrator may do everything, so that the condition does not hold"


async def test_messages_do_not_ask(cluster: Cluster) -> None:
    validation = {"expression": "true", "messageExpression": "authorizer.requestResource.check('get').reason()"}
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [validation]}
    with pytest.raises(errors.Invalid, match="undeclared reference to 'authorizer"):
        await cluster.client().create(VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}, "spec": spec})
    wrong = {**validation, "expression": "authorizer.resource('pods')", "messageExpression": "''"}
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [wrong]}
    with pytest.raises(errors.Invalid, match="no matching overload for 'resource'"):
        await cluster.client().create(VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}, "spec": spec})


async def test_what_is_deleted_is_not_mutated(cluster: Cluster) -> None:
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
    spec = {
        "matchConstraints": {"resourceRules": [{**RULE, "operations": ["CREATE", "DELETE"]}]},
        "reinvocationPolicy": "Never",
        "mutations": [mutation],
    }
    with pytest.raises(errors.Invalid, match=r'resourceRules\[0\]\.operations: Unsupported value: "DELETE"'):
        await cluster.client().create(MUTATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}, "spec": spec})
