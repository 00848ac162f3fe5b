"""The current roles and bindings, indexed by who they are for.

Kept up to date by the store itself (`Store.observe`): a binding that was acknowledged counts for the very
next request, one that was removed no longer does. A lookup costs what the asking user's own bindings cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from orchestrator.apiserver.rbac.rules import Rule, compile_rules
from orchestrator.apiserver.user import User
from orchestrator.store import Event, EventType, Store

Subject = tuple[str, str]
"""("User" or "Group", name); a service account is the user that its tokens stand for."""


class RoleRecord(Struct, frozen=True):
    """A Role or ClusterRole."""

    rules: tuple[Rule, ...]
    source: list[dict[str, Any]]
    """The same rules as the API shows them. Read-only."""


class Grant(Struct, frozen=True):
    """One subject of one binding."""

    binding: str
    namespace: str
    """Empty for a ClusterRoleBinding."""
    role_kind: str
    role: str
    subject: str
    """As reasons show it: `ServiceAccount "default/ns"`."""

    def describe(self) -> str:
        """The reason that a review gives for what this grant allows."""
        if self.namespace:
            binding = f'RoleBinding "{self.binding}/{self.namespace}"'
        else:
            binding = f'ClusterRoleBinding "{self.binding}"'
        return f'RBAC: allowed by {binding} of {self.role_kind} "{self.role}" to {self.subject}'


class Policy:
    """All grants, by subject; and the roles that they refer to."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], RoleRecord] = {}
        """(namespace, name); cluster roles have no namespace."""
        self._grants: dict[str, dict[Subject, dict[str, Grant]]] = {}
        """namespace (empty: everywhere) → subject → binding → grant"""
        self._subjects: dict[tuple[str, str], tuple[Subject, ...]] = {}
        """Whom a binding is for, to find its grants again when it changes."""

    def follow(self, store: Store) -> None:
        """Read everything, and stay current from now on."""
        for resource in (CLUSTER_ROLES, ROLES):
            store.observe(resource.group_resource, self._on_role)
        for resource in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            store.observe(resource.group_resource, self._on_binding)

    def role(self, kind: str, name: str, namespace: str) -> RoleRecord | None:
        """The role that a binding in `namespace` refers to."""
        return self._roles.get(("" if kind == "ClusterRole" else namespace, name))

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """Everything that was granted to a user: in the whole cluster, then in the namespace (if any)."""
        for scope in ("", namespace) if namespace else ("",):
            by_subject = self._grants.get(scope)
            if not by_subject:
                continue
            if (granted := by_subject.get(("User", user.name))) is not None:
                yield from granted.values()
            for group in user.groups:
                if (granted := by_subject.get(("Group", group))) is not None:
                    yield from granted.values()

    def rules(self, user: User, namespace: str) -> tuple[list[dict[str, Any]], list[Rule], list[str]]:
        """All rules for a user, as written and compiled, and what is missing (bindings to absent roles)."""
        source: list[dict[str, Any]] = []
        compiled: list[Rule] = []
        missing: list[str] = []
        for grant in self.grants(user, namespace):
            role = self.role(grant.role_kind, grant.role, grant.namespace)
            if role is None:
                missing.append(missing_role(grant))
                continue
            source += role.source
            compiled += role.rules
        return source, compiled, missing

    # Changes.

    def _on_role(self, event: Event) -> None:
        key = event.record.key
        if event.type is EventType.DELETED:
            self._roles.pop((key.namespace, key.name), None)
            return
        rules = event.record.obj.get("rules") or []
        self._roles[key.namespace, key.name] = RoleRecord(compile_rules(rules), rules)

    def _on_binding(self, event: Event) -> None:
        _, namespace, name = event.record.key
        grants = self._grants.setdefault(namespace, {})
        for subject in self._subjects.pop((namespace, name), ()):
            granted = grants.get(subject)
            if granted is not None:
                granted.pop(name, None)
                if not granted:
                    del grants[subject]
        if event.type is not EventType.DELETED:
            subjects = []
            for subject, grant in grants_of(event.record.obj, namespace, name):
                # A binding may name a subject twice; the first mention is the one that is shown.
                if name not in grants.setdefault(subject, {}):
                    grants[subject][name] = grant
                    subjects.append(subject)
            self._subjects[namespace, name] = tuple(subjects)
        if not grants:
            del self._grants[namespace]


def grants_of(binding: Object, namespace: str, name: str) -> Iterable[tuple[Subject, Grant]]:
    """What a binding grants, subject by subject."""
    reference = binding["roleRef"]
    for subject in binding.get("subjects") or ():
        kind, subject_name = subject["kind"], subject["name"]
        if kind == "ServiceAccount":
            home = subject.get("namespace") or namespace
            key: Subject = ("User", f"system:serviceaccount:{home}:{subject_name}")
            shown = f'ServiceAccount "{subject_name}/{home}"'
        else:
            key = (kind, subject_name)
            shown = f'{kind} "{subject_name}"'
        yield key, Grant(name, namespace, reference["kind"], reference["name"], shown)


def missing_role(grant: Grant) -> str:
    """What is wrong with a binding whose role does not exist."""
    kind = "clusterrole" if grant.role_kind == "ClusterRole" else "role"
    return f'{kind}.rbac.authorization.k8s.io "{grant.role}" not found'
