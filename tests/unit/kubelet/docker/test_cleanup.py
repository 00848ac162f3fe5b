"""What `down` removes, and in which order."""

from __future__ import annotations

from orchestrator.kubelet.docker.cleanup import plan_removal_order, plan_unmounts


def test_sandboxes_go_last() -> None:
    sandbox = {"Id": "s", "Labels": {"orchestrator.dev/kind": "sandbox"}}
    assert plan_removal_order([sandbox, {"Id": "a", "Labels": None}, {"Id": "b", "Labels": {}}]) == [["a", "b"], ["s"]]


def test_only_mounts_below_the_directory_and_the_last_first() -> None:
    lines = "\n".join(
        f"{number} 1 0:1 / {point} rw - tmpfs none rw"
        for number, point in enumerate(["/", "/data", "/data/pods/a\\040b", "/database", "/data/pods/c"])
    )
    assert plan_unmounts(lines, "/data/") == ["/data/pods/c", "/data/pods/a b", "/data"]
