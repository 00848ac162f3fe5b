"""What to do for one pod: a pure comparison of the Pod with what the runtime holds.

Owns the order of things (sandbox, init containers and sidecars, app containers), restart rules,
crash back-off and pruning of dead containers. Never talks to a runtime, an API or a clock. Mirrors
`computePodActions` of kube-runtime and flowcontrol.Backoff.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.aiokit.clock import parse_time
from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.pod import (
    ContainerKind,
    all_containers_of,
    app_containers_of,
    container_hash,
    describe_pod,
    ephemeral_containers_of,
    init_containers_of,
    is_host_network,
    is_restarted_after,
    is_sidecar,
    restart_policy_of,
    spec_of,
    status_of,
)
from orchestrator.kubelet.resources.resize import actual_resources, bounded, inherited_limits, needs_restart
from orchestrator.kubelet.restart_all import plan_round
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod, Sandbox

CRASH_BACKOFF_SECONDS = 10.0
CRASH_BACKOFF_MAX_SECONDS = 300.0
HASH_LABEL = "io.kubernetes.container.hash"
IMAGE_DIGEST_LABEL = "io.kubernetes.container.imageDigest"
"""The image as a registry knows it; an image that was made on the machine has none."""
GHOST_LABEL = "orchestrator.dev/ghost"
"""Marks a container that only the API remembers: it was removed behind our back."""
GHOST_MESSAGE = "The container could not be located when the pod was terminated"


class Backoff(Struct, frozen=True):
    """How long a container (or an image) waits after its next failure."""

    delay_seconds: float
    updated_at: datetime


def next_backoff(
    entry: Backoff | None,
    event_time: datetime,
    now: datetime,
    *,
    base_seconds: float = CRASH_BACKOFF_SECONDS,
    max_seconds: float = CRASH_BACKOFF_MAX_SECONDS,
) -> Backoff:
    """One failure more: the delay doubles, or starts anew after twice the maximum without a failure."""
    if entry is None or (event_time - entry.updated_at).total_seconds() > 2 * max_seconds:
        return Backoff(base_seconds, now)
    return Backoff(min(entry.delay_seconds * 2, max_seconds), now)


def backoff_until(entry: Backoff | None, event_time: datetime, *, max_seconds: float) -> datetime | None:
    """Until when something that failed at this time has to wait; None when it need not."""
    if entry is None or (event_time - entry.updated_at).total_seconds() > 2 * max_seconds:
        return None
    return event_time + timedelta(seconds=entry.delay_seconds)


class Waiting(Struct, frozen=True):
    """`state.waiting` of a container."""

    reason: str
    message: str = ""


class Hold(Struct, frozen=True):
    """Why a container is not even tried now: it failed before it existed (image, configuration)."""

    waiting: Waiting
    until: datetime | None = None
    """None: until something it depends on changes, which lifts the hold."""
    then: Waiting | None = None
    """What it waits for once `waiting` was reported (ErrImagePull turns into ImagePullBackOff)."""
    turns_at: datetime | None = None


class Start(Struct, frozen=True):
    """Start a container; `attempt` becomes its restart count."""

    name: str
    kind: ContainerKind
    attempt: int
    previous: Container | None = None
    """The dead container that it replaces."""
    round: int = 0
    """How often all containers of the pod were restarted together (`restart_all`)."""


class Kill(Struct, frozen=True):
    """Stop a running container; the next plan decides whether it is started again."""

    container: Container
    message: str
    reason: str = ""
    grace_seconds: int | None = None
    """None: the pod's own grace period."""


class PodPlan(Struct, frozen=True):
    """The steps that bring a pod closer to what it should be; the shell applies them in field order."""

    kill_all: bool = False
    """Stop every container and every sandbox (before a new sandbox, or because the pod is over)."""
    kill: tuple[Kill, ...] = ()
    restarting: str = ""
    """Why all containers are killed, to be started again; they get no grace."""
    create_sandbox: bool = False
    sandbox_attempt: int = 0
    sandbox_changed: bool = False
    start: tuple[Start, ...] = ()
    resize: tuple[str, ...] = ()
    """Names of running containers whose resources changed in place."""
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """Containers that wait, by name."""
    crashed: tuple[str, ...] = ()
    """Those of `waiting` that are in crash back-off."""
    wake_at: datetime | None = None
    """When to plan again although nothing happened."""
    remove_containers: tuple[str, ...] = ()
    remove_sandboxes: tuple[str, ...] = ()
    finished: bool = False
    """All containers ended and none is started again: the phase becomes Succeeded or Failed."""

    @property
    def has_steps(self) -> bool:
        """Whether applying it changes anything that a new plan should see."""
        return bool(self.kill_all or self.kill or self.create_sandbox or self.start)


class ProbeVerdict(Struct, frozen=True):
    """What the probes of a running container say, as far as it has any."""

    started: bool = True
    ready: bool = True
    must_die: str = ""
    """The message of the Killing event, when liveness or startup failed often enough."""
    grace_seconds: int | None = None
    """The failed probe's own `terminationGracePeriodSeconds`."""


_FINE = ProbeVerdict()


def format_seconds(seconds: float) -> str:
    """A duration as Go prints it: `10s`, `1m20s`, `5m0s`."""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def newest_containers(runtime_pod: RuntimePod | None) -> dict[str, Container]:
    """The newest container of each name."""
    newest: dict[str, Container] = {}
    for container in runtime_pod.containers if runtime_pod else ():
        known = newest.get(container.name)
        if known is None or (container.attempt, container.created_at) > (known.attempt, known.created_at):
            newest[container.name] = container
    return newest


def current_sandbox(runtime_pod: RuntimePod | None) -> Sandbox | None:
    """The newest sandbox, ready or not."""
    return runtime_pod.sandboxes[0] if runtime_pod and runtime_pod.sandboxes else None


def with_new_sandbox(pod: Object, runtime_pod: RuntimePod | None, sandbox: Sandbox) -> RuntimePod:
    """What there is of a pod once it has a new sandbox."""
    if runtime_pod is None:
        metadata = pod["metadata"]
        return RuntimePod(metadata.get("namespace", ""), metadata["name"], uid_of(pod), (sandbox,), ())
    return replace(runtime_pod, sandboxes=(sandbox, *runtime_pod.sandboxes))


def with_started(runtime_pod: RuntimePod, started: Iterable[Container]) -> RuntimePod:
    """What there is of a pod once these containers run."""
    containers = {container.id: container for container in (*runtime_pod.containers, *started)}
    return replace(runtime_pod, containers=tuple(sorted(containers.values(), key=lambda c: (c.created_at, c.name))))


def with_ghosts(pod: Object, runtime_pod: RuntimePod | None) -> RuntimePod | None:
    """Add dead stand-ins for containers that the API knows and the runtime has lost.

    Somebody removed them by hand, or the machine lost its state. Without a stand-in a finished
    container of a `restartPolicy: Never` pod would be run a second time.
    """
    status = status_of(pod)
    known = {container.id for container in runtime_pod.containers} if runtime_pod else set()
    sandbox = current_sandbox(runtime_pod)
    ghosts: list[Container] = []
    for section in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(section) or ():
            container_id = (entry.get("containerID") or "").partition("://")[2]
            if not container_id or container_id in known or _has_never_run(entry):
                continue
            attempt = int(entry.get("restartCount") or 0)
            present = runtime_pod.containers if runtime_pod else ()
            newest = max((c.attempt for c in present if c.name == entry["name"]), default=attempt)
            if newest > attempt + 1 or any(c.name == entry["name"] and c.attempt == attempt for c in present):
                continue  # the API is behind: it shows a container that was replaced and pruned
            ghosts.append(_ghost(pod, entry, container_id, attempt, sandbox))
    if not ghosts:
        return runtime_pod
    if runtime_pod is None:
        metadata = pod["metadata"]
        return RuntimePod(metadata.get("namespace", ""), metadata["name"], uid_of(pod), (), tuple(ghosts))
    return replace(runtime_pod, containers=(*runtime_pod.containers, *ghosts))


def _has_never_run(entry: Object) -> bool:
    """Whether a container status is that of a container that was made and not started."""
    return "waiting" in (entry.get("state") or {}) and not (entry.get("lastState") or {}).get("terminated")


def _ghost(pod: Object, entry: Object, container_id: str, attempt: int, sandbox: Sandbox | None) -> Container:
    state = entry.get("state") or {}
    ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
    if state.get("running"):
        ended = {}
    started = ended.get("startedAt") or (state.get("running") or {}).get("startedAt")
    started_at = parse_time(started) if started else None
    finished_at = parse_time(ended["finishedAt"]) if ended.get("finishedAt") else None
    is_current = bool(sandbox and started_at and started_at >= sandbox.created_at.replace(microsecond=0))
    fallback = parse_time(status_of(pod).get("startTime") or pod["metadata"]["creationTimestamp"])
    return Container(
        id=container_id,
        name=entry["name"],
        attempt=attempt,
        pod_uid=uid_of(pod),
        sandbox_id=sandbox.id if sandbox and is_current else "",
        image=entry.get("image") or "",
        image_id=entry.get("imageID") or "",
        phase=ContainerPhase.EXITED,
        created_at=started_at or fallback,
        started_at=started_at,
        finished_at=finished_at,
        exit_code=int(ended.get("exitCode", 137)),
        message=ended.get("message") or ("" if ended else GHOST_MESSAGE),
        labels={GHOST_LABEL: ended.get("reason") or "ContainerStatusUnknown"},
    )


def is_ghost(container: Container) -> bool:
    return GHOST_LABEL in container.labels


class _Planner:
    """The one pass over a pod; collects steps."""

    def __init__(
        self,
        pod: Object,
        runtime_pod: RuntimePod | None,
        now: datetime,
        backoffs: Mapping[str, Backoff],
        holds: Mapping[str, Hold],
        verdicts: Mapping[str, ProbeVerdict],
        applied: Mapping[str, Object],
        inherited: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.pod = pod
        self.now = now
        self.backoffs = backoffs
        self.holds = holds
        self.verdicts = verdicts
        self.applied = applied
        self.inherited = inherited
        self.newest = newest_containers(runtime_pod)
        self.round = plan_round(pod, runtime_pod.containers if runtime_pod else (), self.newest)
        self.sandbox = current_sandbox(runtime_pod)
        self.start: list[Start] = []
        self.kill: list[Kill] = []
        self.waiting: dict[str, Waiting] = {}
        self.crashed: list[str] = []
        self.wake_at: datetime | None = None

    def current(self, name: str) -> Container | None:
        """The newest container of this name, if it belongs to the sandbox in use and to this round of restarts."""
        container = self.newest.get(name)
        if container is None or self.sandbox is None or container.sandbox_id != self.sandbox.id:
            return None
        return None if self.round.is_over_for(container) else container

    def wake(self, moment: datetime | None) -> None:
        if moment is not None and (self.wake_at is None or moment < self.wake_at):
            self.wake_at = moment

    def try_start(self, container: Object, kind: ContainerKind) -> None:
        """Start it unless a hold or the crash back-off says to wait."""
        name = container["name"]
        hold = self.holds.get(name)
        if hold is not None and (hold.until is None or self.now < hold.until):
            turned = hold.then is not None and hold.turns_at is not None and self.now >= hold.turns_at
            self.waiting[name] = hold.then if turned and hold.then else hold.waiting
            self.wake(hold.until)
            if not turned:
                self.wake(hold.turns_at)
            return
        previous = self.newest.get(name)
        if previous is None:
            self.start.append(Start(name, kind, 0, round=self.round.number))
            return
        if previous.phase is ContainerPhase.CREATED:
            # We stopped between create and start; creating again returns the very same container.
            self.start.append(Start(name, kind, previous.attempt, round=self.round.number))
            return
        ended = previous.finished_at
        if ended is not None:
            until = backoff_until(self.backoffs.get(name), ended, max_seconds=CRASH_BACKOFF_MAX_SECONDS)
            if until is not None and self.now < until:
                delay = format_seconds(self.backoffs[name].delay_seconds)
                self.waiting[name] = Waiting(
                    "CrashLoopBackOff",
                    f"back-off {delay} restarting failed container={name} pod={describe_pod(self.pod)}",
                )
                self.crashed.append(name)
                self.wake(until)
                return
        self.start.append(Start(name, kind, previous.attempt + 1, previous, self.round.number))

    def check_running(self, container: Object, running: Container) -> bool:
        """Whether a running container may go on; else it is killed."""
        name = container["name"]
        told = running.labels.get(HASH_LABEL)
        if told and told != container_hash(container):
            self.kill.append(Kill(running, f"Container {name} definition changed, will be restarted"))
            return False
        verdict = self.verdicts.get(name, _FINE)
        if verdict.must_die:
            self.kill.append(Kill(running, verdict.must_die, "Unhealthy", verdict.grace_seconds))
            return False
        return True


def _is_running(container: Container | None) -> bool:
    return container is not None and container.phase is ContainerPhase.RUNNING


def plan_pod(
    pod: Object,
    runtime_pod: RuntimePod | None,
    now: datetime,
    *,
    backoffs: Mapping[str, Backoff] | None = None,
    holds: Mapping[str, Hold] | None = None,
    verdicts: Mapping[str, ProbeVerdict] | None = None,
    applied: Mapping[str, Object] | None = None,
    inherited: Mapping[str, Mapping[str, Any]] | None = None,
) -> PodPlan:
    """The next steps for a pod that should run (not terminating, not in a terminal phase).

    `runtime_pod` includes ghosts (`with_ghosts`). `backoffs`, `holds` and `verdicts` are by container name,
    `applied` (the resources that containers have) and `inherited` (the limits of their pod) by container id.
    Applying the steps and planning again converges to a plan without steps.
    """
    planner = _Planner(
        pod, runtime_pod, now, backoffs or {}, holds or {}, verdicts or {}, applied or {}, inherited or {}
    )
    sandbox = planner.sandbox
    is_new_needed = sandbox is None or not sandbox.ready or (not sandbox.ips and not is_host_network(pod))
    extra_ready = any(other.ready for other in (runtime_pod.sandboxes[1:] if runtime_pod else ()))
    if is_new_needed:
        return _plan_new_sandbox(planner, runtime_pod)
    left_over = (
        [c for c in runtime_pod.containers if _is_running(c) and planner.round.is_over_for(c)] if runtime_pod else []
    )
    if left_over:
        why = planner.round.message or "All containers of the pod are restarted"
        return PodPlan(kill=tuple(Kill(container, why, grace_seconds=0) for container in left_over), restarting=why)

    initialized = any(planner.current(container["name"]) for container in app_containers_of(pod))
    failed_init = False
    if initialized:
        _plan_sidecars(planner)
        init_done = True
    else:
        init_done, failed_init = _plan_init(planner)
    if failed_init:
        return PodPlan(kill_all=_anything_alive(runtime_pod), finished=True)

    finished = False
    if init_done:
        finished = _plan_apps(planner)
        if not finished:
            _plan_ephemeral(planner)
    if finished:
        return PodPlan(kill_all=_anything_alive(runtime_pod), finished=True, remove_containers=_prunable(runtime_pod))
    resize = _plan_resize(planner)
    return PodPlan(
        kill=tuple(planner.kill),
        start=tuple(planner.start),
        resize=resize,
        waiting=planner.waiting,
        crashed=tuple(planner.crashed),
        wake_at=planner.wake_at,
        remove_containers=_prunable(runtime_pod),
        remove_sandboxes=() if extra_ready else _old_sandboxes(runtime_pod),
    )


def _anything_alive(runtime_pod: RuntimePod | None) -> bool:
    if runtime_pod is None:
        return False
    return any(s.ready for s in runtime_pod.sandboxes) or any(
        c.phase is ContainerPhase.RUNNING for c in runtime_pod.containers
    )


def _plan_new_sandbox(planner: _Planner, runtime_pod: RuntimePod | None) -> PodPlan:
    """No usable sandbox: make one, unless the containers that have run already were all."""
    pod, sandbox = planner.pod, planner.sandbox
    attempt = sandbox.attempt + 1 if sandbox is not None else 0
    alive = _anything_alive(runtime_pod)
    apps = app_containers_of(pod)
    has_history = any(c.phase is not ContainerPhase.CREATED for c in (runtime_pod.containers if runtime_pod else ()))
    remaining = []
    for container in apps:
        newest = planner.newest.get(container["name"])
        if (
            newest is None
            or newest.phase is not ContainerPhase.EXITED
            or planner.round.is_over_for(newest)
            or is_restarted_after(pod, container, newest.exit_code)
        ):
            remaining.append(container)
    never_again = (
        has_history and restart_policy_of(pod) == "Never" and sandbox is not None and not planner.round.trigger
    )
    if not remaining or (never_again and all(c.get("restartPolicy") in (None, "Never") for c in apps)):
        return PodPlan(kill_all=alive, finished=True)
    if planner.wake_at is None:
        hold = planner.holds.get("")
        if hold is not None and (hold.until is None or planner.now < hold.until):
            return PodPlan(kill_all=alive, wake_at=hold.until)
    return PodPlan(
        kill_all=alive,
        create_sandbox=True,
        sandbox_attempt=attempt,
        sandbox_changed=sandbox is not None,
    )


def _plan_init(planner: _Planner) -> tuple[bool, bool]:
    """(all init containers done, one failed for good); starts at most the next one."""
    for container in init_containers_of(planner.pod):
        name = container["name"]
        found = planner.current(name)
        if is_sidecar(container):
            if _is_running(found):
                assert found is not None
                if not planner.check_running(container, found) or not planner.verdicts.get(name, _FINE).started:
                    return False, False
                continue
            planner.try_start(container, ContainerKind.SIDECAR)
            return False, False
        if found is None or found.phase is ContainerPhase.CREATED:
            planner.try_start(container, ContainerKind.INIT)
            return False, False
        if found.phase is ContainerPhase.RUNNING:
            planner.check_running(container, found)
            return False, False
        if found.exit_code == 0:
            continue
        if not is_restarted_after(planner.pod, container, found.exit_code, ContainerKind.INIT):
            return False, True
        planner.try_start(container, ContainerKind.INIT)
        return False, False
    return True, False


def _plan_sidecars(planner: _Planner) -> None:
    """After initialization sidecars are kept running, each for itself."""
    for container in init_containers_of(planner.pod):
        if not is_sidecar(container):
            continue
        found = planner.current(container["name"])
        if _is_running(found):
            assert found is not None
            planner.check_running(container, found)
        else:
            planner.try_start(container, ContainerKind.SIDECAR)


def _plan_apps(planner: _Planner) -> bool:
    """Whether every app container ended and none is started again."""
    finished = True
    for container in app_containers_of(planner.pod):
        found = planner.current(container["name"])
        if found is not None and found.phase is ContainerPhase.RUNNING:
            planner.check_running(container, found)
            finished = False
            continue
        newest = planner.newest.get(container["name"])
        if newest is not None and newest.phase is ContainerPhase.EXITED and not planner.round.is_over_for(newest):
            told = newest.labels.get(HASH_LABEL)
            changed = bool(told) and told != container_hash(container)
            if not changed and not is_restarted_after(planner.pod, container, newest.exit_code):
                continue
        finished = False
        planner.try_start(container, ContainerKind.APP)
    return finished


def _plan_ephemeral(planner: _Planner) -> None:
    """Ephemeral containers run once."""
    for container in ephemeral_containers_of(planner.pod):
        newest = planner.newest.get(container["name"])
        if newest is None or newest.phase is ContainerPhase.CREATED:
            planner.try_start(container, ContainerKind.EPHEMERAL)


def _plan_resize(planner: _Planner) -> tuple[str, ...]:
    """Running containers whose resources are no longer those that they have; some have to be restarted for it."""
    names = []
    dying = {kill.container.id for kill in planner.kill}
    for kind, container in all_containers_of(planner.pod):
        running = planner.current(container["name"])
        if kind is ContainerKind.EPHEMERAL or running is None or not _is_running(running) or running.id in dying:
            continue
        actual = actual_resources(planner.pod, running, planner.applied)
        wanted = container.get("resources") or {}
        if actual is None:
            continue
        of_pod = planner.inherited.get(running.id)
        if of_pod is None:
            of_pod = inherited_limits(container, status_of(planner.pod).get("resources"))
        actual = bounded(actual, of_pod)
        wanted = bounded(wanted, inherited_limits(container, spec_of(planner.pod).get("resources")))
        if actual == wanted:
            continue
        if needs_restart(container, actual, wanted):
            planner.kill.append(Kill(running, f"Container {container['name']} resize requires restart"))
        else:
            names.append(container["name"])
    return tuple(names)


def _prunable(runtime_pod: RuntimePod | None) -> tuple[str, ...]:
    """Dead containers that nobody can ask for any more: all but the newest dead one of each name."""
    if runtime_pod is None:
        return ()
    dead: dict[str, list[Container]] = {}
    for container in runtime_pod.containers:
        if container.phase is ContainerPhase.EXITED and not is_ghost(container):
            dead.setdefault(container.name, []).append(container)
    prunable: list[str] = []
    for containers in dead.values():
        containers.sort(key=lambda c: (c.attempt, c.created_at))
        prunable += [container.id for container in containers[:-1]]
    return tuple(prunable)


def _old_sandboxes(runtime_pod: RuntimePod | None) -> tuple[str, ...]:
    return tuple(s.id for s in runtime_pod.sandboxes[1:] if not s.ready) if runtime_pod else ()


def plan_termination(pod: Object | None, runtime_pod: RuntimePod) -> tuple[tuple[Container, ...], ...]:
    """Waves of running containers to stop, one wave after the other.

    App (and init and ephemeral) containers together, then sidecars in reverse order of their start (KEP-753).
    Without a pod object (an orphan) all go together.
    """
    running = [c for c in runtime_pod.containers if c.phase is not ContainerPhase.EXITED and not is_ghost(c)]
    sidecars = [c["name"] for c in init_containers_of(pod) if is_sidecar(c)] if pod is not None else []
    first = tuple(c for c in running if c.name not in sidecars)
    waves = [first] if first else []
    for name in reversed(sidecars):
        wave = tuple(c for c in running if c.name == name)
        if wave:
            waves.append(wave)
    return tuple(waves)
