"""What a client is told about a Service that is valid and hardly what its author means.

Mirrors k8s.io/kubernetes/pkg/api/service/warnings.go.
"""

from __future__ import annotations

from orchestrator.api import fields
from orchestrator.api.kinds.network_values import warn_cidr, warn_ip
from orchestrator.api.objects import Object, annotations_of

_OLD_HINTS = "service.kubernetes.io/topology-aware-hints"
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"


def warn_service(new: Object, old: Object | None) -> list[str]:
    """Fields without effect, old ones, and addresses in a notation that is not the usual one."""
    spec = new["spec"]
    kind, external = spec.get("type") or "", spec.get("externalIPs") or ()
    is_headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    warnings: list[str] = []
    if _OLD_HINTS in annotations_of(new):
        warnings.append(f"annotation {_OLD_HINTS} is deprecated, please use {_TOPOLOGY_MODE} instead")
    for position, ip in enumerate(spec.get("clusterIPs") or ()):
        warnings += warn_ip(ip, fields.index("spec.clusterIPs", position))
    if is_headless:
        if spec.get("loadBalancerIP"):
            warnings.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            warnings.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            warnings.append("spec.SessionAffinity is ignored for headless services")
    for position, ip in enumerate(external):
        warnings += warn_ip(ip, fields.index("spec.externalIPs", position))
    if external and not is_headless and kind != "ExternalName":
        warnings.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if ip := spec.get("loadBalancerIP"):
        warnings += warn_ip(ip, "spec.loadBalancerIP")
    for position, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        warnings += warn_cidr(cidr, fields.index("spec.loadBalancerSourceRanges", position))
    if kind == "ExternalName" and external:
        warnings.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        warnings.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        warnings.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return warnings


def warn_load_balancer(new: Object, old: Object | None) -> list[str]:
    """Addresses of a load balancer (of a Service, or of an Ingress) in an unusual notation."""
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    return [
        warning
        for position, ingress in enumerate(balancer.get("ingress") or ())
        if ingress.get("ip")
        for warning in warn_ip(ingress["ip"], fields.index("status.loadBalancer.ingress", position))
    ]
