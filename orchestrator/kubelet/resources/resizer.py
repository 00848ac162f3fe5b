"""Sets the resources that a running pod was allocated: its own cgroup and its containers.

What fails is shown in the pod's conditions and tried again. Mirrors kuberuntime's `doPodResizeAction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.kubelet.parts import Cgroups, NodeFacts, SyncResult
from orchestrator.kubelet.pod import find_container, spec_of
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.resources.resize import describe_sizes, inherited_limits
from orchestrator.kubelet.resources.values import pod_cgroup_values, resources_of
from orchestrator.kubelet.runtime import Container, ContainerPhase, ContainerRuntime, RuntimeFailure, RuntimeUnavailable
from orchestrator.kubelet.status.reporter import PodReporter


class PodResizer:
    """Resizes the pods of one node."""

    def __init__(
        self, *, runtime: ContainerRuntime, cgroups: Cgroups | None, reporter: PodReporter, facts: NodeFacts
    ) -> None:
        self._runtime = runtime
        self._cgroups = cgroups
        self._reporter = reporter
        self._facts = facts

    async def prepare(self, record: PodRecord, result: SyncResult) -> None:
        """Before anything is started or resized: a pod must never have less than its containers."""
        if record.allocation is not record.cgroup_allocation:
            record.resize_error = ""
            await self._set_cgroup(record, result, is_done=False)

    async def resize(
        self, record: PodRecord, names: Iterable[str], newest: Mapping[str, Container], result: SyncResult
    ) -> None:
        """Set the resources that were allocated; what fails is shown and tried again."""
        pod = record.view()
        record.resize_error = ""
        used = await self._memory_used(newest)
        for name in names:
            found = find_container(pod, name)
            assert found is not None
            container = newest[name]
            resources = resources_of(pod, found[1], self._facts.memory_bytes)
            if 0 < resources.memory_bytes < used.get(container.id, 0):
                self._failed(
                    record, _below_usage(f'container "{name}"', resources.memory_bytes, used[container.id]), result
                )
                continue
            try:
                await self._runtime.update_container(container.id, resources)
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                self._failed(record, f"failed to resize container {name}: {error}", result)
            else:
                record.applied[container.id] = found[1].get("resources") or {}
                record.inherited[container.id] = inherited_limits(found[1], spec_of(pod).get("resources"))
        if not record.resize_error:
            await self.finish(record, newest, result)

    async def finish(self, record: PodRecord, newest: Mapping[str, Container], result: SyncResult) -> None:
        """Once all containers have what they were allocated, so has their pod, and no more."""
        if record.allocation is record.cgroup_allocation or record.resize_error:
            return
        allocation = record.allocation or {}
        running = [c for c in newest.values() if c.phase is ContainerPhase.RUNNING and c.name in allocation]
        if not all(record.applied.get(c.id, allocation[c.name]) == allocation[c.name] for c in running):
            return
        limit, used = pod_cgroup_values(record.view()).memory_bytes, sum((await self._memory_used(newest)).values())
        if 0 < limit < used:
            self._failed(record, _below_usage("pod", limit, used), result)
            return
        await self._set_cgroup(record, result, is_done=True)

    async def _memory_used(self, newest: Mapping[str, Container]) -> dict[str, int]:
        """What running containers of a pod have of the machine's memory now, by id."""
        ids = {c.id for c in newest.values() if c.phase is ContainerPhase.RUNNING}
        stats = await self._runtime.container_stats()
        return {s.container_id: s.memory_usage_bytes for s in stats if s.container_id in ids}

    async def _set_cgroup(self, record: PodRecord, result: SyncResult, *, is_done: bool) -> None:
        pod, allocation = record.view(), record.allocation
        if self._cgroups is not None:
            try:
                await (self._cgroups.change(pod) if is_done else self._cgroups.loosen(pod))
            except OSError as error:
                self._failed(record, f"failed to resize pod: {error}", result)
                return
        if is_done:
            record.cgroup_allocation = allocation
            self._reporter.event(pod, "Normal", "ResizeCompleted", f"Pod resize completed: {describe_sizes(pod)}")

    def _failed(self, record: PodRecord, why: str, result: SyncResult) -> None:
        record.resize_error = why
        self._reporter.event(record.pod, "Warning", "ResizeError", f"Pod resize error: {why}")
        result.retry = True


def _below_usage(what: str, limit: int, used: int) -> str:
    return f"attempting to set {what} memory limit ({limit}) below current usage ({used})"
