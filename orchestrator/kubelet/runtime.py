"""The seam between a kubelet and what runs containers; it mirrors the CRI (RuntimeService, ImageService).

A kubelet decides *what* should run and calls a `ContainerRuntime`, which knows *how*: the Docker
Engine (`kubelet.docker`) or nothing at all (`kubelet.hollow`, for tests and for large simulated
clusters). A runtime instance serves one node. All calls are idempotent by name: creating what
already exists returns it, stopping or removing what is gone succeeds.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct, field

from orchestrator.component.usage import DiskUsage, Pressures


class RuntimeFailure(Exception):
    """A call to the runtime failed; `str(error)` is what the user sees in the event."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime does not answer (Engine stopped, socket gone, deadlocked); retry with back-off."""


class ImagePullError(RuntimeFailure):
    """The image cannot be had: unknown name, no such tag, registry unreachable, denied."""


class ImageNameInvalid(ImagePullError):
    """The image reference does not parse (`InvalidImageName`)."""


class ContainerStartError(RuntimeFailure):
    """The container exists but its process could not be started (`RunContainerError`); has an exit code."""

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SandboxNotReady(RuntimeFailure):
    """The container takes something over from its sandbox that only shows once the sandbox runs."""


class ContainerPhase(enum.StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class MountKind(enum.StrEnum):
    BIND = "bind"
    """`source` is a file or directory of the machine."""
    VOLUME = "volume"
    """`source` is the name of a volume of the runtime's own."""
    DEVICE = "device"
    """`source` is a block device of the machine."""


class Mount(Struct, frozen=True):
    """Something that a container sees at `target`; `source` must exist."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = ""
    """`""` (private), `rslave` or `rshared`."""
    kind: MountKind = MountKind.BIND


class DeviceNode(Struct, frozen=True):
    """A device of the machine at a path of the container."""

    host_path: str
    path: str
    permissions: str = "rwm"
    """What the container's cgroup allows: read, write, make such a node."""


class Resources(Struct, frozen=True):
    """Limits as the kernel takes them; 0 means no limit."""

    cpu_shares: int = 0
    cpu_quota_microseconds: int = 0
    cpu_period_microseconds: int = 100_000
    memory_bytes: int = 0
    pids: int = 0
    oom_score_adj: int = 0


class SecurityOptions(Struct, frozen=True):
    """What of a (pod or container) security context the runtime itself enforces."""

    user: str = ""
    """`uid`, `uid:gid` or empty for the image's own."""
    groups: tuple[str, ...] = ()
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    seccomp: str = ""
    """`""` (RuntimeDefault), `unconfined`, or the profile as JSON."""
    apparmor: str = ""
    unmasked_proc: bool = False


class SandboxSpec(Struct, frozen=True):
    """A pod's sandbox: its namespaces, its network identity and its files under /etc."""

    namespace: str
    name: str
    uid: str
    attempt: int = 0
    """Counts sandboxes of the same pod; a new one is made when the old one died."""
    hostname: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process_namespace: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    runtime_handler: str = ""
    """The handler of the pod's RuntimeClass; empty: the runtime's default."""
    host_ports: Sequence[tuple[str, str, int, int]] = ()
    """(host IP or empty, protocol, host port, container port)."""


class Sandbox(Struct, frozen=True):
    """A sandbox as it is now."""

    id: str
    namespace: str
    name: str
    uid: str
    attempt: int
    ready: bool
    ips: tuple[str, ...]
    created_at: datetime
    pid: int = 0


Meanwhile = Callable[[Sandbox], Awaitable[None]]
"""What is done while a sandbox starts; raises only what makes the sandbox of no use."""


class ContainerSpec(Struct, frozen=True):
    """One container of a pod, with everything expanded: the runtime reads no API objects."""

    name: str
    attempt: int
    """Restart count of this container; part of its deterministic name."""
    image: str
    """What `image_status` or `pull_image` returned as id, so that a moving tag cannot change it."""
    image_ref: str = ""
    """What the pod asked for, for people who list containers."""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    resources: Resources = Resources()
    security: SecurityOptions = SecurityOptions()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    stop_signal: str = ""
    share_process_namespace: bool = False
    pid_container: str = ""
    """The id of the container whose process namespace it joins; empty: its own, or the pod's."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""


class ProcessUser(Struct, frozen=True):
    """Who the first process of a container was started as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Container(Struct, frozen=True):
    """A container as it is now."""

    id: str
    """Without a scheme; the API shows it as `docker://<id>`."""
    name: str
    attempt: int
    pod_uid: str
    sandbox_id: str
    image: str
    image_id: str
    phase: ContainerPhase
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    signal: int = 0
    oom_killed: bool = False
    message: str = ""
    pid: int = 0
    user: ProcessUser | None = None
    """Known while it runs."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class RuntimePod(Struct, frozen=True):
    """Everything that the runtime holds of one pod: newest sandbox first, all its containers."""

    namespace: str
    name: str
    uid: str
    sandboxes: tuple[Sandbox, ...]
    containers: tuple[Container, ...]


class Image(Struct, frozen=True):
    """An image on the node."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    user: str = ""
    """The image's own user (`uid`, `name`, `uid:gid` or empty), for runAsNonRoot."""
    stop_signal: str = ""
    working_dir: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    """Directories of its layers on this machine, topmost first; empty where the runtime does not tell."""


class RuntimeEvent(Struct, frozen=True):
    """Something happened to a container or a sandbox of this node; look it up, this is only the key.

    `pod_uid == ""` means: events may have been missed (a reconnect); look everything up.
    """

    pod_uid: str
    container_id: str = ""
    kind: str = ""
    """`started`, `died`, `oom`, `removed`, ... for the log; nothing depends on it."""


class RuntimeInfo(Struct, frozen=True):
    """What `Node.status.nodeInfo` and `Node.status.capacity` show."""

    name: str
    version: str
    api_version: str = ""
    operating_system: str = "linux"
    architecture: str = "amd64"
    kernel_version: str = ""
    os_image: str = ""
    cpu_count: int = 1
    memory_bytes: int = 0
    disk_bytes: int = 0
    """Size of the file system that images and containers are on; 0 when it is not known."""
    handlers: tuple[str, ...] = ("",)
    """The handlers that a RuntimeClass can name; the empty one is the default."""
    has_apparmor: bool = True
    """Whether containers can have AppArmor profiles."""


class LogOptions(Struct, frozen=True):
    """`PodLogOptions`, without the container name."""

    follow: bool = False
    since: datetime | None = None
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"
    """`All`, `Stdout` or `Stderr`."""


class ContainerStats(Struct, frozen=True):
    """Usage of one container, read from its cgroup."""

    container_id: str
    cpu_nanoseconds_total: int
    memory_working_set_bytes: int
    memory_rss_bytes: int = 0
    memory_usage_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    processes: int = 0
    swap_bytes: int = 0
    pressures: Pressures | None = None


class StreamSession(Protocol):
    """A running exec or attach: three byte streams, a terminal size and an exit code."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next output: (1 stdout | 2 stderr, bytes); None at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send to stdin; waits when the process does not read."""
        ...

    async def close_stdin(self) -> None:
        """End of file on stdin; output goes on."""
        ...

    async def resize(self, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        """The exit code, once the process ended."""
        ...

    async def close(self) -> None:
        """Let go of the connection; the process may go on."""
        ...


class PortStream(Protocol):
    """One TCP connection to a port on the pod's own loopback."""

    async def read(self) -> bytes:
        """At least one byte, or empty at the end."""
        ...

    async def write(self, data: bytes) -> None: ...
    async def close_write(self) -> None: ...
    async def close(self) -> None: ...


class ShowsContainers(Protocol):
    """What is asked of a runtime about pods that are there. Every method may raise `RuntimeUnavailable`."""

    async def list_pods(self) -> list[RuntimePod]:
        """All sandboxes and containers of this node, dead ones included, in few calls."""
        ...

    async def get_pod(self, uid: str) -> RuntimePod | None: ...

    def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]: ...

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool,
        tty: bool,
        stdout: bool = True,
        stderr: bool = True,
    ) -> StreamSession: ...

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> StreamSession: ...

    async def dial(self, sandbox_id: str, port: int) -> PortStream:
        """A connection from inside the sandbox to 127.0.0.1:port."""
        ...


class ContainerRuntime(ShowsContainers, Protocol):
    """Runs the pods of one node. Every method may raise `RuntimeUnavailable`."""

    async def start(self) -> None:
        """Prepare the node (network, pause image); called once, before anything else, again after an outage."""
        ...

    async def close(self) -> None:
        """Let go of connections; containers keep running."""
        ...

    async def info(self) -> RuntimeInfo: ...

    async def run_sandbox(self, spec: SandboxSpec, meanwhile: Meanwhile | None = None) -> Sandbox:
        """Create and start a sandbox with its network; cleans up after itself when it fails.

        `meanwhile` may be called with the sandbox as it will be, while it starts: its addresses are known, and
        containers can be created in it (`SandboxNotReady` for some), but not started.
        """
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill the sandbox and give back its network; its app containers must be stopped before."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def create_container(self, sandbox: Sandbox, spec: ContainerSpec) -> str:
        """Create a container in a sandbox, or find the one that was created in it before; returns its id."""
        ...

    async def start_container(self, container_id: str) -> Container | None:
        """Start it and show what became of it; None when it is gone already.

        Raises `ContainerStartError` when the process cannot be executed.
        """
        ...

    async def stop_container(self, container_id: str, grace_seconds: float, signal: str = "") -> None:
        """Send the stop signal, wait up to the grace period, then SIGKILL; returns when it is dead."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def update_container(self, container_id: str, resources: Resources) -> None: ...

    async def container_stats(self) -> Sequence[ContainerStats]: ...

    async def container_disks(self) -> Mapping[str, tuple[DiskUsage, DiskUsage]]:
        """What running containers have on the disk, by id: (what they wrote to their root, logs); slow."""
        ...

    async def image_status(self, reference: str) -> Image | None: ...

    async def image_layers(self, image: Image) -> tuple[str, ...]:
        """Directories of this machine with an image's layers, topmost first; empty where there are none.

        Raises RuntimeFailure.
        """
        ...

    async def list_images(self) -> list[Image]: ...

    async def pull_image(self, reference: str, auth: Mapping[str, Any] | None = None) -> Image: ...

    async def remove_image(self, image_id: str) -> None: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Endless; reconnects by itself and reports a gap as an event without a pod."""
        ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> tuple[int, bytes]:
        """Run to the end: (exit code, output of both streams, at most 16 KiB); TimeoutError."""
        ...
