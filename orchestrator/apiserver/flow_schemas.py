"""Which FlowSchema a request belongs to: the first in order of precedence whose subjects and rules match.

Owns the classification that clients see in response headers. How many requests of whom are worked on at once is
decided by `fairness`. Mirrors k8s.io/apiserver/pkg/util/flowcontrol's rule matching; the rules themselves are
documented with the FlowSchema kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS
from orchestrator.apiserver.user import User
from orchestrator.store import Event, EventType, Store

ALL = "*"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


class Digest(NamedTuple):
    """What rules look at: a resource, or a path that is none."""

    user: User
    verb: str
    path: str = ""
    """Empty for resources."""
    group: str = ""
    resource: str = ""
    """With its subresource: `pods/log`."""
    namespace: str = ""


class Flow(NamedTuple):
    """The uids of the FlowSchema and of the PriorityLevelConfiguration that it names."""

    schema_uid: str
    level_uid: str


class FlowSchemas:
    """All FlowSchemas of a store, in order of precedence."""

    def __init__(self, store: Store) -> None:
        self._schemas: dict[str, Object] = {}
        self._levels: dict[str, str] = {}
        self._ordered: list[Object] | None = None
        store.observe(FLOW_SCHEMAS.group_resource, self._on_schema)
        store.observe(PRIORITY_LEVEL_CONFIGURATIONS.group_resource, self._on_level)

    def classify(self, digest: Digest) -> Flow | None:
        """Where a request belongs; None only while the default `catch-all` is missing."""
        if self._ordered is None:
            self._ordered = sorted(self._schemas.values(), key=precedence)
        for schema in self._ordered:
            spec = schema["spec"]
            level = self._levels.get((spec.get("priorityLevelConfiguration") or {}).get("name") or "")
            if level is not None and any(rule_matches(rule, digest) for rule in spec.get("rules") or ()):
                return Flow(schema["metadata"]["uid"], level)
        return None

    def _on_schema(self, event: Event) -> None:
        if event.type is EventType.DELETED:
            self._schemas.pop(event.record.key.name, None)
        else:
            self._schemas[event.record.key.name] = event.record.obj
        self._ordered = None

    def _on_level(self, event: Event) -> None:
        if event.type is EventType.DELETED:
            self._levels.pop(event.record.key.name, None)
        else:
            self._levels[event.record.key.name] = event.record.obj["metadata"]["uid"]


def precedence(schema: Object) -> tuple[int, str]:
    """Sorts schemas: the lower number first, equal ones by name."""
    return schema["spec"].get("matchingPrecedence") or 0, name_of(schema)


def rule_matches(rule: Mapping[str, Any], digest: Digest) -> bool:
    """Whether a rule of a FlowSchema (PolicyRulesWithSubjects) is about a request."""
    if not any(subject_matches(subject, digest.user) for subject in rule.get("subjects") or ()):
        return False
    if digest.path:
        return any(_path_matches(one, digest) for one in rule.get("nonResourceRules") or ())
    return any(_resource_matches(one, digest) for one in rule.get("resourceRules") or ())


def subject_matches(subject: Mapping[str, Any], user: User) -> bool:
    """Whether a subject is this user: by name, by group, or as a service account."""
    kind = subject.get("kind")
    if kind == "User":
        name = (subject.get("user") or {}).get("name")
        return name in (ALL, user.name)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == ALL or name in user.groups
    account = subject.get("serviceAccount") or {}
    prefix = f"{SERVICE_ACCOUNT_PREFIX}{account.get('namespace')}:"
    if account.get("name") == ALL:
        return user.name.startswith(prefix)
    return user.name == f"{prefix}{account.get('name')}"


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
