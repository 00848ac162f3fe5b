"""CustomResourceDefinition and APIService: how the API itself is extended.

Owns their defaults and the rules that need nothing but the object. Never looks into the structural
schemas of a CustomResourceDefinition: whoever serves its instances does. Mirrors
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions and k8s.io/kube-aggregator/pkg/apis/apiregistration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.admissionregistration import (
    default_webhook_service,
    validate_client_config,
    validate_webhook_service,
)
from orchestrator.api.kinds.columns import AGE, CREATED_AT, NAME, age, dig, name_and_created_at
from orchestrator.api.kinds.defaulting import clear_status, fill_empty, items, spec_and_status, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, annotations_of, condition_of, name_of
from orchestrator.api.resources import API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS

APPROVAL_ANNOTATION = "api-approved.kubernetes.io"
_APPROVAL_URL = "https://github.com/kubernetes/enhancements/pull/1111"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")


# --- CustomResourceDefinition -----------------------------------------------------------------


def default_definition(obj: Object) -> None:
    """Singular and list kind follow from the other names; versions are not converted."""
    spec, status = struct(obj, "spec"), struct(obj, "status")
    given = struct(spec, "names")
    kind = given.get("kind") or ""
    if kind:
        fill_empty(given, singular=kind.lower(), listKind=f"{kind}List")
    conversion = spec.get("conversion")
    if not isinstance(conversion, dict):
        conversion = spec["conversion"] = {"strategy": "None"}
    client = dig(conversion, "webhook", "clientConfig")
    if isinstance(client, dict):
        default_webhook_service(client)
    status.setdefault("conditions", None)
    fill_names = struct(status, "acceptedNames")
    for key in ("plural", "kind"):
        fill_names.setdefault(key, "")
    status.setdefault("storedVersions", None)


def prepare_definition(obj: Object) -> None:
    """Nothing is accepted yet; the storage version is stored from now on."""
    stored = [version.get("name") for version in items(struct(obj, "spec"), "versions") if version.get("storage")]
    obj["status"] = {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": stored or None,
    }


def prepare_definition_update(new: Object, old: Object) -> None:
    """A new storage version joins those that are stored."""
    stored = list(dig(old, "status", "storedVersions") or ())
    for version in items(struct(new, "spec"), "versions"):
        if version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))
    struct(new, "status")["storedVersions"] = stored or None


def validate_definition(obj: Object) -> list[Cause]:
    """Name, group, scope, versions, names, conversion."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    group, given = spec.get("group") or "", spec.get("names") or {}
    wanted = f"{given.get('plural') or ''}.{group}"
    if name_of(obj) and name_of(obj) != wanted:
        causes.append(fields.invalid("metadata.name", name_of(obj), 'must be spec.names.plural+"."+spec.group'))
    causes += _validate_group(group)
    scope = spec.get("scope") or ""
    if not scope:
        causes.append(fields.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        causes.append(fields.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    causes += _validate_versions(spec)
    causes += _validate_names(given, "spec.names")
    causes += _validate_conversion(spec.get("conversion") or {}, "spec.conversion")
    if group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io"):
        causes += _validate_approval(obj)
    return causes


def _validate_group(group: str) -> list[Cause]:
    if not group:
        return [fields.required("spec.group")]
    causes = [fields.invalid("spec.group", group, text) for text in names.is_dns1123_subdomain(group)]
    if not causes and "." not in group:
        causes.append(fields.invalid("spec.group", group, "should be a domain with at least one dot"))
    return causes


def _validate_approval(obj: Object) -> list[Cause]:
    path = fields.key("metadata.annotations", APPROVAL_ANNOTATION)
    value = annotations_of(obj).get(APPROVAL_ANNOTATION)
    if value is None:
        return [
            fields.required(
                path,
                f'protected groups must have approval annotation "{APPROVAL_ANNOTATION}", see {_APPROVAL_URL}',
            )
        ]
    if value.startswith(("unapproved", "https://", "http://")):
        return []
    return [
        fields.invalid(
            path,
            value,
            f'protected groups must have approval annotation "{APPROVAL_ANNOTATION}" with either a URL or a reason '
            f'starting with "unapproved", see {_APPROVAL_URL}',
        )
    ]


def _validate_versions(spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    versions = spec.get("versions") or []
    stored = 0
    seen: set[str] = set()
    # What all versions have alike is reported once, as a field of the spec, where it stood in v1beta1.
    same_columns, same_subresources = (
        all(version.get(key) == versions[0].get(key) for version in versions)
        for key in ("additionalPrinterColumns", "subresources")
    )
    for position, version in enumerate(versions):
        path = fields.index("spec.versions", position)
        name = version.get("name") or ""
        if version.get("storage"):
            stored += 1
        if name in seen:
            causes.append(fields.invalid("spec.versions", _go_versions(versions), "must contain unique version names"))
        seen.add(name)
        causes += [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1035_label(name)]
        if version.get("deprecationWarning") is not None:
            causes += _validate_warning(version, f"{path}.deprecationWarning")
        if dig(version, "schema", "openAPIV3Schema") is None:
            causes.append(fields.required(f"{path}.schema.openAPIV3Schema"))
        if not same_columns:
            causes += _validate_columns(
                version.get("additionalPrinterColumns") or (), f"{path}.additionalPrinterColumns"
            )
        if not same_subresources:
            causes += _validate_subresources(version.get("subresources") or {}, f"{path}.subresources")
    if versions and same_columns:
        causes += _validate_columns(versions[0].get("additionalPrinterColumns") or (), "spec.additionalPrinterColumns")
    if versions and same_subresources:
        causes += _validate_subresources(versions[0].get("subresources") or {}, "spec.subresources")
    if stored != 1:
        causes.append(
            fields.invalid(
                "spec.versions", _go_versions(versions), "must have exactly one version marked as storage version"
            )
        )
    if not stored:
        causes.append(fields.invalid("status.storedVersions", None, "must have at least one stored version"))
    return causes


def _go_versions(versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "Name": version.get("name") or "",
            "Served": bool(version.get("served")),
            "Storage": bool(version.get("storage")),
            "Deprecated": bool(version.get("deprecated")),
            "DeprecationWarning": version.get("deprecationWarning"),
            "Schema": None,
            "Subresources": None,
            "AdditionalPrinterColumns": None,
            "SelectableFields": None,
        }
        for version in versions
    ]


def _validate_warning(version: dict[str, Any], path: str) -> list[Cause]:
    warning = version["deprecationWarning"]
    if not version.get("deprecated"):
        return [fields.invalid(path, warning, "can only be set for deprecated versions")]
    if not warning:
        return [fields.invalid(path, warning, "must not be empty, or be unset to use the default")]
    if len(warning.encode()) > 256:
        return [fields.too_long(path, 256)]
    if any(not char.isprintable() for char in warning):
        return [
            fields.invalid(path, warning, "must only contain printable UTF-8 characters; non-printable character found")
        ]
    return []


def _validate_columns(columns: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for position, column in enumerate(columns):
        where = fields.index(path, position)
        kind, form, json_path = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
        if not column.get("name"):
            causes.append(fields.required(f"{where}.name"))
        if not kind:
            causes.append(fields.required(f"{where}.type", f"must be one of {','.join(_COLUMN_TYPES)}"))
        elif kind not in _COLUMN_TYPES:
            causes.append(fields.invalid(f"{where}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}"))
        if form and form not in _COLUMN_FORMATS:
            causes.append(
                fields.invalid(f"{where}.format", form, f"must be one of {','.join(sorted(_COLUMN_FORMATS))}")
            )
        if not json_path:
            causes.append(fields.required(f"{where}.jsonPath"))
    return causes


def _validate_subresources(subresources: dict[str, Any], path: str) -> list[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return []
    causes: list[Cause] = []
    for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(key) or ""
        where = f"{path}.scale.{key}"
        if not value:
            causes.append(fields.required(where))
        elif not value.startswith(root):
            causes.append(fields.invalid(where, value, f"should be a json path under {root.rstrip('.')}"))
    selector = scale.get("labelSelectorPath")
    if selector and not selector.startswith((".spec.", ".status.")):
        causes.append(
            fields.invalid(
                f"{path}.scale.labelSelectorPath", selector, "should be a json path under either .status or .spec"
            )
        )
    return causes


def _validate_names(given: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []

    def label(key: str, value: str) -> None:
        causes.extend(fields.invalid(f"{path}.{key}", value, text) for text in names.is_dns1035_label(value))

    plural, kind, singular, many = (given.get(key) or "" for key in ("plural", "kind", "singular", "listKind"))
    label("plural", plural)
    if singular:
        label("singular", singular)
    label("kind", kind.lower())
    if many:
        label("listKind", many.lower())
    for key in ("shortNames", "categories"):
        for position, value in enumerate(given.get(key) or ()):
            label(fields.index(key, position), value)
    if kind and kind == many:
        causes.append(fields.invalid(f"{path}.listKind", many, "kind and listKind may not be the same"))
    if not many:
        causes.append(fields.required(f"{path}.listKind"))
    if not singular:
        causes.append(fields.required(f"{path}.singular"))
    return causes


def _validate_conversion(conversion: dict[str, Any], path: str) -> list[Cause]:
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook")
    if strategy not in ("None", "Webhook"):
        if not strategy:
            return [fields.required(f"{path}.strategy")]
        return [fields.not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        if webhook is not None:
            return [fields.forbidden(f"{path}.webhook", "should not be set when strategy is not set to Webhook")]
        return []
    if webhook is None:
        return [fields.required(f"{path}.webhook", "required when strategy is set to Webhook")]
    causes: list[Cause] = []
    client = webhook.get("clientConfig")
    if client is None:
        causes.append(fields.required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook"))
    else:
        causes += validate_client_config(client, f"{path}.webhook.clientConfig")
    versions = webhook.get("conversionReviewVersions") or []
    where = f"{path}.webhook.conversionReviewVersions"
    if not versions:
        causes.append(fields.required(where))
    elif not {"v1", "v1beta1"} & set(versions):
        causes.append(fields.invalid(where, versions, "must include at least one of v1, v1beta1"))
    return causes


def validate_definition_update(new: Object, old: Object) -> list[Cause]:
    """Group, plural name and, once established, scope and kind never change; stored versions stay."""
    causes = validate_definition(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    established = condition_of(old, "Established")
    if spec.get("group") != before.get("group"):
        causes.append(fields.immutable("spec.group", spec.get("group")))
    if dig(spec, "names", "plural") != dig(before, "names", "plural"):
        causes.append(fields.immutable("spec.names.plural", dig(spec, "names", "plural")))
    if established and established.get("status") == "True":
        if spec.get("scope") != before.get("scope"):
            causes.append(fields.immutable("spec.scope", spec.get("scope")))
        if dig(spec, "names", "kind") != dig(before, "names", "kind"):
            causes.append(fields.immutable("spec.names.kind", dig(spec, "names", "kind")))
    return causes + _validate_stored(new, dig(old, "status", "storedVersions") or ())


def _validate_stored(obj: Object, stored: Any) -> list[Cause]:
    known = {version.get("name") for version in items(obj.get("spec"), "versions")}
    return [
        fields.invalid(
            fields.index("status.storedVersions", position), version, "missing from spec.versions; must be present"
        )
        for position, version in enumerate(stored)
        if version not in known
    ]


def _validate_definition_status(new: Object, old: Object) -> list[Cause]:
    stored = dig(new, "status", "storedVersions") or []
    causes = _validate_stored(new, stored)
    for version in dig(new, "spec", "versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            causes.append(
                fields.invalid(
                    "status.storedVersions",
                    stored,
                    f"must have the storage version {version.get('name')}",
                )
            )
    return causes


CUSTOM_RESOURCE_DEFINITION = Kind(
    CUSTOM_RESOURCE_DEFINITIONS,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    "customresourcedefinition",
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    has_status=True,
    has_generation=True,
    unconditional_update=False,
    default=default_definition,
    prepare_create=prepare_definition,
    prepare_update=prepare_definition_update,
    validate=validate_definition,
    validate_update=validate_definition_update,
    validate_status_update=_validate_definition_status,
    columns=(NAME, CREATED_AT),
    row=name_and_created_at,
)


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
)
