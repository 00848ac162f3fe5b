"""Static pods of a hollow node, and their mirrors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from orchestrator.api.objects import Object, uid_of
from orchestrator.api.resources import PODS
from orchestrator.client.client import Client
from orchestrator.cluster.cluster import Cluster, Parts
from orchestrator.config import Config
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.testing import eventually

NAME = "web-node-1"


def write(folder: Path, image: str = "web:1") -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".web.yaml"
    temporary.write_text(yaml.safe_dump(manifest))
    temporary.rename(folder / "web.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "static" / "node-1"


@pytest.fixture
async def cluster(tmp_path: Path, folder: Path) -> AsyncIterator[Cluster]:
    write(folder)
    config = Config(
        data_dir=tmp_path / "data",
        listen="127.0.0.1:0",
        runtime="hollow",
        ephemeral=True,
        static_pod_path=str(folder.parent),
    )
    parts = Parts(https=False, controllers=False, scheduler=False)
    async with Cluster(config, parts=parts, detect_mutations=True) as one:
        yield one


async def until_running(client: Client, *, image: str = "web:1", other_than: str = "") -> Object:
    def found(pods: list[Object]) -> bool:
        return any(
            (pod.get("status") or {}).get("phase") == "Running"
            and pod["spec"]["containers"][0]["image"] == image
            and uid_of(pod) != other_than
            for pod in pods
        )

    (pod,) = await eventually(client, PODS, found, namespace="default")
    return pod


def runtime_of(cluster: Cluster) -> HollowRuntime:
    assert cluster.kubelets is not None
    runtime = cluster.kubelets["node-1"].runtime
    assert isinstance(runtime, HollowRuntime)
    return runtime


async def test_a_manifest_runs_and_has_a_mirror(cluster: Cluster) -> None:
    mirror = await until_running(cluster.client())
    annotations = mirror["metadata"]["annotations"]
    assert mirror["metadata"]["name"] == NAME
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    assert annotations["kubernetes.io/config.source"] == "file"
    assert "kubernetes.io/config.seen" in annotations
    (pod,) = runtime_of(cluster).pods()
    assert pod.uid == annotations["kubernetes.io/config.hash"]
    assert mirror["status"]["containerStatuses"][0]["ready"]


@pytest.mark.parametrize("grace_seconds", [None, 0])
async def test_a_deleted_mirror_comes_back_and_nothing_restarts(cluster: Cluster, grace_seconds: int | None) -> None:
    client = cluster.client()
    mirror = await until_running(client)
    before = runtime_of(cluster).pods()
    await client.delete(PODS, NAME, "default", grace_period_seconds=grace_seconds)
    again = await until_running(client, other_than=uid_of(mirror))
    assert again["status"]["startTime"] == mirror["status"]["startTime"]
    assert runtime_of(cluster).pods() == before


async def test_a_changed_manifest_replaces_the_pod(cluster: Cluster, folder: Path) -> None:
    client = cluster.client()
    mirror = await until_running(client)
    write(folder, "web:2")
    await until_running(client, image="web:2", other_than=uid_of(mirror))
    (pod,) = runtime_of(cluster).pods()
    assert [container.image for container in pod.containers] == ["web:2"]


async def test_a_manifest_that_goes_takes_pod_and_mirror_with_it(cluster: Cluster, folder: Path) -> None:
    client = cluster.client()
    await until_running(client)
    (folder / "web.yaml").unlink()
    await eventually(client, PODS, lambda pods: not pods, namespace="default")
    assert not runtime_of(cluster).pods()  # the mirror goes last
