"""Specs as the Engine's JSON, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.kubelet.docker.translate import (
    CAPABILITY_NAMES,
    EngineLimits,
    LogRotation,
    Overlay,
    Owner,
    SandboxContext,
    container_config,
    container_name,
    from_inspect,
    host_ports,
    missing_capabilities,
    node_container_config,
    overlay_at,
    parse_engine_time,
    resource_settings,
    sandbox_config,
    sandbox_context,
    sandbox_name,
    security_settings,
    split_sysctls,
    start_failure_exit_code,
    update_settings,
)
from orchestrator.kubelet.network.plan import HostPort
from orchestrator.kubelet.network.sandbox_network import Endpoint
from orchestrator.kubelet.runtime import (
    ContainerPhase,
    ContainerSpec,
    DeviceNode,
    Mount,
    MountKind,
    Resources,
    Sandbox,
    SandboxSpec,
    SecurityOptions,
)

OWNER = Owner(cluster_id="c1", node_name="node-1")
SPEC = SandboxSpec(namespace="ns", name="web", uid="u-1", attempt=2, hostname="web")
SANDBOX = Sandbox(
    id="s1", namespace="ns", name="web", uid="u-1", attempt=2, ready=True, ips=(), created_at=datetime.now(UTC)
)
CONTEXT = SandboxContext(id="s1", pid=1, host_network=False, host_pid=False, host_ipc=False, cgroup_parent="")


def container(**changes: Any) -> dict[str, Any]:
    context = changes.pop("context", CONTEXT)
    limits = changes.pop("limits", EngineLimits())
    spec = replace(ContainerSpec(name="app", attempt=3, image="sha256:1"), **changes)
    return container_config(OWNER, SANDBOX, context, spec, limits)


def test_names_say_everything_that_tells_containers_apart() -> None:
    assert sandbox_name(OWNER, SPEC) == "orc_c1_node-1_POD_web_ns_u-1_2"
    spec = ContainerSpec(name="app", attempt=3, image="x")
    assert container_name(OWNER, SANDBOX, spec) == "orc_c1_node-1_app_web_ns_u-1_3"


def test_a_sandbox_has_an_empty_network_that_the_engine_knows_nothing_of() -> None:
    config = sandbox_config(OWNER, SPEC)
    assert config["NetworkDisabled"] is True
    host = config["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["CapDrop"]) == ("none", "shareable", ["ALL"])
    assert "CapAdd" not in host
    assert config["Hostname"] == "web"
    assert config["Labels"]["io.kubernetes.pod.uid"] == "u-1"
    assert config["Labels"]["orchestrator.dev/kind"] == "sandbox"


def test_a_host_network_sandbox_joins_its_node() -> None:
    spec = SandboxSpec(
        namespace="ns", name="web", uid="u", hostname="node-1", host_network=True, host_pid=True, host_ipc=True
    )
    config = sandbox_config(OWNER, spec, network_of="abc")
    assert config["NetworkDisabled"] is False
    assert config["HostConfig"]["NetworkMode"] == "container:abc"
    assert "Hostname" not in config  # the Engine refuses one of its own; it has the node's
    assert "CapAdd" not in config["HostConfig"]
    assert (config["HostConfig"]["PidMode"], config["HostConfig"]["IpcMode"]) == ("host", "host")


def test_containers_share_the_shim_of_a_sandbox_that_has_a_group() -> None:
    for shares in (True, False):
        host = sandbox_config(OWNER, SPEC, shares_shim=shares)["HostConfig"]
        joined = container(context=sandbox_context("s1", host))["HostConfig"]
        assert joined.get("Annotations") == host.get("Annotations")
        assert ("Annotations" in host) == shares


@pytest.mark.parametrize(
    ("mountinfo", "overlay"),
    [
        (
            "1 2 0:3 / / rw,relatime master:24 - overlay overlay rw,lowerdir=/l/1/fs:/l/2/fs,upperdir=/s/3/fs,"
            "workdir=/s/3/work\n4 1 0:5 / /proc rw - proc proc rw\n",
            Overlay(("/l/1/fs", "/l/2/fs"), "/s/3/fs"),
        ),
        (
            "1 2 0:3 / / rw - overlay overlay rw,lowerdir=7/fs:12/fs,upperdir=/var/snapshots/3/fs,workdir=x\n",
            Overlay(("/var/snapshots/7/fs", "/var/snapshots/12/fs"), "/var/snapshots/3/fs"),
        ),
        ("1 2 0:3 / / ro - overlay overlay ro,lowerdir=/l/1/fs\n", Overlay(("/l/1/fs",), "")),
        ("1 2 8:1 / / rw shared:1 - ext4 /dev/vda rw\n", None),
        ("4 1 0:5 / /proc rw - proc proc rw\n", None),
    ],
)
def test_what_an_overlay_is_made_of(mountinfo: str, overlay: Overlay | None) -> None:
    assert overlay_at(mountinfo, "/") == overlay


def test_the_holder_of_a_nodes_network_is_no_pod() -> None:
    config = node_container_config(OWNER)
    assert (config["Hostname"], config["NetworkDisabled"]) == ("node-1", True)
    data = inspection({"Status": "running", "Pid": 5}, **{"orchestrator.dev/kind": "node"})
    found = from_inspect(data)
    assert (found.container, found.sandbox, found.context.pid) == (None, None, 5)


def test_a_sandbox_on_a_network_of_the_engines_has_its_address_from_the_start() -> None:
    spec = replace(SPEC, sysctls={"net.core.somaxconn": "9", "kernel.shm_rmid_forced": "1"})
    config = sandbox_config(OWNER, spec, endpoint=Endpoint("net", "10.244.0.5"))
    assert not config["NetworkDisabled"]
    assert config["HostConfig"]["NetworkMode"] == "net"
    assert config["HostConfig"]["Sysctls"] == spec.sysctls
    assert config["NetworkingConfig"]["EndpointsConfig"]["net"]["IPAMConfig"] == {"IPv4Address": "10.244.0.5"}


def test_the_holder_of_a_nodes_network_may_be_a_helper() -> None:
    config = node_container_config(OWNER, {"Image": "pause", "HostConfig": {"NetworkMode": "net"}})
    assert config["HostConfig"] == {"NetworkMode": "net"}
    assert config["Labels"] == node_container_config(OWNER)["Labels"]


def test_logs_rotate_as_the_node_says() -> None:
    spec = ContainerSpec(name="app", attempt=0, image="x")
    context = SandboxContext("s", 1, host_network=False, host_pid=False, host_ipc=False, cgroup_parent="")
    config = container_config(OWNER, SANDBOX, context, spec, logs=LogRotation(size_bytes_max=4096, files_max=3))
    assert config["HostConfig"]["LogConfig"]["Config"] == {"max-size": "4096", "max-file": "3"}


def test_own_labels_win_over_the_pods() -> None:
    labels = {"orchestrator.dev/cluster": "evil", "app": "web"}
    config = sandbox_config(OWNER, SandboxSpec(namespace="n", name="p", uid="u", labels=labels, annotations={"a": "b"}))
    assert config["Labels"]["orchestrator.dev/cluster"] == "c1"
    assert config["Labels"]["app"] == "web"
    assert config["Labels"]["annotation.a"] == "b"


def test_sysctls_go_where_their_namespace_is() -> None:
    sysctls = {"kernel.shm_rmid_forced": "1", "net.core.somaxconn": "5", "net/ipv4/tcp_syncookies": "0"}
    assert split_sysctls(sysctls) == (
        {"kernel.shm_rmid_forced": "1"},
        {"net.core.somaxconn": "5", "net/ipv4/tcp_syncookies": "0"},
    )


def test_host_ports_without_a_number_are_left_out() -> None:
    spec = SandboxSpec(namespace="n", name="p", uid="u", host_ports=[("", "TCP", 0, 80), ("1.2.3.4", "UDP", 53, 5353)])
    assert host_ports(spec) == (HostPort(protocol="udp", host_port=53, pod_port=5353, host_ip="1.2.3.4"),)


@pytest.mark.parametrize(
    ("command", "args", "entrypoint", "cmd"),
    [
        (None, None, None, None),
        (("a",), None, ["a"], None),
        (None, ("b",), None, ["b"]),
        (("a",), ("b",), ["a"], ["b"]),
        ((), (), None, None),
    ],
)
def test_command_and_args_replace_entrypoint_and_cmd(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, entrypoint: Any, cmd: Any
) -> None:
    config = container(command=command, args=args)
    assert (config.get("Entrypoint"), config.get("Cmd")) == (entrypoint, cmd)


def test_a_container_joins_its_sandbox() -> None:
    host = container()["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host.get("PidMode")) == ("container:s1", "container:s1", None)
    assert container(share_process_namespace=True)["HostConfig"]["PidMode"] == "container:s1"
    host_context = SandboxContext("s1", 1, host_network=True, host_pid=True, host_ipc=True, cgroup_parent="/kubepods")
    host = container(context=host_context, share_process_namespace=True)["HostConfig"]
    assert (host["PidMode"], host["IpcMode"], host["CgroupParent"]) == ("host", "host", "/kubepods")


def test_mounts_refuse_a_missing_source() -> None:
    (mount,) = container(mounts=(Mount("/a", "/b", read_only=True, propagation="rslave"),))["HostConfig"]["Mounts"]
    assert mount == {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }


def test_volumes_of_the_engine_and_devices() -> None:
    mounts = (
        Mount("orc_1", "/data", kind=MountKind.VOLUME),
        Mount("/dev/loop3", "/dev/xvda", kind=MountKind.DEVICE),
        Mount("/dev/loop4", "/dev/xvdb", kind=MountKind.DEVICE, read_only=True),
    )
    host = container(mounts=mounts, devices=(DeviceNode("/dev/zero", "/dev/gpu"),))["HostConfig"]
    assert host["Mounts"] == [
        {"Type": "volume", "Source": "orc_1", "Target": "/data", "ReadOnly": False, "VolumeOptions": {"NoCopy": True}}
    ]
    assert [(one["PathInContainer"], one["CgroupPermissions"]) for one in host["Devices"]] == [
        ("/dev/xvda", "rw"),
        ("/dev/xvdb", "r"),
        ("/dev/gpu", "rwm"),
    ]


def test_limits_never_allow_swap_and_are_raised_to_what_the_engine_takes() -> None:
    settings = resource_settings(Resources(memory_bytes=1024, cpu_quota_microseconds=5000, cpu_shares=2, pids=9))
    assert settings["Memory"] == settings["MemorySwap"] == 6 * 1024 * 1024
    assert (settings["CpuQuota"], settings["CpuPeriod"], settings["PidsLimit"]) == (5000, 100_000, 9)
    assert "CpuQuota" not in resource_settings(Resources())


def test_an_engine_without_rights_cannot_protect_better_than_itself() -> None:
    limits = EngineLimits(oom_score_adj_min=-500)
    assert resource_settings(Resources(oom_score_adj=-997), limits)["OomScoreAdj"] == -500
    assert resource_settings(Resources(oom_score_adj=1000), limits)["OomScoreAdj"] == 1000


def test_an_update_lifts_limits_of_cpu_time_and_leaves_memory_without_one_as_it_is() -> None:
    assert update_settings(Resources(cpu_shares=2)) == {
        "CpuShares": 2, "Memory": 0, "MemorySwap": 0, "CpuQuota": -1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("security", "wanted"),
    [
        (SecurityOptions(), {}),
        (SecurityOptions(privileged=True), {"Privileged": True}),
        (SecurityOptions(capabilities_add=("cap_net_admin", "SYS_TIME")), {"CapAdd": ["NET_ADMIN", "SYS_TIME"]}),
        (SecurityOptions(capabilities_drop=("ALL",)), {"CapDrop": ["ALL"]}),
        (SecurityOptions(groups=("5", "6")), {"GroupAdd": ["5", "6"]}),
        (SecurityOptions(unmasked_proc=True), {"MaskedPaths": [], "ReadonlyPaths": []}),
        (
            SecurityOptions(no_new_privileges=True, seccomp="unconfined", apparmor="x"),
            {"SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "apparmor=x"]},
        ),
    ],
)
def test_security(security: SecurityOptions, wanted: dict[str, Any]) -> None:
    assert security_settings(security) == {"ReadonlyRootfs": False} | wanted


def test_privileged_without_all_capabilities_is_everything_that_is_left() -> None:
    limits = EngineLimits(missing_capabilities=frozenset({"SYS_RESOURCE"}))
    settings = security_settings(SecurityOptions(privileged=True), limits)
    assert "Privileged" not in settings
    assert "SYS_ADMIN" in settings["CapAdd"]
    assert "SYS_RESOURCE" not in settings["CapAdd"]
    assert settings["DeviceCgroupRules"] == ["a *:* rwm"]
    assert "ALL" not in security_settings(SecurityOptions(capabilities_add=("ALL",)), limits)["CapAdd"]


def test_missing_capabilities_are_read_from_the_bounding_set() -> None:
    everything = (1 << len(CAPABILITY_NAMES)) - 1
    assert missing_capabilities(f"CapBnd:\t{everything:016x}\n", 40) == frozenset()
    assert missing_capabilities(f"CapBnd:\t{everything & ~(1 << 24):016x}\n", 40) == {"SYS_RESOURCE"}
    assert missing_capabilities(f"CapBnd:\t{(1 << 38) - 1:016x}\n", 37) == frozenset()
    assert len(CAPABILITY_NAMES) == 41


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T03:04:05.1+02:00", datetime(2026, 1, 2, 1, 4, 5, 100000, UTC)),
        ("2026-01-02T03:04:05.1-02:30", datetime(2026, 1, 2, 5, 34, 5, 100000, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_engine_times(text: str | None, moment: datetime | None) -> None:
    assert parse_engine_time(text) == moment


def inspection(state: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {
        "Id": "id1",
        "Created": "2026-01-01T00:00:00Z",
        "Image": "sha256:2",
        "State": {"StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"} | state,
        "HostConfig": {},
        "Config": {
            "Labels": {"orchestrator.dev/kind": "container", "io.kubernetes.container.name": "app"} | labels,
            "Tty": True,
        },
    }


@pytest.mark.parametrize(
    ("state", "phase", "code"),
    [
        ({"Status": "created", "ExitCode": 0}, ContainerPhase.CREATED, 0),
        ({"Status": "created", "ExitCode": 127, "Error": "no such file"}, ContainerPhase.EXITED, 128),
        ({"Status": "running", "ExitCode": 0}, ContainerPhase.RUNNING, 0),
        ({"Status": "paused", "ExitCode": 0}, ContainerPhase.RUNNING, 0),
        ({"Status": "exited", "ExitCode": 5}, ContainerPhase.EXITED, 5),
        ({"Status": "dead", "ExitCode": 137}, ContainerPhase.EXITED, 137),
    ],
)
def test_phases(state: dict[str, Any], phase: ContainerPhase, code: int) -> None:
    found = from_inspect(inspection(state)).container
    assert found is not None
    assert (found.phase, found.exit_code, found.message) == (phase, code, state.get("Error", ""))


def test_a_container_that_never_ran_ended_when_it_was_made() -> None:
    found = from_inspect(inspection({"Status": "created", "ExitCode": 127})).container
    assert found is not None
    assert (found.started_at, found.finished_at) == (None, found.created_at)


def test_labels_and_annotations_come_back_as_they_were() -> None:
    labels = {"annotation.hash": "1", "app": "web", "orchestrator.dev/node": "n"}
    found = from_inspect(inspection({"Status": "running"}, **labels)).container
    assert found is not None
    assert found.annotations == {"hash": "1"}
    assert found.labels == {"app": "web", "io.kubernetes.container.name": "app"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ('exec: "/x": stat /x: no such file or directory', 127),
        ('exec: "/x": permission denied', 126),
        ("exec format error", 126),
        ("something else", 128),
    ],
)
def test_start_failures_as_a_shell_would_number_them(message: str, code: int) -> None:
    assert start_failure_exit_code(message) == code
