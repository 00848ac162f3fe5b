"""Which Services are valid, and which updates of them.

Mirrors ValidateService of k8s.io/kubernetes/pkg/apis/core/validation. That an address or a port is free
and in range is the allocators' word.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.go_values import go_struct
from orchestrator.api.kinds.label_selectors import validate_label_name, validate_labels
from orchestrator.api.kinds.network_values import validate_non_special_ip
from orchestrator.api.objects import Object, annotations_of

CLIENT_IP_TIMEOUT_SECONDS_MAX = 86400
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PORTED = ("NodePort", "LoadBalancer")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
_RANGE_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"


def cluster_ips(spec: dict[str, Any]) -> list[str]:
    """All cluster IPs, also where only the single field is filled."""
    if spec.get("clusterIPs"):
        return list(spec["clusterIPs"])
    return [spec["clusterIP"]] if spec.get("clusterIP") else []


def validate_service(obj: Object, old: Object | None = None) -> list[Cause]:
    """Everything wrong with a Service by itself."""
    spec = obj.get("spec") or {}
    causes = _validate_topology_annotations(obj)
    kind = spec.get("type") or ""
    addresses = cluster_ips(spec)
    headless = addresses[:1] == ["None"]
    if not spec.get("ports") and not headless and kind != "ExternalName":
        causes.append(fields.required("spec.ports"))
    if kind == "LoadBalancer":
        if headless:
            causes.append(
                fields.invalid("spec.clusterIPs[0]", addresses[0], "may not be set to 'None' for LoadBalancer services")
            )
    elif kind == "NodePort":
        if headless:
            causes.append(
                fields.invalid("spec.clusterIPs[0]", addresses[0], "may not be set to 'None' for NodePort services")
            )
    elif kind == "ExternalName":
        if spec.get("clusterIPs") or spec.get("clusterIP"):
            causes.append(fields.forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(key):
                causes.append(fields.forbidden(f"spec.{key}", "may not be set for ExternalName services"))
        name = (spec.get("externalName") or "").removesuffix(".")
        if name:
            causes += [fields.invalid("spec.externalName", name, text) for text in names.is_dns1123_subdomain(name)]
        else:
            causes.append(fields.required("spec.externalName"))
    causes += _validate_ports(spec, headless=headless)
    causes += validate_labels(spec.get("selector"), "spec.selector")
    causes += _validate_affinity(spec)
    if kind != "ExternalName":
        causes += _validate_cluster_ips(spec, addresses)
    for position, ip in enumerate(spec.get("externalIPs") or ()):
        path = fields.index("spec.externalIPs", position)
        if complaints := names.is_ip(ip):
            causes += [fields.invalid(path, ip, text) for text in complaints]
        else:
            causes += validate_non_special_ip(ip, path)
    if not kind:
        causes.append(fields.required("spec.type"))
    elif kind not in _TYPES:
        causes.append(fields.not_supported("spec.type", kind, _TYPES))
    causes += _validate_node_ports(spec)
    causes += _validate_ports_apart(spec)
    causes += _validate_source_ranges(obj)
    causes += _validate_load_balancer_fields(spec)
    causes += _validate_traffic(spec)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        causes.append(fields.not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return causes


def _validate_topology_annotations(obj: Object) -> list[Cause]:
    annotations = annotations_of(obj)
    mode, hints = annotations.get(_TOPOLOGY_MODE), annotations.get(_TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    detail = f"must match annotations[{_TOPOLOGY_HINTS}] when both are specified"
    return [fields.invalid(fields.key("metadata.annotations", _TOPOLOGY_MODE), mode, detail)]


def _validate_ports(spec: dict[str, Any], *, headless: bool) -> list[Cause]:
    causes: list[Cause] = []
    ports = spec.get("ports") or ()
    seen_names: set[str] = set()
    for position, port in enumerate(ports):
        path = fields.index("spec.ports", position)
        name, protocol = port.get("name") or "", port.get("protocol") or ""
        if not name:
            if len(ports) > 1:
                causes.append(fields.required(f"{path}.name"))
        else:
            causes += [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_label(name)]
            if name in seen_names:
                causes.append(fields.duplicate(f"{path}.name", name))
            seen_names.add(name)
        number = port.get("port") or 0
        causes += [fields.invalid(f"{path}.port", number, text) for text in names.is_port_number(number)]
        if not protocol:
            causes.append(fields.required(f"{path}.protocol"))
        elif protocol not in _PROTOCOLS:
            causes.append(fields.not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
        target = port.get("targetPort")
        target = 0 if target is None else target
        causes += validate_port_number_or_name(target, f"{path}.targetPort")
        if port.get("appProtocol") is not None:
            causes += validate_label_name(port["appProtocol"], f"{path}.appProtocol")
    return causes


def _validate_ports_apart(spec: dict[str, Any]) -> list[Cause]:
    """No pair of protocol and port twice."""
    causes: list[Cause] = []
    ports = spec.get("ports") or ()
    seen: set[tuple[Any, ...]] = set()
    for position, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            reported = go_struct(
                {"protocol": key[0] or "", "port": key[1] or 0},
                Name="", Protocol="", AppProtocol=None, Port=0, TargetPort=0, NodePort=0,
            )  # fmt: skip
            causes.append(fields.duplicate(fields.index("spec.ports", position), reported))
        seen.add(key)
    return causes


def validate_port_number_or_name(value: int | str, path: str) -> list[Cause]:
    """A port as a number, or as the name of a container's port."""
    complaints = names.is_port_number(value) if isinstance(value, int) else names.is_port_name(value)
    return [fields.invalid(path, value, text) for text in complaints]


def _validate_affinity(spec: dict[str, Any]) -> list[Cause]:
    affinity, config = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig")
    if not affinity:
        return [fields.required("spec.sessionAffinity")]
    causes: list[Cause] = []
    if affinity not in ("ClientIP", "None"):
        causes.append(fields.not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None")))
    path = "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        if config is None:
            return [*causes, fields.required(path, "when session affinity type is ClientIP")]
        client = config.get("clientIP") or {}
        seconds = client.get("timeoutSeconds")
        if seconds is None:
            causes.append(fields.required(f"{path}.clientIP.timeoutSeconds", "when session affinity type is ClientIP"))
        elif not 0 < seconds <= CLIENT_IP_TIMEOUT_SECONDS_MAX:
            causes.append(
                fields.invalid(
                    f"{path}.clientIP.timeoutSeconds",
                    seconds,
                    f"must be greater than 0 and less than {CLIENT_IP_TIMEOUT_SECONDS_MAX}",
                )
            )
    elif affinity == "None" and config is not None:
        causes.append(fields.forbidden(path, "must not be set when session affinity is None"))
    return causes


def _family(address: str) -> str:
    parsed = names.parse_ip(address)
    return f"IPv{parsed.version}" if parsed is not None else ""


def _validate_cluster_ips(spec: dict[str, Any], addresses: list[str]) -> list[Cause]:
    causes: list[Cause] = []
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    again = fields.repeated(families)
    for position, family in enumerate(families):
        path = fields.index("spec.ipFamilies", position)
        if family not in ("IPv4", "IPv6"):
            causes.append(fields.not_supported(path, family, ("IPv4", "IPv6")))
        if position in again:
            causes.append(fields.duplicate(path, family))
    if policy is not None and policy not in ("SingleStack", "PreferDualStack", "RequireDualStack"):
        causes.append(
            fields.not_supported("spec.ipFamilyPolicy", policy, ("SingleStack", "PreferDualStack", "RequireDualStack"))
        )
    if policy == "SingleStack":
        for key, values in (("ipFamilies", families), ("clusterIPs", addresses)):
            if len(values) > 1:
                causes.append(
                    fields.invalid(
                        "spec.ipFamilyPolicy",
                        policy,
                        f"must be RequireDualStack or PreferDualStack when multiple {key} are specified",
                    )
                )
    single = spec.get("clusterIP") or ""
    if spec.get("clusterIPs") and addresses[0] != single:
        causes.append(fields.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    if not addresses:
        return causes
    if "None" in addresses:
        if len(addresses) > 1:
            causes.append(fields.invalid("spec.clusterIPs", addresses, "'None' must be the first and only value"))
        return causes
    for position, address in enumerate(addresses):
        path = fields.index("spec.clusterIPs", position)
        if not address:
            causes.append(
                fields.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
            )
            continue
        complaints = names.is_ip(address)
        causes += [fields.invalid(path, address, text) for text in complaints]
        if not complaints and position < len(families) and _family(address) != families[position]:
            causes.append(
                fields.invalid(
                    path, address, f"expected an {families[position]} value as indicated by `ipFamilies[{position}]`"
                )
            )
    if len(addresses) > 2:
        causes.append(fields.invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    elif len(addresses) == 2 and _family(addresses[0]) == _family(addresses[1]) != "":
        causes.append(
            fields.invalid(
                "spec.clusterIPs",
                addresses,
                "may specify no more than one IP for each IP family",
            )
        )
    return causes


def _validate_node_ports(spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    kind = spec.get("type")
    seen: set[tuple[Any, ...]] = set()
    for position, port in enumerate(spec.get("ports") or ()):
        number = port.get("nodePort") or 0
        if not number:
            continue
        path = fields.index("spec.ports", position) + ".nodePort"
        if kind == "ClusterIP":
            causes.append(fields.forbidden(path, "may not be used when `type` is 'ClusterIP'"))
        key = (port.get("protocol"), number)
        if key in seen:
            causes.append(fields.duplicate(path, number))
        seen.add(key)
    return causes


def _validate_source_ranges(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    annotation = (obj.get("metadata", {}).get("annotations") or {}).get(_RANGE_ANNOTATION)
    causes: list[Cause] = []
    is_balancer = spec.get("type") == "LoadBalancer"
    if ranges := spec.get("loadBalancerSourceRanges"):
        path = "spec.LoadBalancerSourceRanges"
        if not is_balancer:
            causes.append(fields.forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
        for position, value in enumerate(ranges):
            plain = value.strip()
            causes += [fields.invalid(fields.index(path, position), plain, text) for text in names.is_cidr(plain)]
    elif annotation is not None:
        path = fields.key("metadata.annotations", _RANGE_ANNOTATION)
        if not is_balancer:
            causes.append(fields.forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
        for value in annotation.strip().split(",") if annotation.strip() else ():
            causes += [fields.invalid(path, value.strip(), text) for text in names.is_cidr(value.strip())]
    return causes


def _validate_traffic(spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    kind = spec.get("type")
    external = spec.get("externalTrafficPolicy") or ""
    needs_external = kind in _PORTED or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    path = "spec.externalTrafficPolicy"
    if not needs_external:
        if external:
            causes.append(fields.invalid(path, external, "may only be set for externally-accessible services"))
    elif not external:
        causes.append(fields.required(path))
    elif external not in ("Cluster", "Local"):
        causes.append(fields.not_supported(path, external, ("Cluster", "Local")))
    port = spec.get("healthCheckNodePort") or 0
    if kind == "LoadBalancer" and external == "Local":
        if port:
            path = "spec.healthCheckNodePort"
            causes += [fields.invalid(path, port, text) for text in names.is_port_number(port)]
    elif port:
        causes.append(
            fields.invalid(
                "spec.healthCheckNodePort",
                port,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            )
        )
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if kind in ("ClusterIP", *_PORTED):
            causes.append(fields.required("spec.internalTrafficPolicy"))
    elif internal not in ("Cluster", "Local"):
        causes.append(fields.not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    return causes


def _validate_load_balancer_fields(spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    is_balancer = spec.get("type") == "LoadBalancer"
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balancer:
        causes.append(
            fields.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")
        )
    if is_balancer and spec.get("allocateLoadBalancerNodePorts") is None:
        causes.append(fields.required("spec.allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if not is_balancer:
            causes.append(fields.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"))
        else:
            causes += validate_label_name(name, "spec.loadBalancerClass")
    return causes


def validate_service_update(new: Object, old: Object) -> list[Cause]:
    """Cluster IPs are set once per type; the rest as for a new Service."""
    causes: list[Cause] = []
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes += _validate_cluster_ips_change(spec, before)
    if before.get("type") == spec.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            causes.append(fields.invalid("spec.loadBalancerClass", name, "may not change once set"))
        port, had = spec.get("healthCheckNodePort") or 0, before.get("healthCheckNodePort") or 0
        if spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy") == "Local" and port != had:
            causes.append(fields.forbidden("spec.healthCheckNodePort", "field is immutable"))
    return causes + validate_service(new)


def validate_service_status_update(new: Object, old: Object) -> list[Cause]:
    """Only load balancers have addresses of theirs."""
    balancer, path = (new.get("status") or {}).get("loadBalancer") or {}, "status.loadBalancer.ingress"
    ingresses = balancer.get("ingress") or ()
    if ingresses and (new.get("spec") or {}).get("type") != "LoadBalancer":
        return [fields.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    causes: list[Cause] = []
    for position, ingress in enumerate(ingresses):
        where, ip, mode = fields.index(path, position), ingress.get("ip") or "", ingress.get("ipMode")
        if ip:
            causes += [fields.invalid(f"{where}.ip", ip, text) for text in names.is_ip(ip)]
        if mode is None:
            if ip:
                causes.append(fields.required(f"{where}.ipMode", "must be specified when `ip` is set"))
        elif not ip:
            causes.append(fields.forbidden(f"{where}.ipMode", "may not be specified when `ip` is not set"))
        elif mode not in ("Proxy", "VIP"):
            causes.append(fields.not_supported(f"{where}.ipMode", mode, ("Proxy", "VIP")))
        causes += validate_balancer_hostname(ingress.get("hostname") or "", f"{where}.hostname")
    return causes


def validate_balancer_hostname(host: str, path: str) -> list[Cause]:
    """The name of a load balancer, if it has one: of a host, not an address."""
    if not host:
        return []
    causes = [fields.invalid(path, host, text) for text in names.is_dns1123_subdomain(host)]
    if names.parse_ip(host) is not None:
        causes.append(fields.invalid(path, host, "must be a DNS name, not an IP address"))
    return causes


def _validate_cluster_ips_change(spec: dict[str, Any], before: dict[str, Any]) -> list[Cause]:
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return []
    new, old = cluster_ips(spec), cluster_ips(before)
    path = "spec.clusterIPs[0]"
    causes = _validate_families_change(spec, before)
    if old:
        if not new:
            causes.append(fields.invalid(path, new, "primary clusterIP can not be unset"))
        elif new[0] != old[0]:
            causes.append(fields.invalid(path, new, "may not change once set"))
    if len(old) > 1 and len(new) > 1 and new[1] != old[1]:
        causes.append(fields.invalid("spec.clusterIPs[1]", new, "may not change once set"))
    return causes


def _validate_families_change(spec: dict[str, Any], before: dict[str, Any]) -> list[Cause]:
    if "None" in (*cluster_ips(spec), *cluster_ips(before)):
        return []
    new, old = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    if not new or not old or new[: len(old)] == old[: len(new)]:
        return []
    return [fields.invalid("spec.ipFamilies[0]", new, "may not change once set")]
