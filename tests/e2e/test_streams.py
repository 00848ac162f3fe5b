"""exec, attach, port-forward, logs and cp on real containers, over WebSocket and over SPDY."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.manifests import (
    BUSYBOX,
    WAIT,
    apply,
    container,
    has_phase,
    is_running,
    pod,
    status_of,
    wait_for_pod,
)
from tests.e2e.orchestrator_process import Kubectl, is_ready
from tests.e2e.test_kubectl import in_terminal

COPY_BYTES = 100 * 1024 * 1024
PROTOCOLS = {
    "websocket": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"},
    "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"},
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest, k: Kubectl) -> dict[str, str]:
    """The environment that makes kubectl speak one protocol or the other."""
    if request.param == "websocket" and k.minor < 31:
        pytest.skip("kubectl speaks WebSocket from 1.31 on")
    return PROTOCOLS[request.param]


@pytest.fixture
def shell(k: Kubectl) -> Kubectl:
    """A namespace with a running pod `shell`."""
    apply(k, pod("shell", container()))
    wait_for_pod(k, "shell", is_ready)
    return k


def test_commands_get_input_and_give_output_and_exit_codes(shell: Kubectl, protocol: dict[str, Any]) -> None:
    k = shell
    assert k("exec", "shell", "--", "echo", "hello", **protocol) == "hello\n"
    failed = k.run("exec", "shell", "--", "sh", "-c", "echo out; echo oops >&2; exit 7", **protocol)
    assert (failed.returncode, failed.stdout) == (7, "out\n")
    assert "oops" in failed.stderr
    # The end of the input has to arrive while the output goes on.
    assert k("exec", "-i", "shell", "--", "sh", "-c", "wc -c; echo after", stdin="x" * 70_000, **protocol) == (
        "70000\nafter\n"
    )
    missing = k.run("exec", "shell", "--", "no-such-program", **protocol)
    assert missing.returncode != 0
    assert "no-such-program" in missing.stderr
    wrong = k.run("exec", "shell", "-c", "nobody", "--", "true", **protocol)
    assert "container nobody is not valid for pod shell" in wrong.stderr
    terminal = in_terminal(
        k.arguments("exec", "-it", "shell", "--", "sh"), "stty size; echo $((6*7))\nexit 3\n", k.environment(**protocol)
    )
    assert "42" in terminal


def test_files_of_100_mib_are_copied_both_ways(shell: Kubectl, protocol: dict[str, Any], tmp_path: Path) -> None:
    k = shell
    there, back = tmp_path / "there", tmp_path / "back"
    digest = hashlib.sha256()
    with there.open("wb") as stream:
        for _ in range(COPY_BYTES // (1 << 20)):
            chunk = os.urandom(1 << 20)
            digest.update(chunk)
            stream.write(chunk)
    k("cp", str(there), "shell:/tmp/file", timeout=120, **protocol)
    assert k("exec", "shell", "--", "sha256sum", "/tmp/file").split()[0] == digest.hexdigest()
    k("cp", "shell:/tmp/file", str(back), timeout=120, **protocol)
    with back.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == digest.hexdigest()


def test_attach_and_run_follow_the_main_process(k: Kubectl, protocol: dict[str, Any]) -> None:
    # `read` makes sure that the client is attached before anything is printed.
    reader = container("read line; echo got $line; exit 4", stdin=True, stdinOnce=True)
    apply(k, pod("reader", reader, restartPolicy="Never"))
    wait_for_pod(k, "reader", is_running)
    assert "got something" in k("attach", "-i", "reader", stdin="something\n", **protocol)
    ended = wait_for_pod(k, "reader", has_phase("Failed"))
    assert status_of(ended)["state"]["terminated"]["exitCode"] == 4

    once = ["run", "once", f"--image={BUSYBOX}", "--image-pull-policy=Never", "--restart=Never", "--rm", "-i"]
    shown = k.run(*once, "--", "sh", "-c", "cat; exit 5", stdin="typed\n", **protocol)
    assert shown.returncode == 5, shown.stderr
    assert "typed" in shown.stdout
    assert 'pod "once" deleted' in shown.stdout + shown.stderr

    terminal = in_terminal(
        k.arguments(*once[:1], "twice", *once[2:-1], "-it", "--", "sh"),
        "echo $((6*7)); exit\n",
        k.environment(**protocol),
    )
    assert "42" in terminal


def test_debug_joins_a_pod_and_copies_one(k: Kubectl, protocol: dict[str, Any]) -> None:
    apply(k, pod("broken", container(WAIT, name="app")))
    wait_for_pod(k, "broken", is_ready)
    shown = k(
        *("debug", "broken", "-i", f"--image={BUSYBOX}", "--image-pull-policy=Never", "--target=app"),
        *("--", "sh", "-c", "read line; ps; echo $line"),
        stdin="debugged\n",
        **protocol,
    )
    assert "sleep 1000" in shown, "the processes of its target are seen"
    assert "debugged" in shown
    copied = k.run(
        *("debug", "broken", "-i", "--copy-to=copy", "--container=app", "--same-node"),
        *("--", "sh", "-c", "read line; echo copied $line"),
        stdin="once\n",
        **protocol,
    )
    assert "copied once" in copied.stdout, copied.stderr


def test_debug_shows_the_files_of_a_node(k: Kubectl) -> None:
    shown = k(
        *("debug", "node/node-1", "-i", f"--image={BUSYBOX}", "--image-pull-policy=Never", "--"),
        *("sh", "-c", "read line; ls -d /host/proc/1; echo $line"),
        stdin="debugged\n",
    )
    assert "/host/proc/1\ndebugged\n" in shown
    [debugger] = k.json("get", "pods")["items"]
    assert debugger["metadata"]["name"].startswith("node-debugger-node-1-")


@contextmanager
def forwarded(k: Kubectl, target: str, *ports: int, **environment: str) -> Iterator[list[int]]:
    """Local ports that `kubectl port-forward` leads to ports of the pod."""
    command = k.arguments("port-forward", target, *(f":{port}" for port in ports), "--address=127.0.0.1")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=k.environment(**environment)
    )
    try:
        assert process.stdout is not None
        found: list[int] = []
        while len(found) < len(ports):
            line = process.stdout.readline()
            assert line, "kubectl port-forward ended"
            match = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line)
            if match:
                found.append(int(match[1]))
        yield found
    finally:
        process.terminate()
        print(process.communicate(timeout=10)[0])  # what kubectl complained about, if the test fails


def exchange(connection: socket.socket, sent: bytes) -> bytes:
    """Send, end the sending side, and read what comes until the other side ends."""

    def send() -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=send)
    writer.start()
    received = bytearray()
    while chunk := connection.recv(1 << 16):
        received += chunk
    writer.join()
    connection.close()
    return bytes(received)


def test_ports_are_forwarded_with_half_closed_connections(k: Kubectl, protocol: dict[str, Any]) -> None:
    script = f"nc -ll -p 7000 -e cat & nc -ll -p 7001 -e wc -c & {WAIT}"
    ready = {"exec": {"command": ["sh", "-c", "netstat -lnt | grep -q 7000 && netstat -lnt | grep -q 7001"]}}
    apply(k, pod("server", container(script, readinessProbe={**ready, "periodSeconds": 1})))
    wait_for_pod(k, "server", is_ready)
    with forwarded(k, "pod/server", 7000, 7001, **protocol) as (echo, count):
        counter = socket.create_connection(("127.0.0.1", count), timeout=30)
        assert exchange(counter, os.urandom(3_000_000)).split() == [b"3000000"]
        connections = []
        for _ in range(4):
            connections.append(socket.create_connection(("127.0.0.1", echo), timeout=30))
            connections[-1].sendall(b"x")
            assert connections[-1].recv(1) == b"x"
        sent = [os.urandom(1_000_000) for _ in connections]
        with ThreadPoolExecutor() as pool:
            assert [*pool.map(exchange, connections, sent)] == sent


def test_logs_are_cut_as_asked(k: Kubectl) -> None:
    # What two streams say at the same moment is logged in either order.
    script = "echo one; sleep 1.2; echo two; sleep 0.1; echo err >&2; sleep 0.1; echo three"
    apply(
        k,
        pod("talker", container(f"{script}; {WAIT}")),
        pod("ended", container("echo bye; exit 3"), restartPolicy="Never"),
    )
    wait_for_pod(k, "talker", is_ready)
    followed = subprocess.Popen(
        k.arguments("logs", "-f", "talker"), stdout=subprocess.PIPE, text=True, env=k.environment()
    )
    assert followed.stdout is not None
    lines = [followed.stdout.readline() for _ in range(4)]
    followed.terminate()
    followed.communicate(timeout=10)
    assert sorted(lines) == ["err\n", "one\n", "three\n", "two\n"]
    stamped = k("logs", "talker", "--timestamps").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", line) for line in stamped)
    assert k("logs", "talker", "--tail=1") in ("three\n", "err\n")
    assert k("logs", "talker", "--limit-bytes=5") == "one\nt"
    second = next(line for line in stamped if line.endswith("two")).split()[0]
    assert "one" not in k("logs", "talker", f"--since-time={second}")
    assert "two" in k("logs", "talker", f"--since-time={second}")
    future = datetime.now(UTC).replace(year=2999).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert k("logs", "talker", f"--since-time={future}") == ""
    path = f"/api/v1/namespaces/{k.namespace}/pods/talker/log"
    assert k("get", "--raw", f"{path}?stream=Stderr") == "err\n"
    assert "err" not in k("get", "--raw", f"{path}?stream=Stdout")
    both = k.run("get", "--raw", f"{path}?stream=Stdout&tailLines=1")
    assert "mutually exclusive" in both.stderr
    wait_for_pod(k, "ended", has_phase("Failed"))
    assert k("logs", "ended") == "bye\n"
    previous = k.run("logs", "ended", "--previous")
    assert 'previous terminated container "main" in pod "ended" not found' in previous.stderr


@asynccontextmanager
async def api_session(k: Kubectl) -> AsyncIterator[aiohttp.ClientSession]:
    """HTTP as the administrator, for clients that no library stands for."""
    pki = k.process.data_dir / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(base_url=k.process.url, connector=connector) as session:
        yield session


async def messages_of(session: aiohttp.ClientSession, path: str, *protocols: str) -> list[bytes]:
    """Every message of a WebSocket until the server closes it in order, as bytes."""
    async with session.ws_connect(path, protocols=protocols) as client:
        assert client.protocol == (protocols[0] if protocols else None)
        messages = [m.data if isinstance(m.data, bytes) else m.data.encode() async for m in client]
        assert client.close_code == aiohttp.WSCloseCode.OK
        return messages


def test_long_lines_are_stamped_once(k: Kubectl) -> None:
    apply(k, pod("long", container("head -c 50000 /dev/zero | tr '\\0' x; echo; echo end"), restartPolicy="Never"))
    wait_for_pod(k, "long", has_phase("Succeeded"))
    first, last = k("logs", "long", "--timestamps").splitlines()
    assert first.partition(" ")[2] == "x" * 50_000
    assert last.endswith(" end")


async def test_logs_are_read_over_websocket(shell: Kubectl) -> None:
    apply(shell, pod("said", container("echo container is alive"), restartPolicy="Never"))
    wait_for_pod(shell, "said", has_phase("Succeeded"))
    path = f"/api/v1/namespaces/{shell.namespace}/pods/said/log"
    async with api_session(shell) as session:
        assert b"".join(await messages_of(session, path, "binary.k8s.io")) == b"container is alive\n"
        assert b"".join(await messages_of(session, path)) == b"container is alive\n"
        encoded = b"".join(await messages_of(session, path, "base64.binary.k8s.io"))
        assert base64.b64decode(encoded) == b"container is alive\n"
        followed = await messages_of(session, f"{path}?follow=true", "binary.k8s.io")
        assert b"".join(followed) == b"container is alive\n"


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io", ""])
async def test_commands_run_over_websocket_channels(shell: Kubectl, protocol: str) -> None:
    script = "command=sh&command=-c&command=echo+out;echo+err+>%262;exit+3&stdout=1&stderr=1"
    path = f"/api/v1/namespaces/{shell.namespace}/pods/shell/exec?{script}"
    async with api_session(shell) as session:
        messages = await messages_of(session, path, *([protocol] if protocol else []))
    by_channel = {n: b"".join(m[1:] for m in messages if m[0] == n) for n in (1, 2, 3)}
    assert (by_channel[1], by_channel[2]) == (b"out\n", b"err\n")
    if protocol.startswith("v"):
        assert json.loads(by_channel[3])["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    else:
        assert b"exit code 3" in by_channel[3]
