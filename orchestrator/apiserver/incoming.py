"""From a request's body to a well-formed object: kind, structure, name, namespace, fresh metadata.

Everything here is about one object that comes in; nothing is stored. The order of the checks is
that of kube-apiserver, because it decides which of several errors a client sees.
"""

from __future__ import annotations

from typing import Any

import orjson

from orchestrator.api import errors, names
from orchestrator.api.decode import NOTHING_REPEATED, NotDecodable, decode, find_duplicate_fields
from orchestrator.api.fields import invalid
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.api.resources import Resource
from orchestrator.api.schema import Schema, definition
from orchestrator.apiserver.request import ApiRequest


def schema_of(kind: Kind) -> Schema:
    """The structure of a kind."""
    return kind.schema if kind.schema is not None else definition(kind.definition)


def check_kind(request: ApiRequest, kind: Kind, body: Any) -> Object:
    """The body as an object of this kind; 400 when it is another one.

    A missing apiVersion or kind is filled in from the URL, as kube-apiserver does for built-in kinds.
    """
    if body is None and kind.schema is None and request.verb != "patch":
        body = {}  # Go decodes null into an empty struct
    if not isinstance(body, dict):
        raise errors.BadRequest(not_an_object(kind.resource.kind, body))
    api_version, kind_name = body.get("apiVersion"), body.get("kind")
    expected = kind.resource.api_version
    if kind.schema is not None and api_version == expected and kind_name and kind_name != kind.resource.kind:
        name = (body.get("metadata") or {}).get("name") or ""
        detail = f"must be {kind.resource.kind}"
        raise errors.invalid(kind.resource.group, kind_name, name, [invalid("kind", kind_name, detail)])
    if (api_version and api_version != expected) or (kind_name and kind_name != kind.resource.kind):
        raise wrong_kind(kind, body)
    return body


def not_an_object(kind: str, body: Any) -> str:
    """What Go's decoder says about a body that is another JSON value than an object."""
    found = "array" if isinstance(body, list) else "bool" if isinstance(body, bool) else type(body).__name__
    found = {"str": "string", "int": "number", "float": "number", "NoneType": "null"}.get(found, found)
    return (
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error:"
        f" json: cannot unmarshal {found} into Go value of type struct"
        ' { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        f" ({_summary(orjson.dumps(body))})"
    )


def _summary(body: bytes) -> str:
    return f"{body[:30].hex()} ..." if len(body) > 30 else body.hex()


_GO_PACKAGES = {
    "": "core",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "apiregistration.k8s.io": "apiregistration",
    "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization",
    "certificates.k8s.io": "certificates",
    "coordination.k8s.io": "coordination",
    "discovery.k8s.io": "discovery",
    "events.k8s.io": "core",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "networking.k8s.io": "networking",
    "node.k8s.io": "node",
    "rbac.authorization.k8s.io": "rbac",
    "resource.k8s.io": "resource",
    "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
}
"""The Go packages of the internal types, which messages about conversions name; else that of the group's name."""

SCHEME = "pkg/api/legacyscheme/scheme.go:30"


def unconvertible(resource: Resource, api_version: str, kind_name: str) -> NotDecodable:
    """The 400 for an object of a kind that is known, but not the expected one."""
    version = api_version.rpartition("/")[2]
    why = (
        f"converting ({version}.{kind_name}) to"
        f" ({_GO_PACKAGES.get(resource.group, resource.group)}.{resource.kind}): unknown conversion"
    )
    return _unusable(resource, version, kind_name, why)


def unregistered(resource: Resource, api_version: str, kind_name: str) -> NotDecodable:
    """The 400 for an object of a kind or version that nobody knows."""
    version = api_version.rpartition("/")[2]
    why = f'no kind "{kind_name}" is registered for version "{api_version}" in scheme "{SCHEME}"'
    return _unusable(resource, version, kind_name, why)


def _unusable(resource: Resource, version: str, kind_name: str, why: str) -> NotDecodable:
    return NotDecodable(f'{kind_name} in version "{version}" cannot be handled as a {resource.kind}: {why}', why)


def wrong_kind(kind: Kind, body: Object) -> errors.BadRequest:
    """The 400 for an object of another kind than the URL's."""
    resource = kind.resource
    api_version = str(body.get("apiVersion") or resource.api_version)
    kind_name = str(body.get("kind") or resource.kind)
    if kind.schema is None:
        from orchestrator.api.kinds.builtin import builtin_kinds

        known = {(one.resource.api_version, one.resource.kind): one for one in builtin_kinds()}
        if kind_name != resource.kind and (api_version, kind_name) in known:
            try:
                # As Go does: first into the type that it says it is, only then into the one that is wanted.
                decode(body, schema_of(known[api_version, kind_name]), field_validation="Ignore", kind=kind_name)
            except NotDecodable as error:
                return _unusable(resource, api_version.rpartition("/")[2], kind_name, error.detail)
            return unconvertible(resource, api_version, kind_name)
        if kind_name != resource.kind or api_version not in {version for version, _ in known}:
            return unregistered(resource, api_version, kind_name)
    if kind_name == resource.kind:
        return errors.BadRequest(
            f"the API version in the data ({api_version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    group, _, version = api_version.rpartition("/")
    return errors.BadRequest(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}:'
        f" converting ({group}/{version}, Kind={kind_name}) to"
        f" ({resource.group}/{resource.version}, Kind={resource.kind}): unknown conversion"
    )


def decode_object(request: ApiRequest, kind: Kind, body: Any) -> Object:
    """Check kind and structure; unknown fields are dropped, warned about or refused as asked for.

    Returns a fresh object whose first keys are kind, apiVersion and metadata.
    """
    obj = check_kind(request, kind, body)
    validation = request.field_validation
    repeated = NOTHING_REPEATED
    if validation != "Ignore" and request.raw_body is not None:
        repeated = find_duplicate_fields(request.raw_body, obj)
    decoded, warnings = decode(
        obj,
        schema_of(kind),
        field_validation=validation,
        repeated=repeated,
        problems=request.problems,
        kind=kind.resource.kind,
    )
    request.warn(warnings)
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


def check_name(request: ApiRequest, obj: Object, *, is_apply: bool = False) -> None:
    """The name in the URL and that in the object must agree (PUT)."""
    name = obj["metadata"].get("name")
    if not name:
        if request.kind.schema is None and not is_apply:
            raise errors.BadRequest(
                f"the name of the object ({request.name} based on URL) was undeterminable: name must be provided"
            )
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
