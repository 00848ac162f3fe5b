"""Which requests a FlowSchema is about: the rules of its spec against who asks for what.

Mirrors k8s.io/apiserver/pkg/util/flowcontrol's rule matching; the rules themselves are documented with the
FlowSchema kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.api.objects import Object, name_of

ALL = "*"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


class Digest(NamedTuple):
    """What rules look at: who asks, for a resource, or for a path that is none. Hashable."""

    user: str
    groups: tuple[str, ...]
    verb: str
    path: str = ""
    """Empty for resources."""
    group: str = ""
    resource: str = ""
    """With its subresource: `pods/log`."""
    namespace: str = ""


def precedence(schema: Object) -> tuple[int, str]:
    """Sorts schemas: the lower number first, equal ones by name."""
    return schema["spec"].get("matchingPrecedence") or 0, name_of(schema)


def schema_matches(schema: Object, digest: Digest) -> bool:
    """Whether a request belongs to a FlowSchema, unless an earlier one takes it."""
    return any(rule_matches(rule, digest) for rule in schema["spec"].get("rules") or ())


def rule_matches(rule: Mapping[str, Any], digest: Digest) -> bool:
    """Whether a rule of a FlowSchema (PolicyRulesWithSubjects) is about a request."""
    if not any(_subject_matches(subject, digest) for subject in rule.get("subjects") or ()):
        return False
    if digest.path:
        return any(_path_matches(one, digest) for one in rule.get("nonResourceRules") or ())
    return any(_resource_matches(one, digest) for one in rule.get("resourceRules") or ())


def _subject_matches(subject: Mapping[str, Any], digest: Digest) -> bool:
    """By name, by group, or as a service account."""
    kind = subject.get("kind")
    if kind == "User":
        name = (subject.get("user") or {}).get("name")
        return name in (ALL, digest.user)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == ALL or name in digest.groups
    account = subject.get("serviceAccount") or {}
    prefix = f"{SERVICE_ACCOUNT_PREFIX}{account.get('namespace')}:"
    if account.get("name") == ALL:
        return digest.user.startswith(prefix)
    return digest.user == f"{prefix}{account.get('name')}"


def _has(values: Sequence[str], value: str) -> bool:
    return ALL in values or value in values


def _path_matches(rule: Mapping[str, Any], digest: Digest) -> bool:
    if not _has(rule.get("verbs") or (), digest.verb):
        return False
    for url in rule.get("nonResourceURLs") or ():
        if url in (ALL, digest.path) or (url.endswith("/*") and digest.path.startswith(url[:-1])):
            return True
    return False


def _resource_matches(rule: Mapping[str, Any], digest: Digest) -> bool:
    if not (
        _has(rule.get("verbs") or (), digest.verb)
        and _has(rule.get("apiGroups") or (), digest.group)
        and _has(rule.get("resources") or (), digest.resource)
    ):
        return False
    if not digest.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces") or (), digest.namespace)
