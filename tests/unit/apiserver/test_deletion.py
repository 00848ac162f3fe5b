"""Which finalizers a deletion leaves, and which kinds differ from all others in how they come and go."""

from __future__ import annotations

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.apiserver.deletion import DeleteOptions, parse_delete_options, plan_finalizers

KINDS = {kind.resource.group_resource: kind for kind in builtin_kinds()}
LEAVES = {"events", "events.events.k8s.io"}
ORPHANING = {"jobs.batch", "replicationcontrollers"}
MADE_BY_PUT = {
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "endpoints",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "limitranges",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "runtimeclasses.node.k8s.io",
    "services",
}


def test_only_a_few_kinds_are_made_by_put() -> None:
    assert {name for name, kind in KINDS.items() if kind.create_on_update} == MADE_BY_PUT


@pytest.mark.parametrize("name", KINDS)
def test_finalizers_follow_the_propagation_policy(name: str) -> None:
    def finalizers(policy: str, *existing: str) -> list[str]:
        return plan_finalizers(KINDS[name], list(existing), DeleteOptions(propagation_policy=policy))

    is_leaf = name in LEAVES
    assert finalizers("", "a") == (["a", "orphan"] if name in ORPHANING else ["a"])
    assert finalizers("Foreground", "a") == (["a"] if is_leaf else ["a", "foregroundDeletion"])
    assert finalizers("Orphan", "a", "foregroundDeletion") == (["a"] if is_leaf else ["a", "orphan"])
    assert finalizers("Background", "a", "foregroundDeletion", "orphan") == ["a"]


def test_a_body_is_all_that_counts() -> None:
    query = {"gracePeriodSeconds": "5", "propagationPolicy": "Orphan", "dryRun": "All"}
    assert parse_delete_options(None, query) == DeleteOptions(5, propagation_policy="Orphan", dry_run=True)
    assert parse_delete_options({}, query) == DeleteOptions()
    assert parse_delete_options({"orphanDependents": False}, query) == DeleteOptions(propagation_policy="Background")
