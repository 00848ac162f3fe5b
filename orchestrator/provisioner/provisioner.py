"""The controller that makes, grows and removes volumes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    annotations_of,
    key_of,
    name_of,
    namespace_of,
    resource_version_of,
    split_key,
)
from orchestrator.api.resources import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from orchestrator.api.volume_binding import SELECTED_NODE, class_of
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.provisioner.backend import Backend, Source
from orchestrator.provisioner.plan import (
    FINALIZER,
    clone_refusal,
    is_asked_for,
    plan_ending,
    plan_growth,
    plan_volume,
    provisioner_of,
    source_claim_of,
    volume_name_of,
)
from orchestrator.provisioner.snapshots.definitions import SnapshotDefinitions
from orchestrator.provisioner.snapshots.plan import bound_content_of
from orchestrator.provisioner.snapshots.restoring import Refusal, is_for_populator, plan_restore, source_snapshot_of

_VOLUME = "volume:"
_SOURCE_INDEX = "source"
_SNAPSHOT_INDEX = "waits-for-snapshot"


class Provisioner(Controller):
    """Keys are claims, or `volume:<name>`."""

    name: ClassVar[str] = "local-volume-provisioner"
    workers: ClassVar[int] = 2

    def __init__(
        self, *, backends: Sequence[Backend], snapshots: SnapshotDefinitions, **dependencies: Unpack[Dependencies]
    ) -> None:
        """`snapshots`: when there can be some that claims begin with."""
        self._snapshot_definitions = snapshots
        self._backends = {backend.provisioner: backend for backend in backends}
        self._described: set[str] = set()
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Claims, volumes and classes; a claim that becomes bound leads to those that copy it."""
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = self.informer(PERSISTENT_VOLUMES)
        self._classes = self.informer(STORAGE_CLASSES)
        self._nodes = self.informer(NODES)
        self._claims.add_index(_SOURCE_INDEX, _source_key)
        self._claims.add_index(_SNAPSHOT_INDEX, _snapshot_key)
        self._claims.add_handler(self._on_claim)
        self._volumes.add_handler(self._on_volume)
        self._snapshot_definitions.when_served(
            lambda: self._informers.informer(VOLUME_SNAPSHOTS).add_handler(self._on_snapshot)
        )

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        self.queue.add(key_of(new))
        for waiting in self._claims.by_index(_SOURCE_INDEX, key_of(new)):
            self.queue.add(key_of(waiting))

    def _on_volume(self, old: Object | None, new: Object | None) -> None:
        if new is not None and provisioner_of(new) in self._backends:
            self.queue.add(_VOLUME + name_of(new))

    def _on_snapshot(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            for waiting in self._claims.by_index(_SNAPSHOT_INDEX, key_of(new)):
                self.queue.add(key_of(waiting))

    async def reconcile(self, key: str) -> float | None:
        """One claim, or one volume."""
        if key.startswith(_VOLUME):
            volume = self._volumes.get(key.removeprefix(_VOLUME))
            if volume is not None:
                await self._end(volume)
            return None
        claim = self._claims.get(key)
        if claim is None:
            return None
        if named := claim["spec"].get("volumeName"):
            volume = self._volumes.get(named)
            if volume is not None:
                await self._grow(claim, volume)
            return None
        storage_class = self._classes.get(class_of(claim))
        backend = self._backends.get((storage_class or {}).get("provisioner") or "")
        if storage_class is not None and backend is not None and is_asked_for(claim, storage_class):
            await self._provision(backend, claim, storage_class)
        return None

    # Making.

    async def _provision(self, backend: Backend, claim: Object, storage_class: Object) -> None:
        name = volume_name_of(claim)
        if self._volumes.get(name) is not None:
            return
        failed = f'failed to provision volume with StorageClass "{name_of(storage_class)}": '
        if why := backend.refusal(claim, storage_class):
            self.recorder.event(claim, "Warning", "ProvisioningFailed", failed + why)
            return
        node_name = annotations_of(claim).get(SELECTED_NODE, "")
        node = self._nodes.get(node_name)
        if node_name and node is None:
            self.recorder.event(claim, "Warning", "ProvisioningFailed", f'{failed}node "{node_name}" not found')
            return
        if is_for_populator(claim):
            message = "Assuming an external populator will provision the volume"
            self.recorder.event(claim, "Normal", "Provisioning", message)
            return
        try:
            source = await self._find_source(backend, claim)
        except Refusal as why_not:
            self.recorder.event(claim, "Warning", "ProvisioningFailed", f"{failed}{why_not}")
            return  # a change of the source leads here again
        message = f'External provisioner is provisioning volume for claim "{key_of(claim)}"'
        self.recorder.event(claim, "Normal", "Provisioning", message)
        try:
            made = await backend.make(claim, storage_class, node, source=source)
        except OSError as error:
            self.recorder.event(claim, "Warning", "ProvisioningFailed", f"{failed}{error}")
            raise
        try:
            await self._describe(backend)
            await self.client.create(PERSISTENT_VOLUMES, plan_volume(claim, storage_class, made))
        except errors.AlreadyExists:
            return  # an earlier attempt made it, and the cache has not seen it yet
        self.recorder.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    async def _describe(self, backend: Backend) -> None:
        """Tell what the driver of its volumes needs, with the first of them."""
        if backend.driver is None or backend.provisioner in self._described:
            return
        with contextlib.suppress(errors.AlreadyExists):
            await self.client.create(CSI_DRIVERS, backend.driver)
        self._described.add(backend.provisioner)

    async def _find_source(self, backend: Backend, claim: Object) -> Source | None:
        """What the volume of a claim begins with. Refusal."""
        if name := source_claim_of(claim):
            source = self._claims.get(f"{namespace_of(claim)}/{name}")
            volume = self._volumes.get(source["spec"].get("volumeName") or "") if source is not None else None
            if why := clone_refusal(claim, source, volume, backend.provisioner):
                raise Refusal(why)
            assert volume is not None
            return Source(volume=name_of(volume))
        if key := source_snapshot_of(claim):
            namespace, name = split_key(key)
            try:
                snapshot = await self.client.get(VOLUME_SNAPSHOTS, name, namespace)
            except errors.NotFound as error:
                raise Refusal(f"error getting snapshot {name} from api server: {error.message}") from None
            try:
                content = await self.client.get(VOLUME_SNAPSHOT_CONTENTS, bound_content_of(snapshot) or "none")
            except errors.NotFound:
                content = None
            return Source(snapshot=plan_restore(claim, snapshot, content, backend.provisioner))
        return None

    # Growing.

    async def _grow(self, claim: Object, volume: Object) -> None:
        backend = self._backends.get(provisioner_of(volume))
        size = plan_growth(claim, volume) if backend is not None and backend.can_grow else ""
        if not size or backend is None:
            return
        name = name_of(volume)
        self.recorder.event(claim, "Normal", "Resizing", f"External resizer is resizing volume {name}")
        try:
            await backend.grow(volume, size)
        except OSError as error:
            self.recorder.event(claim, "Warning", "VolumeResizeFailed", f"resize volume {name} failed: {error}")
            raise
        await self.client.patch(PERSISTENT_VOLUMES, name, {"spec": {"capacity": {"storage": size}}})
        status = {"status": {"capacity": {"storage": size}}}
        await self.client.patch(
            PERSISTENT_VOLUME_CLAIMS, name_of(claim), status, namespace_of(claim), subresource="status"
        )
        self.recorder.event(claim, "Normal", "VolumeResizeSuccessful", f"Resize volume succeeded: {name}")

    # Ending.

    async def _end(self, volume: Object) -> None:
        backend = self._backends.get(provisioner_of(volume))
        ending = plan_ending(volume) if backend is not None else None
        if ending is None or backend is None:
            return
        name = name_of(volume)
        if ending.data == "remove":
            try:
                await backend.remove(volume)
            except OSError as error:
                self.recorder.event(volume, "Warning", "VolumeFailedDelete", str(error))
                raise
        try:
            if ending.delete_object:
                await self.client.delete(PERSISTENT_VOLUMES, name)
            live = await self.client.get(PERSISTENT_VOLUMES, name)
            kept = [one for one in live["metadata"].get("finalizers") or () if one != FINALIZER]
            metadata = {"resourceVersion": resource_version_of(live), "finalizers": kept or None}
            await self.client.patch(PERSISTENT_VOLUMES, name, {"metadata": metadata})
        except errors.NotFound:
            return


def _source_key(claim: Object) -> list[str]:
    source = source_claim_of(claim)
    return [f"{namespace_of(claim)}/{source}"] if source and not claim["spec"].get("volumeName") else []


def _snapshot_key(claim: Object) -> list[str]:
    key = source_snapshot_of(claim)
    return [key] if key and not claim["spec"].get("volumeName") else []
