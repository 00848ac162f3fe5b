"""ControllerRevisions: what a workload's template was, by number, for StatefulSets and DaemonSets.

Owns naming, numbering, comparing and cleaning up of revisions. Never decides which pods run which
revision. Mirrors pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)
from orchestrator.controllers.hashing import content_hash, without_empty
from orchestrator.controllers.pods import created_at

HASH_LABEL = "controller.kubernetes.io/hash"
"""On a revision: the hash in its name."""
REVISION_LABEL = "controller-revision-hash"
"""On a pod: which revision it was made from."""


def revision_number(revision: Object) -> int:
    """The number of a revision."""
    return int(revision.get("revision") or 0)


def in_order(revisions: Iterable[Object]) -> list[Object]:
    """Revisions by number, the latest last."""
    return sorted(revisions, key=lambda one: (revision_number(one), created_at(one), name_of(one)))


def template_patch(owner: Object) -> dict[str, Any]:
    """The data of a revision: the template as a patch that replaces it, which `kubectl rollout undo` sends."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Object) -> dict[str, Any]:
    """The pod template that a revision recorded."""
    template = copy_object(((revision.get("data") or {}).get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template


def has_same_data(revision: Object, data: Any) -> bool:
    """Whether a revision recorded this data; nulls and absent fields are the same."""
    return bool(without_empty(revision.get("data")) == without_empty(data))


def revision_hash(data: Any, collision_count: int | None) -> str:
    """The hash of a revision's data; another one after each collision."""
    return content_hash(data, collision_count or 0)


def new_revision(owner: Object, number: int, collision_count: int | None, hash_label: str = HASH_LABEL) -> Object:
    """The revision that records the owner's present template."""
    data = template_patch(owner)
    digest = revision_hash(data, collision_count)
    labels = {**((owner["spec"]["template"].get("metadata") or {}).get("labels") or {}), hash_label: digest}
    metadata: dict[str, Any] = {
        "name": f"{name_of(owner)[:223]}-{digest}",
        "namespace": namespace_of(owner),
        "labels": labels,
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations_of(owner):
        metadata["annotations"] = annotations_of(owner)
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data,
        "revision": number,
    }


class RevisionPlan(Struct, frozen=True):
    """Which revision the present template is: `keep` it, give it a later `number`, or `create` one."""

    keep: Object | None = None
    renumber: Object | None = None
    number: int = 0
    create: Object | None = None


def plan_revision(
    owner: Object, revisions: Sequence[Object], collision_count: int | None, hash_label: str = HASH_LABEL
) -> RevisionPlan:
    """What to do so that the latest revision records the owner's template; a rollback reuses the old one."""
    ordered = in_order(revisions)
    number = revision_number(ordered[-1]) + 1 if ordered else 1
    data = template_patch(owner)
    same = [one for one in ordered if has_same_data(one, data)]
    if same and same[-1] is ordered[-1]:
        return RevisionPlan(keep=same[-1])
    if same:
        return RevisionPlan(renumber=same[-1], number=number)
    return RevisionPlan(create=new_revision(owner, number, collision_count, hash_label), number=number)


def plan_truncation(
    owner: Object, revisions: Sequence[Object], pods: Iterable[Object], live: Iterable[str], hash_label: str = ""
) -> list[Object]:
    """Revisions beyond `revisionHistoryLimit` that nothing uses, the oldest first.

    `live`: names that stay in any case. Pods name their revision in a label, by its whole name or,
    with `hash_label`, by the value of that label.
    """
    used = {labels_of(pod).get(REVISION_LABEL, "") for pod in pods}
    keep = set(live)
    limit = owner["spec"].get("revisionHistoryLimit", 10)

    def is_used(one: Object) -> bool:
        identity = labels_of(one).get(hash_label, "") if hash_label else name_of(one)
        return name_of(one) in keep or identity in used

    unused = [one for one in in_order(revisions) if not is_used(one) and not is_terminating(one)]
    return unused[: max(0, len(unused) - limit)]
