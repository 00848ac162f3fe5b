"""Sets the resources that a running pod was allocated: its own cgroup and its containers.

What fails is shown in the pod's conditions and tried again. Mirrors kuberuntime's `doPodResizeAction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.api.objects import Object
from orchestrator.kubelet.parts import Cgroups, NodeFacts, SyncResult
from orchestrator.kubelet.pod import find_container
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.reporter import PodReporter
from orchestrator.kubelet.resource_values import resources_of
from orchestrator.kubelet.runtime import Container, ContainerRuntime, RuntimeFailure, RuntimeUnavailable


class PodResizer:
    """Resizes the pods of one node."""

    def __init__(
        self, *, runtime: ContainerRuntime, cgroups: Cgroups | None, reporter: PodReporter, facts: NodeFacts
    ) -> None:
        self._runtime = runtime
        self._cgroups = cgroups
        self._reporter = reporter
        self._facts = facts

    async def resize(
        self, record: PodRecord, names: Iterable[str], newest: Mapping[str, Container], result: SyncResult
    ) -> None:
        """Set the resources that were allocated; what fails is shown and tried again."""
        pod = record.view()
        record.resize_error = ""
        await self._resize_cgroup(record, pod, result, is_done=False)
        for name in names:
            found = find_container(pod, name)
            assert found is not None
            container = newest[name]
            try:
                await self._runtime.update_container(
                    container.id, resources_of(pod, found[1], self._facts.memory_bytes)
                )
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                record.resize_error = f"failed to resize container {name}: {error}"
                self._reporter.event(pod, "Warning", "ResizeError", f"Pod resize error: {record.resize_error}")
                result.retry = True
            else:
                record.applied[container.id] = found[1].get("resources") or {}
        if not record.resize_error:
            await self._resize_cgroup(record, pod, result, is_done=True)
        if not record.resize_error:
            self._reporter.event(pod, "Normal", "ResizeCompleted", f"Pod resize completed: {', '.join(sorted(names))}")

    async def _resize_cgroup(self, record: PodRecord, pod: Object, result: SyncResult, *, is_done: bool) -> None:
        """A pod must never have less than its containers: it grows before them and shrinks after them."""
        if self._cgroups is None:
            return
        try:
            await (self._cgroups.change(pod) if is_done else self._cgroups.loosen(pod))
        except OSError as error:
            record.resize_error = f"failed to resize pod: {error}"
            self._reporter.event(pod, "Warning", "ResizeError", f"Pod resize error: {record.resize_error}")
            result.retry = True
