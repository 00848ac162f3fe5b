"""Engines that have no socket here: through TLS, and through a program that takes ssh's place."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.aiokit.clock import SystemClock
from orchestrator.config.engines import EngineAddress, engine_address
from orchestrator.kubelet.docker.engine import DockerEngine
from orchestrator.kubelet.docker.tunnel import remove_abandoned, ssh_command, tunnel_to
from orchestrator.kubelet.runtime import RuntimeUnavailable
from tests.certificates import write_certificates
from tests.unit.kubelet.docker.test_engine import SmallEngine

SECONDS_MAX = 10.0

FAKE_SSH = """#!{python}
import os, socket, sys, threading
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
if {complaint!r}:
    sys.exit({complaint!r})
engine = socket.socket(socket.AF_UNIX)
engine.connect({engine!r})

def send():
    while data := os.read(0, 65536):
        engine.sendall(data)
    engine.shutdown(socket.SHUT_WR)

threading.Thread(target=send, daemon=True).start()
while data := engine.recv(65536):
    os.write(1, data)
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    write_certificates(folder)
    return folder


def access_to(certificates: Path) -> dict[str, str]:
    return {name: str(certificates / f"{name}.pem") for name in ("ca", "cert", "key")}


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server-key.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[tuple[SmallEngine, web.AppRunner]]:
    engine = SmallEngine(tmp_path / "engine.sock")
    runner = await engine.serve()
    yield engine, runner
    await runner.cleanup()


@pytest.fixture
async def tls_url(small: tuple[SmallEngine, web.AppRunner], certificates: Path) -> str:
    site = web.TCPSite(small[1], "127.0.0.1", 0, ssl_context=server_context(certificates))
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    return f"tcp://127.0.0.1:{port}"


async def test_an_engine_behind_tls(tls_url: str, certificates: Path) -> None:
    address = engine_address(tls_url, access_to(certificates))
    async with DockerEngine(clock=SystemClock(), address=address) as engine:
        assert engine.version["ApiVersion"] == "1.41"
        answers = await asyncio.gather(*(engine.call("GET", "networks") for _ in range(20)))
        assert answers == [[]] * 20


async def test_an_engine_of_another_authority_is_not_believed(
    tls_url: str, certificates: Path, tmp_path: Path
) -> None:  # fmt: skip
    (tmp_path / "others").mkdir()
    write_certificates(tmp_path / "others")
    address = engine_address(tls_url, access_to(certificates) | {"ca": str(tmp_path / "others" / "ca.pem")})
    with pytest.raises(RuntimeUnavailable, match=r"(?i)certificate.verify.failed"):
        async with DockerEngine(clock=SystemClock(), address=address):
            raise AssertionError("it was believed")


async def test_a_certificate_that_cannot_be_read_is_named(certificates: Path) -> None:
    address = engine_address("tcp://127.0.0.1:1", access_to(certificates) | {"key": "/nowhere/key.pem"})
    with pytest.raises(RuntimeUnavailable, match=r"/nowhere/key\.pem cannot be read"):
        await DockerEngine(clock=SystemClock(), address=address).connect()


@pytest.fixture
def counting_server(certificates: Path) -> Iterator[int]:
    """Reads to the end of one connection, and answers then with the number of bytes."""
    listening = socket.create_server(("127.0.0.1", 0))
    context = server_context(certificates)

    def serve() -> None:
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            count = 0
            while data := secured.recv(65536):
                count += len(data)
            secured.sendall(f"{count} bytes".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.close()
    thread.join(SECONDS_MAX)


async def test_the_end_of_what_is_sent_arrives_through_tls(counting_server: int, certificates: Path) -> None:
    """As with `kubectl exec -i`: the answer comes only after the end of the input."""
    tunnel = tunnel_to(engine_address(f"tcp://127.0.0.1:{counting_server}", access_to(certificates)))
    assert tunnel is not None
    reader, writer = await asyncio.open_unix_connection(await tunnel.open())
    writer.write(b"x" * 1_000_000)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), SECONDS_MAX) == b"1000000 bytes"
    writer.close()
    await tunnel.close()


def put_ssh(folder: Path, engine: Path, complaint: str = "") -> Path:
    """A program `ssh` that leads to a socket; returns the file with the arguments that it was given."""
    log = folder / "ssh.log"
    program = folder / "ssh"
    program.write_text(FAKE_SSH.format(python=sys.executable, engine=str(engine), log=str(log), complaint=complaint))
    program.chmod(0o755)
    return log


async def test_an_engine_behind_ssh(
    small: tuple[SmallEngine, web.AppRunner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = put_ssh(tmp_path, small[0].path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    address = engine_address("ssh://me@builder:2222")
    async with DockerEngine(clock=SystemClock(), address=address) as engine:
        assert await engine.call("GET", "networks") == []
    arguments = log.read_text().splitlines()[0]
    assert arguments == "-o BatchMode=yes -o ConnectTimeout=30 -T -l me -p 2222 -- builder docker system dial-stdio"


async def test_what_ssh_complains_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_ssh(tmp_path, tmp_path / "nothing", "me@builder: Permission denied (publickey).")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RuntimeUnavailable, match=r"ssh ended with 1: me@builder: Permission denied"):
        async with DockerEngine(clock=SystemClock(), address=engine_address("ssh://me@builder")):
            raise AssertionError("it connected")


async def test_without_the_program_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeUnavailable, match="the program ssh is not installed"):
        async with DockerEngine(clock=SystemClock(), address=engine_address("ssh://builder")):
            raise AssertionError("it connected")


async def test_only_this_user_reaches_the_socket_and_nothing_stays(certificates: Path) -> None:
    tunnel = tunnel_to(engine_address("tcp://127.0.0.1:1", access_to(certificates)))
    assert tunnel is not None
    path = await tunnel.open()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await tunnel.close()
    assert not path.parent.exists()


def test_the_folder_of_a_process_that_was_killed_goes(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    gone, own, another = f"orchestrator-engine-{ended.pid}-a", f"orchestrator-engine-{os.getpid()}-b", "engine-1-c"
    for name in (gone, own, another):
        (tmp_path / name).mkdir()
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {own, another}


def test_a_plain_address_needs_no_tunnel() -> None:
    assert tunnel_to(EngineAddress()) is None
    assert tunnel_to(engine_address("tcp://127.0.0.1:2375")) is None
    assert ssh_command(engine_address("ssh://builder").parts)[-5:] == (
        "--",
        "builder",
        "docker",
        "system",
        "dial-stdio",
    )
