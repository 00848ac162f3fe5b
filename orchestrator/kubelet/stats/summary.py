"""`/stats/summary`: usage in the kubelet's own form (k8s.io/kubelet/pkg/apis/stats/v1alpha1 Summary). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.aiokit.clock import format_time
from orchestrator.component.usage import (
    ContainerUsage,
    DiskUsage,
    InterfaceUsage,
    NodeUsage,
    PodUsage,
    Pressure,
    Stall,
    Usage,
)

PRIMARY_INTERFACE = "eth0"


def plan_summary(usage: NodeUsage, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
    """The Summary of a node; `only_cpu_and_memory` leaves out networks, disks and processes."""
    node: dict[str, Any] = {
        "nodeName": usage.name,
        "startTime": format_time(usage.started_at),
        "cpu": _cpu(usage.usage),
        "memory": {**_memory(usage.usage), "availableBytes": usage.memory_available_bytes},
    }
    if not only_cpu_and_memory:
        node |= _io(usage.usage)
        node |= _network(usage.interfaces, usage.usage.at)
        if usage.file_system is not None:
            disk = _disk(usage.file_system, usage.usage.at)
            node |= {"fs": disk, "runtime": {"imageFs": disk, "containerFs": disk}}
        node["rlimit"] = {
            "time": format_time(usage.usage.at),
            "maxpid": usage.processes_max,
            "curproc": usage.processes,
        }
    return {"node": node, "pods": [_pod(pod, only_cpu_and_memory=only_cpu_and_memory) for pod in usage.pods]}


def _pod(pod: PodUsage, *, only_cpu_and_memory: bool) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": format_time(pod.started_at),
        "containers": [_container(one, only_cpu_and_memory=only_cpu_and_memory) for one in pod.containers],
        "cpu": _cpu(pod.usage),
        "memory": _memory(pod.usage),
    }
    if only_cpu_and_memory:
        return summary
    at = pod.usage.at
    summary |= _io(pod.usage)
    summary |= _network(pod.interfaces, at)
    volumes = [{**_disk(disk, at), "name": name} for name, disk in pod.volumes]
    volumes += [
        {**_disk(one.disk, at), "name": one.volume, "pvcRef": {"name": one.claim, "namespace": pod.namespace}}
        for one in pod.claims
    ]
    if volumes:
        summary["volume"] = volumes
    disks = [disk for one in pod.containers for disk in (one.root_fs, one.logs) if disk is not None]
    disks += [disk for _, disk in pod.volumes]
    if disks:
        used = DiskUsage(sum(disk.used_bytes for disk in disks), sum(disk.inodes_used for disk in disks))
        summary["ephemeral-storage"] = _disk(used, at)
    summary["process_stats"] = {"process_count": pod.processes}
    return summary


def _container(container: ContainerUsage, *, only_cpu_and_memory: bool) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "name": container.name,
        "startTime": format_time(container.started_at),
        "cpu": _cpu(container.usage),
        "memory": _memory(container.usage),
    }
    if not only_cpu_and_memory:
        if container.root_fs is not None:
            summary["rootfs"] = _disk(container.root_fs, container.usage.at)
        if container.logs is not None:
            summary["logs"] = _disk(container.logs, container.usage.at)
        summary |= _io(container.usage)
        summary["swap"] = {"time": format_time(container.usage.at), "swapUsageBytes": container.usage.swap_bytes}
    return summary


def _cpu(usage: Usage) -> dict[str, Any]:
    return {
        "time": format_time(usage.at),
        "usageNanoCores": usage.cpu_nanocores,
        "usageCoreNanoSeconds": usage.cpu_nanoseconds_total,
        **_psi(usage.pressures.cpu if usage.pressures is not None else None),
    }


def _memory(usage: Usage) -> dict[str, Any]:
    return {
        "time": format_time(usage.at),
        "usageBytes": usage.memory_usage_bytes,
        "workingSetBytes": usage.memory_working_set_bytes,
        "rssBytes": usage.memory_rss_bytes,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
        **_psi(usage.pressures.memory if usage.pressures is not None else None),
    }


def _io(usage: Usage) -> dict[str, Any]:
    """Only its pressure is told; nothing where there is none."""
    if usage.pressures is None:
        return {}
    return {"io": {"time": format_time(usage.at), **_psi(usage.pressures.io)}}


def _psi(pressure: Pressure | None) -> dict[str, Any]:
    """PSIStats (KEP-4205); the totals are microseconds, as the kernel tells them and the kubelet passes them on."""
    if pressure is None:
        return {}
    return {"psi": {"full": _stall(pressure.full), "some": _stall(pressure.some)}}


def _stall(stall: Stall) -> dict[str, Any]:
    return {
        "total": stall.total_microseconds,
        "avg10": stall.avg10,
        "avg60": stall.avg60,
        "avg300": stall.avg300,
    }


def _disk(disk: DiskUsage, at: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {"time": format_time(at), "usedBytes": disk.used_bytes, "inodesUsed": disk.inodes_used}
    if disk.capacity_bytes:
        shown |= {"availableBytes": disk.available_bytes, "capacityBytes": disk.capacity_bytes}
        shown |= {"inodesFree": disk.inodes_free, "inodes": disk.inodes}
    return shown


def _network(interfaces: Sequence[InterfaceUsage], at: datetime) -> dict[str, Any]:
    if not interfaces:
        return {}
    shown = [
        {
            "name": one.name,
            "rxBytes": one.rx_bytes,
            "rxErrors": one.rx_errors,
            "txBytes": one.tx_bytes,
            "txErrors": one.tx_errors,
        }
        for one in interfaces
    ]
    primary = next((one for one in shown if one["name"] == PRIMARY_INTERFACE), shown[0])
    return {"network": {"time": format_time(at), **primary, "interfaces": shown}}
