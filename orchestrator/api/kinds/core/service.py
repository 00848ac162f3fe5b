"""Service: defaults, printed columns. Mirrors registry/core/service; addresses are allocated elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import names
from orchestrator.api.kinds.columns import AGE, NAME, NONE, UNKNOWN, age, dig, format_labels, ref
from orchestrator.api.kinds.core.service_validation import (
    validate_service,
    validate_service_status_update,
    validate_service_update,
)
from orchestrator.api.kinds.core.service_warnings import warn_load_balancer, warn_service
from orchestrator.api.kinds.defaulting import drop_empty, fill, fill_empty, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind, Subresource
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import SERVICES

CLIENT_IP_TIMEOUT_SECONDS = 10800


def default_service(obj: Object) -> None:
    """Type, affinity, ports, traffic policies; the lists and the single clusterIP agree."""
    spec = struct(obj, "spec")
    drop_empty(spec, "clusterIP", "clusterIPs", "externalName", "loadBalancerIP", "ipFamilies", "healthCheckNodePort")
    fill_empty(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = struct(spec, "sessionAffinityConfig", "clientIP")
        fill(config, timeoutSeconds=CLIENT_IP_TIMEOUT_SECONDS)
    kind = spec["type"]
    for port in items(spec, "ports"):
        drop_empty(port, "name", "nodePort")
        fill_empty(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs")):
        fill_empty(spec, externalTrafficPolicy="Cluster")
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill(spec, internalTrafficPolicy="Cluster")
    if kind == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)
    default_status(obj)


def default_status(obj: Object) -> None:
    """How packets reach a load balancer's addresses, where whoever wrote them does not say (KEP-1860)."""
    balancer = struct(obj, "status", "loadBalancer")
    if obj["spec"].get("type") == "LoadBalancer":
        for ingress in items(balancer, "ingress"):
            if ingress.get("ip"):
                fill(ingress, ipMode="VIP")


def normalize_cluster_ips(new: Object, old: Object | None) -> None:
    """Keep `clusterIP` and the first of `clusterIPs` alike, whichever of them the client changed."""
    spec = struct(new, "spec")
    single, several = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if old is None:
        if single and not several:
            spec["clusterIPs"] = [single]
        return
    before = old.get("spec") or {}
    old_single, old_several = before.get("clusterIP") or "", before.get("clusterIPs") or []
    if old_single == single and old_several == several:
        return
    if old_single and not single and old_several == several:
        spec.pop("clusterIPs", None)  # the client who knows only the old field has cleared it
    elif old_single != single and old_several == several:
        spec["clusterIPs"] = [single]  # ... or changed it


def prepare_create(obj: Object) -> None:
    """Status belongs to the load balancer."""
    obj["status"] = {"loadBalancer": {}}
    normalize_cluster_ips(obj, None)


def prepare_update(new: Object, old: Object) -> None:
    """Carry over what the client left out and what the type no longer needs."""
    spec, before = struct(new, "spec"), old.get("spec") or {}
    patch_allocated_values(new, old)
    normalize_cluster_ips(new, old)
    _drop_type_dependent_fields(spec, before)
    if spec.get("type") != "LoadBalancer":
        # Taking a balancer down takes time, but nobody has to know.
        struct(new, "status")["loadBalancer"] = {}


def patch_allocated_values(new: Object, old: Object) -> None:
    """A client that replaces a Service without naming allocated values keeps them."""
    spec, before = struct(new, "spec"), old.get("spec") or {}
    if before.get("type") != "ExternalName" and spec.get("type") != "ExternalName":
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            for key in ("clusterIP", "clusterIPs"):
                if before.get(key):
                    spec[key] = before[key]
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if not spec.get(key) and before.get(key):
                spec[key] = before[key]
    ported = ("NodePort", "LoadBalancer")
    if before.get("type") in ported and spec.get("type") in ported:
        known = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or ()}
        used = {p.get("nodePort") for p in items(spec, "ports") if p.get("nodePort")}
        for port in items(spec, "ports"):
            number = known.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
    number = before.get("healthCheckNodePort")
    if number and _needs_health_check(spec) and _needs_health_check(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = number


def _needs_health_check(spec: dict[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _is_external(spec: dict[str, Any]) -> bool:
    """Whether clients from outside are expected, so that there is a policy for them."""
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _drop_type_dependent_fields(spec: dict[str, Any], before: dict[str, Any]) -> None:
    def unchanged(*keys: str) -> bool:
        return all(spec.get(key) == before.get(key) for key in keys)

    old_type, new_type = before.get("type"), spec.get("type")
    if new_type == "ExternalName" != old_type:
        for keys in (("clusterIP", "clusterIPs"), ("ipFamilies",), ("ipFamilyPolicy",)):
            if unchanged(*keys):
                for key in keys:
                    spec.pop(key, None)
    ported = ("NodePort", "LoadBalancer")
    if old_type in ported and new_type not in ported:
        known = {port.get("nodePort") for port in before.get("ports") or ()} | {None, 0}
        if all(port.get("nodePort") in known for port in items(spec, "ports")):
            for port in items(spec, "ports"):
                port.pop("nodePort", None)
    if _needs_health_check(before) and not _needs_health_check(spec) and unchanged("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if old_type == "LoadBalancer" != new_type:
        for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if unchanged(key):
                spec.pop(key, None)
    if _is_external(before) and not _is_external(spec) and unchanged("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)


def external_ip(obj: Object) -> str:
    """The cell External-IP."""
    spec = obj.get("spec") or {}
    external = spec.get("externalIPs") or []
    kind = spec.get("type")
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(external) or NONE
    if kind == "LoadBalancer":
        ingress = dig(obj, "status", "loadBalancer", "ingress") or ()
        balancers = sorted({entry.get("ip") or entry.get("hostname") or "" for entry in ingress} - {""})
        return ",".join([*balancers, *external]) or "<pending>"
    if kind == "ExternalName":
        return spec.get("externalName") or ""
    return UNKNOWN


def _port_cell(port: dict[str, Any]) -> str:
    number = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else f"{port.get('port')}"
    return f"{number}/{port.get('protocol')}"


def row(obj: Object, now: datetime) -> list[Any]:
    """The cells of a Service."""
    spec = obj.get("spec") or {}
    return [
        name_of(obj),
        spec.get("type") or "",
        spec.get("clusterIP") or NONE,
        external_ip(obj),
        ",".join(_port_cell(port) for port in spec.get("ports") or ()) or NONE,
        age(obj, now),
        format_labels(spec.get("selector")),
    ]


SERVICE = Kind(
    SERVICES,
    "io.k8s.api.core.v1.Service",
    "service",
    short_names=("svc",),
    categories=("all",),
    has_status=True,
    subresources=(Subresource("proxy", "ServiceProxyOptions", ("create", "delete", "get", "patch", "update")),),
    create_on_update=True,
    default=default_service,
    default_status=default_status,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_service,
    validate_update=validate_service_update,
    validate_status_update=validate_service_status_update,
    warn=warn_service,
    warn_status=warn_load_balancer,
    validate_name=names.is_dns1035_label,
    columns=(
        NAME,
        Column("Type", description=ref("core.v1.ServiceSpec", "type")),
        Column("Cluster-IP", description=ref("core.v1.ServiceSpec", "clusterIP")),
        Column("External-IP", description=ref("core.v1.ServiceSpec", "externalIPs")),
        Column("Port(s)", description=ref("core.v1.ServiceSpec", "ports")),
        AGE,
        Column("Selector", description=ref("core.v1.ServiceSpec", "selector"), priority=1),
    ),
    row=row,
    selectable_fields={
        "spec.clusterIP": lambda obj: dig(obj, "spec", "clusterIP") or "",
        "spec.type": lambda obj: dig(obj, "spec", "type") or "",
    },
    delete_returns_object=True,
)
