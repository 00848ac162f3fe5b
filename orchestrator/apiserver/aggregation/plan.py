"""Decisions of the aggregator: local APIServices, the order of groups, availability, who asks. Pure functions.

Sources: the documentation of `APIServiceSpec` (priorities) and `APIServiceStatus`, and the reasons that
kube-aggregator's availability controllers document in the condition `Available`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, labels_of
from orchestrator.api.resources import API_SERVICES
from orchestrator.apiserver.discovery import version_priority
from orchestrator.apiserver.services.resolver import addresses_behind
from orchestrator.apiserver.user import User

AUTOMANAGED_LABEL = "kube-aggregator.kubernetes.io/automanaged"
BUILTIN_PRIORITIES = {
    ("", "v1"): (18000, 1),
    ("apps", "v1"): (17800, 15),
    ("events.k8s.io", "v1"): (17750, 15),
    ("authentication.k8s.io", "v1"): (17700, 15),
    ("authorization.k8s.io", "v1"): (17600, 15),
    ("autoscaling", "v1"): (17500, 15),
    ("autoscaling", "v2"): (17500, 30),
    ("batch", "v1"): (17400, 15),
    ("certificates.k8s.io", "v1"): (17300, 15),
    ("networking.k8s.io", "v1"): (17200, 15),
    ("policy", "v1"): (17100, 15),
    ("rbac.authorization.k8s.io", "v1"): (17000, 15),
    ("storage.k8s.io", "v1"): (16800, 15),
    ("apiextensions.k8s.io", "v1"): (16700, 15),
    ("admissionregistration.k8s.io", "v1"): (16700, 15),
    ("scheduling.k8s.io", "v1"): (16600, 15),
    ("coordination.k8s.io", "v1"): (16500, 15),
    ("node.k8s.io", "v1"): (16300, 15),
    ("discovery.k8s.io", "v1"): (16200, 12),
    ("flowcontrol.apiserver.k8s.io", "v1"): (16100, 21),
}
"""(group, version) → groupPriorityMinimum, versionPriority, as kube-apiserver registers its own groups."""
ADDON_PRIORITY = (100, 100)
"""What the manifests of add-ons ask for (metrics-server)."""
CUSTOM_PRIORITY = (1000, 100)
"""What kube-apiserver registers the groups of CustomResourceDefinitions with."""
LOCAL = {
    "type": "Available",
    "status": "True",
    "reason": "Local",
    "message": "Local APIServices are always available",
}
_LEGAL_IN_HEADERS = "!#$&'*+-.^_`|~"
PASSED = {"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}


class GroupVersion(NamedTuple):
    """A group and one of its versions."""

    group: str
    version: str

    @property
    def api_service(self) -> str:
        """The name of its APIService."""
        return f"{self.version}.{self.group}"


def plan_local_services(kinds: Iterable[Kind]) -> dict[str, Object]:
    """Name → the APIService of every group version that this server serves itself; not of APIServices themselves."""
    services: dict[str, Object] = {}
    for kind in kinds:
        which = GroupVersion(kind.resource.group, kind.resource.version)
        if which.group == API_SERVICES.group or which.api_service in services:
            continue
        if kind.schema is not None:
            priorities, managed = CUSTOM_PRIORITY, "true"
        else:
            priorities, managed = BUILTIN_PRIORITIES.get(which, ADDON_PRIORITY), "onstart"
        spec: Object = {
            "groupPriorityMinimum": priorities[0],
            "version": which.version,
            "versionPriority": priorities[1],
        }
        if which.group:
            spec["group"] = which.group
        services[which.api_service] = {
            "apiVersion": API_SERVICES.api_version,
            "kind": API_SERVICES.kind,
            "metadata": {"name": which.api_service, "labels": {AUTOMANAGED_LABEL: managed}},
            "spec": spec,
        }
    return services


def is_local(service: Object) -> bool:
    """Whether this server answers for the group version itself."""
    return service["spec"].get("service") is None


def group_version_of(service: Object) -> GroupVersion:
    """What an APIService is about."""
    return GroupVersion(service["spec"].get("group") or "", service["spec"]["version"])


def plan_order(services: Iterable[Object]) -> dict[str, list[str]]:
    """Group → its versions, both in the order of discovery; the group of APIServices itself is always first.

    A group counts with the highest minimum among its versions; equal ones go by name. Versions go by their
    priority, then by age of the API (GA, beta, alpha; newer first).
    """
    minimums: dict[str, int] = {API_SERVICES.group: 1 << 30}
    versions: dict[str, list[tuple[int, tuple[int, int, int, str], str]]] = {
        API_SERVICES.group: [(0, version_priority(API_SERVICES.version), API_SERVICES.version)]
    }
    for service in services:
        group, version = group_version_of(service)
        if group == API_SERVICES.group:
            continue
        spec = service["spec"]
        minimums[group] = max(minimums.get(group, 0), spec.get("groupPriorityMinimum") or 0)
        entry = (-(spec.get("versionPriority") or 0), version_priority(version), version)
        versions.setdefault(group, []).append(entry)
    groups = sorted(versions, key=lambda group: (-minimums[group], group))
    return {group: [version for _, _, version in sorted(versions[group])] for group in groups}


def plan_availability(spec: Mapping[str, Any], service: Object | None, slices: Sequence[Object]) -> Object | None:
    """The condition of a remote APIService as far as the cluster's objects tell; None: its server must be asked."""
    reference = spec["service"]
    name, namespace, number = reference["name"], reference["namespace"], reference.get("port") or 443
    if service is None:
        return unavailable("ServiceNotFound", f'service/{name} in "{namespace}" is not present')
    if (service["spec"].get("type") or "ClusterIP") != "ClusterIP":
        return None
    port = next((one for one in service["spec"].get("ports") or () if one.get("port") == number), None)
    if port is None:
        return unavailable("ServicePortError", f'service/{name} in "{namespace}" is not listening on port {number}')
    own = [one for one in slices if labels_of(one).get(SERVICE_NAME_LABEL) == name]
    if not addresses_behind(own, port):
        shown = port.get("name") or ""
        return unavailable(
            "MissingEndpoints",
            f'endpoints for service/{name} in "{namespace}" have no addresses with port name "{shown}"',
        )
    return None


def unavailable(reason: str, message: str) -> Object:
    """The condition `Available` that is false."""
    return {"type": "Available", "status": "False", "reason": reason, "message": message}


def remote_user_headers(user: User) -> list[tuple[str, str]]:
    """A user as headers, as the documentation of the authenticating proxy names them."""
    headers = [("X-Remote-User", user.name)]
    if user.uid:
        headers.append(("X-Remote-Uid", user.uid))
    headers += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        name = f"X-Remote-Extra-{quote(key, safe=_LEGAL_IN_HEADERS)}"
        headers += [(name, value) for value in values]
    return headers
