"""Mutations of MutatingAdmissionPolicies: what an expression makes of an object."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.kinds.apps.deployment import DEPLOYMENT
from orchestrator.api.objects import Object
from orchestrator.api.structural.cel.object_literals import without_types
from orchestrator.apiserver.admission.expressions import ExpressionError
from orchestrator.apiserver.admission.mutating_policy import plan_mutation


@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("Object{}", "{}"),
        ("Object{spec: Object.spec{replicas: 3}}", '{"spec": {"replicas": 3}}'),
        ("[JSONPatch{op: 'add', path: '/a', value: x}]", '[{"op": \'add\', "path": \'/a\', "value": x}]'),
        ("Object.spec {?replicas: optional.none()}", '{?"replicas": optional.none()}'),
        ("has(object.a) ? Object{a: b ? c : d} : Object{}", 'has(object.a) ? {"a": b ? c : d} : {}'),
        ("Object{a: {'k': v}, b: [x, y]}", '{"a": {\'k\': v}, "b": [x, y]}'),
        ("'Object{a: 1}'", "'Object{a: 1}'"),
        ("object.Object", "object.Object"),
        ("Object{ // Object{\n a: 1}", '{ // Object{\n "a": 1}'),
        ("Object{a: f(x, y)}", '{"a": f(x, y)}'),
    ],
)
def test_typed_literals_become_maps(expression: str, plain: str) -> None:
    assert without_types(expression) == plain


def deployment() -> Object:
    container = {"name": "c", "image": "nginx"}
    obj: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [container]}}},
    }
    DEPLOYMENT.default(obj)
    return obj


def mutated(expression: str, *, patch_type: str = "ApplyConfiguration", **spec: Any) -> Object:
    obj = deployment()
    key = "jsonPatch" if patch_type == "JSONPatch" else "applyConfiguration"
    mutation = {"patchType": patch_type, key: {"expression": expression}}
    variables = {
        "object": obj,
        "oldObject": None,
        "params": {"data": {"n": "7"}},
        "request": {},
        "namespaceObject": None,
    }
    return plan_mutation(DEPLOYMENT, spec, mutation, variables, obj)


def test_a_configuration_is_merged_as_apply_merges() -> None:
    fresh = mutated(
        "Object{metadata: Object.metadata{labels: {'x': 'y'}}, spec: Object.spec{replicas: int(params.data.n),"
        " template: Object.spec.template{spec: Object.spec.template.spec{containers: ["
        "Object.spec.template.spec.containers{name: 'sidecar', image: 'busybox'}]}}}}"
    )
    assert fresh["metadata"]["labels"] == {"a": "b", "x": "y"}
    assert fresh["spec"]["replicas"] == 7
    containers = fresh["spec"]["template"]["spec"]["containers"]
    assert {container["name"]: container["terminationMessagePolicy"] for container in containers} == {
        "c": "File",
        "sidecar": "File",  # with the defaults of any container
    }


def test_a_json_patch_is_a_list_of_operations() -> None:
    fresh = mutated(
        "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'add',"
        " path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/x'), value: 'y'}]",
        patch_type="JSONPatch",
    )
    assert fresh["metadata"]["labels"] == {"a": "b", "example.com/x": "y"}


def test_variables_are_there() -> None:
    fresh = mutated(
        "Object{spec: Object.spec{replicas: variables.wanted}}",
        variables=[{"name": "wanted", "expression": "object.spec.replicas + 1"}],
    )
    assert fresh["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("expression", "patch_type", "why"),
    [
        ("Object{spec: Object.spec{nosuch: 1}}", "ApplyConfiguration", "nosuch"),
        ("Object{spec: Object.spec{replicas: 'x'}}", "ApplyConfiguration", "replicas"),
        ("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'x': 'y'}}}}", "ApplyConfiguration",
         "may not mutate atomic arrays, maps or structs: .spec.selector"),
        ("1", "ApplyConfiguration", "must evaluate to an Object"),
        ("object.nosuch", "ApplyConfiguration", "no such key"),
        ("variables.broken", "ApplyConfiguration", "no such key: gone"),
        ("{'op': 'add'}", "JSONPatch", "list of JSONPatch"),
        ("[JSONPatch{op: 'test', path: '/spec/replicas', value: 9}]", "JSONPatch", "JSON Patch"),
        ("[JSONPatch{op: 'replace', path: '/spec/replicas', value: 'x'}]", "JSONPatch", "not valid"),
    ],
)  # fmt: skip
def test_what_cannot_be_made(expression: str, patch_type: str, why: str) -> None:
    broken = [{"name": "broken", "expression": "object.gone"}]
    with pytest.raises(ExpressionError) as error:
        mutated(expression, patch_type=patch_type, variables=broken)
    assert why in str(error.value)
