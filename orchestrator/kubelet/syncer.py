"""Brings the runtime to what a pod asks for: the thin shell around `plan_pod` and `plan_status`.

Owns the calls to the runtime, events and status writes for one pod at a time. Never decides: the
plans do. One call of `sync` is one worker's work; the kubelet makes sure that there is never a second
one for the same pod. Mirrors the kubelet's `SyncPod`, `SyncTerminatingPod` and kuberuntime's `SyncPod`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock, parse_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    RUNTIME_CLASSES,
    SECRETS,
)
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.events import EventRecorder
from orchestrator.component.usage import DiskUsage
from orchestrator.kubelet.accounts import Accounts, read_accounts
from orchestrator.kubelet.claims import ClaimError, bound_volume_of, claim_names_of, plan_bound_volume
from orchestrator.kubelet.container_spec import (
    NO_ACCOUNTS,
    ContainerInputs,
    container_spec,
    needs_accounts,
    sandbox_spec,
)
from orchestrator.kubelet.environment import (
    ConfigurationError,
    EnvironmentSources,
    build_environment,
    references_of,
)
from orchestrator.kubelet.images import credentials_for, hold_after_failed_pull, pull_policy_of
from orchestrator.kubelet.plan import (
    CRASH_BACKOFF_SECONDS,
    Hold,
    Kill,
    PodPlan,
    ProbeVerdict,
    Start,
    Waiting,
    current_sandbox,
    is_ghost,
    newest_containers,
    next_backoff,
    plan_pod,
    plan_termination,
    with_ghosts,
)
from orchestrator.kubelet.pod import (
    ContainerKind,
    all_containers_of,
    describe_pod,
    field_path_of,
    find_container,
    grace_seconds_of,
    spec_of,
)
from orchestrator.kubelet.record import Interrupted, PodRecord
from orchestrator.kubelet.resource_values import resources_of
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerRuntime,
    ContainerSpec,
    ContainerStartError,
    Image,
    ImageNameInvalid,
    ImagePullError,
    LogOptions,
    Mount,
    RuntimeFailure,
    RuntimePod,
    RuntimeUnavailable,
    Sandbox,
)
from orchestrator.kubelet.sources import Notify, Sources, read_all
from orchestrator.kubelet.status import NodeIdentity, StatusInputs, plan_status, status_patch
from orchestrator.logs import get_logger

GRACE_AFTER_PRE_STOP_SECONDS = 2.0
"""What a container gets at least once its preStop hook used up the grace period."""
REMOVED_GRACE_SECONDS = 1.0
PARALLEL_PULLS_MAX = 4
MESSAGE_BYTES_MAX = 4096
POD_MESSAGES_BYTES_MAX = 12 * 1024
"""What the termination messages of a pod may have in all, shared equally by its containers."""
FALLBACK_LINES_MAX = 80
FALLBACK_BYTES_MAX = 2048


class VolumeError(Exception):
    """A volume cannot be set up now; the message names the volume."""

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry
        """Whether trying again may help although nothing that the pod refers to changed."""


class PodFiles(Protocol):
    """The files of a node's pods: volumes, /etc files, termination messages. A hollow node has none."""

    async def set_up(
        self, pod: Object, sources: EnvironmentSources, *, token: Callable[[Object], Awaitable[Object]]
    ) -> float | None:
        """Bring all volumes up to date; seconds until that is needed again (tokens). Raises VolumeError."""
        ...

    async def mounts_of(
        self,
        pod: Object,
        container: Object,
        attempt: int,
        sources: EnvironmentSources,
        environment: Mapping[str, str],
    ) -> list[Mount]:
        """What one container sees; raises ConfigurationError."""
        ...

    async def env_files_of(self, pod: Object, container: Object) -> Mapping[tuple[str, str], str | None]:
        """The texts of the environment files that a container reads; raises ConfigurationError."""
        ...

    def termination_message(self, pod_uid: str, container: Container, bytes_max: int) -> str:
        """What a dead container left in its termination message file."""
        ...

    async def usage(self, pod_uids: Sequence[str]) -> tuple[DiskUsage, Mapping[str, tuple[tuple[str, DiskUsage], ...]]]:
        """The file system of the pods, and what each pod's emptyDirs hold, by volume; slow."""
        ...

    async def tear_down(self, pod_uid: str) -> None:
        """Remove everything of a pod; never follows a link out of its directory."""
        ...


class Cgroups(Protocol):
    """The cgroups of a node's pods, which their containers are below; every method may raise OSError."""

    async def make(self, pod: Object) -> str:
        """Make the cgroup of a pod; returns the parent of its containers as the runtime takes it."""
        ...

    async def loosen(self, pod: Object) -> None:
        """Before a resize of its containers: the looser of what the pod has and will have."""
        ...

    async def change(self, pod: Object) -> None:
        """After a resize: what the pod has now."""
        ...

    async def remove(self, uid: str) -> None:
        """Remove what is left of a pod whose containers have ended."""
        ...

    async def find(self) -> None:
        """Before any pod is started: look what an earlier run left."""
        ...

    async def drop_unknown(self, pods: Iterable[Object]) -> None:
        """These pods are known; what was found of others is removed unless something runs in it."""
        ...


class Hooks(Protocol):
    """Runs lifecycle hooks."""

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...]
    ) -> None:
        """Raises HookFailed (an Exception) with the message of the event."""
        ...


class Probes(Protocol):
    """Runs the probes of the pods of a node."""

    def follow(self, uid: str, pod: Object, running: Mapping[str, Container], ips: tuple[str, ...]) -> None:
        """From now on these containers of the pod run."""
        ...

    def only_readiness(self, uid: str) -> None:
        """Containers of the pod are no longer restarted; readiness is watched to the end."""
        ...

    def verdicts(self, uid: str) -> Mapping[str, ProbeVerdict]: ...

    def forget(self, uid: str) -> None: ...


class HookFailed(Exception):
    """A lifecycle hook failed; the message goes into the event."""


class SyncResult(Struct):
    """What the kubelet does after a sync."""

    again_at: datetime | None = None
    retry: bool = False
    """Try again with back-off."""
    forget: bool = False
    """Nothing is left of the pod."""


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
        hooks: Hooks,
        probes: Probes,
        cgroups: Cgroups | None,
        node_name: str,
        node_ips: tuple[str, ...],
        cluster_domain: str,
        notify: Notify,
        seccomp_root: Path | None = None,
        pulled: Callable[[str, Image], None] | None = None,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._runtime = runtime
        self._sources = sources
        self._files = files
        self._hooks = hooks
        self._probes = probes
        self._cgroups = cgroups
        self._node_name = node_name
        self._cluster_domain = cluster_domain
        self._notify = notify
        self._seccomp_root = seccomp_root
        self._pulled = pulled
        self._pulls = asyncio.Semaphore(PARALLEL_PULLS_MAX)
        self._log = get_logger("kubelet", node=node_name)
        self.identity = NodeIdentity(ips=node_ips)
        self.node_memory_bytes = 0
        self.runtime_handlers: Sequence[str] = ("",)
        self.allocatable: Mapping[str, str] = {}

    # The pod should run.

    async def sync(self, record: PodRecord) -> SyncResult:
        """One pass over a pod that the API knows."""
        if record.torn_down and not record.removed:
            return SyncResult()
        observed = await self._observe(record)
        if record.is_terminating:
            return await self._terminate(record, observed)
        self._forget_applied(record, observed)
        self._check_deadline(record)
        if record.failure is not None or record.is_over:
            return await self._finish(record, observed)

        result = SyncResult()
        steps_max = 10 + 4 * sum(1 for _ in all_containers_of(record.pod))
        for _ in range(steps_max):
            plan = plan_pod(
                record.view(),
                observed,
                self._clock.now(),
                backoffs=record.backoffs,
                holds=record.holds,
                verdicts=self._probes.verdicts(record.uid),
                applied=record.applied,
            )
            if plan.finished:
                return await self._finish(record, observed, finished=True)
            if not plan.has_steps:
                break
            if not await self._apply(record, plan, observed, result):
                observed = await self._observe(record)
                break
            observed = await self._observe(record)
            self._follow_probes(record, observed)
            if record.interrupted:
                raise Interrupted
        else:
            self._log.warning("pod.unsettled", pod=describe_pod(record.pod), steps=steps_max)
            result.retry = True
        await self._settle(record, plan, observed, result)
        return result

    async def _observe(self, record: PodRecord) -> RuntimePod | None:
        observed = with_ghosts(record.view(), await self._runtime.get_pod(record.uid))
        if observed is None:
            return None
        sandbox = current_sandbox(observed)
        if sandbox is not None and sandbox.ips:
            record.ips = sandbox.ips
        if self._files is not None:
            await self._read_messages(record, observed)
        return observed

    def _follow_probes(self, record: PodRecord, observed: RuntimePod | None) -> None:
        """A container counts as started and ready only by its probes, from its first moment on."""
        running = {n: c for n, c in newest_containers(observed).items() if c.phase is ContainerPhase.RUNNING}
        self._probes.follow(record.uid, record.pod, running, self._ips_of(record.pod, current_sandbox(observed)))

    def _forget_applied(self, record: PodRecord, observed: RuntimePod | None) -> None:
        if record.applied:
            present = {container.id for container in observed.containers} if observed is not None else set()
            record.applied = {id_: known for id_, known in record.applied.items() if id_ in present}

    def _inputs(self, record: PodRecord, **more: Any) -> StatusInputs:
        """What the record says of the pod's status."""
        return StatusInputs(
            termination_messages=record.messages,
            failure=record.failure,
            ips=record.ips,
            applied=record.applied,
            resize_pending=record.resize_pending,
            resize_error=record.resize_error,
            is_disrupted=record.is_evicted,
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

    def _check_deadline(self, record: PodRecord) -> None:
        deadline = self._deadline_of(record)
        if deadline is not None and self._clock.now() >= deadline and record.failure is None:
            message = "Pod was active on the node longer than the specified deadline"
            record.failure = ("DeadlineExceeded", message)
            self._event(record.pod, "Normal", "DeadlineExceeded", message)

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
            await self._resize_all(record, plan.resize, newest, result)
        sandbox = current_sandbox(observed)
        running = {n: c for n, c in newest.items() if c.phase is ContainerPhase.RUNNING}
        self._follow_probes(record, observed)
        verdicts = self._probes.verdicts(record.uid)
        await self._report(record, observed, self._inputs(record, waiting=waiting, verdicts=verdicts))
        for container_id in plan.remove_containers:
            await self._runtime.remove_container(container_id)
            record.messages.pop(container_id, None)
        for sandbox_id in plan.remove_sandboxes:
            await self._runtime.remove_sandbox(sandbox_id)
        is_due = record.refresh_at is not None and self._clock.now() >= record.refresh_at
        if self._files is not None and running and (is_due or record.volumes_epoch != record.epoch):
            # What the volumes show has changed (or did while we were away): swap it in under the containers.
            await self._set_up_volumes(record, sandbox, result)
        moments = [m for m in (plan.wake_at, self._deadline_of(record), record.refresh_at) if m is not None]
        if moments:
            result.again_at = min(moments)

    def _tell_waiting(self, pod: Object, name: str, waiting: Waiting) -> None:
        if waiting.reason == "CrashLoopBackOff":
            message = f"Back-off restarting failed container {name} in pod {describe_pod(pod)}"
            self._event(pod, "Warning", "BackOff", message, container=name)
        elif waiting.reason == "ImagePullBackOff":
            found = find_container(pod, name)
            image = found[1].get("image") if found else ""
            self._event(pod, "Normal", "BackOff", f'Back-off pulling image "{image}"', container=name)
            self._event(pod, "Warning", "Failed", "Error: ImagePullBackOff", container=name)

    async def _resize_all(
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
                await self._runtime.update_container(container.id, resources_of(pod, found[1], self.node_memory_bytes))
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                record.resize_error = f"failed to resize container {name}: {error}"
                self._event(pod, "Warning", "ResizeError", f"Pod resize error: {record.resize_error}")
                result.retry = True
            else:
                record.applied[container.id] = found[1].get("resources") or {}
        if not record.resize_error:
            await self._resize_cgroup(record, pod, result, is_done=True)
        if not record.resize_error:
            self._event(pod, "Normal", "ResizeCompleted", f"Pod resize completed: {', '.join(sorted(names))}")

    async def _resize_cgroup(self, record: PodRecord, pod: Object, result: SyncResult, *, is_done: bool) -> None:
        """A pod must never have less than its containers: it grows before them and shrinks after them."""
        if self._cgroups is None:
            return
        try:
            await (self._cgroups.change(pod) if is_done else self._cgroups.loosen(pod))
        except OSError as error:
            record.resize_error = f"failed to resize pod: {error}"
            self._event(pod, "Warning", "ResizeError", f"Pod resize error: {record.resize_error}")
            result.retry = True

    # Steps of a plan.

    async def _apply(self, record: PodRecord, plan: PodPlan, observed: RuntimePod | None, result: SyncResult) -> bool:
        """Carry out the steps; False when one of them has to wait or be tried again."""
        pod = record.pod
        if plan.kill_all and observed is not None:
            if plan.create_sandbox:
                self._event(pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            await self._stop_all(record, observed, grace_seconds_of(pod))
        elif plan.sandbox_changed:
            self._event(pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        if plan.kill:
            await self._gather(self._kill(record, kill) for kill in plan.kill)
        if plan.create_sandbox:
            return await self._create_sandbox(record, plan.sandbox_attempt, result)
        sandbox = current_sandbox(observed)
        for start in plan.start:
            assert sandbox is not None
            if record.interrupted:
                raise Interrupted
            await self._start_container(record, start, sandbox, observed)
        return True

    async def _gather(self, steps: Iterable[Awaitable[None]]) -> None:
        """Run steps side by side; the first failure is raised as itself."""
        waiting = [*steps]
        if len(waiting) == 1:
            await waiting[0]
            return
        try:
            async with asyncio.TaskGroup() as group:
                for number, step in enumerate(waiting):
                    group.create_task(_coroutine(step), name=f"kubelet/{self._node_name}/step/{number}")
        except BaseExceptionGroup as many:
            raise many.exceptions[0] from None

    async def _kill(self, record: PodRecord, kill: Kill) -> None:
        container = kill.container
        grace = grace_seconds_of(record.pod) if kill.grace_seconds is None else kill.grace_seconds
        self._event(record.pod, "Normal", "Killing", kill.message, container=container.name)
        record.killing.add(container.id)
        await self._stop(record, container, self._clock.monotonic() + grace)

    async def _create_sandbox(self, record: PodRecord, attempt: int, result: SyncResult) -> bool:
        pod = record.pod
        if not await self._set_up_volumes(record, None, result):
            return False
        try:
            handler = await self._runtime_handler(pod)
            spec = sandbox_spec(
                pod,
                attempt,
                node_name=self._node_name,
                cluster_domain=self._cluster_domain,
                runtime_handler=handler,
                cgroup_parent=await self._cgroups.make(record.view()) if self._cgroups is not None else "",
            )
            await self._runtime.run_sandbox(spec)
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, ConfigurationError, OSError) as error:
            self._event(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            result.retry = True
            return False
        return True

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
        if handler not in self.runtime_handlers:
            raise ConfigurationError(f'no runtime for "{handler}" is configured')
        return handler

    async def _set_up_volumes(self, record: PodRecord, sandbox: Sandbox | None, result: SyncResult) -> bool:
        """Volumes first: a container never starts without its files."""
        if self._files is None and not has_checked_volumes(record.pod):
            return True
        epoch = record.epoch
        try:
            sources = await self._read_sources(record, sandbox)
            if self._files is not None:
                await self._write_volumes(record, sources, epoch)
            else:
                _check_volumes(record.pod, sources)
                record.volumes_epoch = epoch
        except VolumeError as error:
            self._event(record.pod, "Warning", "FailedMount", str(error))
            if error.retry or epoch != record.epoch:
                result.retry = True
            return False
        return True

    async def _write_volumes(self, record: PodRecord, sources: EnvironmentSources, epoch: int) -> None:
        """All volumes as they should be at this epoch, with a wake-up for what expires (tokens)."""
        assert self._files is not None
        refresh_seconds = await self._files.set_up(record.pod, sources, token=self._token)
        record.volumes_epoch = epoch
        record.refresh_at = None
        if refresh_seconds is not None:
            record.refresh_at = self._clock.now() + timedelta(seconds=refresh_seconds)

    async def _token(self, request: Object) -> Object:
        """A TokenRequest; `request` carries namespace and service account in its metadata."""
        from orchestrator.api.resources import SERVICE_ACCOUNTS

        metadata = request["metadata"]
        body = {key: value for key, value in request.items() if key != "metadata"}
        return await self._client.create(
            SERVICE_ACCOUNTS, body, metadata["namespace"], name=metadata["name"], subresource="token"
        )

    async def _read_sources(self, record: PodRecord, sandbox: Sandbox | None) -> EnvironmentSources:
        """ConfigMaps and Secrets of the pod as they are now, with a subscription to what happens to them later."""
        pod = record.pod
        namespace = namespace_of(pod)
        config_maps, secrets = volume_references(pod, hollow=self._files is None)
        for _, container in all_containers_of(pod):
            more_maps, more_secrets = references_of(container)
            config_maps |= more_maps
            secrets |= more_secrets
        if config_maps or secrets:
            self._sources.refer(
                self._notify,
                record.uid,
                [(CONFIG_MAPS, f"{namespace}/{name}") for name in config_maps]
                + [(SECRETS, f"{namespace}/{name}") for name in secrets],
            )
        return EnvironmentSources(
            config_maps=await read_all(self._client, CONFIG_MAPS, namespace, config_maps) if config_maps else {},
            secrets=await read_all(self._client, SECRETS, namespace, secrets) if secrets else {},
            services=self._sources.services(namespace) if self._files is not None else (),
            pod_ips=self._ips_of(pod, sandbox),
            host_ips=self.identity.ips,
            node_name=self._node_name,
            allocatable=self.allocatable,
            bound=await self._bound_volumes(pod) if self._files is not None else {},
        )

    async def _bound_volumes(self, pod: Object) -> dict[str, Object]:
        """What the claims of a pod stand for, by volume name; VolumeError until all are bound."""
        names = claim_names_of(pod)
        if not names:
            return {}
        claims = await read_all(self._client, PERSISTENT_VOLUME_CLAIMS, namespace_of(pod), names.values())
        bound: dict[str, Object] = {}
        try:
            for volume in spec_of(pod)["volumes"]:
                if volume["name"] not in names:
                    continue
                claim = claims[names[volume["name"]]]
                name = bound_volume_of(pod, volume, claim)
                assert claim is not None
                found = await read_all(self._client, PERSISTENT_VOLUMES, "", [name])
                bound[volume["name"]] = plan_bound_volume(volume, claim, found[name])
        except ClaimError as error:
            raise VolumeError(str(error), retry=True) from error
        return bound

    def _ips_of(self, pod: Object, sandbox: Sandbox | None) -> tuple[str, ...]:
        if spec_of(pod).get("hostNetwork"):
            return self.identity.ips
        return sandbox.ips if sandbox is not None else ()

    async def _start_container(
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
            image = await self._ensure_image(record, container, observed)
            sources = await self._read_sources(record, sandbox)
            sources = replace(sources, images=await self._volume_images(record, container, observed))
            if self._files is not None:
                sources = replace(sources, env_files=await self._files.env_files_of(pod, container))
            environment = build_environment(pod, container, sources)
            mounts: list[Mount] = []
            if self._files is not None:
                if record.volumes_epoch == -1:
                    await self._write_volumes(record, sources, epoch)
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
                    node_memory_bytes=self.node_memory_bytes,
                    seccomp_root=self._seccomp_root,
                    accounts=await _accounts_of(pod, container, image),
                    target=target,
                ),
            )
        except _Held as held:
            record.holds[start.name] = held.hold
            return
        except (ConfigurationError, VolumeError) as error:
            self._event(record.pod, "Warning", "Failed", f"Error: {error}", container=start.name)
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
            self._event(pod, "Warning", "Failed", f"Error: {error}", container=start.name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[start.name] = Hold(Waiting("CreateContainerError", str(error)), until)
            return
        record.applied[container_id] = container.get("resources") or {}
        self._event(pod, "Normal", "Created", "Container created", container=start.name)
        try:
            await self._runtime.start_container(container_id)
        except RuntimeUnavailable:
            raise
        except (ContainerStartError, RuntimeFailure) as error:
            self._event(pod, "Warning", "Failed", f"Error: {error}", container=start.name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            record.holds[start.name] = Hold(Waiting("RunContainerError", str(error)), until)
            return
        self._event(pod, "Normal", "Started", "Container started", container=start.name)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(record, start.name, container, container_id, hook, sandbox)

    async def _post_start(
        self, record: PodRecord, name: str, container: Object, container_id: str, hook: Object, sandbox: Sandbox
    ) -> None:
        try:
            with record.interruptibly():
                await self._hooks.run(record.pod, container, container_id, hook, self._ips_of(record.pod, sandbox))
        except HookFailed as error:
            self._event(record.pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {error}", container=name)
            message = f"Container {name} failed postStart hook"
            self._event(record.pod, "Normal", "Killing", message, container=name)
            # What becomes of the dead container is for the next plan to say.
            await self._runtime.stop_container(container_id, grace_seconds_of(record.pod))

    def _count_crash(self, record: PodRecord, name: str, previous: Container) -> None:
        now = self._clock.now()
        record.backoffs[name] = next_backoff(record.backoffs.get(name), previous.finished_at or now, now)

    async def _ensure_image(self, record: PodRecord, container: Object, observed: RuntimePod | None) -> Image:
        """The image on the node, pulled when its policy says so; raises _Held."""
        pod, name, reference = record.pod, container["name"], container.get("image") or ""
        policy = pull_policy_of(container)
        try:
            present = await self._runtime.image_status(reference)
        except ImageNameInvalid as error:
            message = f'Failed to apply default image tag "{reference}": {error}'
            self._event(pod, "Warning", "InspectFailed", message, container=name)
            self._event(pod, "Warning", "Failed", "Error: InvalidImageName", container=name)
            raise _Held(Hold(Waiting("InvalidImageName", message))) from error
        if policy == "Never" and present is None:
            message = f'Container image "{reference}" is not present with pull policy of Never'
            self._event(pod, "Warning", "ErrImageNeverPull", message, container=name)
            self._event(pod, "Warning", "Failed", "Error: ErrImageNeverPull", container=name)
            until = self._clock.now() + timedelta(seconds=CRASH_BACKOFF_SECONDS)
            raise _Held(Hold(Waiting("ErrImageNeverPull", message), until))
        if present is not None and policy != "Always":
            message = f'Container image "{reference}" already present on machine'
            self._event(pod, "Normal", "Pulled", message, container=name)
            return present
        image = await self._pull(record, name, reference, observed)
        if self._pulled is not None and (present is None or present.id != image.id):
            self._pulled(reference, image)
        return image

    async def _volume_images(
        self, record: PodRecord, container: Object, observed: RuntimePod | None
    ) -> dict[str, Image]:  # fmt: skip
        """The images of the image volumes that a container mounts, by volume name (KEP-4639); raises _Held."""
        volumes = {v["name"]: v["image"] for v in spec_of(record.pod).get("volumes") or () if v.get("image")}
        images: dict[str, Image] = {}
        for mount in container.get("volumeMounts") or ():
            source = volumes.get(mount["name"])
            if source is not None and mount["name"] not in images:
                wanted = {"image": source.get("reference"), "imagePullPolicy": source.get("pullPolicy")}
                images[mount["name"]] = await self._ensure_image(record, {**container, **wanted}, observed)
        return images

    async def _pull(self, record: PodRecord, name: str, reference: str, observed: RuntimePod | None) -> Image:
        pod = record.pod
        if self._files is not None:
            # A pull may take minutes: say ContainerCreating first.
            await self._report(record, observed, self._inputs(record, verdicts=self._probes.verdicts(record.uid)))
        self._event(pod, "Normal", "Pulling", f'Pulling image "{reference}"', container=name)
        asked_at = self._clock.monotonic()
        credentials = await self._credentials(pod, reference)
        try:
            with record.interruptibly():
                async with self._pulls:
                    started_at = self._clock.monotonic()
                    image = await self._runtime.pull_image(reference, credentials)
        except ImageNameInvalid as error:
            raise _Held(Hold(Waiting("InvalidImageName", str(error)))) from error
        except ImagePullError as error:
            self._event(
                pod, "Warning", "Failed", f'Failed to pull image "{reference}": {error}', container=name
            )  # fmt: skip
            self._event(pod, "Warning", "Failed", "Error: ErrImagePull", container=name)
            now = self._clock.now()
            backoff = next_backoff(record.image_backoffs.get(reference), now, now)
            record.image_backoffs[reference] = backoff
            raise _Held(hold_after_failed_pull(reference, str(error), backoff)) from error
        record.image_backoffs.pop(reference, None)
        ended_at = self._clock.monotonic()
        self._event(
            pod,
            "Normal",
            "Pulled",
            f'Successfully pulled image "{reference}" in {_go_duration(ended_at - started_at)} '
            f"({_go_duration(ended_at - asked_at)} including waiting). Image size: {image.size_bytes} bytes.",
            container=name,
        )
        return image

    async def _credentials(self, pod: Object, reference: str) -> Mapping[str, object] | None:
        names = {entry.get("name", "") for entry in spec_of(pod).get("imagePullSecrets") or ()}
        if not names:
            return None
        secrets = await read_all(self._client, SECRETS, namespace_of(pod), names)
        return credentials_for(reference, secrets.values())

    # The pod is over.

    async def _finish(
        self, record: PodRecord, observed: RuntimePod | None, *, finished: bool = False
    ) -> SyncResult:  # fmt: skip
        """Stop what still runs, then report the final phase; dead containers stay for their logs."""
        if observed is not None:
            grace = 0 if record.is_evicted else grace_seconds_of(record.pod)
            await self._stop_all(record, observed, grace)
            observed = await self._observe(record)
        self._probes.forget(record.uid)
        await self._report(record, observed, self._inputs(record, finished=finished))
        self._sources.refer(self._notify, record.uid, ())
        if self._files is not None:
            await self._files.tear_down(record.uid)
            record.volumes_epoch = -1
        if self._cgroups is not None:
            await self._cgroups.remove(record.uid)
        return SyncResult()

    async def _terminate(self, record: PodRecord, observed: RuntimePod | None) -> SyncResult:
        """Graceful deletion: containers, final status, everything we hold, and at last the API object."""
        uid = record.uid
        if observed is not None:
            record.grace_left(self._clock.monotonic())
            self._follow_probes(record, observed)
            self._probes.only_readiness(uid)
            async with self._reporting(record):
                await self._stop_waves(record, observed)
        self._probes.forget(uid)
        if observed is not None:
            await self._stop_sandboxes(observed)
            observed = await self._observe(record)
        if not record.removed:
            await self._report(record, observed, self._inputs(record, finished=True))
        self._sources.refer(self._notify, uid, ())
        await self._remove_everything(observed)
        if self._files is not None:
            await self._files.tear_down(uid)
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
        for wave in plan_termination(None, observed):
            await self._gather(self._runtime.stop_container(container.id, REMOVED_GRACE_SECONDS) for container in wave)
        await self._stop_sandboxes(observed)
        await self._remove_everything(observed)
        if self._files is not None:
            await self._files.tear_down(observed.uid)
        if self._cgroups is not None:
            await self._cgroups.remove(observed.uid)

    @asynccontextmanager
    async def _reporting(self, record: PodRecord) -> AsyncIterator[None]:
        """While inside, the status follows what happens to the containers: some may take long to stop."""
        record.news = asyncio.Event()
        name = f"kubelet/{self._node_name}/stopping/{record.uid}"
        reporter = asyncio.create_task(self._report_news(record, record.news), name=name)
        try:
            yield
        finally:
            record.news = None
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)

    async def _report_news(self, record: PodRecord, news: asyncio.Event) -> None:
        while True:
            await news.wait()
            news.clear()
            try:
                observed = await self._observe(record)
                self._follow_probes(record, observed)
                self._probes.only_readiness(record.uid)
                verdicts = self._probes.verdicts(record.uid)
                await self._report(record, observed, self._inputs(record, verdicts=verdicts))
            except (errors.ApiError, RuntimeFailure) as error:
                # The final status comes from the one who stops the containers.
                self._log.info("pod.news_not_told", pod=describe_pod(record.pod), error=str(error))

    async def _stop_waves(self, record: PodRecord, observed: RuntimePod) -> None:
        now = self._clock.monotonic()
        deadline = now + record.grace_left(now)
        for wave in plan_termination(record.pod, observed):
            with record.interruptibly():
                await self._gather(self._stop(record, container, deadline) for container in wave)

    async def _stop_all(self, record: PodRecord, observed: RuntimePod, grace_seconds: int) -> None:
        deadline = self._clock.monotonic() + grace_seconds
        for wave in plan_termination(record.pod, observed):
            with record.interruptibly():
                await self._gather(self._stop(record, container, deadline) for container in wave)
        await self._stop_sandboxes(observed)

    async def _stop(self, record: PodRecord, container: Container, deadline: float) -> None:
        """preStop hook, stop signal, the rest of the grace period, SIGKILL."""
        if container.phase is not ContainerPhase.RUNNING:
            return
        name = container.name
        found = find_container(record.pod, name)
        definition = found[1] if found else {}
        if container.id not in record.killing:
            record.killing.add(container.id)
            self._event(record.pod, "Normal", "Killing", f"Stopping container {name}", container=name)
        least = 0.0
        hook = (definition.get("lifecycle") or {}).get("preStop")
        marker = f"{container.id}/preStop"
        if hook and marker not in record.killing and deadline > self._clock.monotonic():
            record.killing.add(marker)
            least = GRACE_AFTER_PRE_STOP_SECONDS
            await self._pre_stop(record, container, definition, hook, deadline)
        grace = max(deadline - self._clock.monotonic(), least)
        await self._runtime.stop_container(
            container.id, grace, (definition.get("lifecycle") or {}).get("stopSignal") or ""
        )
        record.killing.discard(container.id)
        record.killing.discard(marker)
        if record.news is not None:
            record.news.set()

    async def _pre_stop(
        self, record: PodRecord, container: Container, definition: Object, hook: Object, deadline: float
    ) -> None:
        from orchestrator.kubelet.deadline import within

        seconds = deadline - self._clock.monotonic()
        ips = tuple(entry["ip"] for entry in record.known_status.get("podIPs") or ())
        try:
            await within(
                self._clock, seconds, self._hooks.run(record.pod, definition, container.id, hook, ips)
            )  # fmt: skip
        except TimeoutError:
            self._log.info("pod.pre_stop_late", pod=describe_pod(record.pod), container=container.name)
        except HookFailed as error:
            self._event(
                record.pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {error}", container=container.name
            )

    async def _stop_sandboxes(self, observed: RuntimePod) -> None:
        for sandbox in observed.sandboxes:
            if sandbox.ready:
                await self._runtime.stop_sandbox(sandbox.id)

    async def _remove_everything(self, observed: RuntimePod | None) -> None:
        if observed is None:
            return
        for container in observed.containers:
            if not is_ghost(container):
                await self._runtime.remove_container(container.id)
        for sandbox in observed.sandboxes:
            await self._runtime.remove_sandbox(sandbox.id)

    # Telling.

    async def refuse(self, record: PodRecord, reason: str, message: str) -> None:
        """The node does not take this pod: it fails without ever having run."""
        record.failure = (reason, message)
        self._event(record.pod, "Warning", reason, message.removeprefix("Pod was rejected: "))
        await self._report(record, None, self._inputs(record, finished=True))

    async def _report(self, record: PodRecord, observed: RuntimePod | None, inputs: StatusInputs) -> None:
        """Write the status if it changed."""
        if record.removed or not record.api_uid:
            return
        if self._files is None:
            inputs = replace(inputs, mounts_shown=False) if spec_of(record.pod).get("volumes") is None else inputs
        old = record.known_status
        new = plan_status(record.view(), observed, self._clock.now(), self.identity, inputs, old)
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

    def _event(self, pod: Object, type_: str, reason: str, message: str, *, container: str = "") -> None:
        self._recorder.event(
            pod, type_, reason, message, field_path=field_path_of(pod, container) if container else ""
        )  # fmt: skip


class _Held(Exception):
    """A container cannot be started now, and why."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(hold.waiting.reason)
        self.hold = hold


async def _coroutine(step: Awaitable[None]) -> None:
    await step


async def _accounts_of(pod: Object, container: Object, image: Image) -> Accounts:
    if not image.layers or not needs_accounts(pod, container, image):
        return NO_ACCOUNTS
    return await asyncio.to_thread(read_accounts, image.layers)


_API_ACCESS = "kube-api-access-"
"""The volume that admission gives to every pod.

Simplified: a hollow node does not wait for its ConfigMap `kube-root-ca.crt`, so that a cluster without
controllers runs hollow pods.
"""


def has_checked_volumes(pod: Object) -> bool:
    """Whether a hollow node has to look at the volumes of a pod."""
    return any(not volume["name"].startswith(_API_ACCESS) for volume in spec_of(pod).get("volumes") or ())


def volume_references(pod: Object, *, hollow: bool = False) -> tuple[set[str], set[str]]:
    """Names of (ConfigMaps, Secrets) that the volumes of a pod show."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for volume in spec_of(pod).get("volumes") or ():
        if hollow and volume["name"].startswith(_API_ACCESS):
            continue
        parts = (volume.get("projected") or {}).get("sources") or [volume]
        for part in parts:
            if part.get("configMap") is not None:
                config_maps.add(part["configMap"].get("name") or "")
            if part.get("secret") is not None:
                secrets.add(part["secret"].get("secretName") or part["secret"].get("name") or "")
    return config_maps, secrets


def _check_volumes(pod: Object, sources: EnvironmentSources) -> None:
    """On a node without files: a missing ConfigMap or Secret holds the pod back all the same."""
    for volume in spec_of(pod).get("volumes") or ():
        if volume["name"].startswith(_API_ACCESS):
            continue
        parts = (volume.get("projected") or {}).get("sources") or [volume]
        for part in parts:
            for field, kind, known in (
                ("configMap", "configmap", sources.config_maps),
                ("secret", "secret", sources.secrets),
            ):
                source = part.get(field)
                if source is None or source.get("optional"):
                    continue
                name = source.get("name") or source.get("secretName") or ""
                if known.get(name) is None:
                    raise VolumeError(
                        f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind} "{name}" not found'
                    )


def _go_duration(seconds: float) -> str:
    """As Go prints it, to the millisecond: `1.234s`, `12ms`."""
    milliseconds = max(1, round(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s"
