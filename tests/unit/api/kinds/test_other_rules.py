"""Autoscalers, certificates, storage, flow control, admission: refused with path and words of kube-apiserver."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from orchestrator.api import errors, fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.admissionregistration.policies import (
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from orchestrator.api.kinds.admissionregistration.webhook_configurations import VALIDATING_WEBHOOK_CONFIGURATION
from orchestrator.api.kinds.autoscaling import HORIZONTAL_POD_AUTOSCALER
from orchestrator.api.kinds.certificates import CERTIFICATE_SIGNING_REQUEST, validate_signer_name
from orchestrator.api.kinds.coordination import LEASE
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.flowcontrol import FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION
from orchestrator.api.kinds.scheduling import RUNTIME_CLASS
from orchestrator.api.kinds.storage import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
)
from orchestrator.api.objects import Object

CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
DESCRIBED = {"kind": "Service", "name": "s"}
VALUE = {"type": "Value", "value": "1"}
TYPES = 'supported values: "ContainerResource", "External", "Object", "Pods", "Resource"'


def shown(causes: list[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"type": "Resource", "resource": CPU}, []),
        ({"type": "Resource", "resource": CPU, "pods": {}},
         ["pods.metric.name: Required value: must specify a metric name",
          "pods.target.type: Required value: must specify a metric target type",
          'pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue',
          "pods.target.averageValue: Required value: must specify a positive target averageValue",
          "pods: Forbidden: must populate the given metric source only"]),
        ({"type": "Pods", "resource": CPU},
         ["pods: Required value: must populate information for the given metric source"]),
        ({"type": "X", "resource": CPU}, [f'type: Unsupported value: "X": {TYPES}'] * 2),
        ({"type": "Object", "object": {"describedObject": DESCRIBED, "metric": {"name": "a/b"}, "target": VALUE}},
         ['object.metric.name: Invalid value: "a/b": may not contain \'/\'']),
        ({"type": "Object", "object": {"describedObject": DESCRIBED, "metric": {"name": "a"},
                                       "target": {"type": "Value"}}},
         ["object.target.averageValue: Required value: must set either a target value or averageValue"]),
        ({"type": "External", "external": {"metric": {"name": "a"}, "target": {"type": "Value"}}},
         ["external.target.averageValue: Required value: must set either a target value for metric or a per-pod"
          " target"]),
        ({"type": "ContainerResource", "containerResource": {**CPU, "container": "A"}},
         ['containerResource.container: Invalid value: "A": a lowercase RFC 1123 label must consist of']),
    ],
)  # fmt: skip
def test_metrics(metric: dict[str, Any], expected: list[str]) -> None:
    spec = {"minReplicas": 1, "maxReplicas": 2, "scaleTargetRef": DESCRIBED, "metrics": [metric]}
    found = shown(HORIZONTAL_POD_AUTOSCALER.validate({"metadata": {"name": "x"}, "spec": spec}))
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"spec.metrics[0].{start}")


def test_status_of_an_autoscaler() -> None:
    new: Object = {"status": {"currentReplicas": -1, "desiredReplicas": 1}}
    assert shown(HORIZONTAL_POD_AUTOSCALER.validate_status_update(new, {})) == [
        "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"
    ]


def test_a_complaint_is_told_once() -> None:
    refused = errors.invalid("", "Pod", "x", [fields.required("a"), fields.required("a")])
    assert str(refused) == 'Pod "x" is invalid: a: Required value'


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com/a.b", []),
        ("example/a", ['Invalid value: "example": should be a domain with at least two segments separated by dots']),
        ("a_b.C/a", ['Invalid value: "a_b.C": validating label "a_b": a lowercase RFC 1123 label']),
        ("example.com/a..b", ['Invalid value: "a..b": validating label "": a lowercase RFC 1123 subdomain']),
        ("a/b/c", ['Invalid value: "a/b/c": must be a fully qualified domain and path']),
    ],
)
def test_signer_names(name: str, expected: list[str]) -> None:
    found = shown(validate_signer_name(name, "p"))
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"p: {start}")


APPROVED = {"type": "Approved", "status": "True"}


def pem(kind: str, body: str = "AAAA") -> str:
    return base64.b64encode(f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n".encode()).decode()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"conditions": [APPROVED]}, {"conditions": [APPROVED]}, []),
        ({}, {"conditions": [APPROVED]},
         ['status.conditions: Forbidden: updates may not add a condition of type "Approved"']),
        ({"conditions": [APPROVED]}, {},
         ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"']),
        ({"conditions": [APPROVED]}, {"conditions": [{**APPROVED, "reason": "r"}]},
         ['status.conditions: Forbidden: updates may not modify a condition of type "Approved"\n+ reason: "r"']),
        ({"certificate": "YQ=="}, {"certificate": "Yg=="},
         ["status.certificate: Forbidden: updates may not modify existing certificate content"]),
        ({}, {"certificate": "YQ=="},
         ['status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block']),
        ({}, {"certificate": pem("KEY")},
         ['status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found'
          ' "KEY"']),
        ({}, {"certificate": pem("CERTIFICATE", "a: b\n\nAAAA")},
         ['status.certificate: Invalid value: "<certificate data>": no PEM block headers are permitted']),
        ({}, {"certificate": pem("CERTIFICATE")}, ['status.certificate: Invalid value: "<certificate data>": x509']),
    ],
)  # fmt: skip
def test_statuses_of_requests(before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    validate = CERTIFICATE_SIGNING_REQUEST.validate_status_update
    found = shown(validate({"status": after}, {"status": before}))
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


ZONE = {"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}
ATTACHED = {"attacher": "d", "nodeName": "n"}
SUBJECT = {"kind": "User", "user": {"name": "u"}}


def flow(*, subject: dict[str, Any] = SUBJECT, url: str = "/", **rule: Any) -> dict[str, Any]:
    rules: dict[str, Any] = {"nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": [url]}]}
    if rule:
        rules["resourceRules"] = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, **rule}
        ]
    return {
        "matchingPrecedence": 5,
        "priorityLevelConfiguration": {"name": "p"},
        "rules": [{"subjects": [subject], **rules}],
    }


def level(**queuing: int) -> dict[str, Any]:
    return {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}


def account(name: str, namespace: str) -> dict[str, Any]:
    return {"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": namespace}}


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        (STORAGE_CLASS, {"provisioner": "a/B/c"}, ['provisioner: Invalid value: "a/b/c": a qualified name']),
        (STORAGE_CLASS, {"provisioner": "p", "allowedTopologies": [ZONE, ZONE]},
         ['allowedTopologies[1].matchLabelExpressions: Duplicate value: ""']),
        (CSI_DRIVER, {"metadata": {"name": "a" * 100}}, []),
        (CSI_DRIVER, {"spec": {"fsGroupPolicy": "X"}},
         ['spec.fsGroupPolicy: Unsupported value: "X": supported values: "File", "None", "ReadWriteOnceWithFSType"']),
        (CSI_DRIVER, {"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 2**32 + 1}]}},
         ["spec.tokenRequests[0].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger"]),
        (CSI_DRIVER, {"spec": {"nodeAllocatableUpdatePeriodSeconds": 9}},
         ["spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"]),
        (CSI_NODE, {"spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["a", "a"]}]}},
         ['spec.drivers[0]: Duplicate value: "a"']),
        (CSI_STORAGE_CAPACITY, {"storageClassName": "c", "maximumVolumeSize": "-1"}, []),
        (VOLUME_ATTACHMENT, {"spec": {**ATTACHED, "source": {"persistentVolumeName": "A"}}},
         ['spec.source.persistentVolumeName: Invalid value: "A": a lowercase RFC 1123 subdomain']),
        (VOLUME_ATTACHMENT, {"spec": {**ATTACHED, "source": {}}},
         ["spec.source: Required value: must specify exactly one of"]),
        (LEASE, {"spec": {"strategy": "X"}}, ['spec.strategy.strategy: Unsupported value: "X"']),
        (LEASE, {"spec": {"preferredHolder": "a"}},
         ["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"]),
        (RUNTIME_CLASS, {"handler": "h", "overhead": {"podFixed": {"foo": "1"}}},
         ['overhead.limits[foo]: Invalid value: "foo": must be a standard resource type or fully qualified',
          'overhead.limits[foo]: Invalid value: "foo": must be a standard resource for containers']),
        (RUNTIME_CLASS, {"handler": "h", "scheduling": {"tolerations": [
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
            {"key": "a", "operator": "Exists", "effect": "NoExecute"}]}},
         ["scheduling.tolerations[1]: Duplicate value"]),
        (FLOW_SCHEMA, {"spec": flow(clusterScope=True)}, []),
        (FLOW_SCHEMA, {"spec": flow(url="/a b")},
         ['spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a b": must not contain white-space']),
        (FLOW_SCHEMA, {"spec": flow(url="/a*")},
         ['spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*": wildcard can only do suffix']),
        (FLOW_SCHEMA, {"spec": flow(apiGroups=[])},
         ["spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one"]),
        (FLOW_SCHEMA, {"spec": flow(resources=["*", "pods"])},
         ['spec.rules[0].resourceRules[0].resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify'
          " other resources"]),
        (FLOW_SCHEMA, {"spec": flow(namespaces=["A"])},
         ['spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be']),
        (FLOW_SCHEMA, {"spec": flow(subject=account("*", "n"))}, []),
        (FLOW_SCHEMA, {"spec": flow(subject=account("A", "n"))},
         ['spec.rules[0].subjects[0].serviceAccount.name: Invalid value: "A": a lowercase RFC 1123 subdomain']),
        (FLOW_SCHEMA, {"spec": {**flow(), "distinguisherMethod": {"type": "X"}}},
         ["spec.distinguisherMethod.type: Unsupported value"]),
        (PRIORITY_LEVEL_CONFIGURATION, {"spec": level(queues=64, handSize=8)}, []),
        (PRIORITY_LEVEL_CONFIGURATION, {"spec": level(queues=1024, handSize=8)},
         ["spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 1024 and"]),
    ],
)  # fmt: skip
def test_rules(kind: Kind, obj: dict[str, Any], expected: list[str]) -> None:
    made: Object = {"metadata": {"name": "x"}, **obj}
    kind.default(made)
    found = shown(kind.validate(made))
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("kind", "new", "old", "expected"),
    [
        (STORAGE_CLASS, {"provisioner": "p", "reclaimPolicy": "Retain"}, {"provisioner": "p"},
         ["reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."]),
        (CSI_DRIVER, {"spec": {"attachRequired": False}}, {"spec": {"attachRequired": True}},
         ["spec.attachedRequired: Invalid value: false: field is immutable"]),
    ],
)  # fmt: skip
def test_updates(kind: Kind, new: dict[str, Any], old: dict[str, Any], expected: list[str]) -> None:
    assert kind.validate_update
    assert shown(kind.validate_update(new, old)) == expected


def test_status_of_an_attachment() -> None:
    spec = {**ATTACHED, "source": {"persistentVolumeName": "v"}}
    new = {"spec": spec, "status": {"attachError": {"message": "x" * 1025, "errorCode": -1}}}
    assert shown(VOLUME_ATTACHMENT.validate_status_update(new, {"spec": spec})) == [
        "status.attachError.message: Too long: may not be more than 262144 bytes",
        "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ]


def test_conditions_of_a_flow_schema() -> None:
    new = {"status": {"conditions": [{"type": "Dangling"}, {"type": "Dangling"}, {}]}}
    assert shown(FLOW_SCHEMA.validate_status_update(new, {})) == [
        'status.conditions[1].type: Duplicate value: "Dangling"',
        "status.conditions[2].type: Required value: must not be empty",
    ]


RULE = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"]}
SERVICE = {"name": "s", "namespace": "n"}


def webhook(*resources: str, path: str = "/", operations: tuple[str, ...] = ("*",)) -> dict[str, Any]:
    rule = {**RULE, "resources": list(resources or ["pods"]), "operations": list(operations)}
    config = {"service": {**SERVICE, "path": path}}
    return {
        "name": "a.b.c", "rules": [rule], "clientConfig": config, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (webhook("pods", "*/status", "pods"), []),
        (webhook("pods/*", "pods/status"),
         ['rules[0].resources[1]: Invalid value: "pods/status": if \'pods/*\' is present, must not specify']),
        (webhook("*/status", "pods/status"),
         ['rules[0].resources[1]: Invalid value: "pods/status": if \'*/status\' is present, must not specify']),
        (webhook("*", "pods"),
         ['rules[0].resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other resources']),
        (webhook("*/*", "pods/a"),
         ['rules[0].resources: Invalid value: ["*/*","pods/a"]: if \'*/*\' is present, must not specify other']),
        (webhook("", operations=("X",)),
         ['rules[0].operations[0]: Unsupported value: "X"', "rules[0].resources[0]: Required value"]),
        (webhook(path="/a//b/"),
         ['clientConfig.service.path: Invalid value: "/a//b/": segment[1] may not be empty']),
        (webhook(path="/a/B"), ['clientConfig.service.path: Invalid value: "/a/B": segment[1]: a lowercase RFC 1123']),
        (webhook(path="//"), ['clientConfig.service.path: Invalid value: "//": segment[0] may not be empty']),
    ],
)  # fmt: skip
def test_webhooks(hook: dict[str, Any], expected: list[str]) -> None:
    obj: Object = {"metadata": {"name": "x"}, "webhooks": [hook]}
    VALIDATING_WEBHOOK_CONFIGURATION.default(obj)
    found = shown(VALIDATING_WEBHOOK_CONFIGURATION.validate(obj))
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"webhooks[0].{start}")


CHECK = {"expression": "true"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"validations": [CHECK]}, []),
        ({"validations": [CHECK],
          "matchConstraints": {"resourceRules": [{**RULE, "resourceNames": ["a", "a/b", "a"]}]}},
         ['matchConstraints.resourceRules[0].resourceNames[1]: Invalid value: "a/b": may not contain \'/\'',
          'matchConstraints.resourceRules[0].resourceNames[2]: Duplicate value: "a"']),
        ({"validations": [CHECK], "paramKind": {"apiVersion": "a/b/c", "kind": "K"}},
         ['paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c']),
        ({"validations": [CHECK], "paramKind": {"apiVersion": "a/", "kind": "1"}},
         ['paramKind.apiVersion: Invalid value: "a/": version must be specified',
          'paramKind.kind: Invalid value: "1": may have mixed case, but should otherwise match: a DNS-1035 label']),
        ({"validations": [CHECK], "variables": [{"name": "if", "expression": "1"}]},
         ['variables[0].name: Invalid value: "if": name is not a valid CEL identifier']),
        ({"validations": [{**CHECK, "message": " ", "messageExpression": " ", "reason": "X"}]},
         ['validations[0].messageExpression: Invalid value: " ": must be non-empty if specified',
          'validations[0].message: Invalid value: " ": message must be non-empty if specified',
          'validations[0].reason: Unsupported value: "X": supported values: "Forbidden", "Invalid", "RequestEntity']),
        ({"validations": [{**CHECK, "message": "a\rb"}]},
         ['validations[0].message: Invalid value: "a\\rb": message must not contain line breaks']),
        ({"auditAnnotations": [{"key": "a", "valueExpression": "'b'"}, {"key": "a", "valueExpression": " "}]},
         ["auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
          'auditAnnotations[1].key: Duplicate value: "a"']),
        ({"auditAnnotations": [{"key": "-", "valueExpression": "'b'"}]},
         ['auditAnnotations[0].key: Invalid value: "x/-": name part must consist of']),
    ],
)  # fmt: skip
def test_policies(spec: dict[str, Any], expected: list[str]) -> None:
    obj: Object = {"metadata": {"name": "x"}, "spec": {"matchConstraints": {"resourceRules": [{**RULE}]}, **spec}}
    VALIDATING_ADMISSION_POLICY.default(obj)
    found = shown(VALIDATING_ADMISSION_POLICY.validate(obj))
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"spec.{start}")


def test_bindings_of_policies() -> None:
    reference = {"name": "a/b", "selector": {"matchLabels": {"": "c"}}, "parameterNotFoundAction": ""}
    spec = {"policyName": "p", "paramRef": reference, "validationActions": []}
    found = shown(VALIDATING_ADMISSION_POLICY_BINDING.validate({"metadata": {"name": "x"}, "spec": spec}))
    assert [line.partition(": ")[0] for line in found if "matchLabels" not in line] == [
        "spec.paramRef.name",
        "spec.paramRef.name",
        "spec.paramRef.selector",
        "spec.paramRef.parameterNotFoundAction",
        "spec.validationActions",
    ]
