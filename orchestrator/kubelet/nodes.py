"""All kubelets of a process: one per node, on shared informers, with one door for the API server.

Owns their tasks and the composition of one node's parts. Never decides anything for a pod. Has no
counterpart in Kubernetes, where each kubelet is a process of its own; kubemark comes closest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from orchestrator.aiokit.clock import Clock
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component.built_in import BuiltIn
from orchestrator.component.events import EventRecorder
from orchestrator.component.supervisor import Supervisor
from orchestrator.kubelet.eviction.evictor import ReadSignals
from orchestrator.kubelet.images.pull_records import PullRecords
from orchestrator.kubelet.kubelet import Kubelet
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.parts import Cgroups, Hooks, PodFiles
from orchestrator.kubelet.probes.actions import Actions
from orchestrator.kubelet.runtime import ContainerRuntime
from orchestrator.kubelet.server.streaming import KubeletServer
from orchestrator.kubelet.sources import Sources

ClientFactory = Callable[[str], Client]
"""The client of a node, by node name: its identity is `system:node:<name>`."""


class Kubelets:
    """Implements `component.kubelet_api.KubeletConnector` for the nodes of this process."""

    def __init__(
        self,
        *,
        client_for: ClientFactory,
        informers: Informers,
        clock: Clock,
        cluster_domain: str = "cluster.local",
        detect_mutations: bool = False,
    ) -> None:
        """`informers` are shared by all nodes (Services, ConfigMaps, Secrets); the caller runs them."""
        self._client_for = client_for
        self._clock = clock
        self._cluster_domain = cluster_domain
        self._detect_mutations = detect_mutations
        self.sources = Sources(informers=informers)
        self._kubelets: dict[str, Kubelet] = {}
        self._supervisor = Supervisor(clock=clock, counted_as="kubelet")

    def __iter__(self) -> Iterator[Kubelet]:
        return iter([*self._kubelets.values()])

    def __len__(self) -> int:
        return len(self._kubelets)

    def __getitem__(self, node_name: str) -> Kubelet:
        return self._kubelets[node_name]

    def add(
        self,
        options: NodeOptions,
        runtime: ContainerRuntime,
        *,
        files: PodFiles | None = None,
        actions: Actions | None = None,
        hooks: Hooks | None = None,
        read_signals: ReadSignals | None = None,
        cgroups: Cgroups | None = None,
        pull_records: PullRecords | None = None,
        built_in: Sequence[BuiltIn] = (),
    ) -> Kubelet:
        """Add a node; it starts at once when `run` is running, else with it."""
        if options.name in self._kubelets:
            raise ValueError(f"node {options.name} exists already")
        client = self._client_for(options.name)
        recorder = EventRecorder(client, component="kubelet", clock=self._clock, host=options.name)
        kubelet = Kubelet(
            client=client,
            sources=self.sources,
            recorder=recorder,
            clock=self._clock,
            runtime=runtime,
            options=options,
            files=files,
            actions=actions,
            hooks=hooks,
            read_signals=read_signals,
            cgroups=cgroups,
            pull_records=pull_records,
            built_in=built_in,
            cluster_domain=self._cluster_domain,
            detect_mutations=self._detect_mutations,
        )
        self._kubelets[options.name] = kubelet
        self._supervisor.add(f"kubelet/{options.name}", partial(_run_with_recorder, kubelet, recorder))
        return kubelet

    async def remove(self, node_name: str) -> None:
        """Stop a kubelet as if its machine were switched off; containers keep running, the Node stays."""
        self._kubelets.pop(node_name, None)
        await self._supervisor.remove(f"kubelet/{node_name}")

    def show_built_in(self, component: str = "") -> None:
        """The components of this process have come up, or the one that is named has changed."""
        for kubelet in self._kubelets.values():
            kubelet.show_built_in(component)

    async def shut_down(self) -> None:
        """End the pods of all nodes as their options say, for a process that is about to stop."""
        await asyncio.gather(*(kubelet.shut_down() for kubelet in self))

    def kubelet(self, node_name: str) -> KubeletServer | None:
        """The streaming side of a node's kubelet (KubeletConnector)."""
        kubelet = self._kubelets.get(node_name)
        if kubelet is None:
            return None
        return KubeletServer(
            runtime=kubelet.runtime,
            built_in=kubelet.built_in,
            pods=kubelet.pods,
            clock=self._clock,
            options=kubelet.options,
            usage=kubelet.usage,
        )

    def failing(self) -> dict[str, str]:
        """Kubelets that are down now, with what took them down."""
        return self._supervisor.failing()

    async def run(self) -> None:
        """Run all kubelets; one that falls over is restarted alone. Ends only by cancellation."""
        await self._supervisor.run()


async def _run_with_recorder(kubelet: Kubelet, recorder: EventRecorder) -> None:
    """One node's kubelet and event recorder: what escapes from one ends both."""
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run(), name=f"kubelet/{kubelet.options.name}/recorder")
        await kubelet.run()
        raise RuntimeError("the kubelet returned, which it must not")
