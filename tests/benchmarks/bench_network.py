"""The network: Services in the kernel, DNS on a busy loop, what a Service costs against the direct way to a pod.

The rules are measured in a network namespace of their own, so that nothing of the machine is touched. Throughput,
latency and new connections go from one real container's namespace to another's, directly and through a ClusterIP,
in turn.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import multiprocessing
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp

from tests.benchmarks.processes import orchestrator, wait_for_account

IMAGE = "orchestrator.test/busybox:1"
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]
ENDPOINTS_EACH = 3
PODS = 480
CHANGES = 30
ROUNDS = 15
TRANSFER_BYTES = 256 << 20
CONNECTIONS = 500
ECHOES = 1_000
PORT, SINK_PORT = 8000, 8001
DNS_QUERIES = 20_000
DNS_OUTSTANDING = 64
READY_ROUNDS = 10


async def run() -> dict[str, float]:
    """Milliseconds, queries and connections per second, and ratios Service : direct."""
    results: dict[str, float] = {}
    for count in (1_000, 5_000):
        results |= await asyncio.to_thread(_in_own_namespace, partial(_rules_now, count))
    async with orchestrator("--runtime", "docker", "--nodes", "2") as running, running.session(20) as session:
        results |= await _Cluster(session).measure()
    return results


def _in_own_namespace(function: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Call a function in a thread that has a new, empty network namespace."""
    import ctypes
    import os

    results: list[dict[str, float] | BaseException] = []

    def work() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


# ---------------------------------------------------------------- rules


def _service(number: int) -> dict[str, Any]:
    ip = f"10.96.{number // 250}.{number % 250 + 1}"
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "metadata": {"name": f"s-{number}", "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": ports},
    }


def _slices(number: int, generation: int = 0) -> list[dict[str, Any]]:
    first = number * ENDPOINTS_EACH + generation
    addresses = [f"10.200.{(first + n) % PODS // 240}.{(first + n) % PODS % 240 + 2}" for n in range(ENDPOINTS_EACH)]
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    return [
        {
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        }
    ]


def _rules_now(count: int) -> dict[str, float]:
    return asyncio.run(_rules(count))


async def _rules(count: int) -> dict[str, float]:
    """Program so many Services at once, then change single ones; planning included."""
    from orchestrator.cli.up import COLLECTOR_THRESHOLDS
    from orchestrator.proxy import netlink
    from orchestrator.proxy.encoding import encode
    from orchestrator.proxy.nftables import LibNftables, NftSocket
    from orchestrator.proxy.plan import plan_service
    from orchestrator.proxy.ruleset import Changes, Layout, Ruleset

    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as in a process of its own
    layout = Layout(table="bench", bridge="lo", services="10.96.0.0/16")
    nft, kernel = LibNftables(), NftSocket()
    ruleset = Ruleset(layout)
    services = [(f"default/s-{n}", _service(n), _slices(n)) for n in range(count)]
    everything = Changes()
    started = time.perf_counter()
    for key, service, slices in services:
        ruleset.update(key, plan_service(service, slices, ()), everything)
    planned = time.perf_counter()
    transaction = netlink.batch(encode(layout.table, everything))
    encoded = time.perf_counter()
    ruleset.count(everything)
    nft.run_here(ruleset.empty_table())
    kernel.write(transaction)
    programmed = time.perf_counter()
    durations = []
    for number in range(CHANGES):
        changed = time.perf_counter()
        changes = Changes()
        rules = plan_service(_service(number), _slices(number, 1), ())
        ruleset.update(f"default/s-{number}", rules, changes)
        kernel.write(netlink.batch(encode(layout.table, changes)))
        durations.append(time.perf_counter() - changed)
    replaced = time.perf_counter()
    nft.run_here(ruleset.text())
    ended = time.perf_counter()
    nft.close()
    kernel.close()
    gc.set_threshold(*thresholds)
    return {
        f"rules_{count}_plan_ms": (planned - started) * 1000,
        f"rules_{count}_encode_ms": (encoded - planned) * 1000,
        f"rules_{count}_kernel_ms": (programmed - encoded) * 1000,
        f"rules_{count}_programmed_ms": (programmed - started) * 1000,
        f"rules_{count}_change_ms_median": statistics.median(durations) * 1000,
        f"rules_{count}_replaced_ms": (ended - replaced) * 1000,
    }


# ---------------------------------------------------------------- a cluster


class _Cluster:
    """Measures on a running cluster of two nodes, from a pod on one to a pod on the other."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._namespace = "/api/v1/namespaces/default"

    async def measure(self) -> dict[str, float]:
        await wait_for_account(self._session)
        server, client = await asyncio.gather(self._pod("server", "node-1"), self._pod("client", "node-2"))
        service = await self._post(
            f"{self._namespace}/services",
            {
                "metadata": {"name": "server"},
                "spec": {
                    "selector": {"app": "server"},
                    "ports": [
                        {"name": "echo", "port": PORT, "targetPort": PORT},
                        {"name": "sink", "port": SINK_PORT, "targetPort": SINK_PORT},
                    ],
                },
            },
        )
        address = service["spec"]["clusterIP"]
        dns = await self._get("/api/v1/namespaces/kube-system/services/kube-dns")
        results = await asyncio.to_thread(_packets, server, client, address)
        dns_address = dns["spec"]["clusterIP"]
        results |= await _in_process(lambda: _dns(client, dns_address, "dns"))
        busy = asyncio.create_task(self._keep_busy())
        results |= await _in_process(lambda: _dns(client, dns_address, "dns_busy"))
        busy.cancel()
        results |= await self._ready(client, server, dns_address)
        return results

    async def _ready(self, client: Any, server: Any, dns: str) -> dict[str, float]:
        """From the write that adds an endpoint until a packet arrives there, and until DNS answers with it."""
        rules, names = [], []
        listener = server.socket()
        listener.bind(("0.0.0.0", PORT))
        listener.listen(128)
        for number in range(READY_ROUNDS):
            name = f"late-{number}"
            for suffix, cluster_ip in (("", {}), ("-headless", {"clusterIP": "None"})):
                await self._post(
                    f"{self._namespace}/services",
                    {"metadata": {"name": name + suffix}, "spec": {"ports": [{"port": PORT}], **cluster_ip}},
                )
            service = await self._get(f"{self._namespace}/services/{name}")
            address = service["spec"]["clusterIP"]
            ready = []
            for suffix, wait in (
                ("", lambda address=address: _until_connected(client, address)),
                ("-headless", lambda name=name: _until_resolved(client, dns, f"{name}-headless")),
            ):
                thread = asyncio.create_task(asyncio.to_thread(wait))
                started = time.perf_counter()
                await self._post(
                    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
                    {
                        "metadata": {
                            "name": name + suffix,
                            "labels": {"kubernetes.io/service-name": name + suffix},
                        },
                        "addressType": "IPv4",
                        "endpoints": [{"addresses": [server.address], "conditions": {"ready": True}}],
                        "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
                    },
                )
                ready.append(await thread - started)
            rules.append(ready[0])
            names.append(ready[1])
        listener.close()
        return {
            "ready_to_rules_ms_median": statistics.median(rules) * 1000,
            "ready_to_dns_ms_median": statistics.median(names) * 1000,
        }

    async def _keep_busy(self) -> None:
        """Eight clients that list, create and delete."""

        async def work(number: int) -> None:
            path = f"{self._namespace}/configmaps"
            for turn in itertools.count():
                name = f"busy-{number}-{turn}"
                await self._post(path, {"metadata": {"name": name}, "data": {"k": "v" * 1000}})
                await self._get("/api/v1/pods")
                async with self._session.delete(f"{path}/{name}") as response:
                    await response.read()

        await asyncio.gather(*(work(number) for number in range(8)))

    async def _pod(self, name: str, node: str) -> Any:
        from tests.e2e.packets import place_of

        path = f"{self._namespace}/pods?watch=true&fieldSelector=metadata.name%3D{name}"
        async with self._session.get(path) as response:
            container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": SLEEP}
            spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
            await self._post(
                f"{self._namespace}/pods", {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
            )
            async for line in response.content:
                pod = json.loads(line)["object"]
                if pod.get("status", {}).get("phase") == "Running":
                    return await asyncio.to_thread(place_of, pod)
        raise RuntimeError(f"the pod {name} did not start")

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(path, json=body) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status < 300, answer
            return answer

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._session.get(path) as response:
            found: dict[str, Any] = await response.json()
            return found


# ---------------------------------------------------------------- packets


async def _in_process(function: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Call a function in a process of its own, so that it measures others and not itself."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(function()))
    child.start()
    try:
        results: dict[str, float] = await asyncio.to_thread(ours.recv)
        return results
    finally:
        child.terminate()
        child.join()


def _packets(server: Any, client: Any, service: str) -> dict[str, float]:
    """Throughput, latency of a kept connection and new connections, direct and through the Service, in turn."""
    context = multiprocessing.get_context("fork")
    children = []
    for port, serve in ((PORT, _echo), (SINK_PORT, _sink)):
        listener = server.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen(1024)
        children.append(context.Process(target=serve, args=(listener,), daemon=True))
        children[-1].start()
        listener.close()
    try:
        _until_connected(client, service)
        measures = {"gbit_s": _throughput, "round_trips_s": _round_trips, "connections_s": _new_connections}
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for way, address in (("direct", server.address), ("service", service)):
                for name, measure in measures.items():
                    found.setdefault(f"{way}_{name}", []).append(measure(client, address))
    finally:
        for child in children:
            child.terminate()
            child.join()
    results = {name: statistics.median(values) for name, values in found.items()}
    for name in measures:
        # Medians: where the scheduler puts the two processes makes a single round twice as fast by chance.
        results[f"service_{name}_ratio"] = results[f"service_{name}"] / results[f"direct_{name}"]
    return results


def _echo(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)


def _sink(listener: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv_into(buffer):
                pass
            connection.sendall(b".")


def _connect(client: Any, address: str, port: int) -> socket.socket:
    connection: socket.socket = client.socket()
    connection.settimeout(30)
    connection.connect((address, port))
    return connection


def _throughput(client: Any, address: str) -> float:
    chunk = bytes(1 << 20)
    with _connect(client, address, SINK_PORT) as connection:
        started = time.perf_counter()
        for _ in range(TRANSFER_BYTES // len(chunk)):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        return TRANSFER_BYTES * 8 / (time.perf_counter() - started) / 1e9


def _round_trips(client: Any, address: str) -> float:
    with _connect(client, address, PORT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.perf_counter()
        for _ in range(ECHOES):
            connection.sendall(b"ping")
            connection.recv(4096)
        return ECHOES / (time.perf_counter() - started)


def _new_connections(client: Any, address: str) -> float:
    # The sockets are made beforehand: entering a namespace takes longer than connecting.
    sockets = [client.socket() for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    for connection in sockets:
        connection.connect((address, PORT))
        connection.sendall(b"ping")
        connection.recv(4096)
        connection.close()
    return CONNECTIONS / (time.perf_counter() - started)


def _until_connected(client: Any, address: str) -> float:
    """When the first connection succeeds; each try is refused at once until then."""
    while True:
        with client.socket() as connection:
            connection.settimeout(1)
            try:
                connection.connect((address, PORT))
            except OSError:
                continue
            return time.perf_counter()


def _query(identifier: int, name: str) -> bytes:
    question = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    return struct.pack("!HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + question


def _until_resolved(client: Any, dns: str, name: str) -> float:
    query = _query(1, f"{name}.default.svc.cluster.local")
    with client.socket(socket.SOCK_DGRAM) as conversation:
        conversation.settimeout(1)
        conversation.connect((dns, 53))
        while True:
            conversation.send(query)
            if struct.unpack_from("!H", conversation.recv(4096), 6)[0]:  # the number of answers
                return time.perf_counter()


def _dns(client: Any, dns: str, prefix: str) -> dict[str, float]:
    """Queries per second with some always on their way, and how long each waits."""
    sent: dict[int, float] = {}
    latencies = []
    with client.socket(socket.SOCK_DGRAM) as conversation:
        conversation.settimeout(5)
        conversation.connect((dns, 53))
        started = time.perf_counter()
        for number in range(DNS_QUERIES):
            identifier = number & 0xFFFF
            sent[identifier] = time.perf_counter()
            conversation.send(_query(identifier, "server.default.svc.cluster.local"))
            if len(sent) >= DNS_OUTSTANDING:
                (answered,) = struct.unpack_from("!H", conversation.recv(4096))
                latencies.append(time.perf_counter() - sent.pop(answered))
        elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        f"{prefix}_queries_s": len(latencies) / elapsed,
        f"{prefix}_p50_ms": latencies[len(latencies) // 2] * 1000,
        f"{prefix}_p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }
