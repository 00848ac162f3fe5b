"""What is attached to a node, detached from it, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.csi_volumes import attachment_name, is_attachment_name, unique_volume_name
from orchestrator.api.objects import Object, name_of
from orchestrator.controllers.attachdetach.plan import (
    UNMOUNT_SECONDS_MAX,
    AttachPlan,
    Wanted,
    attachment,
    multi_attach_message,
    plan_node,
)

DRIVER = "disk.example.com"


def volume(name: str = "pv", *modes: str) -> Object:
    spec = {"csi": {"driver": DRIVER, "volumeHandle": f"h-{name}"}, "accessModes": list(modes or ("ReadWriteOnce",))}
    return {"metadata": {"name": name}, "spec": spec}


def node(*in_use: str, ready: str = "True", taints: tuple[str, ...] = ()) -> Object:
    return {
        "metadata": {"name": "n"},
        "spec": {"taints": [{"key": key} for key in taints]},
        "status": {
            "volumesInUse": [unique_volume_name(DRIVER, f"h-{name}") for name in in_use],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def present(name: str = "pv", *, attached: bool = True, **metadata: Any) -> Object:
    made = attachment(Wanted(volume(name), []), "n")
    return {**made, "metadata": {**made["metadata"], **metadata}, "status": {"attached": attached}}


def plan(
    there: Object | None, wanted: list[Object], attachments: list[Object], waited_seconds: float = 0, **elsewhere: Any
) -> AttachPlan:
    known = {name_of(one): one for one in (*wanted, volume("pv"), volume("b"))}
    return plan_node(
        "n",
        there,
        [Wanted(one, []) for one in wanted],
        attachments,
        volumes=known,
        elsewhere=elsewhere,
        unmounting_seconds={name_of(one): waited_seconds for one in attachments},
    )


def test_the_names_are_those_that_attachers_and_kubelets_compute() -> None:
    # The hash of handle, driver and node, in this order, without anything between them.
    assert attachment_name("d", "h", "n") == ("csi-9072ed11cc1acb5fa433a877ff339b6311d013f33bddd1d0092711a8ace5b16d")
    assert is_attachment_name(attachment_name("d", "h", "n"))
    assert not is_attachment_name("csi-mine")
    assert unique_volume_name("d", "h") == "kubernetes.io/csi/d^h"


def test_what_pods_need_is_attached_once() -> None:
    wanted = [volume("pv"), volume("b")]
    result = plan(node(), wanted, [present("b", attached=False)])
    assert [name_of(one.volume) for one in result.attach] == ["pv"]
    assert (result.detach, result.attached) == ([], [])


def test_a_volume_that_is_attached_is_shown_on_the_node() -> None:
    assert plan(node(), [volume()], [present()]).attached == [unique_volume_name(DRIVER, "h-pv")]


@pytest.mark.parametrize(
    ("modes", "attaches"),
    [(["ReadWriteOnce"], 0), (["ReadWriteOncePod"], 0), (["ReadWriteMany"], 1), (["ReadWriteOnce", "ReadOnlyMany"], 1)],
)
def test_an_exclusive_volume_waits_for_the_node_that_has_it(modes: list[str], attaches: int) -> None:
    result = plan(node(), [volume("pv", *modes)], [], pv=["other"])
    assert (len(result.attach), len(result.taken)) == (attaches, 1 - attaches)


def test_nothing_is_attached_to_a_node_that_is_not_there() -> None:
    assert not plan(None, [volume()], []).attach


def test_an_attachment_on_its_way_out_is_waited_for() -> None:
    result = plan(node(), [volume()], [present(deletionTimestamp="2026-01-01T00:00:00Z")])
    assert (result.attach, result.attached) == ([], [])


def test_what_nobody_needs_is_detached_when_the_kubelet_has_unmounted_it() -> None:
    one = present()
    waiting = plan(node("pv"), [], [one], waited_seconds=60)
    assert (waiting.detach, waiting.unmounting, waiting.again_seconds) == ([], {name_of(one)}, UNMOUNT_SECONDS_MAX - 60)
    assert waiting.attached, "it is attached until it is detached"
    free = plan(node(), [], [one])
    assert (free.detach, free.attached, free.forced) == ([name_of(one)], [], set())


@pytest.mark.parametrize(
    ("there", "waited_seconds", "goes"),
    [
        (node("pv"), UNMOUNT_SECONDS_MAX + 1, False),  # a healthy node is waited for
        (node("pv", ready="Unknown"), UNMOUNT_SECONDS_MAX - 1, False),
        (node("pv", ready="Unknown"), UNMOUNT_SECONDS_MAX + 1, True),
        (node("pv", ready="Unknown", taints=("node.kubernetes.io/out-of-service",)), 0, True),
        (node("pv", taints=("node.kubernetes.io/out-of-service",)), 0, False),  # it is alive
        (None, 0, True),
    ],
)
def test_volumes_of_a_lost_node_are_detached_without_it(
    there: Object | None, waited_seconds: float, goes: bool
) -> None:
    assert bool(plan(there, [], [present()], waited_seconds).detach) is goes


def test_attachments_that_somebody_else_made_are_left_alone() -> None:
    foreign = present()
    foreign["metadata"]["name"] = "mine"
    assert not plan(node(), [], [foreign]).detach


def test_the_message_names_the_pods_that_have_the_volume() -> None:
    assert multi_attach_message("pv", ["b", "a"]) == (
        'Multi-Attach error for volume "pv" Volume is already used by pod(s) a, b'
    )
    assert multi_attach_message("pv", []).endswith("can't be attached to another")
