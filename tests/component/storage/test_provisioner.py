"""Claims that are given directories, on a running cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import eventually, running_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=2, storage=True) as cluster:
        await eventually(cluster.client(), SERVICE_ACCOUNTS, bool, namespace="default")
        yield cluster


def claim(name: str, size: str = "1Gi", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


def pod(name: str, volume: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [
                {"name": "c", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
            ],
            "volumes": [{"name": "data", **volume}],
        },
    }  # fmt: skip


def using(claim_name: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": claim_name}}


async def bound(cluster: Cluster, name: str) -> Object:
    """The claim when it is bound."""

    def is_bound(claims: list[Object]) -> bool:
        return any(name_of(one) == name and one.get("status", {}).get("phase") == "Bound" for one in claims)

    found = await eventually(cluster.client(), PERSISTENT_VOLUME_CLAIMS, is_bound)
    return next(one for one in found if name_of(one) == name)


def directory(cluster: Cluster, volume_name: str) -> Path:
    return cluster.config.data_dir / "volumes" / volume_name


async def test_a_claim_without_a_class_gets_a_directory_where_its_pod_runs(cluster: Cluster) -> None:
    client = cluster.client()
    (standard,) = (await client.list(STORAGE_CLASSES))["items"]
    assert name_of(standard) == "standard"
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    await eventually(client, EVENTS, lambda events: any(e["reason"] == "WaitForFirstConsumer" for e in events))
    await client.create(PODS, pod("p", using("data")))
    one = await bound(cluster, "data")
    assert one["status"]["capacity"] == {"storage": "1Gi"}
    volume = await client.get(PERSISTENT_VOLUMES, one["spec"]["volumeName"])
    assert directory(cluster, name_of(volume)).is_dir()
    running = await eventually(client, PODS, lambda pods: bool(pods) and pods[0]["status"]["phase"] == "Running")
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [running[0]["spec"]["nodeName"]]


async def test_the_directory_goes_with_the_claim(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    await client.create(PODS, pod("p", using("data")))
    volume = (await bound(cluster, "data"))["spec"]["volumeName"]
    (directory(cluster, volume) / "file").write_text("data")
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    assert directory(cluster, volume).exists()  # a pod uses it
    await client.delete(PODS, "p", "default")
    await eventually(client, PERSISTENT_VOLUMES, lambda volumes: not volumes)
    assert not directory(cluster, volume).exists()


async def test_retained_data_stay_when_even_the_volume_is_deleted(cluster: Cluster) -> None:
    client = cluster.client()
    kept = {**(await client.get(STORAGE_CLASSES, "standard")), "metadata": {"name": "kept"}, "reclaimPolicy": "Retain"}
    await client.create(STORAGE_CLASSES, {**kept, "volumeBindingMode": "Immediate"})
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data", storageClassName="kept"))
    volume = (await bound(cluster, "data"))["spec"]["volumeName"]
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    await eventually(client, PERSISTENT_VOLUMES, lambda volumes: volumes[0]["status"]["phase"] == "Released")
    await client.delete(PERSISTENT_VOLUMES, volume)
    await eventually(client, PERSISTENT_VOLUMES, lambda volumes: not volumes)
    assert directory(cluster, volume).is_dir()


async def test_a_claim_grows_and_never_shrinks(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    await client.create(PODS, pod("p", using("data")))
    one = await bound(cluster, "data")

    def wants(size: str) -> Object:
        return {"spec": {"resources": {"requests": {"storage": size}}}}

    await client.patch(PERSISTENT_VOLUME_CLAIMS, "data", wants("2Gi"), "default")
    await eventually(
        client, PERSISTENT_VOLUME_CLAIMS, lambda claims: claims[0]["status"]["capacity"] == {"storage": "2Gi"}
    )
    volume = await client.get(PERSISTENT_VOLUMES, one["spec"]["volumeName"])
    assert volume["spec"]["capacity"] == {"storage": "2Gi"}
    with pytest.raises(errors.Invalid):
        await client.patch(PERSISTENT_VOLUME_CLAIMS, "data", wants("1Gi"), "default")


async def test_a_claim_begins_with_the_data_of_another(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("source"))
    await client.create(PODS, pod("p", using("source")))
    source = (await bound(cluster, "source"))["spec"]["volumeName"]
    (directory(cluster, source) / "file").write_text("data")
    data_source = {"kind": "PersistentVolumeClaim", "name": "source"}
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("copy", dataSource=data_source))
    await client.create(PODS, pod("q", using("copy")))
    copy = (await bound(cluster, "copy"))["spec"]["volumeName"]
    assert (directory(cluster, copy) / "file").read_text() == "data"


async def test_what_cannot_be_made_is_said(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("picky", selector={"matchLabels": {"a": "b"}}))
    patch = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}}
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "picky", patch, "default")
    found = await eventually(client, EVENTS, lambda events: any(e["reason"] == "ProvisioningFailed" for e in events))
    assert any("claim Selector is not supported" in event["message"] for event in found)


async def test_an_ephemeral_volume_lives_as_long_as_its_pod(cluster: Cluster) -> None:
    client = cluster.client()
    template = {"metadata": {"labels": {"a": "b"}}, "spec": claim("")["spec"]}
    await client.create(PODS, pod("p", {"ephemeral": {"volumeClaimTemplate": template}}))
    one = await bound(cluster, "p-data")
    assert one["metadata"]["labels"] == {"a": "b"}
    (owner,) = one["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", "p", True)
    await client.delete(PODS, "p", "default")
    await eventually(client, PERSISTENT_VOLUME_CLAIMS, lambda claims: not claims)
    await eventually(client, PERSISTENT_VOLUMES, lambda volumes: not volumes)
