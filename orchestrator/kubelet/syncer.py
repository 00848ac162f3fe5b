"""Brings the runtime to what a pod asks for: the thin shell around `plan_pod` and `plan_status`.

Owns the order of the work on one pod; each kind of work has a part of its own (`reporter`, `volume_sync`,
`image_puller`, `starter`, `resizer`, `stopper`). Never decides: the plans do. One call of `sync` is one worker's
work; the kubelet makes sure that there is never a second one for the same pod. Mirrors the kubelet's `SyncPod`,
`SyncTerminatingPod` and kuberuntime's `SyncPod`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock, parse_time
from orchestrator.aiokit.together import together
from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import PODS, RUNTIME_CLASSES
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.containers.environment import ConfigurationError
from orchestrator.kubelet.containers.spec import sandbox_spec
from orchestrator.kubelet.containers.starter import ContainerStarter
from orchestrator.kubelet.containers.stopper import PodStopper
from orchestrator.kubelet.csi.volumes import CsiVolumes
from orchestrator.kubelet.holds import Waiting
from orchestrator.kubelet.images.pull_records import PullRecords
from orchestrator.kubelet.images.puller import ImagePuller
from orchestrator.kubelet.parts import Cgroups, DeviceFailure, Devices, Hooks, NodeFacts, PodFiles, Probes, SyncResult
from orchestrator.kubelet.plan import PodPlan, Start, plan_pod
from orchestrator.kubelet.pod import (
    all_containers_of,
    describe_pod,
    grace_seconds_of,
    is_host_network,
    spec_of,
)
from orchestrator.kubelet.record import Interrupted, PodRecord
from orchestrator.kubelet.resources.resizer import PodResizer
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerRuntime,
    Image,
    RuntimeFailure,
    RuntimePod,
    RuntimeUnavailable,
    Sandbox,
)
from orchestrator.kubelet.runtime_pods import current_sandbox, newest_containers, with_new_sandbox, with_started
from orchestrator.kubelet.sources import Notify, Sources
from orchestrator.kubelet.status.reporter import PodReporter
from orchestrator.kubelet.volumes.volume_sync import VolumeSync
from orchestrator.logs import get_logger


class _Applied(Struct, frozen=True):
    """What came of the steps of a plan."""

    is_done: bool
    """False: one of them has to wait or be tried again."""
    seen: RuntimePod | None = None
    """What there is of the pod now; None when the runtime has to be asked."""


class PodSyncer:
    """Syncs the pods of one node."""

    def __init__(
        self,
        *,
        client: Client,
        recorder: EventRecorder,
        clock: Clock,
        runtime: ContainerRuntime,
        sources: Sources,
        files: PodFiles | None,
        devices: Devices | None,
        hooks: Hooks,
        probes: Probes,
        cgroups: Cgroups | None,
        facts: NodeFacts,
        node_name: str,
        known_node: Callable[[], Object | None],
        cluster_domain: str,
        notify: Notify,
        csi: CsiVolumes | None = None,
        seccomp_root: Path | None = None,
        pull_records: PullRecords | None = None,
        pulled: Callable[[str, Image], None] | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._runtime = runtime
        self._files = files
        self._devices = devices
        self._probes = probes
        self._cgroups = cgroups
        self._facts = facts
        self._node_name = node_name
        self._cluster_domain = cluster_domain
        self._log = get_logger("kubelet", node=node_name)
        self._reporter = PodReporter(
            client=client,
            recorder=recorder,
            clock=clock,
            runtime=runtime,
            files=files,
            devices=devices,
            probes=probes,
            facts=facts,
        )
        self._volumes = VolumeSync(
            client=client,
            clock=clock,
            sources=sources,
            files=files,
            reporter=self._reporter,
            notify=notify,
            facts=facts,
            node_name=node_name,
            known_node=known_node,
            csi=csi,
        )
        images = ImagePuller(
            client=client,
            clock=clock,
            runtime=runtime,
            files=files,
            probes=probes,
            reporter=self._reporter,
            records=pull_records,
            pulled=pulled,
        )
        self._stopper = PodStopper(
            clock=clock, runtime=runtime, hooks=hooks, probes=probes, reporter=self._reporter, node_name=node_name
        )
        self._starter = ContainerStarter(
            clock=clock,
            runtime=runtime,
            files=files,
            devices=devices,
            hooks=hooks,
            reporter=self._reporter,
            images=images,
            stopper=self._stopper,
            volumes=self._volumes,
            facts=facts,
            node_name=node_name,
            seccomp_root=seccomp_root,
        )
        self._resizer = PodResizer(runtime=runtime, cgroups=cgroups, reporter=self._reporter, facts=facts)

    # The pod should run.

    async def sync(self, record: PodRecord) -> SyncResult:
        """One pass over a pod that the API knows."""
        if record.torn_down and not record.removed:
            return SyncResult()
        observed = await self._reporter.observe(record)
        if record.is_terminating:
            return await self._terminate(record, observed)
        self._forget_applied(record, observed)
        self._check_deadline(record)
        if record.failure is not None or record.is_over:
            return await self._finish(record, observed)

        result = SyncResult()
        await self._resizer.prepare(record, result)
        steps_max = 10 + 4 * sum(1 for _ in all_containers_of(record.pod))
        for _ in range(steps_max):
            plan = self._plan(record, observed)
            if plan.finished:
                return await self._finish(record, observed, finished=True)
            if not plan.has_steps:
                break
            applied = await self._apply(record, plan, observed, result)
            observed = applied.seen or await self._reporter.observe(record)
            if not applied.is_done:
                break
            self._reporter.follow_probes(record, observed)
            if plan.create_sandbox and not record.prepared:
                await self._report_address(record, observed)
            if record.interrupted:
                raise Interrupted
        else:
            self._log.warning("pod.unsettled", pod=describe_pod(record.pod), steps=steps_max)
            result.retry = True
        await self._settle(record, plan, observed, result)
        return result

    def _plan(self, record: PodRecord, observed: RuntimePod | None) -> PodPlan:
        return plan_pod(
            record.view(),
            observed,
            self._clock.now(),
            backoffs=record.backoffs,
            holds=record.holds,
            verdicts=self._probes.verdicts(record.uid),
            applied=record.applied,
            inherited=record.inherited,
        )

    def _forget_applied(self, record: PodRecord, observed: RuntimePod | None) -> None:
        if record.applied:
            present = {container.id for container in observed.containers} if observed is not None else set()
            record.applied = {id_: known for id_, known in record.applied.items() if id_ in present}
            record.inherited = {id_: known for id_, known in record.inherited.items() if id_ in present}

    def _check_deadline(self, record: PodRecord) -> None:
        deadline = self._deadline_of(record)
        if deadline is not None and self._clock.now() >= deadline and record.failure is None:
            message = "Pod was active on the node longer than the specified deadline"
            record.failure = ("DeadlineExceeded", message)
            self._reporter.event(record.pod, "Normal", "DeadlineExceeded", message)

    def _deadline_of(self, record: PodRecord) -> datetime | None:
        seconds = spec_of(record.pod).get("activeDeadlineSeconds")
        started = record.known_status.get("startTime")
        if seconds is None or not started:
            return None
        return parse_time(started) + timedelta(seconds=int(seconds))

    async def _settle(self, record: PodRecord, plan: PodPlan, observed: RuntimePod | None, result: SyncResult) -> None:
        """After the last step: prune, resize, probes, events of waiting, status, the next wake-up."""
        pod = record.pod
        waiting = {**{n: h.waiting for n, h in record.holds.items() if n and n not in plan.waiting}, **plan.waiting}
        newest = newest_containers(observed)
        for name in list(waiting):
            found = newest.get(name)
            if found is not None and found.phase is ContainerPhase.RUNNING:
                del waiting[name]
        for name, now_waiting in waiting.items():
            before = record.waiting.get(name)
            if before is None or before.reason != now_waiting.reason:
                self._tell_waiting(pod, name, now_waiting)
        record.waiting = waiting
        if plan.resize:
            await self._resizer.resize(record, plan.resize, newest, result)
        else:
            await self._resizer.finish(record, newest, result)
        sandbox = current_sandbox(observed)
        running = {n: c for n, c in newest.items() if c.phase is ContainerPhase.RUNNING}
        self._reporter.follow_probes(record, observed)
        verdicts = self._probes.verdicts(record.uid)
        await self._reporter.report(record, observed, self._reporter.inputs(record, waiting=waiting, verdicts=verdicts))
        for container_id in plan.remove_containers:
            await self._runtime.remove_container(container_id)
            record.messages.pop(container_id, None)
        for sandbox_id in plan.remove_sandboxes:
            await self._runtime.remove_sandbox(sandbox_id)
        is_due = record.refresh_at is not None and self._clock.now() >= record.refresh_at
        if self._files is not None and running and (is_due or record.volumes_epoch != record.epoch):
            # What the volumes show has changed (or did while we were away): swap it in under the containers.
            await self._volumes.set_up(record, sandbox, result)
        moments = [m for m in (plan.wake_at, self._deadline_of(record), record.refresh_at) if m is not None]
        if moments:
            result.again_at = min(moments)

    def _tell_waiting(self, pod: Object, name: str, waiting: Waiting) -> None:
        if waiting.reason == "CrashLoopBackOff":
            message = f"Back-off restarting failed container {name} in pod {describe_pod(pod)}"
            self._reporter.event(pod, "Warning", "BackOff", message, container=name)
        elif waiting.reason == "ImagePullBackOff":
            message = waiting.message.partition(": ErrImagePull: ")[0]
            self._reporter.event(pod, "Normal", "BackOff", message, container=name)
            self._reporter.event(pod, "Warning", "Failed", "Error: ImagePullBackOff", container=name)

    async def _apply(
        self, record: PodRecord, plan: PodPlan, observed: RuntimePod | None, result: SyncResult
    ) -> _Applied:  # fmt: skip
        """Carry out the steps."""
        pod = record.pod
        if plan.kill_all and observed is not None:
            if plan.create_sandbox:
                self._reporter.event(
                    pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
                )
            await self._stopper.stop_all(record, observed, grace_seconds_of(pod))
        elif plan.sandbox_changed:
            self._reporter.event(
                pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
            )
        if plan.restarting:
            inputs = self._reporter.inputs(record, restarting=plan.restarting)
            await self._reporter.report(record, observed, inputs)
        if plan.kill:
            await self._report_generation(record, observed)
            await self._stopper.kill(record, plan.kill)
        if plan.create_sandbox:
            return await self._create_sandbox(record, plan.sandbox_attempt, observed, result)
        if not record.prepared:
            started = await self._start_all(record, plan.start, observed)
        elif all(start.name in record.prepared for start in plan.start):
            # Long before a process of theirs runs, and without making it wait for the disk.
            started = await together(
                self._start_all(record, plan.start, observed), self._report_address(record, observed)
            )
        else:  # there is more to report before all of them start
            await self._report_address(record, observed)
            started = await self._start_all(record, plan.start, observed)
        only_started = not plan.kill and not plan.kill_all and len(started) == len(plan.start)
        seen = with_started(observed, started) if only_started and observed is not None else None
        return _Applied(is_done=True, seen=seen)

    async def _start_all(
        self, record: PodRecord, starts: Iterable[Start], observed: RuntimePod | None
    ) -> list[Container]:  # fmt: skip
        """The containers that run now, as far as that is known."""
        sandbox = current_sandbox(observed)
        running: list[Container] = []
        for start in starts:
            assert sandbox is not None
            if record.interrupted:
                raise Interrupted
            started = await self._starter.start(record, start, sandbox, observed)
            if started is not None:
                running.append(started)
        return running

    async def _create_sandbox(
        self, record: PodRecord, attempt: int, observed: RuntimePod | None, result: SyncResult
    ) -> _Applied:  # fmt: skip
        pod = record.pod
        record.prepared.clear()

        async def create_containers(sandbox: Sandbox) -> None:
            expected = with_new_sandbox(pod, observed, replace(sandbox, ready=True))
            await self._starter.prepare(record, self._plan(record, expected).start, sandbox)

        if not await self._volumes.set_up(record, None, result):
            return _Applied(is_done=False)
        try:
            if self._devices is not None:
                await self._devices.prepare(pod)
        except DeviceFailure as error:
            why = f"Failed to prepare dynamic resources: prepare dynamic resources: {error}"
            self._reporter.event(pod, "Warning", "FailedPrepareDynamicResources", why)
            result.retry = True
            return _Applied(is_done=False)
        try:
            handler = await self._runtime_handler(pod)
            spec = sandbox_spec(
                pod,
                attempt,
                node_name=self._node_name,
                cluster_domain=self._cluster_domain,
                runtime_handler=handler,
                cgroup_parent=await self._make_cgroup(record),
            )
            # What has run before is looked at again first: only the containers of a new pod are known already.
            is_new = observed is None or not observed.containers
            sandbox = await self._runtime.run_sandbox(spec, create_containers if is_new else None)
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, ConfigurationError, OSError) as error:
            self._reporter.event(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            result.retry = True
            return _Applied(is_done=False)
        if not is_new:
            return _Applied(is_done=True)
        record.ips = sandbox.ips
        return _Applied(is_done=True, seen=with_new_sandbox(pod, observed, sandbox))

    async def _report_address(self, record: PodRecord, observed: RuntimePod | None) -> None:
        """Tell the address of a pod before a process of it runs: NetworkPolicies should be about it by then.

        PodReadyToStartContainers tells the same moment (KEP-3085).
        """
        sandbox = current_sandbox(observed)
        if self._files is None or sandbox is None or not sandbox.ips or is_host_network(record.pod):
            return
        verdicts = self._probes.verdicts(record.uid)
        await self._reporter.report(record, observed, self._reporter.inputs(record, verdicts=verdicts))

    async def _report_generation(self, record: PodRecord, observed: RuntimePod | None) -> None:
        """Tell that a change of the pod was seen before what it asks for takes its time (KEP-5067)."""
        if record.known_status.get("observedGeneration") == record.pod["metadata"].get("generation"):
            return
        verdicts = self._probes.verdicts(record.uid)
        inputs = self._reporter.inputs(record, waiting=record.waiting, verdicts=verdicts)
        await self._reporter.report(record, observed, inputs)

    async def _make_cgroup(self, record: PodRecord) -> str:
        """The parent of the pod's containers, as the runtime takes it."""
        allocation = record.allocation
        parent = await self._cgroups.make(record.view()) if self._cgroups is not None else ""
        record.cgroup_allocation = allocation
        return parent

    async def _runtime_handler(self, pod: Object) -> str:
        """The handler of the pod's RuntimeClass; ConfigurationError when there is no such class or handler here."""
        name = spec_of(pod).get("runtimeClassName")
        if not name:
            return ""
        try:
            found = await self._client.get(RUNTIME_CLASSES, name)
        except errors.NotFound:
            raise ConfigurationError(f'RuntimeClass "{name}" not found') from None
        handler = str(found.get("handler") or "")
        if handler not in self._facts.handlers:
            raise ConfigurationError(f'no runtime for "{handler}" is configured')
        return handler

    # The pod is over.

    async def _finish(
        self, record: PodRecord, observed: RuntimePod | None, *, finished: bool = False
    ) -> SyncResult:  # fmt: skip
        """Stop what still runs, then report the final phase; dead containers stay for their logs."""
        if observed is not None:
            own, given = grace_seconds_of(record.pod), record.last_grace_seconds
            grace = own if given is None else given
            await self._stopper.stop_all(record, observed, grace)
            observed = await self._reporter.observe(record)
        if self._devices is not None:
            await self._devices.release(record.uid)
        self._probes.forget(record.uid)
        await self._reporter.report(record, observed, self._reporter.inputs(record, finished=finished, is_over=True))
        self._volumes.forget(record.uid)
        if self._files is not None:
            await self._volumes.tear_down(record.uid)
            record.volumes_epoch = -1
        if self._cgroups is not None:
            await self._cgroups.remove(record.uid)
        return SyncResult()

    async def _terminate(self, record: PodRecord, observed: RuntimePod | None) -> SyncResult:
        """Graceful deletion: containers, final status, everything we hold, and at last the API object."""
        uid = record.uid
        if observed is not None:
            record.grace_left(self._clock.monotonic())
            self._reporter.follow_probes(record, observed)
            self._probes.only_readiness(uid)
            async with self._stopper.reporting(record):
                await self._stopper.stop_in_waves(record, observed)
        self._probes.forget(uid)
        if observed is not None:
            await self._stopper.stop_sandboxes(observed)
            observed = await self._reporter.observe(record)
        if self._devices is not None:
            await self._devices.release(uid)
        if not record.removed:
            await self._reporter.report(record, observed, self._reporter.inputs(record, finished=True, is_over=True))
        self._volumes.forget(uid)
        await self._stopper.remove_everything(observed)
        await self._volumes.tear_down(uid)
        if self._cgroups is not None:
            await self._cgroups.remove(uid)
        record.torn_down = True
        if record.removed:
            return SyncResult(forget=True)
        if grace_seconds_of(record.pod) > 0 or not record.pod["metadata"].get("finalizers"):
            try:
                await self._client.delete(
                    PODS, name_of(record.pod), namespace_of(record.pod), uid=uid, grace_period_seconds=0
                )
            except (errors.NotFound, errors.Conflict):
                pass  # gone already, or a new pod has its name
            except errors.ApiError:
                record.torn_down = False  # everything above is done again, and finds nothing to do
                raise
        return SyncResult()

    async def remove_orphan(self, observed: RuntimePod) -> None:
        """Stop and remove a pod that the API does not know."""
        self._log.info("pod.orphan", pod=f"{observed.namespace}/{observed.name}", uid=observed.uid)
        await self._stopper.stop_orphan(observed)
        await self._stopper.remove_everything(observed)
        await self._volumes.tear_down(observed.uid)
        if self._cgroups is not None:
            await self._cgroups.remove(observed.uid)
        if self._devices is not None:
            await self._devices.release(observed.uid)

    async def remove_files(self, uid: str) -> None:
        """Remove what is left of a pod of which neither the API nor the runtime knows."""
        await self._volumes.tear_down(uid)

    async def refuse(self, record: PodRecord, reason: str, message: str) -> None:
        """The node does not take this pod: it fails without ever having run."""
        record.failure = (reason, message)
        self._reporter.event(record.pod, "Warning", reason, message.removeprefix("Pod was rejected: "))
        await self._reporter.report(record, None, self._reporter.inputs(record, finished=True))
