"""The files of a node's pods: volumes, /etc files, termination messages, all under one directory.

    <state_dir>/pods/<uid>/                       0700: only we (and bind mounts) get in
      volumes/kubernetes.io~<plugin>/<volume>/    what containers see
      volume-subpaths/<volume>/<container>/<n>    bind mounts of sub-paths
      containers/<container>/<attempt>            termination messages
      etc-hosts  etc-hostname  resolv.conf

Owns writing, mounting and removing them, in a thread, since disks may be slow. Never reads the API:
sources come in. Mirrors pkg/volume/* and pkg/kubelet/volumemanager.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock, parse_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.api.quantity import int_value
from orchestrator.component.usage import ClaimUsage, DiskUsage
from orchestrator.kubelet.containers.env_files import FILE_BYTES_MAX
from orchestrator.kubelet.containers.environment import (
    ConfigurationError,
    EnvironmentSources,
    env_file_references,
    expand,
)
from orchestrator.kubelet.containers.spec import domain_of, hostname_of, kernel_hostname
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import VolumeError
from orchestrator.kubelet.pod import all_containers_of, is_host_network, spec_of, volumes_in_use
from orchestrator.kubelet.resources.pod_resources import pod_limits
from orchestrator.kubelet.runtime import Container, Mount, MountKind
from orchestrator.kubelet.stats.disk import file_system_usage, tree_usage
from orchestrator.kubelet.volumes.atomic import UnsafePath, write_payload
from orchestrator.kubelet.volumes.block_volumes import map_device, mapped_device, unmap_devices
from orchestrator.kubelet.volumes.claims import BLOCK, DOCKER_VOLUME, MOUNTABLE, MOUNTED, claim_names_of
from orchestrator.kubelet.volumes.device_mounts import mount_device
from orchestrator.kubelet.volumes.etc_files import hosts_file, is_stub_resolver, resolver_config
from orchestrator.kubelet.volumes.mounts import (
    UnsafeSubPath,
    bind_descriptor,
    mount_layers,
    mount_tmpfs,
    open_beneath,
    share_mount,
    unmount_below,
)
from orchestrator.kubelet.volumes.ownership import OWN_RIGHTS, Ownership
from orchestrator.kubelet.volumes.payload import (
    FileContent,
    Payload,
    PayloadError,
    TokenWish,
    is_secret,
    is_written,
    plan_payload,
    token_wishes,
)
from orchestrator.logs import get_logger

TERMINATION_MESSAGE_PATH = "/dev/termination-log"
TOKEN_REFRESH_SHARE = 0.8
TOKEN_REFRESH_MAX_SECONDS = 24 * 3600.0
NODE_FILE_BYTES_MAX = 1 << 16
_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}
_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "projected": "projected",
    "downwardAPI": "downward-api",
    "image": "image",
}


class PodVolumes:
    """Implements `parts.PodFiles` for one node."""

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        node_name: str,
        cluster_domain: str = "cluster.local",
        cluster_dns: str | Sequence[str] = (),
        resolv_conf: Path = Path("/etc/resolv.conf"),
        resolved_conf: Path = Path("/run/systemd/resolve/resolv.conf"),
        ownership: Ownership = OWN_RIGHTS,
        paths: NodePaths | None = None,
    ) -> None:
        """`cluster_dns` are the addresses of the cluster's DNS service; empty: pods use the node's.

        `paths`: what paths of the node mean; by default `state_dir` is its kubelet directory.
        """
        self._paths = paths or NodePaths(kubelet_dir=state_dir)
        self._pods = state_dir / "pods"
        self._clock = clock
        self._node_name = node_name
        self._cluster_domain = cluster_domain
        self._cluster_dns = [cluster_dns] if isinstance(cluster_dns, str) else [*cluster_dns]
        self._cluster_dns = [address for address in self._cluster_dns if address]
        self._resolv_conf = resolv_conf
        self._resolved_conf = resolved_conf
        self._tokens: dict[tuple[str, TokenWish], tuple[str, float]] = {}
        """(pod uid, wish) → token and the monotonic time from which on it is replaced."""
        self._claims: dict[str, tuple[tuple[str, str, Path], ...]] = {}
        """By pod uid: volume, claim, and where its files are."""
        self._stamps = 0
        self._ownership = ownership
        self._log = get_logger("kubelet/volumes", node=node_name)

    def pod_dir(self, uid: str) -> Path:
        """The directory of one pod."""
        return self._pods / uid

    async def usage(self, pod_uids: Sequence[str]) -> tuple[DiskUsage, Mapping[str, tuple[tuple[str, DiskUsage], ...]]]:
        """The file system of the pods, and what each pod's emptyDirs hold, by volume; slow."""
        return await asyncio.to_thread(self._measure, pod_uids)

    def _measure(self, pod_uids: Sequence[str]) -> tuple[DiskUsage, Mapping[str, tuple[tuple[str, DiskUsage], ...]]]:
        self._pods.mkdir(parents=True, exist_ok=True)
        found = {}
        for uid in pod_uids:
            folder = self.pod_dir(uid) / "volumes" / "kubernetes.io~empty-dir"
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            found[uid] = tuple((name, tree_usage(folder / name)) for name in names)
        return file_system_usage(self._pods), found

    async def claim_usage(self, pod_uids: Sequence[str]) -> Mapping[str, tuple[ClaimUsage, ...]]:
        """The file systems behind each pod's claims; a volume that is gone is left out."""
        claims = {uid: self._claims[uid] for uid in pod_uids if uid in self._claims}
        return await asyncio.to_thread(_measure_claims, claims) if claims else {}

    def _claimed_folders(self, pod: Object, sources: EnvironmentSources) -> Iterator[tuple[str, str, Path]]:
        for volume, claim in claim_names_of(pod).items():
            bound = sources.bound.get(volume) or {}
            source = bound.get("local") or bound.get("hostPath")
            if source:
                mounted = _local_dir(self.pod_dir(uid_of(pod)), volume)
                yield volume, claim, mounted if mounted.is_dir() else self._paths.on_machine(source["path"])

    # Volumes.

    async def set_up(
        self, pod: Object, sources: EnvironmentSources, *, token: Callable[[Object], Awaitable[Object]]
    ) -> float | None:
        """Bring all volumes of a pod up to date; seconds until a token must be replaced.

        VolumeError names the first volume that cannot be set up.
        """
        payloads: dict[str, Payload] = {}
        refresh_at: float | None = None
        for volume in volumes_in_use(pod):
            if not is_written(volume):
                continue
            tokens: dict[TokenWish, str] = {}
            for wish in token_wishes(volume):
                tokens[wish], again = await self._token(pod, volume["name"], wish, token)
                refresh_at = again if refresh_at is None else min(again, refresh_at)
            try:
                payloads[volume["name"]] = plan_payload(pod, volume, sources, tokens)
            except PayloadError as error:
                raise _failed(volume["name"], str(error)) from error
        await asyncio.to_thread(self._set_up, pod, payloads, sources)
        if claims := tuple(self._claimed_folders(pod, sources)):
            self._claims[uid_of(pod)] = claims
        return None if refresh_at is None else max(1.0, refresh_at - self._clock.monotonic())

    async def _token(
        self, pod: Object, volume_name: str, wish: TokenWish, request: Callable[[Object], Awaitable[Object]]
    ) -> tuple[str, float]:
        key = (uid_of(pod), wish)
        known = self._tokens.get(key)
        now = self._clock.monotonic()
        if known is not None and now < known[1]:
            return known
        spec: Object = {
            "expirationSeconds": wish.seconds,
            "audiences": [wish.audience] if wish.audience else [],
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name_of(pod), "uid": uid_of(pod)},
        }
        account = spec_of(pod).get("serviceAccountName") or "default"
        try:
            answer = await request(
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "metadata": {"namespace": namespace_of(pod), "name": account},
                    "spec": spec,
                }
            )
        except errors.ApiError as error:
            raise _failed(volume_name, f"failed to fetch token: {error.message}", retry=True) from error
        status = answer.get("status") or {}
        seconds = float(wish.seconds)
        if status.get("expirationTimestamp"):
            seconds = (parse_time(status["expirationTimestamp"]) - self._clock.now()).total_seconds()
        again = now + min(seconds * TOKEN_REFRESH_SHARE, TOKEN_REFRESH_MAX_SECONDS)
        self._tokens[key] = (str(status.get("token") or ""), again)
        return self._tokens[key]

    def _set_up(self, pod: Object, payloads: Mapping[str, Payload], sources: EnvironmentSources) -> None:
        directory = self.pod_dir(uid_of(pod))
        self._pods.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.mkdir(exist_ok=True, mode=0o700)
        context = spec_of(pod).get("securityContext") or {}
        group = context.get("fsGroup")
        for volume in _volumes_of(pod, sources):
            name = volume["name"]
            try:
                if name in payloads:
                    self._write(directory, volume, payloads[name], group)
                elif volume.get("emptyDir") is not None:
                    self._empty_dir(directory, pod, volume, group, sources.allocatable)
                elif volume.get("hostPath") is not None:
                    _check_host_path(volume["hostPath"], self._paths)
                elif volume.get("local") is not None:
                    path = self._local(directory, volume)
                    if group is not None and not volume.get("readOnly"):
                        policy = context.get("fsGroupChangePolicy") or "Always"
                        self._ownership.give_to_group(path, group, policy)
                elif volume.get(BLOCK) is not None:
                    map_device(directory, name, Path(volume[BLOCK]))
                elif all(volume.get(kind) is None for kind in ("image", DOCKER_VOLUME, MOUNTED)):
                    # What is left is mounted with the first container that needs it, or was by a driver.
                    kinds = ", ".join(key for key in volume if key != "name")
                    raise _failed(name, f"no volume plugin matched: {kinds}")
            except (OSError, UnsafePath) as error:
                raise _failed(name, str(error), retry=isinstance(error, OSError)) from error

    def _local(self, directory: Path, volume: Object) -> Path:
        """Where the files of a local volume are: in its directory, or on its device, which is mounted for the pod."""
        path = Path(os.path.realpath(self._paths.on_machine(volume["local"]["path"])))
        if path.is_block_device():
            target = _local_dir(directory, volume["name"])
            target.mkdir(parents=True, exist_ok=True)
            mount_device(path, target, volume["local"].get("fsType") or "")
            return target
        _check_local(path)
        return path

    def _volume_dir(self, directory: Path, volume: Object) -> Path:
        plugin = next(plugin for kind, plugin in _PLUGINS.items() if volume.get(kind) is not None)
        return directory / "volumes" / f"kubernetes.io~{plugin}" / str(volume["name"])

    def _write(self, directory: Path, volume: Object, payload: Payload, group: int | None) -> None:
        target = self._volume_dir(directory, volume)
        target.mkdir(parents=True, exist_ok=True)
        if is_secret(volume):
            self._keep_in_memory(target)
        self._stamps += 1
        stamp = f"{self._clock.now().strftime('%Y_%m_%d_%H_%M_%S.%f')}{os.getpid()}{self._stamps}"
        if not self._ownership.gives_to_users:
            payload = {path: _for_all_users(content) for path, content in payload.items()}
        write_payload(target, payload, stamp=stamp, group=group, ownership=self._ownership)
        # The rights of the emptyDir that kubelets keep such files in; containers have it read-only.
        mode = 0o1777 if is_secret(volume) else 0o777
        os.chmod(target, mode if group is None else mode | stat.S_ISGID)
        if group is not None:
            self._ownership.chown(target, -1, group)

    def _keep_in_memory(self, target: Path) -> None:
        try:
            mount_tmpfs(target)
        except PermissionError:
            # Without the right to mount, the 0700 directory of the pod has to be enough.
            self._log.info("volume.secret_on_disk", path=str(target))

    def _empty_dir(
        self, directory: Path, pod: Object, volume: Object, group: int | None, allocatable: Mapping[str, str]
    ) -> None:
        target = self._volume_dir(directory, volume)
        source = volume["emptyDir"] or {}
        medium = source.get("medium") or ""
        if medium not in ("", "Memory"):
            raise OSError(f"emptyDir medium {medium} is not supported on this node")
        mode = 0o777 if group is None else 0o2777
        if not target.exists():
            self._make_shared(directory, target, mode, group)
        if medium == "Memory":
            size_bytes = memory_volume_bytes(pod, source, allocatable)
            try:
                mount_tmpfs(target, size_bytes=size_bytes, mode=mode, group=group)
            except PermissionError as error:
                raise _failed(
                    volume["name"], "an emptyDir in memory needs root rights, which this node does not have"
                ) from error
        if _is_propagated(pod, str(volume["name"])):
            share_mount(target)

    def _make_shared(self, directory: Path, target: Path, mode: int, group: int | None) -> None:
        """A directory for every user, which appears with its rights: afterwards they are the containers' own affair."""
        unfinished = directory / "volumes" / f"..{target.name}"
        if unfinished.is_dir():
            unfinished.rmdir()  # of a process that was killed
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        os.chmod(unfinished, mode)  # before the group, which not everybody may set setgid for
        if group is not None:
            self._ownership.chown(unfinished, -1, group)
        unfinished.rename(target)

    # One container's view.

    async def mounts_of(
        self,
        pod: Object,
        container: Object,
        attempt: int,
        sources: EnvironmentSources,
        environment: Mapping[str, str],
    ) -> list[Mount]:
        """The mounts of one container; ConfigurationError when a sub-path is not acceptable."""
        return await asyncio.to_thread(self._mounts_of, pod, container, attempt, sources, environment)

    async def env_files_of(self, pod: Object, container: Object) -> dict[tuple[str, str], str | None]:
        """The environment files that a container reads, by volume name and path; None for one that is not there."""
        references = env_file_references(container)
        return await asyncio.to_thread(self._env_files, pod, references) if references else {}

    def _env_files(self, pod: Object, references: set[tuple[str, str]]) -> dict[tuple[str, str], str | None]:
        volumes = {volume["name"]: volume for volume in spec_of(pod).get("volumes") or ()}
        found: dict[tuple[str, str], str | None] = {}
        for name, path in references:
            volume = volumes.get(name) or {}
            if volume.get("emptyDir") is None:
                raise ConfigurationError(f'environment files have to be in an emptyDir volume, "{name}" is none')
            try:
                descriptor = open_beneath(self._volume_dir(self.pod_dir(uid_of(pod)), volume), path, create=False)
            except FileNotFoundError:
                found[name, path] = None
                continue
            except (OSError, UnsafeSubPath) as error:
                raise ConfigurationError(f'environment variable file "{path}": {error}') from error
            try:
                found[name, path] = _read_env_file(descriptor, path)
            finally:
                os.close(descriptor)
        return found

    def _mounts_of(
        self,
        pod: Object,
        container: Object,
        attempt: int,
        sources: EnvironmentSources,
        environment: Mapping[str, str],
    ) -> list[Mount]:
        directory = self.pod_dir(uid_of(pod))
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        volumes = {volume["name"]: volume for volume in _volumes_of(pod, sources)}
        mounts: list[Mount] = []
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            volume = volumes.get(mount["name"])
            if volume is None:
                raise ConfigurationError(f'cannot find volume "{mount["name"]}" to mount into container')
            if volume.get(BLOCK) is not None:
                raise ConfigurationError(
                    f"volume {mount['name']} has volumeMode Block, but is specified in volumeMounts"
                )
            if handle := volume.get(DOCKER_VOLUME):
                mounts.append(_engine_mount(str(handle), volume, mount))
                continue
            base = self._base_of(directory, volume, sources)
            mounts.append(self._volume_mount(directory, base, volume, container["name"], number, mount, environment))
        mounts += [_device_mount(directory, volumes, one) for one in container.get("volumeDevices") or ()]
        taken = {mount.target.rstrip("/") for mount in mounts}
        for target, source in self._etc_files(directory, pod, sources):
            if target not in taken:
                mounts.append(Mount(str(source), target))
        message_path = container.get("terminationMessagePath") or TERMINATION_MESSAGE_PATH
        if message_path not in taken:
            mounts.append(Mount(str(self._message_file(directory, container["name"], attempt)), message_path))
        return mounts

    def _volume_mount(
        self,
        directory: Path,
        base: Path,
        volume: Object,
        container_name: str,
        number: int,
        mount: Object,
        environment: Mapping[str, str],
    ) -> Mount:
        if mount.get("recursiveReadOnly") == "Enabled":
            raise ConfigurationError(
                f'volumeMount "{mount["name"]}": the container runtime does not support recursive read-only mounts'
            )
        subpath = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            subpath = expand(mount["subPathExpr"], environment)
        if subpath:
            base = self._sub_path(directory, volume["name"], container_name, number, base, subpath)
        if volume.get("image") is not None:
            # Read-only by itself and without programs; a runtime that makes it read-only again would lose the latter.
            return Mount(str(base), mount["mountPath"], propagation="")
        return Mount(
            source=str(base),
            target=mount["mountPath"],
            read_only=bool(mount.get("readOnly") or volume.get("readOnly")) or is_written(volume),
            propagation=_PROPAGATION.get(mount.get("mountPropagation") or "", ""),
        )

    def _base_of(self, directory: Path, volume: Object, sources: EnvironmentSources) -> Path:
        """Where the files of a volume are on this machine."""
        if volume.get(MOUNTED) is not None:
            return Path(volume[MOUNTED])
        for kind in MOUNTABLE:
            if volume.get(kind) is not None:
                mounted = _local_dir(directory, volume["name"])
                return mounted if kind == "local" and mounted.is_dir() else self._paths.on_machine(volume[kind]["path"])
        target = self._volume_dir(directory, volume)
        if volume.get("image") is not None:
            layers = sources.images[volume["name"]].layers
            if not layers:
                raise ConfigurationError(
                    "image volumes need an Engine with the storage driver overlay2, or 28 or newer with containerd's"
                )
            target.mkdir(parents=True, exist_ok=True)
            try:
                mount_layers(target, layers)
            except OSError as error:
                raise ConfigurationError(f'failed to mount the image of volume "{volume["name"]}": {error}') from error
        return target

    def _sub_path(
        self, directory: Path, volume_name: str, container_name: str, number: int, base: Path, subpath: str
    ) -> Path:
        target = directory / "volume-subpaths" / volume_name / container_name / str(number)
        try:
            unmount_below(target)  # a restarted container sees what the path leads to now
            descriptor = open_beneath(base, subpath)
        except (OSError, UnsafeSubPath) as error:
            raise ConfigurationError(
                f'failed to prepare subPath for volumeMount "{volume_name}" of container "{container_name}": {error}'
            ) from error
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            _prepare_target(target, is_directory=stat.S_ISDIR(os.fstat(descriptor).st_mode))
            try:
                bind_descriptor(descriptor, target)
            except PermissionError:
                return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        finally:
            os.close(descriptor)
        return target

    def _etc_files(self, directory: Path, pod: Object, sources: EnvironmentSources) -> list[tuple[str, Path]]:
        """(path in the container, file here); written in place, because containers hold the file itself."""
        hostname, domain = hostname_of(pod, self._node_name), domain_of(pod, self._cluster_domain)
        node_hosts = _read_node_file(Path("/etc/hosts")) if is_host_network(pod) else None
        aliases = spec_of(pod).get("hostAliases") or ()
        contents = {
            "/etc/hosts": hosts_file(sources.pod_ips, hostname, domain, aliases, node_hosts=node_hosts),
            "/etc/hostname": kernel_hostname(pod, self._node_name, self._cluster_domain) + "\n",
            "/etc/resolv.conf": resolver_config(
                pod,
                cluster_dns=self._cluster_dns,
                cluster_domain=self._cluster_domain,
                node_config=_read_resolver_config(self._resolv_conf, self._resolved_conf),
            ),
        }
        files = []
        for target, content in contents.items():
            path = directory / target.removeprefix("/").replace("/", "-")
            _write_in_place(path, content)
            files.append((target, path))
        return files

    # Termination messages.

    def _message_file(self, directory: Path, container_name: str, attempt: int) -> Path:
        folder = directory / "containers" / container_name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / str(attempt)
        if not path.exists():
            path.touch()
            os.chmod(path, 0o666)
        return path

    def termination_message(self, pod_uid: str, container: Container, bytes_max: int) -> str:
        """What a dead container wrote; at most this many bytes, empty when it wrote nothing."""
        path = self.pod_dir(pod_uid) / "containers" / container.name / str(container.attempt)
        try:
            # The container could write to the file and nothing else here, so it cannot be a link.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            return os.read(descriptor, bytes_max).decode(errors="replace")
        finally:
            os.close(descriptor)

    # The end.

    def give_to_group(self, path: Path, group: int, policy: str) -> None:
        """Give files to a pod's fsGroup; blocking. OSError."""
        self._ownership.give_to_group(path, group, policy)

    def pod_uids(self) -> list[str]:
        """The pods of which there are files; blocking."""
        return sorted(path.name for path in self._pods.iterdir()) if self._pods.is_dir() else []

    async def tear_down(self, pod_uid: str) -> None:
        """Unmount and remove everything of a pod; OSError when something stays, to be tried again."""
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]
        self._claims.pop(pod_uid, None)
        await asyncio.to_thread(self._tear_down, self.pod_dir(pod_uid))

    def _tear_down(self, directory: Path) -> None:
        unmap_devices(directory, self._pods.parent.parent)
        _remove(directory, self._ownership)


def _for_all_users(content: FileContent) -> FileContent:
    """A file that belongs to no user of the pod, and is therefore readable for all of them.

    Simplified: with root rights a token belongs to the user whom the pod runs as.
    """
    return content if content.user is None else replace(content, user=None, mode=content.mode | 0o044)


def _remove(directory: Path, ownership: Ownership) -> None:
    if not directory.is_dir():
        return
    # Only when nothing is mounted any more may anything be deleted: a bind mount leads to somebody's data.
    unmount_below(directory)
    ownership.remove(directory)


def remove_all(state_dir: Path) -> None:
    """Remove the files of all pods of a node, also of a process that was killed; for `down`."""
    _remove(state_dir / "pods", OWN_RIGHTS)


def _engine_mount(handle: str, volume: Object, mount: Object) -> Mount:
    """The mount of a volume that the Engine brings along; its files are nowhere before that."""
    for field in ("subPath", "subPathExpr", "mountPropagation"):
        if mount.get(field) and mount[field] != "None":
            raise ConfigurationError(f'volumeMount "{mount["name"]}": {field} is not supported for Docker volumes')
    read_only = bool(mount.get("readOnly") or volume.get("readOnly"))
    return Mount(handle, mount["mountPath"], read_only=read_only, kind=MountKind.VOLUME)


def _device_mount(directory: Path, volumes: Mapping[str, Object], wanted: Object) -> Mount:
    """A volume as a device of a container."""
    name = wanted["name"]
    volume = volumes.get(name)
    if volume is None:
        raise ConfigurationError(f'cannot find volume "{name}" to map into container')
    if volume.get(BLOCK) is None:
        raise ConfigurationError(f"volume {name} has volumeMode Filesystem, but is specified in volumeDevices")
    device = mapped_device(directory, name)
    if device is None:
        raise ConfigurationError(f'volume "{name}" has no device yet')
    return Mount(str(device), wanted["devicePath"], read_only=bool(volume.get("readOnly")), kind=MountKind.DEVICE)


def _failed(volume_name: str, why: str, *, retry: bool = False) -> VolumeError:
    return VolumeError(f'MountVolume.SetUp failed for volume "{volume_name}" : {why}', retry=retry)


def memory_volume_bytes(pod: Object, source: Object, allocatable: Mapping[str, str]) -> int:
    """How large an emptyDir in memory may grow: the least of its limit, its pod's and the node's (KEP-1967)."""
    bounds = [int_value(bound) for bound in (source.get("sizeLimit"), allocatable.get("memory")) if bound]
    limit = pod_limits(pod).get("memory")
    return min(bounds if limit is None else [*bounds, limit], default=0)


def _is_propagated(pod: Object, volume_name: str) -> bool:
    return any(
        mount["name"] == volume_name and (mount.get("mountPropagation") or "None") != "None"
        for _, container in all_containers_of(pod)
        for mount in container.get("volumeMounts") or ()
    )


def _volumes_of(pod: Object, sources: EnvironmentSources) -> list[Object]:
    """The volumes of a pod, with what its claims stand for in their place."""
    return [sources.bound.get(volume["name"], volume) for volume in volumes_in_use(pod)]


def _local_dir(pod_dir: Path, volume_name: str) -> Path:
    """Where a local volume is mounted that is a device."""
    return pod_dir / "volumes" / "kubernetes.io~local-volume" / volume_name


def _measure_claims(claims: Mapping[str, tuple[tuple[str, str, Path], ...]]) -> dict[str, tuple[ClaimUsage, ...]]:
    found: dict[str, tuple[ClaimUsage, ...]] = {}
    for uid, folders in claims.items():
        for volume, claim, path in folders:
            with contextlib.suppress(OSError):
                found[uid] = (*found.get(uid, ()), ClaimUsage(volume, claim, file_system_usage(path)))
    return found


def _check_local(path: Path) -> None:
    """A local volume has to be there; nobody makes it."""
    if not path.is_dir():
        raise OSError(f'path "{path}" does not exist' if not path.exists() else f'path "{path}" is not a directory')


def _read_env_file(descriptor: int, path: str) -> str:
    """The text behind an O_PATH descriptor; nothing but a small regular file is read."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ConfigurationError(f'environment variable file "{path}" is not a regular file')
    with open(f"/proc/self/fd/{descriptor}", "rb") as stream:
        data = stream.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f'environment variable file "{path}" is larger than {FILE_BYTES_MAX} bytes')
    return data.decode(errors="replace")


def _prepare_target(target: Path, *, is_directory: bool) -> None:
    if is_directory:
        if target.is_file():
            target.unlink()
        target.mkdir(exist_ok=True)
        return
    if target.is_dir():
        target.rmdir()
    target.touch()


def _write_in_place(path: Path, content: str) -> None:
    data = content.encode()
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass  # not there yet
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, 0o644)


def _read_node_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(NODE_FILE_BYTES_MAX)
    except OSError:
        return ""


def _read_resolver_config(path: Path, behind_stub: Path) -> str:
    """The node's resolv.conf for pods: behind systemd-resolved's stub, which they cannot reach, what it asks itself.

    As kubeadm sets the kubelet's `resolvConf` (Kubernetes docs, "Debugging DNS Resolution", known issues).
    """
    text = _read_node_file(path)
    return (_read_node_file(behind_stub) or text) if is_stub_resolver(text) else text


def _check_host_path(source: Object, paths: NodePaths) -> None:
    """`hostPath.type`: what must be there, or is made (Kubernetes docs, "hostPath volume types")."""
    path, kind = paths.on_machine(source["path"]), source.get("type") or ""
    if kind == "":
        if not path.exists():
            # The runtime refuses a source that does not exist; Docker's own default is to make a directory.
            path.mkdir(parents=True)
        return
    if kind == "DirectoryOrCreate":
        if not path.exists():
            path.mkdir(parents=True, mode=0o755)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    checks: dict[str, tuple[Callable[[int], bool], str]] = {
        "Directory": (stat.S_ISDIR, "is not a directory"),
        "File": (stat.S_ISREG, "is not a file"),
        "Socket": (stat.S_ISSOCK, "is not a socket file"),
        "CharDevice": (stat.S_ISCHR, "is not a character device"),
        "BlockDevice": (stat.S_ISBLK, "is not a block device"),
    }
    check = checks.get(kind)
    if check is None:
        raise OSError(f"hostPath type check failed: {kind} is an invalid volume type")
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = 0
    if not check[0](mode):
        raise OSError(f"hostPath type check failed: {source['path']} {check[1]}")
