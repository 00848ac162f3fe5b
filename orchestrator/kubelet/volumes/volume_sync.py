"""What the volumes and the environment of a pod are made of, read from the API, and volumes brought up to date.

Owns the subscriptions to ConfigMaps and Secrets. Never touches files itself (`volumes`). Mirrors the kubelet's volume
manager and its managers of ConfigMaps and Secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from orchestrator.client.client import Client
from orchestrator.kubelet.containers.environment import EnvironmentSources, references_of
from orchestrator.kubelet.csi.plan import CsiVolume, claimed_volume, inline_volume
from orchestrator.kubelet.csi.volumes import CsiVolumes
from orchestrator.kubelet.parts import NodeFacts, PodFiles, SyncResult, VolumeError
from orchestrator.kubelet.pod import all_containers_of, spec_of, volumes_in_use
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.runtime import Sandbox
from orchestrator.kubelet.sources import Notify, Sources, read_all
from orchestrator.kubelet.status.reporter import PodReporter
from orchestrator.kubelet.volumes.claims import (
    BLOCK,
    MOUNTED,
    ClaimError,
    bound_volume_of,
    check_bound,
    check_mode,
    claim_names_of,
    is_at_hand,
    is_of_driver,
    plan_bound_volume,
)

PATIENCE_SECONDS = 123.0
"""After so long a pod is told that it waits for its volumes, as by Kubernetes' kubelet."""


class VolumeSync:
    """Volumes of the pods of one node."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        sources: Sources,
        files: PodFiles | None,
        reporter: PodReporter,
        notify: Notify,
        facts: NodeFacts,
        node_name: str,
        known_node: Callable[[], Object | None],
        csi: CsiVolumes | None = None,
    ) -> None:
        """`known_node` is the Node as last seen; without `csi` no driver can register with it."""
        self._client = client
        self._clock = clock
        self._sources = sources
        self._files = files
        self._reporter = reporter
        self._notify = notify
        self._facts = facts
        self._node_name = node_name
        self._known_node = known_node
        self._csi = csi
        self._waiting_since: dict[str, float] = {}
        """By pod uid: since when somebody else is waited for, monotonic."""

    async def set_up(self, record: PodRecord, sandbox: Sandbox | None, result: SyncResult) -> bool:
        """Volumes first: a container never starts without its files. False when they have to be tried again."""
        if self._files is None and not has_checked_volumes(record.pod):
            return True
        epoch = record.epoch
        try:
            sources = await self.read_sources(record, sandbox)
            if self._files is not None:
                await self.write(record, sources, epoch)
            else:
                _check_volumes(record.pod, sources)
                record.volumes_epoch = epoch
        except VolumeError as error:
            if not error.is_waiting or self._has_waited(record.uid):
                self._reporter.event(record.pod, "Warning", "FailedMount", str(error))
            if error.retry or epoch != record.epoch:
                result.retry = True
            return False
        self._waiting_since.pop(record.uid, None)
        return True

    def _has_waited(self, uid: str) -> bool:
        """Whether somebody else has taken longer than it should."""
        now = self._clock.monotonic()
        return now - self._waiting_since.setdefault(uid, now) >= PATIENCE_SECONDS

    async def write(self, record: PodRecord, sources: EnvironmentSources, epoch: int) -> None:
        """All volumes as they should be at this epoch, with a wake-up for what expires (tokens)."""
        assert self._files is not None
        again = []
        if sources.csi and self._csi is not None:
            again.append(await self._csi.set_up(record.pod, sources.csi, self._token, record.interruptibly))
        again.append(await self._files.set_up(record.pod, sources, token=self._token))
        refresh_seconds = min((seconds for seconds in again if seconds is not None), default=None)
        record.volumes_epoch = epoch
        record.refresh_at = None
        if refresh_seconds is not None:
            record.refresh_at = self._clock.now() + timedelta(seconds=refresh_seconds)

    async def _token(self, request: Object) -> Object:
        """A TokenRequest; `request` carries namespace and service account in its metadata."""
        metadata = request["metadata"]
        body = {key: value for key, value in request.items() if key != "metadata"}
        return await self._client.create(
            SERVICE_ACCOUNTS, body, metadata["namespace"], name=metadata["name"], subresource="token"
        )

    async def read_sources(self, record: PodRecord, sandbox: Sandbox | None) -> EnvironmentSources:
        """ConfigMaps and Secrets of the pod as they are now, with a subscription to what happens to them later."""
        pod = record.pod
        namespace = namespace_of(pod)
        config_maps, secrets = volume_references(pod, hollow=self._files is None)
        for _, container in all_containers_of(pod):
            more_maps, more_secrets = references_of(container)
            config_maps |= more_maps
            secrets |= more_secrets
        claims = claim_names_of(pod) if self._files is not None else {}
        if config_maps or secrets or claims:
            self._sources.refer(
                self._notify,
                record.uid,
                [(CONFIG_MAPS, f"{namespace}/{name}") for name in config_maps]
                + [(SECRETS, f"{namespace}/{name}") for name in secrets]
                + [(PERSISTENT_VOLUME_CLAIMS, f"{namespace}/{name}") for name in claims.values()],
            )
        bound, csi = await self._bound_volumes(pod) if self._files is not None else ({}, [])
        return EnvironmentSources(
            config_maps=await read_all(self._client, CONFIG_MAPS, namespace, config_maps) if config_maps else {},
            secrets=await read_all(self._client, SECRETS, namespace, secrets) if secrets else {},
            services=self._sources.services(namespace) if self._files is not None else (),
            pod_ips=self._reporter.ips_of(pod, sandbox),
            host_ips=self._facts.identity.ips,
            node_name=self._node_name,
            allocatable=self._facts.allocatable,
            bound=bound,
            csi=csi,
        )

    async def _bound_volumes(self, pod: Object) -> tuple[dict[str, Object], list[CsiVolume]]:
        """What the claims and inline volumes of a pod stand for, by volume name, and those of CSI drivers.

        VolumeError until all claims are bound.
        """
        names = claim_names_of(pod)
        claims = await read_all(self._client, PERSISTENT_VOLUME_CLAIMS, namespace_of(pod), names.values())
        bound: dict[str, Object] = {}
        csi: list[CsiVolume] = []
        try:
            for volume in volumes_in_use(pod):
                if volume.get("csi") is not None and self._csi is not None:
                    csi.append(inline_volume(pod, volume))
                    bound[volume["name"]] = self._mounted(pod, csi[-1])
                if volume["name"] not in names:
                    continue
                claim = claims[names[volume["name"]]]
                name = bound_volume_of(pod, volume, claim)
                assert claim is not None
                found = await read_all(self._client, PERSISTENT_VOLUMES, "", [name])
                persistent = found[name]
                if persistent is not None and is_of_driver(persistent) and self._csi is not None:
                    check_bound(volume, claim, persistent)
                    csi.append(claimed_volume(volume, claim, persistent))
                    bound[volume["name"]] = self._mounted(pod, csi[-1])
                else:
                    bound[volume["name"]] = plan_bound_volume(volume, claim, persistent)
                self._check_volume(pod, volume, persistent)
        except ClaimError as error:
            raise VolumeError(str(error), retry=True) from error
        return bound, csi

    def _mounted(self, pod: Object, volume: CsiVolume) -> Object:
        """A volume as it is once its driver has published it."""
        assert self._csi is not None
        target = str(self._csi.paths_of(pod, volume).target)
        return {
            "name": volume.pod_volume,
            BLOCK if volume.is_block else MOUNTED: target,
            "readOnly": volume.read_only,
        }

    def _check_volume(self, pod: Object, volume: Object, persistent: Object | None) -> None:
        assert persistent is not None
        check_mode(pod, volume, persistent)
        node = self._known_node()
        if node is not None and not is_at_hand(persistent, node):
            failed = f'MountVolume.NodeAffinity check failed for volume "{name_of(persistent)}" : '
            raise VolumeError(failed + "no matching NodeSelectorTerms", retry=True)

    def forget(self, uid: str) -> None:
        """The pod is over: what it refers to may change."""
        self._sources.refer(self._notify, uid, ())
        self._waiting_since.pop(uid, None)

    async def tear_down(self, uid: str) -> None:
        """Remove everything of a pod, what drivers gave it first. OSError, ApiError: something is left."""
        if self._csi is not None:
            await self._csi.tear_down(uid)
        if self._files is not None:
            await self._files.tear_down(uid)


_API_ACCESS = "kube-api-access-"
"""The volume that admission gives to every pod.

Simplified: a hollow node does not wait for its ConfigMap `kube-root-ca.crt`, so that a cluster without
controllers runs hollow pods.
"""


def has_checked_volumes(pod: Object) -> bool:
    """Whether a hollow node has to look at the volumes of a pod."""
    return any(not volume["name"].startswith(_API_ACCESS) for volume in spec_of(pod).get("volumes") or ())


def volume_references(pod: Object, *, hollow: bool = False) -> tuple[set[str], set[str]]:
    """Names of (ConfigMaps, Secrets) that the volumes of a pod show."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for volume in volumes_in_use(pod):
        if hollow and volume["name"].startswith(_API_ACCESS):
            continue
        parts = (volume.get("projected") or {}).get("sources") or [volume]
        for part in parts:
            if part.get("configMap") is not None:
                config_maps.add(part["configMap"].get("name") or "")
            if part.get("secret") is not None:
                secrets.add(part["secret"].get("secretName") or part["secret"].get("name") or "")
    return config_maps, secrets


def _check_volumes(pod: Object, sources: EnvironmentSources) -> None:
    """On a node without files: a missing ConfigMap or Secret holds the pod back all the same."""
    for volume in volumes_in_use(pod):
        if volume["name"].startswith(_API_ACCESS):
            continue
        parts = (volume.get("projected") or {}).get("sources") or [volume]
        for part in parts:
            for field, kind, known in (
                ("configMap", "configmap", sources.config_maps),
                ("secret", "secret", sources.secrets),
            ):
                source = part.get(field)
                if source is None or source.get("optional"):
                    continue
                name = source.get("name") or source.get("secretName") or ""
                if known.get(name) is None:
                    raise VolumeError(
                        f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind} "{name}" not found'
                    )
