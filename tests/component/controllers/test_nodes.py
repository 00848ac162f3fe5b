"""Lost nodes on a running cluster: Unknown, taints, eviction, collection of their pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.aiokit.clock import SystemClock, format_micro_time, format_time
from orchestrator.api.objects import Object, annotations_of, condition_of, labels_of, name_of
from orchestrator.api.resources import EVENTS, LEASES, NODES, PODS
from orchestrator.client.informer import Informers
from orchestrator.cluster.users import CONTROLLER_MANAGER, controller_groups, controller_user
from orchestrator.component.controller import Controller
from orchestrator.component.events import EventRecorder
from orchestrator.controllers.nodelifecycle import NodeLifecycleController
from orchestrator.controllers.nodettl import ANNOTATION, NodeTTLController
from orchestrator.controllers.podgc import PodGarbageCollector
from orchestrator.controllers.tainteviction import TaintEvictionController

from .conftest import Stage, stage_with, template

CLOCK = SystemClock()


@asynccontextmanager
async def node_controllers(*kinds: Any, **options: Any) -> AsyncIterator[Stage]:
    """A cluster with just these controllers, built here because their times are shortened."""
    async with stage_with("serviceaccount") as stage:
        informers = Informers(stage.cluster.client(CONTROLLER_MANAGER, ()), clock=CLOCK, detect_mutations=True)
        clients = {kind: stage.cluster.client(controller_user(kind.name), controller_groups()) for kind in kinds}
        recorder = EventRecorder(clients[kinds[0]], component="node-controller", clock=CLOCK)
        common: dict[str, Any] = {"informers": informers, "recorder": recorder, "clock": CLOCK}
        controllers: Sequence[Controller] = [
            kind(client=client, **common, **options.get(kind.name, {})) for kind, client in clients.items()
        ]
        runs = [informers.run, recorder.run, *(one.run for one in controllers)]
        tasks = [asyncio.create_task(run(), name=f"test/{run.__qualname__}") for run in runs]
        try:
            yield stage
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results), results


async def add_node(stage: Stage, name: str) -> None:
    await stage.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    stamp = format_time(stage.clock.now())
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
             "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}  # fmt: skip
    await stage.client.patch(NODES, name, {"status": {"conditions": [ready]}}, subresource="status")


async def add_pod(stage: Stage, name: str, node: str, *tolerations: dict[str, Any]) -> None:
    spec = {**template()["spec"], "nodeName": node, "tolerations": list(tolerations)}
    metadata = {"name": name, "namespace": "default"}
    await stage.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    await stage.until_one(PODS, name, lambda pod: (condition_of(pod, "Ready") or {}).get("status") == "True")


def taints_of(node: Object) -> set[tuple[str, str]]:
    return {(taint["key"], taint["effect"]) for taint in node["spec"].get("taints") or ()}


LIFECYCLE = {"nodelifecycle": {"grace_seconds": 0.3, "startup_grace_seconds": 0.3}}


async def keep_alive(stage: Stage, name: str) -> None:
    """Renew a Lease until cancelled, as a kubelet does."""
    metadata = {"name": name, "namespace": "kube-node-lease"}
    lease: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    lease["spec"] = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": format_micro_time(CLOCK.now())}
    await stage.client.create(LEASES, lease)
    while True:
        await CLOCK.sleep(0.05)
        renewed = {"spec": {"renewTime": format_micro_time(CLOCK.now())}}
        await stage.client.patch(LEASES, name, renewed, "kube-node-lease")


async def test_a_silent_node_becomes_unknown_tainted_and_its_pods_not_ready() -> None:
    async with node_controllers(NodeLifecycleController, **LIFECYCLE) as stage:
        await add_node(stage, "alive")
        lease = asyncio.create_task(keep_alive(stage, "alive"), name="test/lease")
        await add_node(stage, "lost")
        await add_pod(stage, "p", "lost")
        node = await stage.until_one(
            NODES, "lost", lambda n: ("node.kubernetes.io/unreachable", "NoExecute") in taints_of(n)
        )
        assert ("node.kubernetes.io/unreachable", "NoSchedule") in taints_of(node)
        ready = condition_of(node, "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"], ready["message"]) == (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        )
        never = condition_of(node, "DiskPressure")
        assert never is not None
        assert never["reason"] == "NodeStatusNeverUpdated"
        await stage.until_one(PODS, "p", lambda pod: (condition_of(pod, "Ready") or {}).get("status") == "False")
        await stage.until(
            EVENTS, lambda es: any(e["reason"] == "NodeNotReady" and e["involvedObject"]["kind"] == "Pod" for e in es)
        )
        assert taints_of(await stage.client.get(NODES, "alive")) == set()
        lease.cancel()
        # The node comes back.
        stamp = format_time(CLOCK.now())
        back = {"type": "Ready", "status": "True", "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
        await stage.client.patch(NODES, "lost", {"status": {"conditions": [back]}}, subresource="status")
        await stage.until_one(NODES, "lost", lambda n: not taints_of(n))


async def test_when_every_node_is_silent_nobody_is_evicted() -> None:
    async with node_controllers(NodeLifecycleController, **LIFECYCLE) as stage:
        await add_node(stage, "only")
        node = await stage.until_one(
            NODES, "only", lambda n: ("node.kubernetes.io/unreachable", "NoSchedule") in taints_of(n)
        )
        assert ("node.kubernetes.io/unreachable", "NoExecute") not in taints_of(node)


async def test_pods_are_evicted_when_their_toleration_ends() -> None:
    async with node_controllers(TaintEvictionController) as stage:
        await add_node(stage, "n")
        for_a_second = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for_ever = {"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}
        await add_pod(stage, "none", "n")
        await add_pod(stage, "short", "n", for_a_second)
        await add_pod(stage, "forever", "n", for_ever)
        gone: list[set[str]] = []

        def watch(pods: list[Object]) -> bool:
            gone.append({name_of(pod) for pod in pods})
            return gone[-1] == {"forever"}

        taint = {"key": "k", "value": "v", "effect": "NoExecute"}
        await stage.client.patch(NODES, "n", {"spec": {"taints": [taint]}})
        await stage.until(PODS, watch)
        assert {"short", "forever"} in gone
        events = await stage.until(EVENTS, lambda es: sum(e["reason"] == "TaintManagerEviction" for e in es) == 2)
        assert {e["message"] for e in events if e["reason"] == "TaintManagerEviction"} == {
            "Marking for deletion Pod default/none",
            "Marking for deletion Pod default/short",
        }


async def test_pods_of_a_node_that_left_are_collected() -> None:
    options = {"podgc": {"quarantine_seconds": 0.1}}
    async with node_controllers(PodGarbageCollector, **options) as stage:
        await add_node(stage, "n")
        await add_node(stage, "other")
        await add_pod(stage, "p", "n")
        await add_pod(stage, "q", "other")
        await stage.client.delete(NODES, "n")
        last: list[Object] = []

        def watch(pods: list[Object]) -> bool:
            last.extend(pod for pod in pods if name_of(pod) == "p")
            return {name_of(pod) for pod in pods} == {"q"}

        await stage.until(PODS, watch)
        condition = condition_of(last[-1], "DisruptionTarget")
        assert last[-1]["status"]["phase"] == "Failed"
        assert condition is not None
        assert (condition["reason"], condition["message"]) == ("DeletionByPodGC", "PodGC: node no longer exists")


async def test_finished_pods_above_the_threshold_go_oldest_first() -> None:
    options = {"podgc": {"terminated_pod_threshold": 2}}
    async with node_controllers(PodGarbageCollector, **options) as stage:
        await add_node(stage, "n")
        for number in range(5):
            await add_pod(stage, f"p{number}", "n")
            done = {"status": {"phase": "Succeeded"}}
            await stage.client.patch(PODS, f"p{number}", done, "default", subresource="status")
        await stage.until(PODS, lambda pods: {name_of(pod) for pod in pods} == {"p3", "p4"})


async def test_nodes_say_how_long_what_they_read_is_good() -> None:
    async with node_controllers(NodeTTLController) as stage:
        await add_node(stage, "a")
        await stage.until_one(NODES, "a", lambda node: annotations_of(node).get(ANNOTATION) == "0")
        await stage.client.patch(NODES, "a", {"metadata": {"annotations": {ANNOTATION: "7"}}})
        await stage.until_one(NODES, "a", lambda node: annotations_of(node).get(ANNOTATION) == "0")


async def test_a_node_has_its_system_under_the_old_name_too() -> None:
    async with node_controllers(NodeLifecycleController) as stage:
        await add_node(stage, "a")
        await stage.client.patch(NODES, "a", {"metadata": {"labels": {"kubernetes.io/os": "linux"}}})
        await stage.until_one(NODES, "a", lambda node: labels_of(node).get("beta.kubernetes.io/os") == "linux")
