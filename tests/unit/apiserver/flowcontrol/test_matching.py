"""Which requests the rules of a FlowSchema are about."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object, name_of
from orchestrator.apiserver.flowcontrol.matching import Digest, precedence, rule_matches

PODS = {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}
EVERYBODY = [{"kind": "Group", "group": {"name": "*"}}]
BOB = Digest("bob", ("staff",), "list", "", "", "pods", "a")
ACCOUNT = BOB._replace(user="system:serviceaccount:web:runner", groups=("system:serviceaccounts",))


@pytest.mark.parametrize(
    ("subject", "digest", "expected"),
    [
        ({"kind": "User", "user": {"name": "bob"}}, BOB, True),
        ({"kind": "User", "user": {"name": "*"}}, BOB, True),
        ({"kind": "User", "user": {"name": "eve"}}, BOB, False),
        ({"kind": "Group", "group": {"name": "staff"}}, BOB, True),
        ({"kind": "Group", "group": {"name": "bob"}}, BOB, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "web", "name": "runner"}}, ACCOUNT, True),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "web", "name": "*"}}, ACCOUNT, True),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "we", "name": "*"}}, ACCOUNT, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "web", "name": "other"}}, ACCOUNT, False),
    ],
)
def test_subjects(subject: dict[str, Any], digest: Digest, expected: bool) -> None:
    assert rule_matches({"subjects": [subject], "resourceRules": [PODS]}, digest) is expected


@pytest.mark.parametrize(
    ("change", "digest", "expected"),
    [
        ({}, BOB, True),
        ({}, BOB._replace(verb="get"), False),
        ({"verbs": ["*"]}, BOB._replace(verb="get"), True),
        ({}, BOB._replace(group="apps"), False),
        ({}, BOB._replace(resource="pods/log"), False),
        ({"resources": ["pods/log"]}, BOB._replace(resource="pods/log"), True),
        ({}, BOB._replace(namespace="b"), False),
        ({"namespaces": ["*"]}, BOB._replace(namespace="b"), True),
        ({"namespaces": ["*"]}, BOB._replace(namespace=""), False),
        ({"clusterScope": True}, BOB._replace(namespace=""), True),
        ({"clusterScope": True}, BOB._replace(path="/version"), False),
    ],
)
def test_resource_rules(change: dict[str, Any], digest: Digest, expected: bool) -> None:
    assert rule_matches({"subjects": EVERYBODY, "resourceRules": [PODS | change]}, digest) is expected


@pytest.mark.parametrize(
    ("urls", "path", "expected"),
    [
        (["/healthz"], "/healthz", True),
        (["/healthz"], "/healthz/ping", False),
        (["/healthz/*"], "/healthz/ping", True),
        (["*"], "/anything", True),
    ],
)
def test_paths(urls: list[str], path: str, expected: bool) -> None:
    rule = {"subjects": EVERYBODY, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": urls}]}
    assert rule_matches(rule, Digest("bob", (), "get", path)) is expected
    assert not rule_matches(rule, Digest("bob", (), "post", path))


def test_order_of_precedence() -> None:
    def schema(name: str, number: int) -> Object:
        return {"metadata": {"name": name}, "spec": {"matchingPrecedence": number}}

    schemas = [schema("b", 9), schema("z", 8), schema("a", 9)]
    assert [name_of(one) for one in sorted(schemas, key=precedence)] == ["z", "a", "b"]
