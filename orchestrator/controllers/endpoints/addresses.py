"""A pod as an endpoint of a Service: addresses, ports, conditions. Pure."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, is_terminating, labels_of, name_of, namespace_of, uid_of
from orchestrator.controllers.endpoints.membership import pod_ips
from orchestrator.controllers.pods import is_finished, is_ready, node_of

HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"


def is_headless(service: Object) -> bool:
    """Whether the Service has no cluster IP."""
    return bool((service.get("spec") or {}).get("clusterIP") == "None")


def families_of(service: Object) -> list[str]:
    """`IPv4`, `IPv6` or both, the primary one first."""
    spec = service.get("spec") or {}
    if spec.get("ipFamilies"):
        return list(spec["ipFamilies"])
    return ["IPv6" if ":" in (spec.get("clusterIP") or "") else "IPv4"]


def address_of(pod: Object, family: str) -> str:
    """The pod's address of a family, or an empty string."""
    return next((ip for ip in pod_ips(pod) if (":" in ip) == (family == "IPv6")), "")


def is_candidate(pod: Object, *, include_terminating: bool) -> bool:
    """Whether a pod can be an endpoint at all: it has an address and will not stay dead."""
    if is_finished(pod) or not pod_ips(pod):
        return False
    return include_terminating or not is_terminating(pod)


def hostname_of(pod: Object, service: Object) -> str:
    """The DNS name that the pod gets within a headless Service."""
    spec = pod.get("spec") or {}
    return (spec.get("hostname") or "") if spec.get("subdomain") == name_of(service) else ""


def target_of(pod: Object) -> dict[str, str]:
    """The `targetRef` of an endpoint."""
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}


def target_port(port: dict[str, Any], pod: Object) -> int | None:
    """The number of a Service port on this pod; None when the pod has no port of that name and protocol."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    spec = pod.get("spec") or {}
    restartable = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *restartable]:
        for candidate in container.get("ports") or ():
            if candidate.get("name") == target and candidate.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(candidate["containerPort"])
    return None


def ports_for(service: Object, pod: Object) -> list[dict[str, Any]]:
    """The ports of a Service on one pod, in the Service's order; named ones may be missing."""
    ports: list[dict[str, Any]] = []
    for port in (service.get("spec") or {}).get("ports") or ():
        number = target_port(port, pod)
        if number is None:
            continue
        entry = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol", "TCP")}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        ports.append(entry)
    return ports


def endpoint_of(pod: Object, service: Object, node: Object | None, family: str) -> dict[str, Any]:
    """The entry of an EndpointSlice (discovery/v1) for a pod.

    Conditions as KEP-1672 has them: a terminating pod is never ready, but may still serve.
    """
    spec = service.get("spec") or {}
    serving, terminating = is_ready(pod), is_terminating(pod)
    ready = bool(spec.get("publishNotReadyAddresses")) or (serving and not terminating)
    endpoint: dict[str, Any] = {
        "addresses": [address_of(pod, family)],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target_of(pod),
    }
    if node_of(pod):
        endpoint["nodeName"] = node_of(pod)
    zone = labels_of(node).get(ZONE_LABEL) if node is not None else None
    if zone:
        endpoint["zone"] = zone
    if hostname := hostname_of(pod, service):
        endpoint["hostname"] = hostname
    distribution = spec.get("trafficDistribution")
    if ready and distribution in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        hints: dict[str, Any] = {}
        if zone:
            hints["forZones"] = [{"name": zone}]
        if distribution == "PreferSameNode" and node_of(pod):
            hints["forNodes"] = [{"name": node_of(pod)}]
        if hints:
            endpoint["hints"] = hints
    return endpoint
