"""Give Services of type LoadBalancer addresses from a configured pool.

Mirrors the service controller of a cloud-controller-manager where the "cloud" is a list of addresses that lead to
this machine. `plan_address` decides; the proxy makes the address work. Services with a `loadBalancerClass` belong
to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Unpack

from orchestrator.api.objects import Object, is_terminating, key_of
from orchestrator.api.resources import SERVICES
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.config.addresses import parse_pool

PortKey = tuple[str, int]


def plan_address(
    spec: Mapping[str, Any], current: str, taken: Mapping[str, Iterable[PortKey]], pool: Sequence[str]
) -> str:
    """The address of a Service, empty when there is none: the one it has, the one it asks for, or a free one.

    `taken` has the ports that other Services use on each address. When all addresses are in use, Services whose
    ports differ share one.
    """
    ports = ports_of(spec)

    def fits(address: str) -> bool:
        return not ports.intersection(taken.get(address, ()))

    wanted = spec.get("loadBalancerIP") or ""
    if wanted:
        return wanted if wanted in pool and fits(wanted) else ""
    if current in pool and fits(current):
        return current
    free = next((address for address in pool if not taken.get(address)), "")
    return free or next(filter(fits, pool), "")


def ports_of(spec: Mapping[str, Any]) -> set[PortKey]:
    """What a Service occupies on its address."""
    return {(port.get("protocol") or "TCP", port["port"]) for port in spec.get("ports") or ()}


class ServiceLBController(Controller):
    """Keys are Services. One worker: an address is chosen and noted before the next."""

    name: ClassVar[str] = "service"
    workers: ClassVar[int] = 1

    def __init__(self, *, load_balancer_addresses: Sequence[str], **dependencies: Unpack[Dependencies]) -> None:
        self._pool = parse_pool(load_balancer_addresses)
        self._members = frozenset(self._pool)
        self._given: dict[str, tuple[str, frozenset[PortKey]]] = {}
        """Service → its address and ports there; ahead of the cache."""
        self._waiting: set[str] = set()
        """Services for which no address was free."""
        super().__init__(**dependencies)

    def setup(self) -> None:
        self._services = self.informer(SERVICES)
        self._services.add_handler(self._on_service)

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        if new is not None and is_ours(new) and (address := self._address_of(new)):
            # Also at the start: what Services have is taken before anything is given.
            self._given.setdefault(key_of(new), (address, frozenset(ports_of(new["spec"]))))
        if any(one is not None and (one.get("spec") or {}).get("type") == "LoadBalancer" for one in (old, new)):
            self.queue.add(key_of(subject))

    def _address_of(self, service: Object) -> str:
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        return next((item["ip"] for item in ingress if item.get("ip") in self._members), "")

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None or is_terminating(service) or not is_ours(service):
            self._waiting.discard(key)
            self._give(key, None)
            if service is not None and not is_terminating(service) and self._is_left_over(service):
                await self._write(service, "")
            return None
        spec = service["spec"]
        taken: dict[str, set[PortKey]] = {}
        for other, (address, ports) in self._given.items():
            if other != key:
                taken.setdefault(address, set()).update(ports)
        current = self._address_of(service)
        address = plan_address(spec, current, taken, self._pool)
        if not address:
            self._give(key, None)
            self._waiting.add(key)
            self.recorder.event(
                service, "Warning", "SyncLoadBalancerFailed",
                "Error syncing load balancer: failed to ensure load balancer: no address of the pool is free",
            )  # fmt: skip
        else:
            self._waiting.discard(key)
            self._give(key, (address, frozenset(ports_of(spec))))
        if address != current:
            await self._write(service, address)
            if address:
                self.recorder.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return None

    def _give(self, key: str, place: tuple[str, frozenset[PortKey]] | None) -> None:
        """Note what a Service has from now on; what it had and left may do for one that waits."""
        before = self._given.pop(key, None)
        if place is not None:
            self._given[key] = place
        if before is not None and (place is None or place[0] != before[0] or before[1] - place[1]):
            for waiting in self._waiting:
                self.queue.add(waiting)

    def _is_left_over(self, service: Object) -> bool:
        """Whether a Service shows an address of ours that its type has no use for any more."""
        return (service.get("spec") or {}).get("type") != "LoadBalancer" and bool(self._address_of(service))

    async def _write(self, service: Object, address: str) -> None:
        balancer = {"ingress": [{"ip": address, "ipMode": "VIP"}]} if address else {}
        status = {**(service.get("status") or {}), "loadBalancer": balancer}
        await self.client.update_status(SERVICES, {**service, "status": status})


def is_ours(service: Object) -> bool:
    """Whether a Service wants an address from the default load balancer."""
    spec = service.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")
