"""What the ingress controller writes to Ingresses, on a running cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.api.resources import INGRESSES
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.cluster.users import INGRESS
from orchestrator.component.events import EventRecorder
from orchestrator.ingress.controller import STATUS_SECONDS, IngressController
from orchestrator.testing import ManualClock, eventually, running_cluster


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def client(clock: ManualClock) -> AsyncIterator[Client]:
    """A client of a cluster with one node and the controller."""
    async with running_cluster(controllers=(), scheduler=False, clock=clock) as cluster:
        own = cluster.client(INGRESS, ())
        informers = Informers(own, clock=clock)
        controller = IngressController(
            local_address="127.0.0.1",
            listen=["nodes"],
            client=own,
            informers=informers,
            recorder=EventRecorder(own, component="ingress-controller", clock=clock),
            clock=clock,
        )
        tasks = [asyncio.create_task(informers.run()), asyncio.create_task(controller.run())]
        yield cluster.client()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ingress() -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"ingressClassName": "orchestrator", "defaultBackend": backend},
    }


def has(address: str | None) -> Any:
    def found(objects: list[Object]) -> bool:
        listed = (objects[0]["status"]["loadBalancer"].get("ingress") or []) if objects else []
        return [one["ip"] for one in listed] == [address] if address else bool(listed)

    return found


async def test_a_status_that_somebody_else_wrote_stands_for_a_while(client: Client, clock: ManualClock) -> None:
    await client.create(INGRESSES, ingress())
    (shown,) = await eventually(client, INGRESSES, has(None), namespace="default")
    own = shown["status"]["loadBalancer"]["ingress"][0]["ip"]

    other = {
        "metadata": {"annotations": {"by": "another"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    await client.patch(INGRESSES, "web", other, "default", subresource="status")
    await clock.run(STATUS_SECONDS - 1)
    assert has("192.0.2.1")((await client.list(INGRESSES, "default"))["items"])
    await clock.run(1)
    assert has(own)((await client.list(INGRESSES, "default"))["items"])
