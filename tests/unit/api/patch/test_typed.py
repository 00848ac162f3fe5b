"""Messages for patched objects with values of a wrong type."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.patch.typed import conversion_problem
from orchestrator.api.schema import definition

DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"
CONFIG_MAP = "io.k8s.api.core.v1.ConfigMap"


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (DEPLOYMENT, {"spec": {"replicas": "many"}}, "unrecognized type: int32"),
        (DEPLOYMENT, {"spec": {"replicas": True}}, "unrecognized type: int32"),
        (DEPLOYMENT, {"spec": {"replicas": 1.5}}, "cannot convert float64 to int32"),
        (DEPLOYMENT, {"spec": {"replicas": 2.0}}, ""),
        (DEPLOYMENT, {"spec": {"replicas": None}}, ""),
        (DEPLOYMENT, {"spec": {"paused": "yes"}}, "unrecognized type: bool"),
        (DEPLOYMENT, {"spec": []}, "cannot restore struct from: slice"),
        (DEPLOYMENT, {"spec": {"template": {"spec": {"containers": {}}}}}, "cannot restore slice from map"),
        (DEPLOYMENT, {"metadata": {"labels": "a"}}, "cannot restore map from string"),
        (DEPLOYMENT, {"unknown": 1}, ""),
        (CONFIG_MAP, {"data": {"a": 1}}, "cannot convert int64 to string"),
        (CONFIG_MAP, {"data": {"a": 1.5}}, "unrecognized type: string"),
        (CONFIG_MAP, {"binaryData": {"a": 1}}, "cannot restore slice from int64"),
    ],
)
def test_what_is_wrong(kind: str, value: dict[str, Any], problem: str) -> None:
    assert conversion_problem(value, definition(kind)) == problem
