"""Which writes rules and selectors of webhooks and policies are about."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.registry import Registry
from orchestrator.apiserver.admission.equivalence import match_kind, match_resources, seen_as, take_back
from orchestrator.apiserver.admission.expressions import request_of
from orchestrator.apiserver.admission.matching import (
    matches_namespace,
    matches_object,
    matches_rules,
)
from orchestrator.apiserver.admission.plugin import Attributes
from orchestrator.apiserver.admission.webhooks import WebhookDenied, verdict_of
from orchestrator.apiserver.user import User
from orchestrator.apiserver.webhook_client import WebhookFailed

REGISTRY = Registry(builtin_kinds())


def write(
    plural: str = "pods", *, group: str = "", operation: Any = "CREATE", subresource: str = "", **labels: str
) -> Attributes:
    kind = REGISTRY.by_path(group, "v1", plural)
    assert kind is not None
    obj = {"metadata": {"name": "x", "labels": labels}}
    namespace = "web" if kind.resource.namespaced else ""
    return Attributes(operation, kind, namespace, "x", subresource, obj, None, User("bob"), False)


def rule(**fields: Any) -> dict[str, Any]:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "*"}
    return {**everything, **fields}


@pytest.mark.parametrize(
    ("given", "attributes", "matches"),
    [
        (rule(), write(), True),
        (rule(operations=["UPDATE"]), write(), False),
        (rule(apiGroups=["apps"]), write(), False),
        (rule(apiGroups=["apps"]), write("deployments", group="apps"), True),
        (rule(resources=["pods"]), write(), True),
        (rule(resources=["pods"]), write(subresource="status"), False),
        (rule(resources=["pods/status"]), write(subresource="status"), True),
        (rule(resources=["pods/*"]), write(subresource="status"), True),
        (rule(resources=["*/status"]), write("services", subresource="status"), True),
        (rule(resources=["*"]), write("services", subresource="status"), False),
        (rule(resourceNames=["y"]), write(), False),
        (rule(scope="Cluster"), write("nodes"), True),
        (rule(scope="Cluster"), write(), False),
        (rule(scope="Namespaced"), write("nodes"), False),
    ],
)
def test_rules(given: dict[str, Any], attributes: Attributes, matches: bool) -> None:
    assert matches_rules([given], attributes) is matches


def test_selectors() -> None:
    web = {"metadata": {"name": "web", "labels": {"team": "a"}}}
    wanted = {"matchLabels": {"team": "a"}}
    assert matches_namespace(wanted, write(), web)
    assert not matches_namespace({"matchLabels": {"team": "b"}}, write(), web)
    assert matches_namespace(wanted, write("nodes"), None)
    assert not matches_namespace(wanted, write("namespaces"), None)
    assert matches_namespace(wanted, write("namespaces", team="a"), None)
    assert matches_object(wanted, write(team="a"))
    assert not matches_object(wanted, write())


def test_excluded_resources() -> None:
    constraints = {"resourceRules": [rule()], "excludeResourceRules": [rule(resources=["pods"])]}
    assert match_resources(constraints, write("services"), None, REGISTRY) is not None
    assert match_resources(constraints, write(), None, REGISTRY) is None
    assert match_resources(None, write(), None, REGISTRY) is not None
    constraints = {"resourceRules": [rule(resources=["horizontalpodautoscalers"], apiVersions=["v2"])]}
    scaler = write("horizontalpodautoscalers", group="autoscaling")
    assert match_resources({**constraints, "matchPolicy": "Exact"}, scaler, None, REGISTRY) is None
    matched = match_resources(constraints, scaler, None, REGISTRY)
    assert matched is not None
    assert matched.resource.version == "v2"


async def test_an_equivalent_rule_sees_the_object_in_its_own_version() -> None:
    scaler = write("horizontalpodautoscalers", group="autoscaling")
    scaler.obj |= {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "x"}, "targetCPUUtilizationPercentage": 50},
    }
    rules = [rule(apiVersions=["v2"], apiGroups=["autoscaling"])]
    kind = match_kind(rules, "Equivalent", scaler, REGISTRY)
    assert kind is not None
    seen = await seen_as(scaler, kind)
    assert seen.obj["apiVersion"] == "autoscaling/v2"
    assert seen.obj["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    request = request_of(seen, "u")
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v2", "v1")
    assert (request["resource"]["version"], request["requestResource"]["version"]) == ("v2", "v1")
    seen.obj["spec"]["maxReplicas"] = 4
    await take_back(scaler, seen)
    assert scaler.obj["apiVersion"] == "autoscaling/v1"
    assert scaler.obj["spec"]["maxReplicas"] == 4
    assert scaler.obj["spec"]["targetCPUUtilizationPercentage"] == 50


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ({}, 400, 'admission webhook "h" denied the request without explanation'),
        ({"message": "no", "code": 403, "reason": "Forbidden"}, 403, 'admission webhook "h" denied the request: no'),
        ({"reason": "Because", "code": 200}, 400, 'admission webhook "h" denied the request: Because'),
    ],
)
def test_denials(status: dict[str, Any], code: int, message: str) -> None:
    answer = review({"uid": "u", "allowed": False, "status": status})
    with pytest.raises(WebhookDenied) as denied:
        verdict_of("h", "u", answer)
    assert (denied.value.code, denied.value.message) == (code, message)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "other", "allowed": True}},
        {
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": "u", "allowed": True, "patch": "W10="},
        },
    ],
)
def test_answers_that_make_no_sense(answer: dict[str, Any]) -> None:
    with pytest.raises(WebhookFailed):
        verdict_of("h", "u", answer)


def review(response: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}
