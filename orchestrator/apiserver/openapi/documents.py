"""Whole documents: what `/openapi/v3/...` and `/openapi/v2` answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.openapi.definitions import (
    Definition,
    Version,
    builtin_definition,
    custom_definitions,
    references_in,
)
from orchestrator.apiserver.openapi.operations import Path
from orchestrator.apiserver.openapi.paths import DOCUMENTS, discovery_path, group_version_kinds, paths_of

_SECURITY: Final[Object] = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }
}


def closure(roots: Iterable[str], custom: Mapping[str, Definition], version: Version) -> dict[str, Definition]:
    """Every definition that the roots need, themselves included, sorted by name."""
    found: dict[str, Definition] = {}
    pending = set(roots)
    while pending:
        name = pending.pop()
        definition = custom.get(name) or builtin_definition(name, version)
        found[name] = definition
        pending |= definition.references - found.keys()
    return dict(sorted(found.items()))


def v3_document(paths: Sequence[Path], kinds: Sequence[Kind], product_version: str) -> bytes:
    """One document of `/openapi/v3/<key>`: these paths and the types that they need, as JSON."""
    rendered = {path.path: path.render("v3") for path in paths}
    custom: dict[str, Definition] = {}
    for kind in kinds:
        if kind.schema is not None:
            custom |= custom_definitions(kind, "v3")
    definitions = closure(references_in(rendered), custom, "v3")
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": product_version},
        "paths": _without_gvk_of_documents(rendered),
        "components": {
            "schemas": {name: orjson.Fragment(definition.encoded) for name, definition in definitions.items()},
            "securitySchemes": _SECURITY,
        },
        "security": [{"BearerToken": []}],
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def v2_document(kinds: Sequence[Kind], product_version: str) -> Object:
    """The document of `/openapi/v2`: all paths and types, as a value."""
    paths: list[Path] = [discovery_path(key) for key in DOCUMENTS]
    custom: dict[str, Definition] = {}
    for key in group_version_kinds(kinds):
        paths.append(discovery_path(key))
        group_key = key.rpartition("/")[0]
        if group_key not in ("api", "apis"):
            paths.append(discovery_path(group_key))
    for kind in kinds:
        paths += paths_of(kind)
        if kind.schema is not None:
            custom |= custom_definitions(kind, "v2")
    rendered = {path.path: path.render("v2") for path in sorted(paths, key=lambda path: path.path)}
    definitions = closure(references_in(rendered), custom, "v2")
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": product_version},
        "paths": _without_gvk_of_documents(rendered),
        "definitions": {name: definition.value for name, definition in definitions.items()},
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def _without_gvk_of_documents(rendered: dict[str, Object]) -> dict[str, Object]:
    for item in rendered.values():
        for operation in item.values():
            if isinstance(operation, dict) and operation.get("x-kubernetes-action") == "":
                del operation["x-kubernetes-action"], operation["x-kubernetes-group-version-kind"]
    return rendered
