"""Short ways to write nodes and pods in tests, and a clock that tests move."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.framework import Cycle, NoListers
from orchestrator.scheduler.pod_info import PodInfo

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def make_node(
    name: str = "n",
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    unschedulable: bool = False,
    images: dict[str, int] | None = None,
    **resources: str,
) -> Object:
    spec: Object = {}
    if taints:
        spec["taints"] = taints
    if unschedulable:
        spec["unschedulable"] = True
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods, **resources}
    status: Object = {"allocatable": allocatable, "capacity": allocatable}
    if images:
        status["images"] = [{"names": [image], "sizeBytes": size} for image, size in images.items()]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {HOST: name, **(labels or {})}},
        "spec": spec,
        "status": status,
    }


def make_pod(
    name: str = "p",
    *,
    cpu: str = "",
    memory: str = "",
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    node: str = "",
    priority: int = 0,
    ports: list[dict[str, Any]] | None = None,
    image: str = "app:1",
    uid: str = "",
    status: Object | None = None,
    **spec: Any,
) -> Object:
    requests = {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}
    container: Object = {"name": "c", "image": image, "resources": {"requests": requests} if requests else {}}
    if ports:
        container["ports"] = ports
    full: Object = {"containers": [container], "priority": priority, **spec}
    if node:
        full["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{namespace}-{name}",
            "labels": labels or {},
        },
        "spec": full,
        "status": {"phase": "Pending", **(status or {})},
    }


def make_cache(nodes: list[Object], pods: list[Object] | None = None) -> Cache:
    cache = Cache()
    for node in nodes:
        cache.set_node(node)
    for pod in pods or ():
        cache.set_pod(PodInfo(pod))
    return cache


def make_cycle(pod: Object, cache: Cache) -> Cycle:
    return Cycle(PodInfo(pod), cache, NoListers())


class FakeClock:
    """Time that only tests move."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._number = 0
        self._timers: list[tuple[float, int, _Timer]] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        self._number += 1
        heapq.heappush(self._timers, (self._now + seconds, self._number, timer))
        return timer

    @property
    def armed(self) -> int:
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()
        self._now = end


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None
