"""All kubelets of a process: one per node, on shared informers, with one door for the API server.

Owns their tasks and the composition of one node's parts. Never decides anything for a pod. Has no
counterpart in Kubernetes, where each kubelet is a process of its own; kubemark comes closest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.actions import Actions
from orchestrator.kubelet.evictor import ReadSignals
from orchestrator.kubelet.kubelet import Kubelet
from orchestrator.kubelet.node import NodeOptions
from orchestrator.kubelet.parts import Cgroups, Hooks, PodFiles
from orchestrator.kubelet.runtime import ContainerRuntime
from orchestrator.kubelet.server import KubeletServer
from orchestrator.kubelet.sources import Sources
from orchestrator.logs import get_logger

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
        self._recorders: dict[str, EventRecorder] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, str] = {}
        self._backoff = ItemBackoff(base_seconds=0.1, max_seconds=30.0)
        self._group: asyncio.TaskGroup | None = None

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
            cluster_domain=self._cluster_domain,
            detect_mutations=self._detect_mutations,
        )
        self._kubelets[options.name] = kubelet
        self._recorders[options.name] = recorder
        if self._group is not None:
            self._start(options.name)
        return kubelet

    async def remove(self, node_name: str) -> None:
        """Stop a kubelet as if its machine were switched off; containers keep running, the Node stays."""
        self._kubelets.pop(node_name, None)
        self._recorders.pop(node_name, None)
        task = self._tasks.pop(node_name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

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
            pods=kubelet.pods,
            clock=self._clock,
            options=kubelet.options,
            usage=kubelet.usage,
        )

    def failing(self) -> dict[str, str]:
        """Kubelets that are down now, with what took them down."""
        return dict(self._failing)

    async def run(self) -> None:
        """Run all kubelets; one that falls over is restarted alone. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for name in self._kubelets:
                    self._start(name)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def _start(self, name: str) -> None:
        assert self._group is not None
        self._tasks[name] = self._group.create_task(self._keep_running(name), name=f"kubelet/{name}")

    async def _keep_running(self, name: str) -> None:
        """One node's kubelet and event recorder; what escapes from them is logged and answered with a restart."""
        while name in self._kubelets:
            kubelet, recorder = self._kubelets[name], self._recorders[name]
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(recorder.run(), name=f"kubelet/{name}/recorder")
                    await kubelet.run()
                raise RuntimeError("the kubelet returned, which it must not")
            except Exception as error:
                self._failing[name] = f"{type(error).__name__}: {error}"
                get_logger("kubelet", node=name).exception("kubelet.failed")
            await self._clock.sleep(self._backoff.next_delay(name))
            self._failing.pop(name, None)
