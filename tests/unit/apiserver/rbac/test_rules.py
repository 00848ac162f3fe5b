"""What rules allow, what they cover, and how missing ones are shown."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.apiserver.rbac.rules import compact, compile_rule, compile_rules, describe, uncovered, url_matches

PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}
NAMED = {"verbs": ["update"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["only"]}
SCALES = {"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}
ALL = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}


@pytest.mark.parametrize(
    ("rule", "asked", "allowed"),
    [
        (PODS, ("get", "", "pods", "", "a"), True),
        (PODS, ("get", "", "pods", "log", "a"), True),
        (PODS, ("get", "", "pods", "exec", "a"), False),
        (PODS, ("delete", "", "pods", "", "a"), False),
        (PODS, ("get", "apps", "pods", "", "a"), False),
        (NAMED, ("update", "", "configmaps", "", "only"), True),
        (NAMED, ("update", "", "configmaps", "", "other"), False),
        (NAMED, ("update", "", "configmaps", "", ""), False),
        (SCALES, ("get", "apps", "deployments", "scale", "d"), True),
        (SCALES, ("get", "apps", "deployments", "", "d"), False),
        (ALL, ("anything", "any.group", "things", "sub", "x"), True),
    ],
)
def test_a_rule_allows(rule: dict[str, Any], asked: tuple[str, str, str, str, str], allowed: bool) -> None:
    assert compile_rule(rule).allows_resource(*asked) is allowed


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/version", "/version", True),
        ("/version", "/version/", False),
        ("/apis/*", "/apis/apps", True),
        ("/apis/*", "/apis", False),
        ("/api*", "/apis", True),
        ("*", "/anything", True),
    ],
)
def test_paths_match_exactly_or_by_prefix(pattern: str, path: str, matches: bool) -> None:
    assert url_matches(pattern, path) is matches


@pytest.mark.parametrize(
    ("owned", "wanted", "missing"),
    [
        ([PODS], PODS, []),
        ([ALL], PODS, []),
        ([PODS], {**PODS, "verbs": ["get"]}, []),
        ([PODS], {**PODS, "resourceNames": ["a"]}, []),
        (
            [{**PODS, "resourceNames": ["a"]}],
            PODS,
            ['{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
             '{APIGroups:[""], Resources:["pods/log"], Verbs:["get" "list"]}'],
        ),
        ([PODS], ALL, ['{APIGroups:["*"], Resources:["*"], Verbs:["*"]}']),
        (
            [{**PODS, "verbs": ["get"]}],
            PODS,
            ['{APIGroups:[""], Resources:["pods"], Verbs:["list"]}',
             '{APIGroups:[""], Resources:["pods/log"], Verbs:["list"]}'],
        ),
        ([SCALES], {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}, []),
        (
            [{"verbs": ["get"], "nonResourceURLs": ["/apis/*"]}],
            {"verbs": ["get"], "nonResourceURLs": ["/apis/x*", "/api"]},
            ['{NonResourceURLs:["/api"], Verbs:["get"]}'],
        ),
        ([], NAMED, ['{APIGroups:[""], Resources:["configmaps"], ResourceNames:["only"], Verbs:["update"]}']),
    ],
)  # fmt: skip
def test_missing_permissions_are_named(owned: list[dict[str, Any]], wanted: dict[str, Any], missing: list[str]) -> None:
    assert [describe(rule) for rule in compact(uncovered(compile_rules(owned), [wanted]))] == missing


def test_verbs_of_several_rules_cover_together() -> None:
    owned = compile_rules([{**PODS, "verbs": ["get"]}, {**PODS, "verbs": ["list"]}])
    assert uncovered(owned, [PODS]) == []
