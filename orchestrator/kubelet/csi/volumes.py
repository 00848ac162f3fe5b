"""Brings volumes of CSI drivers up for pods and down again, in the order that drivers count on.

Attached, staged once for the node, published for each pod; unpublished, and unstaged after the last one. What was begun
is on the disk before it begins (`records`), so whatever happens, it ends. Work on one volume is one after the other.
Mirrors pkg/volume/csi's attacher, mounter and block mapper.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from orchestrator.api import errors
from orchestrator.api.csi_volumes import attachment_name, needs_attachment
from orchestrator.api.objects import Object, namespace_of, uid_of
from orchestrator.api.resources import CSI_DRIVERS
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.csi.attachments import NodeAttachments, NotAttached
from orchestrator.kubelet.csi.credentials import RequestToken, read_secret, request_token
from orchestrator.kubelet.csi.drivers import CsiDrivers
from orchestrator.kubelet.csi.expansion import VolumeExpansion
from orchestrator.kubelet.csi.plan import (
    CsiVolume,
    Publication,
    Published,
    Staging,
    VolumePaths,
    VolumeUnusable,
    VolumeUse,
    check_lifecycle,
    driver_spec,
    gives_to_group,
    in_use_by_another,
    pod_info,
    token_texts,
    volume_paths,
    volume_use,
)
from orchestrator.kubelet.csi.records import VolumeRecord, all_records, records_of, remove_record, write_record
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import VolumeError
from orchestrator.kubelet.plugins.connection import PluginError
from orchestrator.kubelet.pod import spec_of
from orchestrator.kubelet.volumes.mounts import mounted_below
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.kubelet.csi.driver import CsiDriver

REPUBLISH_SECONDS = 60.0
"""How often a driver that asks for it (`requiresRepublish`) is called again."""
EXPANSION_RETRY_SECONDS = 30.0


class _Turn(Struct):
    """Whose turn it is on one volume."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class CsiVolumes:
    """Volumes of the pods of one node."""

    def __init__(
        self,
        *,
        client: Client,
        recorder: EventRecorder,
        drivers: CsiDrivers,
        attachments: NodeAttachments,
        paths: NodePaths,
        give_to_group: Callable[[Path, int, str], None],
        node_name: str,
    ) -> None:
        self._client = client
        self.drivers = drivers
        self._attachments = attachments
        self._paths = paths
        self._give_to_group = give_to_group
        self._node_name = node_name
        self._expansion = VolumeExpansion(client=client, recorder=recorder, node_name=node_name)
        self._published: dict[str, dict[str, Published]] = {}
        """By pod uid, then by volume name; what an earlier run did is looked up on the disk."""
        self._staged: set[str] = set()
        """By unique name."""
        self._turns: dict[str, _Turn] = {}
        self._log = get_logger("kubelet/csi", node=node_name)

    async def start(self) -> None:
        """Whenever the Node was registered: its CSINode, and what is in use on it. ApiError, OSError."""
        await self.drivers.start()
        found = await asyncio.to_thread(all_records, self._paths.kubelet_dir)
        await self._attachments.start((uid, record.unique_name) for uid, record in found if record.attachment_id)

    def paths_of(self, pod: Object, volume: CsiVolume) -> VolumePaths:
        """Where a volume is, or will be."""
        return volume_paths(
            self._paths.kubelet_dir,
            uid_of(pod),
            name=volume.name,
            driver=volume.driver,
            handle=volume.handle,
            is_block=volume.is_block,
        )

    # Up.

    async def set_up(
        self,
        pod: Object,
        volumes: Sequence[CsiVolume],
        token: RequestToken,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> float | None:
        """Have all these volumes; seconds until this is needed again. VolumeError names the first that fails.

        Within `waiting` a driver is waited for, which may be cut short: what it was asked is on record.
        """
        again: list[float] = []
        for volume in volumes:
            spec = driver_spec(await self._find(volume.driver))
            driver = await self._driver_for(pod, volume, spec)
            try:
                context = await self._attached(pod, volume, spec)
                async with self._alone(volume.unique_name):
                    await self._have(pod, volume, driver, spec, context, token, waiting)
                    published = self._published[uid_of(pod)][volume.pod_volume]
                    if not await self._expansion.grow(pod, volume, published, driver):
                        again.append(EXPANSION_RETRY_SECONDS)
            except (VolumeUnusable, errors.ApiError, OSError) as error:
                why = error.message if isinstance(error, errors.ApiError) else str(error)
                raise _failed("SetUp", volume, why) from error
            if spec.get("requiresRepublish"):
                again.append(REPUBLISH_SECONDS)
        return min(again, default=None)

    async def _find(self, name: str) -> Object | None:
        try:
            return await self._client.get(CSI_DRIVERS, name)
        except errors.NotFound:
            return None

    async def _driver_for(self, pod: Object, volume: CsiVolume, spec: Object) -> CsiDriver:
        try:
            check_lifecycle(volume, spec)
        except VolumeUnusable as error:
            raise _failed("SetUp", volume, f"kubernetes.io/csi: {error}") from error
        driver = self.drivers.get(volume.driver)
        if driver is None:
            self.drivers.wait_for(volume.driver, uid_of(pod))
            missing = f"driver name {volume.driver} not found in the list of registered CSI drivers"
            if volume.persistent is None:
                raise _failed(
                    "SetUp", volume, f"kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: {missing}"
                )
            why = f"kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: {missing}"
            raise _failed("MountDevice", volume, why)
        return driver

    async def _attached(self, pod: Object, volume: CsiVolume, spec: Object) -> Mapping[str, str]:
        if not _is_attached(volume, spec):
            return {}
        try:
            return await self._attachments.attached(uid_of(pod), volume)
        except NotAttached as error:
            # Who attaches tells the pod why it does not; here it only waits.
            raise VolumeError(
                f"Unable to attach or mount volumes: unmounted volumes=[{volume.pod_volume}], "
                f"unattached volumes=[{volume.pod_volume}], failed to process volumes=[]: {error}",
                retry=True,
                is_waiting=True,
            ) from error

    async def _have(
        self,
        pod: Object,
        volume: CsiVolume,
        driver: CsiDriver,
        spec: Object,
        context: Mapping[str, str],
        token: RequestToken,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        from orchestrator.kubelet.csi.driver import Capability

        uid = uid_of(pod)
        paths = self.paths_of(pod, volume)
        is_new = volume.pod_volume not in self._published.get(uid, {})
        if not is_new and not spec.get("requiresRepublish"):
            return
        others = await self._other_pods(volume.unique_name, uid)
        if why := in_use_by_another(volume, others):
            raise VolumeUnusable(why)
        try:
            capabilities = await driver.capabilities()
        except PluginError as error:
            raise self._refused("SetUp", uid, volume, error) from error
        group = (spec_of(pod).get("securityContext") or {}).get("fsGroup")
        is_delegated = Capability.VOLUME_MOUNT_GROUP in capabilities
        use = volume_use(
            volume,
            tells_writers=Capability.SINGLE_NODE_MULTI_WRITER in capabilities,
            mount_group=group if is_delegated else None,
        )
        is_known = await asyncio.to_thread(self._begin, volume, paths, _is_attached(volume, spec))
        stages = volume.persistent is not None and Capability.STAGE_UNSTAGE_VOLUME in capabilities
        staging_path = self._paths.on_node(paths.staging) if stages else ""
        if stages:
            await self._stage(uid, driver, volume, paths, use, context, waiting)
        is_published = is_known and await asyncio.to_thread(_is_mounted, paths.target)
        if not is_published or spec.get("requiresRepublish"):
            attributes, secrets = await self._tell_of_pod(pod, volume, spec, token)
            publication = Publication(
                use,
                self._paths.on_node(paths.target),
                staging_path,
                context,
                attributes,
                secrets,
                volume.read_only,
            )
            try:
                with waiting():
                    await driver.publish(publication)
            except PluginError as error:
                raise self._refused("MapPodDevice" if volume.is_block else "SetUp", uid, volume, error) from error
        if group is not None and is_new and not is_delegated and gives_to_group(volume, spec, group):
            policy = (spec_of(pod).get("securityContext") or {}).get("fsGroupChangePolicy") or "Always"
            try:
                await asyncio.to_thread(self._give_to_group, paths.target, group, policy)
            except OSError as error:
                raise _failed("SetUp", volume, f"applyFSGroup failed for vol {volume.handle}: {error}") from error
        known = Published(volume, use, self._paths.on_node(paths.target), staging_path)
        self._published.setdefault(uid, {})[volume.pod_volume] = known

    def _begin(self, volume: CsiVolume, paths: VolumePaths, is_attached: bool) -> bool:
        """Note what is about to be asked; whether an earlier run did. OSError."""
        is_known = paths.record_dir.is_dir()
        pod_dir = paths.record_dir.parents[2]
        pod_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_record(
            paths.record_dir,
            VolumeRecord(
                driver_name=volume.driver,
                volume_handle=volume.handle,
                spec_vol_id=volume.name,
                node_name=self._node_name,
                attachment_id=attachment_name(volume.driver, volume.handle, self._node_name) if is_attached else "",
                volume_lifecycle_mode="Ephemeral" if volume.persistent is None else "Persistent",
                volume_mode="Block" if volume.is_block else "Filesystem",
            ),
        )
        paths.target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        return is_known

    async def _stage(
        self,
        uid: str,
        driver: CsiDriver,
        volume: CsiVolume,
        paths: VolumePaths,
        use: VolumeUse,
        context: Mapping[str, str],
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        name = volume.unique_name
        if name in self._staged:
            return
        if not await asyncio.to_thread(_is_mounted, paths.staging):
            await asyncio.to_thread(paths.staging.mkdir, parents=True, exist_ok=True, mode=0o750)
            secrets = await read_secret(self._client, volume.source.get("nodeStageSecretRef"))
            attributes = volume.source.get("volumeAttributes") or {}
            staging = Staging(use, self._paths.on_node(paths.staging), context, attributes, secrets)
            try:
                with waiting():
                    await driver.stage(staging)
            except PluginError as error:
                step = "SetUpDevice" if volume.is_block else "MountDevice"
                raise self._refused(step, uid, volume, error) from error
        self._staged.add(name)

    async def _tell_of_pod(
        self, pod: Object, volume: CsiVolume, spec: Object, token: RequestToken
    ) -> tuple[dict[str, str], dict[str, str]]:
        """(volume context, secrets) of a publication."""
        reference = volume.source.get("nodePublishSecretRef")
        if reference and volume.persistent is None:
            reference = {**reference, "namespace": namespace_of(pod)}
        secrets = await read_secret(self._client, reference)
        attributes = dict(volume.source.get("volumeAttributes") or {})
        if spec.get("podInfoOnMount"):
            attributes |= pod_info(pod, is_inline=volume.persistent is None)
        texts = token_texts({one.get("audience") or "": await request_token(pod, one, token)
                             for one in spec.get("tokenRequests") or ()})  # fmt: skip
        if spec.get("serviceAccountTokenInSecrets"):
            return attributes, secrets | texts
        return attributes | texts, secrets

    # Down.

    async def tear_down(self, pod_uid: str) -> None:
        """Give back everything that a pod has. OSError, ApiError: something is left, to be tried again."""
        self.drivers.forget(pod_uid)
        if (self._paths.kubelet_dir / "pods" / pod_uid).is_dir():
            for record in await asyncio.to_thread(records_of, self._paths.kubelet_dir, pod_uid):
                async with self._alone(record.unique_name):
                    await self._give_back(pod_uid, record)
        await self._attachments.forget(pod_uid)
        self._published.pop(pod_uid, None)

    async def _give_back(self, pod_uid: str, record: VolumeRecord) -> None:
        from orchestrator.kubelet.csi.driver import Capability

        paths = record.paths(self._paths.kubelet_dir, pod_uid)
        driver = self.drivers.get(record.driver_name)
        if driver is None:
            self.drivers.wait_for(record.driver_name, pod_uid)
            missing = f"driver name {record.driver_name} not found in the list of registered CSI drivers"
            raise OSError(f'unmounting volume "{record.spec_vol_id}": {missing}')
        try:
            await driver.unpublish(record.volume_handle, self._paths.on_node(paths.target))
            await asyncio.to_thread(_remove_target, paths.target)
            is_last = not await self._other_pods(record.unique_name, pod_uid)
            if is_last and record.volume_lifecycle_mode == "Persistent":
                if Capability.STAGE_UNSTAGE_VOLUME in await driver.capabilities():
                    await driver.unstage(record.volume_handle, self._paths.on_node(paths.staging))
                    await asyncio.to_thread(_remove_staging, paths.staging)
                self._staged.discard(record.unique_name)
        except PluginError as error:
            self.drivers.wait_for(record.driver_name, pod_uid)
            raise OSError(f'unmounting volume "{record.spec_vol_id}": {error}') from error
        await self._attachments.release(pod_uid, record.unique_name)
        await asyncio.to_thread(remove_record, paths.record_dir)

    async def _other_pods(self, unique_name: str, pod_uid: str) -> list[str]:
        found = await asyncio.to_thread(all_records, self._paths.kubelet_dir)
        return [uid for uid, record in found if record.unique_name == unique_name and uid != pod_uid]

    def _refused(self, step: str, pod_uid: str, volume: CsiVolume, error: PluginError) -> VolumeError:
        """What a pod is told when its driver fails; it is tried again at once when another one registers."""
        self.drivers.wait_for(volume.driver, pod_uid)
        return _failed(step, volume, str(error))

    def published_for(self, pod_uid: str) -> list[tuple[CsiDriver, Published]]:
        """The volumes that a pod has, with their drivers as far as these are there."""
        found = []
        for known in self._published.get(pod_uid, {}).values():
            driver = self.drivers.get(known.volume.driver)
            if driver is not None:
                found.append((driver, known))
        return found

    @asynccontextmanager
    async def _alone(self, unique_name: str) -> AsyncIterator[None]:
        """One piece of work on a volume at a time."""
        turn = self._turns.setdefault(unique_name, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[unique_name]


def _is_attached(volume: CsiVolume, spec: Object) -> bool:
    """Whether a volume is attached to its node before it is used."""
    return volume.persistent is not None and needs_attachment({"spec": spec})


def _failed(step: str, volume: CsiVolume, why: str) -> VolumeError:
    kind = "MapVolume" if volume.is_block else "MountVolume"
    return VolumeError(f'{kind}.{step} failed for volume "{volume.name}" : {why}', retry=True)


def _is_mounted(path: Path) -> bool:
    real = os.path.realpath(path)
    return real in mounted_below(Path(real))


def _remove_target(target: Path) -> None:
    """What a driver left of a published volume; OSError when it still shows it."""
    if _is_mounted(target):
        raise OSError(f"the driver left {target} mounted")
    if target.is_dir() and not target.is_symlink():
        target.rmdir()
    else:
        target.unlink(missing_ok=True)


def _remove_staging(staging: Path) -> None:
    if staging.is_dir():
        staging.rmdir()  # OSError when the driver left something in it
    if staging.name == "globalmount" and staging.parent.is_dir():
        staging.parent.rmdir()
