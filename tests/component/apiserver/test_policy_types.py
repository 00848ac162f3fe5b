"""What is known of an admission policy's expressions when it is written: that they compile, and fit their kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    MUTATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICIES,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import eventually, running_cluster

API = "admissionregistration.k8s.io/v1"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as running:
        yield running


def rule(group: str, plural: str, *versions: str) -> dict[str, Any]:
    versions = versions or ("v1",)
    return {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": list(versions), "resources": [plural]}


async def checked(cluster: Cluster, *validations: dict[str, str], rules: list[Any], **spec: Any) -> list[Object]:
    """The warnings of a policy, once its generation was checked."""
    spec = {"matchConstraints": {"resourceRules": rules}, "validations": list(validations), **spec}
    policy = {"apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec}
    await cluster.client().create(VALIDATING_ADMISSION_POLICIES, policy)

    def is_checked(policies: list[Object]) -> bool:
        return any(name_of(one) == "p" and "typeChecking" in (one.get("status") or {}) for one in policies)

    found = await eventually(cluster.client(), VALIDATING_ADMISSION_POLICIES, is_checked)
    assert found[0]["status"]["observedGeneration"] == 1
    return list(found[0]["status"]["typeChecking"].get("expressionWarnings") or ())


async def test_expressions_that_fit_leave_no_warnings(cluster: Cluster) -> None:
    fits = {
        "expression": "object.spec.replicas > 1 && object.metadata.labels.all(k, k != '') && request.operation == ''",
        "messageExpression": "'got ' + string(object.spec.replicas) + variables.first.image",
    }
    variables = [{"name": "first", "expression": "object.spec.template.spec.containers[0]"}]
    assert await checked(cluster, fits, rules=[rule("apps", "deployments")], variables=variables) == []


async def test_expressions_that_cannot_be_right_are_named_with_their_kind(cluster: Cluster) -> None:
    confused = {
        "expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
    }
    warnings = await checked(cluster, confused, rules=[rule("apps", "deployments"), rule("apps", "replicasets")])
    assert [one["fieldRef"] for one in warnings] == [
        "spec.validations[0].expression",
        "spec.validations[0].messageExpression",
    ]
    complaint = "ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"
    assert warnings[0]["warning"].splitlines() == [
        f"apps/v1, Kind=Deployment: {complaint}",
        " | object.spec.replicas > '1'",
        " | .....................^",
        "",
        f"apps/v1, Kind=ReplicaSet: {complaint}",
        " | object.spec.replicas > '1'",
        " | .....................^",
    ]
    assert "found no matching overload for '_+_' applied to '(string, int)'" in warnings[1]["warning"]


async def test_wildcards_say_nothing_about_types(cluster: Cluster) -> None:
    anything = {"expression": "object.spec.replicas > '1'"}
    rules = [rule("apps", "*"), rule("apps", "deployments/scale"), rule("apps", "deployments", "*")]
    assert await checked(cluster, anything, rules=rules) == []


async def test_custom_kinds_are_checked_by_their_schemas_also_as_parameters(cluster: Cluster) -> None:
    sizes = {"type": "object", "additionalProperties": {"type": "integer"}}
    spec = {"type": "object", "properties": {"size": {"type": "integer"}, "sizes": sizes}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }
    await cluster.client().create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    warnings = await checked(
        cluster,
        {"expression": "object.spec.size == 1 && object.spec.sizes['a'] > 1 && params.spec.size > 0"},
        {"expression": "object.spec.colour == 'red'"},
        {"expression": "params.spec.size == 'big'"},
        {"expression": "object.metadata.name.startsWith('x')"},
        rules=[rule("example.com", "gadgets")],
        paramKind={"apiVersion": "example.com/v1", "kind": "Gadget"},
    )
    assert [one["fieldRef"] for one in warnings] == ["spec.validations[1].expression", "spec.validations[2].expression"]
    assert "undefined field 'colour'" in warnings[0]["warning"]
    assert "applied to '(int, string)'" in warnings[1]["warning"]


async def refused(cluster: Cluster, spec: dict[str, Any], *, mutating: bool = False) -> dict[str, str]:
    """Field → message of a policy that is not accepted."""
    kind, resource = "ValidatingAdmissionPolicy", VALIDATING_ADMISSION_POLICIES
    if mutating:
        kind, resource = "MutatingAdmissionPolicy", MUTATING_ADMISSION_POLICIES
    constraints = {"matchConstraints": {"resourceRules": [rule("apps", "deployments")]}}
    obj = {"apiVersion": API, "kind": kind, "metadata": {"name": "p"}, "spec": constraints | spec}
    with pytest.raises(errors.Invalid) as invalid:
        await cluster.client().create(resource, obj)
    return {cause.field: cause.message for cause in invalid.value.causes}


async def test_types_that_are_known_are_checked_when_a_policy_is_written(cluster: Cluster) -> None:
    spec = {
        "variables": [{"name": "count", "expression": "size(request.name)"}, {"name": "bad", "expression": "nothing"}],
        "matchConditions": [{"name": "a", "expression": "1 + 1"}],
        "validations": [
            {"expression": "variables.count > 'x'"},
            {"expression": "variables.other"},
            {"expression": "request.colour == ''", "messageExpression": "variables.count"},
            {"expression": "object.anything.goes"},
            {"expression": "variables.count"},
        ],
        "auditAnnotations": [{"key": "a", "valueExpression": "1"}],
    }
    found = await refused(cluster, spec)
    shown = {field: message.splitlines()[0].partition(": ")[2] for field, message in found.items()}
    start = "compilation failed: ERROR: <input>:"
    assert shown == {
        "spec.matchConditions[0].expression": '"1 + 1": must evaluate to bool',
        "spec.variables[1].expression": f"\"nothing\": {start}1:1: undeclared reference to 'nothing' (in container '')",
        "spec.validations[0].expression": f"\"variables.count > 'x'\": {start}1:17: found no matching overload for"
        " '_>_' applied to '(int, string)'",
        "spec.validations[1].expression": f"\"variables.other\": {start}1:10: undefined field 'other'",
        "spec.validations[2].expression": f"\"request.colour == ''\": {start}1:8: undefined field 'colour'",
        "spec.validations[2].messageExpression": '"variables.count": must evaluate to string',
        "spec.validations[4].expression": '"variables.count": must evaluate to bool',
        "spec.auditAnnotations[0].valueExpression": '"1": must evaluate to one of [string null_type]',
    }


async def test_mutations_are_compiled_when_they_are_written(cluster: Cluster) -> None:
    def apply(text: str) -> dict[str, Any]:
        return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}

    def patch(text: str) -> dict[str, Any]:
        return {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}

    mutations = [
        apply("Object{spec: Object.spec{replicas: variables.wanted}}"),
        apply("Object{spec: Object.spec{replicas: nothing}}"),
        apply("1"),
        patch("[JSONPatch{op: 'remove', path: '/spec'}]"),
        patch("JSONPatch{op: 'remove', path: '/spec'}"),
        patch("[JSONPatch{"),
    ]
    spec = {"mutations": mutations, "reinvocationPolicy": "Never", "variables": [{"name": "wanted", "expression": "2"}]}
    found = await refused(cluster, spec, mutating=True)
    assert list(found) == [
        "spec.mutations[1].applyConfiguration.expression",
        "spec.mutations[2].applyConfiguration.expression",
        "spec.mutations[4].jsonPatch.expression",
        "spec.mutations[5].jsonPatch.expression",
    ]
    texts = list(found.values())
    assert "undeclared reference to 'nothing'" in texts[0]
    assert texts[1] == 'Invalid value: "1": must evaluate to Object'
    assert texts[2].endswith("must evaluate to list(JSONPatch)")
    assert "compilation failed: ERROR: <input>:" in texts[3]
