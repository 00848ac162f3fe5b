"""Nobody hands out permissions that he does not have.

Mirrors the policy-based storage of kube-apiserver's RBAC resources: writing a role needs all of its rules (or
the verb `escalate`), writing a binding needs all rules of its role (or the verb `bind` on it). Runs last of what
happens before validation, so that what is checked is what will be stored. Members of `system:masters` may do all.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import errors
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes
from orchestrator.apiserver.authorizer import Attributes as AuthorizerAttributes
from orchestrator.apiserver.authorizer import Authorizer, Decision
from orchestrator.apiserver.rbac.defaults import API_GROUP
from orchestrator.apiserver.rbac.policy import Policy
from orchestrator.apiserver.rbac.rules import compact, describe, quoted_list, uncovered
from orchestrator.apiserver.user import MASTERS_GROUP, User

_ROLES = (f"roles.{API_GROUP}", f"clusterroles.{API_GROUP}")
_BINDINGS = (f"rolebindings.{API_GROUP}", f"clusterrolebindings.{API_GROUP}")
EVERYTHING: list[dict[str, Any]] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


class RbacEscalation(AdmissionPlugin):
    """Runs for writes of roles and bindings; no plugin of kube-apiserver, which does the same in its storage."""

    name = "RBACEscalation"

    def __init__(self, policy: Policy, authorizer: Authorizer) -> None:
        self._policy = policy
        self._authorizer = authorizer

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.kind.resource.group == API_GROUP
            and attributes.operation in ("CREATE", "UPDATE")
            and MASTERS_GROUP not in attributes.user.groups
        )

    async def admit(self, attributes: Attributes) -> None:
        if attributes.group_resource in _ROLES:
            self._check_role(attributes)
        elif attributes.group_resource in _BINDINGS:
            self._check_binding(attributes)

    def _check_role(self, attributes: Attributes) -> None:
        role, old = attributes.obj, attributes.old or {}
        unchanged = role.get("rules") == old.get("rules") and role.get("aggregationRule") == old.get("aggregationRule")
        if (attributes.operation == "UPDATE" and unchanged) or self._may("escalate", attributes, attributes.name):
            return
        self._confirm(attributes, role.get("rules") or [])
        aggregates = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
        if aggregates and self._missing(attributes.user, "", EVERYTHING):
            raise _forbidden(attributes, "must have cluster-admin privileges to use the aggregationRule")

    def _check_binding(self, attributes: Attributes) -> None:
        binding, old = attributes.obj, attributes.old or {}
        unchanged = binding.get("roleRef") == old.get("roleRef") and binding.get("subjects") == old.get("subjects")
        if attributes.operation == "UPDATE" and unchanged:
            return
        reference = binding.get("roleRef") or {}
        name, kind = reference.get("name") or "", reference.get("kind") or ""
        plural = "roles" if kind == "Role" else "clusterroles"
        if self._may("bind", attributes, name, resource=plural):
            return
        role = self._policy.role(kind, name, attributes.namespace)
        if role is None:
            raise errors.not_found(API_GROUP, plural, name)
        self._confirm(attributes, role.source)

    def _may(self, verb: str, attributes: Attributes, name: str, *, resource: str = "") -> bool:
        decision, _ = self._authorizer.authorize(
            AuthorizerAttributes(
                user=attributes.user,
                verb=verb,
                group=API_GROUP,
                version="*",
                resource=resource or attributes.kind.resource.plural,
                namespace=attributes.namespace,
                name=name,
            )
        )
        return decision is Decision.ALLOW

    def _missing(self, user: User, namespace: str, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
        _, owned, _ = self._policy.rules(user, namespace)
        return uncovered(owned, wanted)

    def _confirm(self, attributes: Attributes, wanted: list[dict[str, Any]]) -> None:
        missing = self._missing(attributes.user, attributes.namespace, wanted)
        if not missing:
            return
        user = attributes.user
        shown = "\n".join(sorted({describe(rule) for rule in compact(missing)}))
        raise _forbidden(
            attributes,
            f'user "{user.name}" (groups={quoted_list(user.groups)}) is attempting to grant RBAC permissions'
            f" not currently held:\n{shown}",
        )


def _forbidden(attributes: Attributes, why: str) -> errors.Forbidden:
    resource = attributes.kind.resource
    return errors.forbidden(resource.group, resource.plural, attributes.name, why)
