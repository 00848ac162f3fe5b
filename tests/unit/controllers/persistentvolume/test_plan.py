"""Claims and volumes: who gets whom, and in which phase they are."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.volume_binding import bound_volume, find_volume
from orchestrator.controllers.persistentvolume.plan import (
    bound_claim,
    plan_claim,
    plan_claim_status,
    plan_volume,
    unbound_volume,
)


def claim(size: str = "1Gi", *, bound: bool = False, **spec: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "c", "namespace": "d", "uid": "C"}
    if bound:
        metadata["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    defaults = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"metadata": metadata, "spec": {**defaults, "storageClassName": "", **spec}}


def volume(name: str = "v", size: str = "1Gi", *, claimed: str = "", phase: str = "Available", **spec: Any) -> Any:
    if claimed:
        namespace_name, _, uid = claimed.partition("#")
        namespace, _, claim_name = namespace_name.partition("/")
        spec["claimRef"] = {"namespace": namespace, "name": claim_name, **({"uid": uid} if uid else {})}
    metadata = {"name": name, "labels": spec.pop("labels", {}), "annotations": spec.pop("annotations", {})}
    defaults = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}
    return {"metadata": metadata, "spec": {**defaults, **spec}, "status": {"phase": phase}}


def local(node: str) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


NODE = {"metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "n"}}}


@pytest.mark.parametrize(
    ("wanted", "volumes", "expected"),
    [
        (claim(), [], None),
        (claim(), [volume("a", "5Gi"), volume("b", "2Gi"), volume("c", "500Mi")], "b"),
        (claim(), [volume("a", claimed="d/other#X")], None),
        (claim(), [volume("a", "1Gi"), volume("b", "9Gi", claimed="d/c")], "b"),
        (claim(), [volume("a", "1Gi"), volume("b", "9Gi", claimed="d/c#C")], "b"),
        (claim(), [volume("a", claimed="d/c#OLD")], None),
        (claim(), [volume("a", phase="Released")], None),
        (claim(storageClassName="x"), [volume("a"), volume("b", storageClassName="x")], "b"),
        (claim(accessModes=["ReadWriteMany"]), [volume("a")], None),
        (claim(volumeMode="Block"), [volume("a"), volume("b", volumeMode="Block")], "b"),
        (claim(selector={"matchLabels": {"k": "v"}}), [volume("a"), volume("b", labels={"k": "v"})], "b"),
        (claim(), [volume("a", nodeAffinity=local("m")), volume("b", "2Gi", nodeAffinity=local("n"))], "b"),
    ],
)
def test_the_smallest_that_fits_unless_one_is_reserved(
    wanted: dict[str, Any], volumes: list[Any], expected: str | None
) -> None:
    found = find_volume(wanted, volumes, NODE, only_named=False)
    assert (found["metadata"]["name"] if found else None) == expected


LATE = {"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "p"}
AT_ONCE = {"volumeBindingMode": "Immediate", "provisioner": "p"}


@pytest.mark.parametrize(
    ("wanted", "volumes", "named", "storage_class", "node", "expected"),
    [
        (claim(), [volume()], None, None, None, "bind"),
        (claim(), [], None, None, None, "Pending FailedBinding"),
        (claim(storageClassName="x"), [], None, None, None, "Pending ProvisioningFailed"),
        (claim(storageClassName="x"), [], None, AT_ONCE, None, "Pending ExternalProvisioning"),
        (claim(), [volume()], None, LATE, None, "Pending WaitForFirstConsumer"),
        (claim(), [volume(claimed="d/c")], None, LATE, None, "bind"),
        (claim(), [volume()], None, LATE, NODE, "bind"),
        (claim(storageClassName="x"), [], None, LATE, NODE, "Pending ExternalProvisioning"),
        (claim(volumeName="v"), [], None, None, None, "Pending"),
        (claim(volumeName="v"), [], volume(), None, None, "bind"),
        (claim("2Gi", volumeName="v"), [], volume(), None, None, "Pending VolumeMismatch"),
        (claim(volumeName="v"), [], volume(claimed="d/other#X"), None, None, "Pending FailedBinding"),
        (claim(volumeName="v", bound=True), [], volume(claimed="d/c#C"), None, None, "bind"),
        (claim(volumeName="v", bound=True), [], None, None, None, "Lost ClaimLost"),
        (claim(bound=True), [], None, None, None, "Lost ClaimLost"),
        (claim(volumeName="v", bound=True), [], volume(claimed="d/o#O"), None, None, "Lost ClaimMisbound"),
    ],
)
def test_claims(
    wanted: dict[str, Any], volumes: list[Any], named: Any, storage_class: Any, node: Any, expected: str
) -> None:
    plan = plan_claim(wanted, volumes, named, storage_class, node)
    shown = "bind" if plan.bind is not None else " ".join([plan.phase, *(reason for _, reason, _ in plan.events)])
    assert shown == expected


@pytest.mark.parametrize(("pods", "who"), [(("a",), "pod a"), (("a", "b"), "pods a,b")])
def test_a_claim_names_the_pods_that_it_waits_for(pods: tuple[str, ...], who: str) -> None:
    plan = plan_claim(claim(), [], None, LATE, None, pods)
    assert plan.events == [("Normal", "WaitForPodScheduled", f"waiting for {who} to be scheduled")]


@pytest.mark.parametrize(
    ("one", "its_claim", "expected"),
    [
        (volume(), None, ("Available", False, False)),
        (volume(claimed="d/c"), claim(), ("Available", False, True)),
        (volume(claimed="d/c#C"), claim(), ("Available", False, True)),
        (volume(claimed="d/c#C"), claim(volumeName="v"), ("Bound", False, False)),
        (volume(claimed="d/c#C"), claim(volumeName="w"), ("Available", True, False)),
        (volume(claimed="d/c#C"), None, ("Released", False, False)),
        (volume(claimed="d/c#C", persistentVolumeReclaimPolicy="Delete"), None, ("Failed", False, False)),
        (volume(claimed="d/c#C", persistentVolumeReclaimPolicy="Recycle"), None, ("Failed", False, False)),
        (
            volume(
                claimed="d/c#C",
                persistentVolumeReclaimPolicy="Delete",
                annotations={"pv.kubernetes.io/provisioned-by": "p"},
            ),
            None,
            ("Released", False, False),
        ),
    ],
)
def test_volumes(one: Any, its_claim: Any, expected: tuple[str, bool, bool]) -> None:
    plan = plan_volume(one, its_claim)
    assert (plan.phase, plan.unbind, plan.look_at_claim) == expected


def test_a_pair_names_each_other_and_says_who_chose() -> None:
    first = bound_volume(volume(), claim())
    assert first is not None
    assert first["spec"]["claimRef"]["uid"] == "C"
    assert first["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert bound_volume(first, claim()) is None
    second = bound_claim(claim(), first)
    assert second is not None
    assert second["spec"]["volumeName"] == "v"
    assert set(second["metadata"]["annotations"]) == {
        "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"}  # fmt: skip
    assert bound_claim(second, first) is None
    reserved = bound_volume(volume(claimed="d/c"), claim())
    assert reserved is not None
    assert "pv.kubernetes.io/bound-by-controller" not in reserved["metadata"]["annotations"]
    assert "claimRef" not in unbound_volume(first)["spec"]
    assert unbound_volume(reserved)["spec"]["claimRef"]["name"] == "c"
    status = plan_claim_status(claim(), plan_claim(claim(), [volume()], None, None, None))
    assert status == {
        "phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}  # fmt: skip
