"""A disk that fills up: pressure first, then writes that are refused and say so; room again, and all goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import apply, has_phase, is_running, pod, wait_for_event, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root rights")

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)  # `down` has done so already, if it came that far


@pytest.fixture
def process(disk: Path, test_clusters: set[str]) -> Iterator[OrchestratorProcess]:
    config = disk.parent / "orchestrator.yaml"
    config.write_text(json.dumps({"evictionHard": ["nodefs.available<64Mi"]}))
    one = OrchestratorProcess(disk, "--config", str(config))
    one.start()
    test_clusters.add(one.cluster_id)
    yield one
    one.kill()
    one.down()


def fill(disk: Path, *, leave_bytes: int = 0) -> None:
    """Write a file until only so much is free."""
    space = os.statvfs(disk)
    with (disk / "filler").open("ab") as filler:
        left = space.f_bavail * space.f_frsize - leave_bytes
        try:
            while left > 0:
                left -= filler.write(bytes(min(left, MIB)))
                filler.flush()
        except OSError:
            assert leave_bytes == 0


def has_disk_pressure(nodes: list[dict[str, Any]]) -> bool:
    conditions = [c for node in nodes for c in node["status"]["conditions"] if c["type"] == "DiskPressure"]
    return any(c["status"] == "True" for c in conditions)


def has_pressure_taint(nodes: list[dict[str, Any]]) -> bool:
    return any(t["key"] == "node.kubernetes.io/disk-pressure" for n in nodes for t in n["spec"].get("taints", ()))


def test_a_disk_that_fills_up(process: OrchestratorProcess, disk: Path, kubectl: Path) -> None:
    k = Kubectl(kubectl, process)
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    apply(k, pod("early"))
    wait_for_pod(k, "early", is_running)

    fill(disk, leave_bytes=24 * MIB)
    (node,) = k.wait_for("nodes", has_disk_pressure)
    k.wait_for("nodes", has_pressure_taint)
    evicted = wait_for_pod(k, "early", has_phase("Failed"))
    assert evicted["status"]["reason"] == "Evicted"
    assert "ephemeral-storage" in wait_for_event(k, "Evicted")["message"]

    fill(disk)
    refused = k.run("create", "configmap", "late", "--from-literal=key=value")
    assert refused.returncode == 1
    assert "disk is full" in refused.stderr
    assert k("get", "nodes", "-o", "name").strip() == f"node/{node['metadata']['name']}", "reading goes on"

    (disk / "filler").unlink()
    k("create", "configmap", "late", "--from-literal=key=value")
    process.stop()
    process.start()
    assert k.json("get", "configmap", "late")["data"] == {"key": "value"}
