"""The harness itself: what a test's cluster leaves behind, and clusters beside tests that are no coroutines."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lightkube import Client, KubeConfig
from lightkube.models.batch_v1 import CronJobSpec, JobSpec, JobTemplateSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Pod

from orchestrator.api.resources import CONFIG_MAPS, NAMESPACES
from orchestrator.apiserver.server import ApiServer
from orchestrator.cluster.cluster import Cluster
from orchestrator.store import StoreFailed
from orchestrator.testing import ClusterThread, ManualClock, in_thread, running_cluster


async def test_a_cluster_that_has_ended_is_garbage() -> None:
    async def use() -> weakref.ref[Cluster]:
        async with running_cluster() as cluster:
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}
            await cluster.client().create(CONFIG_MAPS, obj)
            return weakref.ref(cluster)

    ended = await use()
    for _ in range(5):
        await asyncio.sleep(0)  # the loop lets go of what it called last
        gc.collect()
    assert ended() is None
    assert gc.get_freeze_count() == 0


async def test_a_part_that_cannot_be_ended_keeps_no_other_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(_: ApiServer) -> None:
        raise OSError("stuck")

    with monkeypatch.context() as patched:
        patched.setattr(ApiServer, "close", stuck)
        with pytest.raises(OSError, match="stuck"):
            async with running_cluster(data_dir=tmp_path):
                pass
    async with running_cluster(data_dir=tmp_path) as again:  # nobody holds the store any more
        assert await again.client().get(NAMESPACES, "default")


def test_time_on_another_event_loop_is_refused() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with pytest.raises(RuntimeError, match="asyncio's own event loop only, not on uvloop's"):
        uvloop.run(ManualClock().run(1))


def blocking_client(cluster: ClusterThread) -> Client:
    return Client(config=KubeConfig.from_file(cluster.kubeconfig), namespace="default")


def test_a_blocking_client_talks_to_a_cluster_in_a_thread() -> None:
    with in_thread(running_cluster(https=True)) as cluster:
        client = blocking_client(cluster)
        pod = Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=[Container(name="main", image="app")]))
        client.create(pod)
        ready = client.wait(Pod, "p", for_conditions=["Ready"])
        assert ready.spec is not None
        assert ready.spec.nodeName == "node-1"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cluster")]


def test_time_passes_for_a_blocking_client_when_the_test_says_so() -> None:
    clock = ManualClock(datetime(2001, 1, 1, tzinfo=UTC))
    with in_thread(running_cluster(https=True, clock=clock)) as cluster:
        client = blocking_client(cluster)
        containers = [Container(name="main", image="app")]
        template = PodTemplateSpec(
            metadata=ObjectMeta(annotations={"hollow.orchestrator.dev/run-seconds": "60"}),
            spec=PodSpec(restartPolicy="Never", containers=containers),
        )
        spec = CronJobSpec(schedule="*/20 * * * *", jobTemplate=JobTemplateSpec(spec=JobSpec(template=template)))
        client.create(CronJob(metadata=ObjectMeta(name="c"), spec=spec))
        cluster.run(clock.run(45 * 60))
        finished = [job.status.succeeded for job in client.list(Job) if job.status is not None]
        assert finished == [1, 1]


def test_what_goes_wrong_in_the_thread_is_raised_in_the_test() -> None:
    with (
        pytest.raises(StoreFailed, match="cannot open"),
        in_thread(running_cluster(data_dir=Path(__file__))),
    ):
        pytest.fail("it cannot start on a file")

    async def fail() -> None:
        raise LookupError("nothing there")

    with in_thread(running_cluster(nodes=0, controllers=())) as cluster:
        with pytest.raises(LookupError, match="nothing there"):
            cluster.run(fail())
        never = asyncio.Event()
        with pytest.raises(TimeoutError):
            cluster.run(never.wait(), timeout_seconds=0.01)
