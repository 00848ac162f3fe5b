"""The in-process transport: the API without sockets, for the cluster's own components and for tests.

Same pipeline, same authorization, same errors as over HTTPS; but what comes back are the stored
objects themselves, and watch events are handed over without encoding anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.api import errors
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, copy_object
from orchestrator.apiserver.request import ApiRequest, ListResult
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.user import AUTHENTICATED_GROUP, User
from orchestrator.apiserver.watching import ObjectWatch, bookmark_object
from orchestrator.client.transport import Request, WatchEvent


class InProcessTransport:
    """Implements `client.transport.Transport` for one user."""

    def __init__(self, server: ApiServer, user: User, *, user_agent: str = "") -> None:
        self._server = server
        self._user = user
        self._user_agent = user_agent or user.name.rpartition(":")[2]

    async def send(self, request: Request) -> Object:
        """Serve one request; raises ApiError."""
        remote = self._server.remote_groups
        if remote is not None and request.verb in ("get", "list") and self._kind_of(request) is None:
            return await remote.read(self._user, request)
        result = await self._server.handle(self._api_request(request))
        if isinstance(result, ListResult):
            return list_object(result)
        return result.obj

    async def open_watch(self, request: Request) -> InProcessWatch:
        """Open a watch; raises ApiError.

        Nothing interrupts it, so it lasts until it is closed, unless it is to end before, and says only then how far
        it has come.
        """
        watch = await self._server.watch(
            self._api_request(request), bookmark_seconds=math.inf, default_seconds=math.inf
        )
        return InProcessWatch(watch)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _kind_of(self, request: Request) -> Kind | None:
        resource = request.resource
        return self._server.registry.by_path(resource.group, resource.version, resource.plural)

    def _api_request(self, request: Request) -> ApiRequest:
        kind = self._kind_of(request)
        if kind is None:
            raise errors.NotFound("the server could not find the requested resource")
        shares_body = kind.renewed is not None and request.verb == "update"
        return ApiRequest(
            verb=request.verb,
            kind=kind,
            user=self._user,
            namespace=request.namespace,
            name=request.name,
            subresource=request.subresource,
            query=request.query,
            body=request.body if shares_body else _own(request),
            shares_body=shares_body,
            content_type=request.content_type,
            user_agent=self._user_agent,
        )


class InProcessWatch:
    """Implements `client.transport.WatchStream`."""

    def __init__(self, watch: ObjectWatch) -> None:
        self._watch = watch

    async def next_batch(self) -> Sequence[WatchEvent]:
        """The next events; empty when the watch ended."""
        watch = self._watch
        return [
            WatchEvent(
                change.type,
                watch.convert(change.record.obj) if change.record else bookmark_object(watch.kind, change),
            )
            for change in await watch.next_changes()
        ]

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()


def list_object(result: ListResult) -> Object:
    """A list as an object; the items are the stored ones."""
    metadata: dict[str, Any] = {"resourceVersion": str(result.revision)} if result.revision else {}
    if result.continue_token:
        metadata["continue"] = result.continue_token
    if result.remaining:
        metadata["remainingItemCount"] = result.remaining
    convert = result.convert
    items = [convert(record.obj) if convert else record.obj for record in result.records]
    resource = result.kind.resource
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": items}


def component_user(name: str, groups: Sequence[str] = (), extra: Mapping[str, tuple[str, ...]] | None = None) -> User:
    """The identity of a component of the cluster."""
    return User(name, groups=(*groups, AUTHENTICATED_GROUP), extra=extra or {})


def _own(request: Request) -> Any:
    """A body that the server may change: callers often build theirs from cached objects. Patches are only read."""
    if request.verb in ("create", "update") and request.body is not None:
        return copy_object(request.body)
    return request.body
