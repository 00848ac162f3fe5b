"""The nodes of a cluster: kubelets on hollow runtimes, or on Docker Engines with a network of pods."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api.quantity import parse_quantity
from orchestrator.cluster.addresses import NodeAddresses, plan_nodes
from orchestrator.cluster.identity import ensure_cluster_id
from orchestrator.component.built_in import BuiltIn
from orchestrator.config import Config, ConfigError
from orchestrator.config.engines import EngineAddress
from orchestrator.kubelet.eviction.plan import Threshold, parse_grace_periods, parse_thresholds
from orchestrator.kubelet.images.pull_records import PullRecords
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.shutdown import ShutdownPeriods
from orchestrator.kubelet.nodes import Kubelets
from orchestrator.kubelet.volumes.ownership import OWN_RIGHTS, Ownership
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.kubelet.docker.engine import DockerEngine
    from orchestrator.kubelet.docker.engine_volumes import EngineVolumes
    from orchestrator.kubelet.docker.network.docker_network import DockerNetwork
    from orchestrator.kubelet.network.plan import ClusterCidrs
    from orchestrator.kubelet.network.pod_network import PodNetwork

_DEFAULT_CIDRS = (Config().pod_cidr, Config().service_cidr, Config().node_cidr)


class Nodes:
    """What all nodes share, and how one is added: `prepare`, `populate`, at last `close`."""

    def __init__(self, config: Config, *, clock: Clock) -> None:
        self.config = config
        """With the networks that were really chosen, once prepared."""
        self.addresses: list[NodeAddresses] = []
        self.engine: DockerEngine | None = None
        self.network: PodNetwork | None = None
        """The network that is made in the kernel, if it is."""
        self.docker_network: DockerNetwork | None = None
        """The network that is made of Docker's, if it is."""
        self._clock = clock
        self._stack = AsyncExitStack()
        self._cluster_id = ""
        self._engines: dict[str, DockerEngine] = {}
        """Those of nodes that name one of their own, by node."""
        self._pull_records: dict[DockerEngine, PullRecords] = {}
        self._network_start: asyncio.Task[None] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the nodes that the configuration asks for."""
        return [f"node-{number + 1}" for number in range(self.config.nodes)]

    async def prepare(self) -> None:
        """Choose addresses and connect to the Engine; raises OSError or RuntimeFailure with what is missing."""
        config = self.config
        if config.runtime == "docker":
            await self._prepare_docker()
            config = self.config
        self.addresses = plan_nodes(
            self.names,
            pods=IPv4Network(config.pod_cidr),
            nodes=IPv4Network(config.node_cidr),
            may_widen=config.runtime == "hollow",
        )

    async def _prepare_docker(self) -> None:
        from orchestrator.kubelet.network.pod_network import missing_prerequisites

        config = self.config
        self._cluster_id = ensure_cluster_id(config.data_dir)
        unknown = sorted(config.engine_urls.keys() - set(self.names))
        if unknown:
            raise ConfigError(f"nodeEngines: there is no node {unknown[0]}; nodes are {', '.join(self.names)}")
        default, *others = config.engine_addresses
        connected = {address: await self._connect(address) for address in (default, *others)}
        self.engine = connected[default]
        for address, engine in connected.items():
            which = "" if address is None or address == default else f"-{sha256(address.url.encode()).hexdigest()[:12]}"
            self._pull_records[engine] = PullRecords(config.data_dir / "kubelet" / f"pulls{which}.json")
        self._engines = {node: connected[config.engine_at(url)] for node, url in config.engine_urls.items()}
        missing = missing_prerequisites() if config.network == "auto" else []
        if missing or config.network == "docker":
            await self._prepare_network_of_docker(self.engine, missing)
        else:
            await self._prepare_network_of_kernel()

    def _configured_cidrs(self) -> ClusterCidrs:
        from orchestrator.kubelet.network.plan import ClusterCidrs

        config = self.config
        return ClusterCidrs(
            IPv4Network(config.pod_cidr), IPv4Network(config.service_cidr), IPv4Network(config.node_cidr)
        )

    def _take_cidrs(self, cidrs: ClusterCidrs) -> None:
        self.config = replace(
            self.config, pod_cidr=str(cidrs.pods), service_cidr=str(cidrs.services), node_cidr=str(cidrs.nodes)
        )

    async def _prepare_network_of_docker(self, engine: DockerEngine, missing: Sequence[str]) -> None:
        from orchestrator.kubelet.docker.network.docker_network import DockerNetwork, make_network

        config = self.config
        if self._engines:
            raise ConfigError(
                "nodeEngines: nodes on a network of Docker's share one Engine; network: kernel has several"
            )
        get_logger("network").warning(
            "network.of_docker",
            because=" and ".join(missing) or "network: docker",
            consequence="Services by a userspace proxy: clients' addresses are lost, NetworkPolicies have no effect; "
            "docs/limits.md has the rest",
        )
        is_default = (config.pod_cidr, config.service_cidr, config.node_cidr) == _DEFAULT_CIDRS
        preferred = None if is_default else self._configured_cidrs()
        ranges = await make_network(engine, self._cluster_id, config.data_dir, preferred=preferred)
        self._take_cidrs(ranges.parts)
        self.docker_network = DockerNetwork(
            engine=engine,
            cluster_id=self._cluster_id,
            ranges=ranges,
            nodes=self.names,
            state_dir=config.data_dir,
            clock=self._clock,
        )
        self._network_start = asyncio.create_task(self.docker_network.start(), name="network-start")
        self._stack.push_async_callback(self.docker_network.close)
        self._stack.push_async_callback(_cancel, self._network_start)

    async def _prepare_network_of_kernel(self) -> None:
        from orchestrator.cluster.network import remove_stray_tables
        from orchestrator.kubelet.network.netlink import Netlink
        from orchestrator.kubelet.network.pod_network import PodNetwork, check_prerequisites, choose_cidrs

        config, preferred = self.config, self._configured_cidrs()
        check_prerequisites()
        netlink = Netlink.open()
        self._stack.push_async_callback(netlink.close)
        if strays := await remove_stray_tables(netlink):
            get_logger("cluster").warning("stray_tables.removed", tables=strays)
        cidrs = await choose_cidrs(netlink, self._cluster_id, config.data_dir, preferred=preferred)
        self._take_cidrs(cidrs)
        self.network = PodNetwork(cluster_id=self._cluster_id, cidrs=cidrs, state_dir=config.data_dir, netlink=netlink)
        # Its commands run while the API server is built; the first who needs it are the nodes.
        self._network_start = asyncio.create_task(self.network.start(), name="network-start")
        self._stack.push_async_callback(self.network.close)
        self._stack.push_async_callback(_cancel, self._network_start)

    async def _connect(self, address: EngineAddress | None) -> DockerEngine:
        from orchestrator.kubelet.docker.engine import DockerEngine
        from orchestrator.kubelet.docker.locality import require_this_machine

        try:
            engine = DockerEngine(clock=self._clock, address=address)
        except ValueError as error:
            raise ConfigError(f"DOCKER_HOST: {error}") from None
        await self._stack.enter_async_context(engine)
        await require_this_machine(engine)
        return engine

    async def populate(self, kubelets: Kubelets, *, cluster_dns: str, built_in: Sequence[BuiltIn] = ()) -> None:
        """Add every node to the group of kubelets; raises what the start of the network did.

        `built_in` are shown on the first node, and those that every node has also on the others.
        """
        if self._network_start is not None:
            await self._network_start
        for addresses in self.addresses:
            if self.engine is not None:
                await self._add_docker_node(kubelets, addresses, cluster_dns, built_in)
            else:
                self._add_hollow_node(kubelets, addresses, built_in)
            built_in = [one for one in built_in if one.on_every_node]
        if self.network is not None and cluster_dns:
            await self.network.ensure_service_address(cluster_dns)

    def _add_hollow_node(self, kubelets: Kubelets, addresses: NodeAddresses, built_in: Sequence[BuiltIn]) -> None:
        from orchestrator.kubelet.hollow import HollowRuntime

        runtime = HollowRuntime(clock=self._clock, pod_cidr=addresses.pod_cidr)
        kubelets.add(self._options(addresses), runtime, built_in=built_in)

    async def _add_docker_node(
        self, kubelets: Kubelets, addresses: NodeAddresses, cluster_dns: str, built_in: Sequence[BuiltIn]
    ) -> None:
        from orchestrator.kubelet.cgroups.pods import pod_cgroups_of
        from orchestrator.kubelet.docker.runtime import DockerRuntime
        from orchestrator.kubelet.docker.translate import LogRotation
        from orchestrator.kubelet.images.garbage_collection import ImageGcPolicy
        from orchestrator.kubelet.node_paths import NodePaths
        from orchestrator.kubelet.stats.machine import read_signals
        from orchestrator.kubelet.volumes.pod_files import PodVolumes

        assert self.engine is not None
        network = self.network or self.docker_network
        assert network is not None
        engine = self._engines.get(addresses.name, self.engine)
        runtime = DockerRuntime(
            engine=engine,
            network=network,
            cluster_id=self._cluster_id,
            node_name=addresses.name,
            clock=self._clock,
            node_ip=addresses.ip,
            pod_cidr=addresses.pod_cidr,
            log_rotation=LogRotation(
                _log_bytes(self.config.container_log_max_size), self.config.container_log_max_files
            ),
        )
        state_dir = self.config.data_dir / "kubelet" / addresses.name
        seccomp_root = self.config.data_dir / "kubelet" / "seccomp"
        paths = NodePaths(kubelet_dir=state_dir, seccomp_dir=seccomp_root)
        files = PodVolumes(
            state_dir=state_dir,
            paths=paths,
            clock=self._clock,
            node_name=addresses.name,
            cluster_domain=self.config.cluster_domain,
            cluster_dns=cluster_dns,
            ownership=self.ownership,
        )
        options = replace(
            self._options(addresses),
            log_folder=Path("/var/log"),
            paths=paths,
            seccomp_root=seccomp_root,
            image_gc_file=state_dir / "images.json",
            image_gc_policy=ImageGcPolicy(
                high=self.config.image_gc_high_threshold_percent, low=self.config.image_gc_low_threshold_percent
            ),
        )
        images = Path(str(engine.info.get("DockerRootDir") or "/var/lib/docker"))
        signals = partial(read_signals, self.config.data_dir, images)
        cgroups = None
        if os.geteuid() == 0:
            cgroups = pod_cgroups_of(engine.info, cluster_id=self._cluster_id, node_name=addresses.name)
        kubelets.add(
            options,
            runtime,
            files=files,
            read_signals=signals,
            cgroups=cgroups,
            pull_records=self._pull_records.get(engine),
            built_in=built_in,
        )

    def _options(self, addresses: NodeAddresses) -> NodeOptions:
        folder = self.config.static_pod_path
        return NodeOptions(
            name=addresses.name,
            ip=addresses.ip,
            pod_cidr=addresses.pod_cidr,
            reserved=parse_reserved(self.config.system_reserved),
            eviction_thresholds=_thresholds(self.config),
            eviction_pod_grace_seconds=self.config.eviction_max_pod_grace_period,
            shutdown=ShutdownPeriods(*self.config.shutdown_seconds),
            static_pod_folder=Path(folder).expanduser() / addresses.name if folder else None,
        )

    @property
    def ownership(self) -> Ownership:
        """How files get other owners."""
        return self.docker_network.ownership if self.docker_network is not None else OWN_RIGHTS

    @property
    def without_effect(self) -> dict[str, str]:
        """What the network does not do, as warnings by group-resource."""
        if self.docker_network is None:
            return {}
        return {
            "networkpolicies.networking.k8s.io": "this cluster has no packet filter: NetworkPolicies have no effect"
        }

    @property
    def cidrs(self) -> ClusterCidrs | None:
        """The ranges of the pods' network; None where no pod sends packets."""
        network = self.network or self.docker_network
        return network.cidrs if network is not None else None

    def docker_volumes(self) -> EngineVolumes | None:
        """The volumes of the nodes' Engines; None when the nodes have none."""
        if self.engine is None:
            return None
        from orchestrator.kubelet.docker.engine_volumes import EngineVolumes

        engines = {name: self._engines.get(name, self.engine) for name in self.names}
        return EngineVolumes(engines, default=self.engine, cluster_id=self._cluster_id)

    async def remove_containers(self) -> None:
        """Remove every container, volume, rule and mount of this cluster; for the end of an ephemeral one."""
        if self.engine is not None:
            from orchestrator.cluster.network import remove_cluster

            if self.docker_network is not None:
                await self._remove_files(self.engine)
            await remove_cluster(
                self._cluster_id,
                clock=self._clock,
                engines=self.config.engine_addresses,
                data_dir=self.config.data_dir,
            )
        if (volumes := self.docker_volumes()) is not None:
            await volumes.remove_all()

    async def _remove_files(self, engine: DockerEngine) -> None:
        """What containers wrote as other users, while there is a helper that may remove it."""
        from orchestrator.kubelet.docker.cleanup import remove_containers

        await remove_containers(engine, self._cluster_id, helpers=False)
        for folder in ("kubelet", "volumes", "snapshots"):
            if (path := self.config.data_dir / folder).is_dir():
                await asyncio.to_thread(self.ownership.remove, path)

    async def close(self) -> None:
        """Let go of the Engine and the network; containers keep running."""
        await self._stack.aclose()


async def _cancel(task: asyncio.Task[Any]) -> None:
    """End a task that nobody waits for any more; what it raised was told to who did."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _log_bytes(text: str) -> int:
    try:
        size = parse_quantity(text).value()
    except ValueError:
        size = 0
    if size <= 0:
        raise ConfigError(f"containerLogMaxSize: {text!r} is no size")
    return size


def _thresholds(config: Config) -> tuple[Threshold, ...]:
    try:
        hard = parse_thresholds(",".join(config.eviction_hard))
    except ValueError as error:
        raise ConfigError(f"evictionHard: {error}") from None
    try:
        grace = parse_grace_periods(config.eviction_soft_grace_period)
        return hard + parse_thresholds(",".join(config.eviction_soft), grace)
    except ValueError as error:
        raise ConfigError(f"evictionSoft: {error}") from None


def parse_reserved(texts: Sequence[str]) -> dict[str, str]:
    """`cpu=500m` and the like by resource; ConfigError."""
    reserved = {}
    for text in texts:
        name, _, amount = text.partition("=")
        if name not in ("cpu", "memory", "ephemeral-storage", "pid"):
            raise ConfigError(f"systemReserved: {text!r} is not like cpu=500m, memory=1Gi or ephemeral-storage=1Gi")
        try:
            parse_quantity(amount)
        except ValueError:
            raise ConfigError(f"systemReserved: {amount!r} is no quantity") from None
        reserved[name] = amount
    return reserved
