"""From a request's body to a well-formed object: kind, structure, name, namespace, fresh metadata.

Everything here is about one object that comes in; nothing is stored. The order of the checks is
that of kube-apiserver, because it decides which of several errors a client sees.
"""

from __future__ import annotations

from typing import Any, cast

from orchestrator.api import errors, names
from orchestrator.api.decode import FieldValidation, decode, find_duplicate_fields
from orchestrator.api.fields import invalid
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.api.schema import Schema, definition
from orchestrator.apiserver.request import ApiRequest


def schema_of(kind: Kind) -> Schema:
    """The structure of a kind."""
    return kind.schema if kind.schema is not None else definition(kind.definition)


def check_kind(request: ApiRequest, kind: Kind, body: Any) -> Object:
    """The body as an object of this kind; 400 when it is another one.

    A missing apiVersion or kind is filled in from the URL, as kube-apiserver does for built-in kinds.
    """
    if not isinstance(body, dict):
        raise errors.BadRequest(f"the body must be an object of kind {kind.resource.kind}")
    api_version, kind_name = body.get("apiVersion"), body.get("kind")
    expected = kind.resource.api_version
    if kind.schema is not None and api_version == expected and kind_name and kind_name != kind.resource.kind:
        name = (body.get("metadata") or {}).get("name") or ""
        detail = f"must be {kind.resource.kind}"
        raise errors.invalid(kind.resource.group, kind_name, name, [invalid("kind", kind_name, detail)])
    if (api_version and api_version != expected) or (kind_name and kind_name != kind.resource.kind):
        raise wrong_kind(kind, api_version, kind_name)
    return body


def wrong_kind(kind: Kind, api_version: Any, kind_name: Any) -> errors.BadRequest:
    """The 400 for an object of another kind than the URL's."""
    found_group, _, found_version = str(api_version or "").rpartition("/")
    resource = kind.resource
    if kind_name == resource.kind or not kind_name:
        return errors.BadRequest(
            f"the API version in the data ({api_version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    found = f"{found_group}/{found_version}, Kind={kind_name}"
    return errors.BadRequest(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}:'
        f" converting ({found}) to ({resource.group}/{resource.version}, Kind={resource.kind}):"
        " unknown conversion"
    )


def decode_object(request: ApiRequest, kind: Kind, body: Any) -> Object:
    """Check kind and structure; unknown fields are dropped, warned about or refused as asked for.

    Returns a fresh object whose first keys are kind, apiVersion and metadata.
    """
    obj = check_kind(request, kind, body)
    validation = cast(FieldValidation, request.query.get("fieldValidation") or "Warn")
    duplicates: list[str] = []
    if validation != "Ignore" and request.raw_body is not None:
        duplicates = find_duplicate_fields(request.raw_body, obj)
    decoded, warnings = decode(
        obj, schema_of(kind), field_validation=validation, duplicates=duplicates, kind=kind.resource.kind
    )
    request.warnings.extend(warning for warning in warnings if warning not in request.warnings)
    return normalized(decoded, kind)


def normalized(obj: Object, kind: Kind) -> Object:
    """A new top level that begins with kind, apiVersion and metadata: its encoding can be sliced for lists."""
    fresh: Object = {
        "kind": kind.resource.kind,
        "apiVersion": kind.resource.api_version,
        "metadata": dict(obj.get("metadata") or {}),
    }
    for key, value in obj.items():
        if key not in fresh:
            fresh[key] = value
    return fresh


def check_namespace(request: ApiRequest, obj: Object) -> None:
    """Make the object's namespace that of the URL; 400 when they contradict each other."""
    metadata = obj["metadata"]
    if not request.kind.resource.namespaced:
        if metadata.get("namespace"):
            # Cluster-scoped objects have no namespace; kube-apiserver refuses one in validation.
            return
        metadata.pop("namespace", None)
        return
    given = metadata.get("namespace")
    if given and given != request.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = request.namespace


def check_name(request: ApiRequest, obj: Object) -> None:
    """The name in the URL and that in the object must agree (PUT)."""
    name = obj["metadata"].get("name")
    if not name:
        obj["metadata"]["name"] = request.name
    elif name != request.name:
        raise errors.BadRequest(f"the name of the object ({name}) does not match the name on the URL ({request.name})")


def fill_generate_name(obj: Object) -> bool:
    """Give a name to an object that has only `generateName`; True when it did."""
    metadata = obj["metadata"]
    if metadata.get("name") or not metadata.get("generateName"):
        return False
    metadata["name"] = names.generate_name(metadata["generateName"])
    return True
