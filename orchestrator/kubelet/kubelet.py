"""The kubelet of one node: pods bound to it, its Node and Lease, the runtime's events.

Owns the tasks: a pod watch, the runtime's event stream, the heartbeat and a dispatcher, which starts
a worker task for a pod only while there is work for it. Never plans (`plan`, `status`) and never
touches files (`volumes`). Mirrors pkg/kubelet's `kubelet.go` and `pod_workers.go`.

A pod's way: watch event or runtime event → its uid in the work queue → worker: observe the runtime,
plan, apply, until nothing is left to do → status patch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.time_limit import within
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors
from orchestrator.api.objects import Object, key_of, uid_of
from orchestrator.api.resource_claims import references_of
from orchestrator.api.resources import PODS
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer
from orchestrator.component.built_in import BuiltIn
from orchestrator.component.events import EventRecorder
from orchestrator.component.usage import NodeUsage
from orchestrator.kubelet.admission.admitter import PodAdmitter
from orchestrator.kubelet.built_in.manifests import SOURCE as BUILT_IN
from orchestrator.kubelet.built_in.pods import BuiltInPods
from orchestrator.kubelet.containers.hooks import HollowHooks, RealHooks
from orchestrator.kubelet.csi.node import CSI_PLUGIN, make_csi_volumes
from orchestrator.kubelet.csi.usage import UsageOfVolumes
from orchestrator.kubelet.csi.volumes import CsiVolumes
from orchestrator.kubelet.devices.manager import NodeDevices
from orchestrator.kubelet.eviction.evictor import ReadSignals
from orchestrator.kubelet.eviction.pressure import NodePressure
from orchestrator.kubelet.images.pull_records import PullRecords
from orchestrator.kubelet.node.heartbeat import Heartbeat
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.plan import NodeHealth, plan_node_status
from orchestrator.kubelet.node.reporter import NodeReporter
from orchestrator.kubelet.node.runtime_health import RuntimeHealth
from orchestrator.kubelet.node.shutdown import MESSAGE, NOT_READY, REASON, plan_shutdown
from orchestrator.kubelet.node_paths import PLUGINS_REGISTRY, NodePaths, make_kubelet_dir
from orchestrator.kubelet.parts import Cgroups, DeviceCounts, DeviceFailure, Hooks, NodeFacts, PodFiles, SyncResult
from orchestrator.kubelet.plugins.watcher import PluginHandler, PluginWatcher
from orchestrator.kubelet.pod import describe_pod, grace_seconds_of, is_mirror
from orchestrator.kubelet.pod_changes import is_more_urgent, is_news, shows_in_volumes
from orchestrator.kubelet.probes.actions import Actions, HollowActions, RealActions
from orchestrator.kubelet.probes.scheduler import ProbeScheduler
from orchestrator.kubelet.record import Interrupted, PodRecord
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeFailure, RuntimeInfo, RuntimeUnavailable
from orchestrator.kubelet.sources import Sources
from orchestrator.kubelet.static_pods.folder import StaticPodFolder
from orchestrator.kubelet.static_pods.mirrors import Mirrors
from orchestrator.kubelet.static_pods.pods import MIRROR_KEY, StaticPods
from orchestrator.kubelet.stats.source import MeasuredUsage, RequestedUsage, UsageSource
from orchestrator.kubelet.status.inputs import NodeIdentity
from orchestrator.kubelet.syncer import PodSyncer
from orchestrator.logs import get_logger

RETRY_BASE_SECONDS = 0.5
RETRY_MAX_SECONDS = 60.0
SAMPLE_SECONDS_MAX = 10.0
"""How long a measurement of the containers may take with each heartbeat."""
KILL_SECONDS = 2.0
"""What a shutdown waits beyond the grace periods, for those that have to be killed."""


class Kubelet:
    """Runs the pods of one node on a `ContainerRuntime`."""

    def __init__(
        self,
        *,
        client: Client,
        sources: Sources,
        recorder: EventRecorder,
        clock: Clock,
        runtime: ContainerRuntime,
        options: NodeOptions,
        files: PodFiles | None = None,
        actions: Actions | None = None,
        hooks: Hooks | None = None,
        read_signals: ReadSignals | None = None,
        cgroups: Cgroups | None = None,
        pull_records: PullRecords | None = None,
        built_in: Sequence[BuiltIn] = (),
        cluster_domain: str = "cluster.local",
        detect_mutations: bool = False,
    ) -> None:
        """Without `files` the node is hollow: nothing is written to the disk, probes and hooks succeed.

        `read_signals` measures the machine for node-pressure eviction; without it there is none. Without `cgroups`
        containers are where the runtime puts them. `pull_records` are those of all nodes with the same Engine.
        `built_in` are the components of this process that the node shows as pods.
        """
        self.options = options
        self.runtime = runtime
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._sources = sources
        self._files = files
        self._cgroups = cgroups
        self._pull_records = pull_records
        self._detect_mutations = detect_mutations
        self._node = NodeReporter(client=client, clock=clock, options=options, devices=self._device_counts)
        self._devices: NodeDevices | None = None
        self._log = get_logger("kubelet", node=options.name)
        if actions is None:
            actions = HollowActions() if files is None else RealActions(runtime=runtime, clock=clock)
        self._actions = actions
        if hooks is None:
            tell = self._recorder.event
            hooks = HollowHooks(clock=clock) if files is None else RealHooks(runtime=runtime, clock=clock, tell=tell)
        self._hooks = hooks
        self._cluster_domain = cluster_domain
        self._usage: UsageSource
        if files is None:
            self._usage = RequestedUsage(runtime=runtime, clock=clock, node_name=options.name)
        else:
            measures = UsageOfVolumes(files, lambda: self._csi)
            self._usage = MeasuredUsage(runtime=runtime, files=measures, clock=clock, node_name=options.name)
        self._has_signals = read_signals is not None
        self._pressure = NodePressure(
            options=options, runtime=runtime, clock=clock, read_signals=read_signals or dict, usage=self.usage
        )
        self._pods: dict[str, PodRecord] = {}
        self._group: asyncio.TaskGroup | None = None
        self._health = RuntimeHealth(
            runtime=runtime,
            clock=clock,
            node_name=options.name,
            spawn=self._spawn,
            prepare=self._prepare,
            came_up=self._came_up,
            changed=lambda: self._heartbeat.report(),
        )
        self._heartbeat = Heartbeat(
            reporter=self._node,
            health=self._health,
            runtime=runtime,
            clock=clock,
            node_name=options.name,
            shows_images=files is not None,
            spawn=self._spawn,
            before=self._before_registration,
            registered=self._registered,
            look=self._look_at_node,
            pressure=lambda: self._pressure.conditions,
            seen=lambda: sources.node(options.name),
        )
        self._components = built_in
        self.built_in: BuiltInPods | None = None
        """The pods that show components of this process; most nodes have none."""
        self._reset()

    def _reset(self) -> None:
        """Forget everything that a run may have left; what matters is found again."""
        self._pods = {}
        self._health.reset()
        self._progress = asyncio.Event()
        self._queue: WorkQueue[str] = WorkQueue(
            clock=self._clock, backoff=ItemBackoff(base_seconds=RETRY_BASE_SECONDS, max_seconds=RETRY_MAX_SECONDS)
        )
        self._probes = ProbeScheduler(
            clock=self._clock,
            actions=self._actions,
            recorder=self._recorder,
            notify=self._look_at,
            spawn=self._spawn,
            node_name=self.options.name,
        )
        self._facts = NodeFacts(NodeIdentity(ips=(self.options.ip,)))
        self._devices = self._make_devices()
        self._admitter = PodAdmitter(
            client=self._client,
            recorder=self._recorder,
            options=self.options,
            facts=self._facts,
            devices=self._devices,
            pods=self._pods,
            known_node=lambda: self._node.node,
            pressure=lambda: self._pressure.conditions,
            look_at=self._queue.add,
        )
        self._csi = self._make_csi()
        self._csi_node_uid = ""
        """The Node that shows its drivers."""
        self._syncer = PodSyncer(
            known_node=lambda: self._node.node,
            client=self._client,
            recorder=self._recorder,
            clock=self._clock,
            runtime=self.runtime,
            sources=self._sources,
            files=self._files,
            devices=self._devices,
            hooks=self._hooks,
            probes=self._probes,
            cgroups=self._cgroups,
            facts=self._facts,
            node_name=self.options.name,
            cluster_domain=self._cluster_domain,
            notify=self._references_changed,
            csi=self._csi,
            seccomp_root=self.options.seccomp_root,
            pull_records=self._pull_records,
            pulled=self._pressure.note_pulled,
        )
        self._informer = Informer(
            self._client,
            PODS,
            clock=self._clock,
            field_selector=f"spec.nodeName={self.options.name}",
            detect_mutations=self._detect_mutations,
        )
        self._informer.add_handler(self._on_pod)
        self._mirrors = Mirrors(
            client=self._client, pods=self._informer, node=lambda: self._node.node, node_name=self.options.name
        )
        self._static = StaticPods(
            records=self._pods,
            shown=self._informer,
            mirrors=self._mirrors,
            look_at=self._queue.add,
            gone=self._pod_removed,
        )
        if self._components and self.built_in is None:
            self.built_in = BuiltInPods(
                self._components,
                client=self._client,
                recorder=self._recorder,
                clock=self._clock,
                probes=self._probes,
                node_name=self.options.name,
                node_ip=self.options.ip,
            )

    @property
    def pods(self) -> Informer:
        """The pods bound to this node, as the API shows them."""
        return self._informer

    @property
    def is_idle(self) -> bool:
        """Whether no pod waits for work or is being worked on."""
        return self._queue.is_idle

    async def usage(self) -> NodeUsage:
        """What the node and its pods use now; RuntimeFailure while the runtime cannot tell."""
        info = self._health.info
        if info is None or not self._health.is_up.is_set():
            raise RuntimeUnavailable(self._health.why_not_ready)
        usage = await self._usage.read(info, self._informer.list())
        return usage if self.built_in is None else await self.built_in.with_usage(usage)

    async def run(self) -> None:
        """Be a node until cancelled; containers keep running afterwards."""
        self._reset()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                name = self.options.name
                if self.built_in is not None:
                    self._static.changed(BUILT_IN, self.built_in.pods)
                if self.options.static_pod_folder is not None:
                    # Before anything is taken for an orphan.
                    folder = StaticPodFolder(
                        folder=self.options.static_pod_folder,
                        node_name=name,
                        clock=self._clock,
                        changed=partial(self._static.changed, "file"),
                    )
                    await folder.load()
                    group.create_task(folder.run(), name=f"kubelet/{name}/static-pods")
                if self.options.paths is not None:
                    # Before any pod mounts it.
                    await asyncio.to_thread(make_kubelet_dir, self.options.paths.kubelet_dir)
                    if self._devices is not None:
                        self._devices.start()
                    group.create_task(self._plugins(self.options.paths).run(), name=f"kubelet/{name}/plugins")
                group.create_task(self._informer.run(), name=f"kubelet/{name}/pods")
                group.create_task(self._follow_runtime(), name=f"kubelet/{name}/events")
                group.create_task(self._heartbeat.run(), name=f"kubelet/{name}/heartbeat")
                group.create_task(self._dispatch(), name=f"kubelet/{name}/dispatch")
                self._health.recover()
        finally:
            self._group = None
            self._sources.drop(self._references_changed)
            self._queue.close()
            self._probes.close()
            if self._csi is not None:
                self._csi.drivers.close()

    def _plugins(self, paths: NodePaths) -> PluginWatcher:
        handlers: dict[str, Callable[[], PluginHandler]] = {}
        if self._csi is not None:
            csi = self._csi.drivers
            handlers[CSI_PLUGIN] = lambda: csi
        if self._devices is not None:
            handlers |= self._devices.handlers
        return PluginWatcher(
            folder=paths.kubelet_dir / PLUGINS_REGISTRY,
            handlers=handlers,
            paths=paths,
            clock=self._clock,
            node_name=self.options.name,
        )

    def _make_csi(self) -> CsiVolumes | None:
        if self.options.paths is None or self._files is None:
            return None
        return make_csi_volumes(
            client=self._client,
            recorder=self._recorder,
            sources=self._sources,
            clock=self._clock,
            paths=self.options.paths,
            give_to_group=self._files.give_to_group,
            node_name=self.options.name,
            spawn=self._spawn,
            wake=self._wake,
        )

    def _device_counts(self) -> Mapping[str, DeviceCounts]:
        return self._devices.counts() if self._devices is not None else {}

    def _make_devices(self) -> NodeDevices | None:
        if self.options.paths is None or self._files is None:
            return None
        return NodeDevices(
            client=self._client,
            clock=self._clock,
            paths=self.options.paths,
            node_name=self.options.name,
            spawn=self._spawn,
            known_pods=self._uids,
            driver_came=self._driver_came,
            changed=self._devices_changed,
            active_pods=lambda: [r.pod for r in self._pods.values() if r.admitted and not r.is_over],
        )

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None] | None:
        """A task for a piece of work of this node; None when the node does not run."""
        if self._group is None:
            work.close()
            return None
        return self._group.create_task(work, name=f"kubelet/{self.options.name}/{name}")

    async def _uids(self) -> set[str]:
        """The pods that there are."""
        await self._informer.wait_synced()
        return {*self._pods}

    def _devices_changed(self, pod_uids: Iterable[str]) -> None:
        """The node offers others, or those of these pods are as healthy as they were no longer."""
        self._spawn(self._heartbeat.report(), "devices/report")
        for uid in pod_uids:
            self._look_at(uid)

    def _wake(self, uid: str) -> None:
        """What a pod's volumes waited for is there; also those of a pod that nobody knows any more."""
        if uid in self._pods:
            self._references_changed(uid)
        else:
            self._queue.forget(uid)
            self._queue.add(uid)

    def _driver_came(self) -> None:
        """Pods may have waited for it to prepare their devices."""
        for uid, record in self._pods.items():
            if references_of(record.pod):
                self._queue.forget(uid)
                self._queue.add(uid)

    # What happens, as keys in the queue.

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._pod_removed(uid_of(old), old)
            return
        uid = uid_of(new)
        if old is not None and uid_of(old) != uid:
            self._pod_removed(uid_of(old), old)
        record = self._pods.get(uid)
        if record is None:
            if is_mirror(new):
                self._static.mirror_changed(key_of(new))
                return
            self._pods[uid] = PodRecord(new, is_new=self._informer.has_synced)
            self._queue.add(uid)
            return
        before = record.pod
        record.pod = new
        is_ended = record.learn_its_end()
        if is_ended or is_news(before, new):
            if is_ended or is_more_urgent(before, new):
                record.interrupt()
            if shows_in_volumes(before, new):
                record.epoch += 1
            record.lift_holds()  # a label or annotation can be all that its environment lacked
            record.forget_failures(before)
            self._queue.add(uid)

    def _pod_removed(self, uid: str, last: Object) -> None:
        record = self._pods.get(uid)
        if record is None:
            if is_mirror(last):
                self._static.mirror_changed(key_of(last))
            return
        if record.torn_down:
            self._forget(uid)
            return
        record.pod = last
        record.removed = True
        record.interrupt()
        self._queue.add(uid)

    def show_built_in(self, component: str = "") -> None:
        """The components of this process have come up, or the one that is named has changed."""
        if self.built_in is None:
            return
        self.built_in.is_open = True
        for uid in self.built_in.uids_of(component) if component else self.built_in.pods:
            self._queue.add(uid)

    def _is_built_in(self, uid: str) -> bool:
        return self.built_in is not None and uid in self.built_in

    def _references_changed(self, uid: str) -> None:
        """A ConfigMap or Secret that the pod reads has changed."""
        record = self._pods.get(uid)
        if record is None:
            return
        record.epoch += 1
        record.lift_holds()
        self._queue.forget(uid)
        self._queue.add(uid)

    def _forget(self, uid: str) -> None:
        record = self._pods.pop(uid, None)
        if record is not None and record.is_static:
            self._static.ended(record.pod)
        self._admitter.forget(uid)
        self._probes.forget(uid)
        self._sources.refer(self._references_changed, uid, ())
        self._queue.forget(uid)

    async def _follow_runtime(self) -> None:
        async for event in self.runtime.events():
            if event.pod_uid:
                self._look_at(event.pod_uid)
            else:
                self._log.info("runtime.events_missed")
                await self._enqueue_all()

    def _look_at(self, uid: str) -> None:
        """Something happened to a container of the pod, or a probe changed its mind."""
        record = self._pods.get(uid)
        if record is not None and record.news is not None:
            record.news.set()
        self._queue.add(uid)

    async def _enqueue_all(self) -> None:
        """Look at every pod that the API or the runtime knows."""
        for uid in self._pods:
            self._queue.add(uid)
        try:
            for pod in await self.runtime.list_pods():
                self._queue.add(pod.uid)
            if self._files is not None:
                for uid in await asyncio.to_thread(self._files.pod_uids):
                    self._queue.add(uid)
        except RuntimeFailure as error:
            self._health.lost(str(error))

    # Work.

    async def _dispatch(self) -> None:
        """Start a worker for each key; as many run at once as there are pods with work."""
        await self._informer.wait_synced()
        await self._sources.wait_synced()
        assert self._group is not None
        while True:
            await self._health.is_up.wait()
            uid = await self._queue.get()
            if not self._health.is_up.is_set():
                self._queue.add(uid)
                self._queue.done(uid)
                continue
            self._group.create_task(self._work(uid), name=f"kubelet/{self.options.name}/pod/{uid}")

    async def _work(self, uid: str) -> None:
        record = self._pods.get(uid)
        held = self._admitter.held(record) if record is not None else {}
        try:
            if uid.startswith(MIRROR_KEY):
                await self._mirrors.keep(None, uid.removeprefix(MIRROR_KEY))
                self._queue.forget(uid)
            elif record is None:
                await self._orphan(uid)
                self._queue.forget(uid)
            else:
                record.task = asyncio.current_task()
                record.interrupted = False
                self._plan_next(uid, await self._sync(record))
        except Interrupted:
            self._queue.add(uid)
        except RuntimeUnavailable as error:
            self._health.lost(str(error))
            self._queue.add_rate_limited(uid)
        except (errors.ApiError, OSError, RuntimeFailure, DeviceFailure) as error:
            self._log.info("pod.retry", uid=uid, error=str(error) or type(error).__name__)
            self._queue.add_rate_limited(uid)
        except Exception:
            # The one broad except of this component: one pod's trouble is not the node's.
            self._log.exception("pod.sync_failed", uid=uid)
            self._queue.add_rate_limited(uid)
        finally:
            if record is not None:
                record.task = None
                self._admitter.worked_on(record, held)
            self._queue.done(uid)
            self._progress.set()

    async def _sync(self, record: PodRecord) -> SyncResult:
        if self.built_in is not None and self._is_built_in(record.uid):
            return await self._report_built_in(self.built_in, record)
        if not record.admitted:
            refusal = await self._admitter.refusal(record)
            if refusal is not None:
                await self._syncer.refuse(record, *refusal)
        if not self._admitter.has_room(record):
            return SyncResult()
        self._admitter.allocate(record)
        if record.is_static and not record.removed:
            try:
                await self._mirrors.keep(record, key_of(record.pod))
            except errors.ApiError as error:
                # A static pod runs without the API; its mirror is tried again.
                self._log.info("static_pod.no_mirror", pod=key_of(record.pod), error=error.message)
                result = await self._syncer.sync(record)
                result.retry = True
                return result
        return await self._syncer.sync(record)

    async def _report_built_in(self, pods: BuiltInPods, record: PodRecord) -> SyncResult:
        """Such a pod is not admitted, started or stopped: it is there."""
        record.admitted = True
        if not pods.is_open:
            return SyncResult()
        if self._node.node is None:
            return SyncResult(retry=True)  # who owns the mirrors is not registered yet
        key = key_of(record.pod)
        await self._mirrors.keep(record, key)
        await pods.report(record, self._informer.get(key))
        return SyncResult()

    def _plan_next(self, uid: str, result: SyncResult) -> None:
        if result.forget:
            self._forget(uid)
            return
        if result.retry:
            self._queue.add_rate_limited(uid)
        else:
            self._queue.forget(uid)
        if result.again_at is not None:
            # A little later rather than a little too early, which would be a look in vain.
            seconds = (result.again_at - self._clock.now()).total_seconds() + 0.001
            self._queue.add_after(uid, max(seconds, 0.001))

    async def _orphan(self, uid: str) -> None:
        observed = await self.runtime.get_pod(uid)
        if uid in self._pods:
            return
        if observed is not None:
            await self._syncer.remove_orphan(observed)
        else:
            await self._syncer.remove_files(uid)

    # The end of the node.

    async def shut_down(self) -> None:
        """Graceful node shutdown: take no new pods, and end all, critical ones last, within the options' periods."""
        if self._group is None or not self._health.is_up.is_set():
            return
        self._admitter.is_closed = True
        self._health.why_not_ready = NOT_READY
        await self._heartbeat.report()
        ending = {
            uid: record
            for uid, record in self._pods.items()
            if not record.is_over and not record.removed and not self._is_built_in(uid)
        }
        for step in plan_shutdown([record.pod for record in ending.values()], self.options.shutdown):
            records = [ending[uid] for uid in step.grace_seconds if not ending[uid].is_over]
            self._log.info("node.shutdown", pods=len(records), seconds=step.seconds)
            for record in records:
                record.disrupt(REASON, MESSAGE, step.grace_seconds[record.uid])
                self._queue.add(record.uid)
            try:
                await within(self._clock, step.seconds + KILL_SECONDS, self._all_ended(records))
            except TimeoutError:
                left = [describe_pod(record.pod) for record in records if not record.is_over]
                self._log.warning("node.shutdown_late", pods=left)

    async def _all_ended(self, records: Sequence[PodRecord]) -> None:
        while not all(record.is_over or record.torn_down for record in records):
            self._progress.clear()
            await self._progress.wait()

    # The runtime's health.

    async def _prepare(self, info: RuntimeInfo) -> None:
        """The runtime answers, and is about to be used."""
        status = plan_node_status(self.options, info, NodeHealth(), (), self._clock.now(), {})
        self._facts.identity = NodeIdentity(ips=(self.options.ip,), runtime_name=info.name)
        self._facts.memory_bytes = info.memory_bytes
        self._facts.handlers = info.handlers
        self._facts.has_apparmor = info.has_apparmor
        self._facts.allocatable = status["allocatable"]
        await self._find_cgroups()

    async def _came_up(self) -> None:
        """The runtime is up, perhaps again: look at every pod."""
        await self._informer.wait_synced()
        await self._drop_cgroups()
        await self._enqueue_all()

    async def _find_cgroups(self) -> None:
        """What is there before any pod of this run is started."""
        if self._cgroups is not None:
            try:
                await self._cgroups.find()
            except OSError as error:
                self._log.warning("pod.cgroups_unknown", error=str(error))

    async def _drop_cgroups(self) -> None:
        if self._cgroups is not None:
            try:
                await self._cgroups.drop_unknown([record.pod for record in self._pods.values()])
            except OSError as error:
                self._log.warning("pod.cgroups_left", error=str(error))

    # With each heartbeat.

    async def _before_registration(self) -> None:
        if self._devices is not None:
            await self._devices.before_registration()

    async def _registered(self) -> None:
        """Show drivers and volumes on a Node that was registered, at the start or because it was deleted."""
        node = self._node.node
        if self._csi is None or node is None or uid_of(node) == self._csi_node_uid:
            return
        await self._csi.start()
        self._csi_node_uid = uid_of(node)

    async def _look_at_node(self) -> None:
        await self._sample_usage()
        await self._check_pressure()

    async def _sample_usage(self) -> None:
        if not self._health.is_up.is_set():
            return
        try:
            await within(self._clock, SAMPLE_SECONDS_MAX, self._usage.sample())
        except (TimeoutError, RuntimeFailure) as error:
            self._log.info("usage.not_sampled", error=str(error))
        if self.built_in is not None:
            self.built_in.usage.sample()

    async def _check_pressure(self) -> None:
        """Evict what has to go; the conditions are reported with the next heartbeat, which is this one."""
        if not self._has_signals:
            return
        running = {uid: r for uid, r in self._pods.items() if r.admitted and not r.is_over and not r.is_terminating}
        for victim in await self._pressure.victims([r.pod for r in running.values() if r.failure is None]):
            record = running[uid_of(victim.pod)]
            longest = self.options.eviction_pod_grace_seconds if victim.is_soft else 0
            record.disrupt("Evicted", victim.message, min(longest, grace_seconds_of(victim.pod)))
            self._recorder.event(victim.pod, "Warning", "Evicted", victim.message)
            self._log.warning("pod.evicted", pod=key_of(victim.pod), resource=victim.resource)
            self._queue.add(record.uid)
        if self._health.is_up.is_set():
            failure = await self._pressure.collect_images()
            if failure and self._node.node is not None:
                self._recorder.event(self._node.node, "Warning", "ImageGCFailed", failure)

    def describe(self) -> str:
        """For the log and for assertions."""
        return f"{self.options.name}: " + ", ".join(describe_pod(r.pod) for r in self._pods.values())
