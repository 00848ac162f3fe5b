"""The built-in components that one node shows: which there are, their mirrors' statuses, and when they are told.

Owns what a node knows of them. The kubelet has the mirrors made like those of other static pods; nothing here is
planned or started, so there is no sync but that of the status. Mirrors the kubelet's part for a control plane of
static pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api.objects import Object, uid_of
from orchestrator.client.client import Client
from orchestrator.component.built_in import BuiltIn
from orchestrator.component.events import EventRecorder
from orchestrator.component.usage import NodeUsage
from orchestrator.kubelet.built_in.manifests import plan_pod_of
from orchestrator.kubelet.built_in.runtime import NAME, BuiltInRuntime, Shown, observe
from orchestrator.kubelet.built_in.usage import BuiltInUsage
from orchestrator.kubelet.holds import Waiting
from orchestrator.kubelet.parts import NodeFacts, Probes
from orchestrator.kubelet.pod import app_containers_of, describe_pod, status_of
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.runtime import ContainerPhase
from orchestrator.kubelet.static_pods.folder import mark_seen
from orchestrator.kubelet.status.inputs import NodeIdentity
from orchestrator.kubelet.status.reporter import PodReporter


class BuiltInPods:
    """The built-in components of one node."""

    def __init__(
        self,
        components: Sequence[BuiltIn],
        *,
        client: Client,
        recorder: EventRecorder,
        clock: Clock,
        probes: Probes,
        node_name: str,
        node_ip: str,
    ) -> None:
        self._shown: dict[str, Shown] = {}
        now = format_time(clock.now())
        for component in components:
            pod = plan_pod_of(component, node_name)
            mark_seen(pod, now)
            self._shown[uid_of(pod)] = Shown(component, pod)
        self.runtime = BuiltInRuntime(self._shown)
        self.is_open = False
        """Whether the components have come up; nothing is told of them before."""
        self.usage = BuiltInUsage(clock)
        self._reporter = PodReporter(
            client=client,
            recorder=recorder,
            clock=clock,
            runtime=self.runtime,
            files=None,
            devices=None,
            probes=probes,
            facts=NodeFacts(NodeIdentity(ips=(node_ip,), runtime_name=NAME)),
        )

    def __contains__(self, uid: str) -> bool:
        return uid in self._shown

    @property
    def pods(self) -> Mapping[str, Object]:
        """Their static pods, by uid."""
        return {uid: shown.pod for uid, shown in self._shown.items()}

    def uids_of(self, component: str) -> list[str]:
        """The pods that show a component."""
        return [uid for uid, shown in self._shown.items() if shown.component.name == component]

    async def with_usage(self, node: NodeUsage) -> NodeUsage:
        """The usage of a node with that of the components that it shows."""
        return self.usage.add_to(node, await self.runtime.list_pods())

    async def report(self, record: PodRecord, mirror: Object | None) -> None:
        """Bring the status of a mirror up to date; ApiError."""
        shown = self._shown[record.uid]
        if record.status is None and mirror is not None and status_of(mirror).get("containerStatuses"):
            record.status = status_of(mirror)
            if not shown.is_counted:
                counts = [int(one.get("restartCount") or 0) for one in record.status["containerStatuses"]]
                shown.earlier = max(counts) + 1  # this process has started it once more
        shown.is_counted = True
        (container,) = app_containers_of(record.pod)
        name = container["name"]
        last = observe(shown).containers[-1]
        waiting = {}
        if last.phase is ContainerPhase.EXITED:
            message = f"back-off restarting failed container={name} pod={describe_pod(record.pod)}"
            waiting[name] = Waiting("CrashLoopBackOff", message)
            if name not in record.waiting:
                told = f"Back-off restarting failed container {name} in pod {describe_pod(record.pod)}"
                self._reporter.event(record.pod, "Warning", "BackOff", told, container=name)
        record.waiting = waiting
        observed = await self._reporter.observe(record)
        await self._reporter.report(record, observed, self._reporter.inputs(record, waiting=waiting))
