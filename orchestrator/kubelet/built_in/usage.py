"""What the built-in components of a node use: they are one process, and its usage is told once.

Simplified: the process is shown as the usage of `kube-apiserver`; its other components use nothing of their own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.component.usage import ContainerUsage, NodeUsage, PodUsage, Usage, total
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod
from orchestrator.kubelet.stats.cpu import CpuHistory

PROCESS = "kube-apiserver"


class BuiltInUsage:
    """Measures this process for the pods that show its components."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._history = CpuHistory()

    def sample(self) -> None:
        """Remember the CPU time; called about every ten seconds, so that rates have something to compare with."""
        self._history.add(PROCESS, self._clock.monotonic(), time.process_time_ns())

    def add_to(self, node: NodeUsage, pods: Sequence[RuntimePod]) -> NodeUsage:
        """A node's usage with that of these pods."""
        found = [usage for pod in pods if (usage := self._pod(pod)) is not None]
        self.sample()
        at = node.usage.at
        return replace(node, pods=(*node.pods, *found), usage=total([node.usage, *(pod.usage for pod in found)], at=at))

    def _pod(self, pod: RuntimePod) -> PodUsage | None:
        running = [one for one in pod.containers if one.phase is ContainerPhase.RUNNING]
        if not running:
            return None
        containers = tuple(self._container(one) for one in running)
        now = self._clock.now()
        return PodUsage(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            started_at=pod.sandboxes[0].created_at,
            containers=containers,
            usage=total([one.usage for one in containers], at=now),
        )

    def _container(self, container: Container) -> ContainerUsage:
        now, seconds = self._clock.now(), self._clock.monotonic()
        started_at = container.started_at or container.created_at
        age_seconds = max(0.0, (now - started_at).total_seconds())
        if container.name != PROCESS:
            usage = Usage(now, max(age_seconds, 0.001), 0, 0, 0)
            return ContainerUsage(container.name, started_at, usage, id=container.id, image=container.image)
        nanoseconds, memory = time.process_time_ns(), _resident_bytes()
        nanocores, window = self._history.rate(PROCESS, seconds, nanoseconds, age_seconds)
        usage = Usage(
            at=now,
            window_seconds=window,
            cpu_nanocores=nanocores,
            cpu_nanoseconds_total=nanoseconds,
            memory_working_set_bytes=memory,
            memory_usage_bytes=memory,
            memory_rss_bytes=memory,
        )
        return ContainerUsage(
            container.name, started_at, usage, id=container.id, image=container.image, processes=1
        )  # fmt: skip


def _resident_bytes() -> int:
    """What of this process is in memory; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
