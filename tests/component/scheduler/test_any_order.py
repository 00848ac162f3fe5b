"""Pods of several priorities come and go in any order: no node ever has too much, and nobody waits who could run."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, is_terminating, name_of
from orchestrator.api.resources import PODS
from orchestrator.client.client import Client
from orchestrator.testing import eventually
from tests.component.scheduler.test_preemption import FOO, client, node_names, pod  # noqa: F401 - the fixture

STEPS = 60
ROOM = 3


def amount_of(one: Object) -> int:
    return int(one["spec"]["containers"][0]["resources"]["requests"][FOO])


def is_settled(pods: list[Object], nodes: list[str]) -> bool:
    """Whether no pod that waits would fit, not even if less important ones made way."""
    placed: dict[str, list[Object]] = {node: [] for node in nodes}
    waiting: list[Object] = []
    for one in pods:
        if is_terminating(one):
            return False
        node = one["spec"].get("nodeName")
        (placed[node] if node else waiting).append(one)
    assert all(sum(map(amount_of, there)) <= ROOM for there in placed.values())
    for one in waiting:
        for there in placed.values():
            staying = sum(amount_of(other) for other in there if other["spec"]["priority"] >= one["spec"]["priority"])
            if staying + amount_of(one) <= ROOM:
                return False
    return True


@pytest.mark.parametrize("seed", range(5))
async def test_everybody_runs_who_can(client: Client, seed: int) -> None:  # noqa: F811 - the fixture
    chance = random.Random(seed)
    for number in range(STEPS):
        pods: list[Any] = (await client.list(PODS, "default"))["items"]
        if not pods or chance.random() < 0.65:
            made = pod(f"p{number}", chance.choice(("low", "medium", "high")), chance.randint(1, ROOM))
            made["spec"]["terminationGracePeriodSeconds"] = chance.choice((0, 1))
            await client.create(PODS, made)
        else:
            try:
                await client.delete(PODS, name_of(chance.choice(pods)), "default")
            except errors.NotFound:
                continue  # evicted meanwhile
        for _ in range(chance.randint(0, 80)):
            await asyncio.sleep(0)  # how far the scheduler and the nodes get
    nodes = await node_names(client)
    await eventually(client, PODS, lambda found: is_settled(found, nodes), namespace="default", timeout_seconds=30)
