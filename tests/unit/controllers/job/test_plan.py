"""Jobs: counting exactly once, indexes, limits, policies, suspension."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.job.failures import finished_at
from orchestrator.controllers.job.indexes import format_indexes, parse_indexes
from orchestrator.controllers.job.plan import plan_job
from orchestrator.controllers.job.pods import plan_memory
from orchestrator.controllers.job.state import FINALIZER, JobPlan, Look

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}
    defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "d", "uid": "J"},
        "spec": {**defaults, **spec},
        "status": status or {},
    }


def pod(
    name: str,
    phase: str = "Running",
    *,
    index: int | None = None,
    tracked: bool = True,
    deleted: bool = False,
    exit_code: int = 0,
    ago: int = 3600,
    failures: int | None = None,
    conditions: tuple[str, ...] = (),
    restarts: int = 0,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": name, "namespace": "d", "annotations": {}}
    if index is not None:
        metadata["annotations"]["batch.kubernetes.io/job-completion-index"] = str(index)
    if failures is not None:
        metadata["annotations"]["batch.kubernetes.io/job-index-failure-count"] = str(failures)
    if tracked:
        metadata["finalizers"] = [FINALIZER]
    if deleted:
        metadata["deletionTimestamp"] = format_time(NOW)
    container: dict[str, Any] = {"name": "c", "restartCount": restarts}
    if phase in ("Succeeded", "Failed"):
        ended = format_time(NOW - timedelta(seconds=ago))
        container["state"] = {"terminated": {"exitCode": exit_code, "finishedAt": ended}}
    return {
        "metadata": metadata,
        "spec": {},
        "status": {
            "phase": phase,
            "containerStatuses": [container],
            "conditions": [{"type": t, "status": "True"} for t in conditions],
        },
    }


def names(pods: list[dict[str, Any]]) -> list[str]:
    return sorted(one["metadata"]["name"] for one in pods)


def conditions(plan: JobPlan) -> dict[str, str]:
    return {c["type"]: c["reason"] for c in plan.status.get("conditions", []) if c["status"] == "True"}


@pytest.mark.parametrize(
    ("text", "indexes"),
    [("", set()), ("0", {0}), ("0,1", {0, 1}), ("0-2,5", {0, 1, 2, 5}), ("1,3-5,7,8", {1, 3, 4, 5, 7, 8})],
)
def test_index_texts(text: str, indexes: set[int]) -> None:
    assert parse_indexes(text, 100) == indexes
    assert format_indexes(indexes) == text


@given(st.sets(st.integers(0, 200)))
def test_index_texts_lose_nothing(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes), 201) == indexes


def test_a_new_job_starts_pods_with_finalizer() -> None:
    plan = plan_job(job(parallelism=3, completions=5), [], NOW)
    assert len(plan.create) == 3
    assert plan.status["startTime"] == format_time(NOW)
    assert plan.create[0]["metadata"]["finalizers"] == [FINALIZER]
    assert plan.create[0]["metadata"]["generateName"] == "j-"


def test_never_more_pods_than_completions_are_left() -> None:
    plan = plan_job(job({"succeeded": 4}, parallelism=3, completions=5), [], NOW)
    assert len(plan.create) == 1


def test_too_much_parallelism_is_taken_back() -> None:
    plan = plan_job(job(parallelism=1, completions=5), [pod("a"), pod("b", "Pending")], NOW)
    assert names(plan.delete) == ["b"]


def test_a_finished_pod_is_listed_released_then_counted_once() -> None:
    one = job(completions=2)
    first = plan_job(one, [pod("a", "Succeeded")], NOW)
    assert first.status["uncountedTerminatedPods"] == {"succeeded": ["a"]}
    assert "succeeded" not in first.status
    assert names(first.release) == ["a"]
    # Before the finalizer is seen to be gone nothing is counted, however often we look.
    one["status"] = first.status
    assert plan_job(one, [pod("a", "Succeeded")], NOW).status["uncountedTerminatedPods"] == {"succeeded": ["a"]}
    for left in ([pod("a", "Succeeded", tracked=False)], []):
        second = plan_job(one, left, NOW)
        assert second.status["succeeded"] == 1
        assert second.status["uncountedTerminatedPods"] == {}


def test_completion_takes_two_looks() -> None:
    one = job(completions=1)
    one["status"] = plan_job(one, [pod("a", "Succeeded")], NOW).status
    assert conditions(plan_job(one, [pod("a", "Succeeded")], NOW)) == {"SuccessCriteriaMet": "CompletionsReached"}
    done = plan_job(one, [pod("a", "Succeeded", tracked=False)], NOW)
    assert conditions(done) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert done.status["completionTime"] == format_time(NOW)
    assert done.events == [("Normal", "Completed", "Job completed")]
    assert (done.status.get("active", 0), done.status["ready"]) == (0, 0)


def test_a_work_queue_is_done_when_one_succeeded_and_none_runs() -> None:
    one = job({"succeeded": 1}, completions=None, parallelism=3)
    plan = plan_job(one, [pod("b")], NOW)
    assert (plan.create, plan.delete, conditions(plan)) == ([], [], {})
    assert "Complete" in conditions(plan_job(one, [], NOW))


@pytest.mark.parametrize(
    ("spec", "status", "pods", "reason"),
    [
        ({"backoffLimit": 1}, {"failed": 2}, [], "BackoffLimitExceeded"),
        ({"backoffLimit": 0}, {}, [pod("a", "Failed", tracked=False), pod("b", "Failed")], "BackoffLimitExceeded"),
        (
            {"activeDeadlineSeconds": 60},
            {"startTime": format_time(NOW - timedelta(seconds=61))},
            [pod("a")],
            "DeadlineExceeded",
        ),
    ],
)
def test_failing(spec: dict[str, Any], status: dict[str, Any], pods: list[dict[str, Any]], reason: str) -> None:
    plan = plan_job(job(status, **spec), pods, NOW)
    assert conditions(plan)["FailureTarget"] == reason
    assert plan.create == []
    assert names(plan.delete) == names([p for p in pods if p["status"]["phase"] == "Running"])


def test_failed_waits_for_the_last_pod() -> None:
    one = job({"failed": 2}, backoffLimit=1)
    plan = plan_job(one, [pod("a", deleted=True)], NOW)
    assert conditions(plan) == {"FailureTarget": "BackoffLimitExceeded"}
    one["status"] = plan_job(one, [], NOW).status
    assert one["status"]["conditions"][-1]["type"] == "Failed"
    assert plan_job(one, [], NOW).create == []


def test_restarts_of_pods_that_restart_themselves_count() -> None:
    template = {"spec": {"restartPolicy": "OnFailure", "containers": []}}
    plan = plan_job(job(backoffLimit=3, template=template), [pod("a", restarts=3)], NOW)
    assert conditions(plan) == {"FailureTarget": "BackoffLimitExceeded"}


@pytest.mark.parametrize(
    ("failed", "ago", "wait"), [(1, 0, 10), (1, 4, 6), (2, 0, 20), (5, 0, 160), (9, 0, 600), (1, 11, None)]
)
def test_the_next_pod_waits_longer_with_each_failure(failed: int, ago: int, wait: int | None) -> None:
    pods = [pod(f"p{i}", "Failed", ago=ago + 5 * i, tracked=False) for i in range(failed)]
    plan = plan_job(job({"failed": failed}, backoffLimit=100), pods, NOW)
    assert plan.again_seconds == wait
    assert len(plan.create) == (1 if wait is None else 0)


INDEXED: dict[str, Any] = {"completionMode": "Indexed", "completions": 4, "parallelism": 2}


def test_an_index_shows_in_name_label_annotation_hostname_and_environment() -> None:
    (first, second) = plan_job(job(**INDEXED), [], NOW).create
    assert [p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in (first, second)] == [
        "0",
        "1",
    ]
    assert first["metadata"]["generateName"] == "j-0-"
    assert first["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0"
    assert first["spec"]["hostname"] == "j-0"
    assert first["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"


def test_indexes_that_are_done_or_taken_are_left_out() -> None:
    plan = plan_job(job({"completedIndexes": "0"}, **INDEXED), [pod("a", index=1)], NOW)
    assert [p["spec"]["hostname"] for p in plan.create] == ["j-2"]
    plan = plan_job(job({"completedIndexes": "0-2"}, **INDEXED), [pod("a", "Succeeded", index=3)], NOW)
    assert plan.status["completedIndexes"] == "0-3"
    assert plan.status["succeeded"] == 4
    assert names(plan.release) == ["a"]
    assert "SuccessCriteriaMet" in conditions(plan)


def test_of_two_pods_with_one_index_one_goes() -> None:
    plan = plan_job(job(**INDEXED), [pod("a", index=0), pod("b", "Pending", index=0), pod("c", index=9)], NOW)
    assert names(plan.delete) == ["b", "c"]


def test_per_index_limits_fail_the_index_and_in_the_end_the_job() -> None:
    spec = {**INDEXED, "completions": 2, "backoffLimitPerIndex": 1, "backoffLimit": 2**31 - 1}
    plan = plan_job(job(**spec), [pod("a", "Failed", index=0, failures=0)], NOW)
    assert plan.status["failedIndexes"] == ""
    assert [p["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] for p in plan.create] == [
        "1",
        "0",
    ]
    plan = plan_job(job(**spec), [pod("a", "Failed", index=0, failures=1), pod("b", index=1)], NOW)
    assert plan.status["failedIndexes"] == "0"
    assert (plan.create, conditions(plan)) == ([], {})
    done = job({"failedIndexes": "0", "completedIndexes": "1", "succeeded": 1, "failed": 2}, **spec)
    assert conditions(plan_job(done, [], NOW))["Failed"] == "FailedIndexes"
    most = job({"failedIndexes": "0,1", "failed": 4}, **{**spec, "maxFailedIndexes": 1})
    assert conditions(plan_job(most, [], NOW))["Failed"] == "MaxFailedIndexesExceeded"


def policy(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": list(rules)}, "podReplacementPolicy": "Failed"}


EXIT_42 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}


def test_pod_failure_policy() -> None:
    plan = plan_job(job(**policy(DISRUPTED, EXIT_42)), [pod("a", "Failed", exit_code=42)], NOW)
    assert conditions(plan) == {"FailureTarget": "PodFailurePolicy"}
    assert plan.status["conditions"][0]["message"] == (
        "Container c for pod d/a failed with exit code 42 matching FailJob rule at index 1"
    )
    ignored = plan_job(job(**policy(DISRUPTED)), [pod("a", "Failed", conditions=("DisruptionTarget",))], NOW)
    assert ignored.status["uncountedTerminatedPods"] == {}
    assert names(ignored.release) == ["a"]
    counted = plan_job(job(**policy(DISRUPTED)), [pod("a", "Failed", exit_code=1)], NOW)
    assert counted.status["uncountedTerminatedPods"] == {"failed": ["a"]}


def test_a_deleted_pod_counts_at_once_or_only_when_it_failed() -> None:
    dying = [pod("a", deleted=True)]
    at_once = plan_job(job(), dying, NOW)
    assert at_once.status["uncountedTerminatedPods"] == {"failed": ["a"]}
    later = plan_job(job(podReplacementPolicy="Failed"), dying, NOW)
    assert (later.status["uncountedTerminatedPods"], later.create) == ({}, [])
    assert later.status["terminating"] == 1


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({"succeededIndexes": "0"}, True),
        ({"succeededIndexes": "0-1"}, False),
        ({"succeededCount": 1}, True),
        ({"succeededCount": 2}, False),
        ({"succeededIndexes": "0-1", "succeededCount": 1}, True),
        ({"succeededIndexes": "1-2", "succeededCount": 1}, False),
    ],
)
def test_success_policy(rule: dict[str, Any], matches: bool) -> None:
    one = job({"completedIndexes": "0", "succeeded": 1}, **INDEXED, successPolicy={"rules": [rule]})
    plan = plan_job(one, [pod("b", index=1)], NOW)
    assert (conditions(plan).get("SuccessCriteriaMet") == "SuccessPolicy") is matches
    assert names(plan.delete) == (["b"] if matches else [])


def test_suspend_and_resume() -> None:
    one = job({"startTime": format_time(NOW)}, suspend=True)
    plan = plan_job(one, [pod("a")], NOW)
    assert names(plan.delete) == ["a"]
    assert conditions(plan) == {"Suspended": "JobSuspended"}
    assert "startTime" not in plan.status
    assert plan.events == [("Normal", "Suspended", "Job suspended")]
    one = job(plan.status)
    later = plan_job(one, [], NOW + timedelta(hours=1))
    assert later.events == [("Normal", "Resumed", "Job resumed")]
    assert later.status["startTime"] == format_time(NOW + timedelta(hours=1))
    assert len(later.create) == 1


def test_nothing_is_created_on_an_old_cache() -> None:
    assert plan_job(job(), [], NOW, may_manage=False).create == []


def test_a_finished_job_lets_go_of_its_pods() -> None:
    done = job({"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1})
    plan = plan_job(done, [pod("a", "Succeeded"), pod("b")], NOW)
    assert plan.status == done["status"]
    assert (names(plan.release), names(plan.delete)) == (["a", "b"], ["b"])


def test_a_reason_to_fail_goes_before_success() -> None:
    """kube-controller-manager looks at limits first, then at failed indexes, then at the success policy."""
    spec = {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0"}]}}
    status = {"completedIndexes": "0", "succeeded": 1, "failed": 7, "startTime": format_time(NOW - timedelta(hours=1))}
    over = plan_job(job(status, **spec, activeDeadlineSeconds=60), [], NOW)
    assert conditions(over)["FailureTarget"] == "BackoffLimitExceeded"
    late = plan_job(job({**status, "failed": 0}, **spec, activeDeadlineSeconds=60), [], NOW)
    assert conditions(late)["FailureTarget"] == "DeadlineExceeded"
    per_index = {**spec, "completions": 2, "backoffLimitPerIndex": 0, "backoffLimit": 2**31 - 1}
    failed = plan_job(job({**status, "failed": 1, "failedIndexes": "1"}, **per_index), [], NOW)
    assert conditions(failed)["FailureTarget"] == "FailedIndexes"


def test_pods_that_a_success_makes_needless_do_not_count_as_failed() -> None:
    one = job({"completedIndexes": "0", "succeeded": 1}, **INDEXED, successPolicy={"rules": [{"succeededCount": 1}]})
    plan = plan_job(one, [pod("b", index=1)], NOW)
    assert (names(plan.release), names(plan.delete)) == (["b"], ["b"])
    assert plan.status["uncountedTerminatedPods"] == {}
    one["status"] = plan.status
    after = plan_job(one, [pod("b", index=1, tracked=False, deleted=True)], NOW)
    assert after.status["uncountedTerminatedPods"] == {}


def test_pods_that_run_when_the_job_fails_count_as_failed_at_once() -> None:
    one = job({"failed": 2}, backoffLimit=1, podReplacementPolicy="Failed", parallelism=2, completions=2)
    plan = plan_job(one, [pod("a"), pod("b", "Pending", deleted=True)], NOW)
    assert names(plan.release) == ["a", "b"]
    assert sorted(plan.status["uncountedTerminatedPods"]["failed"]) == ["a", "b"]
    assert names(plan.delete) == ["a"]


def test_a_job_that_is_deleted_holds_no_pod() -> None:
    one = job(podReplacementPolicy="Failed", parallelism=2, completions=3)
    one["metadata"]["deletionTimestamp"] = format_time(NOW)
    plan = plan_job(one, [pod("a"), pod("b", "Pending", deleted=True), pod("c", "Failed")], NOW)
    assert (names(plan.release), plan.delete, plan.create) == (["a", "b", "c"], [], [])
    assert plan.status["uncountedTerminatedPods"] == {"failed": ["c"]}


def test_the_last_failed_pod_of_an_index_stays_until_the_next_one_knows_its_count() -> None:
    spec = {**INDEXED, "completions": 2, "backoffLimitPerIndex": 3, "backoffLimit": 2**31 - 1}
    earlier = pod("a", "Failed", index=0, failures=0, ago=60)
    last = pod("b", "Failed", index=0, failures=1, ago=5)
    waiting = plan_job(job(**spec), [earlier, last, pod("c", index=1)], NOW)
    assert names(waiting.release) == ["a"]
    assert waiting.status["uncountedTerminatedPods"] == {"failed": ["a"]}
    replaced = plan_job(job(**spec), [last, pod("d", index=0, failures=2)], NOW)
    assert names(replaced.release) == ["b"]
    assert replaced.status["uncountedTerminatedPods"] == {"failed": ["b"]}
    # It counts for the limit of the whole Job all the same.
    over = plan_job(job({"failed": 1}, **{**spec, "backoffLimit": 1}), [last], NOW)
    assert conditions(over) == {"FailureTarget": "BackoffLimitExceeded"}
    assert over.status["uncountedTerminatedPods"] == {"failed": ["b"]}


def test_an_index_that_waits_keeps_its_place() -> None:
    spec = {**INDEXED, "parallelism": 1, "backoffLimitPerIndex": 3, "backoffLimit": 2**31 - 1}
    plan = plan_job(job(**spec), [pod("a", "Failed", index=0, failures=0, ago=4)], NOW)
    assert (plan.create, plan.again_seconds) == ([], 6)


def test_the_index_stays_in_a_long_name() -> None:
    one = job(**INDEXED)
    one["metadata"]["name"] = "j" * 60
    assert [len(p["metadata"]["generateName"]) for p in plan_job(one, [], NOW).create] == [58, 58]
    assert plan_job(one, [], NOW).create[1]["metadata"]["generateName"].endswith("jj-1-")


def test_restarts_count_while_a_pod_goes() -> None:
    template = {"spec": {"restartPolicy": "OnFailure", "containers": []}}
    plan = plan_job(job(backoffLimit=3, template=template), [pod("a", restarts=3, deleted=True)], NOW)
    assert conditions(plan) == {"FailureTarget": "BackoffLimitExceeded"}


@pytest.mark.parametrize(
    ("status", "metadata", "expected"),
    [
        ([{"state": {"terminated": {"finishedAt": "2026-01-01T11:00:00Z"}}}, {"state": {"running": {}}}], {}, 9),
        ([{"state": {"terminated": {"finishedAt": "2026-01-01T11:00:00Z"}}}], {}, 11),
        ([], {"deletionTimestamp": "2026-01-01T10:00:30Z", "deletionGracePeriodSeconds": 30}, 10),
        ([], {}, 9),
    ],
)
def test_when_a_pod_ended(status: list[dict[str, Any]], metadata: dict[str, Any], expected: int) -> None:
    created = {"name": "a", "creationTimestamp": "2026-01-01T09:00:00Z"}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T09:30:00Z"}
    one = {"metadata": {**created, **metadata}, "status": {"containerStatuses": status, "conditions": [ready]}}
    assert finished_at(one) == datetime(2026, 1, 1, expected, tzinfo=UTC)
    one["status"]["conditions"] = [{**ready, "status": "False", "lastTransitionTime": "2026-01-01T11:00:00Z"}]
    assert finished_at(one) == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_pods_that_were_let_go_delay_nothing() -> None:
    """After a suspension pods come back at once, also while the old ones end, whatever they end with."""
    going = pod("a", deleted=True, tracked=False)
    ended = {**pod("b", "Failed", deleted=True, tracked=False, ago=1)}
    assert len(plan_job(job(parallelism=2, completions=2), [going, ended], NOW).create) == 2
    assert len(plan_job(job(**INDEXED, backoffLimitPerIndex=1), [{**going}], NOW).create) == 2


def test_failures_are_remembered_until_a_success() -> None:
    one = job(completions=3, backoffLimit=9)
    look = Look(one, [pod("a", "Failed", ago=30), pod("b", deleted=True)], NOW)
    memory = plan_memory(look)
    assert memory == {"a": NOW - timedelta(seconds=30), "b": NOW}
    later = NOW + timedelta(seconds=5)
    assert plan_job(one, [], later, remembered=memory).again_seconds == 15
    assert plan_memory(Look(one, [pod("c", "Succeeded", ago=10)], NOW, memory)) == {"b": NOW}
