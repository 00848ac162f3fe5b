"""The test harness: a whole cluster inside the caller's own process.

    async with running_cluster() as cluster:
        await cluster.client().create(DEPLOYMENTS, {...})

Memory store, hollow runtime, in-process client: nothing touches the disk, the network or a
container. With `https=True` the same cluster also listens on a free port of the loopback, for
clients of any kind; `cluster.config.kubeconfig_path` is where their kubeconfig is.
"""

from orchestrator.testing.cluster import running_cluster
from orchestrator.testing.waiting import eventually

__all__ = ["eventually", "running_cluster"]
