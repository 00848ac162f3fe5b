"""Ingress, IngressClass, NetworkPolicy, IPAddress, ServiceCIDR.

Mirrors k8s.io/kubernetes/pkg/apis/networking and its printers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, NONE, age, dig, format_label_selector, ref
from orchestrator.api.kinds.core.service_validation import validate_balancer_hostname
from orchestrator.api.kinds.core.service_warnings import warn_load_balancer
from orchestrator.api.kinds.defaulting import clear_status, fill, items, spec_and_status, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.kinds.network_values import warn_cidr
from orchestrator.api.objects import Object, annotations_of, name_of
from orchestrator.api.resources import INGRESS_CLASSES, INGRESSES, IP_ADDRESSES, NETWORK_POLICIES, SERVICE_CIDRS

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PATH_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_BAD_PATH_ENDS = ("/..", "/.")
_HOSTS_MAX = 3


# --- Ingress ----------------------------------------------------------------------------------


def default_ingress(obj: Object) -> None:
    """The load balancer's status is a struct."""
    struct(obj, "spec")
    struct(obj, "status", "loadBalancer")


def _prepare_ingress(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}


def validate_ingress(obj: Object) -> list[Cause]:
    """A new Ingress; the annotation that once named the class says the same as the field."""
    causes = _validate_ingress_spec(obj)
    name, annotation = dig(obj, "spec", "ingressClassName"), _class_annotation(obj)
    if annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        causes.append(fields.invalid(f"annotations.{_CLASS_ANNOTATION}", annotation, detail))
    return causes


def _validate_ingress_spec(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        causes.append(fields.invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        causes += _validate_backend(spec["defaultBackend"], "spec.defaultBackend")
    causes += _validate_rules(spec.get("rules") or ())
    for position, tls in enumerate(spec.get("tls") or ()):
        path = fields.index("spec.tls", position)
        for number, host in enumerate(tls.get("hosts") or ()):
            causes += _validate_host(host, fields.index(f"{path}.hosts", number))
        if tls.get("secretName"):
            causes += [
                fields.invalid(f"{path}.secretName", tls["secretName"], text)
                for text in names.is_dns1123_subdomain(tls["secretName"])
            ]
    name = spec.get("ingressClassName")
    if name is not None:
        causes += [fields.invalid("spec.ingressClassName", name, text) for text in names.is_dns1123_subdomain(name)]
    return causes


def _class_annotation(obj: Object) -> str | None:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    value = annotations.get(_CLASS_ANNOTATION)
    return None if value is None else str(value)


def _validate_host(host: str, path: str) -> list[Cause]:
    check = names.is_wildcard_dns1123_subdomain if "*" in host else names.is_dns1123_subdomain
    return [fields.invalid(path, host, text) for text in check(host)]


def _validate_rules(rules: Any) -> list[Cause]:
    causes: list[Cause] = []
    for position, rule in enumerate(rules):
        path = fields.index("spec.rules", position)
        host = rule.get("host") or ""
        if host:
            if names.parse_ip(host) is not None:
                causes.append(fields.invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
            else:
                causes += _validate_host(host, f"{path}.host")
        http = rule.get("http")
        if http is None:
            continue
        where = f"{path}.http.paths"
        if not http.get("paths"):
            causes.append(fields.required(where))
        for number, entry in enumerate(http.get("paths") or ()):
            causes += _validate_path(entry, fields.index(where, number))
    return causes


def _validate_path(entry: dict[str, Any], path: str) -> list[Cause]:
    kind, value = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        return [fields.required(f"{path}.pathType", "pathType must be specified")]
    causes: list[Cause] = []
    if kind in ("Exact", "Prefix"):
        if not value.startswith("/"):
            causes.append(fields.invalid(f"{path}.path", value, "must be an absolute path"))
        if value:
            for part in _BAD_PATH_PARTS:
                if part in value:
                    causes.append(fields.invalid(f"{path}.path", value, f"must not contain '{part}'"))
            for end in _BAD_PATH_ENDS:
                if value.endswith(end):
                    causes.append(fields.invalid(f"{path}.path", value, f"cannot end with '{end}'"))
    elif kind == "ImplementationSpecific":
        if value and not value.startswith("/"):
            causes.append(fields.invalid(f"{path}.path", value, "must be an absolute path"))
    else:
        causes.append(fields.not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    return causes + _validate_backend(entry.get("backend") or {}, f"{path}.backend")


def _validate_backend(backend: dict[str, Any], path: str) -> list[Cause]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [fields.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        causes: list[Cause] = []
        for key in ("kind", "name"):
            if not resource.get(key):
                causes.append(fields.required(f"{path}.resource.{key}"))
        if resource.get("apiGroup"):
            causes += [
                fields.invalid(f"{path}.resource.apiGroup", resource["apiGroup"], text)
                for text in names.is_dns1123_subdomain(resource["apiGroup"])
            ]
        return causes
    if service is None:
        return [fields.invalid(path, "", "resource or service backend is required")]
    causes = []
    name, port = service.get("name") or "", service.get("port") or {}
    if not name:
        causes.append(fields.required(f"{path}.service.name"))
    else:
        causes += [fields.invalid(f"{path}.service.name", name, text) for text in names.is_dns1035_label(name)]
    label, number = port.get("name") or "", port.get("number") or 0
    if label and number:
        causes.append(fields.invalid(path, "", "cannot set both port name & port number"))
    elif label:
        causes += [fields.invalid(f"{path}.service.port.name", label, text) for text in names.is_port_name(label)]
    elif number:
        causes += [fields.invalid(f"{path}.service.port.number", number, t) for t in names.is_port_number(number)]
    else:
        causes.append(fields.required(path, "port name or number is required"))
    return causes


def validate_ingress_update(new: Object, old: Object) -> list[Cause]:
    """As for a new one, whatever the annotation says."""
    return _validate_ingress_spec(new)


def _validate_ingress_status(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    for position, ingress in enumerate(dig(new, "status", "loadBalancer", "ingress") or ()):
        where, ip = fields.index("status.loadBalancer.ingress", position), ingress.get("ip") or ""
        if ip:
            causes += [fields.invalid(f"{where}.ip", ip, text) for text in names.is_ip(ip)]
        causes += validate_balancer_hostname(ingress.get("hostname") or "", f"{where}.hostname")
    return causes


def _hosts_cell(rules: Any) -> str:
    hosts = [rule["host"] for rule in rules or () if rule.get("host")]
    if not hosts:
        return "*"
    text = ",".join(hosts[:_HOSTS_MAX])
    return f"{text} + {len(rules) - _HOSTS_MAX} more..." if len(rules) > _HOSTS_MAX else text


def _ingress_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    entries = dig(obj, "status", "loadBalancer", "ingress") or ()
    addresses = sorted({entry.get("ip") or entry.get("hostname") or "" for entry in entries} - {""})
    return [
        name_of(obj),
        spec.get("ingressClassName") or _class_annotation(obj) or NONE,
        _hosts_cell(spec.get("rules")),
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _warn_ingress(new: Object, old: Object | None) -> list[str]:
    if old is not None or _CLASS_ANNOTATION not in annotations_of(new):
        return []
    return [f"annotation {fields.quote(_CLASS_ANNOTATION)} is deprecated, please use 'spec.ingressClassName' instead"]


INGRESS = Kind(
    INGRESSES,
    "io.k8s.api.networking.v1.Ingress",
    "ingress",
    short_names=("ing",),
    has_status=True,
    has_generation=True,
    default=default_ingress,
    prepare_create=_prepare_ingress,
    validate=validate_ingress,
    validate_update=validate_ingress_update,
    validate_status_update=_validate_ingress_status,
    warn=_warn_ingress,
    warn_status=warn_load_balancer,
    columns=(
        NAME,
        Column(
            "Class",
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column("Hosts", description="Hosts that incoming requests are matched against before the ingress rule"),
        Column("Address", description="Address is a list containing ingress points for the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE,
    ),
    row=_ingress_row,
)


# --- IngressClass -----------------------------------------------------------------------------


def _default_class(obj: Object) -> None:
    parameters = struct(obj, "spec").get("parameters")
    if isinstance(parameters, dict):
        fill(parameters, scope="Cluster")


def validate_class(obj: Object) -> list[Cause]:
    """A controller named like a path in a domain, and parameters."""
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller") or "", spec.get("parameters")
    path = "spec.controller"
    causes: list[Cause] = []
    if len(controller.encode()) > 250:
        causes.append(fields.too_long(path, 250))
    if not controller:
        causes.append(fields.required(path))
    else:
        causes += [fields.invalid(path, controller, text) for text in names.is_domain_prefixed_path(controller)]
    if parameters is None:
        return causes
    where = "spec.parameters"
    for key in ("kind", "name"):
        value = parameters.get(key) or ""
        if not value:
            causes.append(fields.required(f"{where}.{key}"))
        else:
            causes += [fields.invalid(f"{where}.{key}", value, text) for text in names.is_path_segment_name(value)]
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        causes.append(fields.required(f"{where}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        causes.append(fields.not_supported(f"{where}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace":
        if not namespace:
            causes.append(fields.required(f"{where}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            causes += [fields.invalid(f"{where}.namespace", namespace, t) for t in names.is_dns1123_label(namespace)]
    elif namespace is not None:
        causes.append(fields.forbidden(f"{where}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return causes


def _validate_class_update(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    controller = dig(new, "spec", "controller") or ""
    if controller != (dig(old, "spec", "controller") or ""):
        causes.append(fields.immutable("spec.controller", controller))
    return causes + validate_class(new)


def _class_row(obj: Object, now: datetime) -> list[Any]:
    parameters, shown = dig(obj, "spec", "parameters"), NONE
    if parameters is not None:
        shown = parameters.get("kind") or ""
        if parameters.get("apiGroup"):
            shown += f".{parameters['apiGroup']}"
        shown += f"/{parameters.get('name') or ''}"
    return [name_of(obj), dig(obj, "spec", "controller") or "", shown, age(obj, now)]


INGRESS_CLASS = Kind(
    INGRESS_CLASSES,
    "io.k8s.api.networking.v1.IngressClass",
    "ingressclass",
    has_generation=True,
    default=_default_class,
    validate=validate_class,
    validate_update=_validate_class_update,
    columns=(
        NAME,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE,
    ),
    row=_class_row,
)


# --- NetworkPolicy ----------------------------------------------------------------------------


def default_policy(obj: Object) -> None:
    """Ports are TCP; egress is meant when there are rules for it."""
    spec = struct(obj, "spec")
    struct(spec, "podSelector")
    for direction in ("ingress", "egress"):
        for rule in items(spec, direction):
            for port in items(rule, "ports"):
                fill(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def validate_policy(obj: Object) -> list[Cause]:
    """Selectors, ports and peers of the rules."""
    spec = obj.get("spec") or {}
    causes = validate_label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, key in (("ingress", "from"), ("egress", "to")):
        for position, rule in enumerate(spec.get(direction) or ()):
            path = fields.index(f"spec.{direction}", position)
            for number, port in enumerate(rule.get("ports") or ()):
                causes += _validate_policy_port(port, fields.index(f"{path}.ports", number))
            for number, peer in enumerate(rule.get(key) or ()):
                causes += _validate_peer(peer, fields.index(f"{path}.{key}", number))
    kinds = spec.get("policyTypes") or ()
    if len(kinds) > 2:
        return [*causes, fields.invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")]
    for position, kind in enumerate(kinds):
        if kind not in ("Ingress", "Egress"):
            causes.append(fields.not_supported(fields.index("spec.policyTypes", position), kind, ("Ingress", "Egress")))
    return causes


def _validate_policy_port(port: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    protocol, value, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in ("TCP", "UDP", "SCTP"):
        causes.append(fields.not_supported(f"{path}.protocol", protocol, ("TCP", "UDP", "SCTP")))
    if value is not None:
        if isinstance(value, int):
            causes += [fields.invalid(f"{path}.port", value, text) for text in names.is_port_number(value)]
            if end is not None:
                if end < value:
                    causes.append(fields.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
                causes += [fields.invalid(f"{path}.endPort", end, text) for text in names.is_port_number(end)]
        else:
            if end is not None:
                causes.append(fields.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
            causes += [fields.invalid(f"{path}.port", value, text) for text in names.is_port_name(value)]
    elif end is not None:
        causes.append(fields.invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    return causes


def _validate_peer(peer: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    count = 0
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            count += 1
            causes += validate_label_selector(peer[key], f"{path}.{key}")
    block = peer.get("ipBlock")
    if block is not None:
        count += 1
        causes += _validate_block(block, f"{path}.ipBlock")
    if not count:
        causes.append(fields.required(path, "must specify a peer"))
    elif count > 1 and block is not None:
        causes.append(fields.forbidden(path, "may not specify both ipBlock and another peer"))
    return causes


def _validate_block(block: dict[str, Any], path: str) -> list[Cause]:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [fields.required(f"{path}.cidr")]
    network = names.parse_cidr(cidr)
    if network is None:
        return [fields.invalid(f"{path}.cidr", cidr, text) for text in names.is_cidr(cidr)]
    causes: list[Cause] = []
    for position, exception in enumerate(block.get("except") or ()):
        where = fields.index(f"{path}.except", position)
        inner = names.parse_cidr(exception)
        if inner is None:
            causes += [fields.invalid(where, exception, text) for text in names.is_cidr(exception)]
        elif (
            inner.version != network.version
            or inner.prefixlen <= network.prefixlen
            or not int(network.network_address) <= int(inner.network_address) <= int(network.broadcast_address)
        ):
            causes.append(fields.invalid(where, exception, "must be a strict subset of `cidr`"))
    return causes


def _policy_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), format_label_selector(dig(obj, "spec", "podSelector")), age(obj, now)]


def _warn_policy(new: Object, old: Object | None) -> list[str]:
    warnings: list[str] = []
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for position, rule in enumerate(new["spec"].get(direction) or ()):
            for number, peer in enumerate(rule.get(side) or ()):
                block = peer.get("ipBlock")
                if block is None:
                    continue
                path = fields.index(f"{fields.index(f'spec.{direction}', position)}.{side}", number) + ".ipBlock"
                warnings += warn_cidr(block.get("cidr") or "", f"{path}.cidr")
                for spot, exception in enumerate(block.get("except") or ()):
                    warnings += warn_cidr(exception, fields.index(f"{path}.except", spot))
    return warnings


NETWORK_POLICY = Kind(
    NETWORK_POLICIES,
    "io.k8s.api.networking.v1.NetworkPolicy",
    "networkpolicy",
    short_names=("netpol",),
    has_generation=True,
    default=default_policy,
    validate=validate_policy,
    warn=_warn_policy,
    columns=(NAME, Column("Pod-Selector", description=ref("networking.v1.NetworkPolicySpec", "podSelector")), AGE),
    row=_policy_row,
)


# --- IPAddress and ServiceCIDR ----------------------------------------------------------------

IP_FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"
SERVICE_IP_ALLOCATOR = "ipallocator.k8s.io"
"""Who manages the addresses of Services."""


def is_canonical_ip(value: str) -> list[str]:
    """The name of an IPAddress: an IP in the one form that stands for it."""
    ip = names.parse_ip(value)
    if ip is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if str(ip) != value:
        return [f'must be in canonical form ("{ip}")']
    return []


def validate_ip_address(obj: Object) -> list[Cause]:
    """An address belongs to something."""
    reference = dig(obj, "spec", "parentRef")
    if reference is None:
        return [fields.required("spec.parentRef")]
    causes: list[Cause] = []
    for key in ("resource", "name"):
        value = reference.get(key) or ""
        if not value:
            causes.append(fields.required(f"spec.parentRef.{key}"))
        else:
            causes += [fields.invalid(f"spec.parentRef.{key}", value, t) for t in names.is_path_segment_name(value)]
    return causes


def _validate_ip_address_update(new: Object, old: Object) -> list[Cause]:
    reference = dig(new, "spec", "parentRef")
    if reference != dig(old, "spec", "parentRef"):
        return [fields.immutable("spec.parentRef", reference)]
    return []


def _ip_row(obj: Object, now: datetime) -> list[Any]:
    reference = dig(obj, "spec", "parentRef") or {}
    parent = (reference.get("resource") or "").lower()
    if reference.get("group"):
        parent += f".{reference['group']}"
    parts = [part for part in (parent, reference.get("namespace"), reference.get("name")) if part]
    return [name_of(obj), "/".join(parts), age(obj, now)]


def _default_ip_address(obj: Object) -> None:
    struct(obj, "spec")


IP_ADDRESS = Kind(
    IP_ADDRESSES,
    "io.k8s.api.networking.v1.IPAddress",
    "ipaddress",
    short_names=("ip",),
    default=_default_ip_address,
    validate=validate_ip_address,
    validate_update=_validate_ip_address_update,
    validate_name=is_canonical_ip,
    columns=(NAME, Column("ParentRef", description=ref("networking.v1.IPAddressSpec", "parentRef")), AGE),
    row=_ip_row,
    selectable_fields={
        "spec.parentRef.group": lambda obj: dig(obj, "spec", "parentRef", "group") or "",
        "spec.parentRef.resource": lambda obj: dig(obj, "spec", "parentRef", "resource") or "",
        "spec.parentRef.namespace": lambda obj: dig(obj, "spec", "parentRef", "namespace") or "",
        "spec.parentRef.name": lambda obj: dig(obj, "spec", "parentRef", "name") or "",
    },
)


def validate_service_cidr(obj: Object) -> list[Cause]:
    """One CIDR of each family at most, in canonical form."""
    cidrs = dig(obj, "spec", "cidrs") or []
    causes: list[Cause] = []
    if not cidrs:
        return [fields.required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [fields.invalid("spec", obj.get("spec"), "may only hold up to 2 values")]
    families = [getattr(names.parse_cidr(cidr), "version", 0) for cidr in cidrs]
    if len(cidrs) == 2 and families[0] == families[1]:
        causes.append(
            fields.invalid(
                "spec",
                obj.get("spec"),
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )
        )
    for position, cidr in enumerate(cidrs):
        path = fields.index("spec.cidrs", position)
        network = names.parse_cidr(cidr)
        if network is None:
            causes += [fields.invalid(path, cidr, text) for text in names.is_cidr(cidr)]
        elif str(network) != cidr:
            causes.append(fields.invalid(path, cidr, f'must be in canonical form ("{network}")'))
    return causes


def _validate_service_cidr_update(new: Object, old: Object) -> list[Cause]:
    cidrs, before = dig(new, "spec", "cidrs") or [], dig(old, "spec", "cidrs") or []
    if len(before) == 1 and len(cidrs) == 2 and cidrs[0] == before[0]:
        return validate_service_cidr(new)
    if cidrs != before:
        return [fields.immutable("spec.cidrs", cidrs)]
    return []


SERVICE_CIDR = Kind(
    SERVICE_CIDRS,
    "io.k8s.api.networking.v1.ServiceCIDR",
    "servicecidr",
    has_status=True,
    default=spec_and_status,
    prepare_create=clear_status,
    validate=validate_service_cidr,
    validate_update=_validate_service_cidr_update,
    columns=(NAME, Column("CIDRs", description=ref("networking.v1.ServiceCIDRSpec", "cidrs")), AGE),
    row=lambda obj, now: [name_of(obj), ",".join(dig(obj, "spec", "cidrs") or ()), age(obj, now)],
)
