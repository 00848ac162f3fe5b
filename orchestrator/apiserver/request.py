"""A request to the API server's core, free of HTTP, and what the core answers.

The HTTP front end and the in-process transport both make `ApiRequest`s; whatever they have in
common (authorization, decoding, defaulting, admission, validation, storage) lies behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from msgspec import Struct, field

from orchestrator.api import errors
from orchestrator.api.decode import FieldValidation
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.user import User
from orchestrator.store import Key, Record


class View(Protocol):
    """Another form of an object in which a subresource shows it, to admission too: a Scale of a Deployment."""

    subresource: str

    def show(self, obj: Object) -> Object:
        """The object in this form; fresh."""
        ...

    def take(self, obj: Object, shown: Object) -> Object:
        """The object with what its other form says; fresh."""
        ...


class ApiRequest(Struct):
    """One request for a resource, as routing understood it."""

    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection"""
    kind: Kind
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """The decoded body: an object, DeleteOptions, or a patch."""
    shares_body: bool = False
    """Whether others have parts of the body: it is copied before anything in it may change."""
    raw_body: bytes | None = None
    """The bytes it was decoded from, when they were JSON; to find duplicate fields."""
    problems: list[str] = field(default_factory=list)
    """What a strict decoder would have refused in the text of YAML or of a patch: keys that are given twice."""
    content_type: str = "application/json"
    user_agent: str = ""
    owned_through: str = ""
    """The subresource that managedFields names, where a subresource (`scale`) writes through its parent's update."""
    warnings: list[str] = field(default_factory=list)
    """What the answer's Warning headers will say."""
    view: View | None = None
    """Set, with `owned_through`, where what is written is not what admission sees."""

    @property
    def group(self) -> str:
        return self.kind.resource.group

    @property
    def plural(self) -> str:
        return self.kind.resource.plural

    @property
    def key(self) -> Key:
        """Where the object is stored."""
        return Key(self.kind.stored_resource, self.namespace, self.name)

    @property
    def field_validation(self) -> FieldValidation:
        """What happens to unknown and repeated fields; `check_options` has validated the parameter."""
        return cast("FieldValidation", self.query.get("fieldValidation") or "Warn")

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored; `dry_run_of` has validated the parameter."""
        return bool(self.query.get("dryRun"))

    def warn(self, warnings: Sequence[str]) -> None:
        """Have the answer say these, each once."""
        known = set(self.warnings)
        self.warnings.extend(text for text in dict.fromkeys(warnings) if text not in known)

    @property
    def field_manager(self) -> str:
        """Who owns the fields that this request sets: the parameter, or the client's program name."""
        return self.query.get("fieldManager") or self.user_agent.split("/", 1)[0] or "unknown"


class ObjectResult(Struct):
    """The answer to everything that returns one object."""

    obj: Object
    raw: bytes | None = None
    """The object's encoding, where the store has it already."""
    code: int = 200


class ListResult(Struct):
    """The answer to a list: records of one revision."""

    kind: Kind
    records: list[Record]
    revision: int
    continue_token: str = ""
    remaining: int | None = None
    """How many follow; None when unknown (a selector was given) or nothing follows."""
    convert: Callable[[Object], Object] | None = None
    """Set where the stored version differs from the one that was asked for."""


OPTIONS_OF_VERB = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
}


def check_verb(request: ApiRequest, verb: str) -> None:
    """Raise MethodNotAllowed unless the kind has this verb."""
    if verb not in request.kind.verbs:
        raise errors.method_not_allowed()


def check_options(request: ApiRequest) -> None:
    """Validate the query parameters that all writes share: dryRun, fieldValidation, fieldManager.

    Source: `metav1.CreateOptions` and its siblings, and their validation in apimachinery.
    """
    options = OPTIONS_OF_VERB.get(request.verb)
    if options is None:
        return
    causes: list[Cause] = []
    manager = request.query.get("fieldManager", "")
    if len(manager) > 128:
        causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"))
    if not manager.isprintable():
        causes.append(
            Cause(
                "FieldValueInvalid",
                f'Invalid value: "{manager}": should only contain printable characters',
                "fieldManager",
            )
        )
    dry_run = request.query.get("dryRun", "")
    if dry_run and dry_run != "All":
        causes.append(
            Cause("FieldValueNotSupported", f'Unsupported value: ["{dry_run}"]: supported values: "All"', "dryRun")
        )
    validation = request.query.get("fieldValidation", "")
    if validation and validation not in ("Ignore", "Warn", "Strict"):
        causes.append(not_supported("fieldValidation", validation, "", "Ignore", "Strict", "Warn"))
    if causes:
        raise errors.invalid("meta.k8s.io", options, "", causes)


def not_supported(field_name: str, value: str, *supported: str) -> Cause:
    """The cause for a value outside of an enumeration."""
    choices = ", ".join(f'"{choice}"' for choice in supported)
    return Cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {choices}', field_name)


def is_true(text: str | None) -> bool:
    """A boolean parameter of a URL: false when it is absent, `false` or `0`; anything else is true, even nothing.

    Source: apimachinery's conversion of query parameters.
    """
    return text is not None and text != "0" and text.lower() != "false"
