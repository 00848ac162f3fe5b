"""Every decision of the pod network, pure: address ranges, names, addresses, firewall text.

Mirrors what kubeadm (ranges), the host-local IPAM plug-in (addresses) and the portmap plug-in
(host ports) decide. Never touches the machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

from msgspec import Struct

from orchestrator.api.node_ports import KUBE_PROXY_HEALTH, KUBE_PROXY_STATUS, KUBELET

INTERFACE_NAME_MAX = 15
"""Characters of a Linux interface name."""

NODE_TABLE = "node"
"""The nftables table inside of a node's own network namespace."""
NODE_PORTS = "30000-32767"
"""kube-apiserver's default of --service-node-port-range."""

FORWARD_CHAINS = ("DOCKER-USER", "FORWARD")
"""Where an accept may stand, the preferred one first: Docker never touches what is in DOCKER-USER."""


class ClusterCidrs(Struct, frozen=True):
    """The address ranges of one cluster on this machine."""

    pods: IPv4Network
    services: IPv4Network
    nodes: IPv4Network

    def to_json(self) -> dict[str, str]:
        return {"pods": str(self.pods), "services": str(self.services), "nodes": str(self.nodes)}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> ClusterCidrs:
        return cls(IPv4Network(data["pods"]), IPv4Network(data["services"]), IPv4Network(data["nodes"]))


class HostPort(Struct, frozen=True):
    """A port of a node that leads to a port of a pod."""

    protocol: str
    """`tcp`, `udp` or `sctp`."""
    host_port: int
    pod_port: int
    host_ip: str = ""
    """Empty: the node's own address, and the machine's where no other pod has it."""

    @property
    def is_wildcard(self) -> bool:
        """Whether it is on every address."""
        return self.host_ip in ("", "0.0.0.0", "::")

    @property
    def is_ipv4(self) -> bool:
        """Whether it is on an address of IPv4."""
        return self.is_wildcard or ip_address(self.host_ip).version == 4


MachinePort = tuple[str, int, str]
"""Protocol, port and address on the machine, which one pod has at a time; without address, all that nobody has."""


def cluster_key(cluster_id: str) -> str:
    """Eight hexadecimal digits that stand for a cluster in names of interfaces and tables."""
    return hashlib.sha256(cluster_id.encode()).hexdigest()[:8]


def bridge_name(cluster_id: str) -> str:
    return bridge_of(cluster_key(cluster_id))


def bridge_of(key: str) -> str:
    """The bridge of the cluster that this key stands for."""
    return f"orc{key}"


def bridge_mac(cluster_id: str) -> str:
    """A fixed, locally administered address: a bridge without one changes it with every port."""
    return _mac("bridge" + cluster_id)


def node_mac(cluster_id: str, node_name: str) -> str:
    """A fixed one too, so that what neighbours remember stays true when a node's namespace is made anew."""
    return _mac(f"node {node_name} {cluster_id}")


def _mac(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in b"\x02" + digest[:5])


def table_name(cluster_id: str) -> str:
    """The nftables table (family ip) of the pod network; the proxy has its own."""
    return f"orchestrator_{cluster_key(cluster_id)}"


def veth_prefix(cluster_id: str) -> str:
    return f"o{cluster_key(cluster_id)[:5]}"


def veth_name(cluster_id: str, sandbox_id: str) -> str:
    """The host end of a sandbox's veth pair; found again from the sandbox id alone."""
    return (veth_prefix(cluster_id) + sandbox_id)[:INTERFACE_NAME_MAX]


def plan_cidrs(existing_routes: Iterable[IPv4Network], *, preferred: ClusterCidrs | None = None) -> ClusterCidrs:
    """The first free ranges: pods 10.244.0.0/16, services 10.96.0.0/16, nodes 10.192.0.0/24, or the next ones.

    A range is free when no route of the machine overlaps it (the default route does not count).
    `preferred` is taken as it is when it is free. Raises ValueError when everything is taken.
    """
    taken = [route for route in existing_routes if route.prefixlen > 0]
    if preferred is not None and not any(
        wanted.overlaps(route) for wanted in (preferred.pods, preferred.services, preferred.nodes) for route in taken
    ):
        return preferred
    return ClusterCidrs(
        pods=_first_free("pods", (IPv4Network(f"10.{second}.0.0/16") for second in _pod_octets()), taken),
        services=_first_free("services", (IPv4Network(f"10.{second}.0.0/16") for second in range(96, 128)), taken),
        nodes=_first_free("nodes", (IPv4Network(f"10.192.{third}.0/24") for third in range(256)), taken),
    )


def _pod_octets() -> Iterator[int]:
    yield from range(244, 256)
    yield from range(200, 244)


def _first_free(what: str, candidates: Iterable[IPv4Network], taken: Sequence[IPv4Network]) -> IPv4Network:
    for candidate in candidates:
        if not any(candidate.overlaps(route) for route in taken):
            return candidate
    raise ValueError(f"no free address range for {what}: every candidate overlaps a route of this machine")


def gateway(pod_cidr: IPv4Network) -> IPv4Address:
    """The bridge's own address in a node's pod range: the first one."""
    return pod_cidr.network_address + 1


def plan_address(pod_cidr: IPv4Network, taken: Collection[IPv4Address], last: IPv4Address | None) -> IPv4Address | None:
    """The next free pod address after `last`, wrapping around; None when the range is full.

    Going on from the last one keeps an address unused for a while after its pod is gone, as the
    host-local plug-in does. Network, gateway and broadcast addresses are never given.
    """
    first, end = int(pod_cidr.network_address) + 2, int(pod_cidr.broadcast_address)
    size = end - first
    start = int(last) + 1 if last is not None and first <= int(last) < end - 1 else first
    for offset in range(size):
        candidate = IPv4Address(first + (start - first + offset) % size)
        if candidate not in taken:
            return candidate
    return None


def plan_ruleset(cluster_id: str, cidrs: ClusterCidrs) -> str:
    """The whole nftables table of the pod network as one transaction that replaces an older one.

    Pods leave the machine masqueraded; host ports are map look-ups; redirects are suppressed because
    pods talk to each other through the bridge's own address on purpose (replies must pass conntrack).
    """
    table, bridge = table_name(cluster_id), bridge_name(cluster_id)
    return f"""\
table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  map host_ports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  map machine_ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain host_ports_lookup {{
    meta l4proto {{ tcp, udp, sctp }} dnat ip to ip daddr . meta l4proto . th dport map @host_ports
    ip daddr != {{ 127.0.0.0/8, {cidrs.nodes}, {cidrs.pods} }} meta l4proto {{ tcp, udp, sctp }} \
dnat ip to meta l4proto . th dport map @machine_ports
  }}
  chain prerouting {{
    type nat hook prerouting priority -105; policy accept;
    fib daddr type local jump host_ports_lookup
    ip daddr {cidrs.nodes} jump host_ports_lookup
  }}
  chain output {{
    type nat hook output priority -105; policy accept;
    fib daddr type local jump host_ports_lookup
    ip daddr {cidrs.nodes} jump host_ports_lookup
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname "{bridge}" ip saddr . ip daddr @hairpin masquerade
    oifname != "{bridge}" ip saddr {{ {cidrs.pods}, {cidrs.nodes} }} ip daddr != {cidrs.pods} masquerade
  }}
  chain local_output {{
    type filter hook output priority 0; policy accept;
    oifname "{bridge}" icmp type redirect drop
  }}
}}
"""


def machine_ports_of(node_ip: str, ports: Iterable[HostPort], cidrs: ClusterCidrs) -> set[MachinePort]:
    """What the host ports of a pod ask for of the machine's addresses, which all nodes share.

    Without a `hostIP`, any of them; else that one. The addresses of nodes are theirs alone: on another node, packets to
    one of them never arrive.
    """
    others = {str(machine_address(cidrs))}
    return {
        (port.protocol, port.host_port, "" if port.is_wildcard else port.host_ip)
        for port in ports
        if port.is_wildcard
        or (
            port.is_ipv4
            and port.host_ip != node_ip
            and not ip_address(port.host_ip).is_loopback
            and (port.host_ip in others or IPv4Address(port.host_ip) not in cidrs.nodes)
        )
    }


def plan_host_ports(verb: str, cluster_id: str, reservation: Reservation) -> str:
    """nft commands that `add` or `delete` a pod's host ports; empty when there are none.

    Two pods on different nodes may have the same port, each on its node's address. The machine's other addresses lead
    to the one that came first (`machine_ports`).
    """
    table, pod_ip = table_name(cluster_id), reservation.address
    lines = []

    def element(name: str, key: str, port: int) -> None:
        value = f" : {pod_ip} . {port}" if verb == "add" else ""
        lines.append(f"{verb} element ip {table} {name} {{ {key}{value} }}")

    for port in reservation.host_ports:
        if not port.is_ipv4:
            continue  # Simplified: host ports are IPv4 only.
        wanted = f"{port.protocol} . {port.host_port}"
        # The loopback of a node is inside its own namespace, see `plan_node_ruleset`.
        if reservation.node_ip and (port.is_wildcard or port.host_ip == reservation.node_ip):
            element("host_ports", f"{reservation.node_ip} . {wanted}", port.pod_port)
        if port.is_wildcard and (port.protocol, port.host_port, "") in reservation.machine_ports:
            element("machine_ports", wanted, port.pod_port)
        elif (port.protocol, port.host_port, port.host_ip) in reservation.machine_ports:
            element("host_ports", f"{port.host_ip} . {wanted}", port.pod_port)
    if lines:
        lines.append(f"{verb} element ip {table} hairpin {{ {pod_ip} . {pod_ip} }}")
    return "".join(f"{line}\n" for line in lines)


def machine_address(cidrs: ClusterCidrs) -> IPv4Address:
    """The machine's own address in the network of the nodes: their gateway, and where the API listens for pods."""
    return cidrs.nodes.network_address + 1


def plan_node_ruleset(node_ip: str, machine_ip: str, reservations: Iterable[Reservation]) -> str:
    """The nftables table inside of a node's own namespace, as one transaction that replaces an older one.

    What hostNetwork pods send to their own node never leaves its namespace. So host ports are looked up here too,
    on the node's address and on the loopback; node ports and those of kubelet and kube-proxy are handed to the machine,
    which has their rules.
    """
    ports = "".join(
        f"add element ip {NODE_TABLE} host_ports {{ {address} . {port.protocol} . {port.host_port}"
        f" : {reservation.address} . {port.pod_port} }}\n"
        for reservation in reservations
        for port in reservation.host_ports
        for address in ((node_ip, "127.0.0.1") if port.is_wildcard else (port.host_ip,))
        if address == node_ip or (port.is_ipv4 and ip_address(address).is_loopback)
    )
    return f"""\
table ip {NODE_TABLE} {{}}
delete table ip {NODE_TABLE}
table ip {NODE_TABLE} {{
  map host_ports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} dnat ip to ip daddr . meta l4proto . th dport map @host_ports
    ip daddr {node_ip} meta l4proto {{ tcp, udp, sctp }} th dport {NODE_PORTS} dnat to {machine_ip}
    ip daddr {{ {node_ip}, 127.0.0.1 }} tcp dport {{ {KUBELET}, {KUBE_PROXY_HEALTH} }} dnat to {machine_ip}
    ip daddr 127.0.0.1 tcp dport {KUBE_PROXY_STATUS} dnat to {machine_ip}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname "eth0" ip saddr 127.0.0.0/8 masquerade
  }}
}}
{ports}"""


def forward_comment(cluster_id: str) -> str:
    return f"orchestrator {cluster_key(cluster_id)}"


def plan_forward_rules(cluster_id: str, listing: str) -> str | None:
    """What `iptables-restore --noflush` must be fed so that traffic of the bridge is forwarded.

    `listing` is the output of `iptables -S`. None when the rules are there already. Docker sets the
    policy of FORWARD to DROP, also for traffic that stays on one bridge, and an accept in a table of
    our own does not overrule it.
    """
    bridge, comment = bridge_name(cluster_id), forward_comment(cluster_id)
    chain = next((name for name in FORWARD_CHAINS if f"-N {name}\n" in listing), "FORWARD")
    present = [line for line in listing.splitlines() if line.startswith(f"-A {chain} ") and f'"{comment}"' in line]
    wanted = [(flag, bridge) for flag in ("-i", "-o") if not any(f" {flag} {bridge} " in line for line in present)]
    if not wanted:
        return None
    rules = "".join(f'-I {chain} 1 {flag} {name} -m comment --comment "{comment}" -j ACCEPT\n' for flag, name in wanted)
    return f"*filter\n{rules}COMMIT\n"


def plan_forward_removal(cluster_id: str, listing: str) -> str | None:
    """The opposite of `plan_forward_rules`, whichever chain the rules are in; None when there are none."""
    comment = forward_comment(cluster_id)
    lines = [
        re.sub(r"^-A ", "-D ", line)
        for line in listing.splitlines()
        if line.startswith("-A ") and f'"{comment}"' in line
    ]
    return "*filter\n" + "".join(f"{line}\n" for line in lines) + "COMMIT\n" if lines else None


class Reservation(Struct, frozen=True):
    """A pod address in use: which sandbox has it, on which node, and its host ports."""

    address: IPv4Address
    sandbox_id: str
    node_name: str
    node_ip: str = ""
    host_ports: tuple[HostPort, ...] = ()
    machine_ports: tuple[MachinePort, ...] = ()
    """What it got of `machine_ports_of`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "sandbox": self.sandbox_id,
            "node": self.node_name,
            "nodeIP": self.node_ip,
            "hostPorts": [[p.protocol, p.host_port, p.pod_port, p.host_ip] for p in self.host_ports],
            "machinePorts": [list(port) for port in self.machine_ports],
        }

    @classmethod
    def from_json(cls, address: str, data: dict[str, Any]) -> Reservation:
        return cls(
            address=IPv4Address(address),
            sandbox_id=data["sandbox"],
            node_name=data["node"],
            node_ip=data["nodeIP"],
            host_ports=tuple(HostPort(*port) for port in data["hostPorts"]),
            machine_ports=tuple((port[0], port[1], port[2]) for port in data["machinePorts"]),
        )
