"""What is looked at in an object grows with it and not with its square: one large object must not hold everybody up."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.objects import copy_object
from orchestrator.api.patch.strategic import apply_strategic_merge_patch
from orchestrator.api.schema import for_kind

MANY = 8000
SECONDS_MAX = 2.0
"""Of this process; comparing each with each takes many times as long, the rest a tenth."""
NAMES = [f"n{number}" for number in range(MANY)]
KINDS = {(kind.resource.plural, kind.resource.version): kind for kind in builtin_kinds()}


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "image": "i", **fields}]


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("pods", "v1", pod(containers=container(ports=[{"containerPort": 80, "name": name} for name in NAMES]))),
    ("pods", "v1", pod(containers=container(ports=[{"containerPort": 80, "hostPort": n + 1} for n in range(MANY)]))),
    ("pods", "v1", pod(imagePullSecrets=[{"name": name} for name in NAMES])),
    ("pods", "v1", pod(tolerations=[{"key": name, "operator": "Exists"} for name in NAMES])),
    ("pods", "v1", pod(volumes=[
        {"name": "v", "configMap": {"name": "a", "items": [{"key": "k", "path": name} for name in NAMES]}}])),
    ("pods", "v1", pod(volumes=[
        {"name": "v", "projected": {"sources": [
            {"secret": {"name": name, "items": [{"key": "k", "path": name}]}} for name in NAMES]}}])),
    ("endpoints", "v1", {"subsets": [{
        "addresses": [{"ip": f"10.0.{n // 256}.{n % 256}"} for n in range(MANY)],
        "ports": [{"name": name, "port": 80} for name in NAMES]}]}),
    ("resourcequotas", "v1", {"spec": {
        "hard": {f"count/{name}.x": "1" for name in NAMES}, "scopes": ["BestEffort"] * MANY}}),
    ("resourcequotas", "v1", {"spec": {"hard": {"services": "1"}, "scopes": NAMES}}),
    ("nodes", "v1", {"spec": {"podCIDRs": [f"10.{n // 256}.{n % 256}.0/24" for n in range(MANY)]}}),
    ("storageclasses", "v1", {"provisioner": "p", "allowedTopologies": [
        {"matchLabelExpressions": [{"key": name, "values": ["a"]}]} for name in NAMES]}),
]  # fmt: skip


@pytest.mark.parametrize(("plural", "version", "fields"), CASES)
def test_a_large_object_is_validated_warned_about_and_shown_quickly(
    plural: str, version: str, fields: dict[str, Any]
) -> None:
    kind = KINDS[plural, version]
    metadata = {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    if kind.resource.namespaced:
        metadata["namespace"] = "d"
    obj = copy_object({"metadata": metadata, **fields})
    kind.default(obj)
    started = time.process_time()
    kind.validate(obj)
    kind.warn(obj, None)
    if kind.validate_update is not None:
        kind.validate_update(copy_object(obj), obj)
    if kind.row is not None:
        kind.row(obj, datetime(2026, 1, 1, tzinfo=UTC))
    assert time.process_time() - started < SECONDS_MAX


def test_many_directives_of_a_strategic_merge_patch_are_carried_out_quickly() -> None:
    schema = for_kind("", "v1", "Pod")
    old = pod(containers=container(env=[{"name": name} for name in NAMES]))
    deletions = [{"$patch": "delete", "name": name} for name in NAMES]
    started = time.process_time()
    patched = apply_strategic_merge_patch(old, {"spec": {"containers": [{"name": "c", "env": deletions}]}}, schema)
    assert not patched["spec"]["containers"][0]["env"]
    kept = {"$retainKeys": NAMES, **dict.fromkeys(NAMES, "x")}
    apply_strategic_merge_patch({}, {"data": kept}, for_kind("", "v1", "ConfigMap"))
    apply_strategic_merge_patch({"data": dict.fromkeys(NAMES, "x")}, {"data": kept}, for_kind("", "v1", "ConfigMap"))
    assert time.process_time() - started < SECONDS_MAX
