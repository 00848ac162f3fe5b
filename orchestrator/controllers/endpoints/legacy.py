"""Endpoints (core/v1) of Services with a selector. Mirrors endpoints-controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import orjson

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    copy_object,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.resources import ENDPOINTS, PODS, SERVICES
from orchestrator.component.controller import Controller
from orchestrator.controllers.endpoints.addresses import (
    HEADLESS_LABEL,
    address_of,
    families_of,
    hostname_of,
    is_candidate,
    is_headless,
    ports_for,
    target_of,
)
from orchestrator.controllers.endpoints.membership import ServicePods, selector_of
from orchestrator.controllers.endpoints.triggers import TriggerTimes
from orchestrator.controllers.pods import is_ready, node_of
from orchestrator.controllers.replicas import is_namespace_terminating

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES = 1000


def plan_subsets(service: Object, pods: Iterable[Object]) -> tuple[list[dict[str, Any]], bool]:
    """(`subsets`, whether addresses were left out): pods grouped by their ports, ready ones apart from others."""
    spec = service.get("spec") or {}
    publishes_all = bool(spec.get("publishNotReadyAddresses"))
    family = families_of(service)[0]
    entries: list[tuple[bool, str, dict[str, Any], list[dict[str, Any]]]] = []
    for pod in pods:
        ip = address_of(pod, family) if is_candidate(pod, include_terminating=publishes_all) else ""
        if not ip:
            continue
        ports = ports_for(service, pod)
        if not ports and not (is_headless(service) and not spec.get("ports")):
            continue
        address: dict[str, Any] = {"ip": ip}
        if hostname := hostname_of(pod, service):
            address["hostname"] = hostname
        if node_of(pod):
            address["nodeName"] = node_of(pod)
        address["targetRef"] = target_of(pod)
        slim = [{k: v for k, v in port.items() if v != "" or k != "name"} for port in ports]
        entries.append((publishes_all or is_ready(pod), ip, address, slim))
    is_truncated = len(entries) > MAX_ADDRESSES
    # Ready addresses are the ones worth keeping.
    entries = sorted(entries, key=lambda entry: (not entry[0], entry[1]))[:MAX_ADDRESSES]
    subsets: dict[bytes, dict[str, Any]] = {}
    for ready, _, address, ports in entries:
        subset = subsets.setdefault(orjson.dumps(ports), {})
        subset.setdefault("addresses" if ready else "notReadyAddresses", []).append(address)
        if ports:
            subset["ports"] = ports
    return [subsets[key] for key in sorted(subsets)], is_truncated


def plan_endpoints(service: Object, pods: Iterable[Object], present: Object | None) -> Object | None:
    """The Endpoints as they should be; None when they are."""
    subsets, is_truncated = plan_subsets(service, pods)
    labels = {key: value for key, value in labels_of(service).items() if key != HEADLESS_LABEL}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    labels[MANAGED_BY] = MANAGER
    annotations = dict(((present or {}).get("metadata") or {}).get("annotations") or {})
    annotations.pop(OVER_CAPACITY, None)
    if is_truncated:
        annotations[OVER_CAPACITY] = "truncated"
    if present is not None:
        metadata = present["metadata"]
        is_same = (
            (present.get("subsets") or []) == subsets
            and labels_of(present) == labels
            and (metadata.get("annotations") or {}) == annotations
        )
        if is_same:
            return None
        wanted = copy_object({**present, "subsets": subsets})
    else:
        wanted = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": name_of(service), "namespace": namespace_of(service)},
            "subsets": subsets,
        }
    wanted["metadata"]["labels"] = labels
    if annotations:
        wanted["metadata"]["annotations"] = annotations
    else:
        wanted["metadata"].pop("annotations", None)
    return wanted


class EndpointsController(Controller):
    """Keeps the Endpoints object of each Service that has a selector."""

    name: ClassVar[str] = "endpoint"

    def setup(self) -> None:
        """Services by key, pods through the membership index, Endpoints by their own key."""
        self._services = self.informer(SERVICES)
        self._endpoints = self.informer(ENDPOINTS)
        self._triggers = TriggerTimes()
        self._members = ServicePods(self._services, self.informer(PODS), self.queue.add)
        self._endpoints.add_handler(self._on_endpoints)

    def _on_endpoints(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        if labels_of(obj).get(MANAGED_BY) == MANAGER or self._services.get(key_of(obj)) is not None:
            self.queue.add(key_of(obj))

    async def reconcile(self, key: str) -> float | None:
        """Create, update, or (when the Service is gone) delete the Endpoints."""
        service = self._services.get(key)
        present = self._endpoints.get(key)
        if service is None:
            self._triggers.forget(key)
            if present is not None and labels_of(present).get(MANAGED_BY) == MANAGER:
                try:
                    await self.client.delete(ENDPOINTS, name_of(present), namespace_of(present), uid=uid_of(present))
                except errors.NotFound:
                    return None
            return None
        if not selector_of(service) or is_terminating(service):
            return None
        pods = self._members.pods_of(service)
        wanted = plan_endpoints(service, pods, present)
        self._triggers.stamp(key, service, pods, () if wanted is None else (wanted,))
        if wanted is None:
            return None
        try:
            if present is None:
                await self.client.create(ENDPOINTS, wanted)
            else:
                await self.client.update(ENDPOINTS, wanted)
        except errors.AlreadyExists:
            # Our cache is behind; the event that shows it leads back here.
            return None
        except errors.Conflict:
            raise
        except errors.ApiError as error:
            if is_namespace_terminating(error):
                return None
            verb = "create" if present is None else "update"
            reason = "FailedToCreateEndpoint" if present is None else "FailedToUpdateEndpoint"
            message = f"Failed to {verb} endpoint for service {key}: {error.message}"
            self.recorder.event(wanted if present is None else present, "Warning", reason, message)
            raise
        return None
