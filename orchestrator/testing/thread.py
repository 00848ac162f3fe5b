"""`in_thread`: a cluster beside tests that are no coroutines, or that do not share its event loop.

Owns the thread and the loop in it. The cluster itself is whatever `running_cluster` was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.cluster.cluster import Cluster

T = TypeVar("T")


class ClusterThread:
    """A cluster that runs in a thread of its own; every method may be called from any other thread."""

    def __init__(self, cluster: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        self._cluster = cluster
        self._loop = loop

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator; needs `https=True`."""
        return self._cluster.config.kubeconfig_path

    @property
    def url(self) -> str:
        """Where the API is served; needs `https=True`."""
        return self._cluster.url

    @property
    def cluster(self) -> Cluster:
        """The cluster, for coroutines that `run` is given; it belongs to the other thread."""
        return self._cluster

    def run(self, work: Coroutine[Any, Any, T], *, timeout_seconds: float = 60.0) -> T:
        """Run a coroutine where the cluster lives, `clock.run(3600)` for instance, and wait for its result.

        Raises what it raises; TimeoutError, and the coroutine is cancelled, when it takes too long.
        """
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(timeout_seconds)
        except TimeoutError:
            running.cancel()
            raise


@contextmanager
def in_thread(starting: AbstractAsyncContextManager[Cluster]) -> Iterator[ClusterThread]:
    """Run a cluster in a thread for the length of a `with` block.

        with in_thread(running_cluster(https=True)) as cluster:
            lightkube.Client(config=KubeConfig.from_file(cluster.kubeconfig))

    For clients that block, and for one cluster that many tests share although each has an event loop of its own.
    """
    started: Future[ClusterThread] = Future()
    stop = asyncio.Event()

    async def live() -> None:
        async with starting as cluster:
            started.set_result(ClusterThread(cluster, asyncio.get_running_loop()))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="cluster") as executor:
        ended = executor.submit(asyncio.run, live())
        either: tuple[Future[Any], ...] = (started, ended)
        wait(either, return_when=FIRST_COMPLETED)
        if not started.done():
            ended.result()  # raises why it could not start
        thread = started.result()
        try:
            yield thread
        finally:
            thread._loop.call_soon_threadsafe(stop.set)
            ended.result()
