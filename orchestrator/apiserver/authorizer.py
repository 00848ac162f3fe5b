"""The authorizer seam: may this user do this? Asked once for every request, in process or over HTTPS.

Mirrors `k8s.io/apiserver/pkg/authorization`: authorizers stand in a chain, the first that has an
opinion decides, no opinion at all means no.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from orchestrator.api import errors
from orchestrator.apiserver.user import MASTERS_GROUP, User


class Decision(enum.Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


class Attributes(Struct, frozen=True):
    """What is asked: a verb on a resource, or on a path that is none (`/healthz`)."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Set for non-resource requests only."""
    field_selector: str = ""
    """Of a list or watch, as the client wrote it."""


class Authorizer(Protocol):
    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """A decision and the reason for it, which a refused user gets to see."""
        ...


class MastersAuthorizer:
    """Members of `system:masters` may do everything."""

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        allowed = MASTERS_GROUP in attributes.user.groups
        return (Decision.ALLOW if allowed else Decision.NO_OPINION), ""


class ComponentAuthorizer:
    """The cluster's own components, by their exact names, may do everything; nobody else by this rule.

    Simplified: a component's identity is trusted as a whole until an RBAC authorizer narrows it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        return (Decision.ALLOW if attributes.user.name in self._names else Decision.NO_OPINION), ""


class AuthorizerChain:
    """Asks one authorizer after the other; nobody's opinion is a refusal."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        reasons = []
        for authorizer in self._authorizers:
            decision, reason = authorizer.authorize(attributes)
            if decision is not Decision.NO_OPINION:
                return decision, reason
            if reason:
                reasons.append(reason)
        return Decision.NO_OPINION, "\n".join(reasons)


def check(authorizer: Authorizer, attributes: Attributes) -> None:
    """Raise Forbidden, worded as kube-apiserver words it, unless the authorizer allows."""
    decision, reason = authorizer.authorize(attributes)
    if decision is not Decision.ALLOW:
        raise refusal(attributes, reason)


def refusal(attributes: Attributes, reason: str) -> errors.Forbidden:
    """The 403 for a request that was not allowed."""
    user = attributes.user.name
    if attributes.path:
        return errors.Forbidden(f'forbidden: User "{user}" cannot {attributes.verb} path "{attributes.path}"')
    resource = attributes.resource
    if attributes.subresource:
        resource += "/" + attributes.subresource
    why = f'User "{user}" cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}"'
    why += f' in the namespace "{attributes.namespace}"' if attributes.namespace else " at the cluster scope"
    if reason:
        why += ": " + reason
    return errors.forbidden(attributes.group, attributes.resource, attributes.name, why)
