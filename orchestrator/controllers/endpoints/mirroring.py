"""EndpointSlices for Endpoints that people write by hand. Mirrors endpointslice-mirroring-controller.

Services without a selector have no pods of their own; whoever writes their Endpoints must be found
by those who read only slices.
"""

from __future__ import annotations

from typing import Any, ClassVar

from orchestrator.api.objects import Object, annotations_of, is_terminating, key_of, labels_of
from orchestrator.api.resources import ENDPOINTS, SERVICES
from orchestrator.component.controller import Controller
from orchestrator.controllers.endpoints.membership import selector_of
from orchestrator.controllers.endpoints.service_slices import ServiceSlices
from orchestrator.controllers.endpoints.slices import (
    EndpointGroup,
    SlicePlan,
    plan_slices,
)
from orchestrator.controllers.endpoints.triggers import LAST_CHANGE
from orchestrator.controllers.expectations import RECHECK_SECONDS

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MAX_ENDPOINTS_PER_SUBSET = 1000
_NOT_MIRRORED = frozenset((LAST_CHANGE, "kubectl.kubernetes.io/last-applied-configuration"))


def is_mirrored(endpoints: Object, service: Object | None) -> bool:
    """Whether Endpoints need slices: hand-written, for a Service without selector, not opted out, no lock."""
    if service is None or selector_of(service) or (service.get("spec") or {}).get("selector"):
        return False
    return labels_of(endpoints).get(SKIP_MIRROR) != "true" and LEADER not in annotations_of(endpoints)


def mirrored_groups(endpoints: Object) -> list[EndpointGroup]:
    """The endpoints of the subsets, grouped by address family and ports."""
    groups: dict[tuple[str, bytes], EndpointGroup] = {}
    for subset in endpoints.get("subsets") or ():
        entries = [(address, True) for address in subset.get("addresses") or ()]
        entries += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        for address, ready in entries[:MAX_ENDPOINTS_PER_SUBSET]:
            group = EndpointGroup("IPv6" if ":" in address["ip"] else "IPv4", ports)
            group = groups.setdefault(group.identity, group)
            entry: dict[str, Any] = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
            for source in ("hostname", "nodeName", "targetRef"):
                if address.get(source):
                    entry[source] = address[source]
            target = address.get("targetRef") or {}
            group.endpoints[target.get("uid") or address["ip"]] = entry
    return list(groups.values())


class EndpointSliceMirroringController(Controller):
    """Keeps slices for hand-written Endpoints, and removes them when they are no longer wanted."""

    name: ClassVar[str] = "endpointslicemirroring"

    def setup(self) -> None:
        """Endpoints, Services and mirrored slices, all by the key that they share."""
        self._services = self.informer(SERVICES)
        self._endpoints = self.informer(ENDPOINTS)
        self._slices = ServiceSlices(self, MANAGER)
        self._endpoints.add_handler(self.enqueue_object)
        self._services.add_handler(self._on_service)

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or selector_of(old) != selector_of(new) or labels_of(old) != labels_of(new):
            self.enqueue_object(old, new)

    async def reconcile(self, key: str) -> float | None:
        """Compare the slices with the Endpoints."""
        if not self._slices.is_current(key):
            return RECHECK_SECONDS
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        existing = self._slices.of(key)
        if endpoints is None or is_terminating(endpoints) or not is_mirrored(endpoints, service):
            if existing:
                await self._slices.apply(key, service or existing[0], SlicePlan(delete=existing))
            elif endpoints is None:
                self._slices.forget(key)
            return None
        # The slices are named after the Endpoints and carry what these carry; the families are those of its addresses.
        groups = mirrored_groups(endpoints)
        spec = {"ipFamilies": [*dict.fromkeys(group.address_type for group in groups)] or ["IPv4"]}
        if service is not None and (service.get("spec") or {}).get("clusterIP") == "None":
            spec["clusterIP"] = "None"  # type: ignore[assignment]
        annotations = {name: text for name, text in annotations_of(endpoints).items() if name not in _NOT_MIRRORED}
        plan = plan_slices(
            {**endpoints, "spec": spec}, groups, existing, manager=MANAGER, owner=endpoints, annotations=annotations
        )
        await self._slices.apply(key_of(endpoints), endpoints, plan)
        return None
