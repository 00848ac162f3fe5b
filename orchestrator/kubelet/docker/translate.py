"""The runtime's specs as the Engine's JSON, and the Engine's JSON as the runtime's states; pure.

Owns names and labels: with them alone everything is found again after a crash. Mirrors dockershim's
naming.go, convert.go and security_context.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from orchestrator.kubelet.docker.pause import PAUSE_IMAGE
from orchestrator.kubelet.network.plan import HostPort
from orchestrator.kubelet.network.sandbox_network import Endpoint
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerSpec,
    Mount,
    MountKind,
    ProcessUser,
    Resources,
    Sandbox,
    SandboxSpec,
    SecurityOptions,
)

POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"
RESTART_COUNT_LABEL = "io.kubernetes.container.restartCount"
CLUSTER_LABEL = "orchestrator.dev/cluster"
NODE_LABEL = "orchestrator.dev/node"
KIND_LABEL = "orchestrator.dev/kind"
SANDBOX_LABEL = "orchestrator.dev/sandbox"
ATTEMPT_LABEL = "orchestrator.dev/attempt"
IMAGE_REF_LABEL = "orchestrator.dev/image"
RESERVED_PREFIX = "orchestrator.dev/"
ANNOTATION_PREFIX = "annotation."
SHIM_GROUP_ANNOTATION = "io.containerd.runc.v2.group"
"""Of the low-level runtime's specification: whose value is the same share a shim, as pods do with containerd's CRI."""
SANDBOX_KIND, CONTAINER_KIND, NODE_KIND, HELPER_KIND = "sandbox", "container", "node", "helper"
IMAGE_KIND = "image"
NOT_OF_PODS = frozenset((NODE_KIND, HELPER_KIND, IMAGE_KIND))
IMAGE_TARGET = "/image"
"""Where the container that shows an image has it."""
SANDBOX_CONTAINER_NAME = "POD"

MEMORY_BYTES_MIN = 6 * 1024 * 1024
"""The Engine refuses less. Simplified: a smaller limit is raised to this."""
SANDBOX_CPU_SHARES = 2
HOSTNAME_MAX = 64
"""Of the kernel; a full name (setHostnameAsFQDN, hostnameOverride) may be as long."""


class Owner(Struct, frozen=True):
    """Whose containers these are."""

    cluster_id: str
    node_name: str

    def labels(self) -> dict[str, str]:
        return {CLUSTER_LABEL: self.cluster_id, NODE_LABEL: self.node_name}

    def label_filter(self, **more: str) -> list[str]:
        """The Engine's label filter for everything of this node."""
        return [f"{key}={value}" for key, value in (self.labels() | more).items()]


class SandboxContext(Struct, frozen=True):
    """What a container takes over from its sandbox."""

    id: str
    pid: int
    """0 while it does not run."""
    host_network: bool
    host_pid: bool
    host_ipc: bool
    cgroup_parent: str
    network_of: str = ""
    """The id of the container whose network it joined; empty for one of its own."""
    runtime: str = ""
    """The Engine's runtime that it was started with."""
    shim_group: str = ""
    """Containers of one group have one shim, the process that containerd keeps beside containers."""


def sandbox_context(sandbox_id: str, host: Mapping[str, Any], *, pid: int = 0) -> SandboxContext:
    """What a container takes over from a sandbox with this HostConfig."""
    network_mode = str(host.get("NetworkMode") or "")
    host_network = network_mode.startswith("container:")
    return SandboxContext(
        id=sandbox_id,
        pid=pid,
        host_network=host_network,
        host_pid=host.get("PidMode") == "host",
        host_ipc=host.get("IpcMode") == "host",
        cgroup_parent=host.get("CgroupParent") or "",
        network_of=network_mode.removeprefix("container:") if host_network else "",
        runtime=host.get("Runtime") or "",
        shim_group=(host.get("Annotations") or {}).get(SHIM_GROUP_ANNOTATION, ""),
    )


def sandbox_name(owner: Owner, spec: SandboxSpec) -> str:
    """The same sandbox always gets the same name, so that creating it twice is noticed by the Engine."""
    return _name(owner, SANDBOX_CONTAINER_NAME, spec.name, spec.namespace, spec.uid, spec.attempt)


def node_container_name(owner: Owner) -> str:
    """The name of the container that holds a node's own network namespace."""
    return "_".join(("orc", owner.cluster_id, owner.node_name, NODE_KIND))


def node_container_config(owner: Owner, helper: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of POST /containers/create for the holder of a node's network namespace, which may be a helper."""
    if helper is not None:
        own = {"Labels": owner.labels() | {KIND_LABEL: NODE_KIND}, "Hostname": owner.node_name[:63]}
        return {**helper, **own}
    return {
        "Image": PAUSE_IMAGE,
        "Labels": owner.labels() | {KIND_LABEL: NODE_KIND},
        "Hostname": owner.node_name[:63],
        "NetworkDisabled": True,
        "HostConfig": _pause_settings(network_mode="none"),
    }


def image_container_name(owner: Owner) -> str:
    """The name of the container in which a node looks at an image, one at a time."""
    return "_".join(("orc", owner.cluster_id, owner.node_name, IMAGE_KIND))


def image_container_config(owner: Owner, image_id: str) -> dict[str, Any]:
    """The body of POST /containers/create for a container that does nothing but have an image mounted."""
    mount = {"Type": "image", "Source": image_id, "Target": IMAGE_TARGET, "ReadOnly": True}
    return {
        "Image": PAUSE_IMAGE,
        "Labels": owner.labels() | {KIND_LABEL: IMAGE_KIND},
        "NetworkDisabled": True,
        "HostConfig": {**_pause_settings(network_mode="none"), "Mounts": [mount]},
    }


def container_name(owner: Owner, sandbox: Sandbox, spec: ContainerSpec) -> str:
    return _name(owner, spec.name, sandbox.name, sandbox.namespace, sandbox.uid, spec.attempt)


def _name(owner: Owner, container: str, pod: str, namespace: str, uid: str, attempt: int) -> str:
    return "_".join(("orc", owner.cluster_id, owner.node_name, container, pod, namespace, uid, str(attempt)))


def _labels(labels: Mapping[str, str], annotations: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    return {**labels, **{ANNOTATION_PREFIX + key: value for key, value in annotations.items()}, **own}


def split_sysctls(sysctls: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(those of the IPC namespace, which the Engine sets; those of the network namespace, which we set)."""
    network = {name: value for name, value in sysctls.items() if name.replace("/", ".").startswith("net.")}
    return {name: value for name, value in sysctls.items() if name not in network}, network


def host_ports(spec: SandboxSpec) -> tuple[HostPort, ...]:
    return tuple(
        HostPort(protocol=protocol.lower(), host_port=host_port, pod_port=port, host_ip=host_ip)
        for host_ip, protocol, host_port, port in spec.host_ports
        if host_port
    )


def _pause_settings(*, network_mode: str) -> dict[str, Any]:
    """HostConfig of a pause container, which has no rights at all and sees nothing of the machine.

    Its paths in /proc stay masked and read-only: who shares its process namespace reaches them below /proc/1/root.
    """
    return {
        "NetworkMode": network_mode,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["apparmor=unconfined", "seccomp=unconfined"],
        "ReadonlyRootfs": True,
        "CpuShares": SANDBOX_CPU_SHARES,
        "LogConfig": {"Type": "none"},
    }


def sandbox_config(
    owner: Owner,
    spec: SandboxSpec,
    *,
    network_of: str = "",
    endpoint: Endpoint | None = None,
    shares_shim: bool = False,
) -> dict[str, Any]:
    """The body of POST /containers/create for a sandbox.

    With hostNetwork it joins the network of the node's container `network_of`, and has its host name. Without, its
    network is disabled for the Engine: the low-level runtime makes an empty namespace in a millisecond, where the
    Engine itself would take a hundred and its network lock. With an endpoint it is on a network of the Engine's. With
    `shares_shim`, which needs an Engine that passes annotations on, the containers of the pod run under the sandbox's
    shim.
    """
    ipc_sysctls, network_sysctls = split_sysctls(spec.sysctls)
    own = owner.labels() | {
        KIND_LABEL: SANDBOX_KIND,
        ATTEMPT_LABEL: str(spec.attempt),
        POD_NAMESPACE_LABEL: spec.namespace,
        POD_NAME_LABEL: spec.name,
        POD_UID_LABEL: spec.uid,
        CONTAINER_NAME_LABEL: SANDBOX_CONTAINER_NAME,
    }
    host = _pause_settings(network_mode=f"container:{network_of}" if spec.host_network else "none")
    host["IpcMode"] = "host" if spec.host_ipc else "shareable"
    if spec.runtime_handler:
        host["Runtime"] = spec.runtime_handler
    if shares_shim:
        host["Annotations"] = {SHIM_GROUP_ANNOTATION: sandbox_name(owner, spec)}
    if spec.host_pid:
        host["PidMode"] = "host"
    if spec.cgroup_parent:
        host["CgroupParent"] = spec.cgroup_parent
    sysctls = {} if spec.host_ipc else ipc_sysctls
    if endpoint is not None:
        host["NetworkMode"] = endpoint.network
        sysctls = sysctls | network_sysctls
    if sysctls:
        host["Sysctls"] = sysctls
    config: dict[str, Any] = {
        "Image": PAUSE_IMAGE,
        "Labels": _labels(spec.labels, spec.annotations, own),
        "NetworkDisabled": not spec.host_network and endpoint is None,
        "HostConfig": host,
    }
    if endpoint is not None:
        config["NetworkingConfig"] = endpoint.config()
    if spec.hostname and not spec.host_network:
        config["Hostname"] = spec.hostname[:HOSTNAME_MAX]
    return config


class LogRotation(Struct, frozen=True):
    """The kubelet's containerLogMaxSize and containerLogMaxFiles, with its defaults."""

    size_bytes_max: int = 10 << 20
    files_max: int = 5

    def settings(self) -> dict[str, Any]:
        """LogConfig; a change of it holds for containers that are made from then on."""
        return {
            "Type": "json-file",
            "Config": {"max-size": str(self.size_bytes_max), "max-file": str(self.files_max)},
        }


class EngineLimits(Struct, frozen=True):
    """What the Engine itself is not allowed on its machine, and its containers therefore neither."""

    missing_capabilities: frozenset[str] = frozenset()
    oom_score_adj_min: int = -1000


def resource_settings(resources: Resources, limits: EngineLimits = EngineLimits()) -> dict[str, Any]:
    """Limits as they stand in HostConfig; 0 stays 0, which the Engine takes for: no limit."""
    memory = max(resources.memory_bytes, MEMORY_BYTES_MIN) if resources.memory_bytes else 0
    settings: dict[str, Any] = {
        "CpuShares": resources.cpu_shares,
        "Memory": memory,
        "MemorySwap": memory,
        "OomScoreAdj": max(resources.oom_score_adj, limits.oom_score_adj_min),
    }
    if resources.cpu_quota_microseconds:
        settings |= {"CpuPeriod": resources.cpu_period_microseconds, "CpuQuota": resources.cpu_quota_microseconds}
    if resources.pids:
        settings["PidsLimit"] = resources.pids
    return settings


def update_settings(resources: Resources) -> dict[str, Any]:
    """The body of POST /containers/{id}/update: 0 leaves a value as it is, and -1 lifts a limit of CPU time.

    No number lifts a limit of memory (the Engine refuses all below its minimum), nor does anybody ask for that: a
    resize may not remove limits. The OOM score cannot be changed.
    """
    settings = resource_settings(resources)
    del settings["OomScoreAdj"]
    if not resources.cpu_quota_microseconds:
        settings["CpuQuota"] = -1
    if not resources.cpu_shares:
        del settings["CpuShares"]
    return settings


def mount_settings(mounts: Sequence[Mount]) -> list[dict[str, Any]]:
    """Mounts in the form that refuses a missing source; devices are none.

    Without a propagation the Engine takes `rprivate`, or what it needs for a source that contains its own files. A
    volume never begins with what the image has at that place.
    """
    return [
        {
            "Type": mount.kind.value,
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": mount.read_only,
            **({"VolumeOptions": {"NoCopy": True}} if mount.kind is MountKind.VOLUME else {}),
            **({"BindOptions": {"Propagation": mount.propagation}} if mount.propagation else {}),
        }
        for mount in mounts
        if mount.kind is not MountKind.DEVICE
    ]


def device_settings(spec: ContainerSpec) -> list[dict[str, str]]:
    """The devices of a container: volumes that are devices, and others."""
    volumes = (
        (mount.source, mount.target, "r" if mount.read_only else "rw")
        for mount in spec.mounts
        if mount.kind is MountKind.DEVICE
    )
    others = ((device.host_path, device.path, device.permissions) for device in spec.devices)
    return [
        {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": permissions}
        for source, target, permissions in (*volumes, *others)
    ]


def security_settings(security: SecurityOptions, limits: EngineLimits = EngineLimits()) -> dict[str, Any]:
    """The security part of HostConfig.

    An Engine that itself lacks capabilities (a virtual machine that withholds CAP_SYS_RESOURCE) cannot
    start a privileged container. Simplified: there, privileged means every capability that is left, no
    seccomp profile, no masked paths and access to every device number.
    """
    settings: dict[str, Any] = {"ReadonlyRootfs": security.read_only_root}
    missing_capabilities = limits.missing_capabilities
    options: list[str] = []
    if security.groups:
        settings["GroupAdd"] = list(security.groups)
    if security.no_new_privileges:
        options.append("no-new-privileges")
    if security.privileged and not missing_capabilities:
        settings["Privileged"] = True
    elif security.privileged:
        settings |= {
            "CapAdd": sorted(OLD_CAPABILITIES - missing_capabilities),
            "MaskedPaths": [],
            "ReadonlyPaths": [],
            "DeviceCgroupRules": ["a *:* rwm"],
        }
        options += ["seccomp=unconfined", "apparmor=unconfined"]
    else:
        if security.capabilities_add:
            wanted = tuple(_capability(name) for name in security.capabilities_add)
            settings["CapAdd"] = (
                sorted(OLD_CAPABILITIES - missing_capabilities)
                if "ALL" in wanted and missing_capabilities
                else list(wanted)
            )
        if security.capabilities_drop:
            settings["CapDrop"] = [_capability(name) for name in security.capabilities_drop]
        if security.seccomp:
            options.append(f"seccomp={security.seccomp}")
        if security.apparmor:
            options.append(f"apparmor={security.apparmor}")
        if security.unmasked_proc:
            settings |= {"MaskedPaths": [], "ReadonlyPaths": []}
    if options:
        settings["SecurityOpt"] = options
    return settings


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def container_config(
    owner: Owner,
    sandbox: Sandbox,
    context: SandboxContext,
    spec: ContainerSpec,
    limits: EngineLimits = EngineLimits(),
    logs: LogRotation = LogRotation(),
) -> dict[str, Any]:
    """The body of POST /containers/create for a container of a pod."""
    joined = f"container:{sandbox.id}"
    own = owner.labels() | {
        KIND_LABEL: CONTAINER_KIND,
        SANDBOX_LABEL: sandbox.id,
        IMAGE_REF_LABEL: spec.image_ref or spec.image,
        POD_NAMESPACE_LABEL: sandbox.namespace,
        POD_NAME_LABEL: sandbox.name,
        POD_UID_LABEL: sandbox.uid,
        CONTAINER_NAME_LABEL: spec.name,
        RESTART_COUNT_LABEL: str(spec.attempt),
    }
    host: dict[str, Any] = {
        "NetworkMode": joined,
        "IpcMode": "host" if context.host_ipc else joined,
        "Mounts": mount_settings(spec.mounts),
        "Devices": device_settings(spec),
        "LogConfig": logs.settings(),
        **resource_settings(spec.resources, limits),
        **security_settings(spec.security, limits),
    }
    if context.host_pid:
        host["PidMode"] = "host"
    elif spec.pid_container:
        host["PidMode"] = f"container:{spec.pid_container}"
    elif spec.share_process_namespace:
        host["PidMode"] = joined
    if context.cgroup_parent:
        host["CgroupParent"] = context.cgroup_parent
    if context.runtime:
        host["Runtime"] = context.runtime
    if context.shim_group:
        host["Annotations"] = {SHIM_GROUP_ANNOTATION: context.shim_group}
    config: dict[str, Any] = {
        "Image": spec.image,
        "Labels": _labels(spec.labels, spec.annotations, own),
        "Env": [f"{name}={value}" for name, value in spec.env],
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin_once,
        "Tty": spec.tty,
        # The Engine's own health checks are not Kubernetes' and must not run beside its probes.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }
    if spec.command:
        config["Entrypoint"] = list(spec.command)
    if spec.args:
        config["Cmd"] = list(spec.args)
    if spec.working_dir:
        config["WorkingDir"] = spec.working_dir
    if spec.security.user:
        config["User"] = spec.security.user
    if spec.stop_signal:
        config["StopSignal"] = spec.stop_signal
    return config


# ---------------------------------------------------------------- what the Engine says


class Inspected(Struct, frozen=True):
    """One container or sandbox as the Engine's inspection shows it."""

    id: str
    kind: str
    labels: Mapping[str, str]
    container: Container | None
    sandbox: Sandbox | None
    context: SandboxContext
    phase: ContainerPhase
    stop_signal: str
    tty: bool
    stdin_once: bool
    """Whether its input ends with the first one who was attached to it."""
    is_running: bool
    status: str
    """The Engine's word: `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`."""
    is_settled: bool
    """Whether the state can only change with an event, so that it may be remembered."""
    upper_dir: str = ""
    """Where the storage driver keeps what the container writes; empty where there is no such directory."""
    log_path: str = ""

    @property
    def pod_uid(self) -> str:
        return self.labels.get(POD_UID_LABEL, "")

    @property
    def pod_namespace(self) -> str:
        return self.labels.get(POD_NAMESPACE_LABEL, "")

    @property
    def pod_name(self) -> str:
        return self.labels.get(POD_NAME_LABEL, "")


def parse_engine_time(text: str | None) -> datetime | None:
    """A moment as the Engine writes it (nanoseconds, `Z`); None for its zero time."""
    if not text or text.startswith("0001-"):
        return None
    moment, zone = text.rstrip("Z"), "+00:00"
    for sign in ("+", "-"):
        head, found, offset = moment.rpartition(sign)
        if found and "T" in head:
            moment, zone = head, sign + offset
            break
    seconds, _, fraction = moment.partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}{zone}").astimezone(UTC)


def phase_from_state(state: Mapping[str, Any]) -> ContainerPhase:
    """The phase; a container whose process could not be started counts as exited, as dockershim had it."""
    status = state.get("Status", "")
    if status in ("running", "paused", "restarting"):
        return ContainerPhase.RUNNING
    if status == "created":
        return ContainerPhase.EXITED if state.get("ExitCode") else ContainerPhase.CREATED
    return ContainerPhase.EXITED


def from_inspect(data: Mapping[str, Any], addresses: tuple[str, ...] = (), *, attached: bool = False) -> Inspected:
    """What `GET /containers/{id}/json` says, for a container that carries our labels."""
    config, host, state = data["Config"], data["HostConfig"], data["State"]
    labels: dict[str, str] = config.get("Labels") or {}
    phase = phase_from_state(state)
    created_at = parse_engine_time(data.get("Created")) or datetime.fromtimestamp(0, UTC)
    context = sandbox_context(data["Id"], host, pid=int(state.get("Pid") or 0))
    kind = labels.get(KIND_LABEL, "")
    sandbox = container = None
    if kind == SANDBOX_KIND:
        sandbox = Sandbox(
            id=data["Id"],
            namespace=labels.get(POD_NAMESPACE_LABEL, ""),
            name=labels.get(POD_NAME_LABEL, ""),
            uid=labels.get(POD_UID_LABEL, ""),
            attempt=_number(labels.get(ATTEMPT_LABEL)),
            ready=phase is ContainerPhase.RUNNING and (context.host_network or attached),
            ips=addresses,
            created_at=created_at,
            pid=context.pid,
        )
    elif kind not in NOT_OF_PODS:
        container = _container(data, labels, phase, created_at)
    return Inspected(
        id=data["Id"],
        kind=kind,
        labels=labels,
        container=container,
        sandbox=sandbox,
        context=context,
        phase=phase,
        stop_signal=config.get("StopSignal") or "SIGTERM",
        tty=bool(config.get("Tty")),
        stdin_once=bool(config.get("StdinOnce")),
        is_running=phase is ContainerPhase.RUNNING,
        status=state.get("Status", ""),
        is_settled=state.get("Status") in ("created", "running", "exited"),
        upper_dir=((data.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or "",
        log_path=data.get("LogPath") or "",
    )


def _container(
    data: Mapping[str, Any], labels: Mapping[str, str], phase: ContainerPhase, created_at: datetime
) -> Container:
    state = data["State"]
    started_at, finished_at = parse_engine_time(state.get("StartedAt")), parse_engine_time(state.get("FinishedAt"))
    exit_code = int(state.get("ExitCode") or 0)
    if phase is ContainerPhase.EXITED and state.get("Status") == "created":
        finished_at, exit_code = created_at, START_FAILED  # it never ran
    if started_at is not None and finished_at is not None:
        # The Engine stamps the start after the process runs: a short one has ended by then.
        finished_at = max(started_at, finished_at)
    exited = phase is ContainerPhase.EXITED
    return Container(
        id=data["Id"],
        name=labels.get(CONTAINER_NAME_LABEL, ""),
        attempt=_number(labels.get(RESTART_COUNT_LABEL)),
        pod_uid=labels.get(POD_UID_LABEL, ""),
        sandbox_id=labels.get(SANDBOX_LABEL, ""),
        image=labels.get(IMAGE_REF_LABEL, ""),
        image_id=data.get("Image") or "",
        phase=phase,
        created_at=created_at,
        started_at=None if phase is ContainerPhase.CREATED else started_at,
        finished_at=finished_at if exited else None,
        exit_code=exit_code if exited else 0,
        oom_killed=bool(state.get("OOMKilled")) and exited,
        message=state.get("Error") or "",
        pid=int(state.get("Pid") or 0),
        labels={
            key: value
            for key, value in labels.items()
            if not key.startswith(ANNOTATION_PREFIX) and not key.startswith(RESERVED_PREFIX)
        },
        annotations={
            key.removeprefix(ANNOTATION_PREFIX): value
            for key, value in labels.items()
            if key.startswith(ANNOTATION_PREFIX)
        },
    )


START_FAILED = 128
"""The exit code of a container whose process could not be executed, as containerd has it."""


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def start_failure_exit_code(message: str) -> int:
    """127 when the program does not exist, 126 when it may not be executed, else 128; as a shell would say."""
    lowered = message.lower()
    if "executable file not found" in lowered or "no such file or directory" in lowered:
        return 127
    if "permission denied" in lowered or "is a directory" in lowered or "exec format error" in lowered:
        return 126
    return 128


# Bit numbers of linux/capability.h, in order.
CAPABILITY_NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"),
    *("PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
OLD_CAPABILITIES = frozenset(CAPABILITY_NAMES[:38])
"""Those that every Engine knows by name; CAP_SYS_ADMIN includes the rights of the three newer ones."""


def missing_capabilities(process_status: str, last_capability: int) -> frozenset[str]:
    """What the bounding set in a `/proc/<pid>/status` text lacks of what the kernel (cap_last_cap) knows."""
    line = next((line for line in process_status.splitlines() if line.startswith("CapBnd:")), None)
    if line is None:
        return frozenset()
    bits = int(line.split()[1], 16)
    known = CAPABILITY_NAMES[: last_capability + 1]
    return frozenset(name for number, name in enumerate(known) if not bits >> number & 1)


def process_user(process_status: str) -> ProcessUser:
    """Effective ids and groups in a `/proc/<pid>/status` text."""
    lines = dict(line.split(":", 1) for line in process_status.splitlines() if ":" in line)
    groups = tuple(int(group) for group in lines.get("Groups", "").split())
    return ProcessUser(int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1]), groups)


class Overlay(Struct, frozen=True):
    """What an overlay mount is made of."""

    lower: tuple[str, ...]
    """Directories, topmost first."""
    upper: str
    """Where writes go; empty without."""


def overlay_at(mountinfo: str, point: str) -> Overlay | None:
    """The overlay that is mounted at a point, out of a `/proc/<pid>/mountinfo` text; None for other mounts.

    Directories with characters that the kernel writes in another way are not found.
    """
    for line in mountinfo.splitlines():
        place, _, source = line.partition(" - ")
        if place.split(" ")[4] != point:
            continue
        kind, _, text = source.split(" ", 2)
        options = dict(option.partition("=")[::2] for option in text.split(","))
        if kind != "overlay" or not options.get("lowerdir"):
            return None
        upper = options.get("upperdir", "")
        # Many directories are given relative to where all snapshots are: <snapshots>/<number>/fs.
        snapshots = upper.rsplit("/", 2)[0]
        lower = (one if one.startswith("/") else f"{snapshots}/{one}" for one in options["lowerdir"].split(":"))
        return Overlay(tuple(lower), upper)
    return None
