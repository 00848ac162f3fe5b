"""The pod network of one cluster on this machine: a bridge, routes, veths, firewall tables.

Owns the bridge `orc<key>`, the host ends of the veths on it, the nftables table `orchestrator_<key>`
and two accepting rules in iptables' DOCKER-USER chain. Everything is found again from the cluster id
after a crash, and all of it goes with `remove_network`. Never programs Services. Mirrors the bridge,
host-local and portmap CNI plug-ins and the cloud provider's route controller.

Pods have a /32 and send everything to the bridge's address in their node's range, also what goes to
a neighbour on the same bridge: so every packet passes the machine's conntrack, and translated
connections work whether or not bridges call iptables.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from msgspec import Struct

from orchestrator.aiokit.netlink_socket import NetlinkError
from orchestrator.aiokit.together import together
from orchestrator.kubelet.network import firewall
from orchestrator.kubelet.network.firewall import NetworkUnavailable
from orchestrator.kubelet.network.namespaces import connect_to_loopback, in_network_namespace, in_thread
from orchestrator.kubelet.network.netlink import Netlink, accepting, netlink
from orchestrator.kubelet.network.plan import (
    ClusterCidrs,
    HostPort,
    Reservation,
    bridge_mac,
    bridge_name,
    gateway,
    machine_address,
    node_mac,
    plan_cidrs,
    plan_forward_removal,
    plan_forward_rules,
    plan_host_ports,
    plan_node_ruleset,
    plan_ruleset,
    table_name,
    veth_name,
    veth_prefix,
)
from orchestrator.kubelet.network.reservations import AddressesExhausted, HostPortTaken, Reservations
from orchestrator.kubelet.network.rtnetlink import RouteSocket
from orchestrator.kubelet.network.sandbox_network import Endpoint
from orchestrator.logs import get_logger

RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where the machine's resolvers stand; the second is what systemd-resolved asks, of which the first names a stub."""
CLAIM_LOCK = "orchestrator-network.lock"


class NodeNetwork(Struct, frozen=True):
    """What the network needs to know of a node."""

    name: str
    ip: str
    pod_cidr: IPv4Network
    namespace_pid: int = 0
    """The process that holds the node's own network namespace; 0 while it has none, and the bridge its address."""


async def choose_cidrs(
    ipr: Netlink, cluster_id: str, state_dir: Path, *, preferred: ClusterCidrs | None = None
) -> ClusterCidrs:
    """The address ranges of a cluster: those it had before, or free ones, claimed by making the bridge.

    Two clusters that start at the same moment cannot choose the same ranges. ValueError when nothing
    is free, NetworkUnavailable without the rights to make a bridge.
    """
    check_prerequisites()
    path = state_dir / "network" / "cidrs.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = await in_thread(_claim_lock, name="network-claim")
    try:
        bridge = await ipr.call(RouteSocket.find_link, bridge_name(cluster_id))
        routes = await _routes(ipr, without=None if bridge is None else bridge.index)
        routes += nameservers(*RESOLVER_FILES)
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            preferred = ClusterCidrs.from_json(json.loads(path.read_bytes()))
        chosen = plan_cidrs(routes, preferred=preferred)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(chosen.to_json()))
        os.replace(temporary, path)
        await _ensure_bridge(ipr, cluster_id, chosen)
    finally:
        os.close(lock)
    return chosen


def nameservers(*files: Path) -> list[IPv4Network]:
    """The machine's resolvers; they lie behind the default route, and a range that holds one would hide it."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            for line in file.read_text(errors="replace").splitlines():
                keyword, _, address = line.strip().partition(" ")
                if keyword == "nameserver":
                    with contextlib.suppress(ValueError):
                        found.append(IPv4Network(address.strip()))
    return found


def _claim_lock() -> int:
    """An exclusive lock over all clusters of this machine; closing the descriptor lets go of it."""
    for directory in ("/run/lock", "/run", "/tmp"):
        try:
            descriptor = os.open(f"{directory}/{CLAIM_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
    raise NetworkUnavailable("no directory for a lock file: none of /run/lock, /run, /tmp is there")


def missing_prerequisites() -> list[str]:
    """What this machine or process lacks for a pod network of our own, in words; empty when nothing."""
    missing = []
    if os.geteuid() != 0:
        missing.append("root rights (the process runs as another user)")
    if shutil.which("nft") is None:
        missing.append("the program nft (package nftables)")
    return missing


def check_prerequisites() -> None:
    """NetworkUnavailable with everything that is missing."""
    missing = missing_prerequisites()
    if missing:
        raise NetworkUnavailable("the pod network needs " + " and ".join(missing))


def set_aside(
    reservations: Reservations,
    node: NodeNetwork | None,
    *,
    node_name: str,
    sandbox_id: str,
    host_ports: tuple[HostPort, ...],
) -> str:
    """The address of a sandbox on a node, reserved if it has none yet; NetworkUnavailable."""
    if node is None:
        raise NetworkUnavailable(f"network of node {node_name} is not ready: no pod CIDR yet")
    try:
        reservation = reservations.reserve(
            sandbox_id, node_name=node_name, pod_cidr=node.pod_cidr, node_ip=node.ip, host_ports=host_ports
        )
    except (AddressesExhausted, HostPortTaken) as error:
        raise NetworkUnavailable(str(error)) from None
    return str(reservation.address)


class PodNetwork:
    """The pod network of one cluster; shared by all its nodes in this process.

    A netlink socket that it is given is its own from then on; without one it opens one when it starts.
    """

    enters_namespaces = True

    def __init__(
        self, *, cluster_id: str, cidrs: ClusterCidrs, state_dir: Path, netlink: Netlink | None = None
    ) -> None:
        self.cluster_id = cluster_id
        self.cidrs = cidrs
        self.bridge = bridge_name(cluster_id)
        self._reservations = Reservations(state_dir / "network" / "addresses", cidrs)
        self._nodes: dict[str, NodeNetwork] = {}
        self._service_addresses: set[str] = set()
        self._service_ranges: set[IPv4Network] = set()
        self._attached: set[str] = set()
        self._bridge_index = 0
        self._mtu = 1500
        self._lock = asyncio.Lock()
        self._loaded = False
        self._ipr = netlink
        self._log = get_logger("kubelet/network", bridge=self.bridge)

    @property
    def _netlink(self) -> Netlink:
        assert self._ipr is not None, "the network is not started"
        return self._ipr

    async def start(self) -> None:
        """Make or repair everything that is not a pod's own; may be called again at any time."""
        check_prerequisites()
        async with self._lock:
            if self._ipr is None:
                self._ipr = Netlink.open()
            self._bridge_index, self._mtu = await _ensure_bridge(self._netlink, self.cluster_id, self.cidrs)
            if not self._loaded:
                self._reservations.load()
                await self._find_attached()
                await self._apply_table()
                self._loaded = True
            await asyncio.to_thread(_enable_forwarding)
            await self._apply_forward_rules()
            await self._add_address(str(machine_address(self.cidrs)), 32)
            for node in self._nodes.values():
                await self._add_node_addresses(node)
            for address in self._service_addresses:
                await self._add_address(address, 32)

    async def _apply_table(self) -> None:
        text = plan_ruleset(self.cluster_id, self.cidrs)
        for reservation in self._reservations.all():
            text += plan_host_ports("add", self.cluster_id, reservation)
        await firewall.apply_nft(text)

    async def _apply_forward_rules(self) -> None:
        listing = await firewall.list_forward_rules()
        if listing is not None and (rules := plan_forward_rules(self.cluster_id, listing)) is not None:
            await firewall.restore_forward_rules(rules)

    async def _find_attached(self) -> None:
        """A sandbox is attached when its veth is on the bridge: that is the last step of `attach`."""
        links = await self._netlink.call(RouteSocket.links)
        on_bridge = {link.name for link in links if link.master == self._bridge_index}
        self._attached = {
            reservation.sandbox_id
            for reservation in self._reservations.all()
            if veth_name(self.cluster_id, reservation.sandbox_id) in on_bridge
        }

    async def ensure_node(
        self, node_name: str, node_ip: str, pod_cidr: str, *, namespace_id: str = "", namespace_pid: int = 0
    ) -> None:
        """Give a node its address and the bridge the gateway address of its pod range.

        The address is on the bridge until the node has a namespace of its own, held by the process `namespace_pid`
        of the container `namespace_id`; repeating the call moves it.
        """
        node = NodeNetwork(node_name, node_ip, IPv4Network(pod_cidr), namespace_pid)
        if self._nodes.get(node_name) == node:
            return
        if self._ipr is None:
            await self.start()
        await self._add_node_addresses(node)
        if namespace_pid and node_ip:
            await self._connect_node(node, veth_name(self.cluster_id, namespace_id))
        self._nodes[node_name] = node

    async def _add_node_addresses(self, node: NodeNetwork) -> None:
        await self._add_address(str(gateway(node.pod_cidr)), node.pod_cidr.prefixlen)
        if node.ip and not node.namespace_pid:
            await self._add_address(node.ip, 32)

    async def _connect_node(self, node: NodeNetwork, veth: str) -> None:
        """Move a node's address from the bridge into its own namespace."""
        machine = str(machine_address(self.cidrs))
        try:
            with accepting(errno.EADDRNOTAVAIL):
                await self._netlink.call(RouteSocket.delete_address, self._bridge_index, node.ip, 32)
            link = await self._netlink.call(RouteSocket.find_link, veth)
            if link is None or link.master != self._bridge_index:
                sysctls = {"net.ipv4.conf.all.route_localnet": "1"}
                await self._add_veth(veth, node.namespace_pid, mac=node_mac(self.cluster_id, node.name))
                await in_network_namespace(node.namespace_pid, lambda: _configure_inside(node.ip, machine, sysctls))
                await self._join_bridge(veth)
            await self._apply_node_table(node)
        except OSError as error:
            raise NetworkUnavailable(f"setting up the network of node {node.name}: {error}") from error

    async def _apply_node_table(self, node: NodeNetwork) -> None:
        reservations = [one for one in self._reservations.all() if one.node_name == node.name and one.host_ports]
        text = plan_node_ruleset(node.ip, str(machine_address(self.cidrs)), reservations)
        await in_network_namespace(node.namespace_pid, lambda: firewall.apply_nft_here(text))

    async def _host_ports_changed(self, node_name: str) -> None:
        """The host ports of a node's pods, seen from its hostNetwork pods."""
        node = self._nodes.get(node_name)
        if node is None or not node.namespace_pid:
            return
        with contextlib.suppress(FileNotFoundError):  # its namespace is gone, and is made anew with its next pod
            await self._apply_node_table(node)

    async def ensure_service_address(self, address: str) -> None:
        """Give the bridge an address of the Service range on which a listener of this process answers."""
        if self._ipr is None:
            await self.start()
        await self._add_address(address, 32)
        self._service_addresses.add(address)

    async def set_service_ranges(self, ranges: Iterable[str]) -> None:
        """Lead these ranges to the bridge, besides that of the cluster's start, and no other.

        A range that the machine has a route into already is left to it: its own neighbours must stay reachable.
        """
        if self._ipr is None:
            await self.start()
        wanted = {IPv4Network(one) for one in ranges} - {self.cidrs.services}
        for network in self._service_ranges - wanted:
            with accepting(errno.ESRCH):
                await self._netlink.call(RouteSocket.delete_route, network, self._bridge_index)
            self._service_ranges.discard(network)
        taken = await _routes(self._netlink, without=self._bridge_index) if wanted - self._service_ranges else []
        for network in sorted(wanted - self._service_ranges):
            if any(network.overlaps(route) for route in taken if route.prefixlen):
                self._log.warning(
                    "service_range.taken", range=str(network), consequence="pods reach it, the machine does not"
                )
                continue
            with accepting(errno.EEXIST):
                await self._netlink.call(RouteSocket.add_route, network, self._bridge_index)
            self._service_ranges.add(network)

    async def _add_address(self, address: str, prefixlen: int) -> None:
        with accepting(errno.EEXIST):
            await self._netlink.call(RouteSocket.add_address, self._bridge_index, address, prefixlen)

    def helper_settings(self, node_name: str) -> Mapping[str, object] | None:
        return None

    def namespace_by(self, node_name: str, ensure: Callable[[], Awaitable[str]]) -> None:
        """A node's namespace is needed for its hostNetwork pods only, and made with the first of them."""

    def endpoint(self, name: str, *, node_name: str, host_ports: tuple[HostPort, ...] = ()) -> Endpoint | None:
        return None

    def claim(self, name: str, sandbox_id: str) -> None:
        """It gets its address by its id."""

    async def dial(
        self, sandbox_id: str, port: int, *, node_name: str, pid: int, is_host_network: bool
    ) -> socket.socket:  # fmt: skip
        return await in_network_namespace(pid, lambda: connect_to_loopback(port))

    def reserve(self, *, node_name: str, sandbox_id: str, host_ports: tuple[HostPort, ...] = ()) -> str:
        """Set the address aside that `attach` will give to the sandbox; `detach` gives it back. NetworkUnavailable."""
        node = self._nodes.get(node_name)
        return set_aside(self._reservations, node, node_name=node_name, sandbox_id=sandbox_id, host_ports=host_ports)

    async def attach(
        self,
        *,
        node_name: str,
        sandbox_id: str,
        pid: int,
        host_ports: tuple[HostPort, ...] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> str:
        """Connect the network namespace of `pid`; returns the pod's address. Repeating it is harmless.

        Raises NetworkUnavailable (node unknown, range full, host port in use, process gone); nothing is left behind.
        """
        address = self.reserve(node_name=node_name, sandbox_id=sandbox_id, host_ports=host_ports)
        if sandbox_id in self._attached:
            return address
        reservation, node = self._reservations.get(sandbox_id), self._nodes[node_name]
        assert reservation is not None
        try:
            await self._connect(reservation, gateway(node.pod_cidr), pid, dict(sysctls or {}))
        except asyncio.CancelledError:
            raise  # not attached, therefore not ready; its removal releases what was taken
        except BaseException as error:
            await self.detach(sandbox_id)
            if isinstance(error, OSError):
                raise NetworkUnavailable(f"setting up the pod's network interface: {error}") from error
            raise
        self._attached.add(sandbox_id)
        return address

    async def _connect(
        self, reservation: Reservation, gateway_address: IPv4Address, pid: int, sysctls: dict[str, str]
    ) -> None:
        name = veth_name(self.cluster_id, reservation.sandbox_id)
        await self._add_veth(name, pid)
        address = str(reservation.address)
        configure = partial(_configure_inside, address, str(gateway_address), sysctls)
        await together(in_network_namespace(pid, configure), self._join_bridge(name))
        if commands := plan_host_ports("add", self.cluster_id, reservation):
            await firewall.apply_nft(commands)
            await self._host_ports_changed(reservation.node_name)

    async def _add_veth(self, name: str, pid: int, *, mac: str = "") -> None:
        add = partial(RouteSocket.add_veth, mtu=self._mtu, peer="eth0", peer_pid=pid, peer_mac=mac)
        try:
            await self._netlink.call(add, name)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            await self._delete_link(name)  # an attempt that was interrupted
            await self._netlink.call(add, name)

    async def _join_bridge(self, name: str) -> None:
        link = await self._netlink.call(RouteSocket.find_link, name)
        if link is None:
            raise NetworkUnavailable(f"the interface {name} vanished: the sandbox has died")
        await self._netlink.call(RouteSocket.join_bridge, link.index, self._bridge_index)

    async def detach(self, sandbox_id: str) -> None:
        """Take the sandbox off the network and give its address back; succeeds when it is off already."""
        self._attached.discard(sandbox_id)
        reservation = self._reservations.get(sandbox_id)
        if reservation is None:
            return
        await self._delete_link(veth_name(self.cluster_id, sandbox_id))
        if commands := plan_host_ports("delete", self.cluster_id, reservation):
            try:
                await firewall.apply_nft(commands)
            except NetworkUnavailable:
                # Elements that were never added make the transaction fail: write the table anew.
                self._reservations.release(sandbox_id)
                await self._apply_table()
                await self._host_ports_changed(reservation.node_name)
                return
        self._reservations.release(sandbox_id)
        if reservation.host_ports:
            await self._host_ports_changed(reservation.node_name)

    async def _delete_link(self, name: str) -> None:
        link = await self._netlink.call(RouteSocket.find_link, name)
        if link is not None:
            with accepting(errno.ENODEV):
                await self._netlink.call(RouteSocket.delete_link, link.index)

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        """The addresses of a sandbox that is attached; empty otherwise."""
        reservation = self._reservations.get(sandbox_id)
        return (str(reservation.address),) if reservation is not None and sandbox_id in self._attached else ()

    def is_attached(self, sandbox_id: str) -> bool:
        return sandbox_id in self._attached

    def reserved_sandboxes(self, node_name: str) -> frozenset[str]:
        """The sandboxes of a node that hold an address; those that the Engine does not know can be detached."""
        return frozenset(
            reservation.sandbox_id for reservation in self._reservations.all() if reservation.node_name == node_name
        )

    async def close(self) -> None:
        """Let go of the netlink socket; the network stays."""
        if self._ipr is not None:
            ipr, self._ipr = self._ipr, None
            await ipr.close()

    async def teardown(self) -> None:
        """Remove the network with everything in it."""
        await self.close()
        await remove_network(self.cluster_id)
        for reservation in self._reservations.all():
            self._reservations.release(reservation.sandbox_id)
        self._attached.clear()
        self._nodes.clear()
        self._service_addresses.clear()
        self._loaded = False


async def remove_network(cluster_id: str) -> None:
    """Remove bridge, veths, table and rules of a cluster, known by its id alone; nothing there is fine."""
    async with netlink() as ipr:
        for link in await ipr.call(RouteSocket.links):
            if link.name.startswith(veth_prefix(cluster_id)) or link.name == bridge_name(cluster_id):
                with accepting(errno.ENODEV):
                    await ipr.call(RouteSocket.delete_link, link.index)
    if shutil.which("nft") is not None:
        await firewall.delete_nft_table(table_name(cluster_id))
    listing = await firewall.list_forward_rules()
    if listing is not None and (rules := plan_forward_removal(cluster_id, listing)) is not None:
        await firewall.restore_forward_rules(rules)


# ---------------------------------------------------------------- links and routes


async def _routes(ipr: Netlink, *, without: int | None) -> list[IPv4Network]:
    """Destinations of the main routing table, except through one interface."""
    routes = await ipr.call(RouteSocket.routes)
    return [route.destination for route in routes if without is None or route.interface != without]


async def _ensure_bridge(ipr: Netlink, cluster_id: str, cidrs: ClusterCidrs) -> tuple[int, int]:
    """Make the bridge with routes for all ranges of the cluster; returns (interface index, MTU)."""
    name = bridge_name(cluster_id)
    mtu = await _default_mtu(ipr)
    try:
        if await ipr.call(RouteSocket.find_link, name) is None:
            with accepting(errno.EEXIST):
                await ipr.call(RouteSocket.add_bridge, name, mac=bridge_mac(cluster_id), mtu=mtu)
        link = await ipr.call(RouteSocket.find_link, name)
        if link is None:
            raise NetworkUnavailable(f"the bridge {name} was removed while it was being made")
        await ipr.call(RouteSocket.set_up, link.index)
        for network in (cidrs.pods, cidrs.nodes, cidrs.services):
            with accepting(errno.EEXIST):
                await ipr.call(RouteSocket.add_route, network, link.index)
    except NetlinkError as error:
        reason = "CAP_NET_ADMIN is missing" if error.errno == errno.EPERM else str(error)
        raise NetworkUnavailable(f"cannot make the bridge {name} of the pod network: {reason}") from error
    return link.index, mtu


async def _default_mtu(ipr: Netlink) -> int:
    """The MTU of the interface behind the default route, 1500 without one."""
    default = next((one for one in await ipr.call(RouteSocket.routes) if not one.destination.prefixlen), None)
    if default is None:
        return 1500
    links = await ipr.call(RouteSocket.links)
    return next((link.mtu for link in links if link.index == default.interface), 1500)


def _configure_inside(address: str, gateway_address: str, sysctls: dict[str, str]) -> None:
    """Loopback, address, default route and sysctls, seen from inside the pod's namespace; blocking."""
    with RouteSocket() as route:
        loopback, interface = route.find_link("lo"), route.find_link("eth0")
        if loopback is None or interface is None:
            raise NetworkUnavailable("the interface eth0 vanished: the sandbox has died")
        route.set_up(loopback.index)
        route.add_address(interface.index, address, 32)
        route.set_up(interface.index)
        route.add_route(IPv4Network(gateway_address), interface.index)
        route.add_default_route(gateway_address, interface.index)
    write_sysctls(sysctls)


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Set `net.*` parameters of the namespace that the calling thread is in; NetworkUnavailable."""
    for name, value in sysctls.items():
        path = Path("/proc/sys", *name.replace("/", ".").split("."))
        try:
            path.write_text(value)
        except OSError as error:
            raise NetworkUnavailable(f"sysctl {name}={value}: {error.strerror}") from None


def _enable_forwarding() -> None:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    try:
        if path.read_text().strip() != "1":
            path.write_text("1")
    except OSError as error:
        raise NetworkUnavailable(f"cannot switch on IP forwarding: {error}") from None
