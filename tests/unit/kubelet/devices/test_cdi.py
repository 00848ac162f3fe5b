"""Descriptions of devices, and what they add to a container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubelet.devices.cdi import describe, plan_injection, read_descriptions
from orchestrator.kubelet.devices.injection import Injection, merge_injections
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.runtime import ContainerSpec, DeviceNode, Mount

PATHS = NodePaths(kubelet_dir=Path("/data/n1"))


def content(*devices: dict[str, Any], **edits: Any) -> dict[str, Any]:
    return {"cdiVersion": "0.6.0", "kind": "v.com/gpu", "devices": [*devices], "containerEdits": edits}


def device(name: str = "a", **edits: Any) -> dict[str, Any]:
    return {"name": name, "containerEdits": edits}


def injected(*names: str, of: dict[str, Any]) -> Injection:
    return plan_injection(names, dict(describe(of, "f.json")), PATHS)


def test_edits_of_the_file_and_of_each_device() -> None:
    of = content(device("a", env=["A=1", "X=a"]), device("b", env=["X=b=c"]), env=["ALL=yes", "X=all"])
    assert injected("v.com/gpu=a", "v.com/gpu=b", "v.com/gpu=a", of=of).env == {"ALL": "yes", "A": "1", "X": "b=c"}


def test_devices_mounts_and_groups() -> None:
    of = content(
        device(
            deviceNodes=[{"path": "/dev/a"}, {"path": "/dev/b", "hostPath": "/dev/zero", "permissions": "r"}],
            mounts=[
                {"hostPath": "/var/lib/kubelet/plugins/x", "containerPath": "/x", "options": ["ro", "rbind", "rslave"]},
                {"hostPath": "/usr/lib", "containerPath": "/lib"},
            ],
            additionalGids=[44, 0],
        )
    )
    assert injected("v.com/gpu=a", of=of) == Injection(
        mounts=(
            Mount("/data/n1/plugins/x", "/x", read_only=True, propagation="rslave"),
            Mount("/usr/lib", "/lib"),
        ),
        devices=(DeviceNode("/dev/a", "/dev/a", "rwm"), DeviceNode("/dev/zero", "/dev/b", "r")),
        groups=("44",),
    )


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (content(device("b")), "unresolvable CDI devices v.com/gpu=a"),
        (content(device(hooks=[{"hookName": "createContainer", "path": "/x"}])), "v.com/gpu=a has hooks"),
        (content(device(), hooks=[{"hookName": "createContainer", "path": "/x"}]), "v.com/gpu=a has hooks"),
        (content(device(mounts=[{"hostPath": "x", "containerPath": "/x", "type": "tmpfs"}])), "mount of type tmpfs"),
        (content(device(mounts=[{"hostPath": "/x"}])), "the description of v.com/gpu=a is invalid"),
        (content(device(deviceNodes=["/dev/a"])), "the description of v.com/gpu=a is invalid"),
    ],
)
def test_what_cannot_be_injected_is_refused(of: dict[str, Any], why: str) -> None:
    with pytest.raises(DeviceFailure, match=f"CDI device injection failed: .*{why}"):
        injected("v.com/gpu=a", of=of)


def test_files_in_their_order(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    (near / "a.json").write_text(json.dumps(content(device("a", env=["FROM=near"]))))
    (far / "a.yaml").write_text(
        "kind: v.com/gpu\ndevices: [{name: a, containerEdits: {env: [FROM=far]}}, {name: b, containerEdits: {}}]"
    )
    (far / "broken.json").write_text("{")
    (far / "broken.yaml").write_text("{]")
    (far / "list.json").write_text("[]")
    (far / "notes.txt").write_text("kind: v.com/x")
    found = read_descriptions((near, far, tmp_path / "missing"))
    assert sorted(found) == ["v.com/gpu=a", "v.com/gpu=b"]
    assert plan_injection(["v.com/gpu=a"], found, PATHS).env == {"FROM": "near"}


def test_a_device_that_two_files_of_a_folder_describe_is_none(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(content(device("a"))))
    assert read_descriptions((tmp_path,)) == {}


SPEC = ContainerSpec(name="c", attempt=0, image="i", env=(("A", "own"),), mounts=(Mount("/own", "/m"),))
MORE = Injection(
    env={"A": "more", "B": "more"},
    mounts=(Mount("/more", "/m"), Mount("/more", "/n")),
    devices=(DeviceNode("/dev/zero", "/dev/a"),),
    annotations={"k": "v"},
    groups=("44",),
)


@pytest.mark.parametrize(("inject", "wins"), [(MORE.beneath, "own"), (MORE.over, "more")])
def test_who_wins_where_both_have_something(inject: Any, wins: str) -> None:
    spec = inject(SPEC)
    assert dict(spec.env) == {"A": wins, "B": "more"}
    assert {mount.target: mount.source for mount in spec.mounts} == {"/m": f"/{wins}", "/n": "/more"}
    assert (spec.devices, spec.annotations, spec.security.groups) == (MORE.devices, {"k": "v"}, ("44",))


def test_nothing_is_merged_to_nothing() -> None:
    assert merge_injections([]) == Injection()
