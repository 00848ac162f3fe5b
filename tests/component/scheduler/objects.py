"""A cluster for the scheduler alone, and the nodes and pods that it is asked about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.api.resources import NODES, SERVICE_ACCOUNTS
from orchestrator.client.client import Client
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster


@asynccontextmanager
async def bare_cluster(*, scheduler: bool = True, scheduler_config: Object | None = None) -> AsyncIterator[Cluster]:
    """A cluster without nodes and controllers; what controllers would make and pods need is made here."""
    async with running_cluster(
        nodes=0, controllers=(), scheduler=scheduler, scheduler_config=scheduler_config
    ) as running:
        await add_default_account(running.client())
        yield running


async def add_default_account(client: Client) -> None:
    """What the serviceaccount controller would make; pods need it."""
    metadata = {"name": "default", "namespace": "default"}
    await client.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})


async def add_node(client: Client, name: str, *, cpu: str = "1", labels: dict[str, str] | None = None) -> None:
    labels = {"kubernetes.io/hostname": name, **(labels or {})}
    metadata = {"name": name, "labels": labels}
    room = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    status = {"allocatable": room, "capacity": room}
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status})
    # Admission taints new nodes as not ready, which a controller would undo.
    await client.patch(NODES, name, {"spec": {"taints": None}})


def pod(name: str, *, cpu: str = "600m", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    container = {"name": "c", "image": "app:1", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels or {}},
        "spec": {"containers": [container], **spec},
    }
