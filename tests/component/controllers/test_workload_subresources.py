"""`/status` and `/scale` of the workloads, while their controllers run: who writes what, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object, annotations_of, condition_of, labels_of
from orchestrator.api.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)

from .conftest import Stage, deployment, template
from .test_job import job

FOREIGN = {"type": "StatusUpdate", "status": "True", "reason": "Test", "message": "Set from a test"}


def workload(resource: Resource) -> Object:
    """A small object of this kind, called `w`."""
    if resource == JOBS:
        return job("w")
    if resource == REPLICATION_CONTROLLERS:
        metadata = {"name": "w", "namespace": "default"}
        spec = {"replicas": 2, "selector": {"app": "w"}, "template": template("w")}
        return {"apiVersion": "v1", "kind": "ReplicationController", "metadata": metadata, "spec": spec}
    one = {**deployment("w", 2), "kind": resource.kind}
    if resource == DAEMON_SETS:
        del one["spec"]["replicas"]
    return one


async def started(stage: Stage, resource: Resource) -> Object:
    """Create a workload and wait for its pods."""
    await stage.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    await stage.client.patch(NODES, "n", {"spec": {"taints": None}})
    await stage.client.create(resource, workload(resource))
    count = "active" if resource == JOBS else "numberReady" if resource == DAEMON_SETS else "readyReplicas"
    wanted = 1 if resource in (JOBS, DAEMON_SETS) else 2
    return await stage.until_one(resource, "w", lambda one: (one.get("status") or {}).get(count) == wanted)


WITH_CONDITIONS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, REPLICATION_CONTROLLERS, JOBS)


@pytest.mark.parametrize("resource", WITH_CONDITIONS, ids=lambda one: one.plural)
async def test_conditions_of_others_are_kept_and_numbers_are_put_right(stage: Stage, resource: Resource) -> None:
    one = await started(stage, resource)
    status = {**one["status"], "conditions": [*(one["status"].get("conditions") or ()), FOREIGN]}
    written = await stage.client.update(resource, {**one, "status": status}, subresource="status")
    assert condition_of(written, "StatusUpdate")["reason"] == "Test"  # type: ignore[index]
    read = await stage.client.get(resource, "w", "default", subresource="status")
    assert condition_of(read, "StatusUpdate")["message"] == "Set from a test"  # type: ignore[index]
    field = {DAEMON_SETS: "numberReady", JOBS: "active"}.get(resource, "readyReplicas")
    right = one["status"][field]
    wrong = {field: 0, "availableReplicas": 0} if field == "readyReplicas" else {field: 0}
    patched = await stage.client.patch(resource, "w", {"status": wrong}, "default", subresource="status")
    assert patched["status"].get(field, 0) == 0
    put_right = await stage.until_one(resource, "w", lambda now: now["status"].get(field) == right)
    assert condition_of(put_right, "StatusUpdate") is not None


@pytest.mark.parametrize("resource", WITH_CONDITIONS, ids=lambda one: one.plural)
async def test_a_status_write_takes_metadata_along_but_never_the_spec(stage: Stage, resource: Resource) -> None:
    await started(stage, resource)
    metadata = {"annotations": {"patchedstatus": "true"}, "labels": {"patchedstatus": "true"}}
    spec = {"parallelism": 7} if resource == JOBS else {"minReadySeconds": 7}
    patch = {"metadata": metadata, "spec": spec}
    one = await stage.client.patch(resource, "w", patch, "default", subresource="status")
    assert annotations_of(one)["patchedstatus"] == "true"
    # Of these kinds, only a Deployment's strategy also keeps the labels as they were.
    assert labels_of(one).get("patchedstatus") == (None if resource == DEPLOYMENTS else "true")
    assert 7 not in one["spec"].values()


SCALABLE = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS)


@pytest.mark.parametrize("resource", SCALABLE, ids=lambda one: one.plural)
async def test_scale_is_read_replaced_and_patched(stage: Stage, resource: Resource) -> None:
    await started(stage, resource)
    scale = await stage.client.get(resource, "w", "default", subresource="scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale", {"replicas": 2}, {"replicas": 2, "selector": "app=w"})  # fmt: skip
    changed: dict[str, Any] = {**scale, "spec": {"replicas": 3}}
    answer = await stage.client.update(resource, changed, subresource="scale")
    assert answer["spec"] == {"replicas": 3}
    await stage.until_one(resource, "w", lambda one: one["status"].get("readyReplicas") == 3)
    answer = await stage.client.patch(resource, "w", {"spec": {"replicas": 1}}, "default", subresource="scale")
    assert answer["spec"] == {"replicas": 1}
    await stage.until(PODS, lambda pods: len(pods) == 1)
    one = await stage.until_one(resource, "w", lambda one: one["status"].get("replicas") == 1)
    assert one["spec"]["replicas"] == 1
