"""Jobs and StatefulSets: what is refused, path and words as kube-apiserver has them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.stateful_set import STATEFUL_SET
from orchestrator.api.kinds.batch.indexes import IndexesError, find_overlap, parse_indexes
from orchestrator.api.kinds.batch.job import JOB
from orchestrator.api.objects import Object, copy_object

POD: dict[str, Any] = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
INDEXED: dict[str, Any] = {"completionMode": "Indexed", "completions": 4, "parallelism": 2}
BEGUN, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
POD_AFFINITY = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]}
NODE_AFFINITY = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
    }
}
BIG: dict[str, Any] = {**INDEXED, "completions": 100_001, "backoffLimitPerIndex": 1}


def job(*, pod: dict[str, Any] | None = None, **spec: Any) -> Object:
    obj: Object = {
        "metadata": {"name": "x", "namespace": "n", "uid": "u"},
        "spec": {"template": {"spec": {**POD, **(pod or {})}}, **copy_object(spec)},
    }
    JOB.default(obj)
    JOB.prepare_create(obj)
    return obj


def shown(causes: list[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize(("text", "total"), [("", 0), ("0", 1), ("0-2", 3), ("1,3-5,7", 5), ("0,1", 2)])
def test_indexes(text: str, total: int) -> None:
    assert parse_indexes(text, 10) == total


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", 'cannot convert string to integer for index: "a"'),
        ("1,", 'cannot convert string to integer for index: ""'),
        ("10", 'too large index: "10"'),
        ("1-2-3", 'the fragment "1-2-3" violates the requirement that an index interval can have at most two parts'),
        ("3,1", "non-increasing order, previous: 3, current: 1"),
        ("2-2", "non-increasing order, previous: 2, current: 2"),
    ],
)
def test_no_indexes(text: str, message: str) -> None:
    with pytest.raises(IndexesError, match=message.replace("(", r"\(")):
        parse_indexes(text, 10)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [("0-2", "3,5", None), ("0-2", "2,5", 2), ("1,4-6", "2,5-7", 5), ("", "1", None), ("x,3", "3", 3)],
)
def test_overlap(one: str, other: str, overlap: int | None) -> None:
    assert find_overlap(one, other, 10) == overlap


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (INDEXED, []),
        ({**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 5},
         ["spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions"]),
        (BIG, ["spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"]),
        ({**BIG, "maxFailedIndexes": 10_001},
         ["spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above"
          " 100000 and used with backoff limit per index"]),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0,2-3", "succeededCount": 3}]}}, []),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0,2", "succeededCount": 3}]}},
         ["spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of"
          " indexes in the specified succeededIndexes field)"]),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "7"}]}},
         ['spec.successPolicy.rules[0].succeededIndexes: Invalid value: "7": error parsing succeededIndexes: too large'
          ' index: "7"']),
    ],
)  # fmt: skip
def test_specs(spec: dict[str, Any], expected: list[str]) -> None:
    assert shown(JOB.validate(job(**spec))) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (job(**INDEXED), job(**{**INDEXED, "completions": 3, "parallelism": 3}), []),
        (job(**INDEXED), job(**{**INDEXED, "completions": 3}),
         ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]),
        (job(completions=2), job(completions=3, parallelism=3),
         ["spec.completions: Invalid value: 3: field is immutable"]),
        (job(suspend=True), job(suspend=True, pod={"affinity": {"nodeAffinity": NODE_AFFINITY}}), []),
    ],
)  # fmt: skip
def test_updates(before: Object, after: Object, expected: list[str]) -> None:
    assert JOB.validate_update
    assert shown(JOB.validate_update(after, before)) == expected


def test_affinity_to_pods_never_changes() -> None:
    assert JOB.validate_update
    after = job(suspend=True, pod={"affinity": {"podAffinity": POD_AFFINITY}})
    assert [cause.field for cause in JOB.validate_update(after, job(suspend=True))] == ["spec.template"]


def test_labels_of_a_generated_selector_are_needed() -> None:
    obj = job()
    del obj["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    assert (
        "spec.template.metadata.labels[batch.kubernetes.io/job-name]: Required value: must be 'x'"
        in shown(JOB.validate(obj))
    )  # fmt: skip


def having(*conditions: str, **status: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True"} for kind in conditions], **status}


DONE = having("SuccessCriteriaMet", "Complete", startTime=BEGUN, completionTime=LATER)
FAILED = having("FailureTarget", "Failed", startTime=BEGUN)
CONDITIONS = "status.conditions: Invalid value: "


@pytest.mark.parametrize(
    ("spec", "before", "after", "expected"),
    [
        ({}, {}, DONE, []),
        ({}, {}, FAILED, []),
        ({}, DONE, {**DONE, "succeeded": 1}, []),
        ({}, {"startTime": BEGUN}, {"startTime": BEGUN, "conditions": [{"type": "Mine", "status": "True"}]}, []),
        ({}, {}, {"active": -1},
         ["status.active: Invalid value: -1: must be greater than or equal to 0",
          "status.ready: Invalid value: 0: cannot set more ready pods than active"]),
        ({}, {}, having("Complete", startTime=BEGUN, completionTime=LATER),
         [CONDITIONS + "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"]),
        ({}, {}, having("SuccessCriteriaMet", "Complete", startTime=BEGUN),
         ["status.completionTime: Required value: completionTime is required for Complete jobs"]),
        ({}, {}, {"startTime": BEGUN, "completionTime": LATER},
         [f'status.completionTime: Invalid value: "{LATER}": cannot set completionTime when there is no Complete=True'
          " condition"]),
        ({}, {}, {**DONE, "startTime": LATER, "completionTime": BEGUN},
         [f'status.completionTime: Invalid value: "{BEGUN}": completionTime cannot be set before startTime']),
        ({}, {}, having("Failed", startTime=BEGUN),
         [CONDITIONS + "cannot set Failed=True condition without the FailureTarget=true condition"]),
        ({}, {}, {**FAILED, "active": 1},
         ["status.active: Invalid value: 1: active>0 is invalid for finished job"]),
        ({}, {}, having("FailureTarget", "Failed"),
         ["status.startTime: Required value: startTime is required for finished job"]),
        ({}, {}, {"ready": 1}, ["status.ready: Invalid value: 1: cannot set more ready pods than active"]),
        ({}, FAILED, {"startTime": BEGUN, "conditions": []},
         [CONDITIONS + "cannot disable the terminal Failed=True condition",
          CONDITIONS + "cannot disable the terminal FailureTarget=True condition"]),
        ({}, {"failed": 2, "succeeded": 2}, {"failed": 1, "succeeded": 1},
         ["status.failed: Invalid value: 1: cannot decrease the failed counter",
          "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"]),
        ({}, DONE, {**DONE, "completionTime": "2026-01-01T00:02:00Z"},
         ['status.completionTime: Invalid value: "2026-01-01T00:02:00Z": completionTime cannot be mutated']),
        ({}, {"startTime": BEGUN}, {},
         ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]),
        ({"suspend": True}, {"startTime": BEGUN}, {}, []),
        ({}, {}, {"uncountedTerminatedPods": {"failed": ["a"], "succeeded": ["a", ""]}},
         ['status.uncountedTerminatedPods.succeeded[1]: Invalid value: "": must not be empty',
          'status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"']),
        ({}, {}, {"completedIndexes": "0"},
         ['status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed'
          " completion mode"]),
        ({**INDEXED, "backoffLimitPerIndex": 1}, {}, {"completedIndexes": "0-1", "failedIndexes": "1"},
         ['status.failedIndexes: Invalid value: "1": failedIndexes and completedIndexes overlap at index: 1']),
        (INDEXED, {}, {"completedIndexes": "9"},
         ['status.completedIndexes: Invalid value: "9": error parsing completedIndexes: too large index: "9"']),
    ],
)  # fmt: skip
def test_statuses(spec: dict[str, Any], before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    obj = job(**spec)
    assert shown(JOB.validate_status_update({**obj, "status": after}, {**obj, "status": before})) == expected


def test_names_of_stateful_sets_are_labels() -> None:
    assert STATEFUL_SET.validate_name
    assert STATEFUL_SET.validate_name("a-0") == []
    assert STATEFUL_SET.validate_name("a.b")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"replicas": 2, "readyReplicas": 1, "availableReplicas": 1}, []),
        ({}, {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2},
         ["status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"]),
        ({"collisionCount": 2}, {"collisionCount": 1},
         ["status.collisionCount: Invalid value: 1: cannot be decremented"]),
    ],
)  # fmt: skip
def test_statuses_of_stateful_sets(before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    meta = {"metadata": {"name": "x", "namespace": "n"}, "spec": {}}
    assert shown(STATEFUL_SET.validate_status_update({**meta, "status": after}, {**meta, "status": before})) == expected
