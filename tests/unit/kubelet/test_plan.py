"""Tables of `plan_pod`: what is there, what is asked for, what has to be done."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.labels import HASH_LABEL
from orchestrator.kubelet.holds import Backoff, Hold, Waiting
from orchestrator.kubelet.plan import plan_pod, plan_termination
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.restart_all import ROUND_LABEL
from orchestrator.kubelet.runtime import RuntimePod
from tests.unit.kubelet.pods import NOW, created, exited, init, pod, running, sandbox, seconds, sidecar, state


def steps(obj: Object, observed: RuntimePod | None, **known: Any) -> list[str]:
    """A plan as words, in the order of its application."""
    plan = plan_pod(obj, observed, NOW, **known)
    words = []
    if plan.kill_all:
        words.append("kill all")
    words += [f"kill {kill.container.name}" for kill in plan.kill]
    if plan.create_sandbox:
        words.append(f"sandbox {plan.sandbox_attempt}")
    words += [f"start {start.name} {start.attempt}" for start in plan.start]
    words += [f"wait {name} {waiting.reason}" for name, waiting in plan.waiting.items()]
    words += [f"resize {name}" for name in plan.resize]
    words += [f"remove {container}" for container in plan.remove_containers]
    if plan.finished:
        words.append("finished")
    return words


DEAD = sandbox(ready=False)

CASES: list[tuple[str, Object, RuntimePod | None, list[str]]] = [
    ("nothing there", pod(), None, ["sandbox 0"]),
    ("sandbox there", pod("a", "b"), state(), ["start a 0", "start b 0"]),
    ("all runs", pod(), state(running()), []),
    ("one died, Always", pod(), state(exited(code=0)), ["start a 1"]),
    ("one died, OnFailure", pod(policy="OnFailure"), state(exited(code=1)), ["start a 1"]),
    ("one ended well, OnFailure", pod(policy="OnFailure"), state(exited(code=0)), ["kill all", "finished"]),
    ("one died, Never", pod(policy="Never"), state(exited(code=1)), ["kill all", "finished"]),
    ("one of two ended, Never", pod("a", "b", policy="Never"), state(exited(), running("b")), []),
    ("created but not started", pod(), state(created(attempt=2)), ["start a 2"]),
    ("sandbox died", pod(), state(running(), sandboxes=(DEAD,)), ["kill all", "sandbox 1"]),
    ("sandbox died, Never", pod(policy="Never"), state(running(), sandboxes=(DEAD,)), ["kill all", "finished"]),
    (
        "the sandbox never started, Never",
        pod(policy="Never"),
        state(created(), sandboxes=(DEAD,)),
        ["sandbox 1"],
    ),
    ("sandbox died after the end", pod(policy="Never"), state(exited(), sandboxes=(DEAD,)), ["finished"]),
    (
        "container of the old sandbox is started in the new one",
        pod(),
        state(exited(), sandboxes=(sandbox(1), DEAD)),
        ["start a 1"],
    ),
    ("init first", pod(init=[init("i"), init("j")]), state(), ["start i 0"]),
    ("init runs", pod(init=[init("i"), init("j")]), state(running("i")), []),
    ("init done", pod(init=[init("i"), init("j")]), state(exited("i")), ["start j 0"]),
    ("all init done", pod(init=[init("i")]), state(exited("i")), ["start a 0"]),
    ("init failed, Always", pod(init=[init("i")]), state(exited("i", 1)), ["start i 1"]),
    ("init failed, Never", pod(init=[init("i")], policy="Never"), state(exited("i", 1)), ["kill all", "finished"]),
    ("init is not repeated after the pod is initialized", pod(init=[init("i")]), state(running()), []),
    (
        "init is repeated in a new sandbox",
        pod(init=[init("i")]),
        state(exited("i"), exited(), sandboxes=(sandbox(1), DEAD)),
        ["start i 1"],
    ),
    ("sidecar first", pod(init=[sidecar("p")]), state(), ["start p 0"]),
    ("sidecar runs", pod(init=[sidecar("p")]), state(running("p")), ["start a 0"]),
    ("sidecar before init", pod(init=[sidecar("p"), init("i")]), state(running("p")), ["start i 0"]),
    ("sidecar died", pod(init=[sidecar("p")]), state(exited("p"), running()), ["start p 1"]),
    (
        "sidecar is restarted even with Never",
        pod(init=[sidecar("p")], policy="Never"),
        state(exited("p", 1), running()),
        ["start p 1"],
    ),
    (
        "sidecars do not keep a finished pod",
        pod(init=[sidecar("p")], policy="Never"),
        state(running("p"), exited()),
        ["kill all", "finished"],
    ),
    (
        "old dead containers go, the newest stays",
        pod(),
        state(exited(attempt=0), exited(attempt=1), running(attempt=2)),
        ["remove a0"],
    ),
    (
        "definition changed",
        pod(),
        state(running(labels={HASH_LABEL: "other"})),
        ["kill a"],
    ),
]  # fmt: skip


RULES = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]


def ruled(name: str) -> Object:
    return {"name": name, "image": "app:1", "restartPolicy": "Never", "restartPolicyRules": RULES}


def in_round(number: int) -> dict[str, Any]:
    return {"labels": {ROUND_LABEL: str(number)}}


WATCHED = pod(containers=[ruled("a"), init("b")], init=[init("i"), sidecar("p")], policy="Never")

CASES += [
    ("a code that no rule is about", WATCHED, state(exited("i"), running("p"), exited("a", 1), running("b")), []),
    (
        "all are ended for the code of one",
        WATCHED,
        state(exited("i"), running("p"), exited("a", 42), running("b")),
        ["kill p", "kill b"],
    ),
    (
        "then everything begins again",
        WATCHED,
        state(exited("i"), exited("p", 137), exited("a", 42), exited("b", 137)),
        ["start i 1"],
    ),
    (
        "what began again is not ended for the old code",
        WATCHED,
        state(exited("i"), running("i", 1, **in_round(1)), exited("p", 137), exited("a", 42), exited("b", 137)),
        [],
    ),
    (
        "one after the other as at first",
        WATCHED,
        state(
            exited("i", 0, 1, **in_round(1)),
            running("p", 1, **in_round(1)),
            exited("a", 42),
            exited("b", 137),
        ),
        ["start a 1", "start b 1"],
    ),
    (
        "and again",
        WATCHED,
        state(
            exited("i", 0, 1, **in_round(1)),
            running("p", 1, **in_round(1)),
            exited("a", 42, 1, **in_round(1)),
            running("b", 1, **in_round(1)),
        ),
        ["kill p", "kill b"],
    ),
    (
        "an init container may ask for it",
        pod(init=[sidecar("p"), ruled("i")], policy="Never"),
        state(running("p"), exited("i", 42)),
        ["kill p"],
    ),
    (
        "its failure in the next round is one",
        pod(init=[sidecar("p"), ruled("i")], policy="Never"),
        state(running("p", 1, **in_round(1)), exited("i", 1, 1, **in_round(1)), exited("a", 137)),
        ["kill all", "finished"],
    ),
]


@pytest.mark.parametrize(("obj", "observed", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_plan(obj: Object, observed: RuntimePod | None, expected: list[str]) -> None:
    assert steps(obj, observed) == expected


def test_crash_back_off_holds_a_container_back_until_its_time() -> None:
    backoffs = {"a": Backoff(20.0, NOW - seconds(60))}
    observed = state(exited(code=1, ago=5))
    plan = plan_pod(pod(), observed, NOW, backoffs=backoffs)
    assert plan.start == ()
    assert plan.waiting["a"] == Waiting(
        "CrashLoopBackOff", "back-off 20s restarting failed container=a pod=web_ns(u1)"
    )  # fmt: skip
    assert plan.wake_at == NOW + seconds(15)
    assert steps(pod(), state(exited(code=1, ago=20)), backoffs=backoffs) == ["start a 1"]


def test_hold_turns_into_its_second_form_and_ends() -> None:
    hold = Hold(Waiting("ErrImagePull"), NOW + seconds(10), Waiting("ImagePullBackOff"), NOW + seconds(2))
    plan = plan_pod(pod(), state(), NOW, holds={"a": hold})
    assert (plan.waiting["a"].reason, plan.wake_at) == ("ErrImagePull", NOW + seconds(2))
    plan = plan_pod(pod(), state(), NOW + seconds(3), holds={"a": hold})
    assert (plan.waiting["a"].reason, plan.wake_at) == ("ImagePullBackOff", NOW + seconds(10))
    assert [s.name for s in plan_pod(pod(), state(), NOW + seconds(10), holds={"a": hold}).start] == ["a"]


def test_failed_liveness_kills_with_the_probes_own_grace() -> None:
    plan = plan_pod(pod(), state(running()), NOW, verdicts={"a": ProbeVerdict(must_die="m", grace_seconds=3)})
    assert [(kill.container.name, kill.message, kill.grace_seconds) for kill in plan.kill] == [("a", "m", 3)]


def test_sidecar_that_has_not_started_holds_back_what_follows() -> None:
    obj = pod(init=[sidecar("p")])
    assert steps(obj, state(running("p")), verdicts={"p": ProbeVerdict(started=False)}) == []


def test_resources_that_changed_in_place() -> None:
    obj = pod()
    obj["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    obj["status"]["containerStatuses"] = [
        {"name": "a", "containerID": "docker://a0", "resources": {"limits": {"cpu": "1"}}}
    ]
    assert steps(obj, state(running())) == ["resize a"]


def test_rules_of_a_container_come_before_the_policy_of_the_pod() -> None:
    obj = pod(policy="Never")
    obj["spec"]["containers"][0]["restartPolicyRules"] = [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    ]
    assert steps(obj, state(exited(code=42))) == ["start a 1"]
    assert steps(obj, state(exited(code=1))) == ["kill all", "finished"]


def test_ephemeral_containers_run_once() -> None:
    obj = pod(ephemeralContainers=[{"name": "debug", "image": "sh"}])
    assert steps(obj, state(running())) == ["start debug 0"]
    assert steps(obj, state(running(), exited("debug", 1))) == []


def test_termination_stops_sidecars_last_in_reverse_order() -> None:
    obj = pod("a", "b", init=[sidecar("p"), sidecar("q")])
    observed = state(running("p"), running("q"), running("a"), running("b"))
    waves = [[c.name for c in wave] for wave in plan_termination(obj, observed)]
    assert waves == [["a", "b"], ["q"], ["p"]]
    assert [[c.name for c in wave] for wave in plan_termination(None, observed)] == [["p", "q", "a", "b"]]
