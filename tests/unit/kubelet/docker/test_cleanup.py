"""What `down` removes, and in which order."""

from __future__ import annotations

from orchestrator.kubelet.docker.cleanup import plan_removal_order


def test_sandboxes_go_last() -> None:
    sandbox = {"Id": "s", "Labels": {"orchestrator.dev/kind": "sandbox"}}
    assert plan_removal_order([sandbox, {"Id": "a", "Labels": None}, {"Id": "b", "Labels": {}}]) == [["a", "b"], ["s"]]
