"""Pod templates, in the PodTemplate kind and in every workload.

Mirrors ValidatePodTemplateSpec of pkg/apis/core/validation and the like.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import NAME, container_cells, dig, format_labels
from orchestrator.api.kinds.core.pod_annotations import validate_pod_annotations, validate_profiles_match
from orchestrator.api.kinds.core.pod_spec import default_pod_template
from orchestrator.api.kinds.core.pod_spec_validation import validate_pod_spec
from orchestrator.api.kinds.core.pod_warnings import warn_pod_template
from orchestrator.api.kinds.defaulting import struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import is_empty_selector, selects, validate_labels
from orchestrator.api.kinds.object_meta import validate_annotations
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import POD_TEMPLATES

NO_MATCH = "`selector` does not match template `labels`"


def validate_pod_template(template: dict[str, Any], path: str) -> list[Cause]:
    """Labels, annotations, and the spec of the pods."""
    meta = template.get("metadata") or {}
    causes = validate_labels(meta.get("labels"), f"{path}.labels")
    causes += validate_annotations(meta.get("annotations"), f"{path}.annotations")
    spec = template.get("spec") or {}
    annotations = meta.get("annotations")
    if annotations:
        causes += validate_pod_annotations(annotations, spec, f"{path}.annotations")
    causes += validate_pod_spec(spec, f"{path}.spec")
    if annotations:
        causes += validate_profiles_match(annotations, spec, f"{path}.spec")
    if dig(template, "spec", "ephemeralContainers"):
        causes.append(
            fields.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    return causes


def validate_selected_template(
    template: dict[str, Any] | None, selector: dict[str, Any] | None, path: str, *, kind: str = "ReplicaSet"
) -> list[Cause]:
    """A template whose labels the selector matches, and whose pods always restart."""
    if template is None:
        return [fields.required(path)]
    causes: list[Cause] = []
    labels = (template.get("metadata") or {}).get("labels")
    matches = selects(selector, labels) if not is_empty_selector(selector) else True
    if matches is None:
        return causes  # a selector that is none has been complained about already
    if not matches:
        causes.append(fields.invalid(f"{path}.metadata.labels", labels, NO_MATCH))
    causes += validate_pod_template(template, path)
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        causes.append(fields.not_supported(f"{path}.spec.restartPolicy", spec.get("restartPolicy") or "", ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        causes.append(
            fields.forbidden(f"{path}.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")
        )
    return causes


def default_pod_template_object(obj: Object) -> None:
    """A PodTemplate's template."""
    default_pod_template(struct(obj, "template"))


def _row(obj: Object, now: datetime) -> list[Any]:
    labels = dig(obj, "template", "metadata", "labels")
    return [name_of(obj), *container_cells(dig(obj, "template", "spec")), format_labels(labels)]


POD_TEMPLATE = Kind(
    POD_TEMPLATES,
    "io.k8s.api.core.v1.PodTemplate",
    "podtemplate",
    has_generation=True,
    default=default_pod_template_object,
    validate=lambda obj: validate_pod_template(obj.get("template") or {}, "template"),
    warn=lambda new, old: warn_pod_template(new.get("template"), "template"),
    columns=(
        NAME,
        Column("Containers", description="Names of each container in the template."),
        Column("Images", description="Images referenced by each container in the template."),
        Column("Pod Labels", description="The labels for the pod template."),
    ),
    row=_row,
    delete_returns_object=True,
)
