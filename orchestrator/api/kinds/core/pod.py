"""Pod: defaults, quality of service, printed columns, subresources.

Mirrors the pod strategy (k8s.io/kubernetes/pkg/registry/core/pod) and its printer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from orchestrator.api.contents import ContentMap, content_of
from orchestrator.api.kinds.columns import AGE, NAME, NONE, age, dig, parse_time, ref, translate_timestamp_since
from orchestrator.api.kinds.core.pod_annotations import APP_ARMOR_PREFIX, app_armor_profile, containers_of
from orchestrator.api.kinds.core.pod_spec import default_pod_only, default_pod_spec
from orchestrator.api.kinds.core.pod_validation import (
    validate_pod,
    validate_pod_status_update,
    validate_pod_update,
)
from orchestrator.api.kinds.core.pod_warnings import warn_pod, warn_pod_status
from orchestrator.api.kinds.core.quality_of_service import qos_class
from orchestrator.api.kinds.defaulting import condition_times, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind, Subresource
from orchestrator.api.objects import Object, annotations_of, condition_of, labels_of, name_of
from orchestrator.api.resources import PODS

PROXY_VERBS = ("create", "delete", "get", "patch", "update")


def default_pod(obj: Object) -> None:
    """Fill in what the user left out of a pod."""
    spec = struct(obj, "spec")
    struct(obj, "status")
    content = content_of(spec)
    defaulted = _defaulted.get(content)
    if defaulted is None:
        default_pod_spec(spec)
        default_pod_only(spec)
        _defaulted.put(content, content_of(spec))
    elif defaulted != content:
        spec.update(orjson.loads(defaulted))


_defaulted: ContentMap[bytes] = ContentMap()
"""Specs of pods and what they are with defaults: those of one template come again and again."""


def prepare_pod_create(obj: Object) -> None:
    """A new pod is pending; the strategy also resolves `matchLabelKeys` and marks gated pods."""
    spec = struct(obj, "spec")
    status: dict[str, Any] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": obj["metadata"].get("creationTimestamp"),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    obj["status"] = status
    _resolve_match_label_keys(spec, labels_of(obj))
    if annotations := annotations_of(obj):
        _profiles_from_annotations(spec, annotations)


def _profiles_from_annotations(spec: dict[str, Any], annotations: Mapping[str, str]) -> None:
    """AppArmor annotations of clients that do not know the field yet become fields (KEP-24)."""
    if dig(spec, "os", "name") == "windows":
        return
    of_pod = dig(spec, "securityContext", "appArmorProfile")
    for container, _ in containers_of(spec, ""):
        value = annotations.get(f"{APP_ARMOR_PREFIX}{container.get('name') or ''}")
        if value is None or dig(container, "securityContext", "appArmorProfile") is not None:
            continue
        profile = app_armor_profile(value)
        if profile is not None and profile != of_pod:
            struct(container, "securityContext")["appArmorProfile"] = profile


def _resolve_match_label_keys(spec: dict[str, Any], labels: Mapping[str, str]) -> None:
    if "affinity" not in spec and "topologySpreadConstraints" not in spec:
        return
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        part = affinity.get(kind) or {}
        terms = items(part, "requiredDuringSchedulingIgnoredDuringExecution")
        terms += [
            term["podAffinityTerm"]
            for term in items(part, "preferredDuringSchedulingIgnoredDuringExecution")
            if isinstance(term.get("podAffinityTerm"), dict)
        ]
        for term in terms:
            _append_label_keys(term, "matchLabelKeys", "In", labels)
            _append_label_keys(term, "mismatchLabelKeys", "NotIn", labels)

    for constraint in items(spec, "topologySpreadConstraints"):
        _append_label_keys(constraint, "matchLabelKeys", "In", labels)


def _append_label_keys(term: dict[str, Any], field: str, operator: str, labels: Mapping[str, str]) -> None:
    selector = term.get("labelSelector")
    if not isinstance(selector, dict):
        return
    for key in term.get(field) or ():
        if key in labels:
            expressions = selector.setdefault("matchExpressions", [])
            expressions.append({"key": key, "operator": operator, "values": [labels[key]]})


def prepare_pod_update(new: Object, old: Object) -> None:
    """Quality of service never changes."""
    status = struct(new, "status")
    if dig(old, "status", "qosClass"):
        status["qosClass"] = old["status"]["qosClass"]


def default_pod_status(obj: Object) -> None:
    """Times of conditions and states of containers are always there."""
    _condition_times(obj)
    status = struct(obj, "status")
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for container in items(status, key):
            struct(container, "state")
            struct(container, "lastState")


_condition_times = condition_times("lastProbeTime", "lastTransitionTime")


def prepare_pod_status_update(new: Object, old: Object) -> None:
    """A status update leaves deletion and quality of service as they are."""
    status = struct(new, "status")
    _keep_observed_generations(status, old.get("status") or {})
    if dig(old, "status", "qosClass"):
        status.setdefault("qosClass", old["status"]["qosClass"])
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    elif status.get("podIPs") and not status.get("podIP"):
        status["podIP"] = status["podIPs"][0].get("ip", "")
    if status.get("hostIP") and not status.get("hostIPs"):
        status["hostIPs"] = [{"ip": status["hostIP"]}]
    elif status.get("hostIPs") and not status.get("hostIP"):
        status["hostIP"] = status["hostIPs"][0].get("ip", "")


def _keep_observed_generations(status: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Who writes a status without knowing generations leaves those that are there (KEP-5067)."""
    if not status.get("observedGeneration") and before.get("observedGeneration"):
        status["observedGeneration"] = before["observedGeneration"]
    known: dict[str, list[int]] = {}
    for condition in before.get("conditions") or ():
        known.setdefault(condition.get("type") or "", []).append(condition.get("observedGeneration") or 0)
    for condition in items(status, "conditions"):
        generations = known.get(condition.get("type") or "")
        generation = generations.pop(0) if generations else 0
        if generation and not condition.get("observedGeneration"):
            condition["observedGeneration"] = generation


# --- printed columns --------------------------------------------------------------------------

COLUMNS = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        description="The number of times the containers in this pod have been restarted and when the last "
        "container in this pod has restarted.",
    ),
    AGE,
    Column("IP", description=ref("core.v1.PodStatus", "podIP"), priority=1),
    Column("Node", description=ref("core.v1.PodSpec", "nodeName"), priority=1),
    Column("Nominated Node", description=ref("core.v1.PodStatus", "nominatedNodeName"), priority=1),
    Column("Readiness Gates", description=ref("core.v1.PodSpec", "readinessGates"), priority=1),
)


class _Restarts:
    """How often containers restarted, and when last."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def add(self, status: Mapping[str, Any]) -> None:
        self.count += status.get("restartCount") or 0
        finished = dig(status, "lastState", "terminated", "finishedAt") or ""
        if finished and (not self.last or _later(finished, self.last)):
            self.last = finished

    def cell(self, now: datetime) -> str:
        if self.count and self.last:
            return f"{self.count} ({translate_timestamp_since(self.last, now)} ago)"
        return str(self.count)


def _later(one: str, other: str) -> bool:
    a, b = parse_time(one), parse_time(other)
    return a is not None and b is not None and a > b


def _exit_text(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def pod_cells(pod: Object) -> tuple[str, str, _Restarts]:
    """(`1/2`, the reason that stands for the pod's state, its restarts), as kubectl shows them."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    init_specs = {c.get("name"): c for c in spec.get("initContainers") or ()}
    sidecars = {name for name, c in init_specs.items() if c.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready = 0
    restarts, sidecar_restarts = _Restarts(), _Restarts()
    reason = status.get("reason") or status.get("phase") or ""
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        reason = "SchedulingGated"

    initializing = False
    for position, container in enumerate(status.get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        restarts.add(container)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts.add(container)
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            if container.get("ready"):
                ready += 1
            continue
        if terminated is not None:
            reason = "Init:" + _exit_text(terminated)
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            reason = "Init:" + waiting["reason"]
        else:
            reason = f"Init:{position}/{len(spec.get('initContainers') or ())}"
        initializing = True
        break

    initialized = condition_of(pod, "Initialized")
    if not initializing or (initialized and initialized.get("status") == "True"):
        restarts = sidecar_restarts
        has_running = False
        for container in reversed(status.get("containerStatuses") or ()):
            state = container.get("state") or {}
            restarts.add(container)
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                reason = _exit_text(state["terminated"])
            elif container.get("ready") and state.get("running") is not None:
                has_running = True
                ready += 1
        if reason == "Completed" and has_running:
            condition = condition_of(pod, "Ready")
            reason = "Running" if condition and condition.get("status") == "True" else "NotReady"

    if pod.get("metadata", {}).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return f"{ready}/{total}", reason, restarts


def pod_ip(pod: Object) -> str:
    """The first IP of a pod, or an empty string."""
    status = pod.get("status") or {}
    ips = status.get("podIPs") or ()
    return (ips[0].get("ip") if ips else status.get("podIP")) or ""


def row(pod: Object, now: datetime) -> list[Any]:
    """The cells of a pod."""
    ready, reason, restarts = pod_cells(pod)
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    gates = NONE
    if spec.get("readinessGates"):
        true_types = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
        fulfilled = sum(gate.get("conditionType") in true_types for gate in spec["readinessGates"])
        gates = f"{fulfilled}/{len(spec['readinessGates'])}"
    return [
        name_of(pod),
        ready,
        reason,
        restarts.cell(now),
        age(pod, now),
        pod_ip(pod) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        gates,
    ]


POD = Kind(
    PODS,
    "io.k8s.api.core.v1.Pod",
    "pod",
    short_names=("po",),
    categories=("all",),
    has_status=True,
    default_status=default_pod_status,
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("ephemeralcontainers", "Pod", ("get", "patch", "update")),
        Subresource("eviction", "Eviction", ("create",), group="policy", version="v1"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        Subresource("proxy", "PodProxyOptions", PROXY_VERBS),
        Subresource("resize", "Pod", ("get", "patch", "update")),
    ),
    has_generation=True,
    graceful_deletion=True,
    default=default_pod,
    prepare_create=prepare_pod_create,
    prepare_update=prepare_pod_update,
    validate=validate_pod,
    validate_update=validate_pod_update,
    prepare_status_update=prepare_pod_status_update,
    validate_status_update=validate_pod_status_update,
    warn=warn_pod,
    warn_status=warn_pod_status,
    columns=COLUMNS,
    row=row,
    selectable_fields={
        "spec.nodeName": lambda pod: dig(pod, "spec", "nodeName") or "",
        "spec.restartPolicy": lambda pod: dig(pod, "spec", "restartPolicy") or "",
        "spec.schedulerName": lambda pod: dig(pod, "spec", "schedulerName") or "",
        "spec.serviceAccountName": lambda pod: dig(pod, "spec", "serviceAccountName") or "",
        "spec.hostNetwork": lambda pod: "true" if dig(pod, "spec", "hostNetwork") else "false",
        "status.phase": lambda pod: dig(pod, "status", "phase") or "",
        "status.podIP": pod_ip,
        "status.nominatedNodeName": lambda pod: dig(pod, "status", "nominatedNodeName") or "",
    },
    status_metadata=("labels", "annotations", "finalizers"),
    delete_returns_object=True,
)
