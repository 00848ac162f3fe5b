"""The rules of the kinds as a table: what is wrong with an object, as path and reason.

Wording is compared with recordings in test_golden_validation.py; this table is for those without.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.object_meta import validate_object_meta, validate_object_meta_update
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, copy_object

REGISTRY = Registry(builtin_kinds())
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
SELECTOR = {"matchLabels": {"a": "b"}}
JOB = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}
PORT = [{"port": 80}]


def kind_of(group: str, plural: str) -> Kind:
    """The kind with this plural in the stable version of its group."""
    kind = REGISTRY.by_path(group, "v2" if group == "autoscaling" else "v1", plural)
    assert kind
    return kind


def made(kind: Kind, **parts: Any) -> Object:
    """A new object of a kind, as a POST would store it."""
    obj: Object = {"metadata": {"name": "x", "uid": "u"}, **copy_object(parts)}
    if kind.resource.namespaced:
        obj["metadata"]["namespace"] = "n"
    kind.default(obj)
    kind.prepare_create(obj)
    return obj


def test_the_things_that_the_table_breaks_are_valid() -> None:
    for group, plural, parts in (
        ("apps", "deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
        ("apps", "replicasets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
        ("apps", "daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
        ("apps", "statefulsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
        ("batch", "jobs", {"spec": JOB}),
        ("batch", "cronjobs", {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": JOB}}}),
        ("", "services", {"spec": {"ports": PORT}}),
    ):
        kind = kind_of(group, plural)
        assert kind.validate(made(kind, **parts)) == [], plural


INVALID, REQUIRED, FORBIDDEN, UNSUPPORTED = (
    "FieldValueInvalid",
    "FieldValueRequired",
    "FieldValueForbidden",
    "FieldValueNotSupported",
)


@pytest.mark.parametrize(
    ("group", "plural", "parts", "field", "reason"),
    [
        ("apps", "deployments", {"spec": {"template": TEMPLATE}}, "spec.selector", REQUIRED),
        ("apps", "deployments", {"spec": {"selector": {"matchLabels": {"z": "z"}}, "template": TEMPLATE}},
         "spec.template.metadata.labels", INVALID),
        ("apps", "deployments", {"spec": {"replicas": -1, "selector": SELECTOR, "template": TEMPLATE}},
         "spec.replicas", INVALID),
        ("apps", "deployments",
         {"spec": {"selector": SELECTOR, "template": TEMPLATE,
                   "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}},
         "spec.strategy.rollingUpdate.maxUnavailable", INVALID),
        ("apps", "daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE, "updateStrategy": {"type": "X"}}},
         "spec.updateStrategy", UNSUPPORTED),
        ("batch", "jobs", {"spec": {"template": TEMPLATE}}, "spec.template.spec.restartPolicy", REQUIRED),
        ("batch", "jobs", {"spec": {**JOB, "parallelism": 2, "completionMode": "Indexed"}},
         "spec.completions", REQUIRED),
        ("batch", "cronjobs", {"spec": {"schedule": "61 * * * *", "jobTemplate": {"spec": JOB}}},
         "spec.schedule", INVALID),
        ("batch", "cronjobs", {"spec": {"schedule": "0 0 * * *", "timeZone": "No/Where", "jobTemplate": {"spec": JOB}}},
         "spec.timeZone", INVALID),
        ("", "services", {"spec": {}}, "spec.ports", REQUIRED),
        ("", "services", {"spec": {"ports": PORT, "type": "X"}}, "spec.type", UNSUPPORTED),
        ("", "services", {"spec": {"ports": PORT, "externalTrafficPolicy": "Local"}},
         "spec.externalTrafficPolicy", INVALID),
        ("", "services", {"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}, "spec.ports[0].nodePort", FORBIDDEN),
        ("", "configmaps", {"data": {"a b": "x"}}, "data[a b]", INVALID),
        ("", "secrets", {"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}, "data[tls.key]", REQUIRED),
        ("", "persistentvolumeclaims", {"spec": {"resources": {"requests": {"storage": "1Gi"}}}},
         "spec.accessModes", REQUIRED),
        ("", "resourcequotas", {"spec": {"hard": {"pods": "-1"}}}, "spec.hard[pods]", INVALID),
        ("", "nodes", {"spec": {"taints": [{"key": "a", "effect": "X"}]}}, "metadata.taints[0].effect", UNSUPPORTED),
        ("policy", "poddisruptionbudgets", {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, "spec", INVALID),
        ("networking.k8s.io", "ingresses", {"spec": {}}, "spec", INVALID),
        ("networking.k8s.io", "servicecidrs", {"spec": {"cidrs": ["10.0.0.1/24"]}}, "spec.cidrs[0]", INVALID),
        ("rbac.authorization.k8s.io", "roles", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]},
         "rules[0].verbs", REQUIRED),
        ("rbac.authorization.k8s.io", "clusterrolebindings", {"roleRef": {"kind": "Role", "name": "r"}},
         "roleRef.kind", UNSUPPORTED),
        ("scheduling.k8s.io", "priorityclasses", {"value": 2_000_000_000}, "value", FORBIDDEN),
        ("storage.k8s.io", "storageclasses", {"provisioner": ""}, "provisioner", REQUIRED),
        ("coordination.k8s.io", "leases", {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds", INVALID),
        ("authorization.k8s.io", "subjectaccessreviews", {"spec": {"nonResourceAttributes": {"path": "/"}}},
         "spec.user", INVALID),
        ("flowcontrol.apiserver.k8s.io", "flowschemas", {"spec": {}}, "spec.priorityLevelConfiguration.name", REQUIRED),
        ("apiregistration.k8s.io", "apiservices",
         {"spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}},
         "metadata.name", INVALID),
        ("autoscaling", "horizontalpodautoscalers",
         {"spec": {"maxReplicas": 1, "minReplicas": 2, "scaleTargetRef": {"kind": "D", "name": "d"}}},
         "spec.maxReplicas", INVALID),
    ],
)  # fmt: skip
def test_refused(group: str, plural: str, parts: dict[str, Any], field: str, reason: str) -> None:
    kind = kind_of(group, plural)
    assert (field, reason) in [(cause.field, cause.reason) for cause in kind.validate(made(kind, **parts))]


@pytest.mark.parametrize(
    ("group", "plural", "before", "after", "field"),
    [
        ("apps", "deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
         {"spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}}, "template": TEMPLATE}}, "spec.selector"),
        ("", "configmaps", {"data": {"a": "b"}, "immutable": True}, {"data": {"a": "c"}, "immutable": True}, "data"),
        ("", "secrets", {"type": "a/b"}, {"type": "c/d"}, "type"),
        ("", "services", {"spec": {"ports": PORT, "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}},
         {"spec": {"ports": PORT, "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}}, "spec.clusterIPs[0]"),
        ("batch", "jobs", {"spec": JOB}, {"spec": {**JOB, "completions": 2}}, "spec.completions"),
        ("rbac.authorization.k8s.io", "rolebindings", {"roleRef": {"kind": "Role", "name": "a"}},
         {"roleRef": {"kind": "Role", "name": "b"}}, "roleRef"),
        ("scheduling.k8s.io", "priorityclasses", {"value": 1}, {"value": 2}, "value"),
        ("discovery.k8s.io", "endpointslices", {"addressType": "IPv4"}, {"addressType": "IPv6"}, "addressType"),
        ("node.k8s.io", "runtimeclasses", {"handler": "a"}, {"handler": "b"}, "handler"),
    ],
)  # fmt: skip
def test_immutable(group: str, plural: str, before: dict[str, Any], after: dict[str, Any], field: str) -> None:
    kind = kind_of(group, plural)
    assert kind.validate_update
    old, new = made(kind, **before), made(kind, **after)
    assert kind.validate_update(copy_object(old), old) == []
    assert field in [cause.field for cause in kind.validate_update(new, old)]


@pytest.mark.parametrize(
    ("meta", "field"),
    [
        ({}, "metadata.name"),
        ({"name": "A"}, "metadata.name"),
        ({"name": "a", "labels": {"a": "!"}}, "metadata.labels"),
        ({"name": "a", "annotations": {"k": "x" * (256 * 1024)}}, "metadata.annotations"),
        ({"name": "a", "annotations": {"a b": ""}}, "metadata.annotations"),
        ({"name": "a", "finalizers": ["a b/c"]}, "metadata.finalizers"),
        ({"name": "a", "finalizers": ["mine"]}, "metadata.finalizers[0]"),
        ({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}, "metadata.finalizers"),
        ({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
         "metadata.ownerReferences.uid"),
        ({"name": "a", "namespace": "A"}, "metadata.namespace"),
    ],
)  # fmt: skip
def test_metadata(meta: dict[str, Any], field: str) -> None:
    obj = {"metadata": {"namespace": "n", **meta}}
    assert field in [cause.field for cause in validate_object_meta(obj, kind_of("", "configmaps"))]


def test_metadata_that_an_update_may_not_touch() -> None:
    old = {"metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
                        "deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": ["a.b/c"]}}  # fmt: skip
    new = copy_object(old)
    assert validate_object_meta_update(new, old) == []
    new["metadata"].update(uid="v", finalizers=["a.b/c", "a.b/d"])
    del new["metadata"]["resourceVersion"]
    assert [cause.field for cause in validate_object_meta_update(new, old)] == [
        "metadata.finalizers",
        "metadata.resourceVersion",
        "metadata.uid",
    ]


def test_a_service_keeps_what_was_allocated_when_a_client_leaves_it_out() -> None:
    kind = kind_of("", "services")
    old = made(kind, spec={"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]})
    old["spec"].update(clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"], ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    new = made(kind, spec={"type": "NodePort", "ports": PORT})
    kind.prepare_update(new, old)
    assert new["spec"]["clusterIPs"] == ["10.0.0.1"]
    assert new["spec"]["ports"][0]["nodePort"] == 30080
    back = made(kind, spec={"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30080}]})
    kind.prepare_update(back, old)
    assert "nodePort" not in back["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in back["spec"]


def test_a_claim_template_of_a_stateful_set_is_a_volume_of_its_pods() -> None:
    kind = kind_of("apps", "statefulsets")
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {**TEMPLATE, "spec": {"containers": [container]}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    spec = {"selector": SELECTOR, "template": template, "volumeClaimTemplates": [
        {"metadata": {"name": "data"}, "spec": claim}
    ]}  # fmt: skip
    assert kind.validate(made(kind, spec=spec)) == []
    (cause,) = kind.validate(made(kind, spec={**spec, "volumeClaimTemplates": []}))
    assert cause.field == "spec.template.spec.containers[0].volumeMounts[0].name"
