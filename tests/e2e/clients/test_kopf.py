"""A kopf operator: handlers, finalizers, timers, daemons, status patches; killed and started again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, watch

from tests.e2e.clients.conftest import widget_definition
from tests.e2e.orchestrator_process import OrchestratorProcess, clean_environment

PROGRAM = Path(__file__).parent / "operator_of_gadgets.py"
WHERE = ("clients.example.com", "v1")


class Operator:
    """The operator as a process of its own."""

    def __init__(self, hollow: OrchestratorProcess, namespace: str, log: Path) -> None:
        self._command = [
            sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", namespace, str(PROGRAM)
        ]  # fmt: skip
        self._environment = {**clean_environment(), "KUBECONFIG": str(hollow.kubeconfig)}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def start(self) -> None:
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=stream, stderr=stream)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(20)


@pytest.fixture
def operator(api: client.ApiClient, hollow: OrchestratorProcess, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(widget_definition("gadgets"))
    operator = Operator(hollow, namespace, tmp_path / "operator.log")
    operator.start()
    yield operator
    operator.kill()
    extensions.delete_custom_resource_definition("gadgets.clients.example.com")


def wait_for(
    api: client.ApiClient, namespace: str, operator: Operator, predicate: Callable[[dict[str, Any] | None], bool]
) -> None:
    """Follow the gadget `g` until the predicate holds; None stands for its absence."""
    custom = client.CustomObjectsApi(api)
    follower = watch.Watch()
    for event in follower.stream(
        custom.list_namespaced_custom_object, *WHERE, namespace, "gadgets", timeout_seconds=40
    ):
        if predicate(None if event["type"] == "DELETED" else event["object"]):
            return
    raise AssertionError(f"the gadget did not get there; the operator's log:\n{operator.log.read_text()}")


def status_of(gadget: dict[str, Any] | None) -> dict[str, Any]:
    return (gadget or {}).get("status") or {}


def test_an_operator_survives_its_death(api: client.ApiClient, namespace: str, operator: Operator) -> None:
    custom = client.CustomObjectsApi(api)
    where = (*WHERE, namespace, "gadgets")
    gadget = {"apiVersion": "clients.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}}
    custom.create_namespaced_custom_object(*where, {**gadget, "spec": {"size": "small"}})

    def is_attended(one: dict[str, Any] | None) -> bool:
        status = status_of(one)
        return (
            status.get("created") == {"size": "small"}
            and status.get("child") == "g-child"
            and status.get("attended") is True
            and status.get("ticks", 0) >= 2
        )

    wait_for(api, namespace, operator, is_attended)
    current = custom.get_namespaced_custom_object(*where, "g")
    assert current["metadata"]["finalizers"] == ["clients.example.com/gadgets"]
    assert current["metadata"]["generation"] == 1, "writing status is no change of what is wanted"

    operator.kill()
    custom.patch_namespaced_custom_object(*where, "g", {"spec": {"size": "large"}})
    ticks = status_of(custom.get_namespaced_custom_object(*where, "g"))["ticks"]
    operator.start()
    wait_for(
        api,
        namespace,
        operator,
        lambda one: status_of(one).get("resized") == "small to large" and status_of(one)["ticks"] > ticks,
    )

    operator.kill()
    custom.delete_namespaced_custom_object(*where, "g")
    assert custom.get_namespaced_custom_object(*where, "g")["metadata"]["deletionTimestamp"]
    operator.start()
    wait_for(api, namespace, operator, lambda one: one is None)
    assert custom.list_namespaced_custom_object(*where)["items"] == []
    assert operator.stop() == 0


def test_events_of_an_operator_are_events_of_the_object(
    api: client.ApiClient, namespace: str, operator: Operator
) -> None:
    gadget = {"apiVersion": "clients.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}}
    client.CustomObjectsApi(api).create_namespaced_custom_object(
        *WHERE, namespace, "gadgets", {**gadget, "spec": {"size": "small"}}
    )
    core, follower = client.CoreV1Api(api), watch.Watch()
    for event in follower.stream(
        core.list_namespaced_event, namespace, field_selector="involvedObject.name=g", timeout_seconds=40
    ):
        if (event["object"].reason, event["object"].message) == ("Made", "a child"):
            return
    raise AssertionError(operator.log.read_text())
