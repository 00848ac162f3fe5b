"""The transport seam: how a request reaches an API server.

The API server's own in-process transport (`apiserver.inprocess`) hands over the stored objects themselves; one that
speaks HTTPS to any Kubernetes API fits here as well. A component cannot tell which one it got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct, field

from orchestrator.api.objects import Object
from orchestrator.api.resources import Resource

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Request(Struct, frozen=True):
    """One request to the API, before it is made a URL and bytes."""

    verb: Verb
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters as in the URL: labelSelector, fieldSelector, resourceVersion, dryRun, ..."""
    body: Any = None
    """The object, DeleteOptions, or the patch (a list for JSON patch)."""
    content_type: str = "application/json"
    """For patches: which kind."""


class WatchEvent(NamedTuple):
    """ADDED, MODIFIED, DELETED or BOOKMARK, with the object. Errors are raised instead."""

    type: str
    object: Object


class WatchStream(Protocol):
    """An open watch."""

    async def next_batch(self) -> Sequence[WatchEvent]:
        """Wait for events, at least one; an empty batch means that the server ended the watch.

        Raises ApiError, in particular `Expired` when the watcher was too slow or asked too far back.
        """
        ...

    def close(self) -> None:
        """Stop; safe to call twice."""
        ...


class Transport(Protocol):
    """Carries requests to an API server under one identity."""

    async def send(self, request: Request) -> Object:
        """The response body: an object, a list or a Status; raises ApiError. Read-only."""
        ...

    async def open_watch(self, request: Request) -> WatchStream:
        """Start a watch; returns once the server accepted it."""
        ...

    async def close(self) -> None: ...
