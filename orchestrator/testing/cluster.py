"""`running_cluster`: a cluster for the length of a `with` block."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.aiokit.clock import Clock, SystemClock
from orchestrator.apiserver.user import User
from orchestrator.cluster.cluster import Cluster, Parts
from orchestrator.config import Config


@asynccontextmanager
async def running_cluster(
    *,
    nodes: int = 1,
    https: bool = False,
    controllers: Sequence[str] = ("*",),
    scheduler: bool = True,
    storage: bool = False,
    system_pods: bool = False,
    scheduler_config: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    data_dir: Path | None = None,
    detect_mutations: bool = True,
    static_tokens: Mapping[str, User] | None = None,
    load_balancer_addresses: Sequence[str] = (),
    service_cidr: str = "10.96.0.0/16",
) -> AsyncIterator[Cluster]:
    """A cluster with hollow nodes in this process, gone at the end of the block.

    `controllers` are names as in `--controllers` (empty: none). With `data_dir` the store is durable
    and a later cluster on the same folder finds everything again; without it all is in memory.
    `scheduler_config` is a KubeSchedulerConfiguration.
    `storage` adds the default storage class and who makes its volumes, `system_pods` the pods of `kube-system`.
    `static_tokens` are bearer tokens that the HTTPS listener accepts, each with the user it stands for.
    """
    async with AsyncExitStack() as stack:
        folder = data_dir
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-")))
        config = Config(
            data_dir=folder,
            listen="127.0.0.1:0",
            nodes=nodes,
            runtime="hollow",
            ephemeral=data_dir is None,
            controllers=tuple(controllers),
            load_balancer_addresses=tuple(load_balancer_addresses),
            service_cidr=service_cidr,
            scheduler=dict(scheduler_config or {}),
        )
        cluster = Cluster(
            config,
            clock=clock or SystemClock(),
            parts=Parts(
                https=https,
                controllers=bool(controllers),
                scheduler=scheduler,
                nodes=nodes > 0,
                network=False,
                storage=storage,
                system_pods=system_pods and nodes > 0,
            ),
            detect_mutations=detect_mutations,
            static_tokens=static_tokens or {},
        )
        await stack.enter_async_context(cluster)
        if system_pods:
            await cluster.wait_ready()
            cluster.show_system_pods()
        yield cluster
