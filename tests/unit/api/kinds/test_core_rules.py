"""Services, nodes, volumes, quotas, Ingresses: what is refused, path and words as kube-apiserver has them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, copy_object

REGISTRY = Registry(builtin_kinds())
PORTS = [{"port": 80}]
BALANCER = {"type": "LoadBalancer", "ports": PORTS}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
CSI = {"driver": "d", "volumeHandle": "h"}
VOLUME = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": CSI}
CLASS = "volume.beta.kubernetes.io/storage-class"
HINTS, MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
RULES = [{"host": "a.b"}]


def kind_of(path: str) -> Kind:
    """`group/plural`, or the plural of a core kind."""
    group, _, plural = path.rpartition("/")
    kind = REGISTRY.by_path(group, "v1", plural)
    assert kind
    return kind


def made(kind: Kind, parts: dict[str, Any]) -> Object:
    """A new object, as a POST would store it."""
    obj: Object = copy_object(parts)
    obj["metadata"] = {"name": "x", "uid": "u", **obj.get("metadata", {})}
    if kind.resource.namespaced:
        obj["metadata"]["namespace"] = "n"
    kind.default(obj)
    kind.prepare_create(obj)
    return obj


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("services", {"spec": {"type": "LoadBalancer", "ports": [{"port": 10250}]}}),
        ("services", {"spec": {"type": "ExternalName", "externalName": "a.b", "internalTrafficPolicy": "Local",
                               "ports": [{"port": 80, "nodePort": 30000}]}}),
        ("persistentvolumes", {"spec": {**VOLUME, "volumeAttributesClassName": "gold"}}),
        ("resourcequotas", {"spec": {"hard": {"pods": "1", "count/widgets.a.b": "1"}, "scopes": ["Terminating"]}}),
        ("resourcequotas", {"spec": {"hard": {"requests.storage": "1"}, "scopeSelector": {"matchExpressions": [
            {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}]}}}),
        ("networking.k8s.io/ingresses",
         {"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}},
          "spec": {"rules": RULES, "ingressClassName": "a"}}),
        ("apps/statefulsets",
         {"spec": {"selector": {"matchLabels": {"a": "b"}}, "revisionHistoryLimit": -1,
                   "template": {"metadata": {"labels": {"a": "b"}},
                                "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    ],
)  # fmt: skip
def test_accepted(path: str, parts: dict[str, Any]) -> None:
    kind = kind_of(path)
    assert kind.validate(made(kind, parts)) == []


@pytest.mark.parametrize(
    ("path", "parts", "field", "message"),
    [
        ("services", {"metadata": {"annotations": {HINTS: "auto", MODE: "disabled"}}, "spec": {"ports": PORTS}},
         f"metadata.annotations[{MODE}]",
         f'Invalid value: "disabled": must match annotations[{HINTS}] when both are specified'),
        ("services", {"spec": {"ports": PORTS, "loadBalancerSourceRanges": ["x"]}}, "spec.LoadBalancerSourceRanges",
         "Forbidden: may only be used when `type` is 'LoadBalancer'"),
        ("services", {"metadata": {"annotations": {RANGES: "1.1.1.0/24, x"}}, "spec": BALANCER},
         f"metadata.annotations[{RANGES}]",
         'Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
        ("services", {"spec": {"ports": PORTS, "trafficDistribution": "X"}}, "spec.trafficDistribution",
         'Unsupported value: "X": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"'),
        ("services", {"spec": {"ports": PORTS, "internalTrafficPolicy": "X"}}, "spec.internalTrafficPolicy",
         'Unsupported value: "X": supported values: "Cluster", "Local"'),
        ("nodes", {"spec": {"taints": [{"key": "a", "value": "-", "effect": "NoSchedule"}]}},
         "metadata.taints[0].value", 'Invalid value: "-": a valid label must be an empty string or consist of'),
        ("nodes", {"status": {"capacity": {"pods": "-1"}}}, "status.capacity.pods",
         'Invalid value: "-1": must be greater than or equal to 0'),
        ("nodes", {"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.0.0/24"]}}, "spec.podCIDRs",
         'Invalid value: ["10.0.0.0/24","10.0.0.0/24"]: may specify no more than one CIDR for each IP family'),
        ("secrets", {"type": "kubernetes.io/basic-auth"}, "data[username]", "Required value"),
        ("persistentvolumeclaims", {"spec": {**CLAIM, "dataSourceRef": {"kind": "X", "name": "x"}}}, "spec.dataSource",
         "Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup"),
        ("persistentvolumeclaims", {"spec": {**CLAIM, "dataSourceRef": {"apiGroup": "-", "kind": "X", "name": "x"}}},
         "spec.dataSource.apiGroup", 'Invalid value: "-": a lowercase RFC 1123 subdomain'),
        ("persistentvolumeclaims",
         {"spec": {**CLAIM, "dataSource": {"kind": "PersistentVolumeClaim", "name": "x"},
                   "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "y"}}},
         "spec", "Invalid value: spec.dataSource: must match dataSourceRef"),
        ("persistentvolumes", {"spec": {**VOLUME, "accessModes": []}}, "spec.accessModes", "Required value"),
        ("persistentvolumes", {"spec": {**VOLUME, "volumeAttributesClassName": ""}}, "spec.volumeAttributesClassName",
         "Required value: an empty string is disallowed"),
        ("persistentvolumes",
         {"spec": {**VOLUME, "csi": None, "hostPath": {"path": "/a"}, "volumeAttributesClassName": "gold"}},
         "spec.csi", "Required value: has to be specified when using volumeAttributesClassName"),
        ("resourcequotas", {"spec": {"hard": {"ephemeral-storage": "1"}, "scopes": ["Terminating"]}}, "spec.scopes",
         'Invalid value: ["Terminating"]: unsupported scope applied to resource'),
        ("resourcequotas", {"spec": {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
            {"scopeName": "Terminating", "operator": "DoesNotExist"}]}}},
         "spec.scopeSelector.matchExpressions.operator",
         "Invalid value: \"DoesNotExist\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating,"),
        ("limitranges", {"spec": {"limits": [{"type": "PersistentVolumeClaim"}]}}, "spec.limits[0].limits",
         "Required value: either minimum or maximum storage value is required, but neither was provided"),
        ("networking.k8s.io/ingresses",
         {"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}},
          "spec": {"rules": RULES, "ingressClassName": "b"}}, "annotations.kubernetes.io/ingress.class",
         'Invalid value: "a": must match `ingressClassName` when both are specified'),
    ],
)  # fmt: skip
def test_refused(path: str, parts: dict[str, Any], field: str, message: str) -> None:
    kind = kind_of(path)
    first = kind.validate(made(kind, parts))[0]
    assert first.field == field
    assert first.message.startswith(message)


def bound(spec: dict[str, Any], *, capacity: str = "1Gi", **metadata: Any) -> Object:
    obj = made(kind_of("persistentvolumeclaims"), {"metadata": metadata, "spec": {"volumeName": "v", **spec}})
    obj["status"] = {"phase": "Bound", "capacity": {"storage": capacity}}
    return obj


def grown(size: str) -> dict[str, Any]:
    return {**CLAIM, "resources": {"requests": {"storage": size}}}


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (bound({**CLAIM, "volumeAttributesClassName": "b"}), bound({**CLAIM, "volumeAttributesClassName": "a"}), []),
        (bound(CLAIM), bound({**CLAIM, "volumeAttributesClassName": "a"}),
         [("spec", "Forbidden: spec is immutable after creation except"),
          ("spec.volumeAttributesClassName", "Forbidden: update from non-nil value to nil is forbidden")]),
        (bound({**CLAIM, "storageClassName": "a"}), bound(CLAIM), []),
        (bound({**CLAIM, "storageClassName": "a"}), bound(CLAIM, annotations={CLASS: "a"}), []),
        (bound(CLAIM, annotations={CLASS: "a"}), bound(CLAIM),
         [(f"metadata.annotations.{CLASS}", 'Invalid value: "a": field is immutable')]),
        (bound(grown("2Gi")), bound(grown("3Gi")), []),
        (bound(grown("1Gi")), bound(grown("3Gi")),
         [("spec.resources.requests.storage", "Forbidden: field can not be less than status.capacity")]),
        (bound({**CLAIM, "volumeMode": "Block"}), bound(CLAIM),
         [("spec", "Forbidden: spec is immutable after creation except"),
          ("volumeMode", 'Invalid value: "Block": field is immutable')]),
    ],
)  # fmt: skip
def test_updates_of_claims(new: Object, old: Object, expected: list[tuple[str, str]]) -> None:
    validate = kind_of("persistentvolumeclaims").validate_update
    assert validate
    causes = validate(new, old)
    assert [cause.field for cause in causes] == [field for field, _ in expected]
    for cause, (_, message) in zip(causes, expected, strict=True):
        assert cause.message.startswith(message)


def with_label(key: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}
    return {"spec": {**VOLUME, "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}


@pytest.mark.parametrize(
    ("new", "old", "field"),
    [
        (with_label("kubernetes.io/os"), with_label("beta.kubernetes.io/os"), ""),
        (with_label("b"), with_label("a"), "nodeAffinity"),
        ({"spec": VOLUME}, {"spec": {**VOLUME, "volumeAttributesClassName": "a"}}, "spec.volumeAttributesClassName"),
        ({"spec": {**VOLUME, "csi": {**CSI, "controllerExpandSecretRef": {"name": "a"}}}}, {"spec": VOLUME}, ""),
        ({"spec": {**VOLUME, "csi": {**CSI, "nodeExpandSecretRef": {"name": "a"}}}}, {"spec": VOLUME},
         "spec.persistentvolumesource"),
    ],
)  # fmt: skip
def test_updates_of_volumes(new: dict[str, Any], old: dict[str, Any], field: str) -> None:
    kind = kind_of("persistentvolumes")
    assert kind.validate_update
    assert [c.field for c in kind.validate_update(made(kind, new), made(kind, old))] == ([field] if field else [])


@pytest.mark.parametrize(
    ("spec", "ingress", "expected"),
    [
        (BALANCER, {"ip": "1.1.1.1", "ipMode": "VIP"}, []),
        ({"ports": PORTS}, {"ip": "1.1.1.1", "ipMode": "VIP"},
         [("status.loadBalancer.ingress", "Forbidden: may only be used when `spec.type` is 'LoadBalancer'")]),
        (BALANCER, {"hostname": "a.b", "ipMode": "VIP"},
         [("status.loadBalancer.ingress[0].ipMode", "Forbidden: may not be specified when `ip` is not set")]),
        (BALANCER, {"ip": "1.1.1.1", "ipMode": "X"},
         [("status.loadBalancer.ingress[0].ipMode", 'Unsupported value: "X": supported values: "Proxy", "VIP"')]),
        (BALANCER, {"hostname": "1.1.1.1"},
         [("status.loadBalancer.ingress[0].hostname",
           'Invalid value: "1.1.1.1": must be a DNS name, not an IP address')]),
    ],
)  # fmt: skip
def test_statuses_of_services(spec: dict[str, Any], ingress: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    kind = kind_of("services")
    old = made(kind, {"spec": spec})
    new = {**old, "status": {"loadBalancer": {"ingress": [ingress]}}}
    assert [(c.field, c.message) for c in kind.validate_status_update(new, old)] == expected


def test_a_service_that_becomes_a_name_keeps_its_internal_policy() -> None:
    kind = kind_of("services")
    old = made(kind, {"spec": {"ports": PORTS, "clusterIP": "10.0.0.1"}})
    new = copy_object(old)
    new["spec"] |= {"type": "ExternalName", "externalName": "a.b"}
    kind.default(new)
    kind.prepare_update(new, old)
    assert new["spec"]["internalTrafficPolicy"] == "Cluster"
    assert "clusterIP" not in new["spec"]
