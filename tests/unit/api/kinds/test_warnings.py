"""What clients are told about objects that are accepted, in kube-apiserver's words."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.core.pod_warnings import warn_pod, warn_pod_template
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.network_values import warn_cidr, warn_ip
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, copy_object

REGISTRY = Registry(builtin_kinds())
RECOMMENDED = "which can result in surprising behavior; a DNS label is recommended:"
NULL_SELECTOR = "a null labelSelector results in matching no pod"


def pod_spec(**spec: Any) -> dict[str, Any]:
    """A spec with one container, which `container` replaces parts of."""
    container = {"name": "c", "image": "i", **spec.pop("container", {})}
    return {"containers": [container], **spec}


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "projected": {"sources": list(sources)}}]}


def items(*paths: str) -> list[dict[str, str]]:
    return [{"key": "k", "path": path} for path in paths]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"nodeSelector": {"beta.kubernetes.io/os": "linux", "a": "b"}},
         ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead']),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "node-role.kubernetes.io/master", "operator": "Exists"}]}]}}}},
         ["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
          ".matchExpressions[0].key: node-role.kubernetes.io/master is use"
          ' "node-role.kubernetes.io/control-plane" instead']),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]}}]}}},
         ["spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
          ".matchExpressions[0].values[0]: - is invalid, a valid label must be an empty string or consist of"]),
        ({"topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]},
         ["spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since",
          f"spec.topologySpreadConstraints[0].labelSelector: {NULL_SELECTOR}"]),
        ({"volumes": [{"name": "v", "gitRepo": {}}, {"name": "w", "storageos": {}}]},
         ["spec.volumes[0].gitRepo: deprecated in v1.11",
          "spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+"]),
        ({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "resources": {"requests": {"storage": "200m"}}}}}}]},
         ["spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]:"
          ' fractional byte value "200m" is invalid, must be an integer']),
        ({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]},
         ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"']),
        ({"dnsConfig": {"nameservers": ["010.0.0.1"]}},
         ['spec.dnsConfig.nameservers[0]: non-standard IP address "010.0.0.1" will be considered invalid']),
        ({"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]},
         ['spec.imagePullSecrets[1].name: duplicate name "a"',
          'spec.imagePullSecrets[2].name: invalid empty name ""']),
        ({"overhead": {"memory": "1500m"}},
         ['spec.overhead[memory]: fractional byte value "1500m" is invalid, must be an integer']),
        ({"container": {"resources": {"limits": {"memory": "200m", "cpu": "200m"},
                                      "requests": {"ephemeral-storage": "1u"}}}},
         ['spec.containers[0].resources.limits[memory]: fractional byte value "200m" is invalid',
          'spec.containers[0].resources.requests[ephemeral-storage]: fractional byte value "1u" is invalid']),
        ({"container": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}},
         ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply']),
        ({"container": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}}, []),
        ({"container": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)"}]}},
         ['spec.containers[0].env[1]: hides previous definition of "A"']),
        ({"container": {"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"},
                                  {"containerPort": 80, "protocol": "TCP"}]}},
         ["spec.containers[0].ports[2]: duplicate port definition with spec.containers[0].ports[0]"]),
        ({"container": {"ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": 1},
                                  {"containerPort": 80, "protocol": "TCP"}]}},
         ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"]),
        ({"container": {"ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": 1},
                                  {"containerPort": 80, "protocol": "TCP", "hostPort": 1, "hostIP": "1.1.1.1"}]}},
         ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"]),
        ({"container": {"ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": 1},
                                  {"containerPort": 80, "protocol": "TCP", "hostPort": 2}]}}, []),
        ({"container": {"ports": [{"name": "n", "containerPort": 80, "protocol": "TCP", "hostIP": "1.1.1.1"}]}},
         ["spec.containers[0].ports[0]: hostIP set without hostPort:"
          " {Name:n HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.1.1.1}"]),
        ({"terminationGracePeriodSeconds": -1},
         ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"]),
        ({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]},
                       "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                           {"weight": 1, "podAffinityTerm": {"topologyKey": "a"}}]}}},
         [f"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: {NULL_SELECTOR}",
          "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm"
          f".labelSelector: {NULL_SELECTOR}"]),
        ({"volumes": [{"name": "v", "configMap": {"name": "m", "items": items("a", "a/b")}}]},
         ['volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"']),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s", "items": items("a", "a/")}}]},
         ['volume "v" (Secret "s"): overlapping paths: "a" with "a"']),
        (projected({}), ['volume "v" (Projected) has no sources provided']),
        (projected({"secret": {"name": "s", "items": items("a")}}, {"serviceAccountToken": {"path": "a/token"}}),
         ['volume "v" (Projected ServiceAccountToken): overlapping paths: "a/token" with "a"']),
        (projected({"secret": {"name": "s", "items": items("a")}}, {"configMap": {"name": "m", "items": items("b")}}),
         []),
    ],
)  # fmt: skip
def test_a_pod(spec: dict[str, Any], expected: list[str]) -> None:
    pod: Object = {"metadata": {"name": "p"}, "spec": pod_spec(**spec)}
    warnings = warn_pod(pod, None)
    assert len(warnings) == len(expected), warnings
    for warning, beginning in zip(warnings, expected, strict=True):
        assert warning.startswith(beginning)
    assert warn_pod(pod, copy_object(pod)) == []  # updates are quiet


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("scheduler.alpha.kubernetes.io/critical-pod",
         'non-functional in v1.16+; use the "priorityClassName" field instead'),
        ("seccomp.security.alpha.kubernetes.io/pod", 'non-functional in v1.27+; use the "seccompProfile" field'),
        ("container.seccomp.security.alpha.kubernetes.io/c", 'non-functional in v1.27+; use the "seccompProfile"'),
        ("container.apparmor.security.beta.kubernetes.io/c", 'deprecated since v1.30; use the "appArmorProfile"'),
    ],
)  # fmt: skip
def test_annotations_that_became_fields(annotation: str, expected: str) -> None:
    metadata = {"annotations": {annotation: "runtime/default"}}
    (warning,) = warn_pod_template({"metadata": metadata, "spec": pod_spec()}, "spec.template")
    assert warning.startswith(f"spec.template.metadata.annotations[{annotation}]: {expected}")
    profile = {"type": "RuntimeDefault"}
    own = {"seccompProfile": profile, "appArmorProfile": profile}
    spec = pod_spec(securityContext=own, container={"securityContext": own})
    assert len(warn_pod_template({"metadata": metadata, "spec": spec}, "t")) == (1 if "critical" in annotation else 0)


@pytest.mark.parametrize(
    ("ip", "usual"),
    [("10.0.0.1", ""), ("010.0.0.1", "10.0.0.1"), ("::ffff:1.2.3.4", "1.2.3.4"), ("2001:db8::1", ""),
     ("2001:DB8::0:1", "2001:db8::1")],
)  # fmt: skip
def test_addresses(ip: str, usual: str) -> None:
    warnings = warn_ip(ip, "a")
    assert [warning.rstrip('")').rpartition('"')[2] for warning in warnings] == ([usual] if usual else [])


@pytest.mark.parametrize(
    ("cidr", "expected"),
    [
        ("10.0.0.0/8", []),
        ("10.0.0.1/8", ['a: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or'
                        ' "10.0.0.1/32"?)']),
        ("010.0.0.0/8", ['a: non-standard CIDR value "010.0.0.0/8" will be considered invalid in a future Kubernetes'
                         ' release: use "10.0.0.0/8"']),
        ("2001:DB8::/64", ['a: IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format'
                           ' ("2001:db8::/64")']),
    ],
)  # fmt: skip
def test_networks(cidr: str, expected: list[str]) -> None:
    assert warn_cidr(cidr, "a") == expected


TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec(nodeSelector={"beta.kubernetes.io/os": "linux"})}
OLD_LABEL = 'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
SERVICE = {"type": "ClusterIP", "sessionAffinity": "None"}


def kind_of(group: str, plural: str) -> Kind:
    kind = REGISTRY.by_path(group, "v1", plural)
    assert kind
    return kind


@pytest.mark.parametrize(
    ("group", "plural", "parts", "expected"),
    [
        ("apps", "deployments", {"spec": {"template": TEMPLATE}}, [f"spec.template.{OLD_LABEL}"]),
        ("apps", "replicasets", {"spec": {"template": TEMPLATE}}, [f"spec.template.{OLD_LABEL}"]),
        ("apps", "daemonsets", {"spec": {"template": TEMPLATE}}, [f"spec.template.{OLD_LABEL}"]),
        ("apps", "statefulsets", {"spec": {"template": TEMPLATE, "revisionHistoryLimit": -1, "volumeClaimTemplates": [
            {"spec": {"resources": {"requests": {"storage": "1m"}}}}]}},
         [f"spec.template.{OLD_LABEL}",
          'spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1m" is invalid,'
          " must be an integer",
          "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"]),
        ("", "replicationcontrollers", {"spec": {"template": TEMPLATE}}, [f"spec.template.{OLD_LABEL}"]),
        ("", "podtemplates", {"template": TEMPLATE}, [f"template.{OLD_LABEL}"]),
        ("batch", "jobs", {"spec": {"template": TEMPLATE}}, [f"spec.template.{OLD_LABEL}"]),
        ("batch", "jobs", {"spec": {"completionMode": "Indexed", "completions": 100001, "parallelism": 10001}},
         ["spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4,"
          " Kubernetes might not be able to track completedIndexes when a big number of indexes fail"]),
        ("batch", "cronjobs", {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
         [f"spec.jobTemplate.spec.template.{OLD_LABEL}"]),
        ("", "services", {"spec": {**SERVICE, "clusterIP": "None", "externalIPs": ["1.1.1.1"],
                                   "loadBalancerIP": "1.1.1.1", "sessionAffinity": "ClientIP"}},
         ["spec.loadBalancerIP is ignored for headless services", "spec.externalIPs is ignored for headless services",
          "spec.SessionAffinity is ignored for headless services"]),
        ("", "services", {"spec": {**SERVICE, "externalIPs": ["01.1.1.1"], "externalName": "a.b",
                                   "trafficDistribution": "PreferClose"}},
         ['spec.externalIPs[0]: non-standard IP address "01.1.1.1" will be considered invalid in a future Kubernetes'
          ' release: use "1.1.1.1"',
          "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
          'spec.externalName is ignored when spec.type is not "ExternalName"',
          'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"']),
        ("", "persistentvolumeclaims", {"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "a"}},
                                        "spec": {}},
         ["metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8;"
          ' use "storageClassName" attribute instead']),
        ("", "persistentvolumes", {"spec": {"persistentVolumeReclaimPolicy": "Recycle", "cephfs": {}}},
         ["spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended"
          " approach is to use dynamic provisioning.",
          "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"]),
        ("", "nodes", {"spec": {"externalID": "a"}},
         ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]),
        ("", "serviceaccounts", {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}},
         ["metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate"
          " namespaces to isolate access to mounted secrets"]),
        ("discovery.k8s.io", "endpointslices", {"addressType": "FQDN", "endpoints": []},
         ["spec.addressType: FQDN endpoints are deprecated"]),
        ("networking.k8s.io", "ingresses", {"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}}},
         ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"]),
        ("networking.k8s.io", "networkpolicies", {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}},
         ['spec.egress[0].to[0].ipBlock.cidr: CIDR value "10.0.0.1/8" is ambiguous in this context (should be'
          ' "10.0.0.0/8" or "10.0.0.1/32"?)']),
        ("node.k8s.io", "runtimeclasses", {"scheduling": {"nodeSelector": {"beta.kubernetes.io/arch": "a"}}},
         ['scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/arch" instead']),
        ("storage.k8s.io", "storageclasses",
         {"allowedTopologies": [{"matchLabelExpressions": [{"key": "beta.kubernetes.io/arch"}]}]},
         ["allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14;"
          ' use "kubernetes.io/arch" instead']),
    ],
)  # fmt: skip
def test_other_kinds(group: str, plural: str, parts: dict[str, Any], expected: list[str]) -> None:
    obj = {"metadata": {"name": "x"}, **parts}
    assert kind_of(group, plural).warn(obj, None) == expected


@pytest.mark.parametrize(
    ("group", "plural", "whose"),
    [("", "pods", "the Pod's hostname"), ("apps", "deployments", "Pod names and hostnames"),
     ("apps", "replicasets", "Pod names and hostnames"), ("batch", "jobs", "Pod names and hostnames"),
     ("", "replicationcontrollers", "Pod names and hostnames")],
)  # fmt: skip
def test_names_that_are_no_host_names(group: str, plural: str, whose: str) -> None:
    obj: Object = {"metadata": {"name": "a.b"}, "spec": pod_spec() if plural == "pods" else {}}
    (warning,) = kind_of(group, plural).warn(obj, None)
    assert warning.startswith(f"metadata.name: this is used in {whose}, {RECOMMENDED} [must not contain dots")
    assert kind_of(group, plural).warn(obj, obj) == []


def test_an_unchanged_template_is_not_told_about_again() -> None:
    kind = kind_of("apps", "deployments")
    old: Object = {"metadata": {"name": "x"}, "spec": {"replicas": 1, "template": TEMPLATE}}
    assert kind.warn(copy_object(old), old) == []
    assert kind.warn({**old, "spec": {**old["spec"], "replicas": 2}}, old) == [f"spec.template.{OLD_LABEL}"]
