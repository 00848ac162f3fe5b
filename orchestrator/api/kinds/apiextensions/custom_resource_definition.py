"""CustomResourceDefinition: defaults, validation, what may change.

Owns everything about the definition that needs no other definition; names that are taken are the business of
`apiserver.customresources`. Mirrors k8s.io/apiextensions-apiserver/pkg/{apis/apiextensions,registry}.

kube-apiserver validates the internal form, in which whatever is the same in all versions stands once at the top;
field paths in messages follow that form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.admissionregistration.webhook_clients import validate_client_config
from orchestrator.api.kinds.columns import CREATED_AT, NAME, name_and_created_at
from orchestrator.api.kinds.defaulting import condition_times, fill, struct
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, annotations_of, condition_of, name_of
from orchestrator.api.resources import CUSTOM_RESOURCE_DEFINITIONS

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
APPROVAL_ANNOTATION = "api-approved.kubernetes.io"
_APPROVAL_HELP = "see https://github.com/kubernetes/enhancements/pull/1111"
SELECTABLE_FIELDS_MAX = 8
_WARNING_BYTES_MAX = 256
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_PER_VERSION = {
    "schema": "validation",
    "subresources": "subresources",
    "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}
"""Field of a version → its name in the internal form."""


def default_definition(obj: Object) -> None:
    """Names that follow from the kind, and the conversion strategy."""
    spec = struct(obj, "spec")
    spec_names = struct(spec, "names")
    kind = spec_names.get("kind") or ""
    if not spec_names.get("singular"):
        spec_names["singular"] = kind.lower()
    if not spec_names.get("listKind") and kind:
        spec_names["listKind"] = f"{kind}List"
    conversion = struct(spec, "conversion")
    fill(conversion, strategy="None")
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        fill(service, port=443)
    for version in spec.get("versions") or ():
        fill(version, served=False, storage=False)


def prepare_create(obj: Object) -> None:
    """A fresh status; which versions are stored is known from the start."""
    stored = [v.get("name") for v in obj["spec"].get("versions") or () if v.get("storage")]
    obj["status"] = {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": stored or None,
    }


def prepare_update(new: Object, old: Object) -> None:
    """Remember every version that objects may be stored in."""
    status = struct(new, "status")
    stored = list(status.get("storedVersions") or ())
    for version in new["spec"].get("versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))
    status["storedVersions"] = stored or None
    status.setdefault("conditions", None)
    status.setdefault("acceptedNames", {"plural": "", "kind": ""})


# --- the API approval policy of *.k8s.io ---


def is_protected_group(group: str) -> bool:
    """Whether a group belongs to the Kubernetes community (KEP-1111)."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval_of(obj: Object) -> tuple[str, str]:
    """("missing" | "invalid" | "bypassed" | "approved", the annotation's value) for a protected group."""
    value = annotations_of(obj).get(APPROVAL_ANNOTATION, "")
    if not value:
        return "missing", value
    if value.startswith("unapproved"):
        return "bypassed", value
    try:
        parts = urlsplit(value)
    except ValueError:
        return "invalid", value
    return ("approved" if parts.scheme and parts.netloc else "invalid"), value


def _validate_approval(obj: Object) -> list[Cause]:
    if not is_protected_group(obj["spec"].get("group") or ""):
        return []
    state, value = approval_of(obj)
    path = fields.key("metadata.annotations", APPROVAL_ANNOTATION)
    if state == "missing":
        detail = f'protected groups must have approval annotation "{APPROVAL_ANNOTATION}", {_APPROVAL_HELP}'
        return [fields.required(path, detail)]
    if state == "invalid":
        detail = (
            f'protected groups must have approval annotation "{APPROVAL_ANNOTATION}" with either a URL or a reason'
            f' starting with "unapproved", {_APPROVAL_HELP}'
        )
        return [fields.invalid(path, value, detail)]
    return []


# --- validation ---


def validate_definition(obj: Object) -> list[Cause]:
    """Everything wrong with a new definition."""
    return _validate_name(obj) + _validate_spec(obj["spec"]) + _validate_status(obj) + _validate_approval(obj)


def validate_definition_update(new: Object, old: Object) -> list[Cause]:
    """Everything wrong with a changed definition; what is stored cannot change its scope or kind."""
    spec, before = new["spec"], old["spec"]
    if new["metadata"].get("deletionTimestamp") and spec == before:
        return []
    causes = _validate_spec(spec)
    if is_condition_true(old, "Established"):
        causes += _validate_immutable(spec.get("scope"), before.get("scope"), "spec.scope")
        causes += _validate_immutable(spec["names"].get("kind"), before["names"].get("kind"), "spec.names.kind")
    causes += _validate_immutable(spec.get("group"), before.get("group"), "spec.group")
    causes += _validate_immutable(spec["names"].get("plural"), before["names"].get("plural"), "spec.names.plural")
    causes += _validate_status(new)
    if approval_of(new) != approval_of(old) and approval_of(old)[0] in ("bypassed", "approved"):
        causes += _validate_approval(new)
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Accepted names and stored versions must make sense."""
    return _validate_accepted_names(new)


def is_condition_true(obj: Object, condition_type: str) -> bool:
    """Whether a definition has this condition with status True."""
    status = obj.get("status") or {}
    if not status.get("conditions"):
        return False
    condition = condition_of(obj, condition_type)
    return condition is not None and condition.get("status") == "True"


def _validate_immutable(new: Any, old: Any, path: str) -> list[Cause]:
    return [] if new == old else [fields.immutable(path, new)]


def _validate_name(obj: Object) -> list[Cause]:
    spec = obj["spec"]
    wanted = f"{spec['names'].get('plural') or ''}.{spec.get('group') or ''}"
    if name_of(obj) == wanted:
        return []
    return [fields.invalid("metadata.name", name_of(obj), 'must be spec.names.plural+"."+spec.group')]


def _validate_spec(spec: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    group, scope = spec.get("group") or "", spec.get("scope") or ""
    if not group:
        causes.append(fields.required("spec.group"))
    elif complaints := names.is_dns1123_subdomain(group):
        causes.append(fields.invalid("spec.group", group, ",".join(complaints)))
    elif "." not in group:
        causes.append(fields.invalid("spec.group", group, "should be a domain with at least one dot"))
    if not scope:
        causes.append(fields.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        causes.append(fields.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    if spec.get("preserveUnknownFields"):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        causes.append(fields.invalid("spec.preserveUnknownFields", True, detail))
    causes += _validate_versions(spec)
    for key in ("plural", "singular", "kind", "listKind"):
        if not spec["names"].get(key):
            causes.append(fields.required(f"spec.names.{key}"))
    causes += _validate_names(spec["names"], "spec.names")
    causes += _validate_version_fields(spec)
    return causes + _validate_conversion(spec.get("conversion") or {})


def _validate_versions(spec: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    versions = spec.get("versions") or []
    for position, version in enumerate(versions):
        path = fields.index("spec.versions", position)
        name = version.get("name") or ""
        if complaints := names.is_dns1035_label(name):
            causes.append(fields.invalid(f"{path}.name", name, ",".join(complaints)))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not schema:
            causes.append(fields.required(f"{path}.schema.openAPIV3Schema"))
        warning = version.get("deprecationWarning")
        if warning is not None:
            causes += [
                fields.invalid(f"{path}.deprecationWarning", warning, text)
                for text in _complaints_about_warning(warning, is_deprecated=bool(version.get("deprecated")))
            ]
    shown = [_go_version(version) for version in versions] or None
    listed = [version.get("name") for version in versions]
    if len(set(listed)) != len(listed):
        causes.append(fields.invalid("spec.versions", shown, "must contain unique version names"))
    if sum(1 for version in versions if version.get("storage")) != 1:
        detail = "must have exactly one version marked as storage version"
        causes.append(fields.invalid("spec.versions", shown, detail))
    return causes


def _complaints_about_warning(warning: str, *, is_deprecated: bool) -> list[str]:
    if not is_deprecated:
        return ["can only be set for deprecated versions"]
    if not warning:
        return ["must not be an empty string"]
    complaints = []
    if len(warning.encode()) > _WARNING_BYTES_MAX:
        complaints.append(f"must be <= {_WARNING_BYTES_MAX} characters long")
    for position, character in enumerate(warning):
        if not character.isprintable():
            place = len(warning[:position].encode())
            complaints.append(
                f"must only contain printable UTF-8 characters; non-printable character found at index {place}"
            )
            break
    return complaints


def _go_version(version: Mapping[str, Any]) -> dict[str, Any]:
    # Simplified: schemas and what else differs between versions are not printed.
    return {
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


def _validate_names(spec_names: Mapping[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("plural", "singular"):
        value = spec_names.get(key) or ""
        if value and (complaints := names.is_dns1035_label(value)):
            causes.append(fields.invalid(f"{path}.{key}", value, ",".join(complaints)))
    for key in ("kind", "listKind"):
        value = spec_names.get(key) or ""
        if value and (complaints := names.is_dns1035_label(value.lower())):
            detail = "may have mixed case, but should otherwise match: " + ",".join(complaints)
            causes.append(fields.invalid(f"{path}.{key}", value, detail))
    causes += _validate_labels(spec_names.get("shortNames"), f"{path}.shortNames")
    kind = spec_names.get("kind")
    if kind and kind == spec_names.get("listKind"):
        causes.append(fields.invalid(f"{path}.listKind", kind, "kind and listKind may not be the same"))
    return causes + _validate_labels(spec_names.get("categories"), f"{path}.categories")


def _validate_labels(values: Any, path: str) -> list[Cause]:
    return [
        fields.invalid(fields.index(path, position), value, ",".join(complaints))
        for position, value in enumerate(values or ())
        if (complaints := names.is_dns1035_label(value))
    ]


def _validate_version_fields(spec: Mapping[str, Any]) -> list[Cause]:
    """Schema, subresources, columns and selectable fields: once for all versions where they are the same."""
    versions = spec.get("versions") or []
    shared = {
        key: all(version.get(key) == versions[0].get(key) for version in versions) for key in _PER_VERSION
    }  # fmt: skip
    causes: list[Cause] = []
    for key, internal in _PER_VERSION.items():
        for position, version in enumerate(versions[:1] if shared[key] else versions):
            path = f"spec.{internal}" if shared[key] else f"{fields.index('spec.versions', position)}.{key}"
            causes += _validate_version_field(key, version, path)
    return causes


def _validate_version_field(key: str, version: Mapping[str, Any], path: str) -> list[Cause]:
    from orchestrator.api.structural.definition import validate_definition as validate_schema

    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if key == "schema":
        has_status = (version.get("subresources") or {}).get("status") is not None
        return validate_schema(schema, f"{path}.openAPIV3Schema", has_status=has_status) if schema else []
    if key == "subresources":
        return _validate_scale((version.get("subresources") or {}).get("scale"), f"{path}.scale")
    if key == "additionalPrinterColumns":
        return _validate_columns(version.get(key) or (), path)
    return _validate_selectable_fields(version.get(key) or [], schema, path)


def _validate_scale(scale: Mapping[str, Any] | None, path: str) -> list[Cause]:
    if scale is None:
        return []
    causes: list[Cause] = []
    for key, prefix, is_required in (
        ("specReplicasPath", ".spec", True),
        ("statusReplicasPath", ".status", True),
        ("labelSelectorPath", "", False),
    ):
        value, where = scale.get(key) or "", f"{path}.{key}"
        if not value:
            if is_required:
                causes.append(fields.required(where))
        elif complaint := _complaint_about_simple_path(value):
            causes.append(fields.invalid(where, value, complaint))
        elif prefix and not value.startswith(f"{prefix}."):
            causes.append(fields.invalid(where, value, f"should be a json path under {prefix}"))
        elif not prefix and not value.startswith((".spec.", ".status.")):
            causes.append(fields.invalid(where, value, "should be a json path under either .spec or .status"))
    return causes


def _complaint_about_simple_path(path: str) -> str:
    if not path.startswith("."):
        return "must be a simple json path starting with ."
    if "[" in path:
        return "must be a simple json path without array notation"
    return ""


def _validate_columns(columns: Any, path: str) -> list[Cause]:
    from orchestrator.api.structural.json_path import BadPath, compile_path

    causes: list[Cause] = []
    for position, column in enumerate(columns):
        where = fields.index(path, position)
        if not column.get("name"):
            causes.append(fields.required(f"{where}.name"))
        kind = column.get("type") or ""
        if not kind:
            causes.append(fields.required(f"{where}.type", f"must be one of {','.join(_COLUMN_TYPES)}"))
        elif kind not in _COLUMN_TYPES:
            causes.append(fields.invalid(f"{where}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}"))
        shown = column.get("format") or ""
        if shown and shown not in _COLUMN_FORMATS:
            causes.append(fields.invalid(f"{where}.format", shown, f"must be one of {','.join(_COLUMN_FORMATS)}"))
        json_path = column.get("jsonPath") or ""
        if not json_path:
            causes.append(fields.required(f"{where}.JSONPath"))
        else:
            try:
                compile_path(json_path)
            except BadPath as error:
                causes.append(fields.invalid(f"{where}.JSONPath", json_path, str(error)))
    return causes


def _validate_selectable_fields(entries: list[Any], schema: Mapping[str, Any] | None, path: str) -> list[Cause]:
    from orchestrator.api.structural.definition import node_at
    from orchestrator.api.structural.json_path import plain_fields

    if not entries:
        return []
    if not schema:
        return [fields.invalid(path, "", "may only be set when validations.schema is included")]
    causes: list[Cause] = []
    if len(entries) > SELECTABLE_FIELDS_MAX:
        causes.append(fields.too_many(path, len(entries), SELECTABLE_FIELDS_MAX))
    seen: set[str] = set()
    for position, entry in enumerate(entries):
        where, json_path = f"{fields.index(path, position)}.jsonPath", entry.get("jsonPath") or ""
        if not json_path:
            causes.append(fields.required(where))
            continue
        found = plain_fields(json_path)
        node = node_at(schema, found) if found else None
        if found and found[0] == "metadata":
            causes.append(fields.invalid(where, json_path, "must not point to fields in metadata"))
        elif node is None:
            detail = "is an invalid path: does not refer to a valid field"
            causes.append(fields.invalid(where, json_path, detail))
        elif node.get("type") not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with"
                " formats are allowed."
            )
            causes.append(fields.invalid(where, json_path, detail))
        elif json_path in seen:
            causes.append(fields.duplicate(where, json_path))
        seen.add(json_path)
    return causes


def _validate_conversion(conversion: Mapping[str, Any]) -> list[Cause]:
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook") or {}
    path, client = "spec.conversion", webhook.get("clientConfig")
    if strategy not in ("None", "Webhook"):
        return [fields.not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        causes: list[Cause] = []
        detail = "should not be set when strategy is not set to Webhook"
        if client is not None:
            causes.append(fields.forbidden(f"{path}.webhookClientConfig", detail))
        if webhook.get("conversionReviewVersions"):
            causes.append(fields.forbidden(f"{path}.conversionReviewVersions", detail))
        return causes
    causes = []
    where = f"{path}.webhookClientConfig"
    if client is None:
        causes.append(fields.required(where, "required when strategy is set to Webhook"))
    else:
        causes += validate_client_config(client, where)
    versions = webhook.get("conversionReviewVersions") or []
    where = f"{path}.conversionReviewVersions"
    if not versions:
        causes.append(fields.required(where))
    again = fields.repeated(versions)
    for position, version in enumerate(versions):
        spot = fields.index(where, position)
        if position in again:
            causes.append(fields.invalid(spot, version, "duplicate version"))
            continue
        causes += [fields.invalid(spot, version, text) for text in names.is_dns1035_label(version)]
    if versions and not {"v1", "v1beta1"} & set(versions):
        causes.append(fields.invalid(where, versions, "must include at least one of v1, v1beta1"))
    return causes


def _validate_status(obj: Object) -> list[Cause]:
    causes = _validate_accepted_names(obj)
    path, stored = "status.storedVersions", (obj.get("status") or {}).get("storedVersions") or None
    if not stored:
        return [*causes, fields.invalid(path, None, "must have at least one stored version")]
    versions = obj["spec"].get("versions") or ()
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            causes.append(fields.invalid(path, stored, f"must have the storage version {version.get('name')}"))
    known = {version.get("name") for version in versions}
    for position, name in enumerate(stored):
        if name not in known:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions"
                f" until a storage migration ensures no data remains persisted in {name} and removes {name} from"
                " status.storedVersions"
            )
            causes.append(fields.invalid(fields.index(path, position), name, detail))
    return causes


def _validate_accepted_names(obj: Object) -> list[Cause]:
    return _validate_names((obj.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


def mark_terminating(obj: Object) -> Object:
    """The definition with the condition that a deletion starts with; time is that of the deletion."""
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": obj["metadata"].get("deletionTimestamp"),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    status = dict(obj.get("status") or {})
    others = [c for c in status.get("conditions") or () if c.get("type") != "Terminating"]
    status["conditions"] = [*others, condition]
    return {**obj, "status": status}


CUSTOM_RESOURCE_DEFINITION = Kind(
    CUSTOM_RESOURCE_DEFINITIONS,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    "customresourcedefinition",
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    has_generation=True,
    unconditional_update=False,
    default=default_definition,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_definition,
    validate_update=validate_definition_update,
    validate_status_update=validate_status_update,
    columns=(NAME, CREATED_AT),
    row=name_and_created_at,
    finalizers_on_delete=(CLEANUP_FINALIZER,),
    mark_terminating=mark_terminating,
    status_metadata=(),
)
