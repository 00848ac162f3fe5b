"""Snapshots of volumes: taken, kept, restored and removed, on a running cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.provisioner.directory_backend import PROVISIONER
from orchestrator.provisioner.snapshots.plan import CLAIM_FINALIZER, DEFAULT_CLASS
from orchestrator.testing import eventually, running_cluster

MANIFESTS = Path(__file__).parents[3] / "config" / "snapshots"
API_VERSION = VOLUME_SNAPSHOTS.api_version


async def add_definitions(cluster: Cluster) -> None:
    for definition in yaml.safe_load_all((MANIFESTS / "definitions.yaml").read_text()):
        await cluster.client().create(CUSTOM_RESOURCE_DEFINITIONS, definition)


@pytest.fixture
async def bare_cluster() -> AsyncIterator[Cluster]:
    """Without the kinds; claims get their volumes at once."""
    async with running_cluster(nodes=1, scheduler=False, storage=True) as cluster:
        client = cluster.client()
        standard = await client.get(STORAGE_CLASSES, "standard")
        await client.delete(STORAGE_CLASSES, "standard")
        fresh = {**standard, "metadata": {"name": "standard", "annotations": standard["metadata"]["annotations"]}}
        await client.create(STORAGE_CLASSES, {**fresh, "volumeBindingMode": "Immediate"})
        await eventually(client, SERVICE_ACCOUNTS, bool, namespace="default")
        yield cluster


@pytest.fixture
async def cluster(bare_cluster: Cluster) -> Cluster:
    await add_definitions(bare_cluster)
    standard = yaml.safe_load((MANIFESTS / "class.yaml").read_text())
    await bare_cluster.client().create(VOLUME_SNAPSHOT_CLASSES, standard)
    return bare_cluster


def claim(name: str, *, size: str = "1Gi", snapshot: str = "", **spec: Any) -> Object:
    source = {"apiGroup": VOLUME_SNAPSHOTS.group, "kind": "VolumeSnapshot", "name": snapshot}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            **({"dataSource": source} if snapshot else {}),
            **spec,
        },
    }


def snapshot(name: str, claim_name: str = "", *, content: str = "", **spec: Any) -> Object:
    source = {"volumeSnapshotContentName": content} if content else {"persistentVolumeClaimName": claim_name}
    return {
        "apiVersion": API_VERSION,
        "kind": "VolumeSnapshot",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"source": source, **spec},
    }


def content(name: str, handle: str, snapshot_name: str, policy: str = "Retain") -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "VolumeSnapshotContent",
        "metadata": {"name": name},
        "spec": {
            "deletionPolicy": policy,
            "driver": PROVISIONER,
            "source": {"snapshotHandle": handle},
            "volumeSnapshotRef": {"namespace": "default", "name": snapshot_name},
        },
    }


async def bound(cluster: Cluster, name: str) -> Path:
    """The directory of a claim when it is bound."""

    def is_bound(claims: list[Object]) -> bool:
        return any(name_of(one) == name and one.get("status", {}).get("phase") == "Bound" for one in claims)

    found = await eventually(cluster.client(), PERSISTENT_VOLUME_CLAIMS, is_bound)
    volume: str = next(one["spec"]["volumeName"] for one in found if name_of(one) == name)
    return cluster.config.data_dir / "volumes" / volume


async def with_data(cluster: Cluster, name: str, text: str = "data", **spec: Any) -> Path:
    await cluster.client().create(PERSISTENT_VOLUME_CLAIMS, claim(name, **spec))
    directory = await bound(cluster, name)
    (directory / "file").write_text(text)
    return directory


async def ready(cluster: Cluster, name: str) -> Object:
    def is_ready(snapshots: list[Object]) -> bool:
        return any(name_of(one) == name and one.get("status", {}).get("readyToUse") for one in snapshots)

    found = await eventually(cluster.client(), VOLUME_SNAPSHOTS, is_ready)
    return next(one for one in found if name_of(one) == name)


async def failed(cluster: Cluster, name: str, reason: str) -> str:
    """The error in the status of a snapshot, once it is there, with its event."""

    def has_error(snapshots: list[Object]) -> bool:
        return any(name_of(one) == name and one.get("status", {}).get("error") for one in snapshots)

    found = await eventually(cluster.client(), VOLUME_SNAPSHOTS, has_error)
    await event(cluster, reason)
    message: str = next(one["status"]["error"]["message"] for one in found if name_of(one) == name)
    return message


async def event(cluster: Cluster, reason: str) -> str:
    found = await eventually(cluster.client(), EVENTS, lambda events: any(e["reason"] == reason for e in events))
    message: str = next(one["message"] for one in found if one["reason"] == reason)
    return message


async def test_a_snapshot_keeps_what_a_claim_held_and_a_claim_begins_with_it(cluster: Cluster) -> None:
    client = cluster.client()
    directory = await with_data(cluster, "source")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    taken = await ready(cluster, "snap")
    (directory / "file").write_text("changed")
    assert taken["spec"]["volumeSnapshotClassName"] == "standard"
    assert taken["status"]["restoreSize"] == "1Gi"
    assert taken["metadata"]["finalizers"] == [
        "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection",
        "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection",
    ]
    (one,) = (await client.list(VOLUME_SNAPSHOT_CONTENTS))["items"]
    assert (
        name_of(one) == taken["status"]["boundVolumeSnapshotContentName"] == f"snapcontent-{taken['metadata']['uid']}"
    )
    assert one["spec"]["source"] == {"volumeHandle": directory.name}
    assert one["status"]["restoreSize"] == 1 << 30
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", snapshot="snap"))
    assert (await bound(cluster, "restored") / "file").read_text() == "data"
    for reason in ("CreatingSnapshot", "SnapshotCreated", "SnapshotReady"):
        await event(cluster, reason)


async def test_the_data_go_with_the_snapshot(cluster: Cluster) -> None:
    client = cluster.client()
    await with_data(cluster, "source")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    await ready(cluster, "snap")
    assert len([*(cluster.config.data_dir / "snapshots").iterdir()]) == 1
    await client.delete(VOLUME_SNAPSHOTS, "snap", "default")
    await eventually(client, VOLUME_SNAPSHOTS, lambda snapshots: not snapshots)
    await eventually(client, VOLUME_SNAPSHOT_CONTENTS, lambda contents: not contents)
    assert not [*(cluster.config.data_dir / "snapshots").iterdir()]


async def test_what_is_retained_can_be_used_again_under_its_handle(cluster: Cluster) -> None:
    client = cluster.client()
    kept = {"apiVersion": API_VERSION, "kind": "VolumeSnapshotClass", "metadata": {"name": "kept"}}
    await client.create(VOLUME_SNAPSHOT_CLASSES, {**kept, "driver": PROVISIONER, "deletionPolicy": "Retain"})
    await with_data(cluster, "source")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source", volumeSnapshotClassName="kept"))
    name = (await ready(cluster, "snap"))["status"]["boundVolumeSnapshotContentName"]
    handle = (await client.get(VOLUME_SNAPSHOT_CONTENTS, name))["status"]["snapshotHandle"]
    await client.delete(VOLUME_SNAPSHOTS, "snap", "default")
    await eventually(client, VOLUME_SNAPSHOTS, lambda snapshots: not snapshots)
    await client.delete(VOLUME_SNAPSHOT_CONTENTS, name)
    await eventually(client, VOLUME_SNAPSHOT_CONTENTS, lambda contents: not contents)

    await client.create(VOLUME_SNAPSHOTS, snapshot("again", content="by-hand"))
    assert "missing" in await failed(cluster, "again", "SnapshotContentMissing")
    await client.create(VOLUME_SNAPSHOT_CONTENTS, content("by-hand", handle, "again"))
    again = await ready(cluster, "again")
    assert again["status"]["restoreSize"] == "1Gi"
    assert "error" not in again["status"]
    one = await client.get(VOLUME_SNAPSHOT_CONTENTS, "by-hand")
    assert one["spec"]["volumeSnapshotRef"]["uid"] == again["metadata"]["uid"]
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", snapshot="again"))
    assert (await bound(cluster, "restored") / "file").read_text() == "data"


@pytest.mark.parametrize("handle", ["snapshot-none", "../volumes", "/etc"])
async def test_a_handle_leads_nowhere_else(cluster: Cluster, handle: str) -> None:
    client = cluster.client()
    await client.create(VOLUME_SNAPSHOT_CONTENTS, content("by-hand", handle, "snap", policy="Delete"))
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", content="by-hand"))

    def has_error(contents: list[Object]) -> bool:
        return bool(contents and contents[0].get("status", {}).get("error"))

    await eventually(client, VOLUME_SNAPSHOT_CONTENTS, has_error)
    await event(cluster, "SnapshotContentCheckandUpdateFailed")


async def test_claims_wait_for_a_snapshot_that_waits_for_its_claim(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", snapshot="snap"))
    assert "not found" in await event(cluster, "ProvisioningFailed")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source", volumeSnapshotClassName="standard"))
    assert "failed to retrieve PVC source" in await failed(cluster, "snap", "SnapshotContentCreationFailed")
    await with_data(cluster, "source")
    await bound(cluster, "restored")
    assert "error" not in (await ready(cluster, "snap"))["status"]


async def test_a_claim_is_no_smaller_than_its_snapshot(cluster: Cluster) -> None:
    client = cluster.client()
    await with_data(cluster, "source")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    await ready(cluster, "snap")
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", size="1Mi", snapshot="snap"))
    assert "is less than the size 1073741824" in await event(cluster, "ProvisioningFailed")


async def test_a_snapshot_stays_while_a_claim_waits_to_begin_with_it(cluster: Cluster) -> None:
    client = cluster.client()
    await with_data(cluster, "source")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    await ready(cluster, "snap")
    # Too small a claim stays pending.
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", size="1Mi", snapshot="snap"))
    await event(cluster, "ProvisioningFailed")
    await client.delete(VOLUME_SNAPSHOTS, "snap", "default")
    await event(cluster, "SnapshotDeletePending")
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "restored", "default")
    await eventually(client, VOLUME_SNAPSHOTS, lambda snapshots: not snapshots)


async def test_a_claim_stays_until_its_snapshot_is_taken(cluster: Cluster) -> None:
    """A snapshot that cannot be taken holds its claim."""
    client = cluster.client()
    directory = await with_data(cluster, "source")
    hidden = directory.with_name("hidden")
    directory.rename(hidden)
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    await event(cluster, "SnapshotCreationFailed")
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "source", "default")
    held = await client.get(PERSISTENT_VOLUME_CLAIMS, "source", "default")
    assert CLAIM_FINALIZER in held["metadata"]["finalizers"]
    hidden.rename(directory)
    await ready(cluster, "snap")
    await eventually(client, PERSISTENT_VOLUME_CLAIMS, lambda claims: not claims)


async def test_a_content_stays_as_long_as_its_snapshot(cluster: Cluster) -> None:
    client = cluster.client()
    await with_data(cluster, "source")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    name = (await ready(cluster, "snap"))["status"]["boundVolumeSnapshotContentName"]
    await client.delete(VOLUME_SNAPSHOT_CONTENTS, name)
    assert (await client.get(VOLUME_SNAPSHOT_CONTENTS, name))["metadata"]["deletionTimestamp"]
    await client.delete(VOLUME_SNAPSHOTS, "snap", "default")
    await eventually(client, VOLUME_SNAPSHOT_CONTENTS, lambda contents: not contents)
    await eventually(client, VOLUME_SNAPSHOTS, lambda snapshots: not snapshots)


async def test_without_one_default_class_a_snapshot_says_so(cluster: Cluster) -> None:
    client = cluster.client()
    await with_data(cluster, "source")
    second = {"metadata": {"name": "second", "annotations": {DEFAULT_CLASS: "true"}}, "driver": PROVISIONER}
    kind = {"apiVersion": API_VERSION, "kind": "VolumeSnapshotClass", "deletionPolicy": "Delete"}
    await client.create(VOLUME_SNAPSHOT_CLASSES, {**kind, **second})
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    assert "2 default snapshot classes" in await failed(cluster, "snap", "SetDefaultSnapshotClassFailed")
    await client.create(VOLUME_SNAPSHOTS, snapshot("other", "source", volumeSnapshotClassName="none"))
    assert '"none" not found' in await failed(cluster, "other", "GetSnapshotClassFailed")


async def test_snapshots_of_other_drivers_are_left_alone(cluster: Cluster) -> None:
    client = cluster.client()
    await with_data(cluster, "source")
    foreign = {"metadata": {"name": "foreign"}, "driver": "hostpath.csi.k8s.io", "deletionPolicy": "Delete"}
    await client.create(VOLUME_SNAPSHOT_CLASSES, {"apiVersion": API_VERSION, "kind": "VolumeSnapshotClass", **foreign})
    await client.create(VOLUME_SNAPSHOTS, snapshot("theirs", "source", volumeSnapshotClassName="foreign"))
    await client.create(VOLUME_SNAPSHOTS, snapshot("ours", "source"))
    await ready(cluster, "ours")
    theirs = await client.get(VOLUME_SNAPSHOTS, "theirs", "default")
    assert not theirs.get("status")
    assert not theirs["metadata"].get("finalizers")


async def test_a_device_is_restored_as_a_device(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("source", size="1Mi", volumeMode="Block"))
    disk = await bound(cluster, "source") / "disk"
    with disk.open("r+b") as opened:
        opened.write(b"data")
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    await ready(cluster, "snap")
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", size="2Mi", volumeMode="Block", snapshot="snap"))
    restored = await bound(cluster, "restored") / "disk"
    assert restored.stat().st_size == 2 << 20
    assert restored.read_bytes()[:4] == b"data"
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("files", size="1Mi", snapshot="snap"))
    assert "of a volume of mode Block, not Filesystem" in await event(cluster, "ProvisioningFailed")


async def test_definitions_may_come_last(bare_cluster: Cluster) -> None:
    client = bare_cluster.client()
    await with_data(bare_cluster, "source")
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("restored", snapshot="snap"))
    await event(bare_cluster, "ProvisioningFailed")
    await add_definitions(bare_cluster)
    with pytest.raises(errors.Invalid):
        await client.create(VOLUME_SNAPSHOTS, {**snapshot("empty"), "spec": {"source": {}}})
    await client.create(VOLUME_SNAPSHOT_CLASSES, yaml.safe_load((MANIFESTS / "class.yaml").read_text()))
    await client.create(VOLUME_SNAPSHOTS, snapshot("snap", "source"))
    assert (await bound(bare_cluster, "restored") / "file").read_text() == "data"


async def test_a_namespace_with_snapshots_goes_as_a_whole(cluster: Cluster) -> None:
    client = cluster.client()
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    source, taken = claim("source"), snapshot("snap", "source")
    source["metadata"]["namespace"] = taken["metadata"]["namespace"] = "team"
    await client.create(PERSISTENT_VOLUME_CLAIMS, source)
    await client.create(VOLUME_SNAPSHOTS, taken)
    await ready(cluster, "snap")
    await client.delete(NAMESPACES, "team")
    await eventually(client, NAMESPACES, lambda namespaces: all(name_of(one) != "team" for one in namespaces))
    assert not (await client.list(VOLUME_SNAPSHOT_CONTENTS))["items"]
    await eventually(client, PERSISTENT_VOLUMES, lambda volumes: not volumes)
