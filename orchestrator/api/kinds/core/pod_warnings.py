"""What a client is told about a pod, or a pod template, that is valid and hardly what its author means.

Mirrors k8s.io/kubernetes/pkg/api/pod/warnings.go and the strategies of pods and workloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from orchestrator.api import fields, names
from orchestrator.api.contents import ContentMap
from orchestrator.api.kinds.core.node_warnings import (
    DEPRECATED_NODE_LABELS,
    warn_node_selector,
    warn_node_selector_term,
)
from orchestrator.api.kinds.core.persistent_volume_claim import warn_claim_spec
from orchestrator.api.kinds.core.pod_annotations import (
    APP_ARMOR_PREFIX,
    SECCOMP_CONTAINER_PREFIX,
    SECCOMP_POD,
    app_armor_profile,
    containers_of,
)
from orchestrator.api.kinds.core.resource_names import warn_fractional
from orchestrator.api.kinds.core.volume_validation import DEPRECATED_SOURCES
from orchestrator.api.kinds.network_values import warn_ip
from orchestrator.api.objects import Object, annotations_of, name_of

WARNINGS_MAX = 100
"""Of one sort; an answer carries half as many."""
PATHS_MAX = 200
"""Of one volume that are compared, each with all others."""

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_USE_SECCOMP_FIELD = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_USE_APP_ARMOR_FIELD = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_DEPRECATED_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_known: ContentMap[tuple[str, ...]] = ContentMap()
"""What there is to say about specs of pods: those of one template come again and again."""


def warn_pod(new: Object, old: Object | None) -> list[str]:
    """About a new pod; updates of pods are made by programs, and stay quiet."""
    if old is not None:
        return []
    warnings = []
    if wrong := names.is_dns1123_label(name_of(new)):
        warnings.append(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior;"
            f" a DNS label is recommended: {go_list(wrong)}"
        )
    spec = new.get("spec") or {}
    warnings += _known.of(spec, lambda: tuple(_warn_spec(spec, "spec")))
    if annotations := annotations_of(new):
        warnings += _warn_annotations(annotations, spec, "metadata.annotations", is_template=False)
    return warnings


def warn_pod_status(new: Object, old: Object | None) -> list[str]:
    """Addresses in a notation that is not the usual one."""
    status = new.get("status") or {}
    return [
        warning
        for key in ("podIPs", "hostIPs")
        for position, entry in enumerate(status.get(key) or ())
        for warning in warn_ip(entry.get("ip") or "", fields.index(f"status.{key}", position) + ".ip")
    ]


def warn_pod_template(template: dict[str, Any] | None, path: str) -> list[str]:
    """About the template at this path."""
    template = template or {}
    spec, annotations = template.get("spec") or {}, (template.get("metadata") or {}).get("annotations")
    warnings = _warn_spec(spec, f"{path}.spec")
    if annotations:
        warnings += _warn_annotations(annotations, spec, f"{path}.metadata.annotations", is_template=True)
    return warnings


def warn_pod_names(new: Object) -> list[str]:
    """A workload whose name its pods carry on should have one that is good for host names."""
    wrong = names.is_dns1123_label(name_of(new))
    if not wrong:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior;"
        f" a DNS label is recommended: {go_list(wrong)}"
    ]


def warn_workload(new: Object, old: Object | None) -> list[str]:
    """About a Deployment, ReplicaSet or ReplicationController: its name, and a template that is new or changed."""
    warnings = warn_pod_names(new) if old is None else []
    if old is None or new["spec"] != old["spec"]:
        warnings += warn_pod_template(new["spec"].get("template"), "spec.template")
    return warnings


def go_list(texts: Iterable[str]) -> str:
    """As Go prints a slice of strings."""
    return f"[{' '.join(texts)}]"


def _warn_annotations(annotations: dict[str, str], spec: dict[str, Any], path: str, *, is_template: bool) -> list[str]:
    warnings = [
        f"{fields.key(path, key)}: {text}" for key, text in _DEPRECATED_ANNOTATIONS.items() if key in annotations
    ]
    context = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations and context.get("seccompProfile") is None:
        warnings.append(f"{fields.key(path, SECCOMP_POD)}: {_USE_SECCOMP_FIELD}")
    for container, _ in containers_of(spec, ""):
        own, name = container.get("securityContext") or {}, container.get("name") or ""
        key = SECCOMP_CONTAINER_PREFIX + name
        if key in annotations and own.get("seccompProfile") is None:
            warnings.append(f"{fields.key(path, key)}: {_USE_SECCOMP_FIELD}")
        key = APP_ARMOR_PREFIX + name
        if key in annotations and own.get("appArmorProfile") is None:
            # In a pod it becomes a field at once, where it says more than the pod's profile.
            of_pod = context.get("appArmorProfile")
            if of_pod is not None and (is_template or app_armor_profile(annotations[key]) == of_pod):
                continue
            warnings.append(f"{fields.key(path, key)}: {_USE_APP_ARMOR_FIELD}")
    return warnings


def _warn_spec(spec: dict[str, Any], path: str) -> list[str]:
    warnings = _warn_placement(spec, path)
    for position, volume in enumerate(spec.get("volumes") or ()):
        warnings += _warn_volume(volume, fields.index(f"{path}.volumes", position))
    for volume in spec.get("volumes") or ():
        warnings += _warn_overlaps(volume)
    warnings += _warn_addresses(spec, path)
    secrets = [secret.get("name") or "" for secret in spec.get("imagePullSecrets") or ()]
    for position in sorted(fields.repeated(secrets)):
        where = fields.index(f"{path}.imagePullSecrets", position)
        warnings.append(f"{where}.name: duplicate name {fields.quote(secrets[position])}")
    for position, name in enumerate(secrets):
        if not name:
            warnings.append(f'{fields.index(f"{path}.imagePullSecrets", position)}.name: invalid empty name ""')
    warnings += _warn_bytes(spec.get("overhead"), f"{path}.overhead")
    for container, where in containers_of(spec, path):
        resources = container.get("resources") or {}
        for name in ("memory", "ephemeral-storage"):
            for kind in ("limits", "requests"):
                warnings += warn_fractional(resources.get(kind), name, f"{where}.resources.{kind}")
        warnings += _warn_variables(container.get("env") or (), f"{where}.env")
    warnings += _warn_ports(spec, path)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        warnings.append(
            f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    return warnings + _warn_pod_affinity(spec.get("affinity") or {}, f"{path}.affinity")


def _warn_bytes(amounts: dict[str, Any] | None, path: str) -> list[str]:
    return [text for name in ("memory", "ephemeral-storage") for text in warn_fractional(amounts, name, path)]


def _warn_placement(spec: dict[str, Any], path: str) -> list[str]:
    warnings = warn_node_selector(spec.get("nodeSelector"), f"{path}.nodeSelector")
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    where = f"{path}.affinity.nodeAffinity"
    for position, term in enumerate((node.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        warnings += warn_node_selector_term(term, fields.index(f"{where}.{_REQUIRED}.nodeSelectorTerms", position))
    for position, term in enumerate(node.get(_PREFERRED) or ()):
        spot = f"{fields.index(f'{where}.{_PREFERRED}', position)}.preference"
        warnings += warn_node_selector_term(term.get("preference") or {}, spot, check_values=True)
    for position, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        where = fields.index(f"{path}.topologySpreadConstraints", position)
        key = constraint.get("topologyKey") or ""
        if key in DEPRECATED_NODE_LABELS:
            warnings.append(f"{where}.topologyKey: {key} is {DEPRECATED_NODE_LABELS[key]}")
        if constraint.get("labelSelector") is None:
            warnings.append(f"{where}.labelSelector: {_NO_SELECTOR}")
    return warnings


def _warn_volume(volume: dict[str, Any], path: str) -> list[str]:
    warnings = [f"{path}.{shown}: {text}" for key, shown, text in DEPRECATED_SOURCES if volume.get(key) is not None]
    template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if template is not None:
        warnings += warn_claim_spec(template.get("spec") or {}, f"{path}.ephemeral.volumeClaimTemplate.spec")
    return warnings


def _warn_addresses(spec: dict[str, Any], path: str) -> list[str]:
    warnings: list[str] = []
    seen: set[str] = set()
    for position, alias in enumerate(spec.get("hostAliases") or ()):
        where, ip = f"{fields.index(f'{path}.hostAliases', position)}.ip", alias.get("ip") or ""
        if ip in seen:
            warnings.append(f"{where}: duplicate ip {fields.quote(ip)}")
        seen.add(ip)
        warnings += warn_ip(ip, where)
    for position, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        warnings += warn_ip(server, fields.index(f"{path}.dnsConfig.nameservers", position))
    return warnings


def _warn_variables(variables: Iterable[dict[str, Any]], path: str) -> list[str]:
    warnings: list[str] = []
    seen: set[str] = set()
    for position, variable in enumerate(variables):
        name = variable.get("name") or ""
        extends = f"$({name})" in (value := variable.get("value") or "") and value != f"$({name})"
        if name in seen and (variable.get("valueFrom") is not None or not extends):
            warnings.append(
                f"{fields.index(path, position)}: hides previous definition of {fields.quote(name)},"
                " which may be dropped when using apply"
            )
        seen.add(name)
    return warnings


class _Port(NamedTuple):
    path: str
    host_ip: str
    host_port: int


class _Ports:
    """Ports of one number and protocol; which of them a further one meets is only looked for where there are any."""

    def __init__(self) -> None:
        self.ports: list[_Port] = []
        self._exact: set[tuple[str, int]] = set()
        self._by_number: set[tuple[int, bool]] = set()
        self._has_open = False

    def may_conflict(self, port: _Port) -> bool:
        """Whether `_conflict` with any of them says something."""
        if not self.ports:
            return False
        if not port.host_port or self._has_open or (port.host_ip, port.host_port) in self._exact:
            return True
        return (port.host_port, not port.host_ip) in self._by_number

    def add(self, port: _Port) -> None:
        self.ports.append(port)
        self._exact.add((port.host_ip, port.host_port))
        self._by_number.add((port.host_port, bool(port.host_ip)))
        self._has_open = self._has_open or not port.host_port


def _warn_ports(spec: dict[str, Any], path: str) -> list[str]:
    warnings: list[str] = []
    seen: dict[tuple[int, str], _Ports] = {}
    for container, where in containers_of(spec, path):
        for position, port in enumerate(container.get("ports") or ()):
            spot = _Port(fields.index(f"{where}.ports", position), port.get("hostIP") or "", port.get("hostPort") or 0)
            number, protocol = port.get("containerPort") or 0, port.get("protocol") or ""
            if spot.host_ip and not spot.host_port:
                warnings.append(
                    f"{spot.path}: hostIP set without hostPort: {{Name:{port.get('name') or ''} HostPort:0"
                    f" ContainerPort:{number} Protocol:{protocol} HostIP:{spot.host_ip}}}"
                )
            others = seen.setdefault((number, protocol), _Ports())
            if len(warnings) < WARNINGS_MAX and others.may_conflict(spot):
                warnings += [
                    f"{spot.path}: {what} port definition with {other.path}"
                    for other in others.ports
                    if (what := _conflict(spot, other))
                ]
            others.add(spot)
    return warnings


def _conflict(port: _Port, other: _Port) -> str:
    if (port.host_ip, port.host_port) == (other.host_ip, other.host_port):
        return "duplicate"
    if not port.host_port or not other.host_port:
        return "overlapping"
    if port.host_port == other.host_port and bool(port.host_ip) != bool(other.host_ip):
        return "dangerously ambiguous"
    return ""


def _warn_pod_affinity(affinity: dict[str, Any], path: str) -> list[str]:
    warnings: list[str] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        part = affinity.get(kind) or {}
        for position, term in enumerate(part.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                where = fields.index(f"{path}.{kind}.{_REQUIRED}", position)
                warnings.append(f"{where}.labelSelector: {_NO_SELECTOR}")
        for position, term in enumerate(part.get(_PREFERRED) or ()):
            if (term.get("podAffinityTerm") or {}).get("labelSelector") is None:
                where = fields.index(f"{path}.{kind}.{_PREFERRED}", position)
                warnings.append(f"{where}.podAffinityTerm.labelSelector: {_NO_SELECTOR}")
    return warnings


# --- files of volumes that cover each other ---------------------------------------------------


def _paths(source: dict[str, Any]) -> list[str]:
    return [item.get("path") or "" for item in source.get("items") or ()]


def _warn_overlaps(volume: dict[str, Any]) -> list[str]:
    name = fields.quote(volume.get("name") or "")
    warnings: list[str] = []
    for key, title, reference in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        if source := volume.get(key):
            what = f"volume {name} ({title} {fields.quote(source.get(reference) or '')})"
            warnings += _overlaps(_paths(source), what)
    if source := volume.get("downwardAPI"):
        warnings += _overlaps(_paths(source), f"volume {name} (DownwardAPI)")
    known: set[str] = set()
    for source in (volume.get("projected") or {}).get("sources") or ():
        if not any(part is not None for part in source.values()):
            warnings.append(f"volume {name} (Projected) has no sources provided")
            continue
        title, paths = _projected(source)
        if not paths:
            continue
        what = f"volume {name} (Projected {title})"
        warnings += _overlaps(paths, what)
        if len(known) + len(paths) > PATHS_MAX:
            break
        # What one source has alone has been told about; here it meets those before it.
        warnings += _overlaps(sorted([*set(paths), *known]), what)
        known.update(paths)
    return warnings


def _projected(source: dict[str, Any]) -> tuple[str, list[str]]:
    for key, title in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if part := source.get(key):
            return f"{title} {fields.quote(part.get('name') or '')}", _paths(part)
    if part := source.get("downwardAPI"):
        return "DownwardAPI", _paths(part)
    if part := source.get("serviceAccountToken"):
        return "ServiceAccountToken", [part.get("path") or ""]
    if part := source.get("clusterTrustBundle"):
        bundle = part.get("name") or part.get("signerName") or ""
        return f"ClusterTrustBundle {fields.quote(bundle)}", [part.get("path") or ""]
    return "", []


def _overlaps(paths: Iterable[str], what: str) -> list[str]:
    warnings: list[str] = []
    seen: list[str] = []
    for path in (path.rstrip("/") for path in islice(paths, PATHS_MAX)):
        other = next((one for one in seen if _is_overlap(path, one)), None)
        if other is not None:
            warnings.append(f"{what}: overlapping paths: {fields.quote(path)} with {fields.quote(other)}")
        if path not in seen:
            seen.append(path)
    return warnings


def _is_overlap(path: str, other: str) -> bool:
    return bool(path and other) and (f"{other}/".startswith(path) or f"{path}/".startswith(other))
