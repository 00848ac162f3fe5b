"""Host ports of pods, and when two of them exclude each other.

Pure. Scheduler and kubelet follow the same rule. Mirrors pkg/scheduler/framework.HostPortInfo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

ANY_ADDRESS: Final = "0.0.0.0"

HostPort = tuple[str, str, int]
"""(host IP, protocol, port); the IP 0.0.0.0 stands for every address."""


def host_ports(spec: Mapping[str, Any]) -> tuple[HostPort, ...]:
    """The host ports that a pod occupies, its sidecars' included."""
    found: list[HostPort] = []
    containers: Iterable[Mapping[str, Any]] = spec.get("containers") or ()
    init_containers = spec.get("initContainers")
    if init_containers:
        containers = (*containers, *(c for c in init_containers if c.get("restartPolicy") == "Always"))
    for container in containers:
        for port in container.get("ports") or ():
            number = port.get("hostPort")
            if number:
                found.append((port.get("hostIP") or ANY_ADDRESS, port.get("protocol") or "TCP", number))
    return tuple(found)


def is_port_taken(wanted: HostPort, used: Iterable[HostPort]) -> bool:
    """Whether a used port has the same protocol and number, and the same address or one of the two any address."""
    address, protocol, number = wanted
    for used_address, used_protocol, used_number in used:
        if (
            used_number == number
            and used_protocol == protocol
            and (used_address == address or ANY_ADDRESS in (used_address, address))
        ):
            return True
    return False
