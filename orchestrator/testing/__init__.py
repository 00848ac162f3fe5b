"""The test harness: a whole cluster inside the caller's own process.

    async with running_cluster() as cluster:
        await cluster.client().create(DEPLOYMENTS, {...})

Memory store, hollow runtime, in-process client: nothing touches the disk, the network or a
container. With `https=True` the same cluster also listens on a free port of the loopback, for
clients of any kind; `cluster.config.kubeconfig_path` is where their kubeconfig is. On a `ManualClock`
time moves only when the test says so. `in_thread` runs a cluster beside tests that are no coroutines:

    with in_thread(running_cluster(https=True)) as cluster:
        kubernetes.config.load_kube_config(str(cluster.kubeconfig))
"""

from orchestrator.testing.cluster import running_cluster
from orchestrator.testing.manual_clock import ManualClock, settle
from orchestrator.testing.thread import ClusterThread, in_thread
from orchestrator.testing.waiting import eventually

__all__ = ["ClusterThread", "ManualClock", "eventually", "in_thread", "running_cluster", "settle"]
