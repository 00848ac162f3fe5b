"""Reading a Pod: its containers by kind, its restart rules, its QoS class, its resources.

Pure functions over the JSON of a Pod. Never talks to the API or to a runtime. Mirrors
k8s.io/kubernetes/pkg/api/v1/pod and pkg/apis/core/v1/helper/qos.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.api.quantity import parse_quantity

STATIC_SOURCE_ANNOTATION = "kubernetes.io/config.source"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
HASH_ANNOTATION = "kubernetes.io/config.hash"
SEEN_ANNOTATION = "kubernetes.io/config.seen"

GRACE_SECONDS_DEFAULT = 30
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


class ContainerKind(enum.StrEnum):
    """How a container takes part in the life of its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    """An init container with `restartPolicy: Always` (KEP-753)."""
    APP = "app"
    EPHEMERAL = "ephemeral"


def spec_of(pod: Object) -> Object:
    """`spec`, never None."""
    spec: Object = pod.get("spec") or {}
    return spec


def status_of(pod: Object) -> Object:
    """`status`, never None."""
    status: Object = pod.get("status") or {}
    return status


def app_containers_of(pod: Object) -> list[Object]:
    """`spec.containers`."""
    return spec_of(pod).get("containers") or []


def init_containers_of(pod: Object) -> list[Object]:
    """`spec.initContainers`, sidecars included, in their order."""
    return spec_of(pod).get("initContainers") or []


def ephemeral_containers_of(pod: Object) -> list[Object]:
    """`spec.ephemeralContainers`."""
    return spec_of(pod).get("ephemeralContainers") or []


def is_sidecar(container: Object) -> bool:
    """Whether an *init* container is a native sidecar."""
    return container.get("restartPolicy") == "Always"


def all_containers_of(pod: Object) -> Iterator[tuple[ContainerKind, Object]]:
    """Every container with its kind: init containers and sidecars first, then apps, then ephemeral ones."""
    for container in init_containers_of(pod):
        yield (ContainerKind.SIDECAR if is_sidecar(container) else ContainerKind.INIT), container
    for container in app_containers_of(pod):
        yield ContainerKind.APP, container
    for container in ephemeral_containers_of(pod):
        yield ContainerKind.EPHEMERAL, container


def volumes_in_use(pod: Object) -> list[Object]:
    """The volumes that a container names; a kubelet leaves the others alone, whatever is wrong with them."""
    used: set[str] = set()
    for _, container in all_containers_of(pod):
        used.update(mount["name"] for mount in container.get("volumeMounts") or ())
        used.update(device["name"] for device in container.get("volumeDevices") or ())
        files = ((one.get("valueFrom") or {}).get("fileKeyRef") or {} for one in container.get("env") or ())
        used.update(file["volumeName"] for file in files if file)
    return [volume for volume in spec_of(pod).get("volumes") or () if volume["name"] in used]


def find_container(pod: Object, name: str) -> tuple[ContainerKind, Object] | None:
    """The container with this name and its kind."""
    for kind, container in all_containers_of(pod):
        if container.get("name") == name:
            return kind, container
    return None


def field_path_of(pod: Object, name: str) -> str:
    """`spec.containers{name}`: how events name one container of a pod."""
    found = find_container(pod, name)
    kind = found[0] if found else ContainerKind.APP
    section = {
        ContainerKind.INIT: "initContainers",
        ContainerKind.SIDECAR: "initContainers",
        ContainerKind.APP: "containers",
        ContainerKind.EPHEMERAL: "ephemeralContainers",
    }[kind]
    return f"spec.{section}{{{name}}}"


def describe_pod(pod: Object) -> str:
    """`name_namespace(uid)`, as messages of the kubelet name a pod."""
    return f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"


def restart_policy_of(pod: Object) -> str:
    """`spec.restartPolicy`; Always when it is missing."""
    return spec_of(pod).get("restartPolicy") or "Always"


def is_restarted_after(pod: Object, container: Object, exit_code: int, kind: ContainerKind = ContainerKind.APP) -> bool:
    """Whether a container that ended with this code is started again.

    A container's own `restartPolicyRules` come first, then its own `restartPolicy`, then the pod's
    (KEP-5307). Sidecars always restart; for init containers Always means OnFailure.
    """
    if kind is ContainerKind.EPHEMERAL:
        return False
    if kind is ContainerKind.SIDECAR:
        return True
    rule = matching_rule(container, exit_code)
    if rule is not None:
        return bool(rule.get("action") == "Restart")
    policy = container.get("restartPolicy") or restart_policy_of(pod)
    if policy == "Never":
        return False
    if policy == "OnFailure" or kind is ContainerKind.INIT:
        return exit_code != 0
    return True


def matching_rule(container: Object, exit_code: int) -> Object | None:
    """The first of a container's `restartPolicyRules` that is about this exit code."""
    return next((rule for rule in container.get("restartPolicyRules") or () if _rule_matches(rule, exit_code)), None)


def _rule_matches(rule: Mapping[str, Any], exit_code: int) -> bool:
    codes = rule.get("exitCodes") or {}
    values = codes.get("values") or ()
    if codes.get("operator") == "NotIn":
        return exit_code not in values
    return codes.get("operator") == "In" and exit_code in values


def is_terminal(pod: Object) -> bool:
    """Whether the pod reached Succeeded or Failed, from which it never comes back."""
    return status_of(pod).get("phase") in ("Succeeded", "Failed")


def is_host_network(pod: Object) -> bool:
    return bool(spec_of(pod).get("hostNetwork"))


def is_mirror(pod: Object) -> bool:
    """Whether this API object only mirrors a static pod of the node."""
    return MIRROR_ANNOTATION in (pod.get("metadata", {}).get("annotations") or {})


def priority_of(pod: Object) -> int:
    """`spec.priority`; 0 when it is missing."""
    return int(spec_of(pod).get("priority") or 0)


def is_static(pod: Object) -> bool:
    """Whether the pod comes from the node itself, or mirrors such a one."""
    annotations = pod.get("metadata", {}).get("annotations") or {}
    return MIRROR_ANNOTATION in annotations or annotations.get(STATIC_SOURCE_ANNOTATION) not in (None, "api")


def is_critical(pod: Object) -> bool:
    """Static pods and those of a system-critical priority: they are not evicted, and others give way to them."""
    return is_static(pod) or priority_of(pod) >= SYSTEM_CRITICAL_PRIORITY


def runtime_uid_of(pod: Object) -> str:
    """The uid under which the runtime has a pod: a mirror stands for the static pod whose hash it carries."""
    return str((pod["metadata"].get("annotations") or {}).get(MIRROR_ANNOTATION) or uid_of(pod))


def grace_seconds_of(pod: Object) -> int:
    """The grace period in force: the one of the deletion, else the pod's own."""
    asked = pod.get("metadata", {}).get("deletionGracePeriodSeconds")
    if asked is not None:
        return int(asked)
    own = spec_of(pod).get("terminationGracePeriodSeconds")
    return GRACE_SECONDS_DEFAULT if own is None else int(own)


def container_hash(container: Object) -> str:
    """Changes when a running container no longer is what the pod asks for; only its image can change."""
    return hashlib.blake2b(
        orjson.dumps([container.get("name"), container.get("image")]), digest_size=4
    ).hexdigest()  # fmt: skip


def qos_class_of(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort (Kubernetes docs, "Pod Quality of Service Classes")."""
    told = status_of(pod).get("qosClass")
    if told:
        return str(told)
    containers = [*init_containers_of(pod), *app_containers_of(pod)]
    pod_resources = spec_of(pod).get("resources")
    if pod_resources:
        containers = [{"resources": pod_resources}]
    is_guaranteed, is_best_effort = True, True
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = _amount(limits, name), _amount(requests, name)
            if limit or request:
                is_best_effort = False
            if not limit or (request and request != limit):
                is_guaranteed = False
    if is_best_effort:
        return "BestEffort"
    return "Guaranteed" if is_guaranteed else "Burstable"


def _amount(amounts: Mapping[str, Any], name: str) -> int:
    return parse_quantity(amounts[name]).nanos if amounts.get(name) else 0


def requests_of(container: Object) -> dict[str, str]:
    """The requests in force: a limit without a request is also the request."""
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
