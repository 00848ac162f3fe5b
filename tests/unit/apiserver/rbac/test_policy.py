"""The policy follows the store; the default policy is complete and idempotent."""

from __future__ import annotations

from typing import Any

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from orchestrator.apiserver.authorizer import Attributes, Decision
from orchestrator.apiserver.rbac.authorizer import RbacAuthorizer
from orchestrator.apiserver.rbac.defaults import AUTOUPDATE, default_objects
from orchestrator.apiserver.rbac.policy import Policy
from orchestrator.apiserver.rbac.reconciliation import ensure_default_policy, plan_completed
from orchestrator.apiserver.user import User
from orchestrator.store import Key, MvccStore

GROUP = "rbac.authorization.k8s.io"
BOB = User("bob", groups=("team", "system:authenticated"))
ACCOUNT = User("system:serviceaccount:web:default", groups=("system:serviceaccounts", "system:authenticated"))


def store_and_authorizer() -> tuple[MvccStore, RbacAuthorizer]:
    store = MvccStore(clock=SystemClock())
    policy = Policy()
    policy.follow(store)
    return store, RbacAuthorizer(policy)


async def put_role(store: MvccStore, name: str, *verbs: str, namespace: str = "") -> None:
    resource = ROLES if namespace else CLUSTER_ROLES
    rules = [{"verbs": list(verbs), "apiGroups": [""], "resources": ["pods"]}]
    key = Key(resource.group_resource, namespace, name)
    await store.create(key, {"metadata": {"name": name}, "rules": rules})


async def put_binding(
    store: MvccStore, name: str, role: str, *subjects: dict[str, str], namespace: str = "", kind: str = "ClusterRole"
) -> None:
    resource = ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS
    obj: dict[str, Any] = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": list(subjects),
    }
    await store.create(Key(resource.group_resource, namespace, name), obj)


def asks(user: User, verb: str = "get", namespace: str = "web") -> Attributes:
    return Attributes(user, verb, resource="pods", namespace=namespace, name="p")


async def test_a_cluster_role_bound_everywhere_or_in_one_namespace() -> None:
    store, authorizer = store_and_authorizer()
    await put_role(store, "reader", "get")
    await put_binding(store, "b", "reader", {"kind": "User", "name": "bob"}, namespace="web")
    assert authorizer.authorize(asks(BOB)) == (
        Decision.ALLOW,
        'RBAC: allowed by RoleBinding "b/web" of ClusterRole "reader" to User "bob"',
    )
    assert authorizer.authorize(asks(BOB, namespace="other"))[0] is Decision.NO_OPINION
    await put_binding(store, "all", "reader", {"kind": "Group", "name": "team"})
    assert authorizer.authorize(asks(BOB, namespace="other")) == (
        Decision.ALLOW,
        'RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "team"',
    )


async def test_service_accounts_are_users_of_their_namespace() -> None:
    store, authorizer = store_and_authorizer()
    await put_role(store, "r", "get", namespace="web")
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "web"}
    await put_binding(store, "b", "r", subject, namespace="web", kind="Role")
    assert authorizer.authorize(asks(ACCOUNT)) == (
        Decision.ALLOW,
        'RBAC: allowed by RoleBinding "b/web" of Role "r" to ServiceAccount "default/web"',
    )


async def test_what_is_revoked_counts_no_more() -> None:
    store, authorizer = store_and_authorizer()
    await put_role(store, "reader", "get")
    await put_binding(store, "b", "reader", {"kind": "User", "name": "bob"}, {"kind": "User", "name": "eve"})
    key = Key(CLUSTER_ROLE_BINDINGS.group_resource, "", "b")
    record = await store.get(key)
    assert record is not None
    changed = {**record.obj, "subjects": [{"kind": "User", "name": "eve"}]}
    await store.update(key, changed, expected_revision=record.revision)
    assert authorizer.authorize(asks(BOB))[0] is Decision.NO_OPINION
    assert authorizer.authorize(asks(User("eve")))[0] is Decision.ALLOW
    await store.delete(key)
    assert authorizer.authorize(asks(User("eve")))[0] is Decision.NO_OPINION


async def test_a_binding_to_nothing_says_so() -> None:
    store, authorizer = store_and_authorizer()
    await put_binding(store, "b", "nosuch", {"kind": "User", "name": "bob"})
    assert authorizer.authorize(asks(BOB)) == (
        Decision.NO_OPINION,
        'RBAC: clusterrole.rbac.authorization.k8s.io "nosuch" not found',
    )


async def test_a_policy_that_starts_later_finds_what_is_there() -> None:
    store, _ = store_and_authorizer()
    await put_role(store, "reader", "get")
    await put_binding(store, "b", "reader", {"kind": "User", "name": "bob"})
    late = Policy()
    late.follow(store)
    assert RbacAuthorizer(late).authorize(asks(BOB))[0] is Decision.ALLOW


async def test_the_default_policy_is_made_once_and_completed_later() -> None:
    clock = SystemClock()
    store = MvccStore(clock=clock)
    await ensure_default_policy(store, clock)
    revision = store.revision
    assert revision == 1 + len(default_objects())
    await ensure_default_policy(store, clock)
    assert store.revision == revision
    key = Key(CLUSTER_ROLES.group_resource, "", "system:kube-dns")
    record = await store.get(key)
    assert record is not None
    own = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    await store.update(key, {**record.obj, "rules": [own]}, expected_revision=record.revision)
    await ensure_default_policy(store, clock)
    completed = await store.get(key)
    assert completed is not None
    assert completed.obj["rules"] == [own, *record.obj["rules"]]


def test_objects_without_autoupdate_are_left_alone() -> None:
    wanted = next(obj for _, obj in default_objects() if obj["metadata"]["name"] == "system:kube-dns")
    current = {**wanted, "rules": [], "metadata": {**wanted["metadata"], "annotations": {AUTOUPDATE: "false"}}}
    assert plan_completed(current, wanted) is None
    current["metadata"]["annotations"] = {AUTOUPDATE: "true"}
    completed = plan_completed(current, wanted)
    assert completed is not None
    assert completed["rules"] == wanted["rules"]


def test_what_everybody_may_do() -> None:
    names = {obj["metadata"]["name"] for resource, obj in default_objects() if resource.startswith("clusterroles.")}
    for name in ("cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user", "system:node"):
        assert name in names
