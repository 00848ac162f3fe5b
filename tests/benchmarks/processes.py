"""What the benchmarks share: orchestrators in processes of their own, TLS sessions, percentiles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Running:
    """A started orchestrator."""

    process: asyncio.subprocess.Process
    url: str
    data_dir: Path
    start_seconds: float

    def rss_mib(self) -> float:
        """Resident memory now."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * PAGE / 2**20

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def session(self, connections: int = 32) -> aiohttp.ClientSession:
        """An HTTPS session as administrator; keeps its connections open."""
        pki = self.data_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        connector = aiohttp.TCPConnector(ssl=context, limit=connections)
        return aiohttp.ClientSession(base_url=self.url, connector=connector)


@contextlib.asynccontextmanager
async def orchestrator(*options: str, data_dir: Path | None = None) -> AsyncIterator[Running]:
    """`python -m orchestrator` with these options on a free port, stopped and taken down at the end."""
    with contextlib.ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-")))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
        command = [sys.executable, "-m", "orchestrator", "up", "--data-dir", str(folder), "--listen", "127.0.0.1:0"]
        started = time.perf_counter()
        with (folder.parent / f"{folder.name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, *options, stdout=asyncio.subprocess.PIPE, stderr=log, env=environment
            )
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            elapsed = time.perf_counter() - started
            if not line.startswith("ready "):
                raise RuntimeError(f"the orchestrator did not start; its log is {log.name}")
            try:
                yield Running(process, line.split()[1], folder, elapsed)
            finally:
                process.terminate()
                await process.wait()
                down = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "orchestrator", "down", "--data-dir", str(folder),
                    stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env=environment,
                )  # fmt: skip
                await down.wait()
        os.unlink(log.name)


async def rate(
    work: Callable[[int], Awaitable[None]], *, count: int, concurrency: int
) -> tuple[float, dict[str, float]]:
    """Do `work(number)` this often: (per second, latency percentiles in ms)."""
    latencies: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            await work(number)
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return count / elapsed, {
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }


async def wait_for_account(session: aiohttp.ClientSession) -> None:
    """Wait until the namespace `default` has its account: pods need one."""
    path = "/api/v1/namespaces/default/serviceaccounts?watch=true&fieldSelector=metadata.name%3Ddefault"
    async with session.get(path) as response:
        await response.content.readline()


def pod(name: str, *, namespace: str = "default", scheduler: str = "default-scheduler") -> dict[str, object]:
    """A plain pod; one of an unknown scheduler stays as it was posted."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "bench", "tier": "web"}},
        "spec": {
            "schedulerName": scheduler,
            "containers": [
                {
                    "name": "app",
                    "image": "registry.example/app:1",
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": "A", "value": "1"}],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                }
            ],
        },
    }
