"""Puts the default policy into the store and keeps it complete from one start to the next.

Mirrors kube-apiserver's `rbac/bootstrap-roles` post-start hook: what is missing is created, rules and
subjects that a newer version has are added, nothing that somebody added is taken away, and objects whose
`autoupdate` annotation was set to "false" are left alone. It runs before the server is ready, so that nobody
is ever refused for want of a role that is about to exist; on a fresh cluster all of it is one commit.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api.objects import Object, annotations_of, labels_of
from orchestrator.apiserver.rbac.defaults import AUTOUPDATE, default_objects
from orchestrator.apiserver.rbac.rules import compile_rules, uncovered
from orchestrator.store import Key, KeyExists, KeyNotFound, RevisionConflict, Store


async def ensure_default_policy(store: Store, clock: Clock) -> None:
    """Create or complete every default role and binding."""
    now = format_time(clock.now())
    await asyncio.gather(*[_ensure(store, resource, obj, now) for resource, obj in default_objects()])


async def _ensure(store: Store, resource: str, wanted: Object, now: str) -> None:
    metadata = wanted["metadata"]
    key = Key(resource, metadata.get("namespace", ""), metadata["name"])
    while True:
        record = await store.get(key)
        try:
            if record is None:
                fresh = {**metadata, "uid": str(uuid.uuid4()), "creationTimestamp": now}
                await store.create(key, {**wanted, "metadata": fresh})
                return
            completed = plan_completed(record.obj, wanted)
            if completed is not None:
                await store.update(key, completed, expected_revision=record.revision)
            return
        except (KeyExists, KeyNotFound, RevisionConflict):
            continue  # another API server on the same store was faster: look again


def plan_completed(current: Object, wanted: Object) -> Object | None:
    """The current object with what the default policy has more; None when nothing is missing."""
    if annotations_of(current).get(AUTOUPDATE) == "false":
        return None
    changes: dict[str, Any] = {}
    if "roleRef" in wanted:
        subjects = current.get("subjects") or []
        added = [subject for subject in wanted.get("subjects") or () if subject not in subjects]
        if added:
            changes["subjects"] = [*subjects, *added]
    elif "aggregationRule" in wanted:
        selectors = (current.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        missing = [one for one in wanted["aggregationRule"]["clusterRoleSelectors"] if one not in selectors]
        if missing:
            changes["aggregationRule"] = {"clusterRoleSelectors": [*selectors, *missing]}
    elif current.get("rules") != wanted["rules"]:
        rules = current.get("rules") or []
        lacking = uncovered(compile_rules(rules), wanted["rules"])
        if lacking:
            changes["rules"] = [*rules, *(rule for rule in wanted["rules"] if uncovered(compile_rules(rules), [rule]))]
    labels, annotations = labels_of(current), annotations_of(current)
    given = wanted["metadata"]
    if not given["labels"].items() <= labels.items() or AUTOUPDATE not in annotations:
        changes["metadata"] = {
            **current["metadata"],
            "labels": {**given["labels"], **labels},
            "annotations": {**given["annotations"], **annotations},
        }
        if changes["metadata"]["labels"] == labels and AUTOUPDATE in annotations:
            del changes["metadata"]
    return {**current, **changes} if changes else None
