"""ServiceCIDRs become ready, and outlive their deletion while Services have addresses of theirs.

Owns the condition Ready and the finalizer `networking.k8s.io/service-cidr-finalizer`. Never allocates: the API server
stops taking addresses from a range in the commit that marks it as being deleted, so the grace period that
kube-controller-manager waits for it is not needed. Mirrors service-cidr-controller (KEP-1880).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, ClassVar

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.kinds.networking import MANAGED_BY_LABEL, SERVICE_IP_ALLOCATOR
from orchestrator.api.objects import Object, is_terminating, labels_of, name_of, resource_version_of
from orchestrator.api.resources import IP_ADDRESSES, SERVICE_CIDRS
from orchestrator.component.controller import Controller
from orchestrator.controllers.conditions import condition, with_condition, with_status
from orchestrator.controllers.storageprotection import plan_finalizers

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
READY_MESSAGE = "Kubernetes Service CIDR is ready"
IN_USE_MESSAGE = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)


def networks_of(service_cidr: Object) -> list[IPv4Network | IPv6Network]:
    """Its ranges, of either family."""
    return [ip_network(cidr) for cidr in (service_cidr.get("spec") or {}).get("cidrs") or ()]


def contains(outer: Iterable[IPv4Network | IPv6Network], inner: IPv4Network | IPv6Network) -> bool:
    """Whether one of these networks contains (or is) another one."""
    return any(one.version == inner.version and inner.subnet_of(one) for one in outer)  # type: ignore[arg-type]


def is_in_use(service_cidr: Object, others: Iterable[Object], addresses: Iterable[Object]) -> bool:
    """Whether a Service's address would be left without a range that contains it."""
    rest = [network for other in others for network in networks_of(other)]
    own = [network for network in networks_of(service_cidr) if not contains(rest, network)]
    if not own:
        return False
    for obj in addresses:
        if labels_of(obj).get(MANAGED_BY_LABEL) != SERVICE_IP_ALLOCATOR:
            continue
        address = ip_address(name_of(obj))
        if any(address in network for network in own) and not any(address in network for network in rest):
            return True
    return False


def plan_condition(*, in_use: bool, terminating: bool, now: str) -> dict[str, Any]:
    """What `Ready` says; not asked about a range that may go."""
    if terminating and in_use:
        return condition("Ready", "False", "Terminating", IN_USE_MESSAGE, now)
    return condition("Ready", "True", "", READY_MESSAGE, now)


class ServiceCIDRController(Controller):
    """Keys are ServiceCIDRs; there are few, and only those that are being deleted look at addresses."""

    name: ClassVar[str] = "service-cidr"
    workers: ClassVar[int] = 1  # of two ranges that contain the same address, one must see the other go

    def setup(self) -> None:
        """A range leads to itself and to those being deleted; so does an address."""
        self._cidrs = self.informer(SERVICE_CIDRS)
        self._addresses = self.informer(IP_ADDRESSES)
        self._cidrs.add_handler(self._on_cidr)
        self._addresses.add_handler(self._on_address)

    def _on_cidr(self, old: Object | None, new: Object | None) -> None:
        self.enqueue_object(old, new)
        self._enqueue_terminating()

    def _on_address(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            self._enqueue_terminating()

    def _enqueue_terminating(self) -> None:
        for cidr in self._cidrs.list():
            if is_terminating(cidr):
                self.queue.add(name_of(cidr))

    async def reconcile(self, key: str) -> float | None:
        """Add the finalizer and say that the range is ready; let it go when nobody needs it any more."""
        cidr = self._cidrs.get(key)
        if cidr is None:
            return None
        terminating = is_terminating(cidr)
        in_use = terminating and await self._is_in_use(cidr)
        finalizers = plan_finalizers(cidr, FINALIZER, in_use=in_use)
        if finalizers is not None:
            metadata = {"resourceVersion": resource_version_of(cidr), "finalizers": finalizers or None}
            try:
                cidr = await self.client.patch(SERVICE_CIDRS, key, {"metadata": metadata})
            except errors.NotFound:
                return None
        if terminating and not in_use:
            return None
        status = cidr.get("status") or {}
        before = status.get("conditions") or []
        ready = plan_condition(in_use=in_use, terminating=terminating, now=format_time(self.clock.now()))
        conditions = with_condition(before, ready)
        if conditions != before:
            await self.client.update_status(SERVICE_CIDRS, with_status(cidr, {**status, "conditions": conditions}))
        return None

    async def _is_in_use(self, cidr: Object) -> bool:
        others = [one for one in self._cidrs.list() if name_of(one) != name_of(cidr)]
        if is_in_use(cidr, others, self._addresses.list()):
            return True
        # The cache may not show the last address that was taken; what is lost then is a Service's range.
        live = await self.client.list(IP_ADDRESSES)
        return is_in_use(cidr, others, live["items"])
