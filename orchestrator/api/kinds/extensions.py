"""APIService: which groups and versions the API has, and who serves them.

Owns its defaults and the rules that need nothing but the object. CustomResourceDefinition lives in
`api.kinds.apiextensions`. Mirrors k8s.io/kube-aggregator/pkg/apis/apiregistration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.admissionregistration.webhook_clients import (
    default_webhook_service,
    validate_webhook_service,
)
from orchestrator.api.kinds.columns import AGE, NAME, age, dig
from orchestrator.api.kinds.defaulting import clear_status, condition_times, spec_and_status
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import API_SERVICES

# --- APIService -------------------------------------------------------------------------------


def _default_api_service(obj: Object) -> None:
    spec_and_status(obj)
    default_webhook_service(obj["spec"])


def validate_api_service(obj: Object) -> list[Cause]:
    """Named after group and version, with priorities and a Service or none."""
    spec = obj.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    causes: list[Cause] = []
    wanted = f"{version}.{group}"
    if name_of(obj) != wanted:
        causes.append(
            fields.invalid("metadata.name", name_of(obj), f'must be `spec.version+"."+spec.group`: "{wanted}"')
        )
    if group:
        causes += [fields.invalid("spec.group", group, text) for text in names.is_dns1123_subdomain(group)]
    causes += [fields.invalid("spec.version", version, text) for text in names.is_dns1035_label(version)]
    minimum, priority = spec.get("groupPriorityMinimum") or 0, spec.get("versionPriority") or 0
    if not 0 < minimum <= 20000:
        causes.append(fields.invalid("spec.groupPriorityMinimum", minimum, "must be positive and less than 20000"))
    if not 0 < priority <= 1000:
        causes.append(fields.invalid("spec.versionPriority", priority, "must be positive and less than 1000"))
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            causes.append(
                fields.invalid(
                    "spec.caBundle", f"{len(spec['caBundle'])} bytes", "local APIServices may not have a caBundle"
                )
            )
        if spec.get("insecureSkipTLSVerify"):
            causes.append(
                fields.invalid(
                    "spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"
                )
            )
        return causes
    if not service.get("namespace"):
        causes.append(fields.required("spec.service.namespace"))
    if not service.get("name"):
        causes.append(fields.required("spec.service.name"))
    causes += [cause for cause in validate_webhook_service(service, "spec.service") if cause.field.endswith(".port")]
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        causes.append(fields.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return causes


def _api_service_row(obj: Object, now: datetime) -> list[Any]:
    service = dig(obj, "spec", "service")
    shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    condition = condition_of(obj, "Available")
    status = (condition or {}).get("status") or "Unknown"
    if condition and status != "True" and condition.get("reason"):
        status = f"{status} ({condition['reason']})"
    return [name_of(obj), shown, status, age(obj, now)]


API_SERVICE = Kind(
    API_SERVICES,
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    "apiservice",
    categories=("api-extensions",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    unconditional_update=False,
    default=_default_api_service,
    prepare_create=clear_status,
    validate=validate_api_service,
    validate_name=names.is_path_segment_name,
    columns=(
        NAME,
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        AGE,
    ),
    row=_api_service_row,
    status_metadata=(),
)
