"""The node authorizer: what a kubelet may read because of its pods, and what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.apiserver.admission.node_restriction import forbidden_labels
from orchestrator.apiserver.authorizer import Attributes, Decision
from orchestrator.apiserver.node.authorizer import NodeAuthorizer
from orchestrator.apiserver.node.graph import NodeGraph, references_of
from orchestrator.apiserver.user import User
from orchestrator.store import Key, MvccStore

NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "web", "uid": "u"},
    "spec": {
        "nodeName": "n1",
        "serviceAccountName": "runner",
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
        "containers": [
            {"name": "c", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x"}}}]}
        ],
        "volumes": [
            {"name": "s", "secret": {"secretName": "tls"}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
        ],
    },
}


def ask(verb: str, resource: str, name: str = "", **fields: str) -> Attributes:
    fields.setdefault("namespace", "web")
    return Attributes(NODE, verb, resource=resource, name=name, **fields)


async def authorizer() -> tuple[MvccStore, NodeAuthorizer]:
    store = MvccStore(clock=SystemClock())
    await store.create(Key("pods", "web", "p"), {**POD})
    return store, NodeAuthorizer(NodeGraph(store))


def test_references_of_a_pod() -> None:
    assert set(references_of(POD)) == {
        ("serviceaccounts", "runner"),
        ("secrets", "pull"),
        ("secrets", "init"),
        ("secrets", "tls"),
        ("configmaps", "settings"),
        ("configmaps", "kube-root-ca.crt"),
        ("persistentvolumeclaims", "data"),
        ("persistentvolumeclaims", "p-e"),
    }


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (ask("get", "secrets", "tls"), None),
        (ask("watch", "configmaps", "settings"), None),
        (ask("get", "secrets", "tls", namespace="other"), "no relationship found between node 'n1' and this object"),
        (ask("get", "secrets", "foreign"), "no relationship found between node 'n1' and this object"),
        (ask("list", "secrets"), "No Object name found"),
        (ask("update", "secrets", "tls"), "can only read resources of this type"),
        (ask("create", "serviceaccounts", "runner", subresource="token"), None),
        (ask("create", "serviceaccounts", "other", subresource="token"),
         "no relationship found between node 'n1' and this object"),
        (ask("create", "serviceaccounts"), "can only create tokens for individual service accounts"),
        (ask("get", "persistentvolumeclaims", "data"), None),
        (ask("list", "persistentvolumeclaims"), "can only get individual resources of this type"),
        (ask("get", "pods", "p"), None),
        (ask("get", "pods", "q"), "no relationship found between node 'n1' and this object"),
        (ask("list", "pods", namespace="", field_selector="spec.nodeName=n1"), None),
        (ask("list", "pods", namespace="", field_selector="spec.nodeName=n2"),
         "can only list/watch pods with spec.nodeName field selector"),
        (ask("patch", "pods", "p", subresource="status"), None),
        (ask("get", "nodes", "n1", namespace=""), None),
        (ask("get", "nodes", "n2", namespace=""), "node 'n1' cannot read 'n2', only its own Node object"),
        (ask("list", "nodes", namespace=""), "node 'n1' cannot read all nodes, only its own Node object"),
        (ask("update", "leases", "n1", namespace="kube-node-lease", group="coordination.k8s.io"), None),
        (ask("update", "leases", "n2", namespace="kube-node-lease", group="coordination.k8s.io"),
         "can only access node lease with the same name as the requesting node"),
        (ask("list", "services", namespace=""), None),
        (ask("delete", "services", "s"), ""),
    ],
)  # fmt: skip
async def test_what_a_node_may_do(asked: Attributes, reason: str | None) -> None:
    """`reason` None: allowed."""
    _, checked = await authorizer()
    wanted = (Decision.ALLOW, "") if reason is None else (Decision.NO_OPINION, reason)
    assert checked.authorize(asked) == wanted


async def test_what_a_node_may_read_goes_with_its_pods() -> None:
    store, checked = await authorizer()
    assert checked.authorize(ask("get", "secrets", "tls"))[0] is Decision.ALLOW
    await store.delete(Key("pods", "web", "p"))
    assert checked.authorize(ask("get", "secrets", "tls"))[0] is Decision.NO_OPINION
    await store.create(Key("pods", "web", "q"), {**POD, "spec": {**POD["spec"], "nodeName": "n2"}})
    assert checked.authorize(ask("get", "secrets", "tls"))[0] is Decision.NO_OPINION


async def test_volumes_are_read_through_claims() -> None:
    store, checked = await authorizer()
    claimed = {"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "web", "name": "data"}}}
    await store.create(Key("persistentvolumes", "", "pv"), claimed)
    assert checked.authorize(ask("get", "persistentvolumes", "pv", namespace=""))[0] is Decision.ALLOW
    assert checked.authorize(ask("get", "persistentvolumes", "pw", namespace=""))[0] is Decision.NO_OPINION


async def test_others_are_none_of_its_business() -> None:
    _, checked = await authorizer()
    for user in (User("bob"), User("system:node:n1", groups=("other",))):
        attributes = Attributes(user, "get", resource="secrets", namespace="web", name="tls")
        assert checked.authorize(attributes) == (Decision.NO_OPINION, "")


@pytest.mark.parametrize(
    ("key", "is_forbidden"),
    [
        ("kubernetes.io/hostname", False),
        ("foo.kubernetes.io/x", True),
        ("x.k8s.io/y", True),
        ("node.kubernetes.io/anything", False),
        ("sub.kubelet.kubernetes.io/anything", False),
        ("node-restriction.kubernetes.io/x", True),
        ("topology.kubernetes.io/zone", False),
        ("example.com/x", False),
        ("plain", False),
    ],
)
def test_labels_of_kubernetes_are_not_the_kubelets(key: str, is_forbidden: bool) -> None:
    assert (key in forbidden_labels({key: "v"}, {})) is is_forbidden
    assert forbidden_labels({key: "v"}, {key: "v"}) == set()


async def test_a_node_reads_the_secrets_that_drivers_get_from_it() -> None:
    store, authorize = await authorizer()
    source = {
        "driver": "d",
        "nodeStageSecretRef": {"namespace": "vault", "name": "stage"},
        "controllerPublishSecretRef": {"namespace": "vault", "name": "attach"},
    }
    spec = {"csi": source, "claimRef": {"namespace": "web", "name": "data"}}
    await store.create(Key("persistentvolumes", "", "pv"), {"metadata": {"name": "pv"}, "spec": spec})
    foreign = {"csi": source | {"nodeStageSecretRef": {"namespace": "vault", "name": "other"}}}
    await store.create(Key("persistentvolumes", "", "free"), {"metadata": {"name": "free"}, "spec": foreign})
    allowed = [
        name
        for name in ("stage", "attach", "other")
        if authorize.authorize(ask("get", "secrets", name, namespace="vault"))[0] is Decision.ALLOW
    ]
    assert allowed == ["stage"]
    await store.delete(Key("persistentvolumes", "", "pv"))
    assert authorize.authorize(ask("get", "secrets", "stage", namespace="vault"))[0] is not Decision.ALLOW
