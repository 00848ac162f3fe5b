"""Waiting for a state of objects by watch, with a time-out: what `rollout status`, `delete` and `scale` share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from orchestrator.cli.connection import Connection, Object
from orchestrator.cli.discovery import ApiResource
from orchestrator.cli.errors import CliError, ServerError

TIMED_OUT: Final = "error: timed out waiting for the condition"


async def states(
    connection: Connection, resource: ApiResource, namespace: str, name: str
) -> AsyncGenerator[Object | None, None]:
    """Every state of one object from now on, None when it does not exist; ends never, so close it (`aclosing`)."""
    path = resource.path(namespace)
    query = {"fieldSelector": f"metadata.name={name}"}
    while True:
        listed = await connection.get(path, query=query)
        items = listed["items"]
        yield {"apiVersion": resource.api_version, "kind": resource.kind, **items[0]} if items else None
        version = listed["metadata"]["resourceVersion"]
        try:
            async with aclosing(connection.watch(path, query={**query, "resourceVersion": version})) as events:
                async for event, obj in events:
                    yield None if event == "DELETED" else obj
        except ServerError as error:
            if error.reason not in ("Expired", "Gone"):
                raise


def within(seconds: float) -> asyncio.Timeout:
    """A time limit; 0 means none."""
    return asyncio.timeout(seconds if seconds > 0 else None)


def timed_out() -> CliError:
    """The error of a wait that took too long."""
    return CliError(TIMED_OUT)
