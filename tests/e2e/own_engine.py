"""A second Docker Engine on this machine, behind TLS: its data, its socket and its bridge are its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.certificates import write_certificates

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
PROGRAMS = ("dockerd", "ip")


def missing() -> str:
    """What this machine lacks for one; empty when nothing."""
    if os.geteuid() != 0:
        return "root rights"
    return ", ".join(name for name in PROGRAMS if shutil.which(name) is None)


class OwnEngine:
    """A running dockerd; the main one's bridge and rules are left alone, as it has a bridge and makes no rules."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"tcp://127.0.0.1:{port}"
        self.socket = f"unix://{folder}/docker.sock"

    @property
    def access(self) -> dict[str, str]:
        """`ca`, `cert` and `key` for `engineAccess`."""
        return {name: str(self.folder / f"{name}.pem") for name in ("ca", "cert", "key")}


@contextlib.contextmanager
def own_engine(port: int) -> Iterator[OwnEngine]:
    """Start a dockerd that listens on this port of the loopback, and stop it."""
    folder = Path(tempfile.mkdtemp(prefix="orc-engine-"))  # short: there are sockets below
    bridge = f"orctest{port}"
    engine = OwnEngine(folder, port)
    write_certificates(folder)
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", "192.168.253.1/30", "dev", bridge], check=True)
        process = subprocess.Popen(
            [
                "dockerd", "--host", engine.socket, "--host", engine.url, "--tlsverify",
                "--tlscacert", f"{folder}/ca.pem", "--tlscert", f"{folder}/server.pem",
                "--tlskey", f"{folder}/server-key.pem", "--data-root", f"{folder}/data",
                "--exec-root", f"{folder}/run", "--pidfile", f"{folder}/pid", "--bridge", bridge,
                "--iptables=false", "--ip-forward=false", "--ip-masq=false",
            ],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_it_listens(process, f"127.0.0.1:{port}")
            yield engine
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS_MAX)
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)
        for point in _mounts_below(folder):
            subprocess.run(["umount", "--lazy", point], check=True)
        shutil.rmtree(folder)


def _mounts_below(folder: Path) -> list[str]:
    """What it left mounted (network namespaces), the last one first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def _wait_until_it_listens(process: subprocess.Popen[str], address: str) -> None:
    """Read its log until it says so, and let it go on from there."""
    assert process.stderr is not None
    said: list[str] = []
    listens = threading.Event()

    def read() -> None:
        for line in process.stderr or ():
            if not listens.is_set():
                said.append(line)
            if "API listen on" in line and address in line:
                listens.set()
        listens.set()

    threading.Thread(target=read, daemon=True).start()
    listens.wait(START_SECONDS_MAX)
    assert process.poll() is None, "dockerd ended: " + "".join(said[-20:])
