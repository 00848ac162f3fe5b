"""Which description a kind gets: its own, or the generic one that shows every field of the object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from orchestrator.cli.ages import age_text
from orchestrator.cli.connection import Object
from orchestrator.cli.describe import policies
from orchestrator.cli.describe.pods import pod_lines
from orchestrator.cli.describe.text import (
    NONE,
    Related,
    aligned_text,
    indented,
    list_lines,
    metadata_lines,
    table_lines,
    time_text,
)
from orchestrator.cli.describe.workloads import (
    condition_lines,
    daemon_set_lines,
    deployment_lines,
    job_lines,
    replica_set_lines,
    stateful_set_lines,
)
from orchestrator.cli.events import seen_text

Describer = Callable[[Object, Related], list[str]]
EVENTS_MAX: Final = 100


def describe(obj: Object, related: Related) -> str:
    """The description of an object; `related` holds its events and what else belongs to it, by kind."""
    lines = _DESCRIBERS.get((obj["apiVersion"].partition("/")[0], obj["kind"]), generic_lines)(obj, related)
    if "Event" in related and obj["kind"] not in _WITHOUT_EVENTS:
        lines = [*lines, *event_lines(related["Event"])]
    return aligned_text(lines)


def event_lines(events: Sequence[Object]) -> list[str]:
    """The events, oldest first."""
    if not events:
        return [f"Events:\t{NONE}"]
    rows = []
    # As kubectl sorts: those that only have an eventTime come first.
    for event in sorted(events, key=lambda event: event.get("lastTimestamp") or "")[-EVENTS_MAX:]:
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
        message = (event.get("message") or "").strip()
        rows.append([event.get("type", ""), event.get("reason", ""), seen_text(event), source, message])
    return table_lines("Events", ("Type", "Reason", "Age", "From", "Message"), rows)


def service_lines(service: Object, related: Related) -> list[str]:
    """Everything about a Service except its events."""
    metadata, spec = service["metadata"], service["spec"]
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    lines += metadata_lines(service)
    lines += [f"Selector:\t{','.join(f'{k}={v}' for k, v in sorted((spec.get('selector') or {}).items())) or NONE}"]
    lines.append(f"Type:\t{spec.get('type', '')}")
    if spec.get("ipFamilyPolicy"):
        lines.append(f"IP Family Policy:\t{spec['ipFamilyPolicy']}")
        lines.append(f"IP Families:\t{','.join(spec.get('ipFamilies') or ()) or NONE}")
    lines.append(f"IP:\t{spec.get('clusterIP', '')}")
    lines.append(f"IPs:\t{','.join(spec.get('clusterIPs') or ()) or NONE}")
    if spec.get("externalIPs"):
        lines.append(f"External IPs:\t{','.join(spec['externalIPs'])}")
    if spec.get("externalName"):
        lines.append(f"External Name:\t{spec['externalName']}")
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if ingress:
        lines.append(
            f"LoadBalancer Ingress:\t{', '.join(each.get('ip') or each.get('hostname', '') for each in ingress)}"
        )
    for port in spec.get("ports") or ():
        name, protocol = port.get("name") or "<unset>", port.get("protocol", "TCP")
        lines.append(f"Port:\t{name}  {port['port']}/{protocol}")
        lines.append(f"TargetPort:\t{port.get('targetPort', port['port'])}/{protocol}")
        if port.get("nodePort"):
            lines.append(f"NodePort:\t{name}  {port['nodePort']}/{protocol}")
        lines.append(f"Endpoints:\t{_endpoints(related.get('EndpointSlice', ()), port)}")
    lines.append(f"Session Affinity:\t{spec.get('sessionAffinity', 'None')}")
    if spec.get("externalTrafficPolicy"):
        lines.append(f"External Traffic Policy:\t{spec['externalTrafficPolicy']}")
    if spec.get("internalTrafficPolicy"):
        lines.append(f"Internal Traffic Policy:\t{spec['internalTrafficPolicy']}")
    return lines


ENDPOINTS_SHOWN: Final = 3


def _endpoints(slices: Sequence[Object], port: Object) -> str:
    found = [
        f"{address}:{each['port']}"
        for endpoints in slices
        for each in endpoints.get("ports") or ()
        if (each.get("name") or "") == (port.get("name") or "") and each.get("port")
        for endpoint in endpoints.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint.get("addresses") or ()
    ]
    if len(found) > ENDPOINTS_SHOWN:
        return f"{','.join(found[:ENDPOINTS_SHOWN])} + {len(found) - ENDPOINTS_SHOWN} more..."
    return ",".join(found)


def node_lines(node: Object, related: Related) -> list[str]:
    """Everything about a Node except its events."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    prefix = "node-role.kubernetes.io/"
    roles = [key.removeprefix(prefix) for key in metadata.get("labels") or {} if key.startswith(prefix)]
    lines = [f"Name:\t{metadata['name']}", f"Roles:\t{','.join(sorted(roles)) or NONE}"]
    lines += metadata_lines(node)
    lines.append(f"CreationTimestamp:\t{time_text(metadata.get('creationTimestamp'))}")
    lines += list_lines("Taints", [_taint(taint) for taint in spec.get("taints") or ()])
    lines.append(f"Unschedulable:\t{str(bool(spec.get('unschedulable'))).lower()}")
    for lease in related.get("Lease", ()):
        held = lease.get("spec") or {}
        lines += ["Lease:", f"  HolderIdentity:\t{held.get('holderIdentity', '')}"]
        lines.append(f"  AcquireTime:\t{time_text(held['acquireTime']) if held.get('acquireTime') else '<unset>'}")
        lines += [f"  RenewTime:\t{time_text(held.get('renewTime'))}"]
    if status.get("conditions"):
        headers = ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message")
        rows = [
            [
                each["type"],
                each["status"],
                time_text(each.get("lastHeartbeatTime")),
                time_text(each.get("lastTransitionTime")),
                each.get("reason", ""),
                each.get("message", ""),
            ]
            for each in status["conditions"]
        ]
        lines += table_lines("Conditions", headers, rows)
    lines += ["Addresses:", *(f"  {each['type']}:\t{each['address']}" for each in status.get("addresses") or ())]
    for title in ("Capacity", "Allocatable"):
        if status.get(title.lower()):
            lines += [f"{title}:", *(f"  {name}:\t{value}" for name, value in sorted(status[title.lower()].items()))]
    if status.get("nodeInfo"):
        lines.append("System Info:")
        lines += [
            f"  {_title(key)}:\t{value}" for key, value in status["nodeInfo"].items() if not isinstance(value, dict)
        ]
    if spec.get("podCIDR"):
        lines += [f"PodCIDR:\t{spec['podCIDR']}", f"PodCIDRs:\t{','.join(spec.get('podCIDRs') or ())}"]
    if spec.get("providerID"):
        lines.append(f"ProviderID:\t{spec['providerID']}")
    if "Pod" in related:
        lines += _pods_on_node(related["Pod"], status.get("allocatable") or {})
    return lines


def _taint(taint: Object) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _pods_on_node(pods: Sequence[Object], allocatable: Mapping[str, str]) -> list[str]:
    from orchestrator.api.quantity import parse_quantity

    columns = (("requests", "cpu"), ("limits", "cpu"), ("requests", "memory"), ("limits", "memory"))
    totals = {column: parse_quantity("0") for column in columns}
    rows = []
    for pod in sorted(pods, key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"])):
        cells = []
        for column in columns:
            amount = parse_quantity("0")
            for container in pod["spec"]["containers"]:
                value = ((container.get("resources") or {}).get(column[0]) or {}).get(column[1])
                amount += parse_quantity(value or "0")
            totals[column] += amount
            cells.append(f"{amount} ({_percent(amount.milli(), allocatable.get(column[1]))}%)")
        metadata = pod["metadata"]
        rows.append([metadata["namespace"], metadata["name"], *cells, age_text(metadata.get("creationTimestamp"))])
    headers = ("Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age")
    lines = table_lines(f"Non-terminated Pods ({len(rows)} in total)", headers, rows)
    sums = [
        [
            resource,
            *(
                f"{totals[kind, resource]} ({_percent(totals[kind, resource].milli(), allocatable.get(resource))}%)"
                for kind in ("requests", "limits")
            ),
        ]
        for resource in ("cpu", "memory")
    ]
    return [*lines, *table_lines("Allocated resources", ("Resource", "Requests", "Limits"), sums)]


def _percent(milli: int, whole: str | None) -> int:
    from orchestrator.api.quantity import milli_value

    total = milli_value(whole) if whole else 0
    return milli * 100 // total if total else 0


def config_map_lines(config_map: Object, _related: Related) -> list[str]:
    """The data of a ConfigMap."""
    lines = _named(config_map)
    lines += ["", "Data", "===="]
    for key, value in sorted((config_map.get("data") or {}).items()):
        lines += [f"{key}:", "----", *str(value).replace("\t", "    ").split("\n"), ""]
    lines += ["", "BinaryData", "===="]
    for key, value in sorted((config_map.get("binaryData") or {}).items()):
        lines.append(f"{key}: {_decoded_length(value)} bytes")
    return [*lines, ""]


def secret_lines(secret: Object, _related: Related) -> list[str]:
    """What is in a Secret, without the values."""
    lines = [*_named(secret), "", f"Type:\t{secret.get('type', '')}", "", "Data", "===="]
    return [
        *lines,
        *(f"{key}:\t{_decoded_length(value)} bytes" for key, value in sorted((secret.get("data") or {}).items())),
    ]


def _decoded_length(value: str) -> int:
    import base64

    return len(base64.b64decode(value))


def namespace_lines(namespace: Object, _related: Related) -> list[str]:
    """A Namespace."""
    lines = [f"Name:\t{namespace['metadata']['name']}", *metadata_lines(namespace)]
    status = namespace.get("status") or {}
    return [*lines, f"Status:\t{status.get('phase', '')}", *condition_lines(status.get("conditions") or ())]


def _named(obj: Object) -> list[str]:
    metadata = obj["metadata"]
    lines = [f"Name:\t{metadata['name']}"]
    if metadata.get("namespace"):
        lines.append(f"Namespace:\t{metadata['namespace']}")
    return [*lines, *metadata_lines(obj)]


def generic_lines(obj: Object, _related: Related) -> list[str]:
    """Every field of an object of any kind, custom resources included."""
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("name", "namespace", "labels", "annotations", "managedFields")
    }
    lines = _named(obj)
    lines += [f"API Version:\t{obj['apiVersion']}", f"Kind:\t{obj['kind']}"]
    rest = {
        "metadata": metadata,
        **{key: obj[key] for key in sorted(obj) if key not in ("apiVersion", "kind", "metadata")},
    }
    return [*lines, *_tree(rest)]


def _tree(value: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, child in value.items():
        title = _title(key)
        if isinstance(child, dict):
            lines += [f"{title}:", *indented(_tree(child), 1)]
        elif isinstance(child, list):
            lines.append(f"{title}:")
            for item in child:
                lines += indented(_tree(item) if isinstance(item, dict) else [_scalar(item)], 1)
        else:
            lines.append(f"{title}:\t{_scalar(child)}")
    return lines


def _scalar(value: Any) -> str:
    return value.replace("\t", "    ").replace("\n", " ") if isinstance(value, str) else json.dumps(value)


def _title(key: str) -> str:
    """`maxSurge` → `Max Surge`, `podCIDR` → `Pod CIDR`; other keys as they are."""
    if not re.fullmatch(r"[a-z][a-zA-Z0-9]*", key):
        return key
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", key)
    return " ".join(word if word.isupper() else word.capitalize() for word in words)


_DESCRIBERS: Final[Mapping[tuple[str, str], Describer]] = {
    ("v1", "ConfigMap"): config_map_lines,
    ("v1", "LimitRange"): policies.limit_range_lines,
    ("v1", "Namespace"): namespace_lines,
    ("v1", "Node"): node_lines,
    ("v1", "PersistentVolumeClaim"): policies.claim_lines,
    ("v1", "Pod"): pod_lines,
    ("v1", "ResourceQuota"): policies.quota_lines,
    ("v1", "Secret"): secret_lines,
    ("v1", "Service"): service_lines,
    ("v1", "ServiceAccount"): policies.service_account_lines,
    ("apps", "Deployment"): deployment_lines,
    ("apps", "ReplicaSet"): replica_set_lines,
    ("apps", "StatefulSet"): stateful_set_lines,
    ("apps", "DaemonSet"): daemon_set_lines,
    ("batch", "Job"): job_lines,
    ("policy", "PodDisruptionBudget"): policies.budget_lines,
    ("rbac.authorization.k8s.io", "ClusterRole"): policies.role_lines,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): policies.binding_lines,
    ("rbac.authorization.k8s.io", "Role"): policies.role_lines,
    ("rbac.authorization.k8s.io", "RoleBinding"): policies.binding_lines,
    ("scheduling.k8s.io", "PriorityClass"): policies.priority_class_lines,
}
_WITHOUT_EVENTS: Final = frozenset(
    {"Secret", "Namespace", "LimitRange", "ResourceQuota", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
)
"""Kinds whose events kubectl does not look for."""
