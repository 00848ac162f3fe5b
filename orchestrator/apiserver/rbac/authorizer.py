"""The RBAC authorizer: allows what a grant allows, and has no opinion on the rest."""

from __future__ import annotations

from orchestrator.apiserver.authorizer import Attributes, Decision
from orchestrator.apiserver.rbac.policy import Policy, missing_role


class RbacAuthorizer:
    """Answers from a `Policy`; costs O(rules of the user)."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        policy = self.policy
        missing: list[str] = []
        verb, path = attributes.verb, attributes.path
        group, resource, subresource = attributes.group, attributes.resource, attributes.subresource
        name = attributes.name
        for grant in policy.grants(attributes.user, attributes.namespace):
            role = policy.role(grant.role_kind, grant.role, grant.namespace)
            if role is None:
                missing.append(missing_role(grant))
                continue
            for rule in role.rules:
                if path:
                    # What is no resource belongs to no namespace.
                    allowed = not grant.namespace and rule.allows_url(verb, path)
                else:
                    allowed = rule.allows_resource(verb, group, resource, subresource, name)
                if allowed:
                    return Decision.ALLOW, grant.describe()
        if not missing:
            return Decision.NO_OPINION, ""
        unique = list(dict.fromkeys(missing))
        return Decision.NO_OPINION, "RBAC: " + (unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]")
