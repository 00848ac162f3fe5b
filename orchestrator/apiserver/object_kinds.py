"""What kind of object a write carries: for most subresources that of the object, for some one of their own."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.scale import SCALE
from orchestrator.api.objects import Object
from orchestrator.api.resources import Resource
from orchestrator.api.schema import for_kind
from orchestrator.apiserver.incoming import decode_object
from orchestrator.apiserver.request import ApiRequest


def object_kind(kind: Kind, subresource: str) -> Kind:
    """A Scale for `scale`, an Eviction for `eviction`; otherwise the kind of the resource itself."""
    if not subresource:
        return kind
    if subresource == "scale" and kind.scale is not None:
        return SCALE
    for one in kind.subresources:
        if one.name == subresource:
            group = one.group or ("" if one.version else kind.resource.group)
            return _kind_named(group, one.version or kind.resource.version, one.kind, kind)
    return kind


@lru_cache(maxsize=64)
def _definition(group: str, version: str, name: str) -> str:
    try:
        return for_kind(group, version, name).definition
    except KeyError:
        return ""


def _kind_named(group: str, version: str, name: str, kind: Kind) -> Kind:
    if (group, version, name) == (kind.resource.group, kind.resource.version, kind.resource.kind):
        return kind
    return Kind(Resource(group, version, "", name), _definition(group, version, name), name.lower())


def decode_part(request: ApiRequest, body: Any) -> Object:
    """The body of a request for a subresource, as the object that it must be; BadRequest."""
    return decode_object(request, object_kind(request.kind, request.subresource), body)
