"""Field ownership: `metadata.managedFields` of every write, and server-side apply."""

from __future__ import annotations

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.apiserver.request import ApiRequest


class FieldOwnership:
    """Keeps track of who set which field."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_create(self, request: ApiRequest, obj: Object) -> None:
        """Record the creator's fields; changes `obj` in place."""
        obj["metadata"].pop("managedFields", None)

    def on_update(self, request: ApiRequest, new: Object, old: Object) -> None:
        """Record the fields that this update set; changes `new` in place."""
        new["metadata"].pop("managedFields", None)

    def check_apply(self, request: ApiRequest, applied: Object) -> None:
        """Refuse what cannot be applied."""
        raise errors.UnsupportedMediaType("server-side apply is not served yet")

    def apply(self, request: ApiRequest, current: Object | None, applied: Object) -> Object:
        """The object after the apply."""
        raise errors.UnsupportedMediaType("server-side apply is not served yet")
