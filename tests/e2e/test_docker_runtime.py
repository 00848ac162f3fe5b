"""The Docker runtime on a real Engine, with the real pod network; needs root and dockerd."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.aiokit.clock import SystemClock
from orchestrator.config.engines import engine_address
from orchestrator.kubelet.docker.cleanup import remove_everything
from orchestrator.kubelet.docker.engine import DockerEngine
from orchestrator.kubelet.docker.runtime import DockerRuntime
from orchestrator.kubelet.network.namespaces import namespace_inode
from orchestrator.kubelet.network.netlink import Netlink
from orchestrator.kubelet.network.plan import bridge_name, forward_comment, table_name, veth_prefix
from orchestrator.kubelet.network.pod_network import PodNetwork, choose_cidrs, missing_prerequisites
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerSpec,
    ContainerStartError,
    ImageNameInvalid,
    ImagePullError,
    LogOptions,
    Mount,
    Resources,
    RuntimeFailure,
    RuntimeUnavailable,
    Sandbox,
    SandboxSpec,
    SecurityOptions,
)

pytestmark = pytest.mark.e2e

BUSYBOX = "orchestrator.test/busybox:1"
SECONDS_MAX = 60.0
WEB = "mkdir -p /www && echo hello > /www/index.html && exec busybox httpd -f -p 80 -h /www"


@dataclass
class Machine:
    """One cluster of one node on the real Engine, and the means to make more of it."""

    cluster_id: str
    engine: DockerEngine
    network: PodNetwork
    runtime: DockerRuntime
    image: str
    state_dir: Path

    def sandbox_spec(self, name: str = "web", **changes: object) -> SandboxSpec:
        spec = SandboxSpec(namespace="default", name=name, uid=str(uuid.uuid4()), hostname=name)
        return replace(spec, **changes)

    def container_spec(self, script: str = "exec sleep 1000", **changes: object) -> ContainerSpec:
        spec = ContainerSpec(
            name="app", attempt=0, image=self.image, image_ref=BUSYBOX, command=("/bin/busybox", "sh", "-c", script)
        )
        return replace(spec, **changes)

    async def run(
        self, script: str = "exec sleep 1000", *, sandbox: SandboxSpec | None = None, **changes: object
    ) -> tuple[Sandbox, str]:
        running = await self.runtime.run_sandbox(sandbox or self.sandbox_spec())
        container_id = await self.runtime.create_container(running, self.container_spec(script, **changes))
        await self.runtime.start_container(container_id)
        return running, container_id

    async def container(self, uid: str, container_id: str) -> Container:
        pod = await self.runtime.get_pod(uid)
        assert pod is not None
        return next(container for container in pod.containers if container.id == container_id)

    async def until_exited(self, uid: str, container_id: str) -> Container:
        """The container once it has exited, woken by the runtime's events."""
        events = self.runtime.events()
        async with asyncio.timeout(SECONDS_MAX):
            async for _ in events:
                container = await self.container(uid, container_id)
                if container.phase is ContainerPhase.EXITED:
                    return container
        raise AssertionError("events ended")

    async def new_runtime(self) -> DockerRuntime:
        """A second life of the same node, as after kill -9: nothing but Engine and state directory."""
        network = PodNetwork(cluster_id=self.cluster_id, cidrs=self.network.cidrs, state_dir=self.state_dir)
        await self.runtime.close()
        await self.network.close()
        self.network = network
        self.runtime = await started_runtime(self.engine, network, self.cluster_id)
        return self.runtime


async def started_runtime(engine: DockerEngine, network: PodNetwork, cluster_id: str) -> DockerRuntime:
    node_network = network.cidrs.nodes
    runtime = DockerRuntime(
        engine=engine,
        network=network,
        cluster_id=cluster_id,
        node_name="node-1",
        clock=SystemClock(),
        node_ip=str(node_network.network_address + 2),
        pod_cidr=str(next(network.cidrs.pods.subnets(new_prefix=24))),
    )
    await runtime.start()
    return runtime


async def ensure_busybox(engine: DockerEngine, runtime: DockerRuntime) -> str:
    """The id of the test image, made from the machine's static busybox when it is not there."""
    image = await runtime.image_status(BUSYBOX)
    if image is None:
        binary = shutil.which("busybox")
        if binary is None:
            pytest.skip(f"neither the image {BUSYBOX} nor a busybox binary (package busybox-static) is there")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(binary, arcname="bin/busybox")
            for name in ("sh", "sleep"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
            for name in ("tmp", "etc"):
                directory = tarfile.TarInfo(name)
                directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
                archive.addfile(directory)
        repository, _, tag = BUSYBOX.partition(":")
        async with engine.stream(
            "POST",
            "images/create",
            params={"fromSrc": "-", "repo": repository, "tag": tag},
            body=buffer.getvalue(),
            headers={"Content-Type": "application/x-tar"},
        ) as response:
            await response.read()
        image = await runtime.image_status(BUSYBOX)
    assert image is not None
    return image.id


async def command_output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


async def assert_nothing_left(engine: DockerEngine, cluster_id: str) -> None:
    filters = json.dumps({"label": [f"orchestrator.dev/cluster={cluster_id}"]})
    assert await engine.call("GET", "containers/json", params={"all": "1", "filters": filters}) == []
    names = os.listdir("/sys/class/net")
    assert [name for name in names if name == bridge_name(cluster_id) or name.startswith(veth_prefix(cluster_id))] == []
    assert table_name(cluster_id) not in await command_output("nft", "list", "tables")
    if shutil.which("iptables"):
        assert forward_comment(cluster_id) not in await command_output("iptables", "-S")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    if missing := missing_prerequisites():
        pytest.skip(f"the pod network needs {' and '.join(missing)}")
    clock = SystemClock()
    engine = DockerEngine(clock=clock)
    try:
        await engine.connect()
    except RuntimeUnavailable as error:
        await engine.close()
        pytest.skip(str(error))
    await engine.close()
    cluster_id = f"test-{uuid.uuid4().hex[:8]}"
    async with DockerEngine(clock=clock) as engine:
        try:
            ipr = Netlink.open()
            cidrs = await choose_cidrs(ipr, cluster_id, tmp_path)
            network = PodNetwork(cluster_id=cluster_id, cidrs=cidrs, state_dir=tmp_path, netlink=ipr)
            runtime = await started_runtime(engine, network, cluster_id)
            image = await ensure_busybox(engine, runtime)
            machine = Machine(cluster_id, engine, network, runtime, image, tmp_path)
            yield machine
            await machine.runtime.close()
            await machine.network.close()
        finally:
            await remove_everything(cluster_id, clock=clock)
        await assert_nothing_left(engine, cluster_id)


async def http_get(address: str, port: int, path: str = "/") -> str:
    """The body of an answer; connecting is retried for as long as the server is not listening yet."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                reader, writer = await asyncio.open_connection(address, port)
                break
            except ConnectionRefusedError:
                await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer.decode().partition("\r\n\r\n")[2]


async def collect(source: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in source])


async def until(source: AsyncIterator[bytes], text: bytes) -> bytes:
    """Read a stream until it contains a text, then close it."""
    seen = b""
    async with asyncio.timeout(SECONDS_MAX):
        async for piece in source:
            seen += piece
            if text in seen:
                break
    await source.aclose()  # type: ignore[attr-defined]
    return seen


# ---------------------------------------------------------------- pods and their network


async def test_a_pod_has_an_address_that_answers(machine: Machine) -> None:
    sandbox, container_id = await machine.run(WEB)
    assert sandbox.ready
    assert len(sandbox.ips) == 1
    assert namespace_inode(sandbox.pid) != namespace_inode()
    assert await http_get(sandbox.ips[0], 80) == "hello\n"
    (pod,) = await machine.runtime.list_pods()
    assert (pod.namespace, pod.name, pod.uid) == ("default", "web", sandbox.uid)
    assert pod.sandboxes == (sandbox,)
    (container,) = pod.containers
    assert container.id == container_id
    assert container.phase is ContainerPhase.RUNNING
    assert container.sandbox_id == sandbox.id
    assert container.image == BUSYBOX
    assert container.image_id == machine.image
    assert container.started_at is not None
    assert container.pid > 0


async def test_pods_reach_each_other_by_address_across_nodes(machine: Machine) -> None:
    sandbox, _ = await machine.run(WEB)
    other = DockerRuntime(
        engine=machine.engine,
        network=machine.network,
        cluster_id=machine.cluster_id,
        node_name="node-2",
        clock=SystemClock(),
        node_ip=str(machine.network.cidrs.nodes.network_address + 3),
    )
    await other.start()
    with pytest.raises(RuntimeFailure, match="no pod CIDR"):
        await other.run_sandbox(machine.sandbox_spec("early"))
    await other.configure(pod_cidr=str(list(machine.network.cidrs.pods.subnets(new_prefix=24))[1]))
    neighbour = await other.run_sandbox(machine.sandbox_spec("neighbour"))
    client = await other.create_container(neighbour, machine.container_spec())
    await other.start_container(client)
    for target in (sandbox.ips[0],):
        script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 5 {target} 80"
        code, output = await other.exec_sync(client, ["/bin/busybox", "sh", "-c", script], 10)
        assert (code, output.endswith(b"hello\n")) == (0, True), output
    assert [pod.name for pod in await other.list_pods()] == ["neighbour"]
    assert [pod.name for pod in await machine.runtime.list_pods()] == ["web"]
    await other.close()


async def test_host_ports_lead_to_the_pod_and_end_with_it(machine: Machine) -> None:
    spec = machine.sandbox_spec(host_ports=(("", "TCP", 18080, 80),))
    sandbox, _ = await machine.run(WEB, sandbox=spec)
    node_ip = str(machine.network.cidrs.nodes.network_address + 2)
    await http_get(sandbox.ips[0], 80)
    assert await http_get(node_ip, 18080) == "hello\n"
    await machine.runtime.stop_sandbox(sandbox.id)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(node_ip, 18080)


async def test_host_network_pods_share_the_namespace_of_their_node(machine: Machine) -> None:
    one, two = [await machine.runtime.run_sandbox(machine.sandbox_spec(name, host_network=True)) for name in "ab"]
    assert one.ready
    assert two.ready
    assert namespace_inode(one.pid) == namespace_inode(two.pid) != namespace_inode()
    assert one.ips == two.ips == (str(machine.network.cidrs.nodes.network_address + 2),)
    again = await machine.new_runtime()
    assert [pod.sandboxes[0].ready for pod in await again.list_pods()] == [True, True]
    third = await again.run_sandbox(machine.sandbox_spec("c", host_network=True))
    assert namespace_inode(third.pid) == namespace_inode(one.pid)


async def test_sysctls_of_both_namespaces(machine: Machine) -> None:
    spec = machine.sandbox_spec(sysctls={"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1"})
    _, container_id = await machine.run(sandbox=spec)
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
    command = ["/bin/busybox", "sh", "-c", script.replace("cat", "busybox cat")]
    assert await machine.runtime.exec_sync(container_id, command, 10) == (0, b"7\n1\n")
    with pytest.raises(RuntimeFailure, match=r"net\.ipv4\.nonsense"):
        await machine.runtime.run_sandbox(machine.sandbox_spec("bad", sysctls={"net.ipv4.nonsense": "1"}))
    assert [pod.name for pod in await machine.runtime.list_pods()] == ["web"]


async def test_addresses_are_given_back_and_never_given_twice(machine: Machine) -> None:
    sandboxes = await asyncio.gather(
        *(machine.runtime.run_sandbox(machine.sandbox_spec(f"pod-{number}")) for number in range(6))
    )
    assert len({sandbox.ips for sandbox in sandboxes}) == 6
    for sandbox in sandboxes:
        await machine.runtime.remove_sandbox(sandbox.id)
        await machine.runtime.remove_sandbox(sandbox.id)  # repeating is harmless
    assert machine.network.reserved_sandboxes("node-1") == frozenset()
    assert [name for name in os.listdir("/sys/class/net") if name.startswith(veth_prefix(machine.cluster_id))] == []


# ---------------------------------------------------------------- adoption


async def test_a_new_process_finds_everything_again(machine: Machine) -> None:
    sandbox, container_id = await machine.run(WEB)
    before = await machine.container(sandbox.uid, container_id)
    leftover = await machine.runtime.run_sandbox(machine.sandbox_spec("leftover"))
    await machine.engine.call("DELETE", f"containers/{leftover.id}", params={"force": "1"})
    runtime = await machine.new_runtime()
    (pod,) = await runtime.list_pods()
    assert pod.sandboxes == (sandbox,)
    assert pod.containers == (before,)
    assert await http_get(sandbox.ips[0], 80) == "hello\n"
    assert machine.network.reserved_sandboxes("node-1") == {sandbox.id}
    another = await runtime.run_sandbox(machine.sandbox_spec("another"))
    assert another.ips != sandbox.ips


async def test_creating_twice_gives_the_same(machine: Machine) -> None:
    spec = machine.sandbox_spec()
    sandbox, container_id = await machine.run(sandbox=spec)
    assert await machine.runtime.run_sandbox(spec) == sandbox
    assert await machine.runtime.create_container(sandbox, machine.container_spec()) == container_id
    await machine.runtime.start_container(container_id)


@pytest.mark.parametrize("turns", range(0, 60, 6))
async def test_a_cancelled_run_is_finished_by_the_next_one(machine: Machine, turns: int) -> None:
    spec = machine.sandbox_spec()
    task = asyncio.create_task(machine.runtime.run_sandbox(spec))
    loop = asyncio.get_running_loop()
    for _ in range(turns):
        await loop.run_in_executor(None, os.stat, "/")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    sandbox = await machine.runtime.run_sandbox(spec)
    assert sandbox.ready
    assert len(await machine.runtime.list_pods()) == 1
    await machine.runtime.remove_sandbox(sandbox.id)
    assert machine.network.reserved_sandboxes("node-1") == frozenset()


# ---------------------------------------------------------------- containers


async def test_exit_codes_and_times(machine: Machine) -> None:
    sandbox, container_id = await machine.run("exit 3")
    container = await machine.until_exited(sandbox.uid, container_id)
    assert container.exit_code == 3
    assert container.started_at is not None
    assert container.finished_at is not None
    assert container.started_at <= container.finished_at <= datetime.now(UTC)


async def test_a_missing_program_is_a_start_error(machine: Machine) -> None:
    sandbox = await machine.runtime.run_sandbox(machine.sandbox_spec())
    container_id = await machine.runtime.create_container(sandbox, machine.container_spec(command=("/no/such",)))
    with pytest.raises(ContainerStartError, match="no such file or directory") as caught:
        await machine.runtime.start_container(container_id)
    assert caught.value.exit_code == 128
    container = await machine.container(sandbox.uid, container_id)
    assert (container.phase, container.exit_code) == (ContainerPhase.EXITED, 128)
    assert "no such file" in container.message


async def test_stop_sends_the_signal_then_kills(machine: Machine) -> None:
    sandbox, polite = await machine.run("trap 'exit 7' TERM; while true; do sleep 0.05; done")
    await machine.runtime.stop_container(polite, 30)
    assert (await machine.container(sandbox.uid, polite)).exit_code == 7
    stubborn = await machine.runtime.create_container(
        sandbox, machine.container_spec("trap '' TERM; while true; do sleep 0.05; done", name="stubborn")
    )
    await machine.runtime.start_container(stubborn)
    await machine.runtime.stop_container(stubborn, 0.3)
    assert (await machine.container(sandbox.uid, stubborn)).exit_code == 137
    await machine.runtime.stop_container(stubborn, 30)
    await machine.runtime.remove_container(stubborn)
    await machine.runtime.remove_container(stubborn)
    await machine.runtime.stop_container(stubborn, 30)


async def test_exceeding_the_memory_limit_is_oom_killed(machine: Machine) -> None:
    sandbox, container_id = await machine.run(
        "exec busybox tail /dev/zero", resources=Resources(memory_bytes=16 * 1024 * 1024)
    )
    container = await machine.until_exited(sandbox.uid, container_id)
    assert (container.oom_killed, container.exit_code) == (True, 137)


async def test_limits_can_be_changed_while_it_runs(machine: Machine) -> None:
    _, container_id = await machine.run(resources=Resources(memory_bytes=32 << 20, cpu_quota_microseconds=20_000))
    await machine.runtime.update_container(
        container_id, Resources(memory_bytes=64 << 20, cpu_quota_microseconds=50_000, cpu_shares=512)
    )
    data = await machine.engine.call("GET", f"containers/{container_id}/json")
    host = data["HostConfig"]
    assert (host["Memory"], host["CpuQuota"], host["CpuShares"]) == (64 << 20, 50_000, 512)


async def test_limits_of_one_kind_can_be_changed_where_there_are_none_of_the_other(machine: Machine) -> None:
    _, container_id = await machine.run(resources=Resources(cpu_shares=20))
    await machine.runtime.update_container(container_id, Resources(cpu_shares=25, cpu_quota_microseconds=3_500))
    await machine.runtime.update_container(container_id, Resources(cpu_shares=30))
    data = await machine.engine.call("GET", f"containers/{container_id}/json")
    host = data["HostConfig"]
    assert (host["Memory"], host["CpuQuota"], host["CpuShares"]) == (0, -1, 30)


async def test_mounts_environment_user_and_labels(machine: Machine, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.0.1 somewhere\n")
    sandbox, container_id = await machine.run(
        mounts=(Mount(str(hosts), "/etc/hosts", read_only=True),),
        env=(("GREETING", "hi there"),),
        security=SecurityOptions(user="1234:5678", groups=("99",), capabilities_drop=("ALL",), no_new_privileges=True),
        working_dir="/tmp",
        annotations={"io.kubernetes.container.hash": "abc"},
        labels={"app": "web"},
    )
    script = (
        "busybox cat /etc/hosts; echo $GREETING; busybox id -u; busybox id -G; pwd; busybox grep CapBnd /proc/1/status"
    )
    code, output = await machine.runtime.exec_sync(container_id, ["/bin/busybox", "sh", "-c", script], 10)
    assert code == 0, output
    assert output.decode().split("\n")[:5] == ["10.0.0.1 somewhere", "hi there", "1234", "5678 99", "/tmp"]
    assert "0000000000000000" in output.decode()
    container = await machine.container(sandbox.uid, container_id)
    assert container.annotations == {"io.kubernetes.container.hash": "abc"}
    assert container.labels["app"] == "web"
    missing = machine.container_spec(name="missing", mounts=(Mount("/no/such/source", "/data"),))
    with pytest.raises(RuntimeFailure, match="/no/such/source"):
        await machine.runtime.create_container(sandbox, missing)


async def test_privileged_runs_even_where_the_engine_lacks_capabilities(machine: Machine) -> None:
    _, container_id = await machine.run(security=SecurityOptions(privileged=True))
    command = ["/bin/busybox", "sh", "-c", "busybox mkdir /m && busybox mount -t tmpfs none /m"]
    assert await machine.runtime.exec_sync(container_id, command, 10) == (0, b"")


async def test_shared_process_namespace(machine: Machine) -> None:
    spec = machine.sandbox_spec(share_process_namespace=True)
    _, container_id = await machine.run(sandbox=spec, share_process_namespace=True)
    command = ["/bin/busybox", "sh", "-c", "busybox cat /proc/1/cmdline"]
    code, output = await machine.runtime.exec_sync(container_id, command, 10)
    assert (code, output.startswith(b"/pause")) == (0, True)


async def test_stats_come_from_the_cgroup(machine: Machine) -> None:
    _, container_id = await machine.run()
    (stats,) = await machine.runtime.container_stats()
    assert stats.container_id == container_id
    assert stats.cpu_nanoseconds_total > 0
    assert 0 < stats.memory_working_set_bytes < 1 << 30


async def test_death_is_an_event(machine: Machine) -> None:
    sandbox, container_id = await machine.run()
    events = machine.runtime.events()
    assert (await anext(events)).pod_uid == ""
    await machine.engine.call("POST", f"containers/{container_id}/kill")
    async with asyncio.timeout(SECONDS_MAX):
        async for event in events:
            if event.kind == "died":
                break
    assert (event.pod_uid, event.container_id) == (sandbox.uid, container_id)


# ---------------------------------------------------------------- streams


async def test_exec_streams(machine: Machine) -> None:
    _, container_id = await machine.run()
    session = await machine.runtime.exec(
        container_id, ["/bin/busybox", "sh", "-c", "busybox cat; echo problem >&2; exit 5"], stdin=True, tty=False
    )
    await session.write(b"one ")
    await session.write(b"two\n")
    await session.close_stdin()
    output: dict[int, bytes] = {1: b"", 2: b""}
    async with asyncio.timeout(SECONDS_MAX):
        while (piece := await session.read()) is not None:
            output[piece[0]] += piece[1]
        assert await session.wait() == 5
    await session.close()
    assert output == {1: b"one two\n", 2: b"problem\n"}


async def test_exec_with_a_terminal(machine: Machine) -> None:
    _, container_id = await machine.run()
    session = await machine.runtime.exec(
        container_id, ["/bin/busybox", "sh", "-c", "read line; busybox stty size"], stdin=True, tty=True
    )
    await session.resize(101, 37)
    await session.write(b"go\n")
    seen = b""
    async with asyncio.timeout(SECONDS_MAX):
        while (piece := await session.read()) is not None:
            seen += piece[1]
        assert await session.wait() == 0
    await session.close()
    assert b"37 101" in seen


async def test_exec_of_a_missing_program(machine: Machine) -> None:
    _, container_id = await machine.run()
    session = await machine.runtime.exec(container_id, ["/no/such"], stdin=False, tty=False)
    async with asyncio.timeout(SECONDS_MAX):
        assert await session.read() is None
        with pytest.raises(ContainerStartError, match="no such file or directory") as caught:
            await session.wait()
    await session.close()
    assert caught.value.exit_code == 127
    with pytest.raises(ContainerStartError):
        await machine.runtime.exec_sync(container_id, ["/no/such"], 5)


async def test_exec_sync_bounds_output_and_time(machine: Machine) -> None:
    _, container_id = await machine.run()
    command = ["/bin/busybox", "sh", "-c", "busybox dd if=/dev/zero bs=1024 count=100 2>/dev/null"]
    code, output = await machine.runtime.exec_sync(container_id, command, 10)
    assert (code, len(output)) == (0, 16 * 1024)
    with pytest.raises(TimeoutError, match=r"timed out after 0\.3s"):
        await machine.runtime.exec_sync(container_id, ["/bin/busybox", "sleep", "987"], 0.3)
    listing = ["/bin/busybox", "sh", "-c", "for p in /proc/[0-9]*; do busybox cat $p/cmdline; echo; done"]
    _, output = await machine.runtime.exec_sync(container_id, listing, 10)
    assert b"987" not in output


async def test_logs(machine: Machine) -> None:
    script = "echo one; echo two >&2; echo three; busybox cat; echo four"
    sandbox, container_id = await machine.run(script, stdin=True, stdin_once=True)
    runtime = machine.runtime
    assert b"three\n" in await until(runtime.logs(container_id, LogOptions(follow=True)), b"three\n")
    session = await runtime.attach(container_id, stdin=True, tty=False)
    await session.write(b"typed\n")
    async with asyncio.timeout(SECONDS_MAX):
        assert await session.read() == (1, b"typed\n")
    await session.close_stdin()
    async with asyncio.timeout(SECONDS_MAX):
        assert await session.wait() == 0
    await session.close()
    async with asyncio.timeout(SECONDS_MAX):
        whole = await collect(runtime.logs(container_id, LogOptions(follow=True)))
    assert sorted(whole.split()) == [b"four", b"one", b"three", b"two", b"typed"]
    assert await collect(runtime.logs(container_id, LogOptions(stream="Stderr"))) == b"two\n"
    assert await collect(runtime.logs(container_id, LogOptions(stream="Stdout", tail_lines=1))) == b"four\n"
    assert await collect(runtime.logs(container_id, LogOptions(stream="Stdout", limit_bytes=5))) == b"one\nt"
    stamped = await collect(runtime.logs(container_id, LogOptions(timestamps=True, tail_lines=1)))
    assert datetime.fromisoformat(stamped.split()[0].decode()[:19] + "+00:00").year >= 2024
    container = await machine.container(sandbox.uid, container_id)
    assert container.finished_at is not None
    late = replace(container, finished_at=container.finished_at).finished_at
    assert late is not None
    assert await collect(runtime.logs(container_id, LogOptions(since=datetime(2100, 1, 1, tzinfo=UTC)))) == b""


async def test_dial_reaches_the_pods_own_loopback(machine: Machine) -> None:
    sandbox, _ = await machine.run(
        "mkdir -p /www && echo hello > /www/index.html && exec busybox httpd -f -p 127.0.0.1:8080 -h /www"
    )

    async def connect() -> bytes:
        stream = await machine.runtime.dial(sandbox.id, 8080)
        await stream.write(b"GET / HTTP/1.0\r\n\r\n")
        await stream.close_write()
        answer = b""
        while piece := await stream.read():
            answer += piece
        await stream.close()
        return answer

    async with asyncio.timeout(SECONDS_MAX):
        answer = await retry(connect, RuntimeFailure)
    assert answer.endswith(b"hello\n")
    with pytest.raises(RuntimeFailure, match="localhost:81 "):
        await machine.runtime.dial(sandbox.id, 81)


async def retry(action: Callable[[], Awaitable[bytes]], error: type[Exception]) -> bytes:
    """The server in the container needs a moment before it listens, and nothing tells when it does."""
    while True:
        try:
            return await action()
        except error:
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)


# ---------------------------------------------------------------- images


async def test_images(machine: Machine) -> None:
    image = await machine.runtime.image_status(BUSYBOX)
    assert image is not None
    assert BUSYBOX in image.tags
    assert await machine.runtime.image_status(image.id) == image
    assert await machine.runtime.image_status("orchestrator.test/never-built") is None
    assert image.id in {item.id for item in await machine.runtime.list_images()}
    with pytest.raises(ImageNameInvalid, match="couldn't parse image name"):
        await machine.runtime.image_status("UPPER/case image")
    with pytest.raises(ImagePullError):
        await machine.runtime.pull_image("127.0.0.1:1/nobody/listens:here")
    await machine.run()
    with pytest.raises(RuntimeFailure, match="in use"):
        await machine.runtime.remove_image(machine.image)


async def test_info(machine: Machine) -> None:
    info = await machine.runtime.info()
    assert info.name == "docker"
    assert info.cpu_count > 0
    assert info.memory_bytes > 1 << 20


async def test_an_unreachable_engine_is_a_clear_error(tmp_path: Path) -> None:
    engine = DockerEngine(clock=SystemClock(), address=engine_address(f"unix://{tmp_path}/nothing.sock"))
    with pytest.raises(RuntimeUnavailable, match=r"no Docker Engine answers at unix://.*DOCKER_HOST"):
        await engine.connect()
    await engine.close()
