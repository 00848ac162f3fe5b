"""Which writes a webhook or an admission policy is about; pure.

Source: "Dynamic Admission Control", kubernetes.io: rules, scope, namespaceSelector, objectSelector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, labels_of
from orchestrator.api.resources import Resource
from orchestrator.api.selectors import from_label_selector
from orchestrator.apiserver.admission.plugin import Attributes

_GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    f"{plural}.{_GROUP}"
    for plural in (
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    )
)
"""Nobody can lock a cluster's administrator out of the configuration of admission itself."""


def matches_rules(rules: Iterable[Mapping[str, Any]], attributes: Attributes, kind: Kind | None = None) -> bool:
    """Whether one of the rules is about a write, as the kind it was asked for or as another one."""
    resource = (kind or attributes.kind).resource
    return any(_matches_rule(rule, attributes, resource) for rule in rules)


def _matches_rule(rule: Mapping[str, Any], attributes: Attributes, resource: Resource) -> bool:
    operations = rule.get("operations") or ()
    if attributes.operation not in operations and "*" not in operations:
        return False
    if not _has(rule.get("apiGroups"), resource.group) or not _has(rule.get("apiVersions"), resource.version):
        return False
    names = rule.get("resourceNames") or ()
    if names and attributes.name not in names:
        return False
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") != resource.namespaced:
        return False
    return any(
        _matches_resource(pattern, resource.plural, attributes.subresource) for pattern in rule.get("resources") or ()
    )


def _has(values: Iterable[str] | None, value: str) -> bool:
    return values is not None and (value in values or "*" in values)


def _matches_resource(pattern: str, plural: str, subresource: str) -> bool:
    wanted, _, wanted_subresource = pattern.partition("/")
    if wanted not in ("*", plural):
        return False
    return wanted_subresource == "*" or wanted_subresource == subresource


def matches_namespace(selector: Mapping[str, Any] | None, attributes: Attributes, namespace: Object | None) -> bool:
    """Whether the labels of a write's namespace are selected; a Namespace is judged by its own labels.

    `namespace` is the stored one; what is cluster-scoped is always selected.
    """
    if not selector or not any(selector.values()):
        return True
    if attributes.group_resource == "namespaces":
        labels = labels_of(attributes.obj or attributes.old or {})
    elif not attributes.kind.resource.namespaced:
        return True
    else:
        labels = labels_of(namespace or {})
    return from_label_selector(selector).matches(labels)


def matches_object(selector: Mapping[str, Any] | None, attributes: Attributes) -> bool:
    """Whether the labels of the new or the old object are selected."""
    if not selector or not any(selector.values()):
        return True
    compiled = from_label_selector(selector)
    return any(compiled.matches(labels_of(obj)) for obj in (attributes.obj, attributes.old) if obj)
