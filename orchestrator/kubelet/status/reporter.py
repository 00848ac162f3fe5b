"""What is seen of a pod and told about it: the runtime's view, termination messages, events, status.

Owns the writes of status. Never starts or stops anything. Mirrors the kubelet's status manager and the status half
of `SyncPod`.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import PODS
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.ghosts import is_ghost, with_ghosts
from orchestrator.kubelet.parts import Devices, NodeFacts, PodFiles, Probes
from orchestrator.kubelet.pod import ContainerKind, all_containers_of, field_path_of, find_container, spec_of
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.resources.resize import POD
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    LogOptions,
    RuntimeFailure,
    RuntimePod,
    Sandbox,
    ShowsContainers,
)
from orchestrator.kubelet.runtime_pods import current_sandbox, newest_containers
from orchestrator.kubelet.status.inputs import StatusInputs
from orchestrator.kubelet.status.plan import plan_status, status_patch

MESSAGE_BYTES_MAX = 4096
POD_MESSAGES_BYTES_MAX = 12 * 1024
"""What the termination messages of a pod may have in all, shared equally by its containers."""
FALLBACK_LINES_MAX = 80
FALLBACK_BYTES_MAX = 2048


class PodReporter:
    """Looks at the pods of one node and reports them."""

    def __init__(
        self,
        *,
        client: Client,
        recorder: EventRecorder,
        clock: Clock,
        runtime: ShowsContainers,
        files: PodFiles | None,
        devices: Devices | None,
        probes: Probes,
        facts: NodeFacts,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._runtime = runtime
        self._files = files
        self._devices = devices
        self._probes = probes
        self._facts = facts

    async def observe(self, record: PodRecord) -> RuntimePod | None:
        """What the runtime has of a pod, with stand-ins for what it lost; addresses and messages are remembered."""
        is_new, record.is_new = record.is_new, False
        found = None if is_new else await self._runtime.get_pod(record.uid)
        observed = with_ghosts(record.view(), found)
        if observed is None:
            return None
        sandbox = current_sandbox(observed)
        if sandbox is not None and sandbox.ips:
            record.ips = sandbox.ips
        if self._files is not None:
            await self._read_messages(record, observed)
        return observed

    def follow_probes(self, record: PodRecord, observed: RuntimePod | None) -> None:
        """A container counts as started and ready only by its probes, from its first moment on."""
        running = {n: c for n, c in newest_containers(observed).items() if c.phase is ContainerPhase.RUNNING}
        self._probes.follow(record.uid, record.pod, running, self.ips_of(record.pod, current_sandbox(observed)))

    def inputs(self, record: PodRecord, **more: Any) -> StatusInputs:
        """What the record says of the pod's status."""
        return StatusInputs(
            termination_messages=record.messages,
            failure=record.failure,
            ips=record.ips,
            applied=record.applied,
            devices=self._devices.statuses(record.pod) if self._devices is not None else {},
            pod_resources=(record.cgroup_allocation or {}).get(POD),
            resize_pending=record.resize_pending,
            resize_error=record.resize_error,
            is_disrupted=record.is_disrupted,
            **more,
        )

    async def _read_messages(self, record: PodRecord, observed: RuntimePod) -> None:
        """What dead containers left as their termination message; each is read once."""
        assert self._files is not None
        count = sum(1 for kind, _ in all_containers_of(record.pod) if kind is not ContainerKind.EPHEMERAL)
        bytes_max = min(MESSAGE_BYTES_MAX, POD_MESSAGES_BYTES_MAX // max(1, count))
        for container in observed.containers:
            if container.phase is not ContainerPhase.EXITED or is_ghost(container):
                continue
            if container.id in record.messages:
                continue
            message = self._files.termination_message(record.uid, container, bytes_max)
            found = find_container(record.pod, container.name)
            policy = found[1].get("terminationMessagePolicy") if found else ""
            if not message and policy == "FallbackToLogsOnError" and container.exit_code != 0:
                message = await self._last_log_lines(container, min(bytes_max, FALLBACK_BYTES_MAX))
            record.messages[container.id] = message

    async def _last_log_lines(self, container: Container, bytes_max: int) -> str:
        collected = b""
        try:
            async for chunk in self._runtime.logs(container.id, LogOptions(tail_lines=FALLBACK_LINES_MAX)):
                collected = (collected + chunk)[-bytes_max:]
        except RuntimeFailure as error:
            return f"Error reading termination message from logs: {error}"
        return collected.decode(errors="replace")

    async def report(self, record: PodRecord, observed: RuntimePod | None, inputs: StatusInputs) -> None:
        """Write the status if it changed."""
        if record.removed or not record.api_uid:
            return
        if self._files is None:
            inputs = replace(inputs, mounts_shown=False) if spec_of(record.pod).get("volumes") is None else inputs
        old = record.known_status
        new = plan_status(record.view(), observed, self._clock.now(), self._facts.identity, inputs, old)
        patch = status_patch(record.api_uid, new, {} if record.unreported else old)
        if patch is None:
            return
        try:
            updated = await self._client.patch(
                PODS,
                name_of(record.pod),
                patch,
                namespace_of(record.pod),
                subresource="status",
                content_type=STRATEGIC_MERGE_PATCH,
            )
        except (errors.NotFound, errors.Conflict):
            return  # the pod is gone or another one has its name: the watch will say so
        record.status = updated.get("status") or {}
        record.unreported = False

    def event(self, pod: Object, type_: str, reason: str, message: str, *, container: str = "") -> None:
        """An event about a pod, or about one of its containers."""
        self._recorder.event(
            pod, type_, reason, message, field_path=field_path_of(pod, container) if container else ""
        )  # fmt: skip

    def ips_of(self, pod: Object, sandbox: Sandbox | None) -> tuple[str, ...]:
        """The addresses of a pod: its node's with hostNetwork."""
        if spec_of(pod).get("hostNetwork"):
            return self._facts.identity.ips
        return sandbox.ips if sandbox is not None else ()
