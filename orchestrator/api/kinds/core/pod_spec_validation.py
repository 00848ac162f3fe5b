"""Which pod specs are valid, in pods and in templates.

Mirrors ValidatePodSpec of k8s.io/kubernetes/pkg/apis/core/validation; causes come in the same order.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.contents import ContentMap, content_of
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.container_validation import (
    validate_containers,
    validate_ephemeral_containers,
    validate_init_containers,
)
from orchestrator.api.kinds.core.resource_names import validate_pod_resource_name, validate_resource_requirements
from orchestrator.api.kinds.core.scheduling_validation import validate_affinity, validate_topology_spread
from orchestrator.api.kinds.core.security_validation import validate_pod_security
from orchestrator.api.kinds.core.taints import validate_tolerations
from orchestrator.api.kinds.core.volume_validation import validate_volumes
from orchestrator.api.kinds.label_selectors import validate_labels
from orchestrator.api.pod_resources import amounts_of, container_amounts

_HOSTNAME_MAX = 64
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_NAME_SERVERS_MAX = 3
_SEARCH_PATHS_MAX = 32
_SEARCH_BYTES_MAX = 2048

_valid: ContentMap[bool] = ContentMap()
"""Specs without anything wrong: those of pods of one template are the same."""


def _subdomain(value: str | None, path: str) -> list[Cause]:
    return [fields.invalid(path, value, text) for text in names.is_dns1123_subdomain(value)] if value else []


def _label(value: str | None, path: str) -> list[Cause]:
    return [fields.invalid(path, value, text) for text in names.is_dns1123_label(value)] if value else []


def validate_pod_spec(spec: dict[str, Any], path: str) -> list[Cause]:
    """Everything wrong with a pod's spec."""
    content = content_of(spec)
    if _valid.get(content):
        return []
    causes = _validate(spec, path)
    if not causes:
        _valid.put(content, True)
    return causes


def _validate(spec: dict[str, Any], path: str) -> list[Cause]:
    claims = {claim.get("name") or "" for claim in spec.get("resourceClaims") or ()}
    causes, volumes = validate_volumes(spec.get("volumes") or [], f"{path}.volumes")
    causes += _validate_claims(spec, f"{path}.resourceClaims")
    causes += validate_containers(spec, path, volumes=volumes, claims=claims)
    causes += validate_init_containers(spec, path, volumes=volumes, claims=claims)
    causes += validate_ephemeral_containers(spec, path, volumes=volumes, claims=claims)
    causes += _validate_pod_resources(spec, f"{path}.resources")
    policy, dns = spec.get("restartPolicy") or "", spec.get("dnsPolicy") or ""
    if not policy:
        causes.append(fields.required(f"{path}.restartPolicy"))
    elif policy not in _RESTART_POLICIES:
        causes.append(fields.not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if not dns:
        causes.append(fields.required(f"{path}.dnsPolicy"))
    elif dns not in _DNS_POLICIES:
        causes.append(fields.not_supported(f"{path}.dnsPolicy", dns, _DNS_POLICIES))
    causes += validate_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    causes += validate_pod_security(spec, path)
    causes += validate_affinity(spec.get("affinity"), f"{path}.affinity")
    causes += _validate_dns_config(spec, f"{path}.dnsConfig")
    for position, gate in enumerate(spec.get("readinessGates") or ()):
        where = fields.index(f"{path}.readinessGates", position) + ".conditionType"
        kind = gate.get("conditionType") or ""
        causes += [fields.invalid(where, kind, text) for text in names.is_qualified_name(kind)]
    causes += _validate_scheduling_gates(spec, f"{path}.schedulingGates")
    causes += validate_topology_spread(spec.get("topologySpreadConstraints") or (), f"{path}.topologySpreadConstraints")
    causes += _subdomain(spec.get("serviceAccountName"), f"{path}.serviceAccountName")
    causes += _subdomain(spec.get("nodeName"), f"{path}.nodeName")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        causes.append(fields.invalid(f"{path}.activeDeadlineSeconds", deadline, names.range_message(1, 2**31 - 1)))
    causes += _label(spec.get("hostname"), f"{path}.hostname")
    causes += _label(spec.get("subdomain"), f"{path}.subdomain")
    causes += _validate_hostname_override(spec, f"{path}.hostnameOverride")
    if spec.get("tolerations"):
        causes += validate_tolerations(spec["tolerations"], f"{path}.tolerations")
    for position, alias in enumerate(spec.get("hostAliases") or ()):
        where = fields.index(f"{path}.hostAliases", position)
        ip = alias.get("ip") or ""
        causes += [fields.invalid(f"{where}.ip", ip, text) for text in names.is_ip(ip)]
        for number, host in enumerate(alias.get("hostnames") or ()):
            spot = fields.index(f"{where}.hostnames", number)
            causes += [fields.invalid(spot, host, text) for text in names.is_dns1123_subdomain(host)]
    causes += _subdomain(spec.get("priorityClassName"), f"{path}.priorityClassName")
    causes += _subdomain(spec.get("runtimeClassName"), f"{path}.runtimeClassName")
    preemption = spec.get("preemptionPolicy")
    if preemption == "":
        causes.append(fields.required(f"{path}.preemptionPolicy"))
    elif preemption is not None and preemption not in ("PreemptLowerPriority", "Never"):
        causes.append(fields.not_supported(f"{path}.preemptionPolicy", preemption, ("PreemptLowerPriority", "Never")))
    if overhead := spec.get("overhead"):
        causes += validate_resource_requirements({"limits": overhead}, f"{path}.overhead", claims=set())
    return causes + _validate_os(spec, path)


def _validate_claims(spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, claim in enumerate(spec.get("resourceClaims") or ()):
        where = fields.index(path, position)
        name = claim.get("name") or ""
        if not name:
            causes.append(fields.required(f"{where}.name"))
        elif name in seen:
            causes.append(fields.duplicate(f"{where}.name", name))
        else:
            causes += _label(name, f"{where}.name")
        seen.add(name)
        direct, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        if direct is None and template is None:
            causes.append(
                fields.invalid(
                    where,
                    claim,
                    "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                )
            )
        elif direct is not None and template is not None:
            causes.append(
                fields.invalid(
                    where,
                    claim,
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                )
            )
        causes += _subdomain(direct, f"{where}.resourceClaimName")
        causes += _subdomain(template, f"{where}.resourceClaimTemplateName")
    return causes


def _validate_pod_resources(spec: dict[str, Any], path: str) -> list[Cause]:
    resources = spec.get("resources")
    if not resources:
        return []
    causes: list[Cause] = []
    if resources.get("claims"):
        causes.append(fields.forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    causes += validate_resource_requirements(
        {key: resources.get(key) for key in ("limits", "requests")},
        path,
        claims=set(),
        validate_name=validate_pod_resource_name,
    )
    requests, limits = amounts_of(resources.get("requests")), amounts_of(resources.get("limits"))
    for name, amount in sorted(container_amounts(spec, "requests").items()):
        if name in requests and amount > requests[name]:
            detail = f"must be greater than or equal to aggregate container requests of {amount}"
            causes.append(fields.invalid(fields.key(f"{path}.requests", name), str(requests[name]), detail))
    for position, container in enumerate(spec.get("containers") or ()):
        for name, amount in sorted(amounts_of((container.get("resources") or {}).get("limits")).items()):
            if name in limits and amount > limits[name]:
                where = fields.key(fields.index(f"{path}.containers", position), name)
                detail = f"must be less than or equal to pod limits of {limits[name]}"
                causes.append(fields.invalid(f"{where}.limits", str(amount), detail))
    return causes


def _validate_dns_config(spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [fields.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            return [
                fields.required(
                    f"{path}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
                )
            ]
    if config is None:
        return causes
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if len(servers) > _NAME_SERVERS_MAX:
        causes.append(
            fields.invalid(f"{path}.nameservers", servers, f"must not have more than {_NAME_SERVERS_MAX} nameservers")
        )
    for position, server in enumerate(servers):
        where = fields.index(f"{path}.nameservers", position)
        causes += [fields.invalid(where, server, text) for text in names.is_ip(server)]
    if len(searches) > _SEARCH_PATHS_MAX:
        causes.append(
            fields.invalid(f"{path}.searches", searches, f"must not have more than {_SEARCH_PATHS_MAX} search paths")
        )
    if len(" ".join(searches)) > _SEARCH_BYTES_MAX:
        causes.append(
            fields.invalid(
                f"{path}.searches",
                searches,
                f"must not have more than {_SEARCH_BYTES_MAX} characters (including spaces) in the search list",
            )
        )
    for position, search in enumerate(searches):
        where = fields.index(f"{path}.searches", position)
        if search == ".":
            continue
        name = search.removesuffix(".")
        causes += [fields.invalid(where, search, text) for text in names.is_dns1123_subdomain_with_underscore(name)]
    for position, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            causes.append(fields.required(fields.index(f"{path}.options", position), "must not be empty"))
    return causes


def _validate_scheduling_gates(spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    gates = spec.get("schedulingGates") or ()
    for position, gate in enumerate(gates):
        where, name = fields.index(path, position), gate.get("name") or ""
        causes += [fields.invalid(where, name, text) for text in names.is_qualified_name(name)]
        if name in seen:
            causes.append(fields.duplicate(where, name))
        seen.add(name)
    return causes


_NOT_ON_WINDOWS_POD = (
    "appArmorProfile", "seLinuxOptions", "hostUsers", "hostPID", "hostIPC", "seccompProfile", "fsGroup",
    "fsGroupChangePolicy", "sysctls", "shareProcessNamespace", "runAsUser", "runAsGroup", "supplementalGroups",
    "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
_OF_THE_SPEC = frozenset(("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"))
_NOT_ON_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def _validate_os(spec: dict[str, Any], path: str) -> list[Cause]:
    os = spec.get("os")
    if os is None:
        return []
    name = os.get("name") or ""
    if not name:
        return [fields.required(f"{path}.os.name", "cannot be empty")]
    if name not in ("linux", "windows"):
        return [fields.not_supported(f"{path}.os", name, ("linux", "windows"))]
    context = spec.get("securityContext") or {}
    contexts = [
        (container.get("securityContext") or {}, f"{fields.index(f'{path}.{key}', position)}.securityContext")
        for key in ("initContainers", "containers", "ephemeralContainers")
        for position, container in enumerate(spec.get(key) or ())
    ]
    if name == "linux":
        return [
            fields.forbidden(f"{where}.windowsOptions", "windows options cannot be set for a linux pod")
            for one, where in [(context, f"{path}.securityContext"), *contexts]
            if one.get("windowsOptions") is not None
        ]
    causes: list[Cause] = []
    for key in _NOT_ON_WINDOWS_POD:
        value = spec.get(key) if key in _OF_THE_SPEC else context.get(key)
        if value if key in ("hostPID", "hostIPC", "sysctls") else value is not None:
            where = f"{path}.{key}" if key in _OF_THE_SPEC else f"{path}.securityContext.{key}"
            causes.append(fields.forbidden(where, "cannot be set for a windows pod"))
    return causes + [
        fields.forbidden(f"{where}.{key}", "cannot be set for a windows pod")
        for one, where in contexts
        for key in _NOT_ON_WINDOWS
        if one.get(key) is not None
    ]


def _validate_hostname_override(spec: dict[str, Any], where: str) -> list[Cause]:
    """The full host name that a pod may have instead of one of the cluster's (KEP-4762)."""
    name = spec.get("hostnameOverride")
    if name is None:
        return []
    causes = [fields.invalid(where, name, text) for text in names.is_dns1123_subdomain(name)]
    if len(name) > _HOSTNAME_MAX:
        causes.append(fields.too_long(where, _HOSTNAME_MAX))
    for other in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(other):
            causes.append(fields.forbidden(where, f"may not be set when `{other}` is true"))
    return causes
