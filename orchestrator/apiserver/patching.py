"""PATCH bodies: which kind of patch it is, and what it makes of an object."""

from __future__ import annotations

from typing import Any

from orchestrator.api import errors
from orchestrator.api.decode import find_duplicate_fields, in_document_order
from orchestrator.api.fields import quote
from orchestrator.api.objects import Object
from orchestrator.api.patch.json_patch import apply_json_patch, json_kind
from orchestrator.api.patch.merge_patch import apply_merge_patch
from orchestrator.api.patch.strategic import apply_strategic_merge_patch
from orchestrator.apiserver.incoming import schema_of
from orchestrator.apiserver.request import ApiRequest

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def accepted_patch_types(request: ApiRequest) -> tuple[str, ...]:
    """Custom resources have no published merge keys, so no strategic merge."""
    if request.kind.schema is not None:
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)


def check_patch_type(request: ApiRequest) -> None:
    """415 for a content type that is no patch, or none for this kind."""
    accepted = accepted_patch_types(request)
    if request.content_type in accepted:
        return
    if request.kind.schema is None:  # what routes built-in kinds has looked before the handler does
        raise errors.RouteUnsupportedMediaType("415: Unsupported Media Type")
    raise errors.UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    )


_FIELDS_OF_OPERATIONS = frozenset(("op", "path", "from", "value"))


def patch_problems(content_type: str, body: bytes, patch: Any) -> list[str]:
    """What a strict decoder finds wrong with the text of a patch: repeated fields, and unknown ones of operations."""
    if content_type in (MERGE_PATCH, STRATEGIC_MERGE_PATCH):
        return [f"duplicate field {quote(path)}" for path in find_duplicate_fields(body, patch).again]
    if content_type != JSON_PATCH or not isinstance(patch, list):
        return []
    unknown = [
        f"[{position}].{name}"
        for position, operation in enumerate(patch)
        if isinstance(operation, dict)
        for name in operation
        if name not in _FIELDS_OF_OPERATIONS
    ]
    return [f"json patch {text}" for text in in_document_order(unknown, find_duplicate_fields(body, patch))]


def apply_patch(request: ApiRequest, current: Object) -> Object:
    """A fresh object: the stored one with the patch applied; raises BadRequest or Invalid."""
    body = request.body
    if request.content_type == JSON_PATCH:
        patched = apply_json_patch(current, body)
    else:
        if not isinstance(body, dict):
            is_merge = request.content_type == MERGE_PATCH
            prefix = "error decoding patch: " if is_merge else ""
            what = f"json: cannot unmarshal {json_kind(body)} into Go value of type map[string]interface {{}}"
            raise errors.BadRequest(prefix + what)
        if request.content_type == MERGE_PATCH:
            patched = apply_merge_patch(current, body)
        else:
            patched = apply_strategic_merge_patch(current, body, schema_of(request.kind))
    if not isinstance(patched, dict):
        raise errors.BadRequest("the patched value is not an object")
    return patched
