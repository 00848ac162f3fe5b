"""Summary and Prometheus text of a node with one pod."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from orchestrator.component.usage import (
    ClaimUsage,
    ContainerUsage,
    DiskUsage,
    NodeUsage,
    PodUsage,
    Pressure,
    Pressures,
    Stall,
    Usage,
    total,
)
from orchestrator.kubelet.stats.exposition import cadvisor_metrics, kubelet_metrics, render, resource_metrics
from orchestrator.kubelet.stats.machine import parse_interfaces, parse_meminfo
from orchestrator.kubelet.stats.summary import plan_summary

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NET_DEV = """Inter-|   Receive                         |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:  100  1  0  0  0  0  0  0   100  1  0  0  0  0  0  0
  eth0: 2000 20  1  2  0  0  0  0  3000 30  3  4  0  0  0  0
"""


def node() -> NodeUsage:
    usage = Usage(NOW, 10.0, 250_000_000, 5_000_000_000, 4096, 8192, 2048, 7, 1)
    container = ContainerUsage("c", NOW, usage, id="abc", image="web:1", processes=2, logs=DiskUsage(10, 1))
    pod = PodUsage("default", "web", "u1", NOW, (container,), usage, interfaces=parse_interfaces(NET_DEV))
    return NodeUsage("node-1", NOW, total([usage], at=NOW), (pod,), 2, 1 << 30, 1 << 29)


def test_interfaces_leave_out_the_loopback() -> None:
    (eth0,) = parse_interfaces(NET_DEV)
    assert (eth0.name, eth0.rx_bytes, eth0.rx_errors, eth0.tx_bytes, eth0.tx_dropped) == ("eth0", 2000, 1, 3000, 4)


def test_meminfo_is_in_bytes() -> None:
    assert parse_meminfo("MemTotal:  2 kB\nHugePages_Total:   3\n") == {"MemTotal": 2048, "HugePages_Total": 3}


def test_summary() -> None:
    summary = plan_summary(node())
    (pod,) = summary["pods"]
    assert summary["node"]["cpu"]["usageNanoCores"] == 250_000_000
    assert summary["node"]["memory"]["availableBytes"] == 1 << 29
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert pod["containers"][0]["memory"]["workingSetBytes"] == 4096
    assert pod["network"]["interfaces"] == [
        {"name": "eth0", "rxBytes": 2000, "rxErrors": 1, "txBytes": 3000, "txErrors": 3}
    ]
    assert pod["process_stats"] == {"process_count": 2}
    assert pod["ephemeral-storage"]["usedBytes"] == 10


def test_pressures_are_told_where_the_kernel_knows_them() -> None:
    waiting = Pressure(some=Stall(3_000_000, 1.5, 0.5, 0.1), full=Stall(1_000_000))
    pressures = Pressures(cpu=waiting, memory=Pressure(), io=waiting)
    (pod,) = node().pods
    (container,) = pod.containers
    container = replace(container, usage=replace(container.usage, pressures=pressures, swap_bytes=5))
    usage = replace(node(), pods=(replace(pod, containers=(container,)),))
    shown = plan_summary(usage)["pods"][0]["containers"][0]
    assert shown["cpu"]["psi"] == {
        "full": {"total": 1_000_000, "avg10": 0.0, "avg60": 0.0, "avg300": 0.0},
        "some": {"total": 3_000_000, "avg10": 1.5, "avg60": 0.5, "avg300": 0.1},
    }
    assert shown["memory"]["psi"]["some"]["total"] == 0
    assert shown["io"]["psi"]["full"]["total"] == 1_000_000
    assert shown["swap"]["swapUsageBytes"] == 5
    text = render(cadvisor_metrics(usage)).decode()
    labels = '{container="c",id="/abc",image="web:1",name="abc",namespace="default",pod="web"}'
    assert f"container_pressure_cpu_waiting_seconds_total{labels} 3.0" in text
    assert f"container_pressure_io_stalled_seconds_total{labels} 1.0" in text
    assert "container_pressure" not in render(cadvisor_metrics(node())).decode()
    assert "io" not in plan_summary(node())["node"]


def test_volumes_of_claims_are_told_apart_from_what_pods_have_for_themselves() -> None:
    disk = DiskUsage(60, 6, available_bytes=40, capacity_bytes=100, inodes=10, inodes_free=4)
    (own,) = node().pods
    pods = (
        replace(own, claims=(ClaimUsage("data", "data-0", disk),)),
        replace(own, claims=(ClaimUsage("d", "data-0", disk),)),
    )
    usage = replace(node(), pods=pods)
    pod = plan_summary(usage)["pods"][0]
    (volume,) = pod["volume"]
    assert volume["name"] == "data"
    assert volume["pvcRef"] == {"name": "data-0", "namespace": "default"}
    assert (volume["usedBytes"], volume["capacityBytes"], volume["inodesFree"]) == (60, 100, 4)
    assert pod["ephemeral-storage"]["usedBytes"] == 10
    lines = render(kubelet_metrics(usage, desired_pods=1, version="v1")).decode().splitlines()
    samples = [line for line in lines if line.startswith("kubelet_volume_stats_")]
    assert 'kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="data-0"} 60.0' in samples
    assert 'kubelet_volume_stats_inodes_free{namespace="default",persistentvolumeclaim="data-0"} 4.0' in samples
    assert len(samples) == 6


def test_summary_of_cpu_and_memory_alone() -> None:
    (pod,) = plan_summary(node(), only_cpu_and_memory=True)["pods"]
    assert set(pod) == {"podRef", "startTime", "containers", "cpu", "memory"}
    assert set(pod["containers"][0]) == {"name", "startTime", "cpu", "memory"}


def test_resource_metrics_say_when_they_were_measured() -> None:
    text = render(resource_metrics(node()), at_seconds=NOW.timestamp()).decode()
    milliseconds = int(NOW.timestamp() * 1000)
    labels = 'container="c",namespace="default",pod="web"'
    assert f"container_cpu_usage_seconds_total{{{labels}}} 5.0 {milliseconds}\n" in text
    assert "# TYPE container_cpu_usage_seconds_total counter\n" in text
    assert f'pod_memory_working_set_bytes{{namespace="default",pod="web"}} 4096.0 {milliseconds}\n' in text
    assert f"node_memory_working_set_bytes 4096.0 {milliseconds}\n" in text


def test_cadvisor_metrics_have_images_ids_and_traffic() -> None:
    text = render(cadvisor_metrics(node())).decode()
    assert 'container_cpu_usage_seconds_total{container="c",cpu="total",id="/abc",image="web:1",name="abc"' in text
    assert 'interface="eth0",name="",namespace="default",pod="web"} 3000.0' in text
    assert "machine_memory_bytes 1.073741824e+09" in text


def test_the_kubelet_counts_its_pods() -> None:
    text = render(kubelet_metrics(replace(node(), pods=()), desired_pods=3, version="v1")).decode()
    assert "kubelet_running_pods 0.0" in text
    assert 'kubelet_desired_pods{static=""} 3.0' in text
    assert 'kubelet_node_name{node="node-1"} 1.0' in text
