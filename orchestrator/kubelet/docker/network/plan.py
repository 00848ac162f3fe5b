"""Every decision of the network on Docker's: ranges, and what the Engine is asked for; pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

from msgspec import Struct

from orchestrator.component.places import MACHINE, Listener
from orchestrator.kubelet.docker.network.helper_program import FOLDER
from orchestrator.kubelet.docker.pause import PAUSE_IMAGE
from orchestrator.kubelet.docker.translate import CLUSTER_LABEL, HELPER_KIND, KIND_LABEL
from orchestrator.kubelet.network.plan import ClusterCidrs, Reservation, bridge_name, machine_address
from orchestrator.kubelet.network.sandbox_network import Endpoint

WIDEST_PREFIX = 12
"""A network that takes more of the private addresses than 10.240.0.0/12 leaves too little to others."""
EVERY_ADDRESS = "0.0.0.0"
PACKAGE = "/package/orchestrator"
"""Where a helper container has this project."""
LIBRARIES = ("/usr", "/lib", "/lib64", "/lib32", "/nix", "/etc/ld.so.cache")
"""Where a machine's interpreter has its parts, besides its own prefix."""


class DockerRanges(Struct, frozen=True):
    """One network of Docker's, and the parts of it."""

    network: IPv4Network
    parts: ClusterCidrs


def ranges_of(parts: ClusterCidrs) -> DockerRanges | None:
    """The smallest network that contains the parts; None when it would be too wide."""
    network = parts.pods
    while not all(part.subnet_of(network) for part in (parts.pods, parts.services, parts.nodes)):
        if network.prefixlen <= WIDEST_PREFIX:
            return None
        network = network.supernet()
    return DockerRanges(network, parts)


def candidates() -> Iterator[DockerRanges]:
    """What is tried when nobody says otherwise: 10.244.0.0/14 first."""
    for second in (*range(244, 126, -4), 248, 252):
        network = IPv4Network(f"10.{second}.0.0/14")
        pods, services, nodes, _ = network.subnets(new_prefix=16)
        yield DockerRanges(network, ClusterCidrs(pods, services, IPv4Network((nodes.network_address, 24))))


def plan_ranges(taken: Iterable[IPv4Network], *, preferred: ClusterCidrs | None = None) -> list[DockerRanges]:
    """Free ranges in the order in which they are to be tried; empty when none is free.

    ValueError for preferred parts that are too far from each other.
    """
    routes = [one for one in taken if one.prefixlen > 0]
    wanted: list[DockerRanges] = []
    if preferred is not None:
        found = ranges_of(preferred)
        if found is None:
            raise ValueError(
                f"pods {preferred.pods}, services {preferred.services} and nodes {preferred.nodes} have to be parts of "
                f"one network of at most /{WIDEST_PREFIX}, because they share one network of Docker's"
            )
        wanted.append(found)
    return [one for one in (*wanted, *candidates()) if not any(one.network.overlaps(route) for route in routes)]


def parse_routes(text: str, *, without: str = "") -> list[IPv4Network]:
    """Destinations out of `/proc/net/route`, except through one interface."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[0] != without:
            address, mask = (IPv4Address(int.from_bytes(bytes.fromhex(fields[n]), "little")) for n in (1, 7))
            found.append(IPv4Network(f"{address}/{mask}", strict=False))
    return found


def default_interface(text: str) -> str:
    """The interface of the default route out of `/proc/net/route`; empty without one."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return next((row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"), "")


def subnets_of(network: Mapping[str, Any]) -> list[IPv4Network]:
    """The IPv4 subnets of a network as the Engine shows it."""
    texts = [one.get("Subnet") or "" for one in (network.get("IPAM") or {}).get("Config") or ()]
    return [IPv4Network(text, strict=False) for text in texts if text and ":" not in text]


def network_name(cluster_id: str) -> str:
    return f"orchestrator-{cluster_id}"


def services_address(parts: ClusterCidrs) -> IPv4Address:
    """The own address of the container that has the Service range: the last one of the nodes' network."""
    return parts.nodes.broadcast_address - 1


def network_config(cluster_id: str, ranges: DockerRanges, *, mtu: int) -> dict[str, Any]:
    """The body of POST /networks/create."""
    return {
        "Name": network_name(cluster_id),
        "CheckDuplicate": True,
        "Driver": "bridge",
        "IPAM": {
            "Config": [{"Subnet": str(ranges.network), "Gateway": str(machine_address(ranges.parts))}],
        },
        "Options": {
            "com.docker.network.bridge.name": bridge_name(cluster_id),
            "com.docker.network.driver.mtu": str(mtu),
        },
        "Labels": {CLUSTER_LABEL: cluster_id},
    }


class Interpreter(Struct, frozen=True):
    """The interpreter that helper containers run with."""

    program: str
    prefix: str
    """Where it is installed."""
    package: str
    """Where this project is."""
    libraries: tuple[str, ...] = LIBRARIES
    """Those of LIBRARIES that the machine has."""


def helper_settings(
    interpreter: Interpreter,
    *,
    folder: str,
    network: str = "",
    endpoint: Endpoint | None = None,
    local_range: str = "",
    files_root: str = "",
) -> dict[str, Any]:
    """What makes a container a helper, for POST /containers/create: the program, its rights, what it sees.

    `folder` is where its socket appears. It joins a `network` mode, or gets an endpoint of its own. It has none of
    root's rights but those that it needs for the one range and the one directory that it is given.
    """
    capabilities = ["DAC_OVERRIDE"]
    mounts = [_bind(path, path) for path in dict.fromkeys((*interpreter.libraries, interpreter.prefix))
              if path == interpreter.prefix or not _is_inside(path, interpreter.prefix)]  # fmt: skip
    mounts = [one for one in mounts if not _is_inside_any(one["Source"], interpreter.libraries)]
    mounts += [_bind(interpreter.package, PACKAGE), _bind(folder, FOLDER, writable=True)]
    if local_range:
        capabilities.append("NET_ADMIN")
    if files_root:
        capabilities += ["CHOWN", "FOWNER", "FSETID"]
        mounts.append(_bind(files_root, files_root, writable=True))
    program = f"import sys; sys.path.insert(0, {os.path.dirname(PACKAGE)!r})\n"
    program += "from orchestrator.kubelet.docker.network.helper_program import main; main(*sys.argv[1:])"
    settings: dict[str, Any] = {
        "Image": PAUSE_IMAGE,
        "Entrypoint": [interpreter.program, "-I", "-S", "-B", "-c", program],
        "Cmd": [local_range, files_root],
        "User": "0:0",
        "HostConfig": {
            "NetworkMode": endpoint.network if endpoint is not None else network,
            "CapDrop": ["ALL"],
            "CapAdd": capabilities,
            # Folders of the machine have labels of their own where SELinux looks at them.
            "SecurityOpt": ["no-new-privileges", "label=disable"],
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "none"},
            "Mounts": mounts,
        },
    }
    if endpoint is not None:
        settings["NetworkingConfig"] = endpoint.config()
        settings["HostConfig"]["Sysctls"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    return settings


def helper_labels(cluster_id: str) -> dict[str, str]:
    return {CLUSTER_LABEL: cluster_id, KIND_LABEL: HELPER_KIND}


def _bind(source: str, target: str, *, writable: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": not writable}


def _is_inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _is_inside_any(path: str, folders: Sequence[str]) -> bool:
    return any(_is_inside(path, folder) for folder in folders)


def plan_forwards(reservations: Iterable[Reservation]) -> dict[Listener, tuple[str, int]]:
    """Where host ports are listened on, and the pod's address and port behind each.

    On all addresses of the node, its loopback included, and on what the pod got of the machine's; with a `hostIP` on
    that address alone. Simplified: neither SCTP nor IPv6.
    """
    found: dict[Listener, tuple[str, int]] = {}
    for one in reservations:
        for port in one.host_ports:
            target = (str(one.address), port.pod_port)
            if port.protocol not in ("tcp", "udp") or not (port.is_wildcard or port.is_ipv4):
                continue
            address = EVERY_ADDRESS if port.is_wildcard else port.host_ip
            if port.is_wildcard or port.host_ip == one.node_ip or ip_address(port.host_ip).is_loopback:
                found[Listener(one.node_name, address, port.protocol, port.host_port)] = target
            if (port.protocol, port.host_port, "" if port.is_wildcard else port.host_ip) in one.machine_ports:
                found[Listener(MACHINE, address, port.protocol, port.host_port)] = target
    return found
