"""What has to happen to the API object that shows a static pod."""

from __future__ import annotations

from orchestrator.kubelet.static_pods.folder import static_pod
from orchestrator.kubelet.static_pods.mirrors import MirrorStep, mirror_of, plan_mirror


def manifest(**spec: object) -> dict[str, object]:
    containers = [{"name": "c", "image": "web:1"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers, **spec}}


def test_a_mirror_follows_its_static_pod() -> None:
    static, other = (
        static_pod(one, source="/m/web.yaml", node_name="node-1") for one in (manifest(), manifest(hostNetwork=True))
    )
    node = {"metadata": {"name": "node-1", "uid": "n"}}
    mirror = mirror_of(static, node)
    assert "uid" not in mirror["metadata"]
    assert mirror["metadata"]["ownerReferences"][0]["kind"] == "Node"
    dying = {**mirror, "metadata": {**mirror["metadata"], "deletionTimestamp": "now"}}
    assert plan_mirror(static, None) is MirrorStep.CREATE
    assert plan_mirror(static, mirror) is MirrorStep.NOTHING
    assert plan_mirror(other, mirror) is MirrorStep.REPLACE
    assert plan_mirror(static, dying) is MirrorStep.REPLACE
    assert plan_mirror(None, mirror) is MirrorStep.DELETE
    assert plan_mirror(None, None) is MirrorStep.NOTHING
