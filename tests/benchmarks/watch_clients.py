"""Many watchers in one process, thin enough that the server is what is measured.

Prints `ready` when all watches are open, then, after each `count N` on its standard input has been satisfied
by every watcher, one line of JSON with the deliveries, the seconds since the first and the lags.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from typing import cast

EVENT = re.compile(rb'"sent":"(\d+)"')


class Watcher(asyncio.Protocol):
    """One HTTP/1.1 connection with one watch; finds the time of sending in each event."""

    def __init__(self, path: str, clients: Clients) -> None:
        self._path = path
        self._clients = clients
        self._rest = b""
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = f"GET {self._path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\n\r\n"
        cast(asyncio.Transport, transport).write(request.encode())

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            self._clients.opened()
        text = self._rest + data
        found = EVENT.findall(text)
        # What may be the beginning of the next event's time.
        self._rest = b"" if text.endswith(b"\n") else text[-40:].rpartition(b'"sent"')[2][-40:]
        if found:
            now = time.monotonic_ns()
            self._clients.received(len(found), [now - int(sent) for sent in found])


class Clients:
    """What all watchers have seen together."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.open = asyncio.Event()
        self._opened = 0
        self._goal = 0
        self._deliveries = 0
        self._lags: list[int] = []
        self._done = asyncio.Event()

    def opened(self) -> None:
        self._opened += 1
        if self._opened == self.count:
            self.open.set()

    def received(self, number: int, lags: list[int]) -> None:
        self._deliveries += number
        self._lags += lags
        if self._goal and self._deliveries >= self._goal:
            self._done.set()

    async def result(self, events: int) -> dict[str, float]:
        self._goal = events * self.count
        if self._deliveries >= self._goal:
            self._done.set()
        await asyncio.wait_for(self._done.wait(), 120)
        lags = sorted(self._lags)
        outcome = {
            "deliveries": float(self._deliveries),
            "lag_p50_ms": lags[len(lags) // 2] / 1e6,
            "lag_p99_ms": lags[int(len(lags) * 0.99)] / 1e6,
            "lag_max_ms": lags[-1] / 1e6,
        }
        self._deliveries, self._goal, self._lags = 0, 0, []
        self._done.clear()
        return outcome


async def main(port: int, pki: str, path: str, count: int) -> None:
    context = ssl.create_default_context(cafile=f"{pki}/ca.crt")
    context.load_cert_chain(f"{pki}/admin.crt", f"{pki}/admin.key")
    clients = Clients(count)
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_connection(lambda: Watcher(path, clients), "127.0.0.1", port, ssl=context)
    await clients.open.wait()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await clients.result(int(line.split()[1]))), flush=True)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
