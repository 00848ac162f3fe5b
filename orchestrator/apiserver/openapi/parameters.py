"""Query and path parameters of operations, with their descriptions."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.apiserver.openapi.definitions import Version


class Parameter(Struct, frozen=True):
    """A query or path parameter."""

    name: str
    type: Literal["string", "boolean", "integer"]
    description: str
    location: Literal["query", "path"] = "query"

    def render(self, version: Version) -> Object:
        """As it stands in a document."""
        rendered: Object = {"name": self.name, "in": self.location, "description": self.description}
        if self.location == "path":
            rendered["required"] = True
        typed: Object = {"type": self.type, "uniqueItems": True}
        if version == "v3":
            return {**rendered, "schema": typed}
        return {**rendered, **typed}


def _parameters(*entries: tuple[str, Literal["string", "boolean", "integer"], str]) -> dict[str, Parameter]:
    return {name: Parameter(name, kind, text) for name, kind, text in entries}


QUERY: Final = _parameters(
    ("pretty", "string", "If 'true', then the output is pretty printed."),
    ("dryRun", "string", "All: run every stage of the request, but store nothing."),
    ("fieldManager", "string", "The name of the actor or entity that makes these changes; at most 128 characters."),
    ("fieldValidation", "string", "What unknown or duplicate fields lead to: Ignore, Warn (the default) or Strict."),
    ("force", "boolean", "Take over fields that others own; only for apply patches."),
    ("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events, which tell how far the watch has come."),
    ("continue", "string", "The token of an earlier answer: return the next chunk of that list."),
    ("fieldSelector", "string", "Restrict the objects returned by their fields."),
    ("labelSelector", "string", "Restrict the objects returned by their labels."),
    ("limit", "integer", "The largest number of objects in one answer."),
    ("resourceVersion", "string", "Which resource versions the request may be served from."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to a list: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with synthetic events for what exists, and then a bookmark."),
    ("timeoutSeconds", "integer", "How long a list or watch may take."),
    ("watch", "boolean", "Stream changes to the objects instead of listing them."),
    ("gracePeriodSeconds", "integer", "Seconds before the object is removed; 0 removes it at once."),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Delete an object even if it cannot be read."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy. Whether dependents are orphaned."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)  # fmt: skip
LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
WRITE = ("dryRun", "fieldManager", "fieldValidation")
DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
DELETE_COLLECTION = (
    *DELETE, "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip

_STREAM_PARAMETERS = _parameters(
    ("stdin", "boolean", "Redirect the standard input stream."),
    ("stdout", "boolean", "Redirect the standard output stream."),
    ("stderr", "boolean", "Redirect the standard error stream."),
    ("tty", "boolean", "Allocate a terminal."),
    ("container", "string", "The container; may be left out when the pod has one only."),
)
CONNECT_PARAMETERS: Final[dict[str, tuple[Parameter, ...]]] = {
    "PodAttachOptions": tuple(_STREAM_PARAMETERS.values()),
    "PodExecOptions": (
        *_STREAM_PARAMETERS.values(),
        Parameter("command", "string", "The command to run, one parameter for each word."),
    ),
    "PodPortForwardOptions": (Parameter("ports", "integer", "The ports to forward."),),
    "PodProxyOptions": (Parameter("path", "string", "The path to ask the pod for."),),
    "ServiceProxyOptions": (Parameter("path", "string", "The path to ask the service for."),),
    "NodeProxyOptions": (Parameter("path", "string", "The path to ask the kubelet for."),),
}
LOG_PARAMETERS = tuple(
    _parameters(
        ("container", "string", "The container; may be left out when the pod has one only."),
        ("follow", "boolean", "Stay connected and stream what is written."),
        ("insecureSkipTLSVerifyBackend", "boolean", "Do not check the serving certificate of the kubelet."),
        ("limitBytes", "integer", "The largest number of bytes to return."),
        ("previous", "boolean", "The log of the container that ended before this one."),
        ("sinceSeconds", "integer", "Only lines that are newer than so many seconds."),
        ("stream", "string", "Which stream to return: All, Stdout or Stderr."),
        ("tailLines", "integer", "So many lines from the end of the log."),
        ("timestamps", "boolean", "Begin every line with the time at which it was written."),
    ).values()
)
NAMESPACE = Parameter("namespace", "string", "The namespace: object name and auth scope.", "path")
PATH = Parameter("path", "string", "The path that is asked for.", "path")
