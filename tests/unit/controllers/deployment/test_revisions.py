"""Template hashes and revision annotations."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import copy_object
from orchestrator.controllers.deployment import revisions


def deployment(image: str = "a:1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "d", "uid": "u", **metadata},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    }


def test_the_hash_follows_the_template_and_the_collision_count_only() -> None:
    base = deployment()
    assert revisions.template_hash(base) == revisions.template_hash(deployment(labels={"x": "y"}))
    assert revisions.template_hash(base) != revisions.template_hash(deployment("a:2"))
    assert revisions.template_hash(base) != revisions.template_hash({**base, "status": {"collisionCount": 1}})
    assert set(revisions.template_hash(base)) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_a_new_replica_set() -> None:
    d = deployment(annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "n"})
    rs = revisions.new_replica_set(d, 2, 1)
    suffix = revisions.template_hash(d)
    assert rs["metadata"]["name"] == f"web-{suffix}"
    assert rs["metadata"]["labels"] == {"app": "web", "pod-template-hash": suffix}
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": suffix}
    assert rs["metadata"]["annotations"] == {
        "note": "n",
        "deployment.kubernetes.io/revision": "2",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert revisions.has_same_template(d, rs)
    assert not revisions.has_same_template(deployment("a:2"), rs)


def test_nulls_and_empty_lists_are_no_difference() -> None:
    d = deployment()
    rs = revisions.new_replica_set(d, 1, 1)
    other = copy_object(d)
    other["spec"]["template"]["metadata"]["creationTimestamp"] = None
    other["spec"]["template"]["spec"]["volumes"] = []
    assert revisions.has_same_template(other, rs)


def test_a_rolled_back_replica_set_remembers_its_revisions() -> None:
    annotations = {"deployment.kubernetes.io/revision": "1"}
    once = revisions.annotations_for_new(deployment(), annotations, 3, exists=True)
    assert once["deployment.kubernetes.io/revision"] == "3"
    assert once["deployment.kubernetes.io/revision-history"] == "1"
    twice = revisions.annotations_for_new(deployment(), once, 5, exists=True)
    assert twice["deployment.kubernetes.io/revision-history"] == "1,3"
    assert revisions.annotations_for_new(deployment(), twice, 5, exists=True) == twice


def test_the_revision_history_is_bounded() -> None:
    annotations: dict[str, str] = {}
    for revision in range(1, 2000):
        annotations = revisions.annotations_for_new(deployment(), annotations, revision, exists=True)
    history = annotations["deployment.kubernetes.io/revision-history"]
    assert len(history) <= 2000
    assert history.endswith(",1998")


def test_the_next_revision_is_above_all_old_ones() -> None:
    old = [{"metadata": {"annotations": {"deployment.kubernetes.io/revision": text}}} for text in ("2", "11", "x")]
    assert revisions.next_revision(old) == 12
    assert revisions.next_revision([]) == 1
