"""What drivers are asked, where, and by which rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.csi.driver import _capability
from orchestrator.kubelet.csi.plan import (
    CsiVolume,
    NodeInfo,
    VolumeUnusable,
    check_lifecycle,
    check_topology,
    claimed_volume,
    driver_spec,
    expanded_status,
    gives_to_group,
    in_use_by_another,
    inline_volume,
    plan_csi_node,
    plan_expansion,
    replaces_csi_node,
    token_texts,
    volume_paths,
    volume_use,
)

DRIVER = "disk.example.com"


def persistent(*modes: str, size: str = "1Gi", source: Object | None = None, **spec: Any) -> Object:
    csi = {"driver": DRIVER, "volumeHandle": "h", "fsType": "ext4", **(source or {})}
    spec = {"csi": csi, "accessModes": list(modes or ("ReadWriteOnce",)), "capacity": {"storage": size}, **spec}
    return {"metadata": {"name": "pv"}, "spec": spec}


def claimed(volume: Object, *, read_only: bool = False, has: str = "1Gi") -> CsiVolume:
    claim = {"metadata": {"name": "c"}, "status": {"capacity": {"storage": has}}}
    return claimed_volume(
        {"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": read_only}}, claim, volume
    )


def inline(**source: Any) -> CsiVolume:
    return inline_volume({"metadata": {"uid": "u"}}, {"name": "v", "csi": {"driver": DRIVER, **source}})


@pytest.mark.parametrize(
    ("modes", "mode", "mode_of_one_node"),
    [
        (["ReadWriteOnce"], 1, 7),
        (["ReadWriteOncePod"], 1, 6),
        (["ReadOnlyMany", "ReadWriteOnce"], 3, 3),
        (["ReadWriteMany"], 5, 5),
    ],
)
def test_the_first_access_mode_counts(modes: list[str], mode: int, mode_of_one_node: int) -> None:
    volume = claimed(persistent(*modes))
    assert volume_use(volume, tells_writers=False, mount_group=None).access_mode == mode
    assert volume_use(volume, tells_writers=True, mount_group=None).access_mode == mode_of_one_node


def test_an_inline_volume_is_its_pods_own() -> None:
    volume = inline(readOnly=True)
    handle = "csi-e6184ce10e266134fdcfa401e8f1a95005bcd4f18d16b62b757323e2833fe9a9"
    assert (volume.handle, volume.name, volume.read_only) == (handle, "v", True)
    assert volume_use(volume, tells_writers=True, mount_group=None).access_mode == 7


def test_a_file_system_is_asked_for_with_its_options_and_group() -> None:
    use = volume_use(claimed(persistent(mountOptions=["noatime"])), tells_writers=False, mount_group=2000)
    mount = _capability(use).mount
    assert (mount.fs_type, list(mount.mount_flags), mount.volume_mount_group) == ("ext4", ["noatime"], "2000")


def test_a_device_is_asked_for_as_such() -> None:
    use = volume_use(claimed(persistent(volumeMode="Block")), tells_writers=False, mount_group=2000)
    capability = _capability(use)
    assert capability.HasField("block")
    assert not capability.HasField("mount")


def test_paths_are_those_of_a_kubelet() -> None:
    kubelet = Path("/var/lib/kubelet")
    files = volume_paths(kubelet, "u", name="pv", driver=DRIVER, handle="h", is_block=False)
    assert str(files.target) == "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv/mount"
    assert str(files.staging) == (
        f"/var/lib/kubelet/plugins/kubernetes.io/csi/{DRIVER}/"
        "aaa9402664f1a41f40ebbc52c9993eb66aeb366602958fdfaa283b71e64db123/globalmount"
    )
    device = volume_paths(kubelet, "u", name="pv", driver=DRIVER, handle="h", is_block=True)
    assert str(device.target) == "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/publish/pv/u"
    assert str(device.staging) == "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/staging/pv"
    assert device.record_dir == files.record_dir


def test_drivers_say_which_volumes_they_have() -> None:
    check_lifecycle(claimed(persistent()), driver_spec(None))
    with pytest.raises(VolumeUnusable, match=r'"Ephemeral" not supported .* \(only supports \["Persistent"\]\)'):
        check_lifecycle(inline(), driver_spec(None))
    check_lifecycle(inline(), driver_spec({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}))


@pytest.mark.parametrize(
    ("policy", "volume", "gives"),
    [
        ("File", claimed(persistent("ReadWriteMany", source={"fsType": ""})), True),
        ("None", claimed(persistent()), False),
        ("ReadWriteOnceWithFSType", claimed(persistent()), True),
        ("ReadWriteOnceWithFSType", claimed(persistent(source={"fsType": ""})), False),
        ("ReadWriteOnceWithFSType", claimed(persistent("ReadWriteMany")), False),
        ("ReadWriteOnceWithFSType", inline(fsType="ext4"), True),
        ("File", claimed(persistent(), read_only=True), False),
        ("File", claimed(persistent(volumeMode="Block")), False),
    ],
)
def test_files_are_given_to_the_fs_group_as_the_driver_wants(policy: str, volume: CsiVolume, gives: bool) -> None:
    spec = driver_spec({"spec": {"fsGroupPolicy": policy}})
    assert gives_to_group(volume, spec, 2000) is gives
    assert not gives_to_group(volume, spec, None)


def test_a_volume_of_one_pod_is_not_shared() -> None:
    alone = claimed(persistent("ReadWriteOncePod"))
    assert "already in use by another pod" in in_use_by_another(alone, ["other"])
    assert not in_use_by_another(alone, [])
    assert not in_use_by_another(claimed(persistent()), ["other"])


def test_tokens_are_told_by_audience() -> None:
    texts = token_texts({"": {"token": "t", "expirationTimestamp": "2026-01-01T00:00:00Z"}})
    assert json.loads(texts["csi.storage.k8s.io/serviceAccount.tokens"]) == {
        "": {"token": "t", "expirationTimestamp": "2026-01-01T00:00:00Z"}
    }
    assert token_texts({}) == {}


@pytest.mark.parametrize(("size", "has", "grows"), [("2Gi", "1Gi", 2 << 30), ("1Gi", "1Gi", 0), ("1Gi", "2Gi", 0)])
def test_a_file_system_grows_to_the_size_of_its_volume(size: str, has: str, grows: int) -> None:
    assert plan_expansion(claimed(persistent(size=size), has=has)) == grows
    assert plan_expansion(inline()) == 0


def test_what_a_claim_says_when_its_file_system_has_grown() -> None:
    kept = {"type": "ModifyingVolume", "status": "True"}
    status = {
        "conditions": [{"type": "FileSystemResizePending", "status": "True"}, kept],
        "allocatedResourceStatuses": {"storage": "NodeResizeInProgress"},
    }
    assert expanded_status({"status": status}, "2Gi") == {
        "capacity": {"storage": "2Gi"},
        "conditions": [kept],
        "allocatedResourceStatuses": None,
    }
    assert expanded_status({}, "2Gi") == {"capacity": {"storage": "2Gi"}, "conditions": None}


def test_a_csi_node_lists_each_driver_once() -> None:
    other = {"name": "other", "nodeID": "x", "topologyKeys": None}
    info = NodeInfo("id", 1 << 40, {"zone": "a", "rack": "r"})
    entry = {"name": DRIVER, "nodeID": "id", "topologyKeys": ["rack", "zone"], "allocatable": {"count": (1 << 31) - 1}}
    assert plan_csi_node([other], DRIVER, info) == [other, entry]
    assert plan_csi_node([entry, other], DRIVER, info) is None
    assert plan_csi_node([{**entry, "nodeID": "old"}], DRIVER, info) == [entry]
    assert plan_csi_node([entry, other], DRIVER, None) == [other]
    assert plan_csi_node([other], DRIVER, None) is None
    assert plan_csi_node(None, DRIVER, NodeInfo("id")) == [{"name": DRIVER, "nodeID": "id", "topologyKeys": None}]


def test_what_cannot_be_changed_in_a_csi_node_is_removed_first() -> None:
    entry = {"name": DRIVER, "nodeID": "id", "topologyKeys": ["zone"], "allocatable": {"count": 1}}
    assert not replaces_csi_node([entry], DRIVER, NodeInfo("id", 5, {"zone": "a"}))
    assert replaces_csi_node([entry], DRIVER, NodeInfo("other", 1, {"zone": "a"}))
    assert replaces_csi_node([entry], DRIVER, NodeInfo("id"))
    assert not replaces_csi_node(None, DRIVER, NodeInfo("id"))


def test_a_node_is_in_one_place() -> None:
    check_topology({"zone": "a", "rack": "r"}, {"zone": "a"})
    with pytest.raises(VolumeUnusable, match="topology value collision"):
        check_topology({"zone": "b"}, {"zone": "a"})
