"""What the work on a pod is divided among: the seams between syncing and files, cgroups, hooks and probes.

Only shapes and errors; who implements them is named with each. `NodeFacts` is what all parts know of their node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from orchestrator.api.objects import Object
from orchestrator.component.usage import ClaimUsage, DiskUsage
from orchestrator.kubelet.containers.environment import EnvironmentSources
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.runtime import Container, ContainerSpec, Mount
from orchestrator.kubelet.status.inputs import NodeIdentity

Spawn = Callable[[Coroutine[None, None, None], str], "asyncio.Task[None] | None"]
"""Makes a task of the kubelet's out of some work and a name; None when the kubelet does not run."""


class VolumeError(Exception):
    """A volume cannot be set up now; the message names the volume."""

    def __init__(self, message: str, *, retry: bool = False, is_waiting: bool = False) -> None:
        super().__init__(message)
        self.retry = retry
        """Whether trying again may help although nothing that the pod refers to changed."""
        self.is_waiting = is_waiting
        """Somebody else is at work, which is no failure before it takes long."""


class HookFailed(Exception):
    """A lifecycle hook failed; the message goes into the event."""


class DeviceFailure(Exception):
    """A device cannot be made ready, or let go of, now; the message goes into the event."""


class DeviceCounts(Struct, frozen=True):
    """The devices of a plugin, as a Node shows them."""

    capacity: int = 0
    allocatable: int = 0
    """Those that are healthy."""


class SyncResult(Struct):
    """What the kubelet does after a sync."""

    again_at: datetime | None = None
    retry: bool = False
    """Try again with back-off."""
    forget: bool = False
    """Nothing is left of the pod."""


class NodeFacts(Struct):
    """What the parts of one kubelet know of their node; the kubelet keeps it up to date."""

    identity: NodeIdentity
    memory_bytes: int = 0
    handlers: Sequence[str] = ("",)
    """The handlers that a RuntimeClass can name."""
    has_apparmor: bool = True
    allocatable: Mapping[str, str] = field(default_factory=dict)


class PodFiles(Protocol):
    """The files of a node's pods: volumes, /etc files, termination messages. A hollow node has none."""

    async def set_up(
        self, pod: Object, sources: EnvironmentSources, *, token: Callable[[Object], Awaitable[Object]]
    ) -> float | None:
        """Bring all volumes up to date; seconds until that is needed again (tokens). Raises VolumeError."""
        ...

    async def mounts_of(
        self,
        pod: Object,
        container: Object,
        attempt: int,
        sources: EnvironmentSources,
        environment: Mapping[str, str],
    ) -> list[Mount]:
        """What one container sees; raises ConfigurationError."""
        ...

    async def env_files_of(self, pod: Object, container: Object) -> Mapping[tuple[str, str], str | None]:
        """The texts of the environment files that a container reads; raises ConfigurationError."""
        ...

    def termination_message(self, pod_uid: str, container: Container, bytes_max: int) -> str:
        """What a dead container left in its termination message file."""
        ...

    async def usage(self, pod_uids: Sequence[str]) -> tuple[DiskUsage, Mapping[str, tuple[tuple[str, DiskUsage], ...]]]:
        """The file system of the pods, and what each pod's emptyDirs hold, by volume; slow."""
        ...

    async def claim_usage(self, pod_uids: Sequence[str]) -> Mapping[str, tuple[ClaimUsage, ...]]:
        """The file systems behind each pod's claims; a volume that is gone is left out."""
        ...

    def give_to_group(self, path: Path, group: int, policy: str) -> None:
        """Give files to a pod's fsGroup, by its `fsGroupChangePolicy`; slow. OSError."""
        ...

    def pod_uids(self) -> Iterable[str]:
        """The pods of which there are files, whatever became of them; slow."""
        ...

    async def tear_down(self, pod_uid: str) -> None:
        """Remove everything of a pod; never follows a link out of its directory."""
        ...


class Cgroups(Protocol):
    """The cgroups of a node's pods, which their containers are below; every method may raise OSError."""

    async def make(self, pod: Object) -> str:
        """Make the cgroup of a pod; returns the parent of its containers as the runtime takes it."""
        ...

    async def loosen(self, pod: Object) -> None:
        """Before a resize of its containers: the looser of what the pod has and will have."""
        ...

    async def change(self, pod: Object) -> None:
        """After a resize: what the pod has now."""
        ...

    async def remove(self, uid: str) -> None:
        """Remove what is left of a pod whose containers have ended."""
        ...

    async def find(self) -> None:
        """Before any pod is started: look what an earlier run left."""
        ...

    async def drop_unknown(self, pods: Iterable[Object]) -> None:
        """These pods are known; what was found of others is removed unless something runs in it."""
        ...


class Devices(Protocol):
    """The devices of a node's pods; every method may raise DeviceFailure. A hollow node has all there are."""

    async def allocate(self, pod: Object) -> None:
        """Give a new pod those of device plugins; without them the node does not take it."""
        ...

    async def prepare(self, pod: Object) -> None:
        """Make those of its claims ready, before the pod's sandbox is made."""
        ...

    async def inject(self, pod: Object, container: Object, spec: ContainerSpec) -> ContainerSpec:
        """A container of the pod with its devices."""
        ...

    def statuses(self, pod: Object) -> Mapping[str, list[Object]]:
        """`allocatedResourcesStatus` of its containers that have devices, by name."""
        ...

    async def release(self, pod_uid: str) -> None:
        """Let go of them, once the pod's containers have ended."""
        ...


class Hooks(Protocol):
    """Runs lifecycle hooks."""

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...]
    ) -> None:
        """Raises HookFailed (an Exception) with the message of the event."""
        ...


class Probes(Protocol):
    """Runs the probes of the pods of a node."""

    def follow(self, uid: str, pod: Object, running: Mapping[str, Container], ips: tuple[str, ...]) -> None:
        """From now on these containers of the pod run."""
        ...

    def only_readiness(self, uid: str) -> None:
        """Containers of the pod are no longer restarted; readiness is watched to the end."""
        ...

    def verdicts(self, uid: str) -> Mapping[str, ProbeVerdict]: ...

    def forget(self, uid: str) -> None: ...
