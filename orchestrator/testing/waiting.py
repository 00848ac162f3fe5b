"""Waiting for a state of the cluster, by watch instead of by sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.api.objects import Object, key_of, resource_version_of
from orchestrator.api.resources import Resource
from orchestrator.client.client import Client


async def eventually(
    client: Client,
    resource: Resource,
    predicate: Callable[[list[Object]], bool],
    *,
    namespace: str = "",
    label_selector: str = "",
    timeout_seconds: float = 10.0,
) -> list[Object]:
    """Wait until the objects of a collection fulfil the predicate, and return them.

    Follows a watch, so it sees every state and wastes no time. On time-out an AssertionError shows
    what was there last.
    """
    objects: dict[str, Object] = {}
    try:
        async with asyncio.timeout(timeout_seconds):
            listed = await client.list(resource, namespace, label_selector=label_selector)
            objects = {key_of(item): item for item in listed["items"]}
            if predicate(list(objects.values())):
                return list(objects.values())
            stream = await client.watch(
                resource,
                namespace,
                resource_version=resource_version_of(listed),
                label_selector=label_selector,
            )
            try:
                while True:
                    for event_type, obj in await stream.next_batch():
                        if event_type == "BOOKMARK":
                            continue
                        if event_type == "DELETED":
                            objects.pop(key_of(obj), None)
                        else:
                            objects[key_of(obj)] = obj
                        if predicate(list(objects.values())):
                            return list(objects.values())
            finally:
                stream.close()
    except TimeoutError:
        shown = "\n".join(f"  {key}: {obj.get('status')}" for key, obj in objects.items()) or "  (nothing)"
        raise AssertionError(
            f"{resource.plural} did not come to the expected state in {timeout_seconds} s:\n{shown}"
        ) from None
