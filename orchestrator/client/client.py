"""The client that every component uses: verbs over resources, on any transport.

Objects that come back may be the very ones that the store holds: read-only, copy before changing.
Errors are those of `orchestrator.api.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import Resource
from orchestrator.client.transport import MERGE_PATCH, Request, Transport, WatchStream


class Client:
    """A Kubernetes API client; cheap, stateless, bound to one transport and so to one identity."""

    def __init__(self, transport: Transport, *, field_manager: str = "") -> None:
        self.transport = transport
        self._query = {"fieldManager": field_manager} if field_manager else {}

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """Read one object (or its subresource)."""
        return await self.transport.send(Request("get", resource, namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Object:
        """Read a collection (an empty namespace means all); returns the list object with `items`."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            limit=str(limit) if limit else "",
        )
        if continue_token:
            query["continue"] = continue_token
        return await self.transport.send(Request("list", resource, namespace, query=query))

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
    ) -> WatchStream:
        """Open a watch that reports everything after this resource version, with bookmarks."""
        query = _query(
            watch="true",
            resourceVersion=resource_version,
            allowWatchBookmarks="true",
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_seconds) if timeout_seconds else "",
        )
        return await self.transport.open_watch(Request("watch", resource, namespace, query=query))

    async def create(
        self, resource: Resource, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        """Create an object, in its own namespace unless one is given; also for create-like subresources."""
        return await self.transport.send(
            Request("create", resource, namespace or namespace_of(obj), name, subresource, query=self._query, body=obj)
        )

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """Replace an object; its resourceVersion makes the update conditional."""
        return await self.transport.send(
            Request("update", resource, namespace_of(obj), name_of(obj), subresource, query=self._query, body=obj)
        )

    async def update_status(self, resource: Resource, obj: Object) -> Object:
        """Replace the status of an object through its status subresource.

        The server takes the rest from what it has, and so the rest is not sent.
        """
        metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
        body = {key: obj[key] for key in ("apiVersion", "kind", "status") if key in obj} | {"metadata": metadata}
        return await self.update(resource, body, subresource="status")

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Change parts of an object; a merge patch unless another content type is named."""
        return await self.transport.send(
            Request(
                "patch",
                resource,
                namespace,
                name,
                subresource,
                query={**self._query, **(query or {})},
                body=patch,
                content_type=content_type,
            )
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> Object:
        """Delete an object; `uid` and `resource_version` are preconditions (409 when they do not hold)."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        preconditions = _query(uid=uid, resourceVersion=resource_version)
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        return await self.transport.send(Request("delete", resource, namespace, name, body=options))

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Object:
        """Delete every object of a collection that the selectors match."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        return await self.transport.send(Request("deletecollection", resource, namespace, query=query))

    async def close(self) -> None:
        """Let go of the transport's connections."""
        await self.transport.close()


def _query(**parameters: str) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}
