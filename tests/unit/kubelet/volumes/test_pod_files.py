"""Volumes on the disk of the machine, as far as that needs no mounts; the rest needs root and says so."""

# ruff: noqa: ASYNC240 - tests look at small local files

from __future__ import annotations

import base64
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock, format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.environment import ConfigurationError, EnvironmentSources
from orchestrator.kubelet.parts import VolumeError
from orchestrator.kubelet.runtime import Container, ContainerPhase
from orchestrator.kubelet.volumes.mounts import UnsafeSubPath, mounted_below, open_beneath
from orchestrator.kubelet.volumes.ownership import OwnRights
from orchestrator.kubelet.volumes.payload import plan_payload, token_wishes
from orchestrator.kubelet.volumes.pod_files import PodVolumes, memory_volume_bytes, remove_all
from tests.unit.kubelet.pods import NOW, exited, pod

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
CONFIG = {"data": {"k": "v"}}


@pytest.fixture
def volumes(tmp_path: Path) -> PodVolumes:
    return PodVolumes(state_dir=tmp_path, clock=SystemClock(), node_name="n1", cluster_dns="10.96.0.10")


async def no_token(request: Object) -> Object:
    raise errors.NotFound("the server could not find the requested resource")


async def set_up(volumes: PodVolumes, obj: Object, **sources: Any) -> float | None:
    return await volumes.set_up(obj, EnvironmentSources(**sources), token=no_token)


async def mounts(volumes: PodVolumes, obj: Object, **environment: str) -> dict[str, Any]:
    container = obj["spec"]["containers"][0]
    sources = EnvironmentSources(pod_ips=("10.0.0.5",))
    found = await volumes.mounts_of(obj, container, 0, sources, environment)
    return {mount.target: mount for mount in found}


def with_mount(volume: Object, **mount: Any) -> Object:
    obj = pod(volumes=[{"name": "v", **volume}])
    obj["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v", **mount}]
    return obj


async def test_config_map_is_written_read_only_and_updated(volumes: PodVolumes) -> None:
    obj = with_mount({"configMap": {"name": "c", "items": [{"key": "k", "path": "d/f", "mode": 0o400}]}})
    await set_up(volumes, obj, config_maps={"c": CONFIG})
    mount = (await mounts(volumes, obj))["/v"]
    assert mount.read_only
    file = Path(mount.source, "d/f")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("v", 0o400)
    assert Path(mount.source).stat().st_mode & 0o7777 == 0o777
    await set_up(volumes, obj, config_maps={"c": {"data": {"k": "new"}}})
    assert file.read_text() == "new"


async def test_missing_config_map(volumes: PodVolumes) -> None:
    obj = with_mount({"configMap": {"name": "c"}})
    with pytest.raises(VolumeError) as error:
        await set_up(volumes, obj)
    assert str(error.value) == 'MountVolume.SetUp failed for volume "v" : configmap "c" not found'
    assert not error.value.retry
    await set_up(volumes, with_mount({"configMap": {"name": "c", "optional": True}}))


async def test_refused_token_is_tried_again(volumes: PodVolumes) -> None:
    obj = with_mount({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
    with pytest.raises(VolumeError, match="failed to fetch token") as error:
        await set_up(volumes, obj)
    assert error.value.retry


@needs_root
async def test_token_is_asked_for_once_and_kept_in_memory(volumes: PodVolumes) -> None:
    asked: list[Object] = []

    async def token(request: Object) -> Object:
        asked.append(request)
        expires = format_time(SystemClock().now() + timedelta(seconds=1000))
        return {"status": {"token": "secret", "expirationTimestamp": expires}}

    obj = with_mount({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
    again = await volumes.set_up(obj, EnvironmentSources(), token=token)
    await volumes.set_up(obj, EnvironmentSources(), token=token)
    assert again == pytest.approx(800, abs=5)
    assert len(asked) == 1
    assert asked[0]["spec"]["boundObjectRef"] == {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u1"}
    source = Path((await mounts(volumes, obj))["/v"].source)
    assert (source / "token").read_text() == "secret"
    assert os.path.ismount(source)
    assert source.stat().st_mode & 0o7777 == 0o1777
    await volumes.tear_down("u1")
    assert mounted_below(volumes.pod_dir("u1")) == []
    assert not volumes.pod_dir("u1").exists()


@needs_root
async def test_memory_volume_has_its_limit(volumes: PodVolumes) -> None:
    obj = with_mount({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    obj["spec"]["securityContext"] = {"fsGroup": 2000}
    await set_up(volumes, obj)
    source = (await mounts(volumes, obj))["/v"].source
    status = os.statvfs(source)
    assert status.f_blocks * status.f_frsize == 1 << 20
    assert (os.stat(source).st_gid, os.stat(source).st_mode & 0o7777) == (2000, 0o2777)
    await volumes.tear_down("u1")


@pytest.mark.parametrize(
    ("limit", "memory", "expected"),
    [("1Mi", "2Mi", 1 << 20), (None, "2Mi", 2 << 20), (None, None, 1 << 30), ("2Gi", None, 1 << 30)],
)
def test_memory_volumes_are_no_larger_than_what_their_pod_may_use(
    limit: str | None, memory: str | None, expected: int
) -> None:
    obj = pod()
    obj["spec"]["containers"][0]["resources"] = {"limits": {"memory": memory}} if memory else {}
    source = {"medium": "Memory", "sizeLimit": limit} if limit else {"medium": "Memory"}
    assert memory_volume_bytes(obj, source, {"memory": "1Gi"}) == expected


@pytest.mark.parametrize(
    ("pod_context", "containers", "user", "mode"),
    [
        ({}, ({}, {}), None, 0o644),
        ({"runAsUser": 1000}, ({}, {}), 1000, 0o600),
        ({"runAsUser": 1000}, ({"runAsUser": 1000}, {}), 1000, 0o600),
        ({"runAsUser": 1000}, ({"runAsUser": 1001}, {}), None, 0o644),
        ({}, ({"runAsUser": 1000}, {"runAsUser": 1000}), 1000, 0o600),
        ({"fsGroup": 5}, ({}, {}), None, 0o600),
    ],
)
def test_a_token_belongs_to_the_user_that_all_containers_share(
    pod_context: Object, containers: tuple[Object, Object], user: int | None, mode: int
) -> None:
    obj = pod("a", "b", securityContext=pod_context)
    for container, context in zip(obj["spec"]["containers"], containers, strict=True):
        container["securityContext"] = context
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    found = plan_payload(obj, volume, EnvironmentSources(), {token_wishes(volume)[0]: "secret"})["token"]
    assert (found.user, found.mode) == (user, mode)


async def test_recursive_read_only_is_refused(volumes: PodVolumes) -> None:
    obj = with_mount({"emptyDir": {}}, readOnly=True, recursiveReadOnly="Enabled")
    await set_up(volumes, obj)
    with pytest.raises(ConfigurationError, match="recursive read-only"):
        await mounts(volumes, obj)


async def test_empty_dir_survives_a_second_look(volumes: PodVolumes) -> None:
    obj = with_mount({"emptyDir": {}})
    await set_up(volumes, obj)
    source = Path((await mounts(volumes, obj))["/v"].source)
    assert source.stat().st_mode & 0o777 == 0o777
    (source / "data").write_text("x")
    await set_up(volumes, obj)
    assert (source / "data").exists()


class Unwilling(OwnRights):
    """Refuses once."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self._is_asked = False

    def chown(self, path: Path, user: int, group: int) -> None:
        if not self._is_asked:
            self._is_asked = True
            raise OSError("not now")
        self.given.append(group)


async def test_empty_dir_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    ownership = Unwilling()
    volumes = PodVolumes(state_dir=tmp_path, clock=SystemClock(), node_name="n1", ownership=ownership)
    obj = with_mount({"emptyDir": {}})
    obj["spec"]["securityContext"] = {"fsGroup": 2000}
    with pytest.raises(VolumeError, match="not now"):
        await set_up(volumes, obj)
    await set_up(volumes, obj)
    source = Path((await mounts(volumes, obj))["/v"].source)
    assert source.stat().st_mode & 0o7777 == 0o2777
    assert ownership.given == [2000]
    assert [path.name for path in source.parent.parent.iterdir()] == [source.parent.name]


async def test_etc_files_and_termination_message(volumes: PodVolumes) -> None:
    obj = pod(subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["x", "y"]}])
    found = await mounts(volumes, obj)
    hosts = Path(found["/etc/hosts"].source).read_text()
    assert hosts.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.5\tweb.sub.ns.svc.cluster.local\tweb\n" in hosts
    assert "1.2.3.4\tx\ty\n" in hosts
    resolver = Path(found["/etc/resolv.conf"].source).read_text()
    assert "nameserver 10.96.0.10\n" in resolver
    assert "options ndots:5\n" in resolver
    dead: Container = exited(code=1)
    Path(found["/dev/termination-log"].source).write_text("x" * 5000)
    assert volumes.termination_message("u1", dead, 4096) == "x" * 4096
    assert volumes.termination_message("other", dead, 4096) == ""
    assert dead.phase is ContainerPhase.EXITED
    assert dead.finished_at is not None
    assert dead.finished_at < NOW


async def test_own_mounts_win_over_etc_files(volumes: PodVolumes) -> None:
    obj = with_mount({"emptyDir": {}}, mountPath="/etc/hosts")
    await set_up(volumes, obj)
    assert (await mounts(volumes, obj))["/etc/hosts"].source.endswith("/v")


@needs_root
async def test_sub_path_of_a_config_map_is_one_file(volumes: PodVolumes) -> None:
    obj = with_mount({"configMap": {"name": "c"}}, subPathExpr="$(KEY)")
    await set_up(volumes, obj, config_maps={"c": CONFIG})
    source = (await mounts(volumes, obj, KEY="k"))["/v"].source
    assert Path(source).read_text() == "v"
    await volumes.tear_down("u1")
    assert not volumes.pod_dir("u1").exists()


@needs_root
async def test_tear_down_does_not_delete_through_a_bind_mount(volumes: PodVolumes, tmp_path: Path) -> None:
    treasure = tmp_path / "host" / "sub"
    treasure.mkdir(parents=True)
    (treasure / "gold").write_text("x")
    obj = with_mount({"hostPath": {"path": str(tmp_path / "host")}}, subPath="sub")
    await set_up(volumes, obj)
    source = Path((await mounts(volumes, obj))["/v"].source)
    assert (source / "gold").exists()
    await volumes.tear_down("u1")
    assert (treasure / "gold").exists()


async def test_tear_down_does_not_follow_links(volumes: PodVolumes, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "gold").write_text("x")
    obj = with_mount({"emptyDir": {}})
    await set_up(volumes, obj)
    source = Path((await mounts(volumes, obj))["/v"].source)
    os.symlink(outside, source / "link")
    await volumes.tear_down("u1")
    assert (outside / "gold").exists()
    assert not volumes.pod_dir("u1").exists()
    remove_all(tmp_path)
    assert not (tmp_path / "pods").exists()


async def test_sub_path_that_leads_out_is_refused(volumes: PodVolumes) -> None:
    obj = with_mount({"emptyDir": {}}, subPath="link/passwd")
    await set_up(volumes, obj)
    base = volumes.pod_dir("u1") / "volumes" / "kubernetes.io~empty-dir" / "v"
    os.symlink("/etc", base / "link")
    with pytest.raises(ConfigurationError, match="is not within the volume path"):
        await mounts(volumes, obj)


def test_open_beneath_makes_directories_and_stays_inside(tmp_path: Path) -> None:
    descriptor = open_beneath(tmp_path, "a/b")
    os.close(descriptor)
    assert (tmp_path / "a" / "b").is_dir()
    for path in ("/etc", "../x", "a/../../x"):
        with pytest.raises(UnsafeSubPath):
            open_beneath(tmp_path, path)


@pytest.mark.parametrize(
    ("kind", "made", "message"),
    [
        ("Directory", "file", "is not a directory"),
        ("File", "", "is not a file"),
        ("Socket", "file", "is not a socket file"),
        ("DirectoryOrCreate", "", ""),
        ("FileOrCreate", "", ""),
        ("", "", ""),
    ],
)
async def test_host_path_types(volumes: PodVolumes, tmp_path: Path, kind: str, made: str, message: str) -> None:
    path = tmp_path / "host" / "path"
    path.parent.mkdir()
    if made:
        path.touch()
    obj = with_mount({"hostPath": {"path": str(path), "type": kind}})
    if message:
        with pytest.raises(VolumeError, match=message):
            await set_up(volumes, obj)
    else:
        await set_up(volumes, obj)
        assert path.exists()


async def test_the_kubelets_directory_of_the_host_is_the_nodes_own(volumes: PodVolumes, tmp_path: Path) -> None:
    obj = with_mount({"hostPath": {"path": "/var/lib/kubelet/plugins/x", "type": "DirectoryOrCreate"}})
    await set_up(volumes, obj)
    assert (await mounts(volumes, obj))["/v"].source == str(tmp_path / "plugins" / "x")
    assert (tmp_path / "plugins" / "x").is_dir()
    with pytest.raises(VolumeError, match="/var/lib/kubelet/plugins/y is not a directory"):
        await set_up(volumes, with_mount({"hostPath": {"path": "/var/lib/kubelet/plugins/y", "type": "Directory"}}))


async def test_secret_is_decoded(volumes: PodVolumes) -> None:
    obj = with_mount({"secret": {"secretName": "s"}})
    secret = {"data": {"k": base64.b64encode(b"\x00\xff").decode()}}
    await set_up(volumes, obj, secrets={"s": secret})
    source = Path((await mounts(volumes, obj))["/v"].source)
    assert (source / "k").read_bytes() == b"\x00\xff"
    await volumes.tear_down("u1")
