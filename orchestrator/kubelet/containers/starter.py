"""Starts one container: image, configuration, create, start, postStart hook.

A failure leaves a hold, or a dead container, for the next plan. Mirrors kuberuntime's `startContainer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.environment import ConfigurationError, build_environment
from orchestrator.kubelet.containers.spec import NO_ACCOUNTS, ContainerInputs, container_spec, needs_accounts
from orchestrator.kubelet.containers.stopper import PodStopper
from orchestrator.kubelet.holds import CRASH_BACKOFF_SECONDS, Hold, Waiting, next_backoff
from orchestrator.kubelet.images.accounts import Accounts, read_accounts
from orchestrator.kubelet.images.puller import Held, ImagePuller, PullNeeded
from orchestrator.kubelet.parts import DeviceFailure, Devices, HookFailed, Hooks, NodeFacts, PodFiles, VolumeError
from orchestrator.kubelet.plan import Start
from orchestrator.kubelet.pod import ContainerKind, describe_pod, find_container, spec_of
from orchestrator.kubelet.record import PodRecord, Prepared
from orchestrator.kubelet.resources.resize import inherited_limits
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerRuntime,
    ContainerStartError,
    Image,
    Mount,
    RuntimeFailure,
    RuntimePod,
    RuntimeUnavailable,
    Sandbox,
    SandboxNotReady,
)
from orchestrator.kubelet.runtime_pods import newest_containers
from orchestrator.kubelet.status.reporter import PodReporter
from orchestrator.kubelet.volumes.volume_sync import VolumeSync
from orchestrator.logs import get_logger


class ContainerStarter:
    """Starts the containers of one node."""

    def __init__(
        self,
        *,
        clock: Clock,
        runtime: ContainerRuntime,
        files: PodFiles | None,
        devices: Devices | None,
        hooks: Hooks,
        reporter: PodReporter,
        images: ImagePuller,
        stopper: PodStopper,
        volumes: VolumeSync,
        facts: NodeFacts,
        node_name: str,
        seccomp_root: Path | None = None,
    ) -> None:
        self._clock = clock
        self._runtime = runtime
        self._files = files
        self._devices = devices
        self._hooks = hooks
        self._reporter = reporter
        self._images = images
        self._stopper = stopper
        self._volumes = volumes
        self._facts = facts
        self._seccomp_root = seccomp_root
        self._log = get_logger("kubelet", node=node_name)

    async def prepare(self, record: PodRecord, starts: Iterable[Start], sandbox: Sandbox) -> None:
        """Create containers of a new pod while its sandbox starts; those that have to wait for it are left out."""
        for start in starts:
            if start.kind is ContainerKind.EPHEMERAL:
                continue  # it may take over another container's namespace
            with suppress(PullNeeded, SandboxNotReady):
                container_id = await self._create(record, start, sandbox, None, may_pull=False)
                if container_id is not None:
                    record.prepared[start.name] = Prepared(container_id, sandbox.id, start.attempt)

    async def start(
        self, record: PodRecord, start: Start, sandbox: Sandbox, observed: RuntimePod | None
    ) -> Container | None:  # fmt: skip
        """Pull, configure, create, start; a failure leaves a hold (or a dead container) for the next plan.

        The result is the container that runs now; None when the runtime has to be looked at to know.
        """
        prepared = record.prepared.pop(start.name, None)
        if prepared is not None and (prepared.sandbox_id, prepared.attempt) == (sandbox.id, start.attempt):
            container_id: str | None = prepared.container_id
        else:
            container_id = await self._create(record, start, sandbox, observed)
        return await self._start(record, start.name, container_id, sandbox) if container_id is not None else None

    async def _create(
        self, record: PodRecord, start: Start, sandbox: Sandbox, observed: RuntimePod | None, *, may_pull: bool = True
    ) -> str | None:
        """The id of the container; None when it is held back. PullNeeded, SandboxNotReady: as those say."""
        pod = record.view()
        container = _definition(pod, start.name)
        epoch = record.epoch
        record.holds.pop(start.name, None)
        try:
            image = await self._images.ensure(record, container, observed, may_pull=may_pull)
            sources = await self._volumes.read_sources(record, sandbox)
            images = await self._images.of_volumes(record, container, observed, may_pull=may_pull)
            sources = replace(sources, images=images)
            if self._files is not None:
                sources = replace(sources, env_files=await self._files.env_files_of(pod, container))
            environment = build_environment(pod, container, sources)
            mounts: list[Mount] = []
            if self._files is not None:
                if record.volumes_epoch == -1:
                    await self._volumes.write(record, sources, epoch)
                mounts = await self._files.mounts_of(pod, container, start.attempt, sources, environment)
            target = newest_containers(observed).get(container.get("targetContainerName") or "")
            spec = container_spec(
                pod,
                container,
                start.kind,
                start.attempt,
                ContainerInputs(
                    image=image,
                    environment=environment,
                    mounts=mounts,
                    node_memory_bytes=self._facts.memory_bytes,
                    seccomp_root=self._seccomp_root,
                    accounts=await self._accounts_of(pod, container, image),
                    target=target,
                    round=start.round,
                ),
            )
            if self._devices is not None:
                spec = await self._devices.inject(pod, container, spec)
        except Held as held:
            record.holds[start.name] = held.hold
            return None
        except (ConfigurationError, VolumeError) as error:
            self._reporter.event(record.pod, "Warning", "Failed", f"Error: {error}", container=start.name)
            until = self._clock.now() if epoch != record.epoch else None
            if until is None and isinstance(error, VolumeError) and error.retry:
                until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[start.name] = Hold(Waiting("CreateContainerConfigError", str(error)), until)
            return None
        except DeviceFailure as error:
            self._not_created(record, start.name, error)
            return None
        if start.previous is not None:
            self._count_crash(record, start.name, start.previous)
        pod = record.pod
        try:
            container_id = await self._runtime.create_container(sandbox, spec)
        except (RuntimeUnavailable, SandboxNotReady):
            raise
        except RuntimeFailure as error:
            self._not_created(record, start.name, error)
            return None
        record.applied[container_id] = container.get("resources") or {}
        record.inherited[container_id] = inherited_limits(container, spec_of(record.view()).get("resources"))
        self._reporter.event(pod, "Normal", "Created", "Container created", container=start.name)
        return container_id

    def _not_created(self, record: PodRecord, name: str, error: Exception) -> None:
        """It is tried again a little later."""
        self._reporter.event(record.pod, "Warning", "Failed", f"Error: {error}", container=name)
        until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
        record.holds[name] = Hold(Waiting("CreateContainerError", str(error)), until)

    async def _accounts_of(self, pod: Object, container: Object, image: Image) -> Accounts:
        if not needs_accounts(pod, container, image):
            return NO_ACCOUNTS
        layers = await self._images.layers_of(image)
        return await asyncio.to_thread(read_accounts, layers) if layers else NO_ACCOUNTS

    async def _start(self, record: PodRecord, name: str, container_id: str, sandbox: Sandbox) -> Container | None:
        pod = record.pod
        container = _definition(pod, name)
        try:
            started = await self._runtime.start_container(container_id)
        except RuntimeUnavailable:
            raise
        except (ContainerStartError, RuntimeFailure) as error:
            self._reporter.event(pod, "Warning", "Failed", f"Error: {error}", container=name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[name] = Hold(Waiting("RunContainerError", str(error)), until)
            return None
        self._reporter.event(pod, "Normal", "Started", "Container started", container=name)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(record, name, container, container_id, hook, sandbox)
            return None
        return started if started is not None and started.phase is ContainerPhase.RUNNING else None

    async def _post_start(
        self, record: PodRecord, name: str, container: Object, container_id: str, hook: Object, sandbox: Sandbox
    ) -> None:
        try:
            with record.interruptibly():
                await self._hooks.run(
                    record.pod, container, container_id, hook, self._reporter.ips_of(record.pod, sandbox)
                )
        except HookFailed as error:
            # What a hook answers may be a secret: it goes to the log and not into the event.
            self._log.info("pod.post_start_failed", pod=describe_pod(record.pod), container=name, error=str(error))
            self._reporter.event(record.pod, "Warning", "FailedPostStartHook", "PostStartHook failed", container=name)
            await self._stopper.kill_failed(record, container_id, name, "FailedPostStartHook")

    def _count_crash(self, record: PodRecord, name: str, previous: Container) -> None:
        now = self._clock.now()
        record.backoffs[name] = next_backoff(record.backoffs.get(name), previous.finished_at or now, now)


def _definition(pod: Object, name: str) -> Object:
    found = find_container(pod, name)
    assert found is not None
    return found[1]
