"""The controller of VolumeSnapshots and VolumeSnapshotContents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, Unpack

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    resource_version_of,
    split_key,
    uid_of,
)
from orchestrator.api.quantity import int_value
from orchestrator.api.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
    Resource,
)
from orchestrator.api.volume_binding import class_of
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.provisioner.snapshots.plan import (
    BEING_DELETED,
    CLAIM_FINALIZER,
    CONTENT_FINALIZER,
    Trouble,
    bound_content_of,
    class_name_of,
    content_name_of,
    default_class,
    handle_of,
    is_bound_to,
    is_claim_needed,
    is_ready,
    plan_binding,
    plan_content,
    plan_content_step,
    plan_deletion,
    plan_progress_events,
    plan_snapshot_finalizers,
    plan_snapshot_status,
    snapshot_key_of,
    source_claim_of,
    source_content_of,
)
from orchestrator.provisioner.snapshots.restoring import source_snapshot_of

_CONTENT, _CLAIM = "content:", "claim:"
_BY_CLAIM, _BY_CONTENT, _BY_SNAPSHOT = "source-claim", "content", "source-snapshot"


class SnapshotFacts(Protocol):
    """What a driver knows about a snapshot."""

    @property
    def creation_time(self) -> int:
        """In nanoseconds since 1970."""
        ...

    @property
    def size_bytes(self) -> int:
        """The least size of a volume that begins with it."""
        ...


class SnapshotDriver(Protocol):
    """Takes and removes snapshots. All raise OSError for what fails, ValueError for handles that can be none's."""

    async def take(self, handle: str, volume: str, *, size_bytes: int, volume_mode: str) -> SnapshotFacts:
        """Take a snapshot, once for each handle."""
        ...

    async def find(self, handle: str) -> SnapshotFacts:
        """What is known about one that is there."""
        ...

    async def remove(self, handle: str) -> None:
        """Remove one; succeeds when there is none."""
        ...


class SnapshotController(Controller):
    """Keys are snapshots, `content:<name>`, or `claim:<namespace>/<name>` for the finalizer of a source.

    Snapshots of other drivers are left alone: their own controllers may run in the cluster.
    """

    name: ClassVar[str] = "snapshot-controller"
    workers: ClassVar[int] = 4  # a copy may keep one of them busy for long
    backoff_max_seconds: ClassVar[float] = 300.0

    def __init__(
        self,
        *,
        driver_name: str,
        driver: SnapshotDriver,
        **dependencies: Unpack[Dependencies],
    ) -> None:
        """To be made once the kinds are served. `driver_name`: what classes and contents name the driver by."""
        self._driver_name = driver_name
        self._driver = driver
        super().__init__(**dependencies)

    def setup(self) -> None:
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = self.informer(PERSISTENT_VOLUMES)
        self._storage_classes = self.informer(STORAGE_CLASSES)
        self._snapshots = self.informer(VOLUME_SNAPSHOTS)
        self._contents = self.informer(VOLUME_SNAPSHOT_CONTENTS)
        self._classes = self.informer(VOLUME_SNAPSHOT_CLASSES)
        self._snapshots.add_index(_BY_CLAIM, lambda snapshot: _present(source_claim_of(snapshot)))
        self._snapshots.add_index(_BY_CONTENT, lambda snapshot: _present(source_content_of(snapshot)))
        self._claims.add_index(_BY_SNAPSHOT, lambda claim: _present(source_snapshot_of(claim)))
        self._snapshots.add_handler(self._on_snapshot)
        self._contents.add_handler(self._on_content)
        self._classes.add_handler(self._on_class)
        self._claims.add_handler(self._on_claim)

    def _on_snapshot(self, old: Object | None, new: Object | None) -> None:
        snapshot = new if new is not None else old
        assert snapshot is not None
        self.queue.add(key_of(snapshot))
        self.queue.add(_CONTENT + (bound_content_of(snapshot) or content_name_of(snapshot)))
        if source := source_claim_of(snapshot):
            self.queue.add(_CLAIM + source)

    def _on_content(self, old: Object | None, new: Object | None) -> None:
        content = new if new is not None else old
        assert content is not None
        self.queue.add(_CONTENT + name_of(content))
        self.queue.add(snapshot_key_of(content))
        for snapshot in self._snapshots.by_index(_BY_CONTENT, name_of(content)):
            self.queue.add(key_of(snapshot))

    def _on_class(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            for snapshot in self._snapshots.list():
                if not bound_content_of(snapshot):
                    self.queue.add(key_of(snapshot))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        claim = new if new is not None else old
        assert claim is not None
        for snapshot in self._snapshots.by_index(_BY_CLAIM, key_of(claim)):
            if not is_ready(snapshot):
                self.queue.add(key_of(snapshot))
        if source := source_snapshot_of(claim):
            self.queue.add(source)

    async def reconcile(self, key: str) -> float | None:
        """One snapshot, one content, or one claim."""
        if key.startswith(_CONTENT):
            content = self._contents.get(key.removeprefix(_CONTENT))
            if content is not None and content["spec"]["driver"] == self._driver_name:
                await self._reconcile_content(content)
        elif key.startswith(_CLAIM):
            await self._release_claim(key.removeprefix(_CLAIM))
        else:
            snapshot = self._snapshots.get(key)
            if snapshot is not None:
                await self._reconcile_snapshot(snapshot)
        return None

    # Snapshots.

    async def _reconcile_snapshot(self, snapshot: Object) -> None:
        name = bound_content_of(snapshot) or content_name_of(snapshot)
        content = self._contents.get(name)
        if content is not None and content["spec"]["driver"] != self._driver_name:
            return
        if is_terminating(snapshot):
            await self._delete(snapshot, content if content is not None else await self._live_content(name))
            return
        if content is None and not bound_content_of(snapshot) and not source_content_of(snapshot):
            made = await self._make_content(snapshot)
            if made is None:
                return
            snapshot, content = made
        if (trouble := plan_binding(snapshot, content)) is not None:
            await self._tell(snapshot, trouble)
            return
        assert content is not None
        if not is_bound_to(content, snapshot):
            content = await self._bind(content, snapshot)
        finalizers = plan_snapshot_finalizers(snapshot, content)
        if finalizers is not None:
            snapshot = await self._write_finalizers(VOLUME_SNAPSHOTS, snapshot, finalizers)
        if is_ready(snapshot):
            return
        status = plan_snapshot_status(snapshot, content)
        if status != (snapshot.get("status") or {}):
            await self.client.update_status(VOLUME_SNAPSHOTS, {**snapshot, "status": status})
            for reason, message in plan_progress_events(snapshot, status):
                self.recorder.event(snapshot, "Normal", reason, message)

    async def _live_content(self, name: str) -> Object | None:
        """Before a content counts as gone the API is asked: with it, data would be forgotten."""
        try:
            return await self.client.get(VOLUME_SNAPSHOT_CONTENTS, name)
        except errors.NotFound:
            return None

    async def _make_content(self, snapshot: Object) -> tuple[Object, Object] | None:
        """The snapshot, with its class, and a new content for it; None when another driver's, or when it cannot be."""
        claim = self._claims.get(source_claim_of(snapshot))
        found = self._class_for(snapshot, claim)
        if found is None:
            return None
        if isinstance(found, Trouble):
            await self._tell(snapshot, found)
            return None
        if found["driver"] != self._driver_name:
            return None
        if not class_name_of(snapshot):
            chosen = {"spec": {"volumeSnapshotClassName": name_of(found)}}
            snapshot = await self.client.patch(VOLUME_SNAPSHOTS, name_of(snapshot), chosen, namespace_of(snapshot))
        volume = self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
        planned = plan_content(snapshot, found, claim, volume)
        if isinstance(planned, Trouble):
            await self._tell(snapshot, planned)
            return None
        assert claim is not None
        finalizers = claim["metadata"].get("finalizers") or []
        if CLAIM_FINALIZER not in finalizers:
            await self._write_finalizers(PERSISTENT_VOLUME_CLAIMS, claim, [*finalizers, CLAIM_FINALIZER])
        try:
            content = await self.client.create(VOLUME_SNAPSHOT_CONTENTS, planned)
        except errors.AlreadyExists:
            return snapshot, await self.client.get(VOLUME_SNAPSHOT_CONTENTS, name_of(planned))
        message = f"Waiting for a snapshot {key_of(snapshot)} to be created by the CSI driver."
        self.recorder.event(snapshot, "Normal", "CreatingSnapshot", message)
        return snapshot, content

    def _class_for(self, snapshot: Object, claim: Object | None) -> Object | Trouble | None:
        """Its class, or the default for the driver of its claim; None when the default is another driver's business."""
        if name := class_name_of(snapshot):
            text = f'volumesnapshotclass.{VOLUME_SNAPSHOT_CLASSES.group} "{name}" not found'
            trouble = Trouble("GetSnapshotClassFailed", f"Failed to get snapshot class with error {text}")
            return self._classes.get(name) or trouble
        if claim is None:
            _, claim_name = split_key(source_claim_of(snapshot))
            text = (
                f'failed to retrieve PVC {claim_name} from the lister: "persistentvolumeclaim "{claim_name}" not found"'
            )
            return Trouble("SetDefaultSnapshotClassFailed", f"Failed to set default snapshot class with error {text}")
        volume = self._volumes.get(claim["spec"].get("volumeName") or "")
        storage_class = self._storage_classes.get(class_of(claim) or class_of(volume or {}))
        if storage_class is not None and storage_class["provisioner"] != self._driver_name:
            return None
        return default_class(self._classes.list(), self._driver_name)

    async def _bind(self, content: Object, snapshot: Object) -> Object:
        """Make a pre-provisioned content name the snapshot that asked for it."""
        spec: Object = {"volumeSnapshotRef": {**content["spec"]["volumeSnapshotRef"], "uid": uid_of(snapshot)}}
        if class_name := class_name_of(snapshot):
            spec["volumeSnapshotClassName"] = class_name
        patch = {"metadata": {"resourceVersion": resource_version_of(content)}, "spec": spec}
        return await self.client.patch(VOLUME_SNAPSHOT_CONTENTS, name_of(content), patch)

    async def _tell(self, snapshot: Object, trouble: Trouble) -> None:
        """Write an error into the status of a snapshot, once, with an event."""
        resource = VOLUME_SNAPSHOTS
        if await self._write_error(resource, snapshot, trouble.message):
            self.recorder.event(snapshot, "Warning", trouble.reason, trouble.message)

    async def _write_error(self, resource: Resource, obj: Object, message: str) -> bool:
        status: dict[str, Any] = obj.get("status") or {}
        if (status.get("error") or {}).get("message") == message:
            return False
        error = {"time": format_time(self.clock.now()), "message": message}
        patch = {"status": {"error": error, "readyToUse": False}}
        await self.client.patch(resource, name_of(obj), patch, namespace_of(obj), subresource="status")
        return True

    async def _delete(self, snapshot: Object, content: Object | None) -> None:
        restored = any(
            (claim.get("status") or {}).get("phase") == "Pending"
            for claim in self._claims.by_index(_BY_SNAPSHOT, key_of(snapshot))
        )
        plan = plan_deletion(snapshot, content, is_restored=restored)
        if plan.wait:
            message = "Snapshot is being used to restore a PVC"
            self.recorder.event(snapshot, "Warning", "SnapshotDeletePending", message)
            return
        if content is not None and plan.mark_content:
            patch = {"metadata": {"annotations": {BEING_DELETED: "yes"}}}
            await self.client.patch(VOLUME_SNAPSHOT_CONTENTS, name_of(content), patch)
        if content is not None and plan.delete_content:
            await self.client.delete(VOLUME_SNAPSHOT_CONTENTS, name_of(content), uid=uid_of(content))
        if plan.finalizers is not None:
            await self._write_finalizers(VOLUME_SNAPSHOTS, snapshot, plan.finalizers)

    async def _release_claim(self, key: str) -> None:
        claim = self._claims.get(key)
        if claim is None or CLAIM_FINALIZER not in (claim["metadata"].get("finalizers") or ()):
            return
        snapshots = self._snapshots.by_index(_BY_CLAIM, key)
        if not is_claim_needed((one, self._contents.get(content_name_of(one))) for one in snapshots):
            kept = [one for one in claim["metadata"]["finalizers"] if one != CLAIM_FINALIZER]
            await self._write_finalizers(PERSISTENT_VOLUME_CLAIMS, claim, kept)

    async def _write_finalizers(self, resource: Resource, obj: Object, finalizers: Iterable[str]) -> Object:
        metadata = {"resourceVersion": resource_version_of(obj), "finalizers": [*finalizers] or None}
        return await self.client.patch(resource, name_of(obj), {"metadata": metadata}, namespace_of(obj))

    # Contents.

    async def _reconcile_content(self, content: Object) -> None:
        step = plan_content_step(content)
        if step == "protect":
            finalizers = [*(content["metadata"].get("finalizers") or ()), CONTENT_FINALIZER]
            await self._write_finalizers(VOLUME_SNAPSHOT_CONTENTS, content, finalizers)
        elif step == "take":
            await self._learn(content, "SnapshotCreationFailed", "create snapshot", self._take)
        elif step == "look":
            reason = "SnapshotContentCheckandUpdateFailed"
            await self._learn(content, reason, "check and update snapshot content", self._look)
        elif step in ("remove", "release"):
            if step == "remove":
                await self._remove(content)
            kept = [one for one in content["metadata"]["finalizers"] if one != CONTENT_FINALIZER]
            await self._write_finalizers(VOLUME_SNAPSHOT_CONTENTS, content, kept)

    async def _learn(
        self, content: Object, reason: str, what: str, ask: Callable[[Object], Any]
    ) -> None:  # fmt: skip
        """Have the driver do something and write what it says into the status; an error is written and tried again."""
        try:
            facts: SnapshotFacts = await ask(content)
        except (OSError, ValueError) as error:
            message = f"Failed to {what}: {error}"
            if await self._write_error(VOLUME_SNAPSHOT_CONTENTS, content, message):
                self._event(content, reason, message)
            raise errors.ServiceUnavailable(message) from error
        status = {
            "snapshotHandle": handle_of(content),
            "creationTime": facts.creation_time,
            "restoreSize": facts.size_bytes,
            "readyToUse": True,
            "error": None,
        }
        await self.client.patch(VOLUME_SNAPSHOT_CONTENTS, name_of(content), {"status": status}, subresource="status")

    async def _take(self, content: Object) -> SnapshotFacts:
        handle, volume_name = handle_of(content), content["spec"]["source"]["volumeHandle"]
        volume = self._volumes.get(volume_name)
        if volume is None:
            raise ValueError(f"volume {volume_name} not found")
        return await self._driver.take(
            handle,
            volume_name,
            size_bytes=int_value(volume["spec"]["capacity"]["storage"]),
            volume_mode=volume["spec"].get("volumeMode") or "Filesystem",
        )

    async def _look(self, content: Object) -> SnapshotFacts:
        try:
            return await self._driver.find(handle_of(content))
        except FileNotFoundError:
            raise ValueError(f"snapshot {handle_of(content)} not found") from None

    async def _remove(self, content: Object) -> None:
        try:
            await self._driver.remove(handle_of(content))
        except (OSError, ValueError) as error:
            self._event(content, "SnapshotDeleteError", "Failed to delete snapshot")
            raise errors.ServiceUnavailable(f"Failed to delete snapshot: {error}") from error

    def _event(self, content: Object, reason: str, message: str) -> None:
        self.recorder.event(content, "Warning", reason, message, component=f"csi-snapshotter {self._driver_name}")


def _present(key: str) -> list[str]:
    return [key] if key else []
