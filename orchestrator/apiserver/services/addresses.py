"""Cluster IPs: the ranges they come from, who holds which, and the IPAddress object of each.

Owns which addresses are free, and keeps one IPAddress for every address of a Service: made in the commit that stores
the Service, gone when the Service let go of the address, made again when somebody deleted it. Never decides what a
Service asks for (see `allocation`). Mirrors kube-apiserver's ipallocator and its repair loop (KEP-1880), and the two
bands of a range that KEP-3070 describes.

What is taken is derived in the commits themselves, so no two Services, and no Service and no IPAddress of a user, get
the same address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.aiokit.clock import format_time
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors
from orchestrator.api.kinds.networking import IP_ADDRESS, IP_FAMILY_LABEL, MANAGED_BY_LABEL, SERVICE_IP_ALLOCATOR
from orchestrator.api.objects import Object, is_terminating, labels_of, name_of, namespace_of
from orchestrator.api.resources import IP_ADDRESSES, SERVICE_CIDRS
from orchestrator.apiserver import deletion
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.reservation import Reservation
from orchestrator.apiserver.store_errors import translated
from orchestrator.apiserver.user import MASTERS_GROUP, User
from orchestrator.logs import get_logger
from orchestrator.store import Event, EventType, Key

if TYPE_CHECKING:
    from orchestrator.apiserver.server import ApiServer

DEFAULT_RANGE = "kubernetes"
"""The ServiceCIDR that a cluster starts with; it is allocated from before all others."""
MISMATCHED_RANGE = "the provided network does not match the current range"
ALREADY_ALLOCATED = "provided IP is already allocated"
STATIC_BAND_MIN, STATIC_BAND_MAX, STATIC_BAND_STEP = 16, 256, 16
"""KEP-3070: the lower band has a sixteenth of a range's addresses, within these limits."""

_USER = User("system:apiserver", groups=(MASTERS_GROUP,))
_ATTEMPTS_MAX = 20
_MANAGED_FIELDS: Object = {
    "f:metadata": {"f:labels": {".": {}, f"f:{IP_FAMILY_LABEL}": {}, f"f:{MANAGED_BY_LABEL}": {}}},
    "f:spec": {"f:parentRef": {".": {}, "f:name": {}, "f:namespace": {}, "f:resource": {}}},
}

ServiceName = tuple[str, str]
"""(namespace, name)"""


class ServiceRange(NamedTuple):
    """The usable addresses of one IPv4 range as numbers, both ends included; empty when last < first."""

    first: int
    dynamic: int
    """Where the upper band starts, from which Services without a wish are served first."""
    last: int

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.first <= address <= self.last


def plan_range(network: ipaddress.IPv4Network) -> ServiceRange:
    """Leave out the network and broadcast address, and split the rest in two bands (KEP-3070)."""
    first, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
    hosts = max(0, last - first + 1)
    static = 0
    if hosts >= STATIC_BAND_MIN:
        static = min(max(hosts // STATIC_BAND_STEP, STATIC_BAND_MIN), STATIC_BAND_MAX)
    return ServiceRange(first, first + static, last)


def candidates(band: ServiceRange, rng: random.Random) -> Iterator[str]:
    """Every address of a range: the upper band from a random one on, then the lower one likewise."""
    for low, high in ((band.dynamic, band.last), (band.first, band.dynamic - 1)):
        size = high - low + 1
        if size <= 0:
            continue
        start = rng.randrange(size)
        for step in range(size):
            yield str(ipaddress.IPv4Address(low + (start + step) % size))


def is_ready(service_cidr: Object) -> bool:
    """Whether new addresses may come from it; ready is what nobody has called unready."""
    if is_terminating(service_cidr):
        return False
    conditions = (service_cidr.get("status") or {}).get("conditions") or ()
    return all(one.get("status") == "True" for one in conditions if one.get("type") == "Ready")


def ranges_of(service_cidr: Object) -> list[ServiceRange]:
    """Its IPv4 ranges, if it is ready."""
    if not is_ready(service_cidr):
        return []
    networks = [ipaddress.ip_network(cidr) for cidr in (service_cidr.get("spec") or {}).get("cidrs") or ()]
    return [plan_range(network) for network in networks if isinstance(network, ipaddress.IPv4Network)]


def cluster_ips_of(service: Object) -> list[str]:
    """The addresses that a Service holds."""
    spec = service.get("spec") or {}
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [address for address in addresses if address and address != "None"]


def ip_address(address: str, service: ServiceName, *, uid: str, now: str) -> Object:
    """The IPAddress of a Service as it is stored."""
    return {
        "kind": IP_ADDRESSES.kind,
        "apiVersion": IP_ADDRESSES.api_version,
        "metadata": {
            "name": address,
            "uid": uid,
            "creationTimestamp": now,
            "labels": {IP_FAMILY_LABEL: "IPv4", MANAGED_BY_LABEL: SERVICE_IP_ALLOCATOR},
            "managedFields": [
                {
                    "manager": "kube-apiserver",
                    "operation": "Update",
                    "apiVersion": IP_ADDRESSES.api_version,
                    "time": now,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": _MANAGED_FIELDS,
                }
            ],
        },
        "spec": {"parentRef": {"resource": "services", "namespace": service[0], "name": service[1]}},
    }


def managed_for(obj: Object) -> ServiceName | None:
    """The Service that an IPAddress was made for; None when it is somebody else's."""
    if labels_of(obj).get(MANAGED_BY_LABEL) != SERVICE_IP_ALLOCATOR:
        return None
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    if parent.get("group") or parent.get("resource") != "services":
        return None
    return parent.get("namespace") or "", parent.get("name") or ""


class ServiceAddresses:
    """The cluster IPs of one API server."""

    def __init__(self, server: ApiServer, *, fixed: frozenset[str], rng: random.Random | None = None) -> None:
        self._server = server
        self._fixed = fixed
        """Only given to who asks for them by name, and checked by the caller."""
        self._random = rng or random.Random()
        self._ranges: dict[str, list[ServiceRange]] = {}
        self._holders: dict[str, ServiceName] = {}
        self._objects: dict[str, ServiceName | None] = {}
        """IPAddress objects, with the Service that each was made for."""
        self._reserved: set[str] = set()
        """Held by Services whose write is on its way."""
        self._named: set[str] = set()
        """Held by IPAddress objects of users whose write is on its way."""
        self._queue: WorkQueue[str] = WorkQueue(clock=server.clock)
        self._log = get_logger("apiserver/serviceaddresses")

    # Who holds what; the observers run in the commits.

    async def follow(self) -> None:
        """Read what is stored, stay current from now on, and repair what an earlier process left."""
        store = self._server.store
        store.observe(SERVICE_CIDRS.group_resource, self._on_range)
        store.observe(IP_ADDRESSES.group_resource, self._on_address)
        store.observe("services", self._on_service)
        amiss = [address for address in self._holders.keys() | self._objects.keys() if self._is_amiss(address)]
        await asyncio.gather(*map(self.settle, amiss))

    def _on_range(self, event: Event) -> None:
        name = event.record.key.name
        if event.type is EventType.DELETED:
            self._ranges.pop(name, None)
        else:
            self._ranges[name] = ranges_of(event.record.obj)

    def _on_address(self, event: Event) -> None:
        address = event.record.key.name
        if event.type is EventType.DELETED:
            self._objects.pop(address, None)
        else:
            self._objects[address] = managed_for(event.record.obj)
            self._named.discard(address)
        if event.type is not EventType.ADDED and self._is_amiss(address):
            self._queue.add(address)

    def _on_service(self, event: Event) -> None:
        name = (event.record.key.namespace, event.record.key.name)
        old = set(cluster_ips_of(event.previous.obj)) if event.previous is not None else set()
        new = set() if event.type is EventType.DELETED else set(cluster_ips_of(event.record.obj))
        for address in old - new:
            if self._holders.get(address) == name:
                del self._holders[address]
        for address in new:
            self._holders[address] = name
            self._reserved.discard(address)
        for address in old ^ new:
            if self._is_amiss(address):
                self._queue.add(address)

    # Allocation.

    def take_any(self) -> str | None:
        """Reserve a free address, from the default range while it has one; None when all are taken."""
        for name in sorted(self._ranges, key=lambda name: name != DEFAULT_RANGE):
            for band in self._ranges[name]:
                for address in candidates(band, self._random):
                    if address not in self._fixed and self._is_free(address):
                        self._reserved.add(address)
                        return address
        return None

    def take(self, address: str) -> str:
        """Reserve this address; returns why it cannot be had, empty when it is reserved."""
        try:
            number = int(ipaddress.IPv4Address(address))
        except ValueError:
            return MISMATCHED_RANGE
        if not any(number in band for bands in self._ranges.values() for band in bands):
            return MISMATCHED_RANGE
        if not self._is_free(address):
            return ALREADY_ALLOCATED
        self._reserved.add(address)
        return ""

    def is_held_by(self, address: str, service: ServiceName) -> bool:
        """Whether a stored Service has this address."""
        return self._holders.get(address) == service

    def give_back(self, address: str) -> None:
        """Undo a reservation whose write failed."""
        self._reserved.discard(address)

    def companion(self, address: str, service: Object) -> tuple[Key, Object]:
        """The IPAddress to store together with a Service."""
        return self._companion(address, (namespace_of(service), name_of(service)))

    def _companion(self, address: str, service: ServiceName) -> tuple[Key, Object]:
        now = format_time(self._server.clock.now())
        return _key(address), ip_address(address, service, uid=self._server.uids.next(), now=now)

    def _is_free(self, address: str) -> bool:
        return not (
            address in self._holders or address in self._objects or address in self._reserved or address in self._named
        )

    # Hooks of the API server.

    async def on_write(self, new: Object, old: Object | None) -> Reservation | None:
        """A user creates an IPAddress; AlreadyExists while a Service that takes it is being written."""
        address = name_of(new)
        if old is not None:
            return None
        if address in self._reserved:
            raise errors.already_exists(IP_ADDRESSES.group, IP_ADDRESSES.plural, address)
        self._named.add(address)
        return Reservation(lambda: self._named.discard(address))

    async def release(self, new: Object | None, old: Object | None) -> None:
        """A Service was committed in a new state: the objects of addresses that it let go of go too."""
        kept = cluster_ips_of(new) if new is not None else []
        for address in cluster_ips_of(old) if old is not None else ():
            if address in kept:
                continue
            try:
                await self.settle(address)
            except errors.ApiError as error:
                # The Service is gone already; `run` has the address in its queue.
                self._log.warning("address.unsettled", address=address, error=error.message)

    # Repair.

    def _is_amiss(self, address: str) -> bool:
        holder = self._holders.get(address)
        if address not in self._objects:
            return holder is not None
        made_for = self._objects[address]
        return made_for is not None and made_for != holder and address not in self._reserved

    async def settle(self, address: str) -> None:
        """Make the IPAddress that is missing, or delete the one that its Service does not hold; raises ApiError."""
        if not self._is_amiss(address):
            return
        if address not in self._objects:
            key, obj = self._companion(address, self._holders[address])
            try:
                with translated(IP_ADDRESS, address):
                    await self._server.store.create(key, obj)
            except errors.AlreadyExists:
                return  # somebody was faster; if it is not for this Service, its own event leads here again
        else:
            request = ApiRequest("delete", IP_ADDRESS, _USER, name=address)
            try:
                await self._server.delete_object(request, deletion.parse_delete_options(None, {}))
            except errors.NotFound:
                return  # gone is what was wanted

    async def run(self) -> None:
        """Settle addresses whose objects are not as they should be; ends only by cancellation."""
        while True:
            address = await self._queue.get()
            try:
                await self.settle(address)
                self._queue.forget(address)
            except errors.ApiError as error:
                self._log.warning("address.unsettled", address=address, error=error.message)
                if self._queue.failures(address) < _ATTEMPTS_MAX:
                    self._queue.add_rate_limited(address)
            finally:
                self._queue.done(address)


def _key(address: str) -> Key:
    return Key(IP_ADDRESSES.group_resource, "", address)
