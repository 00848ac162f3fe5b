"""Keeps the EndpointSlices of Services with a selector. Mirrors endpointslice-controller."""

from __future__ import annotations

from typing import ClassVar

from orchestrator.api.objects import Object, is_terminating, key_of, labels_of, name_of
from orchestrator.api.resources import NODES, PODS, SERVICES
from orchestrator.component.controller import Controller
from orchestrator.controllers.endpoints import topology
from orchestrator.controllers.endpoints.addresses import ZONE_LABEL
from orchestrator.controllers.endpoints.membership import ServicePods, selector_of
from orchestrator.controllers.endpoints.service_slices import ServiceSlices
from orchestrator.controllers.endpoints.slices import MANAGER, EndpointGroup, EntryCache, plan_slices
from orchestrator.controllers.endpoints.triggers import TriggerTimes
from orchestrator.controllers.expectations import RECHECK_SECONDS
from orchestrator.controllers.pods import NODE_INDEX, index_by_node

_TOPOLOGY_INDEX, _AUTO = "topology-mode", "Auto"


class EndpointSliceController(Controller):
    """Keeps the slices of each Service that has a selector."""

    name: ClassVar[str] = "endpointslice"

    def setup(self) -> None:
        """Services by key; pods through the membership index; slices and nodes lead to their Services."""
        self._services = self.informer(SERVICES)
        self._pods = self.informer(PODS)
        self._nodes = self.informer(NODES)
        self._pods.add_index(NODE_INDEX, index_by_node)
        self._slices = ServiceSlices(self, MANAGER)
        self._entries = EntryCache()
        self._triggers = TriggerTimes()
        self._members = ServicePods(self._services, self._pods, self.queue.add)
        self._services.add_index(_TOPOLOGY_INDEX, lambda service: [_AUTO] if topology.wants_hints(service) else [])
        self._shares: dict[str, float] | None = None
        """Of each zone; None when a node changed since."""
        self._hint_reasons: dict[str, dict[str, str]] = {}
        """By Service and address family: why there are no hints, empty where there are."""
        self._nodes.add_handler(self._on_node)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if topology.node_facts(old) != topology.node_facts(new):
            self._shares = None
            for service in self._services.by_index(_TOPOLOGY_INDEX, _AUTO):
                self.queue.add(key_of(service))
        before = labels_of(old).get(ZONE_LABEL) if old is not None else None
        after = labels_of(new).get(ZONE_LABEL) if new is not None else None
        if before == after:
            return
        node = new if new is not None else old
        assert node is not None
        for pod in self._pods.by_index(NODE_INDEX, name_of(node)):
            for key in self._members.services_of(pod):
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Compare slices with pods; a Service that is gone takes its slices with it by owner reference."""
        service = self._services.get(key)
        if service is None:
            self._slices.forget(key)
            self._entries.forget(key)
            self._triggers.forget(key)
            self._hint_reasons.pop(key, None)
            return None
        if not selector_of(service) or is_terminating(service):
            return None
        if not self._slices.is_current(key):
            return RECHECK_SECONDS
        pods = self._members.pods_of(service)
        groups = self._entries.groups(service, pods, self._nodes)
        existing = self._slices.of(key)
        groups = self._with_hints(key, service, groups, existing)
        plan = plan_slices(service, groups, existing)
        self._triggers.stamp(key, service, pods, (*plan.create, *plan.update))
        await self._slices.apply(key, service, plan)
        return None

    def _with_hints(
        self, key: str, service: Object, groups: list[EndpointGroup], existing: list[Object]
    ) -> list[EndpointGroup]:
        before, reasons = self._hint_reasons.get(key, {}), dict[str, str]()
        if topology.wants_hints(service):
            if self._shares is None:
                self._shares = topology.zone_shares(self._nodes.list())
            groups, reasons = topology.with_zones(self._shares, groups, existing)
        elif before:
            reasons = {family: topology.DISABLED for family, reason in before.items() if not reason}
        for family, reason in reasons.items():
            if before.get(family) != reason:
                type_, which = ("Warning", "Disabled") if reason else ("Normal", "Enabled")
                message = f"{reason or topology.ENABLED}, addressType: {family}"
                self.recorder.event(service, type_, f"TopologyAwareHints{which}", message)
        if topology.wants_hints(service):
            self._hint_reasons[key] = reasons
        else:
            self._hint_reasons.pop(key, None)
        return groups
