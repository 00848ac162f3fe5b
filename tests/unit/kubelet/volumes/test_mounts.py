"""What is mounted where, as the kernel writes it."""

from __future__ import annotations

from orchestrator.kubelet.volumes.mounts import mount_points


def test_only_mounts_below_the_directory_and_the_last_first() -> None:
    points = ["/", "/data", "/data/pods/a\\040b", "/database", "/data/pods/c\\134d", "/data"]
    lines = [f"{number} 1 0:1 / {point} rw - tmpfs none rw\n" for number, point in enumerate(points)]
    assert mount_points(lines, "/data") == ["/data", "/data/pods/c\\d", "/data/pods/a b", "/data"]
