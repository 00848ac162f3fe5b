"""A whole body, of a built-in kind or of a custom resource, and how strict to be about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from orchestrator.api.decode.check import check_of, passes
from orchestrator.api.decode.repeated import NOTHING_REPEATED, Repeated, in_document_order
from orchestrator.api.decode.scalars import Refused
from orchestrator.api.decode.walk import Walk
from orchestrator.api.errors import BadRequest
from orchestrator.api.fields import quote
from orchestrator.api.objects import Object
from orchestrator.api.schema import OBJECT_META, Schema, definition

FieldValidation = Literal["Ignore", "Warn", "Strict"]


class NotDecodable(BadRequest):
    """The body does not fit the kind; `detail` is the decoder's own text, which patch errors quote."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


def decode(
    obj: Object,
    schema: Schema,
    *,
    field_validation: FieldValidation = "Warn",
    repeated: Repeated = NOTHING_REPEATED,
    problems: Sequence[str] = (),
    kind: str = "",
) -> tuple[Object, list[str]]:
    """The object as the API keeps it, and the warnings to send back.

    Never changes `obj`; returns it itself when nothing has to change. `repeated` is what
    `find_duplicate_fields` found in the body, `problems` what else is wrong with its text. With `Strict`, all that
    and unknown fields refuse the request; with `Warn` they become warnings (`unknown field "spec.foo"`). `kind` is
    the kind that was expected, when it may differ from the object's own. NotDecodable (a BadRequest) for a value of
    a wrong type.
    """
    walk = Walk()
    if schema.structural:
        try:
            decoded = _decode_custom_resource(obj, schema, walk)
        except Refused as refused:
            raise _cannot_be_handled(obj, kind, str(refused)) from None
        found = [f"duplicate field {quote(path)}" for path in repeated.again]
        found += [f"unknown field {quote(path)}" for path in sorted(walk.unknown)]
    else:
        check = check_of(schema)
        if passes(check, obj):
            decoded = obj
        else:
            try:
                decoded = walk.decode(obj, schema, "", "", schema.struct_name)
            except Refused as refused:
                raise _cannot_be_handled(obj, kind, str(refused)) from None
        found = in_document_order(walk.unknown, repeated)
    found = [*problems, *found]
    if not found or field_validation == "Ignore":
        return decoded, []
    if field_validation == "Strict":
        raise _cannot_be_handled(obj, kind, f"strict decoding error: {', '.join(found)}")
    return decoded, [line for text in found for line in warnings_of(text)]


_YAML_ERRORS = "yaml: unmarshal errors:\n"


def warnings_of(text: str) -> list[str]:
    """One warning for each line of what a YAML decoder found; everything else is one warning."""
    _, is_yaml, lines = text.partition(_YAML_ERRORS)
    return [line.strip() for line in lines.split("\n")] if is_yaml else [text]


def _decode_custom_resource(obj: Object, schema: Schema, walk: Walk) -> Object:
    # The root is always a resource: its type and metadata are not the schema's to specify. Metadata comes first,
    # as it does in the messages of the real server.
    out: Object = {}
    metadata_check = check_of(definition(OBJECT_META))
    body = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    pruned = walk.prune(body, schema, "")
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            out[name] = value
        elif name == "metadata":
            out[name] = value if passes(metadata_check, value) else walk.metadata(value, "metadata")
        elif name in pruned:
            out[name] = pruned[name]
    return out


def _cannot_be_handled(obj: Object, kind: str, why: str) -> NotDecodable:
    own_kind, api_version = obj.get("kind"), obj.get("apiVersion")
    version = str(api_version or "").rpartition("/")[2]
    shown = own_kind if isinstance(own_kind, str) else kind
    return NotDecodable(f"{shown} in version {quote(version)} cannot be handled as a {kind or shown}: {why}", why)
