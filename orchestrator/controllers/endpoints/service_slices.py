"""The slices that one controller manages: found by the key they belong to, written, remembered ahead of the cache."""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.objects import Object, is_terminating, labels_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import ENDPOINT_SLICES
from orchestrator.component.controller import Controller
from orchestrator.controllers.endpoints.slices import MANAGED_BY, SlicePlan
from orchestrator.controllers.expectations import Expectations
from orchestrator.controllers.replicas import is_namespace_terminating


class ServiceSlices:
    """A change of a slice brings its key, that of its Service, back to the controller's queue."""

    def __init__(self, controller: Controller, manager: str) -> None:
        self._controller = controller
        self._manager = manager
        self._index = f"service/{manager}"
        self._expectations = Expectations()
        self._slices = controller.informer(ENDPOINT_SLICES)
        self._slices.add_index(self._index, self._keys_of)
        self._slices.add_handler(self._on_slice)

    def _keys_of(self, one: Object) -> list[str]:
        labels = labels_of(one)
        name = labels.get(SERVICE_NAME_LABEL)
        if not name or labels.get(MANAGED_BY) != self._manager:
            return []
        return [f"{namespace_of(one)}/{name}"]

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        for one in (old, new):
            if one is not None:
                for key in self._keys_of(one):
                    self._controller.queue.add(key)

    def is_current(self, key: str) -> bool:
        """Whether the cache shows everything that was written for this key."""
        return self._expectations.is_fulfilled(key)

    def forget(self, key: str) -> None:
        """Nothing more is written for this key."""
        self._expectations.forget(key)

    def of(self, key: str) -> list[Object]:
        """The slices of a key that are not being deleted."""
        return [one for one in self._slices.by_index(self._index, key) if not is_terminating(one)]

    async def apply(self, key: str, owner: Object, plan: SlicePlan) -> None:
        """Write what the plan says; ApiError, with an event, when the API refuses."""
        client = self._controller.client
        try:
            for one in plan.create:
                self._expectations.wrote(key, self._slices, await client.create(ENDPOINT_SLICES, one))
            for one in plan.update:
                self._expectations.wrote(key, self._slices, await client.update(ENDPOINT_SLICES, one))
            for one in plan.delete:
                try:
                    await client.delete(ENDPOINT_SLICES, name_of(one), namespace_of(one), uid=uid_of(one))
                except errors.NotFound:
                    continue
                self._expectations.deleted(key, self._slices, one)
        except errors.Conflict:
            raise
        except errors.ApiError as error:
            if is_namespace_terminating(error):
                return
            message = f"Error updating Endpoint Slices for {owner['kind']} {key}: {error.message}"
            self._controller.recorder.event(owner, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
