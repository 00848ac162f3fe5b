"""Tables of `plan_status`: phase, conditions and container states."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.holds import Waiting
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.runtime import RuntimePod
from orchestrator.kubelet.status.inputs import NodeIdentity, StatusInputs
from orchestrator.kubelet.status.plan import plan_status, status_patch
from tests.unit.kubelet.pods import NOW, exited, init, pod, running, sandbox, seconds, sidecar, state

NODE = NodeIdentity(ips=("192.0.2.1",))


def status(obj: Object, observed: RuntimePod | None, **inputs: Any) -> Object:
    return plan_status(obj, observed, NOW, NODE, StatusInputs(**inputs))


def condition(found: Object, type_: str) -> Object:
    return next(c for c in found["conditions"] if c["type"] == type_)


CRASHING = {"waiting": {"a": Waiting("CrashLoopBackOff")}}
PULLING = {"waiting": {"a": Waiting("ImagePullBackOff")}}
OVER = state(exited(), sandboxes=(sandbox(ready=False),))

PHASES: list[tuple[str, Object, RuntimePod | None, dict[str, Any], str]] = [
    ("nothing yet", pod(), None, {}, "Pending"),
    ("sandbox only", pod(), state(), {}, "Pending"),
    ("running", pod(), state(running()), {}, "Running"),
    ("one of two cannot be pulled", pod("a", "b"), state(running("b")), PULLING, "Pending"),
    ("crash back-off", pod(), state(exited(code=1)), CRASHING, "Running"),
    ("restart pending", pod(), state(exited(code=1)), {}, "Running"),
    ("init runs", pod(init=[init("i")]), state(running("i")), {}, "Pending"),
    ("init failed, restarts", pod(init=[init("i")]), state(exited("i", 1)), {}, "Pending"),
    ("init failed for good", pod(init=[init("i")], policy="Never"),
     state(exited("i", 1), sandboxes=(sandbox(ready=False),)), {"finished": True}, "Failed"),
    ("deleted while init ran", pod(init=[init("i")]),
     state(exited("i", 137), sandboxes=(sandbox(ready=False),)), {"finished": True}, "Failed"),
    ("deleted before anything ran", pod(init=[init("i")]), None, {"finished": True}, "Failed"),
    ("deleted between init and app", pod(init=[init("i")]),
     state(exited("i"), sandboxes=(sandbox(ready=False),)), {"finished": True}, "Failed"),
    ("all ended well", pod(policy="Never"), OVER, {"finished": True}, "Succeeded"),
    ("one ended badly", pod("a", "b", policy="Never"),
     state(exited(), exited("b", 1), sandboxes=(sandbox(ready=False),)), {"finished": True}, "Failed"),
    ("ended, but the sandbox still runs", pod(policy="Never"), state(exited()), {"finished": True}, "Pending"),
    ("deadline", pod(), OVER, {"failure": ("DeadlineExceeded", "m")}, "Failed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "observed", "inputs", "phase"), [case[1:] for case in PHASES], ids=[case[0] for case in PHASES]
)
def test_phase(obj: Object, observed: RuntimePod | None, inputs: dict[str, Any], phase: str) -> None:
    assert status(obj, observed, **inputs)["phase"] == phase


def test_the_end_is_final() -> None:
    obj = pod()
    obj["status"]["phase"] = "Succeeded"
    assert status(obj, state(running()))["phase"] == "Succeeded"


def test_ready_pod() -> None:
    found = status(pod(), state(running()))
    assert [(c["type"], c["status"]) for c in found["conditions"]] == [
        ("PodReadyToStartContainers", "True"),
        ("Initialized", "True"),
        ("Ready", "True"),
        ("ContainersReady", "True"),
        ("PodScheduled", "True"),
    ]
    assert found["podIPs"] == [{"ip": "10.0.0.5"}]
    assert found["hostIPs"] == [{"ip": "192.0.2.1"}]
    assert found["containerStatuses"][0]["containerID"] == "docker://a0"


def test_unready_containers_are_named_in_order() -> None:
    found = status(pod("b", "a"), state(running("b"), running("a")), verdicts={
        "a": ProbeVerdict(ready=False), "b": ProbeVerdict(started=False),
    })  # fmt: skip
    ready = condition(found, "Ready")
    assert (ready["reason"], ready["message"]) == ("ContainersNotReady", "containers with unready status: [a b]")
    assert [entry["started"] for entry in found["containerStatuses"]] == [True, False]


def test_crash_loop_shows_the_last_state() -> None:
    entry = status(pod(), state(exited(code=2, attempt=3)), **CRASHING)["containerStatuses"][0]
    assert entry["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
    assert entry["lastState"]["terminated"]["exitCode"] == 2
    assert entry["restartCount"] == 3


def test_restarted_container_keeps_its_last_state() -> None:
    observed = state(exited(code=137, oom_killed=True), running(attempt=1))
    entry = status(pod(), observed)["containerStatuses"][0]
    assert entry["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert entry["restartCount"] == 1


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (exited(code=0), "Completed"),
        (exited(code=1), "Error"),
        (exited(code=137, oom_killed=True), "OOMKilled"),
        (exited(code=0, oom_killed=True), "Completed"),  # only a child was killed
        (exited(code=127, started_at=None), "StartError"),
    ],
)
def test_reasons(container: Any, reason: str) -> None:
    entry = status(pod(), state(container))["containerStatuses"][0]
    assert entry["state"]["terminated"]["reason"] == reason


def test_termination_message() -> None:
    found = status(pod(), state(exited(code=1)), termination_messages={"a0": "why"})
    assert found["containerStatuses"][0]["state"]["terminated"]["message"] == "why"


def test_sidecar_counts_for_readiness_and_for_initialization() -> None:
    obj = pod(init=[sidecar("p")])
    found = status(obj, state(running("p")), verdicts={"p": ProbeVerdict(started=False)})
    assert condition(found, "Initialized")["message"] == "containers with incomplete status: [p]"
    found = status(obj, state(running("p"), running()), verdicts={"p": ProbeVerdict(ready=False)})
    assert condition(found, "Ready")["message"] == "containers with unready status: [p]"


def test_transition_times_move_only_with_the_status() -> None:
    obj = pod()
    first = status(obj, state(running()))
    later = plan_status(obj, state(running()), NOW + seconds(60), NODE, StatusInputs(), first)
    assert later == first
    unready = plan_status(
        obj, state(running()), NOW + seconds(60), NODE, StatusInputs(verdicts={"a": ProbeVerdict(ready=False)}), first
    )
    assert condition(unready, "Ready")["lastTransitionTime"] == "2026-01-01T12:01:00Z"
    assert condition(unready, "Initialized")["lastTransitionTime"] == "2026-01-01T12:00:00Z"


def test_patch_names_only_what_changed_and_removes_old_reasons() -> None:
    obj = pod()
    ready = status(obj, state(running()))
    assert status_patch("u1", ready, ready) is None
    unready = status(obj, state(running()), verdicts={"a": ProbeVerdict(ready=False)})
    patch = status_patch("u1", ready, unready)
    assert patch is not None
    assert patch["metadata"] == {"uid": "u1"}
    assert set(patch["status"]) == {"conditions", "containerStatuses"}
    changed = {c["type"]: c for c in patch["status"]["conditions"]}
    assert set(changed) == {"Ready", "ContainersReady"}
    assert changed["Ready"]["reason"] is None
    assert changed["Ready"]["message"] is None


def test_address_of_a_finished_pod_stays() -> None:
    obj = pod(policy="Never")
    obj["status"].update(podIP="10.0.0.5", podIPs=[{"ip": "10.0.0.5"}])
    assert status(obj, OVER, finished=True)["podIP"] == "10.0.0.5"


def test_lost_last_state_comes_from_the_old_status() -> None:
    obj = pod()
    ended = {"exitCode": 9, "reason": "Error"}
    obj["status"]["containerStatuses"] = [{"name": "a", "restartCount": 0, "state": {"terminated": ended}}]
    entry = status(obj, state(running(attempt=1)))["containerStatuses"][0]
    assert entry["lastState"] == {"terminated": ended}
