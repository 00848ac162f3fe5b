"""The kubelet's `/metrics/resource`, `/metrics/cadvisor` and `/metrics` as Prometheus reads them. Pure.

Names, labels and help texts are those of Kubernetes (docs, "Kubernetes Metrics Reference"; cadvisor's Prometheus
metrics), so that dashboards work unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from orchestrator.component.usage import (
    ContainerUsage,
    DiskUsage,
    InterfaceUsage,
    NodeUsage,
    PodUsage,
    Pressures,
    Stall,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Sequence[str], float]


class Family:
    """One metric with its samples; `name` as it is exposed, a counter's with `_total`."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.kind = kind
        self.name = name
        self.text = text
        self.labels = labels
        self.samples: list[Sample] = []

    def add(self, labels: Sequence[str], value: float) -> None:
        """One more sample; label values in the order of the labels."""
        self.samples.append((labels, value))


def render(families: Iterable[Family], *, at_seconds: float | None = None) -> bytes:
    """The text format; with `at_seconds` every sample says when it was measured."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            for family in families:
                metric: CounterMetricFamily | GaugeMetricFamily
                if family.kind == "counter":
                    metric = CounterMetricFamily(family.name.removesuffix("_total"), family.text, labels=family.labels)
                else:
                    metric = GaugeMetricFamily(family.name, family.text, labels=family.labels)
                for labels, value in family.samples:
                    metric.add_metric(labels, value, timestamp=at_seconds)
                yield metric

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)


_CONTAINER = ("container", "namespace", "pod")
_POD = ("namespace", "pod")


def resource_metrics(usage: NodeUsage) -> list[Family]:
    """`/metrics/resource` (KEP-727)."""
    cpu, memory = "Cumulative cpu time consumed by the {} in core-seconds", "Current working set of the {} in bytes"
    swap = "Current amount of the {} swap usage in bytes. Reported only on non-windows systems"
    stable = "[STABLE] "
    containers_cpu = Family(
        "counter", "container_cpu_usage_seconds_total", stable + cpu.format("container"), _CONTAINER
    )
    containers_memory = Family(
        "gauge", "container_memory_working_set_bytes", stable + memory.format("container"), _CONTAINER
    )
    started = Family(
        "gauge",
        "container_start_time_seconds",
        stable + "Start time of the container since unix epoch in seconds",
        _CONTAINER,
    )
    containers_swap = Family("gauge", "container_swap_usage_bytes", "[ALPHA] " + swap.format("container"), _CONTAINER)
    pods_cpu = Family("counter", "pod_cpu_usage_seconds_total", stable + cpu.format("pod"), _POD)
    pods_memory = Family("gauge", "pod_memory_working_set_bytes", stable + memory.format("pod"), _POD)
    pods_swap = Family("gauge", "pod_swap_usage_bytes", "[ALPHA] " + swap.format("pod"), _POD)
    for pod in usage.pods:
        for one in pod.containers:
            labels = (one.name, pod.namespace, pod.name)
            containers_cpu.add(labels, one.usage.cpu_nanoseconds_total / 1e9)
            containers_memory.add(labels, one.usage.memory_working_set_bytes)
            started.add(labels, one.started_at.timestamp())
            containers_swap.add(labels, one.usage.swap_bytes)
        pods_cpu.add((pod.namespace, pod.name), pod.usage.cpu_nanoseconds_total / 1e9)
        pods_memory.add((pod.namespace, pod.name), pod.usage.memory_working_set_bytes)
        pods_swap.add((pod.namespace, pod.name), pod.usage.swap_bytes)
    node_cpu = Family("counter", "node_cpu_usage_seconds_total", stable + cpu.format("node"))
    node_cpu.add((), usage.usage.cpu_nanoseconds_total / 1e9)
    node_memory = Family("gauge", "node_memory_working_set_bytes", stable + memory.format("node"))
    node_memory.add((), usage.usage.memory_working_set_bytes)
    node_swap = Family("gauge", "node_swap_usage_bytes", "[ALPHA] " + swap.format("node"))
    node_swap.add((), usage.usage.swap_bytes)
    failed = Family(
        "gauge",
        "resource_scrape_error",
        stable + "1 if there was an error while getting container metrics, 0 otherwise",
    )
    failed.add((), 0)
    return [
        containers_cpu, containers_memory, started, containers_swap, node_cpu, node_memory, node_swap,
        pods_cpu, pods_memory, pods_swap, failed,
    ]  # fmt: skip


_CADVISOR = ("container", "id", "image", "name", "namespace", "pod")
_CADVISOR_CPU = ("container", "cpu", "id", "image", "name", "namespace", "pod")
_CADVISOR_NETWORK = ("id", "image", "interface", "name", "namespace", "pod")
_TRAFFIC = (
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", "rx_bytes"),
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", "rx_errors"),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        "rx_dropped",
    ),
    ("container_network_receive_packets_total", "Cumulative count of packets received", "rx_packets"),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", "tx_bytes"),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        "tx_errors",
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        "tx_dropped",
    ),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", "tx_packets"),
)


_STALLS: tuple[tuple[str, str, Callable[[Pressures], Stall]], ...] = (
    (
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        lambda pressures: pressures.cpu.full,
    ),
    (
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        lambda pressures: pressures.cpu.some,
    ),
    (
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        lambda pressures: pressures.memory.full,
    ),
    (
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        lambda pressures: pressures.memory.some,
    ),
    (
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        lambda pressures: pressures.io.full,
    ),
    (
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        lambda pressures: pressures.io.some,
    ),
)
"""Pressure stall information, stable since v1.36 (KEP-4205)."""


def cadvisor_metrics(usage: NodeUsage) -> list[Family]:
    """`/metrics/cadvisor`: containers with their images and ids, traffic of the pods, the machine."""
    cpu = Family(
        "counter", "container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", _CADVISOR_CPU
    )
    gauges = {
        name: Family(kind, name, text, _CADVISOR)
        for kind, name, text in (
            ("gauge", "container_memory_usage_bytes", "Current memory usage in bytes, including all memory."),
            ("gauge", "container_memory_working_set_bytes", "Current working set in bytes."),
            ("gauge", "container_memory_rss", "Size of RSS in bytes."),
            ("gauge", "container_processes", "Number of processes running inside the container."),
            ("gauge", "container_start_time_seconds", "Start time of the container since unix epoch in seconds."),
            ("gauge", "container_last_seen", "Last time a container was seen by the exporter"),
        )
    }
    pressures = [Family("counter", name, text, _CADVISOR) for name, text, _ in _STALLS]
    traffic = [Family("counter", name, f"{text}", _CADVISOR_NETWORK) for name, text, _ in _TRAFFIC]
    for pod in usage.pods:
        for one in pod.containers:
            labels = (one.name, f"/{one.id}", one.image, one.id, pod.namespace, pod.name)
            cpu.add((labels[0], "total", *labels[1:]), one.usage.cpu_nanoseconds_total / 1e9)
            for family, value in zip(gauges.values(), _gauges_of(one), strict=True):
                family.add(labels, value)
            if one.usage.pressures is not None:
                for family, (_, _, stall) in zip(pressures, _STALLS, strict=True):
                    family.add(labels, stall(one.usage.pressures).total_microseconds / 1e6)
        for interface in pod.interfaces:
            _add_traffic(traffic, pod, interface)
    cores = Family("gauge", "machine_cpu_cores", "Number of logical CPU cores.")
    cores.add((), usage.cpu_count)
    memory = Family("gauge", "machine_memory_bytes", "Amount of memory installed on the machine.")
    memory.add((), usage.memory_bytes)
    stalls = [family for family in pressures if family.samples]
    return [cpu, *gauges.values(), *stalls, *traffic, cores, memory]


def _gauges_of(one: ContainerUsage) -> tuple[float, ...]:
    usage = one.usage
    return (
        usage.memory_usage_bytes,
        usage.memory_working_set_bytes,
        usage.memory_rss_bytes,
        one.processes,
        one.started_at.timestamp(),
        usage.at.timestamp(),
    )


def _add_traffic(families: list[Family], pod: PodUsage, interface: InterfaceUsage) -> None:
    labels = (f"/{pod.uid}", "", interface.name, "", pod.namespace, pod.name)
    for family, (_, _, attribute) in zip(families, _TRAFFIC, strict=True):
        family.add(labels, getattr(interface, attribute))


def kubelet_metrics(usage: NodeUsage, *, desired_pods: int, version: str) -> list[Family]:
    """`/metrics`: the kubelet about itself."""
    build = Family(
        "gauge",
        "kubernetes_build_info",
        "[ALPHA] A metric with a constant '1' value labeled by version.",
        ("git_version",),
    )
    build.add((version,), 1)
    name = Family("gauge", "kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", ("node",))
    name.add((usage.name,), 1)
    pods = Family("gauge", "kubelet_running_pods", "[BETA] Number of pods that have a running pod sandbox")
    pods.add((), len(usage.pods))
    containers = Family(
        "gauge", "kubelet_running_containers", "[BETA] Number of containers currently running", ("container_state",)
    )
    containers.add(("running",), sum(len(pod.containers) for pod in usage.pods))
    desired = Family(
        "gauge",
        "kubelet_desired_pods",
        "[ALPHA] The number of pods the kubelet is being instructed to run.",
        ("static",),
    )
    desired.add(("",), desired_pods)
    started = Family("gauge", "process_start_time_seconds", "Start time of the process since unix epoch in seconds.")
    started.add((), usage.started_at.timestamp())
    return [build, name, pods, containers, desired, *_claim_metrics(usage), started]


_CLAIM_STATS: tuple[tuple[str, str, Callable[[DiskUsage], int]], ...] = (
    ("capacity_bytes", "Capacity in bytes of the volume", lambda disk: disk.capacity_bytes),
    ("available_bytes", "Number of available bytes in the volume", lambda disk: disk.available_bytes),
    ("used_bytes", "Number of used bytes in the volume", lambda disk: disk.used_bytes),
    ("inodes", "Maximum number of inodes in the volume", lambda disk: disk.inodes),
    ("inodes_free", "Number of free inodes in the volume", lambda disk: disk.inodes_free),
    ("inodes_used", "Number of used inodes in the volume", lambda disk: disk.inodes_used),
)


def _claim_metrics(usage: NodeUsage) -> Iterator[Family]:
    """One sample for each claim, however many pods have it."""
    claims = {(pod.namespace, one.claim): one.disk for pod in usage.pods for one in pod.claims}
    for name, text, value in _CLAIM_STATS:
        family = Family(
            "gauge", f"kubelet_volume_stats_{name}", f"[ALPHA] {text}", ("namespace", "persistentvolumeclaim")
        )
        for labels, disk in claims.items():
            family.add(labels, value(disk))
        yield family
