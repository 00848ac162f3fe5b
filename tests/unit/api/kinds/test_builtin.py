"""The registry as a whole: complete, consistent, and each kind can be defaulted, printed and checked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.api import schema
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.columns import describe
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, copy_object
from orchestrator.api.resources import Resource

NOW = datetime(2024, 1, 1, tzinfo=UTC)
KINDS = pytest.mark.parametrize("kind", builtin_kinds(), ids=lambda kind: kind.resource.group_resource)

GROUPS = [
    "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
    "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
    "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
    "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "flowcontrol.apiserver.k8s.io", "resource.k8s.io",
]  # fmt: skip


def test_groups_come_in_the_order_of_discovery() -> None:
    assert list(dict.fromkeys(kind.resource.group for kind in builtin_kinds())) == GROUPS


def test_every_stable_kind_of_these_groups_is_described() -> None:
    described = {(k.resource.group, k.resource.version, k.resource.kind) for k in builtin_kinds()}
    not_resources = {"Scale", "Eviction", "TokenRequest", "Status", "APIGroup", "APIVersions", "DeleteOptions"}
    missing = []
    for definition in schema.definitions().values():
        meanings = definition.get("x-kubernetes-group-version-kind") or []
        if len(meanings) != 1:
            continue
        meaning = (meanings[0]["group"], meanings[0]["version"], meanings[0]["kind"])
        group, version, name = meaning
        is_stable = version in ("v1", "v2") and group in GROUPS
        if is_stable and not name.endswith("List") and name not in not_resources and meaning not in described:
            missing.append(meaning)
    assert missing == []


@KINDS
def test_definition_and_descriptions_exist(kind: Kind) -> None:
    definitions = schema.definitions()
    assert kind.definition in definitions
    assert all(describe(column, definitions) for column in kind.columns)


@KINDS
def test_the_emptiest_object_can_be_handled(kind: Kind) -> None:
    """Defaults, checks and cells never stumble over what is not there, and defaults are idempotent."""
    resource = kind.resource
    obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x", "uid": "u"}}
    if resource.namespaced:
        obj["metadata"]["namespace"] = "n"
    kind.default(obj)
    kind.prepare_create(obj)
    kind.default(obj)
    again = copy_object(obj)
    kind.default(again)
    assert again == obj
    kind.validate(obj)
    (kind.validate_update or (lambda new, old: kind.validate(new)))(obj, obj)
    kind.prepare_update(obj, obj)
    kind.prepare_status_update(obj, obj)
    kind.validate_status_update(obj, obj)
    for read in kind.selectable_fields.values():
        assert isinstance(read(obj), str)
    if kind.row:
        assert len(kind.row(obj, NOW)) == len(kind.columns)


@pytest.mark.parametrize(
    "kind", [kind for kind in builtin_kinds() if kind.conversion], ids=lambda kind: kind.definition
)
def test_conversions_lead_back(kind: Kind) -> None:
    assert kind.conversion
    stored: Resource = kind.conversion.stored_as
    obj: Object = {
        "apiVersion": kind.resource.api_version,
        "kind": kind.resource.kind,
        "metadata": {"name": "x", "namespace": "n"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
    }
    if kind.resource.kind == "Event":
        obj = {**obj, "note": "hello", "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "c"}
    kind.default(obj)
    hub = kind.conversion.to_stored(obj)
    assert hub["apiVersion"] == stored.api_version
    assert kind.conversion.to_stored(kind.conversion.from_stored(hub)) == hub
