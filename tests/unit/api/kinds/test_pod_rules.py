"""What is wrong with pods, and with changes of them, as a table: path and words as kube-apiserver has them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.kinds.core.pod import POD
from orchestrator.api.kinds.core.pod_template import default_pod_template_object, validate_pod_template
from orchestrator.api.kinds.core.pod_validation import (
    validate_ephemeral_containers_update,
    validate_pod_resize,
    validate_pod_status_update,
    validate_pod_update,
)
from orchestrator.api.objects import Object, copy_object

APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/c"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/c"
COST = "controller.kubernetes.io/pod-deletion-cost"
MIRROR = "kubernetes.io/config.mirror"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def pod(metadata: dict[str, Any] | None = None, *, name: str = "p", **spec: Any) -> Object:
    """A pod as a POST would store it; `container` replaces parts of its only container."""
    container = {"name": "c", "image": "i", **spec.pop("container", {})}
    obj: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "creationTimestamp": "2024-01-01T00:00:00Z", **copy_object(metadata or {})},
        "spec": copy_object({"containers": [container], "serviceAccountName": "default", **spec}),
    }
    POD.default(obj)
    POD.prepare_create(obj)
    return obj


def found(obj: Object) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in POD.validate(obj)]


def env(source: dict[str, Any]) -> dict[str, Any]:
    return {"container": {"env": [{"name": "A", "valueFrom": source}]}}


def mount(**fields: Any) -> dict[str, Any]:
    return {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "container": {"volumeMounts": [{"name": "v", "mountPath": "/v", **fields}]},
    }


def resources(**amounts: Any) -> dict[str, Any]:
    return {"container": {"resources": amounts}}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"metadata": {"annotations": {COST: "-5"}}},
        {"metadata": {"annotations": {MIRROR: ""}}, "nodeName": "n"},
        {"metadata": {"annotations": {SECCOMP: "docker/default"}},
         "container": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}},
        {"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": {"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["-"]}]}}]}}},
        {"container": {"lifecycle": {"preStop": {"sleep": {"seconds": 30}}}}},
        {"container": {"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}},
        {"container": {"lifecycle": {"stopSignal": "SIGRTMIN+15"}}, "os": {"name": "linux"}},
        env({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1000m"}}),
        resources(limits={"hugepages-2Mi": "4Mi", "cpu": "1"}),
        {"resources": {"limits": {"cpu": "2"}}, **resources(requests={"cpu": "1", "memory": "1Gi"})},
        {"hostNetwork": True, "container": {"ports": [{"containerPort": 80}]}},
        {"securityContext": {"seLinuxChangePolicy": "MountOption"}},
        {"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
    ],
)  # fmt: skip
def test_accepted(parts: dict[str, Any]) -> None:
    assert found(pod(**parts)) == []


@pytest.mark.parametrize(
    ("parts", "field", "message"),
    [
        ({"metadata": {"annotations": {MIRROR: "m"}}}, f"metadata.annotations[{MIRROR}]",
         'Invalid value: "m": must set spec.nodeName if mirror pod annotation is set'),
        ({"metadata": {"annotations": {COST: "+1"}}}, f"metadata.annotations[{COST}]",
         'Invalid value: "+1": must be a 32bit integer'),
        ({"metadata": {"annotations": {COST: "2147483648"}}}, f"metadata.annotations[{COST}]",
         'Invalid value: "2147483648": must be a 32bit integer'),
        ({"metadata": {"annotations": {SECCOMP: "foo"}}}, f"metadata.annotations.{SECCOMP}",
         'Invalid value: "foo": must be a valid seccomp profile'),
        ({"metadata": {"annotations": {f"{APP_ARMOR}x": "runtime/default"}}}, f"metadata.annotations[{APP_ARMOR}x]",
         'Invalid value: "cx": container not found'),
        ({"metadata": {"annotations": {APP_ARMOR: "foo"}}}, f"metadata.annotations[{APP_ARMOR}]",
         'Invalid value: "foo": invalid AppArmor profile name: "foo"'),
        ({"metadata": {"annotations": {APP_ARMOR: "unconfined"}},
          "container": {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}},
         "spec.containers[0].securityContext.appArmorProfile.type",
         "Forbidden: apparmor type in annotation and field must match"),
        ({"metadata": {"annotations": {SECCOMP: "localhost/a"}},
          "container": {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "b"}}}},
         "spec.containers[0].securityContext.seccompProfile.localhostProfile",
         "Forbidden: seccomp profile in annotation and field must match"),
        ({"container": {"image": " i"}}, "spec.containers[0].image",
         'Invalid value: " i": must not have leading or trailing whitespace'),
        ({"container": {"terminationMessagePolicy": "X"}}, "spec.containers[0].terminationMessagePolicy",
         'Unsupported value: "X": supported values: "File", "FallbackToLogsOnError"'),
        (env({"secretKeyRef": {"name": "", "key": "k"}}), "spec.containers[0].env[0].valueFrom.secretKeyRef.name",
         'Invalid value: "": a lowercase RFC 1123 subdomain must consist of'),
        (env({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}),
         "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor",
         "Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource"),
        (env({"resourceFieldRef": {"resource": "requests.ephemeral-storage", "divisor": "2"}}),
         "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor",
         "Invalid value: \"requests.ephemeral-storage\": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi,"
         " 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource"),
        (mount(mountPropagation="X"), "spec.containers[0].volumeMounts.mountPropagation",
         'Unsupported value: "X": supported values: "Bidirectional", "HostToContainer", "None"'),
        (mount(subPath="a", subPathExpr="b"), "spec.containers[0].volumeMounts[0].subPathExpr",
         'Invalid value: "b": subPathExpr and subPath are mutually exclusive'),
        ({"container": {"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}},
         "spec.containers[0].lifecycle.preStop.sleep",
         "Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"),
        ({"container": {"lifecycle": {"stopSignal": "SIGTERM"}}}, "spec.containers[0].lifecycle.stopSignal",
         "Forbidden: may not be set for containers with empty `spec.os.name`"),
        ({"container": {"lifecycle": {"stopSignal": "TERM"}}, "os": {"name": "linux"}},
         "spec.containers[0].lifecycle.stopSignal", 'Unsupported value: "TERM": supported values: "SIGABRT", '),
        ({"container": {"lifecycle": {"stopSignal": "SIGHUP"}}, "os": {"name": "windows"}},
         "spec.containers[0].lifecycle.stopSignal", 'Unsupported value: "SIGHUP": supported values: "SIGKILL", '),
        ({"container": {"resizePolicy": [{"resourceName": "x", "restartPolicy": "NotRequired"}]}},
         "spec.containers[0].resizePolicy", 'Unsupported value: "x": supported values: "cpu", "memory"'),
        (resources(limits={"hugepages-2Mi": "3Mi", "cpu": "1"}), "spec.containers[0].resources.limits[hugepages-2Mi]",
         'Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi'),
        (resources(claims=[{"name": "x"}]), "spec.containers[0].resources.claims[0]",
         'Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty'),
        ({"overhead": {"foo": "1"}}, "spec.overhead.limits[foo]",
         'Invalid value: "foo": must be a standard resource type or fully qualified'),
        ({"resources": {"limits": {"ephemeral-storage": "1"}}}, "spec.resources.limits[ephemeral-storage]",
         'Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"'),
        ({"resources": {"requests": {"cpu": "1"}}, **resources(requests={"cpu": "2"})}, "spec.resources.requests[cpu]",
         'Invalid value: "1": must be greater than or equal to aggregate container requests of 2'),
        ({"resources": {"limits": {"cpu": "1"}}, **resources(limits={"cpu": "2"}, requests={"cpu": "1"})},
         "spec.resources.containers[0][cpu].limits",
         'Invalid value: "2": must be less than or equal to pod limits of 1'),
        ({"hostNetwork": True, "container": {"ports": [{"containerPort": 80, "hostPort": 81}]}},
         "spec.containers[0].ports[0].hostPort",
         "Invalid value: 81: must match `containerPort` when `hostNetwork` is true"),
        ({"hostNetwork": True, "securityContext": {"sysctls": [{"name": "net.a", "value": "1"}]}},
         "spec.securityContext.sysctls[0].name",
         "Invalid value: \"net.a\": may not be specified when 'hostNetwork' is true"),
        ({"hostIPC": True, "securityContext": {"sysctls": [{"name": "kernel.shmmax", "value": "1"}]}},
         "spec.securityContext.sysctls[0].name",
         "Invalid value: \"kernel.shmmax\": may not be specified when 'hostIPC' is true"),
        ({"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}}},
         "spec.securityContext.appArmorProfile.localhostProfile",
         'Invalid value: " a": must not be padded with whitespace'),
        ({"securityContext": {"seLinuxChangePolicy": "X"}}, "spec.securityContext.seLinuxChangePolicy",
         'Unsupported value: "X": supported values: "MountOption", "Recursive"'),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "spec.tolerations[0].operator",
         "Invalid value: \"b\": value must be empty when `operator` is 'Exists'"),
        ({"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["-"]}]}, "spec.hostAliases[0].hostnames[0]",
         'Invalid value: "-": a lowercase RFC 1123 subdomain must consist of'),
        ({"os": {"name": "x"}}, "spec.os", 'Unsupported value: "x": supported values: "linux", "windows"'),
        ({"os": {"name": "windows"}, "container": {"securityContext": {"privileged": False}}},
         "spec.containers[0].securityContext.privileged", "Forbidden: cannot be set for a windows pod"),
        ({"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["a"],
                                                   "mismatchLabelKeys": ["a"]}]}}},
         f"spec.affinity.podAffinity.{REQUIRED}[0].matchLabelKeys[0]",
         'Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys'),
        ({"metadata": {"labels": {"a": "b"}}, "affinity": {"podAffinity": {REQUIRED: [
            {"topologyKey": "z", "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["a"]}]}}},
         f"spec.affinity.podAffinity.{REQUIRED}[0][0]",
         'Invalid value: "a": exists in both matchLabelKeys and labelSelector'),
        ({"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 2, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
         "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}",
         'Duplicate value: "{z, DoNotSchedule}"'),
        ({"volumes": [{"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}}},
                      {"name": "c", "persistentVolumeClaim": {"claimName": "p-e"}}]},
         "spec.volumes[1].persistentVolumeClaim.claimName",
         'Invalid value: "p-e": must not reference a PVC that gets created for an ephemeral volume'),
        ({"serviceAccountName": "",
          "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
         "spec.volumes[0].projected.sources[0].serviceAccountToken",
         "Forbidden: must not be specified when serviceAccountName is not set"),
    ],
)  # fmt: skip
def test_refused(parts: dict[str, Any], field: str, message: str) -> None:
    first = found(pod(**parts))[0]
    assert first[0] == field
    assert first[1].startswith(message)


def test_what_only_pods_are_asked_for_does_not_concern_templates() -> None:
    obj = {"template": {"spec": {"containers": [{"name": "c", "image": " i"}], "resources": {"limits": {"cpu": "1"}}}}}
    default_pod_template_object(obj)
    assert validate_pod_template(obj["template"], "template") == []
    assert "requests" not in obj["template"]["spec"]["resources"]


def test_requests_of_a_pod_follow_its_containers_then_its_limits() -> None:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    obj = pod(containers=[container, {**container, "name": "d"}], resources={"limits": {"cpu": "4", "memory": "1Gi"}})
    assert obj["spec"]["resources"]["requests"] == {"cpu": "2", "memory": "1Gi"}
    only_requests = pod(**resources(requests={"cpu": "1"}), resources={"requests": {"memory": "1Gi"}})
    assert only_requests["spec"]["resources"]["requests"] == {"memory": "1Gi"}


def test_amounts_are_rounded_up_to_thousandths() -> None:
    obj = pod(**resources(requests={"cpu": "1u", "memory": "1.00001"}))
    assert obj["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1m", "memory": "1001m"}


def test_match_label_keys_of_a_new_pod_become_expressions() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {},
                  "matchLabelKeys": ["a", "missing"]}  # fmt: skip
    obj = pod({"labels": {"a": "b"}}, topologySpreadConstraints=[constraint])
    (stored,) = obj["spec"]["topologySpreadConstraints"]
    assert stored["labelSelector"] == {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    assert found(obj) == []


def test_app_armor_annotations_become_fields() -> None:
    obj = pod({"annotations": {APP_ARMOR: "localhost/a"}})
    profile = obj["spec"]["containers"][0]["securityContext"]["appArmorProfile"]
    assert profile == {"type": "Localhost", "localhostProfile": "a"}
    of_pod = pod(
        {"annotations": {APP_ARMOR: "unconfined"}}, securityContext={"appArmorProfile": {"type": "Unconfined"}}
    )
    assert "securityContext" not in of_pod["spec"]["containers"][0]


def test_a_gated_pod_says_since_when() -> None:
    (condition,) = pod(schedulingGates=[{"name": "a.b/c"}])["status"]["conditions"]
    assert condition["lastTransitionTime"] == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("old", "change", "field", "message"),
    [
        ({}, {"metadata": {"annotations": {MIRROR: "m"}}, "nodeName": "n"}, f"metadata.annotations[{MIRROR}]",
         "Forbidden: may not add mirror pod annotation"),
        ({"metadata": {"annotations": {MIRROR: "m"}}, "nodeName": "n"}, {"nodeName": "n"},
         f"metadata.annotations[{MIRROR}]", "Forbidden: may not remove or update mirror pod annotation"),
        ({"schedulingGates": [{"name": "a.b/c"}], "nodeSelector": {"a": "b"}},
         {"schedulingGates": [{"name": "a.b/c"}], "nodeSelector": {"c": "d"}}, "spec.nodeSelector",
         'Invalid value: {"c":"d"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)'),
    ],
)  # fmt: skip
def test_refused_updates(old: dict[str, Any], change: dict[str, Any], field: str, message: str) -> None:
    causes = validate_pod_update(pod(**change), pod(**old))
    assert (field, message) in [(cause.field, cause.message) for cause in causes]


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ([{"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]}], ""),
        ([{"matchExpressions": [{"key": "b", "operator": "Exists"}]}], "nodeSelectorTerms[0]"),
        ([], "nodeSelectorTerms"),
    ],
)
def test_terms_of_a_gated_pod_only_get_more_requirements(terms: list[dict[str, Any]], field: str) -> None:
    def gated(terms: list[dict[str, Any]]) -> Object:
        node = {REQUIRED: {"nodeSelectorTerms": terms}} if terms else {}
        return pod(schedulingGates=[{"name": "a.b/c"}], affinity={"nodeAffinity": node})

    old = gated([{"matchExpressions": [{"key": "a", "operator": "Exists"}]}])
    expected = [f"spec.affinity.nodeAffinity.{REQUIRED}.{field}"] if field else []
    assert [cause.field for cause in validate_pod_update(gated(terms), old)] == expected


@pytest.mark.parametrize(
    ("status", "field", "message"),
    [
        ({"podIPs": [{"ip": "x"}]}, "status.podIPs[0]",
         'Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
        ({"podIPs": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}]}, "status.podIPs",
         'Invalid value: [{"ip":"1.1.1.1"},{"ip":"1.1.1.2"}]: may specify no more than one IP for each IP family'),
        ({"hostIP": "1.1.1.1", "hostIPs": [{"ip": "1.1.1.2"}]}, "status.hostIPs[0].ip",
         'Invalid value: "1.1.1.2": must be equal to `hostIP`'),
        ({"resourceClaimStatuses": [{"name": "x"}]}, "status.resourceClaimStatuses[0].name",
         'Invalid value: "x": must match the name of an entry in `spec.resourceClaims`'),
        ({"ephemeralContainerStatuses": [{"name": "d", "state": {"running": {}}}]},
         "status.ephemeralContainerStatuses[0].state", "Forbidden: may not be transitioned to non-terminated state"),
    ],
)  # fmt: skip
def test_refused_statuses(status: dict[str, Any], field: str, message: str) -> None:
    old = pod()
    ended = {"name": "d", "state": {"terminated": {"exitCode": 1}}}
    old["status"]["ephemeralContainerStatuses"] = [ended]
    new = {**old, "status": {"qosClass": "BestEffort", "ephemeralContainerStatuses": [ended], **status}}
    (cause,) = validate_pod_status_update(new, old)
    assert (cause.field, cause.message) == (field, message)


def test_a_status_without_generations_keeps_those_that_are_there() -> None:
    old = {"status": {"observedGeneration": 3, "conditions": [
        {"type": "Ready", "observedGeneration": 2}, {"type": "Initialized"}]}}  # fmt: skip
    new: Object = {"status": {"conditions": [{"type": "Initialized"}, {"type": "Ready"}, {"type": "Ready"}]}}
    POD.prepare_status_update(new, old)
    assert new["status"]["observedGeneration"] == 3
    assert new["status"]["conditions"] == [
        {"type": "Initialized"}, {"type": "Ready", "observedGeneration": 2}, {"type": "Ready"}]  # fmt: skip


def test_pods_that_are_only_mirrored_are_neither_debugged_nor_resized() -> None:
    mirrored = pod({"annotations": {MIRROR: "m"}}, nodeName="n")
    (cause,) = validate_ephemeral_containers_update(mirrored, mirrored)
    assert cause.message == "Forbidden: static pods do not support ephemeral containers"
    (cause,) = validate_pod_resize(mirrored, mirrored)
    assert cause.message == "Forbidden: static pods cannot be resized"
