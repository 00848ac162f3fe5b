"""exec, port-forward and logs through the client libraries, into real containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import Pod
from kubernetes import client, config, stream, watch
from kubernetes.stream.ws_client import ERROR_CHANNEL
from kubernetes_asyncio import client as aio_client
from kubernetes_asyncio import config as aio_config
from kubernetes_asyncio.stream import WsApiClient

from tests.e2e.orchestrator_process import OrchestratorProcess

BUSYBOX = "orchestrator.test/busybox:1"
NAMESPACE = "client-streams"
LARGE = 15 << 20
"""Bytes that a client may send as one message."""
SCRIPT = "echo first; echo second; mkdir -p /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www"


@pytest.fixture(scope="module")
def core(cluster: OrchestratorProcess) -> Iterator[client.CoreV1Api]:
    """The core API of a cluster where a pod `web` runs in a namespace of its own."""
    core = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    container = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", SCRIPT]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "web"}, "spec": spec})
    for event in watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, timeout_seconds=60):
        if event["object"].status.phase == "Running":
            break
    yield core
    core.delete_namespace(NAMESPACE)


def test_the_official_client_executes_with_and_without_stdin(core: client.CoreV1Api) -> None:
    def execute(command: list[str], **options: Any) -> Any:
        call = core.connect_get_namespaced_pod_exec
        return stream.stream(call, "web", NAMESPACE, command=command, stdout=True, stderr=True, tty=False, **options)

    assert execute(["sh", "-c", "echo out"], stdin=False) == "out\n"
    shell = execute(["sh"], stdin=True, _preload_content=False)
    shell.write_stdin("echo one; echo two >&2; exit 3\n")
    shell.run_forever(timeout=20)
    assert shell.read_stdout() == "one\n"
    assert shell.read_stderr() == "two\n"
    assert shell.returncode == 3
    shell.close()
    upload = execute(["sh", "-c", f"head -c {LARGE} | wc -c"], stdin=True, _preload_content=False)
    upload.write_stdin("x" * LARGE)
    upload.run_forever(timeout=60)
    assert upload.read_stdout() == f"{LARGE}\n"
    absent = execute(["no-such-command"], stdin=False, _preload_content=False)
    absent.run_forever(timeout=20)
    status = json.loads(absent.read_channel(ERROR_CHANNEL))
    cause = status["details"]["causes"][0]["message"]
    assert cause.startswith("error executing command in container: ")
    assert status == {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {cause}",
        "reason": "InternalError",
        "details": {"causes": [{"message": cause}]},
        "code": 500,
    }


def test_the_official_client_forwards_ports_and_follows_logs(core: client.CoreV1Api) -> None:
    forwarded = stream.portforward(core.connect_get_namespaced_pod_portforward, "web", NAMESPACE, ports="8080")
    connection = forwarded.socket(8080)
    connection.settimeout(20)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while data := connection.recv(4096):
        answer += data
    assert answer.endswith(b"hello\n")
    assert forwarded.error(8080) is None
    lines = []
    follower = watch.Watch()
    for line in follower.stream(core.read_namespaced_pod_log, "web", NAMESPACE, follow=True):
        lines.append(line)
        if len(lines) == 2:
            follower.stop()
    assert lines == ["first", "second"]
    assert core.read_namespaced_pod_log("web", NAMESPACE, tail_lines=1) == "second\n"


async def test_kubernetes_asyncio_executes(core: client.CoreV1Api, cluster: OrchestratorProcess) -> None:
    configuration = aio_client.Configuration()
    await aio_config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    async with WsApiClient(configuration) as api:
        output = await aio_client.CoreV1Api(api).connect_get_namespaced_pod_exec(
            "web", NAMESPACE, command=["echo", "out"], stdout=True, stderr=True, stdin=False, tty=False
        )
    assert output == "out\n"


async def test_kr8s_executes_forwards_and_reads_logs(core: client.CoreV1Api, cluster: OrchestratorProcess) -> None:
    import aiohttp

    api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=NAMESPACE)
    pod = await Pod.get("web", namespace=NAMESPACE, api=api)
    done = await pod.exec(["sh", "-c", "echo out; echo err >&2; exit 4"], check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 4)
    assert [line async for line in pod.logs()] == ["first", "second"]
    async with (
        pod.portforward(remote_port=8080) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/") as response,
    ):
        assert await response.text() == "hello\n"
