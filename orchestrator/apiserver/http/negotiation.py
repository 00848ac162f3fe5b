"""Which media type and which representation a client wants (`Accept`).

Kubernetes adds parameters to the usual negotiation: `as=Table` and `as=PartialObjectMetadata` ask
for another shape of the same data (API conventions, "Receiving resources as Tables"; KEP-2334).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.api import errors

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES = (JSON, YAML, PROTOBUF)

TABLE = "Table"
PARTIAL = "PartialObjectMetadata"
PARTIAL_LIST = "PartialObjectMetadataList"
SHAPES = (TABLE, PARTIAL, PARTIAL_LIST)
SHAPES_OF_STREAMED_LISTS = (PARTIAL, PARTIAL_LIST)
"""A watch that begins with a list (KEP-3157) sends no Tables."""

REMEMBERED_CHARACTERS_MAX = 1024
"""Of an Accept header: whoever sends longer ones, all of them different, must not fill the memory with them."""


class Negotiated(Struct, frozen=True):
    """What to answer with."""

    media_type: str = JSON
    shape: str = ""
    """Empty for the object itself, or TABLE, PARTIAL, PARTIAL_LIST."""
    shape_version: str = "v1"
    is_stream: bool = False
    pretty: bool = False

    @property
    def content_type(self) -> str:
        return self.media_type

    def indented(self) -> Negotiated:
        """The same, to be read by a person."""
        return replace(self, pretty=True)


def not_acceptable(media_types: tuple[str, ...] = MEDIA_TYPES) -> errors.NotAcceptable:
    """406, in kube-apiserver's words."""
    return errors.NotAcceptable("only the following media types are accepted: " + ", ".join(media_types))


def check_route(accept: str, *, has_stream: bool) -> None:
    """406 as the router of built-in kinds answers, when an Accept header has none of their media types.

    Parameters are looked at later. `has_stream` is true of the routes that also serve watches.
    """
    wanted = [clause.partition(";")[0].strip().lower() for clause in accept.split(",")]
    if accept and not any(one in _ROUTED for one in wanted):
        offered = (*MEDIA_TYPES, f"{JSON};stream=watch", f"{PROTOBUF};stream=watch") if has_stream else MEDIA_TYPES
        raise errors.RouteNotAcceptable("406: Not Acceptable\n\nAvailable representations: " + ", ".join(offered))


_ROUTED = frozenset((*MEDIA_TYPES, "*/*", "application/*"))


def is_for_people(query: Mapping[str, str], user_agent: str) -> bool:
    """Whether the answer is to be indented: as `pretty` says, else for browsers, curl and wget."""
    pretty = query.get("pretty", "")
    if pretty:
        return pretty in _TRUE
    return user_agent.startswith(_PEOPLE)


_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_PEOPLE = ("curl", "Wget", "Mozilla/5.0")


def negotiate(accept: str, *, has_protobuf: bool = True, shapes: tuple[str, ...] = SHAPES) -> Negotiated:
    """The first clause of an Accept header that can be served; raises NotAcceptable.

    `has_protobuf` is false for custom resources, of which only the metadata has such a form; `shapes` are those
    that the answer can have beside its own.
    """
    if len(accept) > REMEMBERED_CHARACTERS_MAX:
        return _negotiated.__wrapped__(accept, has_protobuf, shapes)
    return _negotiated(accept, has_protobuf, shapes)


@lru_cache(maxsize=512)
def _negotiated(accept: str, has_protobuf: bool, shapes: tuple[str, ...]) -> Negotiated:
    if not accept:
        return Negotiated()
    clauses = []
    for position, clause in enumerate(accept.split(",")):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((-quality, position, media_type.lower(), values))
    for _, _, media_type, values in sorted(clauses, key=lambda clause: clause[:2]):
        if media_type in ("*/*", "application/*"):
            media_type = JSON
        shape = values.get("as", "")
        if media_type not in MEDIA_TYPES or (media_type == PROTOBUF and not has_protobuf and not shape):
            continue
        if shape:
            if values.get("g", "meta.k8s.io") != "meta.k8s.io" or values.get("v", "v1") not in ("v1", "v1beta1"):
                continue
            if shape not in shapes:
                continue
            if shape == TABLE and media_type == PROTOBUF:
                continue  # a Table has no protobuf form
        return Negotiated(
            media_type, shape, values.get("v", "v1"), values.get("stream") == "watch", values.get("pretty") == "1"
        )
    raise not_acceptable(MEDIA_TYPES if has_protobuf else (JSON, YAML))
