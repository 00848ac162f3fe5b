"""Recordings of a real API server, as cases for the kinds: where they are, and what is not compared.

The recordings are not part of the project. They are found through `ORCHESTRATOR_GOLDEN_DIR`, or beside
the checkout; without them the tests that need them are skipped.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.object_meta import validate_object_meta
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, copy_object

REGISTRY = Registry(builtin_kinds())

_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/?]+))?(?P<rest>/[^?]*)?(?:\?.*)?"
)


def directory() -> Path:
    """Where the recordings are, if they are anywhere."""
    given = os.environ.get("ORCHESTRATOR_GOLDEN_DIR")
    return Path(given) if given else Path(__file__).parents[4].parent / "shared" / "golden"


def recordings(file: str) -> list[dict[str, Any]]:
    """The scenarios of one file; empty without recordings."""
    path = directory() / f"{file}.json"
    if not path.exists():
        return []
    loaded: list[dict[str, Any]] = json.loads(path.read_text())
    return loaded


def params(cases: list[tuple[str, Any]]) -> list[Any]:
    """The cases as pytest parameters, or one that is skipped with the reason."""
    if not cases:
        reason = "no recordings: set ORCHESTRATOR_GOLDEN_DIR"
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(case, id=name) for name, case in cases]


def kind_of(path: str) -> tuple[Kind | None, str, str, bool]:
    """(kind, namespace, name, whether a subresource is meant) of a URL; beta versions stand for v1."""
    match = _PATH.fullmatch(path)
    if not match:
        return None, "", "", False
    group = match["group"] or ""
    plural = match["plural"]
    namespace, name = match["namespace"] or "", match["name"] or ""
    version = match["core"] or match["version"]
    if group == "autoscaling" and version.startswith("v2"):
        version = "v2"
    elif version.startswith("v1"):
        version = "v1"
    return REGISTRY.by_path(group, version, plural), namespace, name, bool(match["rest"])


def created(kind: Kind, body: Object, namespace: str) -> tuple[Object, list[Cause]]:
    """What a POST makes of an object: (the object with its defaults, what is wrong with it)."""
    obj = copy_object(body)
    obj = _without_nulls(obj)
    meta = obj.setdefault("metadata", {})
    obj["apiVersion"], obj["kind"] = kind.resource.api_version, kind.resource.kind
    if kind.resource.namespaced and namespace:
        meta["namespace"] = namespace
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = names.generate_name(meta["generateName"])
    meta["uid"] = "uid"
    kind.default(obj)
    kind.prepare_create(obj)
    causes = validate_object_meta(obj, kind)
    return obj, causes + kind.validate(_admitted(obj))


def _admitted(obj: Object) -> Object:
    """A pod with the account that admission gives it."""
    return {**obj, "spec": {"serviceAccountName": "default", **obj["spec"]}} if obj["kind"] == "Pod" else obj


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
