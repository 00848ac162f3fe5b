"""Reviews: questions about tokens and permissions that are answered and never stored.

Serves `create` of TokenReview, SelfSubjectReview, SubjectAccessReview and its self, local and rules
variants. Mirrors `k8s.io/kubernetes/pkg/registry/authentication` and `.../authorization`; who may ask is the
authorizer's business, as for any other resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import (
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
)
from orchestrator.apiserver.authorizer import Attributes, Authorizer, Decision
from orchestrator.apiserver.rbac.policy import Policy
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.user import User

INVALID_TOKEN = "invalid bearer token"


class TokenReviewer(Protocol):
    """Knows some bearer tokens, and for which audiences they are meant."""

    async def review(self, token: str, audiences: tuple[str, ...]) -> tuple[User | None, list[str]]:
        """The user and the audiences in common with those asked for; (None, []) when the token is no good."""
        ...


class Reviews:
    """Answers with what the authorizer, the RBAC policy and the token authenticators say."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.token_reviewers: list[TokenReviewer] = []

    def register(self, server: ApiServer) -> None:
        """Serve all reviews."""
        creators = server.creators
        creators[TOKEN_REVIEWS.group_resource] = self.review_token
        creators[SELF_SUBJECT_REVIEWS.group_resource] = self.review_self
        creators[SELF_SUBJECT_ACCESS_REVIEWS.group_resource] = self.review_own_access
        creators[SUBJECT_ACCESS_REVIEWS.group_resource] = self.review_access
        creators[LOCAL_SUBJECT_ACCESS_REVIEWS.group_resource] = self.review_access
        creators[SELF_SUBJECT_RULES_REVIEWS.group_resource] = self.review_own_rules

    async def review_token(self, server: ApiServer, request: ApiRequest) -> ObjectResult:
        """Whose token this is."""
        spec = _spec(request)
        token = spec.get("token") or ""
        if not token:
            raise errors.BadRequest("token is required for TokenReview in authentication")
        if request.namespace:
            raise errors.BadRequest("namespace is not allowed on this type")
        server.ownership.on_create(request, request.body)
        audiences = tuple(spec.get("audiences") or ())
        for reviewer in self.token_reviewers:
            user, common = await reviewer.review(token, audiences)
            if user is not None:
                return _answer(request, {"authenticated": True, "user": user.to_json(), "audiences": common})
        return _answer(request, {"user": {}, "error": INVALID_TOKEN})

    async def review_self(self, server: ApiServer, request: ApiRequest) -> ObjectResult:
        """Who is asking (KEP-3325): `kubectl auth whoami`."""
        answer = _answer(request, {"userInfo": request.user.to_json()})
        answer.obj["metadata"] = {"creationTimestamp": format_time(server.clock.now())}
        return answer

    async def review_own_access(self, server: ApiServer, request: ApiRequest) -> ObjectResult:
        """May I?"""
        _check(request)
        server.ownership.on_create(request, request.body)
        return _answer(request, access_status(server.authorizer, request.user, _spec(request)))

    async def review_access(self, server: ApiServer, request: ApiRequest) -> ObjectResult:
        """May he?"""
        _check(request)
        server.ownership.on_create(request, request.body)
        spec = _spec(request)
        extra: Mapping[str, Sequence[str]] = spec.get("extra") or {}
        user = User(
            spec.get("user") or "",
            spec.get("uid") or "",
            tuple(spec.get("groups") or ()),
            {key: tuple(values) for key, values in extra.items()},
        )
        return _answer(request, access_status(server.authorizer, user, spec))

    async def review_own_rules(self, server: ApiServer, request: ApiRequest) -> ObjectResult:
        """Everything I may do in a namespace."""
        namespace = _spec(request).get("namespace") or ""
        if not namespace:
            raise errors.BadRequest("no namespace on request")
        rules, _, missing = self._policy.rules(request.user, namespace)
        # No namespaced role can hold rules about paths: validation refuses them.
        status: Object = {
            "resourceRules": [_shown(rule, RESOURCE_FIELDS) for rule in rules if rule.get("resources")],
            "nonResourceRules": [_shown(rule, PATH_FIELDS) for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": bool(missing),
        }
        if missing:
            unique = list(dict.fromkeys(missing))
            status["evaluationError"] = unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
        answer = _answer(request, status)
        answer.obj["spec"] = {}
        return answer


RESOURCE_FIELDS = ("verbs", "apiGroups", "resources", "resourceNames")
PATH_FIELDS = ("verbs", "nonResourceURLs")


def access_status(authorizer: Authorizer, user: User, spec: Object) -> Object:
    """`SubjectAccessReviewStatus` for what a spec asks about a user."""
    decision, reason = authorizer.authorize(attributes_of(user, spec))
    status: Object = {"allowed": decision is Decision.ALLOW}
    if decision is Decision.DENY:
        status["denied"] = True
    if reason:
        status["reason"] = reason
    return status


def attributes_of(user: User, spec: Object) -> Attributes:
    """What a review asks, in the authorizer's terms."""
    resource = spec.get("resourceAttributes")
    if resource is None:
        other = spec.get("nonResourceAttributes") or {}
        return Attributes(user, other.get("verb") or "", path=other.get("path") or "")
    return Attributes(
        user=user,
        verb=resource.get("verb") or "",
        group=resource.get("group") or "",
        version=resource.get("version") or "",
        resource=resource.get("resource") or "",
        subresource=resource.get("subresource") or "",
        namespace=resource.get("namespace") or "",
        name=resource.get("name") or "",
    )


def _shown(rule: Mapping[str, Any], fields: tuple[str, ...]) -> Object:
    return {field: rule[field] for field in fields if rule.get(field)}


def _spec(request: ApiRequest) -> Object:
    spec: Object = request.body.get("spec") or {}
    return spec


def _check(request: ApiRequest) -> None:
    causes = request.kind.validate(request.body)
    if causes:
        raise errors.invalid(request.group, "", "", causes)


def _answer(request: ApiRequest, status: Object) -> ObjectResult:
    resource = request.kind.resource
    answer: Object = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {key: value for key, value in request.body["metadata"].items() if value is not None},
    }
    if "spec" in request.body:
        answer["spec"] = request.body["spec"]
    answer["status"] = status
    return ObjectResult(answer, None, 201)
