"""What the API server must know about a kind; the handlers are the same for all.

A `Kind` is data plus small functions for the rules that OpenAPI does not carry (defaults,
cross-field validation, immutability, printed columns). It mirrors the REST strategies and printers
of kube-apiserver. Nothing here does I/O or keeps state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object
from orchestrator.api.resources import Resource

if TYPE_CHECKING:
    from orchestrator.api.schema import Schema

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

Mutate = Callable[[Object], None]
"""Changes a fresh copy in place."""
MutateUpdate = Callable[[Object, Object], None]
"""(new, old): changes the new object in place, given the stored one."""
Validate = Callable[[Object], list[Cause]]
ValidateUpdate = Callable[[Object, Object], list[Cause]]
"""(new, old): what forbids this change; includes what makes the new object invalid by itself."""
Warn = Callable[[Object, Object | None], list[str]]
"""(new, old, which is None on create): what a client is told about an object that is accepted."""


def _nothing(obj: Object) -> None:
    """No defaults, or nothing to prepare."""


def _nothing_to_update(new: Object, old: Object) -> None:
    """Nothing to carry over."""


def _valid(obj: Object) -> list[Cause]:
    return []


def _valid_update(new: Object, old: Object) -> list[Cause]:
    return []


def _no_warnings(new: Object, old: Object | None) -> list[str]:
    return []


STATUS_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


class Column(Struct, frozen=True):
    """One column of a kind's Table (`metav1.TableColumnDefinition`)."""

    name: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    """0 is always shown; 1 only with `-o wide`."""


class Subresource(Struct, frozen=True):
    """A subresource beyond the generic `status` and `scale`, for discovery and routing.

    Its behaviour is registered with the API server under the same name.
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    """Group and version of its kind, where they differ from the parent's."""


class ScalePaths(Struct, frozen=True):
    """Where the `scale` subresource finds its numbers, as dotted paths."""

    spec_replicas: str = "spec.replicas"
    status_replicas: str = "status.replicas"
    selector: str = "spec.selector"
    """A LabelSelector, or a plain map of labels, or (for CRDs) a string."""


Fetch = Callable[[Sequence[Object]], Awaitable[list[Object]]]
"""Asks for the objects in another version, all at once."""


class Conversion(Struct, frozen=True):
    """How a served version relates to the version that is stored (the hub)."""

    stored_as: Resource
    to_stored: Callable[[Object], Object]
    from_stored: Callable[[Object], Object]
    fetch_to_stored: Fetch | None = None
    """Set, with its sibling, where a webhook converts; the functions above are then not used."""
    fetch_from_stored: Fetch | None = None


class Kind(Struct, frozen=True):
    """The descriptor of one served kind in one version."""

    resource: Resource
    definition: str
    """Name of its OpenAPI definition, e.g. `io.k8s.api.core.v1.Pod`; its schema gives the structure."""
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    has_status: bool = False
    """Serves `/status`; a plain update then keeps the stored status, a status update the rest."""
    keeps_status: bool = False
    """Whether a new object keeps the status that its creator gave it, as only Nodes do: kubelets register with it."""
    scale: ScalePaths | None = None
    subresources: tuple[Subresource, ...] = ()
    has_generation: bool = False
    """`metadata.generation` starts at 1 and counts changes outside metadata and status."""
    graceful_deletion: bool = False
    """Deletion waits for a grace period (pods): only the kubelet or grace 0 removes the object."""
    versioned_annotations: tuple[str, ...] = ()
    """Annotations that stand for fields of the internal type: metadata alone (tables) goes without them."""
    create_on_update: bool = False
    """PUT of a missing object creates it (leases, events, endpoints, ...)."""
    unconditional_update: bool = True
    """PUT without a resourceVersion is allowed."""
    renewed: tuple[str, str] | None = None
    """The (part, field) of an object in which its holder says again and again that it is there: a time on which
    nothing else depends, whatever it is."""

    default: Mutate = _nothing
    """Fills in what the user left out; runs on every object that comes in, before admission."""
    default_status: Mutate = _nothing
    """Fills in what a status that is written always shows: unset times as null, structs as empty objects."""
    prepare_create: Mutate = _nothing
    """Drops what a user may not set on create; beyond the generic clearing of status."""
    prepare_update: MutateUpdate = _nothing_to_update
    validate: Validate = _valid
    """Everything wrong with a new object, except generic metadata."""
    validate_update: ValidateUpdate | None = None
    """None: an update is valid when the new object is."""
    prepare_status_update: MutateUpdate = _nothing_to_update
    validate_status_update: ValidateUpdate = _valid_update
    warn: Warn = _no_warnings
    """Of a new object, or of an update of all but the status."""
    warn_status: Warn = _no_warnings
    validate_name: Callable[[str], list[str]] | None = None
    """None: a DNS-1123 subdomain."""

    columns: tuple[Column, ...] = ()
    """Empty: Name and Age."""
    row: Callable[[Object, datetime], Sequence[Any]] | None = None
    """The cells of `columns` for one object; the moment is now, for ages."""
    selectable_fields: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    """Field selectors beyond metadata.name and metadata.namespace."""
    conversion: Conversion | None = None
    """None: stored as it is served."""
    default_propagation: str = ""
    """Propagation policy of a DELETE that names none; `Orphan` for a few old kinds."""
    has_dependents: bool = True
    """Whether a propagation policy means anything; events are leaves that nothing belongs to."""
    status_metadata: tuple[str, ...] = STATUS_METADATA
    """What of metadata an update of `/status` may change too: most built-in kinds protect their spec alone."""
    delete_returns_object: bool = False
    """A DELETE that removes the object at once answers with it rather than with a Status; as the published
    OpenAPI document says (pods, services, ...)."""
    finalizers_on_delete: tuple[str, ...] = ()
    """What a DELETE makes an object wait for, besides what it waits for anyway (CustomResourceDefinitions)."""
    mark_terminating: Callable[[Object], Object] | None = None
    """The object with a status that tells that its deletion has begun."""
    deprecation: str = ""
    """The warning that every request for this kind gets; empty unless the version is deprecated."""
    schema: Schema | None = None
    """The structure, where it does not come from a published definition (custom resources)."""

    @property
    def stored_resource(self) -> str:
        """The group-resource under which the store keeps objects of this kind."""
        return (self.conversion.stored_as if self.conversion else self.resource).group_resource

    def but(self, **changes: Any) -> Kind:
        """A copy with some fields changed."""
        return replace(self, **changes)
