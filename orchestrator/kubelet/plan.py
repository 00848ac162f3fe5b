"""What to do for one pod: a pure comparison of the Pod with what the runtime holds.

Owns the order of things (sandbox, init containers and sidecars, app containers), restart rules, when a crash
back-off holds a container back, and pruning of dead containers. Never talks to a runtime, an API or a clock. Mirrors
`computePodActions` of kuberuntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard

from msgspec import Struct, field

from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.labels import HASH_LABEL
from orchestrator.kubelet.ghosts import is_ghost
from orchestrator.kubelet.holds import CRASH_BACKOFF_MAX_SECONDS, Backoff, Hold, Waiting, backoff_until, format_seconds
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
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.resources.resize import actual_resources, bounded, inherited_limits, needs_restart
from orchestrator.kubelet.restart_all import plan_round
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod
from orchestrator.kubelet.runtime_pods import current_sandbox, newest_containers


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


_FINE = ProbeVerdict()


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
            self.kill.append(Kill(running, verdict.must_die, verdict.grace_seconds))
            return False
        return True


def _is_running(container: Container | None) -> TypeGuard[Container]:
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
        wake_at=planner.wake_at,
        remove_containers=_prunable(runtime_pod),
        remove_sandboxes=_old_sandboxes(runtime_pod),
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
        if kind is ContainerKind.EPHEMERAL or not _is_running(running) or running.id in dying:
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
