"""The Table of a Scale, which is the same whatever it scales. Mirrors kube-apiserver's printer for it (KEP-2590)."""

from __future__ import annotations

from orchestrator.api.kinds.columns import AGE, NAME, age, dig, ref
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import name_of
from orchestrator.api.resources import Resource

SCALE = Kind(
    Resource("autoscaling", "v1", "scales", "Scale"),
    "io.k8s.api.autoscaling.v1.Scale",
    "scale",
    columns=(
        NAME,
        Column("Desired", "integer", description=ref("autoscaling.v1.ScaleSpec", "replicas")),
        Column("Available", "integer", description=ref("autoscaling.v1.ScaleStatus", "replicas")),
        AGE,
    ),
    row=lambda obj, now: [
        name_of(obj), dig(obj, "spec", "replicas") or 0, dig(obj, "status", "replicas") or 0, age(obj, now),
    ],
)  # fmt: skip
