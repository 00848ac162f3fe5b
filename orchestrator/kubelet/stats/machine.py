"""What the machine itself says under /proc: memory, processes, network interfaces."""

from __future__ import annotations

from pathlib import Path

from orchestrator.component.usage import InterfaceUsage
from orchestrator.kubelet.eviction.plan import Signal
from orchestrator.kubelet.stats.disk import file_system_usage

PROC = Path("/proc")


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name, out of `/proc/meminfo`."""
    fields: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number, _, unit = rest.strip().partition(" ")
        if number.isdigit():
            fields[name] = int(number) * (1024 if unit == "kB" else 1)
    return fields


def memory_available_bytes(proc: Path = PROC) -> int:
    """How much memory can be had without swapping."""
    fields = parse_meminfo((proc / "meminfo").read_text())
    return fields.get("MemAvailable", fields.get("MemFree", 0))


def process_limits(proc: Path = PROC) -> tuple[int, int]:
    """(how many processes and threads there can be, how many there are)."""
    most = int((proc / "sys/kernel/pid_max").read_text())
    running = (proc / "loadavg").read_text().split()[3].partition("/")[2]
    return most, int(running)


def parse_interfaces(text: str) -> tuple[InterfaceUsage, ...]:
    """The interfaces but the loopback, out of `/proc/<pid>/net/dev`."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(number) for number in rest.split()]
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        found.append(InterfaceUsage(name.strip(), *numbers[:4], *numbers[8:12]))
    return tuple(found)


def read_signals(node_directory: Path, image_directory: Path, proc: Path = PROC) -> dict[str, Signal]:
    """The signals of node-pressure eviction: memory, processes, and the disks of pods and of images; OSError."""
    memory = parse_meminfo((proc / "meminfo").read_text())
    most, running = process_limits(proc)
    signals = {
        "memory.available": Signal(memory.get("MemAvailable", 0), memory.get("MemTotal", 0)),
        "pid.available": Signal(most - running, most),
    }
    for name, directory in (("nodefs", node_directory), ("imagefs", image_directory)):
        if directory.exists():
            disk = file_system_usage(directory)
            signals[f"{name}.available"] = Signal(disk.available_bytes, disk.capacity_bytes)
            if disk.inodes:  # some file systems have no fixed number
                signals[f"{name}.inodesFree"] = Signal(disk.inodes_free, disk.inodes)
    return signals
