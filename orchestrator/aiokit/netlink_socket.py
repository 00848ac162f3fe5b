"""A netlink socket for requests and their answers; blocking."""

from __future__ import annotations

import os
import socket
from typing import Self

from orchestrator.aiokit import netlink
from orchestrator.aiokit.netlink import Message

ANSWER_SECONDS_MAX = 30.0
_RECEIVE_BYTES = 64 << 10


class NetlinkError(OSError):
    """The kernel refused a request; `errno` says why."""


class RequestSocket:
    """A socket of one netlink protocol, in the network namespace of the thread that makes it."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.settimeout(ANSWER_SECONDS_MAX)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """The answers to a dump, from one state of the kernel: it says when something changed in between."""
        while True:
            answers = self.ask(kind, body, netlink.DUMP)
            if not any(one.flags & netlink.DUMP_INTERRUPTED for one in answers):
                return [one for one in answers if one.kind != netlink.MESSAGE_DONE]

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[Message]:
        """Send one request and read all of its answer; NetlinkError, or OSError when none comes."""
        self._sequence += 1
        is_dump = flags & netlink.DUMP == netlink.DUMP
        flags |= netlink.REQUEST | (0 if is_dump else netlink.ACKNOWLEDGE)
        head = netlink.header.pack(netlink.header.size + len(body), kind, flags, self._sequence, 0)
        self._socket.send(head + body)
        answers: list[Message] = []
        while True:
            for one in netlink.messages(self._socket.recv(_RECEIVE_BYTES)):
                if one.sequence != self._sequence:
                    continue  # of a request whose answer was not waited for
                if one.kind == netlink.MESSAGE_ERROR:
                    if one.error:
                        raise NetlinkError(one.error, os.strerror(one.error))
                    return answers
                answers.append(one)
                if one.kind == netlink.MESSAGE_DONE:
                    return answers
