"""Updates: what may not change, in the words of a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api import schema
from orchestrator.api.kinds.object_meta import validate_object_meta_update
from orchestrator.api.objects import copy_object
from orchestrator.api.patch.merge_patch import apply_merge_patch
from orchestrator.api.patch.strategic import apply_strategic_merge_patch
from tests.unit.api.kinds import golden
from tests.unit.api.kinds.test_golden_validation import _same

NEWER = {
    "v-pvc-immutable": "the volume attributes class is named too",
    "v-pvc-shrink": "since v1.23 a claim may shrink to what it was before a failed growth",
    "v-pvc-grow-unbound": "the volume attributes class is named too",
    "v-sts-update-servicename": "more fields may change",
    "v-svc-put-norv": "a Service is replaced without a version, and keeps its address",
    "v-update-uid": "reported once",
    "v-pod-update-immutable": "more fields may change",
}


def _cases() -> list[tuple[str, Any]]:
    cases = []
    for recording in golden.recordings("validation"):
        steps = recording["steps"]
        if len(steps) < 2 or steps[0]["request"]["method"] != "POST" or steps[0]["response"]["code"] != 201:
            continue
        kind, _, name, is_subresource = golden.kind_of(steps[1]["request"]["path"])
        method = steps[1]["request"]["method"]
        if kind is None or is_subresource or not name or method not in ("PUT", "PATCH"):
            continue
        if not isinstance(steps[1]["request"].get("body"), dict) or steps[1]["response"]["code"] not in (200, 422):
            continue
        cases.append((recording["id"], (recording["id"], kind, steps[0], steps[1])))
    return cases


@pytest.mark.parametrize("case", golden.params(_cases()))
def test_same_causes(case: Any) -> None:
    scenario, kind, first, second = case
    old = copy_object(first["response"]["body"])
    kind.default(old)
    old["metadata"]["resourceVersion"] = "1"
    request = second["request"]
    if request["method"] == "PUT":
        new = {**copy_object(request["body"])}
        meta = new.setdefault("metadata", {})
        for key in ("uid", "creationTimestamp", "namespace", "generation"):
            if key in old["metadata"]:
                meta.setdefault(key, old["metadata"][key])
    elif "strategic" in request["headers"].get("content-type", ""):
        new = apply_strategic_merge_patch(old, request["body"], schema.definition(kind.definition))
    else:
        new = apply_merge_patch(old, request["body"])
    new = copy_object(new)
    new["metadata"]["resourceVersion"] = "1"
    kind.default(new)
    kind.prepare_update(new, old)
    causes = validate_object_meta_update(new, old, kind)
    causes += kind.validate_update(new, old) if kind.validate_update else kind.validate(new)
    expected = (second["response"]["body"].get("details") or {}).get("causes") or []
    if scenario in NEWER:
        assert bool(causes) == (second["response"]["code"] == 422) or scenario == "v-svc-put-norv"
        return
    assert [(cause.reason, cause.field) for cause in causes] == [(c["reason"], c.get("field", "")) for c in expected]
    for cause, wanted in zip(causes, expected, strict=True):
        message, recorded = (text.split("\n")[0] for text in (cause.message, wanted["message"]))
        assert _same(message, recorded), (message, recorded)
