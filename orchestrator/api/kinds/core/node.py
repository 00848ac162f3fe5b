"""Node: defaults, validation, printed columns. Mirrors registry/core/node and its printer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, NONE, UNKNOWN, age, dig, ref
from orchestrator.api.kinds.core.resource_names import validate_resource_amount
from orchestrator.api.kinds.core.taints import validate_taints
from orchestrator.api.kinds.defaulting import canonical_quantities, condition_times, fill, struct
from orchestrator.api.kinds.descriptor import Column, Kind, Subresource
from orchestrator.api.kinds.network_values import warn_cidr
from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.resources import NODES

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"
_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion",
    "kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip


_condition_times = condition_times("lastHeartbeatTime", "lastTransitionTime")


def default_node(obj: Object) -> None:
    """Capacity is allocatable unless said otherwise; node info always has all its fields."""
    spec, status = struct(obj, "spec"), struct(obj, "status")
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs") and not spec.get("podCIDR"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    _condition_times(obj)
    canonical_quantities(status.get("capacity"))
    canonical_quantities(status.get("allocatable"))
    if status.get("capacity"):
        allocatable = struct(status, "allocatable")
        for name, amount in status["capacity"].items():
            allocatable.setdefault(name, amount)
    fill(struct(status, "daemonEndpoints", "kubeletEndpoint"), Port=0)
    fill(struct(status, "nodeInfo"), **dict.fromkeys(_INFO, ""))


def validate_node(obj: Object) -> list[Cause]:
    """Taints, amounts, pod CIDRs."""
    spec = obj.get("spec") or {}
    causes = _validate_taints(spec) + _validate_resources(obj.get("status") or {})
    cidrs, path = spec.get("podCIDRs") or (), "spec.podCIDRs"
    for position, cidr in enumerate(cidrs):
        causes += [fields.invalid(fields.index(path, position), cidr, text) for text in names.is_cidr(cidr)]
    if len(cidrs) > 1:
        families = {getattr(names.parse_cidr(cidr), "version", 0) for cidr in cidrs}
        if len(cidrs) > 2 or len(families) < 2:
            causes.append(fields.invalid(path, cidrs, "may specify no more than one CIDR for each IP family"))
        causes += [
            fields.duplicate(fields.index(path, position), cidrs[position])
            for position in sorted(fields.repeated(cidrs))
        ]
    return causes


def _validate_taints(spec: dict[str, Any]) -> list[Cause]:
    return validate_taints(spec.get("taints") or (), "metadata.taints")  # so the path reads in kube-apiserver, too


def _validate_resources(status: dict[str, Any]) -> list[Cause]:
    return [
        cause
        for key in ("capacity", "allocatable")
        for name, amount in (status.get(key) or {}).items()
        for cause in validate_resource_amount(name, amount, f"status.{key}.{name}")
    ]


def validate_node_update(new: Object, old: Object) -> list[Cause]:
    """As for a new node; its CIDRs and provider are set once."""
    spec, before, status = new.get("spec") or {}, old.get("spec") or {}, new.get("status") or {}
    causes = validate_node(new) + _validate_resources(status)
    addresses: set[tuple[str, str]] = set()
    for position, address in enumerate(status.get("addresses") or ()):
        key = (address.get("type", ""), address.get("address", ""))
        if key in addresses:
            causes.append(fields.duplicate(fields.index("status.addresses", position), address))
        addresses.add(key)
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        causes.append(fields.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        causes.append(
            fields.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    causes += _validate_taints(spec)
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        causes.append(fields.forbidden("spec.externalID", "may not be updated"))
    return causes


def roles(obj: Object) -> str:
    """`control-plane,worker`, from the labels of the node, or `<none>`."""
    found = set()
    for key, value in labels_of(obj).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            found.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            found.add(value)
    return ",".join(sorted(found)) or NONE


def row(obj: Object, now: datetime) -> list[Any]:
    """The cells of a node."""
    status = obj.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    states = []
    if "Ready" in conditions:
        states.append("Ready" if conditions["Ready"].get("status") == "True" else "NotReady")
    if not states:
        states.append("Unknown")
    if dig(obj, "spec", "unschedulable"):
        states.append("SchedulingDisabled")
    addresses = status.get("addresses") or ()

    def address(kind: str) -> str:
        return next((a.get("address") or "" for a in addresses if a.get("type") == kind), NONE)

    info = status.get("nodeInfo") or {}
    return [
        name_of(obj),
        ",".join(states),
        roles(obj),
        age(obj, now),
        info.get("kubeletVersion") or "",
        address("InternalIP"),
        address("ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _warn(new: Object, old: Object | None) -> list[str]:
    spec = new.get("spec") or {}
    warnings = []
    if spec.get("configSource") is not None:
        warnings.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        warnings.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for position, cidr in enumerate(spec.get("podCIDRs") or ()):
        warnings += warn_cidr(cidr, fields.index("spec.podCIDRs", position))
    return warnings


NODE = Kind(
    NODES,
    "io.k8s.api.core.v1.Node",
    "node",
    short_names=("no",),
    has_status=True,
    keeps_status=True,
    default_status=_condition_times,
    subresources=(Subresource("proxy", "NodeProxyOptions", ("create", "delete", "get", "patch", "update")),),
    default=default_node,
    validate=validate_node,
    validate_update=validate_node_update,
    validate_status_update=validate_node_update,
    warn=_warn,
    columns=(
        NAME,
        Column("Status", description="The status of the node"),
        Column("Roles", description="The roles of the node"),
        AGE,
        Column("Version", description=ref("core.v1.NodeSystemInfo", "kubeletVersion")),
        Column("Internal-IP", description=ref("core.v1.NodeStatus", "addresses"), priority=1),
        Column("External-IP", description=ref("core.v1.NodeStatus", "addresses"), priority=1),
        Column("OS-Image", description=ref("core.v1.NodeSystemInfo", "osImage"), priority=1),
        Column("Kernel-Version", description=ref("core.v1.NodeSystemInfo", "kernelVersion"), priority=1),
        Column("Container-Runtime", description=ref("core.v1.NodeSystemInfo", "containerRuntimeVersion"), priority=1),
    ),
    row=row,
    selectable_fields={"spec.unschedulable": lambda obj: "true" if dig(obj, "spec", "unschedulable") else "false"},
)
