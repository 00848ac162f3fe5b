"""Jobs on a running cluster: counting, indexes, limits, policies, suspension, deadlines, clean-up."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.api.objects import Object, annotations_of, condition_of, is_terminating, labels_of, name_of
from orchestrator.api.resources import EVENTS, JOBS, PODS, SERVICE_ACCOUNTS
from orchestrator.component.metrics import REGISTRY
from orchestrator.testing import eventually, running_cluster

from .conftest import Stage, TimedStage, template

INDEX = "batch.kubernetes.io/job-completion-index"
TRACKING = "batch.kubernetes.io/job-tracking"


def job(name: str = "j", **spec: Any) -> Object:
    """A Job in `default`."""
    pod = template(name)
    pod["spec"]["restartPolicy"] = spec.pop("restartPolicy", "Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": pod, **spec},
    }


def has(condition_type: str, reason: str = "") -> Any:
    def check(one: Object) -> bool:
        condition = condition_of(one, condition_type)
        return bool(condition and condition["status"] == "True" and (not reason or condition.get("reason") == reason))

    return check


def index(pod: Object) -> str:
    return annotations_of(pod)[INDEX]


async def pods_of(stage: Stage) -> list[Object]:
    pods: list[Object] = (await stage.client.list(PODS, "default"))["items"]
    return pods


async def test_completions_are_counted_and_pods_released(stage: Stage) -> None:
    stage.exit_code = lambda pod: 0
    await stage.client.create(JOBS, job(completions=4, parallelism=2))
    done = await stage.until_one(JOBS, "j", has("Complete"))
    status = done["status"]
    assert (status["succeeded"], status.get("failed"), status.get("active")) == (4, None, None)
    assert status["uncountedTerminatedPods"] == {}
    assert (status["ready"], status["terminating"]) == (0, 0)
    assert status["completionTime"]
    assert {c["type"]: c["reason"] for c in status["conditions"]} == {
        "SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}  # fmt: skip
    assert all(c["lastProbeTime"] == c["lastTransitionTime"] for c in status["conditions"])
    pods = await pods_of(stage)
    assert len(pods) == 4
    assert not any(TRACKING in (pod["metadata"].get("finalizers") or ()) for pod in pods)
    assert all(labels_of(pod)["batch.kubernetes.io/job-name"] == "j" for pod in pods)

    def has_events(events: list[Object]) -> bool:
        reasons = Counter((e["reason"], e["source"]["component"]) for e in events)
        return reasons["SuccessfulCreate", "job-controller"] == 4 and reasons["Completed", "job-controller"] == 1

    await stage.until(EVENTS, has_events)


async def test_a_pod_deleted_behind_its_back_is_counted_and_replaced(stage: Stage) -> None:
    await stage.client.create(JOBS, job())
    (pod,) = await stage.until(PODS, lambda pods: [p["status"].get("phase") for p in pods] == ["Running"])
    await stage.client.delete(PODS, name_of(pod), "default")
    await stage.until_one(JOBS, "j", lambda one: one["status"].get("failed") == 1)
    await stage.until(PODS, lambda pods: all(name_of(p) != name_of(pod) for p in pods))


async def test_indexed_pods_have_index_hostname_and_name(stage: Stage) -> None:
    stage.exit_code = lambda pod: 0
    await stage.client.create(JOBS, job(completions=3, parallelism=3, completionMode="Indexed"))
    done = await stage.until_one(JOBS, "j", has("Complete"))
    assert done["status"]["completedIndexes"] == "0-2"
    pods = sorted(await pods_of(stage), key=index)
    assert [index(pod) for pod in pods] == ["0", "1", "2"]
    assert [labels_of(pod)[INDEX] for pod in pods] == ["0", "1", "2"]
    assert [pod["spec"]["hostname"] for pod in pods] == ["j-0", "j-1", "j-2"]
    assert all(name_of(pod).startswith(f"j-{index(pod)}-") for pod in pods)
    (variable,) = pods[1]["spec"]["containers"][0]["env"]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{INDEX}']"


async def test_backoff_limit_with_delays_that_double(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 1
    await timed.client.create(JOBS, job(backoffLimit=2))
    counts = []
    for seconds in (0, 5, 6, 15, 6):
        await timed.after(seconds)
        counts.append(len(await pods_of(timed)))
    assert counts == [1, 1, 2, 2, 3]
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Failed", "BackoffLimitExceeded")(one)
    assert condition_of(one, "Failed")["message"] == "Job has reached the specified backoff limit"  # type: ignore[index]
    assert one["status"]["failed"] == 3
    assert "completionTime" not in one["status"]


async def test_backoff_limit_per_index_lets_other_indexes_finish(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 1 if index(pod) == "1" else 0
    await timed.client.create(
        JOBS, job(completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=1, maxFailedIndexes=3)
    )
    await timed.after(60)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Failed", "FailedIndexes")(one)
    status = one["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1")
    assert (status["succeeded"], status["failed"]) == (2, 2)
    counts = [annotations_of(pod)["batch.kubernetes.io/job-index-failure-count"] for pod in await pods_of(timed)]
    assert sorted(counts) == ["0", "0", "0", "1"]


async def test_max_failed_indexes_ends_the_job(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 1 if index(pod) in "12" else 0
    await timed.client.create(
        JOBS, job(completions=5, parallelism=1, completionMode="Indexed", backoffLimitPerIndex=0, maxFailedIndexes=1)
    )
    await timed.after(60)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Failed", "MaxFailedIndexesExceeded")(one)
    assert one["status"]["failedIndexes"] == "1,2"
    assert sorted(map(index, await pods_of(timed))) == ["0", "1", "2"]


RULES = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
    ]
}
FAIL_INDEX = {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [43]}}]}


async def test_pod_failure_policy_fails_the_job_at_once(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job(parallelism=2, completions=2, podFailurePolicy=RULES))
    await timed.after(0)
    pod, _ = await pods_of(timed)
    await timed.finish(pod, 42)
    await timed.after(1)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Failed", "PodFailurePolicy")(one)
    message = f"Container c for pod default/{name_of(pod)} failed with exit code 42 matching FailJob rule at index 1"
    assert condition_of(one, "Failed")["message"] == message  # type: ignore[index]
    assert one["status"].get("active") is None


async def test_pod_failure_policy_ignores_disruptions(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job(podFailurePolicy=RULES, backoffLimit=0))
    await timed.after(0)
    (pod,) = await pods_of(timed)
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "Test"}
    await timed.finish(pod, 1, conditions=[disruption])
    await timed.after(20)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert (one["status"].get("failed"), one["status"]["active"]) == (None, 1)
    assert len(await pods_of(timed)) == 2


async def test_ignored_failures_of_an_index_only_delay_it(timed: TimedStage) -> None:
    """They are counted apart; the limit of the index is about the others."""
    codes = iter((44, 44, 44, 0))
    timed.exit_code = lambda pod: None
    rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [44]}}]
    await timed.client.create(
        JOBS,
        job(completions=1, completionMode="Indexed", backoffLimitPerIndex=0, podFailurePolicy={"rules": rules}),
    )
    for seconds, ignored in ((0, None), (11, "1"), (21, "2"), (41, "3")):
        await timed.after(seconds)
        pod = next(p for p in await pods_of(timed) if p["status"]["phase"] == "Running")
        assert annotations_of(pod)["batch.kubernetes.io/job-index-failure-count"] == "0"
        assert annotations_of(pod).get("batch.kubernetes.io/job-index-ignored-failure-count") == ignored
        await timed.finish(pod, next(codes))
    await timed.after(1)
    assert has("Complete")((await timed.client.list(JOBS, "default"))["items"][0])


async def test_pod_failure_policy_fails_an_index_without_retry(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 43 if index(pod) == "0" else 0
    await timed.client.create(
        JOBS,
        job(
            completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=5,
            podFailurePolicy=FAIL_INDEX,
        ),
    )  # fmt: skip
    await timed.after(60)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Failed", "FailedIndexes")(one)
    assert (one["status"]["failedIndexes"], one["status"]["failed"]) == ("0", 1)


async def test_success_policy_ends_the_rest(stage: Stage) -> None:
    policy = {"rules": [{"succeededIndexes": "0"}]}
    stage.exit_code = lambda pod: 0 if index(pod) == "0" else None
    await stage.client.create(JOBS, job(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy))
    done = await stage.until_one(JOBS, "j", has("Complete", "SuccessPolicy"))
    assert condition_of(done, "SuccessCriteriaMet")["message"] == "Matched rules at index 0"  # type: ignore[index]
    assert done["status"]["completedIndexes"] == "0"
    await stage.until(PODS, lambda pods: not any(p["status"].get("phase") == "Running" for p in pods))


async def test_suspend_deletes_pods_and_resume_starts_anew(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job(parallelism=2, completions=2, suspend=True))
    await timed.after(1)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Suspended", "JobSuspended")(one)
    assert "startTime" not in one["status"]
    assert await pods_of(timed) == []
    await timed.client.patch(JOBS, "j", {"spec": {"suspend": False}}, "default")
    await timed.after(1)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert condition_of(one, "Suspended")["reason"] == "JobResumed"  # type: ignore[index]
    assert one["status"]["startTime"]
    assert len(await pods_of(timed)) == 2
    await timed.client.patch(JOBS, "j", {"spec": {"suspend": True}}, "default")
    await timed.after(1)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Suspended", "JobSuspended")(one)
    assert "startTime" not in one["status"]
    assert await pods_of(timed) == []
    assert one["status"].get("failed") is None
    counts = {e["reason"]: e["count"] for e in (await timed.client.list(EVENTS, "default"))["items"]}
    assert (counts["Suspended"], counts["Resumed"]) == (2, 1)


async def test_active_deadline(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job(activeDeadlineSeconds=30))
    await timed.after(29)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert one["status"]["active"] == 1
    await timed.after(2)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Failed", "DeadlineExceeded")(one)
    assert condition_of(one, "Failed")["message"] == "Job was active longer than specified deadline"  # type: ignore[index]
    assert await pods_of(timed) == []


async def test_replacements_wait_for_the_end_of_pods_with_policy_failed(timed: TimedStage) -> None:
    timed.lingers = lambda pod: True
    await timed.client.create(JOBS, job(podReplacementPolicy="Failed"))
    await timed.after(0)
    (pod,) = await pods_of(timed)
    await timed.client.delete(PODS, name_of(pod), "default")
    await timed.after(60)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert (one["status"]["terminating"], one["status"].get("failed")) == (1, None)
    assert [name_of(p) for p in await pods_of(timed)] == [name_of(pod)]
    await timed.release()
    await timed.after(30)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert (one["status"]["terminating"], one["status"]["failed"], one["status"]["active"]) == (0, 1, 1)


async def test_a_pod_deleted_while_it_is_initialized_is_replaced_with_policy_failed() -> None:
    """With a real kubelet: such a pod ends Failed, else its Job would wait for ever."""
    waits = job(podReplacementPolicy="Failed", restartPolicy="OnFailure")
    waits["spec"]["template"]["spec"]["initContainers"] = [{"name": "i", "image": "i"}]
    async with running_cluster(controllers=("job", "serviceaccount", "nodelifecycle")) as cluster:
        client = cluster.client()
        await eventually(client, SERVICE_ACCOUNTS, lambda accounts: bool(accounts), namespace="default")
        await client.create(JOBS, waits)

        def is_initializing(pods: list[Object]) -> bool:
            return any("running" in s["state"] for p in pods for s in p["status"].get("initContainerStatuses") or ())

        (pod,) = await eventually(client, PODS, is_initializing, namespace="default")
        await client.delete(PODS, name_of(pod), "default")
        await eventually(client, JOBS, lambda jobs: jobs[0]["status"].get("failed") == 1, namespace="default")
        await eventually(client, PODS, lambda pods: [name_of(p) for p in pods] != [name_of(pod)], namespace="default")


async def test_replacements_come_at_once_otherwise(timed: TimedStage) -> None:
    timed.lingers = lambda pod: True
    await timed.client.create(JOBS, job())
    await timed.after(0)
    (pod,) = await pods_of(timed)
    await timed.client.patch(PODS, name_of(pod), {"metadata": {"finalizers": [TRACKING, "test/hold"]}}, "default")
    await timed.client.delete(PODS, name_of(pod), "default")
    await timed.after(30)
    pods = await pods_of(timed)
    assert sorted(map(is_terminating, pods)) == [False, True]
    await timed.client.patch(PODS, name_of(pod), {"metadata": {"finalizers": None}}, "default")


async def test_ttl_deletes_the_job_with_its_pods(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 0
    await timed.client.create(JOBS, job(ttlSecondsAfterFinished=100))
    await timed.after(99)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert has("Complete")(one)
    await timed.after(3)
    assert (await timed.client.list(JOBS, "default"))["items"] == []
    assert await pods_of(timed) == []


async def test_a_job_of_another_manager_is_left_alone(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job(managedBy="example.com/other"))
    await timed.after(10)
    (one,) = (await timed.client.list(JOBS, "default"))["items"]
    assert await pods_of(timed) == []
    assert one.get("status", {}) == {}


async def test_deleting_a_job_leaves_no_pod_behind(stage: Stage) -> None:
    await stage.client.create(JOBS, job(parallelism=3, completions=3))
    await stage.until(PODS, lambda pods: [p["status"].get("phase") for p in pods] == ["Running"] * 3)
    await stage.client.delete(JOBS, "j", "default", propagation_policy="Background")
    await stage.until(PODS, lambda pods: pods == [])


async def test_parallelism_down_deletes_and_is_no_failure(stage: Stage) -> None:
    await stage.client.create(JOBS, job(parallelism=4, completions=4))
    await stage.until(PODS, lambda pods: [p["status"].get("phase") for p in pods] == ["Running"] * 4)
    await stage.client.patch(JOBS, "j", {"spec": {"parallelism": 1}}, "default")
    await stage.until(PODS, lambda pods: len(pods) == 1)
    one = await stage.until_one(JOBS, "j", lambda one: one["status"].get("active") == 1)
    assert one["status"].get("failed") is None


async def test_a_finished_pod_keeps_its_finalizer_until_the_status_counts_it(stage: Stage) -> None:
    """Whoever follows the history never sees a finished pod that is neither held nor counted."""
    stage.exit_code = lambda pod: 0
    created = await stage.client.create(JOBS, job(completions=5, parallelism=5))
    await stage.until_one(JOBS, "j", has("Complete"))
    watch = await stage.client.watch(PODS, "default", resource_version=created["metadata"]["resourceVersion"])
    jobs = await stage.client.watch(JOBS, "default", resource_version=created["metadata"]["resourceVersion"])
    history = [(int(e.object["metadata"]["resourceVersion"]), e.object) for e in await jobs.next_batch()]
    history += [(int(e.object["metadata"]["resourceVersion"]), e.object) for e in await watch.next_batch()]
    watch.close()
    jobs.close()
    accounted: set[str] = set()
    released = 0
    for _, one in sorted(history, key=lambda pair: pair[0]):
        if one["kind"] == "Job":
            accounted.update((one["status"].get("uncountedTerminatedPods") or {}).get("succeeded") or ())
        elif TRACKING not in (one["metadata"].get("finalizers") or ()):
            assert one["metadata"]["uid"] in accounted
            released += 1
    assert released >= 5


async def test_the_stable_metrics_count_jobs_and_their_pods(stage: Stage) -> None:
    """By difference: the registry is the process's."""
    mode = {"completion_mode": "NonIndexed"}
    finished = "job_controller_jobs_finished_total"
    names = [
        (finished, {**mode, "result": "succeeded", "reason": "CompletionsReached"}, 1),
        (finished, {**mode, "result": "failed", "reason": "BackoffLimitExceeded"}, 1),
        ("job_controller_job_pods_finished_total", {**mode, "result": "succeeded"}, 2),
        ("job_controller_job_pods_finished_total", {**mode, "result": "failed"}, 1),
    ]
    before = [REGISTRY.get_sample_value(name, labels) or 0 for name, labels, _ in names]
    stage.exit_code = lambda pod: 1 if labels_of(pod)["app"] == "bad" else 0
    await stage.client.create(JOBS, job("good", completions=2))
    await stage.client.create(JOBS, job("bad", backoffLimit=0))
    await stage.until_one(JOBS, "good", has("Complete"))
    await stage.until_one(JOBS, "bad", has("Failed"))
    after = [REGISTRY.get_sample_value(name, labels) or 0 for name, labels, _ in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [more for _, _, more in names]
    created = {**mode, "action": "pods_created", "result": "success"}
    assert REGISTRY.get_sample_value("job_controller_job_syncs_total", created)
    assert REGISTRY.get_sample_value("job_controller_job_sync_duration_seconds_count", created)


async def test_a_pod_that_somebody_deleted_delays_the_next_one_also_when_it_is_gone(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job())
    await timed.after(60)
    (pod,) = await pods_of(timed)
    await timed.client.delete(PODS, name_of(pod), "default", grace_period_seconds=0)
    await timed.after(5)
    assert await pods_of(timed) == []
    await timed.after(6)
    assert len(await pods_of(timed)) == 1


async def test_pods_come_back_at_once_when_a_suspension_ends_early(timed: TimedStage) -> None:
    timed.lingers = lambda pod: True
    await timed.client.create(JOBS, job(parallelism=2, completions=2))
    await timed.after(60)
    before = set(map(name_of, await pods_of(timed)))
    await timed.client.patch(JOBS, "j", {"spec": {"suspend": True}}, "default")
    await timed.after(1)
    await timed.client.patch(JOBS, "j", {"spec": {"suspend": False}}, "default")
    await timed.after(1)
    assert len(set(map(name_of, await pods_of(timed))) - before) == 2
    assert not (await timed.client.get(JOBS, "j", "default"))["status"].get("failed")
