"""Pods: defaults, quality of service, cells, and what may change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from orchestrator.api.kinds.core.pod import POD, default_pod, pod_cells, prepare_pod_create, row
from orchestrator.api.kinds.core.pod_spec import image_tag
from orchestrator.api.kinds.core.pod_spec_validation import validate_pod_spec
from orchestrator.api.kinds.core.pod_validation import (
    validate_ephemeral_containers_update,
    validate_pod,
    validate_pod_resize,
    validate_pod_update,
)
from orchestrator.api.kinds.core.quality_of_service import qos_class
from orchestrator.api.objects import Object, copy_object

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def pod(**spec: Any) -> Object:
    """A valid pod, with defaults."""
    obj: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "creationTimestamp": "2024-01-01T23:58:00Z"},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}], **spec},
    }
    default_pod(obj)
    return obj


@pytest.mark.parametrize(
    ("image", "tag"),
    [("nginx", "latest"), ("nginx:1.2", "1.2"), ("r.io:5000/a/b", "latest"), ("r.io:5000/a/b:x", "x"),
     ("a@sha256:ab", ""), ("a:1@sha256:ab", "1")],
)  # fmt: skip
def test_image_tag(image: str, tag: str) -> None:
    assert image_tag(image) == tag


def test_defaults_of_equal_specs_are_equal_and_apart() -> None:
    limits = {"limits": {"cpu": "0.5"}}
    first, second = (pod(containers=[{"name": "c", "image": "a", "resources": copy_object(limits)}]) for _ in range(2))
    assert orjson.dumps(first) == orjson.dumps(second)
    second["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"
    third = pod(containers=[{"name": "c", "image": "a", "resources": copy_object(limits)}])
    assert orjson.dumps(first) == orjson.dumps(third)
    again = copy_object(first)
    default_pod(again)
    assert orjson.dumps(again) == orjson.dumps(first)


def test_defaults_of_pull_policy_follow_the_tag() -> None:
    policies = [
        pod(containers=[{"name": "c", "image": image}])["spec"]["containers"][0]["imagePullPolicy"]
        for image in ("a", "a:latest", "a:1", "a@sha256:ab")
    ]
    assert policies == ["Always", "Always", "IfNotPresent", "IfNotPresent"]


def test_requests_follow_limits_and_amounts_are_canonical() -> None:
    container = {"name": "c", "image": "a", "resources": {"limits": {"cpu": "0.5", "memory": "1024Ki"}}}
    resources = pod(containers=[container])["spec"]["containers"][0]["resources"]
    assert resources == {
        "limits": {"cpu": "500m", "memory": "1Mi"},
        "requests": {"cpu": "500m", "memory": "1Mi"},
    }


def test_a_negative_grace_period_of_a_pod_is_a_second() -> None:
    assert pod(terminationGracePeriodSeconds=-1)["spec"]["terminationGracePeriodSeconds"] == 1
    assert pod(terminationGracePeriodSeconds=0)["spec"]["terminationGracePeriodSeconds"] == 0


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
        ({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"example.com/gpu": "1"}}, "BestEffort"),
        ({"requests": {"cpu": "0"}}, "BestEffort"),
    ],
)
def test_qos_class(resources: dict[str, Any], expected: str) -> None:
    assert qos_class({"containers": [{"name": "c", "resources": resources}]}) == expected


def test_new_pod_is_pending_and_gated_pods_say_so() -> None:
    obj = pod(schedulingGates=[{"name": "a.b/c"}])
    obj["status"] = {"phase": "Running"}
    prepare_pod_create(obj)
    assert obj["status"]["phase"] == "Pending"
    assert obj["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert pod_cells(obj)[1] == "SchedulingGated"


def _waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def _ended(code: int, reason: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **({"reason": reason} if reason else {})}}


RUNNING: dict[str, Any] = {"running": {}}


@pytest.mark.parametrize(
    ("spec", "status", "meta", "ready", "shown"),
    [
        ({}, {"phase": "Pending"}, {}, "0/1", "Pending"),
        ({}, {"phase": "Running", "containerStatuses": [{"ready": True, "state": RUNNING}]}, {}, "1/1", "Running"),
        ({}, {"phase": "Running", "containerStatuses": [{"state": _waiting("CrashLoopBackOff")}]}, {}, "0/1",
         "CrashLoopBackOff"),
        ({}, {"phase": "Failed", "containerStatuses": [{"state": _ended(1, "Error")}]}, {}, "0/1", "Error"),
        ({}, {"phase": "Failed", "containerStatuses": [{"state": _ended(3)}]}, {}, "0/1", "ExitCode:3"),
        ({}, {"phase": "Failed", "reason": "Evicted"}, {}, "0/1", "Evicted"),
        ({}, {"phase": "Succeeded", "containerStatuses": [{"state": _ended(0, "Completed")}]}, {}, "0/1", "Completed"),
        ({}, {"phase": "Running", "containerStatuses": [{"ready": True, "state": RUNNING}]},
         {"deletionTimestamp": "2024-01-01T00:00:00Z"}, "1/1", "Terminating"),
        ({}, {"phase": "Succeeded"}, {"deletionTimestamp": "2024-01-01T00:00:00Z"}, "0/1", "Succeeded"),
        ({}, {"phase": "Running", "reason": "NodeLost"}, {"deletionTimestamp": "2024-01-01T00:00:00Z"}, "0/1",
         "Unknown"),
        ({"initContainers": [{"name": "a"}, {"name": "b"}]},
         {"phase": "Pending",
          "initContainerStatuses": [{"name": "a", "state": _ended(0)}, {"name": "b", "state": RUNNING}]},
         {}, "0/1", "Init:1/2"),
        ({"initContainers": [{"name": "a"}]},
         {"phase": "Pending", "initContainerStatuses": [{"name": "a", "state": _ended(2, "Error")}]}, {}, "0/1",
         "Init:Error"),
        ({"initContainers": [{"name": "a"}]},
         {"phase": "Pending", "initContainerStatuses": [{"name": "a", "state": _waiting("ImagePullBackOff")}]}, {},
         "0/1", "Init:ImagePullBackOff"),
        ({"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
         {"phase": "Running",
          "initContainerStatuses": [{"name": "s", "started": True, "ready": True, "state": RUNNING}],
          "containerStatuses": [{"ready": True, "state": RUNNING}]}, {}, "2/2", "Running"),
    ],
)  # fmt: skip
def test_cells(spec: dict[str, Any], status: dict[str, Any], meta: dict[str, Any], ready: str, shown: str) -> None:
    obj = pod(**spec)
    obj["metadata"].update(meta)
    obj["status"] = status
    assert pod_cells(obj)[:2] == (ready, shown)


def test_restarts_tell_when_the_last_was() -> None:
    obj = pod()
    last = {"terminated": {"exitCode": 1, "finishedAt": "2024-01-01T23:55:00Z"}}
    obj["status"] = {"containerStatuses": [{"restartCount": 2, "lastState": last, "state": RUNNING}]}
    assert row(obj, NOW)[3:5] == ["2 (5m ago)", "2m"]


def test_only_some_fields_may_change() -> None:
    old = pod()
    new = copy_object(old)
    new["spec"]["containers"][0]["image"] = "nginx:2"
    new["spec"]["activeDeadlineSeconds"] = 5
    new["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
    assert validate_pod_update(new, old) == []
    new["spec"]["containers"][0]["command"] = ["x"]
    (cause,) = validate_pod_update(new, old)
    assert (cause.reason, cause.field) == ("FieldValueForbidden", "spec")
    assert cause.message.startswith(
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )


def test_gated_pods_may_be_narrowed_down_but_not_get_new_gates() -> None:
    old = pod(schedulingGates=[{"name": "a.b/c"}])
    new = copy_object(old)
    new["spec"]["nodeSelector"] = {"disk": "ssd"}
    assert validate_pod_update(new, old) == []
    new["spec"]["schedulingGates"].append({"name": "a.b/d"})
    assert [cause.field for cause in validate_pod_update(new, old)] == ["spec.schedulingGates[1].name"]


def test_deadline_only_shrinks() -> None:
    old, new = pod(activeDeadlineSeconds=10), pod(activeDeadlineSeconds=20)
    (cause,) = validate_pod_update(new, old)
    assert cause.message == "Invalid value: 20: must be less than or equal to previous value"


def test_ephemeral_containers_are_only_added() -> None:
    old = pod()
    new = copy_object(old)
    new["spec"]["ephemeralContainers"] = [{"name": "d", "image": "busybox"}]
    default_pod(new)
    assert validate_ephemeral_containers_update(new, old) == []
    assert validate_pod(new)[-1].field == "spec.ephemeralContainers"
    assert validate_ephemeral_containers_update(old, new)[0].reason == "FieldValueForbidden"


def test_resize_changes_cpu_and_memory_only() -> None:
    def sized(cpu: str, **more: str) -> Object:
        requests = {"requests": {"cpu": cpu, **more}}
        return pod(containers=[{"name": "c", "image": "a:1", "resources": requests}])

    assert validate_pod_resize(sized("2"), sized("1")) == []
    assert validate_pod_resize(sized("1", **{"ephemeral-storage": "1Gi"}), sized("1"))[0].field == "spec"


def test_field_selectors() -> None:
    obj = pod(nodeName="n1")
    obj["status"] = {"phase": "Running"}
    values = {key: reader(obj) for key, reader in POD.selectable_fields.items()}
    assert values["spec.nodeName"] == "n1"
    assert values["status.phase"] == "Running"
    assert values["spec.hostNetwork"] == "false"


RULE = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}


@pytest.mark.parametrize(
    ("container", "field"),
    [
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE]}, ""),
        ({"restartPolicyRules": [RULE]}, "restartPolicy"),
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE] * 21}, "restartPolicyRules"),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{**RULE, "action": "Explode"}]},
            "restartPolicyRules[0].action",
        ),
        ({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}, "restartPolicyRules[0].exitCodes"),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{**RULE, "exitCodes": {"operator": "Gt", "values": [1]}}],
            },
            "restartPolicyRules[0].exitCodes.operator",
        ),
    ],
)
def test_rules_for_exit_codes_are_checked(container: dict[str, Any], field: str) -> None:
    obj = pod()
    obj["spec"]["containers"][0].update(container)
    expected = [f"spec.containers[0].{field}"] if field else []
    assert [cause.field for cause in validate_pod_spec(obj["spec"], "spec")] == expected


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({"hostnameOverride": "a.b.example"}, 0),
        ({"hostnameOverride": "Not-RFC1123"}, 1),
        ({"hostnameOverride": "a" * 60 + ".bcdef"}, 1),
        ({"hostnameOverride": "a", "setHostnameAsFQDN": True}, 1),
        ({"hostnameOverride": "a", "hostNetwork": True}, 1),
    ],
)
def test_a_host_name_of_its_own_goes_with_no_other(spec: dict[str, Any], count: int) -> None:
    found = [cause.field for cause in validate_pod_spec(pod(**spec)["spec"], "spec")]
    assert found == ["spec.hostnameOverride"] * count
