"""The pods of kube-system: they show the components of this process, as they really are."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.api.errors import BadRequest, InternalError
from orchestrator.api.objects import Object, name_of, uid_of
from orchestrator.api.resources import NODES, PODS
from orchestrator.client.client import Client
from orchestrator.cluster.cluster import Cluster
from orchestrator.component.kubelet_api import KubeletApi, PodLogOptions
from orchestrator.testing import eventually, running_cluster
from orchestrator.testing.manual_clock import settle

T = TypeVar("T")
CONTROL_PLANE = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
SCHEDULER = "kube-scheduler-node-1"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=2, system_pods=True) as one:
        yield one


async def until_ready(client: Client, count: int = len(CONTROL_PLANE)) -> dict[str, Object]:
    pods = await eventually(
        client, PODS, lambda pods: len(pods) == count and all(map(is_ready, pods)), namespace="kube-system"
    )
    await settle()  # the kubelet's own watch shows it the same
    return {name_of(pod): pod for pod in pods}


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in (pod.get("status") or {}).get("conditions", ()))


def container_of(pod: Object) -> Object:
    (entry,) = pod["status"]["containerStatuses"]
    return dict(entry)


def kubelet_of(cluster: Cluster, node: str = "node-1") -> KubeletApi:
    kubelet = cluster.kubelet(node)
    assert kubelet is not None
    return kubelet


async def logs(cluster: Cluster, pod: str, container: str, **options: object) -> str:
    chunks = await kubelet_of(cluster).logs("kube-system", pod, PodLogOptions(container, **options))  # type: ignore[arg-type]
    return b"".join([chunk async for chunk in chunks]).decode()


async def test_the_first_node_shows_the_control_plane_as_a_kubelet_shows_static_pods(cluster: Cluster) -> None:
    client = cluster.client()
    pods = await until_ready(client)
    node = await client.get(NODES, "node-1")
    assert sorted(pods) == [f"{component}-node-1" for component in CONTROL_PLANE]
    for component in CONTROL_PLANE:
        pod = pods[f"{component}-node-1"]
        metadata, spec = pod["metadata"], pod["spec"]
        assert metadata["labels"] == {"component": component, "tier": "control-plane"}
        annotations = metadata["annotations"]
        assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
        assert annotations["kubernetes.io/config.source"] == "builtin"
        assert metadata["ownerReferences"] == [
            {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": uid_of(node), "controller": True}
        ]
        assert (spec["nodeName"], spec["hostNetwork"]) == ("node-1", True)
        assert (spec["priorityClassName"], spec["priority"]) == ("system-node-critical", 2_000_001_000)
        assert spec["containers"][0]["resources"] == {}
        assert pod["status"]["podIP"] == node["status"]["addresses"][0]["address"]
        assert container_of(pod)["restartCount"] == 0


async def test_only_what_runs_is_shown() -> None:
    async with running_cluster(controllers=(), scheduler=False, system_pods=True) as cluster:
        assert sorted(await until_ready(cluster.client(), 2)) == ["etcd-node-1", "kube-apiserver-node-1"]


async def test_without_nodes_nobody_shows_anything() -> None:
    async with running_cluster(nodes=0, system_pods=True) as cluster:
        await cluster.wait_ready()
        assert (await cluster.client().list(PODS, "kube-system"))["items"] == []


@pytest.mark.parametrize("grace_seconds", [None, 0])
async def test_a_deleted_pod_comes_back(cluster: Cluster, grace_seconds: int | None) -> None:
    client = cluster.client()
    before = (await until_ready(client))[SCHEDULER]
    await client.delete(PODS, SCHEDULER, "kube-system", grace_period_seconds=grace_seconds)
    again = await eventually(
        client,
        PODS,
        lambda pods: any(name_of(pod) == SCHEDULER and uid_of(pod) != uid_of(before) and is_ready(pod) for pod in pods),
        namespace="kube-system",
    )
    (pod,) = (pod for pod in again if name_of(pod) == SCHEDULER)
    assert container_of(pod)["containerID"] == container_of(before)["containerID"]


async def test_a_component_that_falls_over_is_not_ready_and_its_restart_counts(cluster: Cluster) -> None:
    client = cluster.client()
    await until_ready(client)
    down = asyncio.Event()

    async def fragile() -> None:
        await down.wait()
        down.clear()
        raise ValueError("the rules are lost")

    cluster.supervisor.add("kube-scheduler/fragile", fragile)
    following = asyncio.ensure_future(logs(cluster, SCHEDULER, "kube-scheduler", follow=True))
    await settle()
    down.set()

    def is_down(pods: list[Object]) -> bool:
        return any(name_of(pod) == SCHEDULER and not is_ready(pod) for pod in pods)

    pods = await eventually(client, PODS, is_down, namespace="kube-system")
    (pod,) = (pod for pod in pods if name_of(pod) == SCHEDULER)
    assert pod["status"]["phase"] == "Running"
    entry = container_of(pod)
    assert entry["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert entry["lastState"]["terminated"]["message"] == "ValueError: the rules are lost"
    assert "the rules are lost" in await following, "the log ends with the component"
    assert (await until_ready(client))["etcd-node-1"]["status"]["containerStatuses"][0]["restartCount"] == 0

    pod = (await until_ready(client))[SCHEDULER]
    entry = container_of(pod)
    assert entry["restartCount"] == 1
    assert entry["lastState"]["terminated"]["exitCode"] == 1
    assert entry["state"]["running"]["startedAt"] >= entry["lastState"]["terminated"]["finishedAt"]
    assert "the rules are lost" in await logs(cluster, SCHEDULER, "kube-scheduler", previous=True)
    assert "the rules are lost" not in await logs(cluster, SCHEDULER, "kube-scheduler")


async def test_what_needs_a_container_is_refused(cluster: Cluster) -> None:
    await until_ready(cluster.client())
    kubelet, container = kubelet_of(cluster), ("kube-system", SCHEDULER, "kube-scheduler")
    with pytest.raises(InternalError, match="is a part of the orchestrator's process and has no container"):
        await kubelet.exec(*container, ["ls"], stdin=False, stdout=True, stderr=True, tty=False)
    with pytest.raises(InternalError, match="is a part of the orchestrator's process and has no container"):
        await kubelet.attach(*container, stdin=False, stdout=True, stderr=True, tty=False)
    with pytest.raises(BadRequest, match="previous terminated container"):
        await logs(cluster, SCHEDULER, "kube-scheduler", previous=True)


async def test_the_next_process_finds_its_pods_and_has_started_them_once_more(tmp_path: Path) -> None:
    async with running_cluster(data_dir=tmp_path, system_pods=True) as cluster:
        before = await until_ready(cluster.client())
    async with running_cluster(data_dir=tmp_path, system_pods=True) as cluster:
        await cluster.wait_ready()
        pods = await eventually(
            cluster.client(),
            PODS,
            lambda pods: all(container_of(pod)["restartCount"] == 1 for pod in pods),
            namespace="kube-system",
        )
        assert {name_of(pod): uid_of(pod) for pod in pods} == {name: uid_of(pod) for name, pod in before.items()}
        assert {pod["status"]["startTime"] for pod in pods} == {pod["status"]["startTime"] for pod in before.values()}


async def test_a_process_that_shows_none_takes_them_away(tmp_path: Path) -> None:
    async with running_cluster(data_dir=tmp_path, system_pods=True) as cluster:
        await until_ready(cluster.client())
    async with running_cluster(data_dir=tmp_path) as cluster:
        await eventually(cluster.client(), PODS, lambda pods: not pods, namespace="kube-system")


async def test_a_port_forward_reaches_the_pages_of_scheduler_and_controller_manager() -> None:
    async with running_cluster(https=True, system_pods=True) as cluster:
        await until_ready(cluster.client())
        for component, port in (("kube-scheduler", 10259), ("kube-controller-manager", 10257)):
            assert (await page(cluster, component, port, "/healthz"))[1] == "ok"
            assert (await page(cluster, component, port, "/metrics"))[0] == 401
            code, text = await page(cluster, component, port, "/metrics", is_admin=True)
            assert code == 200
            assert f'orchestrator_component_up{{component="{component}/informers"}} 1.0' in text
            assert (await page(cluster, component, port, "/none", is_admin=True))[0] == 404
        kubelet = kubelet_of(cluster)
        with pytest.raises(InternalError, match="failed to connect to localhost:2379: connection refused"):
            await kubelet.port_forward("kube-system", "etcd-node-1", 2379)
        await (await kubelet.port_forward("kube-system", "kube-apiserver-node-1", cluster.port)).close()


async def page(cluster: Cluster, component: str, port: int, path: str, *, is_admin: bool = False) -> tuple[int, str]:
    """A page of a component, through a connection that its kubelet makes: (code, text)."""
    stream = await kubelet_of(cluster).port_forward("kube-system", f"{component}-node-1", port)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if is_admin:
        pki = cluster.config.data_dir / "pki"
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    async def until_done(step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    await stream.write(outgoing.read())
                if data := await stream.read():
                    incoming.write(data)
                else:
                    incoming.write_eof()

    await until_done(tls.do_handshake)
    tls.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    try:
        while data := await until_done(lambda: tls.read(1 << 16)):
            answer += data
    except ssl.SSLEOFError:
        pass  # the end of the connection is the end of the page
    await stream.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_what_the_process_uses_is_shown_once(cluster: Cluster) -> None:
    await until_ready(cluster.client())
    usage = await kubelet_of(cluster).usage()
    by_name = {pod.name: pod.usage for pod in usage.pods}
    assert sorted(by_name) == [f"{component}-node-1" for component in CONTROL_PLANE]
    assert by_name["kube-apiserver-node-1"].memory_working_set_bytes > 10 << 20
    assert by_name["kube-apiserver-node-1"].cpu_nanoseconds_total > 0
    assert by_name[SCHEDULER].memory_working_set_bytes == 0
    assert usage.usage.memory_working_set_bytes == by_name["kube-apiserver-node-1"].memory_working_set_bytes
    assert not (await kubelet_of(cluster, "node-2").usage()).pods
