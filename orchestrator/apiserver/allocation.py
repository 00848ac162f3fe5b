"""Cluster IPs and node ports of Services: unique, from the configured ranges, given back when gone.

Mirrors the allocators of kube-apiserver's Service registry. What is taken is derived from the
stored Services at start; between a Service's admission and its commit a reservation holds the
address, and is undone when the write fails.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, name_of

if TYPE_CHECKING:
    from orchestrator.apiserver.server import ApiServer, Undo

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

    def __init__(self, service_cidr: str, *, rng: random.Random | None = None) -> None:
        self._network = ipaddress.ip_network(service_cidr)
        # Network and broadcast address are never given out.
        self._addresses: Pool[str] = Pool(
            min(self._network.num_addresses - 1, 1 << 20), lambda offset: str(self._network[offset]), first=1, rng=rng
        )
        self._ports: Pool[int] = Pool(NODE_PORT_MAX - NODE_PORT_MIN + 1, lambda offset: NODE_PORT_MIN + offset, rng=rng)
        self._addresses.take(str(self._network[API_SERVICE_OFFSET]))
        self._addresses.take(str(self._network[DNS_SERVICE_OFFSET]))
        self._reserved = {str(self._network[API_SERVICE_OFFSET]), str(self._network[DNS_SERVICE_OFFSET])}

    @property
    def api_service_ip(self) -> str:
        """The address of the Service `kubernetes`."""
        return str(self._network[API_SERVICE_OFFSET])

    @property
    def dns_service_ip(self) -> str:
        """The address of the Service `kube-dns`, by convention the tenth."""
        return str(self._network[DNS_SERVICE_OFFSET])

    def restore(self, services: Iterable[Object]) -> None:
        """Take what stored Services hold; once, at start."""
        for service in services:
            for address in _addresses_of(service):
                self._addresses.take(address)
            for port in _node_ports_of(service):
                self._ports.take(port)

    async def on_write(self, server: ApiServer, new: Object, old: Object | None, dry_run: bool) -> Undo | None:
        """Reserve what the new Service needs; what it no longer needs is freed once it is written."""
        return self.reserve(new, old)

    def reserve(self, new: Object, old: Object | None) -> Undo:
        """Fill in and reserve; returns how to undo it. Raises Invalid when a wish cannot be met."""
        taken_addresses: list[str] = []
        taken_ports: list[int] = []

        def undo() -> None:
            for address in taken_addresses:
                self._addresses.give_back(address)
            for port in taken_ports:
                self._ports.give_back(port)

        try:
            self._reserve_addresses(new, old, taken_addresses)
            self._reserve_ports(new, old, taken_ports)
        except BaseException:
            undo()
            raise
        return undo

    def on_event(self, new: Object | None, old: Object | None) -> None:
        """A Service was committed in a new state: free what only the old state held."""
        if old is None:
            return
        keep_addresses = set(_addresses_of(new)) if new else set()
        keep_ports = set(_node_ports_of(new)) if new else set()
        for address in _addresses_of(old):
            if address not in keep_addresses and address not in self._reserved:
                self._addresses.give_back(address)
        for port in _node_ports_of(old):
            if port not in keep_ports:
                self._ports.give_back(port)

    def _reserve_addresses(self, new: Object, old: Object | None, taken: list[str]) -> None:
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            return
        held = set(_addresses_of(old)) if old else set()
        wanted = spec.get("clusterIP") or ""
        if wanted == "None":
            spec["clusterIPs"] = ["None"]
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            return
        if not wanted and held:
            wanted = next(iter(_addresses_of(old or {})))
        if not wanted:
            address = self._addresses.take_any()
            if address is None:
                raise errors.InternalError("failed to allocate a serviceIP: range is full")
            taken.append(address)
        else:
            address = wanted
            if address not in held:
                self._take_address(new, address)
                taken.append(address)
        spec["clusterIP"] = address
        spec["clusterIPs"] = [address]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def _take_address(self, service: Object, address: str) -> None:
        try:
            inside = ipaddress.ip_address(address) in self._network
        except ValueError:
            inside = False
        if not inside:
            raise _invalid(
                service,
                "spec.clusterIPs",
                [address],
                "failed to allocate IP "
                f"{address}: the provided IP ({address}) is not in the valid range."
                f" The range of valid IPs is {self._network}",
            )
        is_own = address == self.api_service_ip and name_of(service) == "kubernetes"
        is_own = is_own or (address == self.dns_service_ip and service["metadata"].get("namespace") == "kube-system")
        if is_own and address in self._reserved:
            return
        if not self._addresses.take(address):
            raise _invalid(
                service,
                "spec.clusterIPs",
                [address],
                f"failed to allocate IP {address}: provided IP is already allocated",
            )

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
            allocated = self._ports.take_any()
            if allocated is None:
                raise errors.InternalError("failed to allocate a nodePort: range is full")
            taken.append(allocated)
            port["nodePort"] = allocated
            by_number[port.get("port", 0)] = allocated
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
        allocated = self._ports.take_any()
        if allocated is None:
            raise errors.InternalError("failed to allocate a nodePort: range is full")
        taken.append(allocated)
        spec["healthCheckNodePort"] = allocated

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


def _addresses_of(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [address for address in addresses if address and address != "None"]


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
