"""Whatever is done to a workload, in whatever order: in the end it is what was asked for last.

The order and how far controllers get in between come from a seed.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, is_terminating, name_of
from orchestrator.api.resources import DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, STATEFUL_SETS, Resource

from .conftest import Stage, deployment
from .test_job import TRACKING, has, job, pods_of
from .test_statefulset import stateful_set
from .test_workload_behaviour import image_of, set_image

STEPS = 40
SEEDS = range(3)


class Meddler:
    """Somebody who does things to a workload called `web`."""

    def __init__(self, stage: Stage, resource: Resource, seed: int) -> None:
        self.stage, self.resource = stage, resource
        self.random = random.Random(seed)
        self._images = 1

    async def some_turns(self) -> None:
        """Let the controllers get somewhere."""
        for _ in range(self.random.randint(0, 60)):
            await asyncio.sleep(0)

    async def roll_out(self) -> None:
        self._images += 1
        await set_image(self.stage, self.resource, "web", f"web:{self._images}")

    async def roll_back(self) -> None:
        await set_image(self.stage, self.resource, "web", f"web:{self.random.randint(1, self._images)}")

    async def scale(self) -> None:
        size = {"spec": {"replicas": self.random.randint(0, 8)}}
        await self.stage.client.patch(self.resource, "web", size, "default", subresource="scale")

    async def change(self, **spec: Any) -> None:
        await self.stage.client.patch(self.resource, "web", {"spec": spec}, "default")

    async def disturb(self) -> None:
        """End some pods, one way or the other."""
        pods = await pods_of(self.stage)
        for pod in self.random.sample(pods, min(3, len(pods))):
            try:
                if pod["status"].get("phase") == "Running" and self.random.random() < 0.3:
                    await self.stage.finish(pod, 1)
                else:
                    grace = self.random.choice((0, 1))
                    await self.stage.client.delete(PODS, name_of(pod), "default", grace_period_seconds=grace)
            except (errors.NotFound, errors.Conflict):
                continue  # gone already


@pytest.mark.parametrize("seed", SEEDS)
async def test_deployments(stage: Stage, seed: int) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    await stage.client.create(DEPLOYMENTS, deployment(replicas=6, strategy=strategy, revisionHistoryLimit=2))
    meddler = Meddler(stage, DEPLOYMENTS, seed)
    for _ in range(STEPS):
        does = meddler.random.choice(("roll_out", "roll_back", "scale", "disturb", "pause"))
        if does == "pause":
            await meddler.change(paused=meddler.random.choice((True, False)))
        else:
            await getattr(meddler, does)()
        await meddler.some_turns()
    await meddler.change(paused=False)
    last = await stage.client.get(DEPLOYMENTS, "web", "default")
    size, image = last["spec"]["replicas"], image_of(last["spec"]["template"])

    def is_done(one: Object) -> bool:
        status = one["status"]
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        is_seen = status["observedGeneration"] >= last["metadata"]["generation"]
        is_complete = (condition_of(one, "Progressing") or {}).get("reason") == "NewReplicaSetAvailable"
        return is_seen and is_complete and counts == [size] * 3

    await stage.until_one(DEPLOYMENTS, "web", is_done)
    # Failed pods stay as long as their ReplicaSet, as evicted ones do.
    await stage.until(
        PODS, lambda pods: [image_of(pod) for pod in pods if pod["status"].get("phase") != "Failed"] == [image] * size
    )
    sets = await stage.until(REPLICA_SETS, lambda sets: len(sets) <= 3)
    numbers = {one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in sets}
    assert len(numbers) == len(sets)


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_stateful_sets(stage: Stage, policy: str, seed: int) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=4, podManagementPolicy=policy))
    meddler = Meddler(stage, STATEFUL_SETS, seed)
    for _ in range(STEPS):
        does = meddler.random.choice(("roll_out", "roll_back", "scale", "disturb", "partition"))
        if does == "partition":
            await meddler.change(updateStrategy={"rollingUpdate": {"partition": meddler.random.randint(0, 4)}})
        else:
            await getattr(meddler, does)()
        await meddler.some_turns()
    await meddler.change(updateStrategy={"rollingUpdate": {"partition": 0}})
    last = await stage.client.get(STATEFUL_SETS, "web", "default")
    size, image = last["spec"]["replicas"], image_of(last["spec"]["template"])

    def is_done(one: Object) -> bool:
        status = one["status"]
        counts = [status.get(f"{name}Replicas", 0) for name in ("updated", "available", "current")]
        return (
            status["observedGeneration"] >= last["metadata"]["generation"]
            and counts == [size] * 3
            and status["currentRevision"] == status["updateRevision"]
        )

    await stage.until_one(STATEFUL_SETS, "web", is_done)
    names = [f"web-{ordinal}" for ordinal in range(size)]
    await stage.until(
        PODS, lambda pods: sorted(map(name_of, pods)) == names and {image_of(pod) for pod in pods} <= {image}
    )


@pytest.mark.parametrize("spec", [
    {}, {"podReplacementPolicy": "Failed"}, {"completionMode": "Indexed"},
    {"completionMode": "Indexed", "backoffLimitPerIndex": 100},
], ids=["plain", "replaces failed", "indexed", "limit per index"])  # fmt: skip
async def test_jobs(stage: Stage, spec: dict[str, Any]) -> None:
    """Every completion is counted once, and no pod is held for ever."""
    one = job("web", completions=8, parallelism=3, **spec)
    one["spec"]["backoffLimit"] = 1000
    await stage.client.create(JOBS, one)
    meddler = Meddler(stage, JOBS, len(spec))
    for _ in range(STEPS):
        does = meddler.random.choice(("parallelism", "suspend", "delete", "succeed", "succeed"))
        running = [pod for pod in await pods_of(stage) if pod["status"].get("phase") == "Running"]
        running = [pod for pod in running if not is_terminating(pod)]
        try:
            if does == "parallelism":
                await meddler.change(parallelism=meddler.random.randint(0, 6))
            elif does == "suspend":
                await meddler.change(suspend=meddler.random.choice((True, False)))
            elif running and does == "delete":
                await stage.client.delete(PODS, name_of(meddler.random.choice(running)), "default")
            elif running:
                await stage.finish(meddler.random.choice(running))
        except (errors.NotFound, errors.Conflict):
            continue  # gone already
        await meddler.some_turns()
    stage.exit_code = lambda pod: 0
    if not has("Complete")(await stage.client.get(JOBS, "web", "default")):
        await meddler.change(suspend=False, parallelism=4)
    await stage.release()
    status = (await stage.until_one(JOBS, "web", has("Complete")))["status"]
    assert (status["succeeded"], status["uncountedTerminatedPods"]) == (8, {})
    assert (status.get("active"), status["terminating"]) == (None, 0)
    assert not any(TRACKING in (pod["metadata"].get("finalizers") or ()) for pod in await pods_of(stage))
