"""RBAC, reviews, escalation and node restriction through a running API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SERVICE_ACCOUNTS,
    SUBJECT_ACCESS_REVIEWS,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

GROUP = "rbac.authorization.k8s.io"
API = f"{GROUP}/v1"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as cluster:
        yield cluster


def binding(name: str, role: str, user: str, *, namespace: str = "") -> Object:
    metadata: Object = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": API,
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": GROUP, "name": user}],
    }


async def test_a_binding_counts_for_the_next_request(cluster: Cluster) -> None:
    admin, bob = cluster.client(), cluster.client("bob", ())
    with pytest.raises(errors.Forbidden) as refused:
        await bob.list(PODS, "default")
    assert refused.value.message == (
        'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    await admin.create(ROLE_BINDINGS, binding("bob", "view", "bob", namespace="default"))
    assert (await bob.list(PODS, "default"))["items"] == []
    assert (await bob.get(NAMESPACES, "default"))["metadata"]["name"] == "default"
    with pytest.raises(errors.Forbidden):
        await bob.list(PODS, "kube-system")
    with pytest.raises(errors.Forbidden):
        await bob.get(NAMESPACES, "kube-system")
    await admin.delete(ROLE_BINDINGS, "bob", "default")
    with pytest.raises(errors.Forbidden):
        await bob.list(PODS, "default")


async def test_nobody_grants_what_he_does_not_have(cluster: Cluster) -> None:
    admin, bob = cluster.client(), cluster.client("bob", ())
    await admin.create(ROLE_BINDINGS, binding("bob", "admin", "bob", namespace="default"))
    await bob.create(ROLE_BINDINGS, binding("eve", "view", "eve", namespace="default"))
    role: dict[str, Any] = {
        "apiVersion": API,
        "kind": "Role",
        "metadata": {"name": "nodes", "namespace": "default"},
        "rules": [{"verbs": ["get", "list"], "apiGroups": ["example.com"], "resources": ["things"]}],
    }
    with pytest.raises(errors.Forbidden) as refused:
        await bob.create(ROLES, role)
    assert refused.value.message == (
        'roles.rbac.authorization.k8s.io "nodes" is forbidden: user "bob" (groups=["system:authenticated"]) is'
        " attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:["example.com"], Resources:["things"], Verbs:["get" "list"]}'
    )
    with pytest.raises(errors.Forbidden, match="not currently held"):
        await bob.create(ROLE_BINDINGS, binding("root", "cluster-admin", "bob", namespace="default"))
    with pytest.raises(errors.NotFound):
        await bob.create(ROLE_BINDINGS, binding("none", "nosuch", "bob", namespace="default"))
    bind = {"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]}
    await admin.create(
        CLUSTER_ROLES, {"apiVersion": API, "kind": "ClusterRole", "metadata": {"name": "binder"}, "rules": [bind]}
    )
    await admin.create(CLUSTER_ROLE_BINDINGS, binding("binder", "binder", "bob"))
    await bob.create(ROLE_BINDINGS, binding("root", "cluster-admin", "bob", namespace="default"))


async def test_reviews(cluster: Cluster) -> None:
    admin, bob = cluster.client(), cluster.client("bob", ("team",))
    await admin.create(CLUSTER_ROLE_BINDINGS, binding("bob", "view", "bob"))
    attributes = {"namespace": "default", "verb": "get", "resource": "pods"}
    own = await bob.create(SELF_SUBJECT_ACCESS_REVIEWS, {"spec": {"resourceAttributes": attributes}})
    assert own["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by ClusterRoleBinding "bob" of ClusterRole "view" to User "bob"',
    }
    spec = {"user": "eve", "groups": ["team"], "resourceAttributes": attributes}
    with pytest.raises(errors.Forbidden):
        await bob.create(SUBJECT_ACCESS_REVIEWS, {"spec": spec})
    assert (await admin.create(SUBJECT_ACCESS_REVIEWS, {"spec": spec}))["status"] == {"allowed": False}
    who = await bob.create(SELF_SUBJECT_REVIEWS, {})
    assert who["status"]["userInfo"] == {"username": "bob", "groups": ["team", "system:authenticated"]}


async def test_a_node_is_kept_to_itself(cluster: Cluster) -> None:
    node = cluster.client("system:node:n1", ("system:nodes",))
    mine: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    await node.create(NODES, mine)
    with pytest.raises(errors.Forbidden, match='node "n1" is not allowed to modify node "n2"'):
        await node.create(NODES, {**mine, "metadata": {"name": "n2"}})
    current = await node.get(NODES, "n1")
    tainted = {**current, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}
    with pytest.raises(errors.Forbidden, match="is not allowed to modify taints"):
        await node.update(NODES, tainted)
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await cluster.client().create(SERVICE_ACCOUNTS, account, "default")
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    with pytest.raises(errors.Forbidden, match="can only create mirror pods"):
        await node.create(PODS, pod)
