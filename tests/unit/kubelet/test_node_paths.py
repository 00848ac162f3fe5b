"""What paths of a node mean on the machine that nodes share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.kubelet.node_paths import NodePaths, is_on_shared_mount, make_kubelet_dir
from orchestrator.kubelet.volumes.mounts import mounted_below, unmount_below

PATHS = NodePaths(kubelet_dir=Path("/data/kubelet/n1"), seccomp_dir=Path("/data/kubelet/seccomp"))


@pytest.mark.parametrize(
    ("on_node", "on_machine"),
    [
        ("/var/lib/kubelet", "/data/kubelet/n1"),
        ("/var/lib/kubelet/", "/data/kubelet/n1"),
        ("/var/lib/kubelet/pods/x", "/data/kubelet/n1/pods/x"),
        ("/var/lib//kubelet/./plugins", "/data/kubelet/n1/plugins"),
        ("/var/lib/kubelet/seccomp/audit.json", "/data/kubelet/seccomp/audit.json"),
        ("/var/run/cdi/vendor.json", "/data/kubelet/n1/cdi/vendor.json"),
        ("/run/cdi", "/data/kubelet/n1/cdi"),
        ("/var/lib/kubelet2", "/var/lib/kubelet2"),
        ("/var/lib", "/var/lib"),
        ("/dev/null", "/dev/null"),
    ],
)
def test_the_kubelets_directory_is_the_nodes_own(on_node: str, on_machine: str) -> None:
    assert PATHS.on_machine(on_node) == Path(on_machine)


@pytest.mark.parametrize(
    ("on_machine", "on_node"),
    [
        ("/data/kubelet/n1/pods/x/volumes", "/var/lib/kubelet/pods/x/volumes"),
        ("/data/kubelet/n1", "/var/lib/kubelet"),
        ("/data/kubelet/n1/cdi/a.json", "/var/run/cdi/a.json"),
        ("/data/kubelet/n2/pods", "/data/kubelet/n2/pods"),
        ("/tmp", "/tmp"),
    ],
)
def test_drivers_are_told_the_paths_that_they_know(on_machine: str, on_node: str) -> None:
    assert PATHS.on_node(Path(on_machine)) == on_node


ROOT = "22 1 8:1 / / rw,relatime {tags}- ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "is_shared"),
    [
        pytest.param(ROOT.format(tags="shared:1 "), True, id="systemd shares everything"),
        pytest.param(ROOT.format(tags=""), False, id="a private root"),
        pytest.param(
            ROOT.format(tags="") + "30 22 8:1 /data /data rw shared:7 master:1 - ext4 /dev/sda1 rw\n", True, id="own"
        ),
        pytest.param(
            ROOT.format(tags="shared:1 ") + "30 22 8:1 /data /data rw - ext4 /dev/sda1 rw\n", False, id="nearer"
        ),
        pytest.param(
            ROOT.format(tags="shared:1 ") + "30 22 8:1 /data /data2 rw - ext4 /dev/sda1 rw\n", True, id="neighbour"
        ),
    ],
)
def test_whether_mounts_below_a_path_propagate(mountinfo: str, is_shared: bool) -> None:
    assert is_on_shared_mount(mountinfo, "/data/kubelet/n1") is is_shared


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_kubelet_directory_is_shared_and_has_what_drivers_expect(tmp_path: Path) -> None:
    folder = tmp_path / "kubelet"
    try:
        for _ in range(2):
            make_kubelet_dir(folder)
            names = {path.name for path in folder.iterdir()}
            assert names == {"plugins", "plugins_registry", "device-plugins", "pod-resources", "cdi"}
            assert is_on_shared_mount(Path("/proc/self/mountinfo").read_text(), str(folder))
            assert len(mounted_below(folder)) <= 1
    finally:
        unmount_below(folder)
