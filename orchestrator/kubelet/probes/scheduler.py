"""Startup, liveness and readiness probes of one node: a heap of due times, no task for a waiting probe.

Owns thresholds, periods and results. Never kills and never writes a status: it calls `notify` when a
verdict changes and the next plan reads `verdicts`. Mirrors pkg/kubelet/prober.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.earliest_timer import EarliestTimer
from orchestrator.api.objects import Object
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.parts import Spawn
from orchestrator.kubelet.pod import all_containers_of, field_path_of
from orchestrator.kubelet.probes.actions import Actions, Outcome
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.runtime import Container, RuntimeUnavailable
from orchestrator.logs import get_logger

PARALLEL_MAX = 16
KINDS = ("startup", "readiness", "liveness")
_TITLES = {"startup": "Startup", "readiness": "Readiness", "liveness": "Liveness"}


class ProbeTiming(Struct, frozen=True):
    """The numbers of a probe, with the API's defaults."""

    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_seconds: int | None = None


def timing_of(probe: Object) -> ProbeTiming:
    """Read a probe's numbers."""
    return ProbeTiming(
        initial_delay_seconds=float(probe.get("initialDelaySeconds") or 0),
        period_seconds=float(probe.get("periodSeconds") or 10),
        timeout_seconds=float(probe.get("timeoutSeconds") or 1),
        success_threshold=int(probe.get("successThreshold") or 1),
        failure_threshold=int(probe.get("failureThreshold") or 3),
        grace_seconds=probe.get("terminationGracePeriodSeconds"),
    )


class ProbeState(Struct):
    """Consecutive equal answers of one probe and what they add up to.

    `result`: True succeeded, False failed, None not known yet (readiness counts that as not ready,
    liveness as alive, startup as not started).
    """

    timing: ProbeTiming
    result: bool | None = None
    run_length: int = 0
    last: bool | None = None

    def count(self, succeeded: bool) -> bool:
        """Add one answer; whether `result` changed by it."""
        self.run_length = self.run_length + 1 if succeeded == self.last else 1
        self.last = succeeded
        needed = self.timing.success_threshold if succeeded else self.timing.failure_threshold
        if self.run_length < needed or self.result == succeeded:
            return False
        self.result = succeeded
        return True


class _Probe:
    """One probe of one running container."""

    __slots__ = ("container", "handler", "is_stopped", "kind", "pod", "runtime_container", "state", "target")

    def __init__(
        self, kind: str, pod: Object, container: Object, runtime_container: Container, target: _Target, handler: Object
    ) -> None:
        self.kind = kind
        self.pod = pod
        self.container = container
        self.runtime_container = runtime_container
        self.target = target
        self.handler = handler
        self.state = ProbeState(timing_of(handler))
        self.is_stopped = False


class _Target:
    """The probes of one running container."""

    __slots__ = ("container_id", "ips", "probes", "uid")

    def __init__(self, uid: str, container_id: str, ips: tuple[str, ...]) -> None:
        self.uid = uid
        self.container_id = container_id
        self.ips = ips
        self.probes: dict[str, _Probe] = {}

    def verdict(self, name: str) -> ProbeVerdict:
        startup, liveness, readiness = (self.probes.get(kind) for kind in ("startup", "liveness", "readiness"))
        started = startup is None or startup.state.result is True
        ready = started and (readiness is None or readiness.state.result is True)
        for probe, label in ((startup, "startup"), (liveness, "liveness")):
            if probe is not None and probe.state.result is False:
                message = f"Container {name} failed {label} probe, will be restarted"
                return ProbeVerdict(started, ready, message, probe.state.timing.grace_seconds)
        return ProbeVerdict(started, ready)


class ProbeScheduler:
    """Implements `parts.Probes`. A task exists only while a probe is being made."""

    def __init__(
        self,
        *,
        clock: Clock,
        actions: Actions,
        recorder: EventRecorder,
        notify: Callable[[str], None],
        spawn: Spawn,
        node_name: str,
    ) -> None:
        """`spawn` runs one probe as a task of the kubelet's."""
        self._clock = clock
        self._actions = actions
        self._recorder = recorder
        self._notify = notify
        self._spawn = spawn
        self._pods: dict[str, dict[str, _Target]] = {}
        self._heap: list[tuple[float, int, _Probe]] = []
        self._numbers = itertools.count()
        self._timer = EarliestTimer(clock, self._fire)
        self._slots = asyncio.Semaphore(PARALLEL_MAX)
        self._started_at: datetime = clock.now()
        self._log = get_logger("kubelet/probes", node=node_name)

    # parts.Probes

    def follow(self, uid: str, pod: Object, running: Mapping[str, Container], ips: tuple[str, ...]) -> None:
        """Probe exactly these containers of the pod from now on."""
        targets = self._pods.get(uid)
        for _, container in all_containers_of(pod):
            name = container["name"]
            found = running.get(name)
            known = targets.get(name) if targets else None
            if known is not None and (found is None or found.id != known.container_id):
                assert targets is not None
                self._stop(targets.pop(name))
                known = None
            if found is None:
                continue
            if known is not None:
                known.ips = ips
                for probe in known.probes.values():
                    probe.pod = pod
                continue
            target = self._target(uid, pod, container, found, ips)
            if target is not None:
                if targets is None:
                    targets = self._pods.setdefault(uid, {})
                targets[name] = target
        if targets is not None and not targets:
            self._pods.pop(uid, None)

    def verdicts(self, uid: str) -> Mapping[str, ProbeVerdict]:
        """What the probes of a pod say, for those of its containers that have any."""
        targets = self._pods.get(uid)
        if not targets:
            return {}
        return {name: target.verdict(name) for name, target in targets.items()}

    def only_readiness(self, uid: str) -> None:
        """The pod terminates: nothing may restart its containers now, but whether they serve still counts."""
        for target in self._pods.get(uid, {}).values():
            for kind in ("startup", "liveness"):
                if kind in target.probes:
                    target.probes[kind].is_stopped = True

    def forget(self, uid: str) -> None:
        """The pod is over."""
        for target in self._pods.pop(uid, {}).values():
            self._stop(target)

    # Scheduling.

    def close(self) -> None:
        """No probe is made any more."""
        self._heap.clear()
        self._timer.cancel()

    def _target(
        self, uid: str, pod: Object, container: Object, found: Container, ips: tuple[str, ...]
    ) -> _Target | None:  # fmt: skip
        target: _Target | None = None
        now = self._clock.monotonic()
        age = max(0.0, (self._clock.now() - (found.started_at or found.created_at)).total_seconds())
        adopted = (found.started_at or found.created_at) < self._started_at
        for kind in KINDS:
            handler = container.get(f"{kind}Probe")
            if not handler:
                continue
            if target is None:
                target = _Target(uid, found.id, ips)
            probe = _Probe(kind, pod, container, found, target, handler)
            if adopted:
                probe.state.result = self._adopted_result(pod, container, kind)
            target.probes[kind] = probe
            delay = max(0.0, probe.state.timing.initial_delay_seconds - age)
            if adopted:
                # After a restart of ours many probes would be due at once: spread them over a period.
                spread = zlib.crc32(f"{uid}/{container['name']}/{kind}".encode()) % 1000 / 1000
                delay = max(delay, spread * probe.state.timing.period_seconds)
            self._push(probe, now + delay)
        return target

    def _adopted_result(self, pod: Object, container: Object, kind: str) -> bool | None:
        """A container that ran before this process began keeps what the API says of it, until probed."""
        status = pod.get("status") or {}
        for section in ("containerStatuses", "initContainerStatuses"):
            for entry in status.get(section) or ():
                if entry.get("name") == container["name"]:
                    known = entry.get("ready") if kind == "readiness" else entry.get("started")
                    return True if known and kind != "liveness" else None
        return None

    def _stop(self, target: _Target) -> None:
        for probe in target.probes.values():
            probe.is_stopped = True

    def _push(self, probe: _Probe, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._numbers), probe))
        self._set_timer()

    def _set_timer(self) -> None:
        while self._heap and self._heap[0][2].is_stopped:
            heapq.heappop(self._heap)
        if self._heap:
            self._timer.set(self._heap[0][0])

    def _fire(self) -> None:
        for probe in self._due():
            self._spawn(self._probe_once(probe), f"probe/{probe.kind}/{probe.container['name']}")

    def _due(self) -> list[_Probe]:
        now = self._clock.monotonic()
        due: list[_Probe] = []
        while self._heap and self._heap[0][0] <= now:
            probe = heapq.heappop(self._heap)[2]
            if probe.is_stopped:
                continue
            startup = probe.target.probes.get("startup")
            startup_pending = startup is not None and startup.state.result is not True
            startup_done = probe.kind == "startup" and probe.state.result is True
            if startup_done:
                continue
            if probe.kind != "startup" and startup_pending:
                # Nothing else is probed before startup succeeded; it wakes these then.
                heapq.heappush(self._heap, (now + probe.state.timing.period_seconds, next(self._numbers), probe))
                continue
            due.append(probe)
        self._set_timer()
        return due

    async def _probe_once(self, probe: _Probe) -> None:
        began = self._clock.monotonic()
        try:
            async with self._slots:
                if probe.is_stopped:
                    return  # while it waited for its turn
                outcome, output = await self._actions.run(
                    probe.pod,
                    probe.container,
                    probe.target.container_id,
                    probe.handler,
                    probe.target.ips,
                    probe.state.timing.timeout_seconds,
                )
        except RuntimeUnavailable:
            outcome, output = Outcome.UNKNOWN, ""  # nobody can tell: keep the last result
        except Exception:
            self._log.exception("probe.failed", container=probe.container["name"], kind=probe.kind)
            outcome, output = Outcome.UNKNOWN, ""
        if not probe.is_stopped:
            if outcome is not Outcome.UNKNOWN:
                self._count(probe, outcome, output)
            elif output:
                self._tell(probe, f"{_TITLES[probe.kind]} probe errored and resulted in unknown state: {output}")
            if probe.kind == "readiness" or probe.state.result is not False:
                self._push(probe, began + probe.state.timing.period_seconds)
            # Else its container is killed, and only the next one is probed again.

    def _count(self, probe: _Probe, outcome: Outcome, output: str) -> None:
        succeeded = outcome is not Outcome.FAILURE
        if not succeeded:
            self._tell(probe, f"{_TITLES[probe.kind]} probe failed: {output}")
        elif outcome is Outcome.WARNING:
            self._tell(probe, f"{_TITLES[probe.kind]} probe warning: {output}", reason="ProbeWarning")
        if not probe.state.count(succeeded):
            return
        if probe.kind == "startup" and succeeded:
            for other in probe.target.probes.values():
                if other.kind != "startup":
                    self._push_now(other)
        if probe.kind == "liveness" and succeeded and probe.state.run_length == 1:
            return  # alive is what it was taken for anyway
        self._notify(probe.target.uid)

    def _tell(self, probe: _Probe, message: str, *, reason: str = "Unhealthy") -> None:
        path = field_path_of(probe.pod, probe.container["name"])
        self._recorder.event(probe.pod, "Warning", reason, message, field_path=path)

    def _push_now(self, probe: _Probe) -> None:
        """Move a probe to the front (its older entry in the heap is dropped)."""
        self._heap = [entry for entry in self._heap if entry[2] is not probe]
        heapq.heapify(self._heap)
        self._push(probe, self._clock.monotonic())
