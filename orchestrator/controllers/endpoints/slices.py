"""What the EndpointSlices of a Service should be. Pure; mirrors the reconciler of endpointslice-controller.

`plan_slices` changes as few slices as possible: consumers follow slices, and an unchanged slice
costs them nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from msgspec import Struct, field

from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.objects import (
    Object,
    copy_object,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)
from orchestrator.client.informer import Informer
from orchestrator.controllers.endpoints.addresses import (
    HEADLESS_LABEL,
    ZONE_LABEL,
    address_of,
    endpoint_of,
    families_of,
    is_candidate,
    is_headless,
    ports_for,
)
from orchestrator.controllers.pods import node_of

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
MAX_ENDPOINTS = 100

_NAME_PREFIX_MAX = 58


class SlicePlan(Struct):
    """Slices to write."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def slice_labels(service: Object, manager: str = MANAGER) -> dict[str, str]:
    """The labels of a Service's slices: its own and those that say whose they are."""
    labels = {key: value for key, value in labels_of(service).items() if key not in (SERVICE_NAME_LABEL, MANAGED_BY)}
    labels.pop(HEADLESS_LABEL, None)
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    labels[SERVICE_NAME_LABEL] = name_of(service)
    labels[MANAGED_BY] = manager
    return labels


class EndpointGroup(Struct):
    """Endpoints that share address type and ports, by their identity."""

    address_type: str
    ports: list[dict[str, Any]]
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, bytes]:
        return (self.address_type, _ports_identity(self.ports))


def _ports_identity(ports: Sequence[Mapping[str, Any]] | None) -> bytes:
    return orjson.dumps(sorted((p.get("name") or "", p.get("port"), p.get("protocol") or "TCP",
                                p.get("appProtocol") or "") for p in ports or ()))  # fmt: skip


def endpoint_identity(endpoint: Mapping[str, Any]) -> str:
    """What tells an endpoint from others of its address family: its pod, else its address."""
    target = endpoint.get("targetRef") or {}
    return str(target.get("uid") or endpoint["addresses"][0])


class Entry(NamedTuple):
    """One pod's part in one address family of a Service."""

    group: tuple[str, bytes]
    """The identity of the group that it belongs to."""
    ports: list[dict[str, Any]]
    identity: str
    endpoint: dict[str, Any]


def entries_of(service: Object, pod: Object, node: Object | None) -> list[Entry]:
    """What a pod contributes to the slices of a Service: one entry for each family that it has an address of."""
    if not is_candidate(pod, include_terminating=True):
        return []
    entries: list[Entry] = []
    for family in families_of(service):
        if address_of(pod, family):
            ports = ports_for(service, pod)
            endpoint = endpoint_of(pod, service, node, family)
            entries.append(Entry((family, _ports_identity(ports)), ports, endpoint_identity(endpoint), endpoint))
    return entries


def group_entries(entries: Iterable[Entry]) -> list[EndpointGroup]:
    """Entries grouped as slices group them."""
    groups: dict[tuple[str, bytes], EndpointGroup] = {}
    for entry in entries:
        group = groups.get(entry.group)
        if group is None:
            group = groups[entry.group] = EndpointGroup(entry.group[0], entry.ports)
        group.endpoints[entry.identity] = entry.endpoint
    return list(groups.values())


def wanted_groups(
    service: Object, pods: Iterable[Object], nodes: Informer | Mapping[str, Object]
) -> list[EndpointGroup]:
    """The endpoints that a Service should have, grouped as slices group them."""
    return group_entries(entry for pod in pods for entry in entries_of(service, pod, nodes.get(node_of(pod))))


class EntryCache:
    """The entries of every Service's pods, made anew only for what changed. Bounded by the members of Services."""

    def __init__(self) -> None:
        self._services: dict[str, tuple[Object, dict[str, tuple[Object, str, list[Entry]]]]] = {}

    def groups(self, service: Object, pods: Iterable[Object], nodes: Informer) -> list[EndpointGroup]:
        """As `wanted_groups`."""
        key = key_of(service)
        known_service, known = self._services.get(key, (None, {}))
        if known_service is not service:
            known = {}
        fresh: dict[str, tuple[Object, str, list[Entry]]] = {}
        for pod in pods:
            node = nodes.get(node_of(pod))
            zone = labels_of(node).get(ZONE_LABEL, "") if node is not None else ""
            entry = known.get(key_of(pod))
            # The informer hands out another object for every change, so identity tells.
            if entry is None or entry[0] is not pod or entry[1] != zone:
                entry = (pod, zone, entries_of(service, pod, node))
            fresh[key_of(pod)] = entry
        self._services[key] = (service, fresh)
        return group_entries(one for _, _, entries in fresh.values() for one in entries)

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._services.pop(key, None)


def plan_slices(
    service: Object,
    groups: Sequence[EndpointGroup],
    existing: Sequence[Object],
    *,
    manager: str = MANAGER,
    limit: int = MAX_ENDPOINTS,
    owner: Object | None = None,
    annotations: Mapping[str, str] | None = None,
) -> SlicePlan:
    """Bring slices to the wanted endpoints: keep what fits, fill gaps, reuse names, then create or delete.

    Every address type of the Service keeps at least one slice, an empty one if need be. `annotations`: what all
    slices carry; None when they keep what they have.
    """
    marks: dict[str, Any] = {
        "labels": slice_labels(service, manager),
        "ownerReferences": [owner_reference(owner or service)],
    }
    if annotations is not None:
        marks["annotations"] = dict(annotations)
    drafts, spare = _drafts(service, groups, existing, limit)
    plan = SlicePlan(delete=spare)
    for known, group, endpoints in drafts:
        if known is None:
            # A slice that would be deleted becomes the one that would be created; one write instead of two.
            known = next((one for one in spare if one["addressType"] == group.address_type), None)
            if known is not None:
                spare.remove(known)
        body = {"addressType": group.address_type, "endpoints": endpoints, "ports": group.ports}
        if known is None:
            prefix = f"{name_of(service)[: _NAME_PREFIX_MAX - 1]}-"
            metadata = {"generateName": prefix, "namespace": namespace_of(service), **marks}
            kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
            plan.create.append(copy_object({**kind, "metadata": metadata, **body}))
        elif not _shows(known, body, marks):
            plan.update.append(copy_object({**known, "metadata": {**known["metadata"], **marks}, **body}))
    return plan


_Draft = tuple[Object | None, EndpointGroup, list[dict[str, Any]]]
"""(the slice that is there, the group, the endpoints that it should have)."""


def _drafts(
    service: Object, groups: Sequence[EndpointGroup], existing: Sequence[Object], limit: int
) -> tuple[list[_Draft], list[Object]]:
    """(what there should be, the slices that are not needed)."""
    present: dict[tuple[str, bytes], list[Object]] = {}
    for one in existing:
        present.setdefault((one["addressType"], _ports_identity(one.get("ports"))), []).append(one)
    drafts: list[_Draft] = []
    spare: list[Object] = []
    for group in groups:
        drafts += _fill(group, present.pop(group.identity, []), limit, spare)
    spare += [one for rest in present.values() for one in rest]
    served = {group.address_type for _, group, _ in drafts}
    drafts += [(None, EndpointGroup(family, []), []) for family in families_of(service) if family not in served]
    return drafts, spare


def _shows(known: Object, body: Mapping[str, Any], marks: Mapping[str, Any]) -> bool:
    return (
        (known.get("endpoints") or []) == body["endpoints"]
        and _ports_identity(known.get("ports")) == _ports_identity(body["ports"])
        and all((known["metadata"].get(name) or type(value)()) == value for name, value in marks.items())
    )


def _fill(group: EndpointGroup, existing: Sequence[Object], limit: int, spare: list[Object]) -> list[_Draft]:
    missing = dict(group.endpoints)
    kept: list[tuple[Object, list[dict[str, Any]], bool]] = []
    for one in sorted(existing, key=name_of):
        endpoints: list[dict[str, Any]] = []
        is_changed = False
        for endpoint in one.get("endpoints") or ():
            wanted = missing.pop(endpoint_identity(endpoint), None)
            if wanted is not None and len(endpoints) < limit:
                endpoints.append(wanted)
                is_changed = is_changed or wanted != endpoint
            else:
                is_changed = True
                if wanted is not None:
                    missing[endpoint_identity(wanted)] = wanted
        kept.append((one, endpoints, is_changed))
    waiting = list(missing.values())
    # First into slices that are written anyway, then into the fullest one that has room for all, then new ones.
    for _, endpoints, is_changed in kept:
        if is_changed and endpoints:
            while waiting and len(endpoints) < limit:
                endpoints.append(waiting.pop(0))
    if waiting and len(waiting) < limit:
        roomy = [entry for entry in kept if entry[1] and len(entry[1]) + len(waiting) <= limit]
        if roomy:
            best = max(roomy, key=lambda entry: len(entry[1]))
            best[1].extend(waiting)
            waiting = []
    result: list[_Draft] = []
    for one, endpoints, _ in kept:
        if not endpoints and waiting:
            endpoints, waiting = waiting[:limit], waiting[limit:]
        if endpoints:
            result.append((one, group, endpoints))
        else:
            spare.append(one)
    while waiting:
        result.append((None, group, waiting[:limit]))
        waiting = waiting[limit:]
    return result
