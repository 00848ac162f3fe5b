"""One `/openapi/v2` document for several servers; pure.

Of another server's document there is what lies below the paths of its group version, with every definition that is
used there. Two servers may mean different things by one name of a definition: the second one then gets a name of its
own. Mirrors k8s.io/kube-openapi's aggregator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.apiserver.openapi.definitions import references_in

_DEFINITIONS, _PARAMETERS = "#/definitions/", "#/parameters/"


def merge_documents(own: Object, others: Iterable[tuple[str, Any]]) -> Object:
    """The document `own` with what other servers' documents (path prefix, document) have; ours wins."""
    merged = {**own, "paths": dict(own["paths"]), "definitions": dict(own["definitions"])}
    for prefix, document in others:
        if isinstance(document, dict):
            _add(merged, prefix, document)
    merged["paths"] = dict(sorted(merged["paths"].items()))
    return merged


def _add(merged: Object, prefix: str, document: Mapping[str, Any]) -> None:
    parameters, offered = _mapping(document.get("parameters")), _mapping(document.get("definitions"))
    paths = {
        path: _inline(item, parameters)
        for path, item in _mapping(document.get("paths")).items()
        if (path == prefix or path.startswith(f"{prefix}/")) and path not in merged["paths"]
    }
    used = _closure(paths, offered)
    names = {name: _free_name(name, definition, merged["definitions"]) for name, definition in used.items()}

    def rename(reference: str) -> str:
        name = reference.removeprefix(_DEFINITIONS)
        return _DEFINITIONS + names.get(name, name)

    merged["paths"] |= {path: _with_references(item, rename) for path, item in paths.items()}
    for name, definition in used.items():
        merged["definitions"].setdefault(names[name], _with_references(definition, rename))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _inline(node: Any, parameters: Mapping[str, Any]) -> Any:
    """With shared parameters where they are used, as our own documents have them."""
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(_PARAMETERS):
            return parameters.get(reference.removeprefix(_PARAMETERS), node)
        return {key: _inline(child, parameters) for key, child in node.items()}
    return [_inline(child, parameters) for child in node] if isinstance(node, list) else node


def _closure(node: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Every definition that a node needs, directly or through others."""
    found: dict[str, Any] = {}
    waiting = references_in(node)
    while waiting:
        name = waiting.pop()
        if name not in found and name in definitions:
            found[name] = definitions[name]
            waiting |= references_in(definitions[name])
    return found


def _with_references(node: Any, change: Callable[[str], str]) -> Any:
    """A copy with every reference to a definition changed."""
    if isinstance(node, dict):
        return {
            key: change(child)
            if key == "$ref" and isinstance(child, str) and child.startswith(_DEFINITIONS)
            else _with_references(child, change)
            for key, child in node.items()
        }
    return [_with_references(child, change) for child in node] if isinstance(node, list) else node


def _free_name(name: str, definition: Any, taken: Mapping[str, Any]) -> str:
    """The name itself while it means the same or nothing yet, else `name_v2` and so on."""
    candidate, number = name, 2
    while candidate in taken and taken[candidate] != definition:
        candidate, number = f"{name}_v{number}", number + 1
    return candidate
