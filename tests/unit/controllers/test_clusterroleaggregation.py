"""Rules of aggregated roles."""

from __future__ import annotations

from typing import Any

from orchestrator.controllers.clusterroleaggregation import plan_rules


def role(name: str, *rules: str, selects: str = "", **labels: str) -> dict[str, Any]:
    obj: dict[str, Any] = {"metadata": {"name": name, "labels": labels}, "rules": [{"resources": [r]} for r in rules]}
    if selects:
        obj["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {selects: "true"}}]}
    return obj


def test_selected_roles_by_name_each_rule_once_never_itself() -> None:
    admin = role("admin", "old", selects="to-admin", **{"to-admin": "true"})
    roles = [
        admin,
        role("b", "pods", "jobs", **{"to-admin": "true"}),
        role("a", "pods", **{"to-admin": "true"}),
        role("c", "nodes"),
    ]
    assert plan_rules(admin, roles) == [{"resources": ["pods"]}, {"resources": ["jobs"]}]
