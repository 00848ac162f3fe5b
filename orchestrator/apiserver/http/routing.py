"""From a URL to what is asked for; mirrors kube-apiserver's RequestInfo resolver.

/api/v1/...  /apis/<group>/<version>/...
    [watch/] [namespaces/<namespace>/] <resource> [/<name> [/<subresource> [/<rest>]]]
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from msgspec import Struct

from orchestrator.apiserver.request import is_true

_NAMESPACE_SUBRESOURCES = frozenset(("status", "finalize"))
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Route(Struct, frozen=True):
    """A resource URL, taken apart."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource; only proxies have it."""
    is_watch: bool = False
    """The old form: `/api/v1/watch/...`."""


def parse_path(path: str) -> Route | None:
    """The resource that a (still quoted) path names; None when it names none."""
    parts = [unquote(part) for part in path.split("/")]
    if len(parts) > 2 and parts[1] == "api":
        group, version, rest = "", parts[2], parts[3:]
    elif len(parts) > 3 and parts[1] == "apis":
        group, version, rest = parts[2], parts[3], parts[4:]
    else:
        return None
    if rest and not rest[-1]:
        rest = rest[:-1]
    is_watch = bool(rest) and rest[0] == "watch"
    if is_watch:
        rest = rest[1:]
    if not rest:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    plural, *more = rest
    name = more[0] if more else ""
    subresource = more[1] if len(more) > 1 else ""
    return Route(group, version, plural, namespace, name, subresource, "/".join(more[2:]), is_watch)


def verb_of(method: str, route: Route, query: Mapping[str, str]) -> str:
    """The API verb of a request (API conventions, "Verbs on Resources"); empty for an unknown method."""
    if method in ("GET", "HEAD"):
        if route.subresource:
            return "get"
        if is_true(query.get("watch")) or route.is_watch:
            return "watch"
        return "get" if route.name else "list"
    if method == "DELETE" and not route.name:
        return "deletecollection"
    return _VERBS.get(method, "")
