"""Real packets for the tests of the network: sockets inside the network namespaces of pods.

A socket belongs to the namespace it was made in, whoever uses it afterwards. So a test opens connections as a pod
would, with ports and time-outs of its choice, in microseconds where `kubectl exec` takes 150 ms; and an `Echo`
answers in a pod with the pod's name and the client's address, so that answers can be counted by who gave them.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.e2e.orchestrator_process import docker

CLONE_NEWNET = 0x40000000
ANSWER_SECONDS = 2.0
RETRY_SECONDS = 0.02

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where packets come from: a pod, or the machine itself (pid 0)."""

    name: str
    pid: int = 0
    address: str = ""
    node: str = ""

    def socket(self, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A new IPv4 socket of this place."""
        if not self.pid:
            return socket.socket(socket.AF_INET, kind, protocol)
        return in_namespace(self.pid, lambda: socket.socket(socket.AF_INET, kind, protocol))

    def tcp(self, address: str, port: int, *, seconds: float = ANSWER_SECONDS) -> Answer:
        """Connect once and read what the echo says; OSError."""
        with self.socket() as connection:
            connection.settimeout(seconds)
            connection.connect((address, port))
            return Answer.parse(connection.recv(200))

    def udp(self, address: str, port: int, *, seconds: float = ANSWER_SECONDS) -> Answer:
        """Send one datagram from a new port and read the answer; OSError."""
        with self.socket(socket.SOCK_DGRAM) as conversation:
            conversation.settimeout(seconds)
            conversation.connect((address, port))
            conversation.send(b"?")
            return Answer.parse(conversation.recv(200))

    def count(self, address: str, port: int, *, times: int = 60, protocol: str = "tcp") -> Counter[str]:
        """How many of so many new connections each pod answered."""
        ask = self.tcp if protocol == "tcp" else self.udp
        return Counter(ask(address, port).name for _ in range(times))


@dataclass(frozen=True)
class Answer:
    """What an echo says."""

    name: str
    """The pod that answered."""
    client: str
    """The address that it saw."""

    @classmethod
    def parse(cls, data: bytes) -> Answer:
        """Read the words of an `Echo`."""
        name, client = data.decode().split()
        return cls(name, client)


def place_of(pod: dict[str, Any]) -> Place:
    """The place of a running pod."""
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", container))
    return Place(pod["metadata"]["name"], pid, pod["status"]["podIP"], pod["spec"]["nodeName"])


def in_namespace(pid: int, function: Callable[[], T]) -> T:
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter the network of process {pid}")
            finally:
                os.close(descriptor)
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


class Echo:
    """Answers on ports inside pods, each with the pod's name and the address of who asks."""

    def __init__(self) -> None:
        self.received: Counter[tuple[str, str, int]] = Counter()
        """(pod, protocol, port) → connections and datagrams that arrived."""
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)
        self._thread.start()

    def serve(self, place: Place, *, tcp: tuple[int, ...] = (), udp: tuple[int, ...] = ()) -> None:
        """Listen on these ports of a place."""
        for kind, ports in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
            for port in ports:
                listener = place.socket(kind)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("0.0.0.0", port))
                if kind == socket.SOCK_STREAM:
                    listener.listen(128)
                listener.setblocking(False)
                self._selector.register(listener, selectors.EVENT_READ, (place.name, port))
        os.write(self._wake_write, b"+")

    def close(self) -> None:
        """Stop answering."""
        os.write(self._wake_write, b"q")
        self._thread.join()
        for key in [*self._selector.get_map().values()]:
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._wake_read:
                    if b"q" in os.read(self._wake_read, 100):
                        return
                    continue
                assert isinstance(key.fileobj, socket.socket)
                self._answer(key.fileobj, *key.data)

    def _answer(self, listener: socket.socket, name: str, port: int) -> None:
        if listener.type == socket.SOCK_DGRAM:
            _, client = listener.recvfrom(2000)
            self.received[name, "udp", port] += 1
            listener.sendto(f"{name} {client[0]}".encode(), client)
            return
        connection, client = listener.accept()
        with connection:
            self.received[name, "tcp", port] += 1
            connection.send(f"{name} {client[0]}".encode())


def until(check: Callable[[], T], expected: T | None = None, *, seconds: float = 10.0) -> T:
    """The result of `check` once it is `expected` (by default: once it is true).

    Packet rules change in the kernel, which tells nobody: packets are sent until they go where they should.
    """
    deadline = time.monotonic() + seconds
    while True:
        failure: OSError | None = None
        try:
            result = check()
        except OSError as error:
            failure = error
        else:
            if (result == expected) if expected is not None else result:
                return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: wanted {expected!r}, got {failure or result!r}") from failure
        threading.Event().wait(RETRY_SECONDS)


def sctp_init(source: int, destination: int) -> bytes:
    """A packet that opens an association (RFC 9260, section 3.3.2)."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65_535, 1, 1, 1)
    head = struct.pack("!HHI", source, destination, 0)
    register = 0xFFFFFFFF
    for byte in head + bytes(4) + chunk:  # CRC32c
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return head + struct.pack("<I", register ^ 0xFFFFFFFF) + chunk


def outcome(ask: Callable[[], object]) -> str:
    """How a connection ends: `answered`, `refused`, or `lost` when nothing comes back."""
    try:
        ask()
    except (ConnectionRefusedError, PermissionError):  # the latter for datagrams of the machine itself
        return "refused"
    except TimeoutError:
        return "lost"
    return "answered"
