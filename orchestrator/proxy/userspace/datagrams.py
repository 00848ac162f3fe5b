"""Carries UDP: each client of a listener has a socket of its own towards an endpoint, for as long as they talk.

Mirrors kube-proxy's former `udpProxySocket`; the time-outs are those of the kernel's connection tracking
(`nf_conntrack_udp_timeout`, `..._stream`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from typing import Any

from orchestrator.aiokit.clock import Clock
from orchestrator.proxy.topology import Target
from orchestrator.proxy.userspace.choice import Chooser
from orchestrator.proxy.userspace.plan import Route

ONE_WAY_SECONDS = 30.0
TALK_SECONDS = 120.0
CLIENTS_MAX = 1024
"""Of one listener; the one that was silent longest makes room."""
DATAGRAM_BYTES_MAX = 65_535
AT_ONCE = 32
"""Datagrams that are carried before others on the loop get their turn."""


class _Talk:
    """One client and its endpoint."""

    def __init__(self, client: tuple[str, int], target: Target, connection: socket.socket) -> None:
        self.client = client
        self.target = target
        self.connection = connection
        self.last = 0.0
        self.is_answered = False

    def is_over(self, now: float) -> bool:
        return now - self.last >= (TALK_SECONDS if self.is_answered else ONE_WAY_SECONDS)


class DatagramCarrier:
    """The datagrams that come through one socket."""

    def __init__(self, route: Route, chooser: Chooser, clock: Clock) -> None:
        self._route = route
        self._chooser = chooser
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._talks: OrderedDict[tuple[str, int], _Talk] = OrderedDict()
        self._timer: Any = None

    async def open(self, listening: socket.socket) -> None:
        """Take datagrams from a bound socket, which is ours from now on."""
        self._listening = listening
        self._loop.add_reader(listening.fileno(), self._receive, listening)

    def follow(self, route: Route) -> None:
        self._route = route
        for talk in [*self._talks.values()]:
            if not route.leads_to(talk.target):
                self._end(talk)

    def close(self) -> None:
        if self._listening is not None:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
            self._listening = None
        for talk in [*self._talks.values()]:
            self._end(talk)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    abort = close

    def _receive(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                data, client = listening.recvfrom(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier answer: its client has gone
            talk = self._talks.get(client) or self._begin(client)
            if talk is None:
                continue
            talk.last = self._clock.monotonic()
            self._talks.move_to_end(client)
            try:
                talk.connection.send(data)
            except BlockingIOError:
                continue  # UDP loses what there is no room for
            except OSError:
                self._end(talk)  # nobody is there any more; the next datagram goes elsewhere

    def _begin(self, client: tuple[str, int]) -> _Talk | None:
        candidates = self._chooser.candidates(self._route, client[0])
        if not candidates:
            return None
        if len(self._talks) >= CLIENTS_MAX:
            self._end(next(iter(self._talks.values())))
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            connection = socket.socket(socket.AF_INET, kind)
        except OSError:
            return None  # too many are open: the datagram is lost
        try:
            connection.connect(candidates[0])
        except OSError:
            connection.close()
            return None
        talk = self._talks[client] = _Talk(client, candidates[0], connection)
        self._chooser.remember(self._route, client[0], talk.target)
        self._loop.add_reader(connection.fileno(), self._answer, talk)
        if self._timer is None:
            self._timer = self._clock.call_later(ONE_WAY_SECONDS, self._look)
        return talk

    def _answer(self, talk: _Talk) -> None:
        for _ in range(AT_ONCE):
            try:
                data = talk.connection.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                self._end(talk)  # the endpoint refuses
                return
            talk.is_answered = True
            talk.last = self._clock.monotonic()
            self._talks.move_to_end(talk.client)
            if self._listening is not None:
                try:
                    self._listening.sendto(data, talk.client)
                except OSError:
                    continue  # no room, or the client has gone

    def _end(self, talk: _Talk) -> None:
        self._loop.remove_reader(talk.connection.fileno())
        talk.connection.close()
        self._talks.pop(talk.client, None)

    def _look(self) -> None:
        """End the conversations in which nobody has said anything for a while."""
        now = self._clock.monotonic()
        for talk in [*self._talks.values()]:
            if talk.is_over(now):
                self._end(talk)
        self._timer = self._clock.call_later(ONE_WAY_SECONDS, self._look) if self._talks else None
