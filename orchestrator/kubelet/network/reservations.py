"""Which sandbox has which pod address, kept as one small file per address.

A crash at any instant neither gives an address twice nor loses one for good: the file is written
before the address is used and removed after the interface is gone; what no sandbox claims any more
is released at the next start. Mirrors the host-local IPAM plug-in's directory.
"""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from msgspec.structs import replace

from orchestrator.api.host_ports import ANY_ADDRESS, is_port_taken
from orchestrator.api.host_ports import HostPort as Claim
from orchestrator.kubelet.network.plan import (
    ClusterCidrs,
    HostPort,
    MachinePort,
    Reservation,
    machine_ports_of,
    plan_address,
)


class AddressesExhausted(Exception):
    """The node's pod range has no free address."""


class HostPortTaken(Exception):
    """Another pod of the node has one of the host ports, and be it one whose end is not finished."""


class Reservations:
    """The addresses in use, in memory and in a directory; all methods are plain and quick."""

    def __init__(self, directory: Path, cidrs: ClusterCidrs) -> None:
        self._directory = directory
        self._cidrs = cidrs
        self._by_sandbox: dict[str, Reservation] = {}
        self._addresses: dict[IPv4Address, str] = {}
        self._machine_ports: dict[MachinePort, str] = {}
        self._last: dict[IPv4Network, IPv4Address] = {}

    def load(self) -> None:
        """Read the directory again, dropping what cannot be read (a write that never finished)."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._by_sandbox.clear()
        self._addresses.clear()
        self._machine_ports.clear()
        for path in self._directory.iterdir():
            if path.suffix == ".tmp":
                path.unlink(missing_ok=True)
                continue
            try:
                reservation = Reservation.from_json(path.name, json.loads(path.read_bytes()))
            except (ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
                continue
            self._remember(reservation)

    def _remember(self, reservation: Reservation) -> None:
        self._by_sandbox[reservation.sandbox_id] = reservation
        self._addresses[reservation.address] = reservation.sandbox_id
        for port in reservation.machine_ports:
            self._machine_ports[port] = reservation.sandbox_id

    def get(self, sandbox_id: str) -> Reservation | None:
        return self._by_sandbox.get(sandbox_id)

    def all(self) -> list[Reservation]:
        return list(self._by_sandbox.values())

    def machine_ports_taken(self) -> frozenset[MachinePort]:
        """Host ports that the machine's own addresses lead to already."""
        return frozenset(self._machine_ports)

    def reserve(
        self,
        sandbox_id: str,
        *,
        node_name: str,
        pod_cidr: IPv4Network,
        node_ip: str = "",
        host_ports: tuple[HostPort, ...] = (),
    ) -> Reservation:
        """The sandbox's address: the one it has already, or the next free one; AddressesExhausted, HostPortTaken."""
        known = self._by_sandbox.get(sandbox_id)
        if known is not None:
            return known
        self._check_host_ports(node_name, host_ports)
        address = plan_address(pod_cidr, self._addresses.keys(), self._last.get(pod_cidr))
        if address is None:
            raise AddressesExhausted(f"no IP addresses available in range {pod_cidr}")
        wanted = machine_ports_of(node_ip, host_ports, self._cidrs)
        reservation = Reservation(
            address=address,
            sandbox_id=sandbox_id,
            node_name=node_name,
            node_ip=node_ip,
            host_ports=host_ports,
            machine_ports=tuple(sorted(wanted - self._machine_ports.keys())),
        )
        self._write(reservation)
        self._last[pod_cidr] = address
        self._remember(reservation)
        return reservation

    def rename(self, name: str, sandbox_id: str) -> None:
        """What was reserved under a name is the sandbox' own from now on, unless it has an address already."""
        reservation = self._by_sandbox.get(name)
        if reservation is None:
            return
        if sandbox_id in self._by_sandbox:
            self.release(name)
            return
        renamed = replace(reservation, sandbox_id=sandbox_id)
        self._write(renamed)
        del self._by_sandbox[name]
        self._remember(renamed)

    def _write(self, reservation: Reservation) -> None:
        path = self._directory / str(reservation.address)
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_text(json.dumps(reservation.to_json()))
        os.replace(temporary, path)

    def _check_host_ports(self, node_name: str, host_ports: tuple[HostPort, ...]) -> None:
        if not host_ports:
            return
        used = [_claim(port) for one in self.all() if one.node_name == node_name for port in one.host_ports]
        for port in host_ports:
            if is_port_taken(_claim(port), used):
                raise HostPortTaken(f"host port {port.host_port}/{port.protocol} is in use")

    def release(self, sandbox_id: str) -> Reservation | None:
        """Give the sandbox's address back; None when it has none."""
        reservation = self._by_sandbox.pop(sandbox_id, None)
        if reservation is None:
            return None
        del self._addresses[reservation.address]
        for port in reservation.machine_ports:
            self._machine_ports.pop(port, None)
        (self._directory / str(reservation.address)).unlink(missing_ok=True)
        return reservation


def _claim(port: HostPort) -> Claim:
    return port.host_ip or ANY_ADDRESS, port.protocol, port.host_port
