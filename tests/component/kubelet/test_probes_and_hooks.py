"""Probes and lifecycle hooks, scripted by the test."""

from __future__ import annotations

from orchestrator.api.objects import condition_of
from orchestrator.api.resources import PODS
from orchestrator.testing import settle
from tests.component.kubelet.hollow_node import Node, state
from tests.component.kubelet.scripted import ScriptedActions, http


async def test_readiness_gate(node: Node) -> None:
    await node.create("web", readinessGates=[{"conditionType": "example.com/ok"}])
    pod = await node.wait_phase("web", "Running")
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert ready["reason"] == "ReadinessGatesNotReady"
    patch = {"status": {"conditions": [{"type": "example.com/ok", "status": "True"}]}}
    await node.client.patch(
        PODS, "web", patch, "default", subresource="status", content_type="application/strategic-merge-patch+json"
    )
    pod = await node.wait("web", lambda p: (condition_of(p, "Ready") or {}).get("status") == "True")
    assert condition_of(pod, "example.com/ok") is not None


async def test_readiness_probe_of_a_hollow_pod_succeeds(node: Node) -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5, "initialDelaySeconds": 10}
    await node.create("web", containers=[{"name": "a", "image": "app:1", "readinessProbe": probe}])
    pod = await node.wait_phase("web", "Running")
    assert not pod["status"]["containerStatuses"][0]["ready"]
    await node.clock.run(11)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["ready"])


async def test_readiness_follows_its_thresholds(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    probe = http("/ready", failureThreshold=2, successThreshold=2)
    await node.create("web", containers=[{"name": "a", "image": "app:1", "readinessProbe": probe}])
    pod = await node.wait_phase("web", "Running")
    assert not pod["status"]["containerStatuses"][0]["ready"]
    await node.clock.run(0.1)
    assert not (await node.get("web"))["status"]["containerStatuses"][0]["ready"]
    await node.clock.run(5)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["ready"])
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert "reason" not in ready
    actions.failing.add("/ready")
    await node.clock.run(5)
    assert (await node.get("web"))["status"]["containerStatuses"][0]["ready"]
    await node.clock.run(5)
    await node.wait("web", lambda p: not p["status"]["containerStatuses"][0]["ready"])
    assert "Unhealthy: Readiness probe failed: /ready is scripted" in await node.event_messages("web")


async def test_a_probe_that_warns_succeeds(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.warning.add("/ready")
    await node.create("web", containers=[{"name": "a", "image": "app:1", "readinessProbe": http("/ready")}])
    await node.wait_phase("web", "Running")
    await node.clock.run(1)
    await node.wait("web", lambda p: (condition_of(p, "Ready") or {}).get("status") == "True")
    assert "ProbeWarning: Readiness probe warning: /ready is scripted" in await node.event_messages("web")


async def test_failed_liveness_restarts_the_container(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.failing.add("/live")
    probe = http("/live", failureThreshold=3)
    await node.create("web", containers=[{"name": "a", "image": "app:1", "livenessProbe": probe}])
    await node.wait_phase("web", "Running")
    await node.clock.run(9)
    assert (await node.get("web"))["status"]["containerStatuses"][0]["restartCount"] == 0
    await node.clock.run(2)
    await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert "Killing: Container a failed liveness probe, will be restarted" in await node.event_messages("web")


async def test_a_container_that_failed_liveness_is_probed_no_more_while_it_stops(
    scripted: tuple[Node, ScriptedActions],
) -> None:
    node, actions = scripted
    actions.failing.add("/live")
    lifecycle = {"preStop": {"sleep": {"seconds": 900}}}
    container = {"name": "a", "image": "app:1", "livenessProbe": http("/live"), "lifecycle": lifecycle}
    await node.create("web", containers=[container], terminationGracePeriodSeconds=1000)
    await node.wait_phase("web", "Running")
    await node.clock.run(60)
    assert actions.calls.count("/live") == 3
    assert node.runtime.pods()
    # Nor does the end of its pod wait for the restart.
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await settle()
    await node.clock.run(5)
    assert node.runtime.pods() == []


async def test_nothing_is_probed_before_startup_succeeded(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.failing.add("/start")
    container = {
        "name": "a",
        "image": "app:1",
        "startupProbe": http("/start", failureThreshold=10),
        "livenessProbe": http("/live"),
        "readinessProbe": http("/ready"),
    }
    await node.create("web", containers=[container])
    pod = await node.wait_phase("web", "Running")
    assert not pod["status"]["containerStatuses"][0]["started"]
    await node.clock.run(12)
    assert set(actions.calls) == {"/start"}
    actions.failing.clear()
    await node.clock.run(6)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["ready"])
    assert pod["status"]["containerStatuses"][0]["started"]
    before = actions.calls.count("/start")
    await node.clock.run(60)
    assert actions.calls.count("/start") == before


async def test_no_probe_is_left_after_the_pod(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    await node.create("web", containers=[{"name": "a", "image": "app:1", "livenessProbe": http("/live")}])
    await node.wait_phase("web", "Running")
    await node.clock.run(6)
    await node.client.delete(PODS, "web", "default")
    await node.wait_gone("web")
    count = len(actions.calls)
    await node.clock.run(60)
    assert count > 0
    assert len(actions.calls) == count


async def test_hooks(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    lifecycle = {"postStart": http("/post"), "preStop": http("/pre")}
    for hook in lifecycle.values():
        del hook["periodSeconds"]
    actions.failing.add("/pre")
    await node.create("web", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}])
    await node.wait_phase("web", "Running")
    assert actions.calls == ["/post"]
    await node.client.delete(PODS, "web", "default")
    await node.wait_gone("web")
    assert actions.calls == ["/post", "/pre"]
    assert "FailedPreStopHook: PreStopHook failed" in await node.event_messages("web")


async def test_failed_post_start_kills_the_container(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.failing.add("/postStart")
    lifecycle = {name: {"httpGet": {"path": f"/{name}", "port": 80}} for name in ("postStart", "preStop")}
    await node.create(
        "web", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}], restartPolicy="Never"
    )
    pod = await node.wait_phase("web", "Failed")
    assert state(pod)["terminated"]["exitCode"] == 143
    assert actions.calls == ["/postStart", "/preStop"]
    messages = await node.event_messages("web")
    assert "FailedPostStartHook: PostStartHook failed" in messages
    assert "Killing: FailedPostStartHook" in messages
