"""Templates, their hashes, and the revision annotations of a Deployment and its ReplicaSets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.api.objects import Object, annotations_of, copy_object, labels_of, name_of, owner_reference
from orchestrator.controllers.hashing import content_hash, without_empty
from orchestrator.controllers.pods import created_at

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"

REVISION_HISTORY_CHARS_MAX = 2000

_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)


def template_hash(deployment: Object) -> str:
    """The `pod-template-hash` of the Deployment's present template."""
    return content_hash(deployment["spec"]["template"], (deployment.get("status") or {}).get("collisionCount"))


def has_same_template(deployment: Object, replica_set: Object) -> bool:
    """Whether a ReplicaSet runs the Deployment's template, the hash label aside."""
    wanted, present = deployment["spec"]["template"], replica_set["spec"].get("template") or {}
    return bool(_comparable(wanted) == _comparable(present))


def _comparable(template: Object) -> Any:
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    metadata = {key: value for key, value in metadata.items() if key not in ("labels", "creationTimestamp") and value}
    return without_empty({**template, "metadata": {**metadata, "labels": labels}})


def by_creation(replica_set: Object) -> tuple[Any, ...]:
    """Sort key: oldest first, then by name."""
    return (created_at(replica_set), name_of(replica_set))


def find_new(deployment: Object, replica_sets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template."""
    # Only ever one in a healthy cluster; with several, the oldest is the same choice at every reconcile.
    same = (rs for rs in sorted(replica_sets, key=by_creation) if has_same_template(deployment, rs))
    return next(same, None)


def revision_of(obj: Object) -> int:
    """The revision annotation as a number; 0 without one, or with one that is none."""
    try:
        return int(annotations_of(obj).get(REVISION) or 0)
    except ValueError:
        return 0


def annotation_number(obj: Object, annotation: str) -> int | None:
    """The number that an annotation holds, if it holds one."""
    try:
        return int(annotations_of(obj)[annotation])
    except (KeyError, ValueError):
        return None


def next_revision(old: Sequence[Object]) -> int:
    """One more than the highest revision among the old ReplicaSets."""
    return max((revision_of(rs) for rs in old), default=0) + 1


def annotations_for_new(deployment: Object, present: dict[str, str], revision: int, *, exists: bool) -> dict[str, str]:
    """The annotations of the new ReplicaSet: those of the Deployment, its revision, and its earlier revisions.

    A ReplicaSet that a rollback makes new again keeps the revisions it had in `revision-history`.
    """
    annotations = dict(present)
    for key, value in annotations_of(deployment).items():
        if key not in _NOT_COPIED:
            annotations[key] = value
    old_text = present.get(REVISION, "")
    try:
        old = int(old_text or 0)
    except ValueError:
        return annotations  # somebody else's value: leave it
    if old < revision:
        annotations[REVISION] = str(revision)
        if exists and old_text:
            history = present.get(REVISION_HISTORY, "")
            entries = [entry for entry in history.split(",") if entry]
            if old_text not in entries:
                entries.append(old_text)
            while len(",".join(entries)) > REVISION_HISTORY_CHARS_MAX:
                entries.pop(0)
            annotations[REVISION_HISTORY] = ",".join(entries)
    return annotations


def replica_annotations(replicas: int, max_surge: int) -> dict[str, str]:
    """What proportional scaling needs to know later: the size of the Deployment when this was written."""
    return {DESIRED_REPLICAS: str(replicas), MAX_REPLICAS: str(replicas + max_surge)}


def new_replica_set(deployment: Object, revision: int, max_surge: int) -> Object:
    """The ReplicaSet for the Deployment's template, still of size 0."""
    spec = deployment["spec"]
    suffix = template_hash(deployment)
    template = copy_object(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = suffix
    selector = copy_object(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = suffix
    annotations = annotations_for_new(deployment, {}, revision, exists=False)
    annotations.update(replica_annotations(spec.get("replicas", 1), max_surge))
    rs_spec: dict[str, Any] = {"replicas": 0, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        rs_spec["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{suffix}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": labels_of({"metadata": template["metadata"]}),
            "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": rs_spec,
    }
