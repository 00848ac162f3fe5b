"""Cluster IPs and node ports of Services: unique, from the configured ranges, given back when gone.

Mirrors the allocators of kube-apiserver's Service registry. What is taken is derived from the
stored Services; between a Service's admission and its commit a reservation holds what it needs, and
is undone when the write fails.
"""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.apiserver.reservation import Reservation
from orchestrator.apiserver.services.addresses import ALREADY_ALLOCATED, ServiceAddresses, cluster_ips_of
from orchestrator.store import Event, EventType

if TYPE_CHECKING:
    from orchestrator.apiserver.server import ApiServer

NODE_PORT_MIN, NODE_PORT_MAX = 30_000, 32_767
API_SERVICE_OFFSET = 1
DNS_SERVICE_OFFSET = 10
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")

T = TypeVar("T")


class Pool(Generic[T]):
    """A finite set of values, some of them taken."""

    def __init__(self, size: int, value_at: Any, *, first: int = 0, rng: random.Random | None = None) -> None:
        self._size = size
        self._value_at = value_at
        self._first = first
        self._taken: set[T] = set()
        self._random = rng or random.Random()

    def take(self, value: T) -> bool:
        """Reserve one value; False when it is taken."""
        if value in self._taken:
            return False
        self._taken.add(value)
        return True

    def take_any(self) -> T | None:
        """Reserve a random free value; None when all are taken."""
        usable = self._size - self._first
        if usable <= 0:
            return None
        start = self._random.randrange(usable)
        for step in range(usable):
            value: T = self._value_at(self._first + (start + step) % usable)
            if value not in self._taken:
                self._taken.add(value)
                return value
        return None

    def give_back(self, value: T) -> None:
        """Free a value; unknown ones are ignored."""
        self._taken.discard(value)

    def __len__(self) -> int:
        return len(self._taken)


class ServiceAllocator:
    """Fills in `spec.clusterIP(s)` and `ports[].nodePort`, as a write hook of services."""

    def __init__(self, server: ApiServer, service_cidr: str, *, rng: random.Random | None = None) -> None:
        network = ipaddress.ip_network(service_cidr)
        self.api_service_ip = str(network[API_SERVICE_OFFSET])
        """The address of the Service `kubernetes`."""
        self.dns_service_ip = str(network[DNS_SERVICE_OFFSET])
        """The address of the Service `kube-dns`, by convention the tenth."""
        fixed = frozenset((self.api_service_ip, self.dns_service_ip))
        self.addresses = ServiceAddresses(server, fixed=fixed, rng=rng)
        self._ports: Pool[int] = Pool(NODE_PORT_MAX - NODE_PORT_MIN + 1, lambda offset: NODE_PORT_MIN + offset, rng=rng)
        self._server = server

    async def follow(self) -> None:
        """Take what stored Services hold, and stay current; once, before the first request."""
        self._server.store.observe("services", self._on_service)
        await self.addresses.follow()

    async def on_write(self, new: Object, old: Object | None) -> Reservation | None:
        """Reserve what the new Service needs; what it no longer needs is freed once it is written.

        None when it has all that it needs. Raises Invalid when a wish cannot be met.
        """
        taken_addresses: list[str] = []
        taken_ports: list[int] = []

        def undo() -> None:
            for address in taken_addresses:
                self.addresses.give_back(address)
            for port in taken_ports:
                self._ports.give_back(port)

        try:
            self._reserve_addresses(new, old, taken_addresses)
            self._reserve_ports(new, old, taken_ports)
        except BaseException:
            undo()
            raise
        if not taken_addresses and not taken_ports:
            return None
        return Reservation(undo, [self.addresses.companion(address, new) for address in taken_addresses])

    def _on_service(self, event: Event) -> None:
        """A Service was committed in a new state: free the node ports that only the old state held."""
        new = set() if event.type is EventType.DELETED else set(_node_ports_of(event.record.obj))
        old = set(_node_ports_of(event.previous.obj)) if event.previous is not None else set()
        for port in new - old:
            self._ports.take(port)
        for port in old - new:
            self._ports.give_back(port)

    def _reserve_addresses(self, new: Object, old: Object | None, taken: list[str]) -> None:
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            return
        held = cluster_ips_of(old) if old else []
        wanted = spec.get("clusterIP") or ""
        if wanted == "None":
            spec["clusterIPs"] = ["None"]
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            return
        if not wanted and held:
            wanted = held[0]
        if not wanted:
            address = self.addresses.take_any()
            if address is None:
                raise errors.InternalError.because("failed to allocate a serviceIP: range is full")
            taken.append(address)
        else:
            address = wanted
            if address not in held and not self._is_own(new, address):
                self._take_address(new, address)
                taken.append(address)
        spec["clusterIP"] = address
        spec["clusterIPs"] = [address]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def _is_own(self, service: Object, address: str) -> bool:
        """Whether a component asks at a restart for the Service that it has: the store will say that it exists."""
        is_fixed = address in (self.api_service_ip, self.dns_service_ip)
        return is_fixed and self.addresses.is_held_by(address, (namespace_of(service), name_of(service)))

    def _take_address(self, service: Object, address: str) -> None:
        is_others = address == self.api_service_ip and name_of(service) != "kubernetes"
        is_others = is_others or (address == self.dns_service_ip and namespace_of(service) != "kube-system")
        problem = ALREADY_ALLOCATED if is_others else self.addresses.take(address)
        if problem:
            raise _invalid(service, "spec.clusterIPs", [address], f"failed to allocate IP {address}: {problem}")

    def _reserve_ports(self, new: Object, old: Object | None, taken: list[int]) -> None:
        spec = new["spec"]
        if spec.get("type") not in NODE_PORT_TYPES:
            return
        if spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            held = set(_node_ports_of(old)) if old else set()
            for index, port in enumerate(spec.get("ports") or ()):
                self._take_port(new, index, port.get("nodePort"), held, taken)
            self._reserve_health_check_port(new, old, taken)
            return
        held = set(_node_ports_of(old)) if old else set()
        by_number: dict[int, int] = {}
        for index, port in enumerate(spec.get("ports") or ()):
            wanted = port.get("nodePort")
            if wanted:
                self._take_port(new, index, wanted, held, taken)
                by_number[port.get("port", 0)] = wanted
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                continue
            # One port number for TCP and UDP gets one node port for both.
            shared = by_number.get(port.get("port", 0))
            if shared is not None:
                port["nodePort"] = shared
                continue
            port["nodePort"] = by_number[port.get("port", 0)] = self._take_any_port(taken)
        self._reserve_health_check_port(new, old, taken)

    def _reserve_health_check_port(self, new: Object, old: Object | None, taken: list[int]) -> None:
        spec = new["spec"]
        if spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
            return
        held = (old or {}).get("spec", {}).get("healthCheckNodePort")
        if spec.get("healthCheckNodePort"):
            if spec["healthCheckNodePort"] != held:
                self._take_port(new, 0, spec["healthCheckNodePort"], set(), taken)
            return
        if held:
            spec["healthCheckNodePort"] = held
            return
        spec["healthCheckNodePort"] = self._take_any_port(taken)

    def _take_any_port(self, taken: list[int]) -> int:
        allocated = self._ports.take_any()
        if allocated is None:
            raise errors.InternalError.because("failed to allocate a nodePort: range is full")
        taken.append(allocated)
        return allocated

    def _take_port(self, service: Object, index: int, port: int | None, held: set[int], taken: list[int]) -> None:
        if not port or port in held or port in taken:
            return
        field = f"spec.ports[{index}].nodePort"
        if not NODE_PORT_MIN <= port <= NODE_PORT_MAX:
            raise _invalid(
                service,
                field,
                port,
                f"provided port is not in the valid range. The range of valid ports is {NODE_PORT_MIN}-{NODE_PORT_MAX}",
            )
        if not self._ports.take(port):
            raise _invalid(service, field, port, "provided port is already allocated")
        taken.append(port)


def _node_ports_of(service: Object) -> list[int]:
    spec = service.get("spec") or {}
    ports = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        ports.append(spec["healthCheckNodePort"])
    return ports


def _invalid(service: Object, field: str, value: Any, detail: str) -> errors.Invalid:
    shown = f'["{value[0]}"]' if isinstance(value, list) else value
    return errors.invalid(
        "", "Service", name_of(service), [Cause("FieldValueInvalid", f"Invalid value: {shown}: {detail}", field)]
    )
