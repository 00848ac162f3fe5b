"""Starts one container: image, configuration, create, start, postStart hook.

A failure leaves a hold, or a dead container, for the next plan. Mirrors kuberuntime's `startContainer`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.kubelet.accounts import Accounts, read_accounts
from orchestrator.kubelet.container_spec import NO_ACCOUNTS, ContainerInputs, container_spec, needs_accounts
from orchestrator.kubelet.environment import ConfigurationError, build_environment
from orchestrator.kubelet.image_puller import Held, ImagePuller
from orchestrator.kubelet.parts import HookFailed, Hooks, NodeFacts, PodFiles, VolumeError
from orchestrator.kubelet.plan import (
    CRASH_BACKOFF_SECONDS,
    Hold,
    Start,
    Waiting,
    newest_containers,
    next_backoff,
)
from orchestrator.kubelet.pod import describe_pod, find_container, grace_seconds_of, spec_of
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.reporter import PodReporter
from orchestrator.kubelet.resize import inherited_limits
from orchestrator.kubelet.runtime import (
    Container,
    ContainerRuntime,
    ContainerSpec,
    ContainerStartError,
    Image,
    Mount,
    RuntimeFailure,
    RuntimePod,
    RuntimeUnavailable,
    Sandbox,
)
from orchestrator.kubelet.volume_sync import VolumeSync
from orchestrator.logs import get_logger


class ContainerStarter:
    """Starts the containers of one node."""

    def __init__(
        self,
        *,
        clock: Clock,
        runtime: ContainerRuntime,
        files: PodFiles | None,
        hooks: Hooks,
        reporter: PodReporter,
        images: ImagePuller,
        volumes: VolumeSync,
        facts: NodeFacts,
        node_name: str,
        seccomp_root: Path | None = None,
    ) -> None:
        self._clock = clock
        self._runtime = runtime
        self._files = files
        self._hooks = hooks
        self._reporter = reporter
        self._images = images
        self._volumes = volumes
        self._facts = facts
        self._seccomp_root = seccomp_root
        self._log = get_logger("kubelet", node=node_name)

    async def start(
        self, record: PodRecord, start: Start, sandbox: Sandbox, observed: RuntimePod | None
    ) -> None:  # fmt: skip
        """Pull, configure, create, start; a failure leaves a hold (or a dead container) for the next plan."""
        pod = record.view()
        found = find_container(pod, start.name)
        assert found is not None
        container = found[1]
        epoch = record.epoch
        record.holds.pop(start.name, None)
        try:
            image = await self._images.ensure(record, container, observed)
            sources = await self._volumes.read_sources(record, sandbox)
            sources = replace(sources, images=await self._images.of_volumes(record, container, observed))
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
                    accounts=await _accounts_of(pod, container, image),
                    target=target,
                    round=start.round,
                ),
            )
        except Held as held:
            record.holds[start.name] = held.hold
            return
        except (ConfigurationError, VolumeError) as error:
            self._reporter.event(record.pod, "Warning", "Failed", f"Error: {error}", container=start.name)
            until = self._clock.now() if epoch != record.epoch else None
            if until is None and isinstance(error, VolumeError) and error.retry:
                until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[start.name] = Hold(Waiting("CreateContainerConfigError", str(error)), until)
            return
        if start.previous is not None:
            self._count_crash(record, start.name, start.previous)
        await self._create_and_start(record, start, container, spec, sandbox)

    async def _create_and_start(
        self, record: PodRecord, start: Start, container: Object, spec: ContainerSpec, sandbox: Sandbox
    ) -> None:
        pod = record.pod
        try:
            container_id = await self._runtime.create_container(sandbox, spec)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            self._reporter.event(pod, "Warning", "Failed", f"Error: {error}", container=start.name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[start.name] = Hold(Waiting("CreateContainerError", str(error)), until)
            return
        record.applied[container_id] = container.get("resources") or {}
        record.inherited[container_id] = inherited_limits(container, spec_of(record.view()).get("resources"))
        self._reporter.event(pod, "Normal", "Created", "Container created", container=start.name)
        try:
            await self._runtime.start_container(container_id)
        except RuntimeUnavailable:
            raise
        except (ContainerStartError, RuntimeFailure) as error:
            self._reporter.event(pod, "Warning", "Failed", f"Error: {error}", container=start.name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[start.name] = Hold(Waiting("RunContainerError", str(error)), until)
            return
        self._reporter.event(pod, "Normal", "Started", "Container started", container=start.name)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(record, start.name, container, container_id, hook, sandbox)

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
            self._reporter.event(record.pod, "Normal", "Killing", "FailedPostStartHook", container=name)
            # What becomes of the dead container is for the next plan to say.
            await self._runtime.stop_container(container_id, grace_seconds_of(record.pod))

    def _count_crash(self, record: PodRecord, name: str, previous: Container) -> None:
        now = self._clock.now()
        record.backoffs[name] = next_backoff(record.backoffs.get(name), previous.finished_at or now, now)


async def _accounts_of(pod: Object, container: Object, image: Image) -> Accounts:
    if not image.layers or not needs_accounts(pod, container, image):
        return NO_ACCOUNTS
    return await asyncio.to_thread(read_accounts, image.layers)
