"""What a claim stands for, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.volumes.claims import (
    ClaimError,
    bound_volume_of,
    check_mode,
    claim_names_of,
    is_at_hand,
    plan_bound_volume,
)
from tests.unit.kubelet.pods import pod

CLAIM: Object = {"metadata": {"uid": "c1"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
VOLUME: Object = {"name": "v", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}
EPHEMERAL: Object = {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}}


def using(*names: str) -> list[Object]:
    """A container that mounts these volumes."""
    return [{"name": "c", "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in names]}]


def persistent(**spec: Any) -> Object:
    return {"metadata": {"name": "pv"}, "spec": {"claimRef": {"uid": "c1"}, "local": {"path": "/data"}, **spec}}


def test_claims_have_names() -> None:
    obj = pod(containers=using("v", "e", "x"), volumes=[VOLUME, EPHEMERAL, {"name": "x", "emptyDir": {}}])
    assert claim_names_of(obj) == {"v": "data", "e": "web-e"}


def test_volumes_that_no_container_names_are_left_alone() -> None:
    assert claim_names_of(pod(containers=using("e"), volumes=[VOLUME, EPHEMERAL])) == {"e": "web-e"}


@pytest.mark.parametrize(
    ("mode", "field", "message"),
    [
        ("Filesystem", "volumeMounts", ""),
        ("Block", "volumeDevices", ""),
        ("Block", "volumeMounts", "volume v has volumeMode Block, but is specified in volumeMounts"),
        ("Filesystem", "volumeDevices", "volume v has volumeMode Filesystem, but is specified in volumeDevices"),
    ],
)
def test_files_are_mounted_and_devices_mapped(mode: str, field: str, message: str) -> None:
    one = pod(containers=[{"name": "c", field: [{"name": "v"}]}], volumes=[VOLUME])
    if not message:
        check_mode(one, VOLUME, persistent(volumeMode=mode))
        return
    with pytest.raises(ClaimError, match=message):
        check_mode(one, VOLUME, persistent(volumeMode=mode))


def test_a_volume_is_at_hand_where_its_affinity_says() -> None:
    expression = {"key": "zone", "operator": "In", "values": ["a"]}
    here = persistent(nodeAffinity={"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}})
    assert is_at_hand(persistent(), {"metadata": {"name": "n"}})
    assert is_at_hand(here, {"metadata": {"name": "n", "labels": {"zone": "a"}}})
    assert not is_at_hand(here, {"metadata": {"name": "n", "labels": {"zone": "b"}}})


def test_a_bound_claim_is_what_its_volume_is() -> None:
    assert bound_volume_of(pod(), VOLUME, CLAIM) == "pv"
    assert plan_bound_volume(VOLUME, CLAIM, persistent()) == {
        "name": "v",
        "local": {"path": "/data"},
        "readOnly": True,
    }


def test_what_is_no_directory() -> None:
    device = plan_bound_volume(VOLUME, CLAIM, persistent(volumeMode="Block"))
    assert device == {"name": "v", "block": "/data", "readOnly": True}
    csi = {"driver": "docker-volume.orchestrator.local", "volumeHandle": "orc_1"}
    docker = plan_bound_volume(VOLUME, CLAIM, persistent(local=None, csi=csi))
    assert docker == {"name": "v", "dockerVolume": "orc_1", "readOnly": True}


@pytest.mark.parametrize(
    ("volume", "claim", "message"),
    [
        (VOLUME, None, 'persistentvolumeclaims "data" not found'),
        (VOLUME, {**CLAIM, "status": {"phase": "Pending"}}, "error processing PVC ns/data: PVC is not bound"),
        (EPHEMERAL, CLAIM, "PVC was not created for pod ns/web"),
    ],
)
def test_claims_that_cannot_be_used(volume: Object, claim: Object | None, message: str) -> None:
    with pytest.raises(ClaimError, match=message):
        bound_volume_of(pod(), volume, claim)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, 'persistentvolumes "pv" not found'),
        (persistent(claimRef={"uid": "c2"}), "bound to another claim"),
        (persistent(volumeMode="Block", local=None, hostPath={"path": "/data"}), "as a device"),
        (persistent(local=None, csi={"driver": "x"}), "no volume plugin"),
    ],
)
def test_volumes_that_cannot_be_mounted(found: Object | None, message: str) -> None:
    with pytest.raises(ClaimError, match=message):
        plan_bound_volume(VOLUME, CLAIM, found)
