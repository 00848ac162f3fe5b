"""Priority levels: seats for the requests that are worked on, and queues of those in front of them.

A level has seats in proportion to its shares. When all are taken, a request is refused or waits in one of the
level's queues, which are served in turn; each flow (a user, or a namespace) is dealt a hand of queues and waits in
the shortest, so that a flooding client fills its own queues and nearly nobody else's. Idle seats are lent to other
levels as far as both allow it. An exempt level only counts.

Mirrors k8s.io/apiserver/pkg/util/flowcontrol and its shuffle sharding (KEP-1040).
# Simplified: every request takes one seat, queues are served in turn instead of by virtual time, and seats are lent
# at the moment of need instead of being redistributed every 10 s. What a lender needs it takes at once, so that for
# some milliseconds more seats may be taken than there are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from hashlib import blake2b

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object

SERVER_SEATS = 600
"""Shared out among the levels; as many as kube-apiserver's defaults of `--max-requests-inflight` and
`--max-mutating-requests-inflight` make."""
WAIT_SECONDS_MAX = 15.0
"""As long as kube-apiserver lets a request wait: a quarter of its time limit."""
RETRY_AFTER_SECONDS = 1
TOO_MANY = "Too many requests, please try again later."


class Rejected(errors.TooManyRequests):
    """The request found no seat; answered as plain text, as kube-apiserver does."""

    def __init__(self, reason: str) -> None:
        super().__init__(TOO_MANY, retry_after_seconds=RETRY_AFTER_SECONDS)
        self.why = reason
        """`concurrency-limit`, `queue-full` or `time-out`, as metrics name it."""


class Limits(Struct, frozen=True):
    """What a priority level may hold."""

    seats: int
    """NominalCL of the API."""
    lendable: int = 0
    """Seats that others may take while they are idle."""
    borrowable: int = 0
    """Seats of others that may be taken."""
    queues: int = 0
    """0: what finds no seat is refused."""
    hand_size: int = 1
    queue_length: int = 0
    is_exempt: bool = False


def plan_limits(levels: Mapping[str, Object]) -> dict[str, Limits]:
    """What the server's seats come to for each PriorityLevelConfiguration, by name.

    Source: the formulas in the API documentation of LimitedPriorityLevelConfiguration.
    """
    shares = {name: _settings(level).get("nominalConcurrencyShares") or 0 for name, level in levels.items()}
    total = sum(shares.values())
    return {name: _limits(level, -(-SERVER_SEATS * shares[name] // (total or 1))) for name, level in levels.items()}


def _settings(level: Object) -> Object:
    spec = level["spec"]
    return spec.get("limited") or spec.get("exempt") or {}


def _limits(level: Object, seats: int) -> Limits:
    settings = _settings(level)
    percent, borrowing = settings.get("lendablePercent") or 0, settings.get("borrowingLimitPercent")
    queuing = (settings.get("limitResponse") or {}).get("queuing") or {}
    return Limits(
        seats,
        lendable=_percent(seats, percent),
        borrowable=SERVER_SEATS if borrowing is None else _percent(seats, borrowing),
        queues=queuing.get("queues") or 0,
        hand_size=queuing.get("handSize") or 1,
        queue_length=queuing.get("queueLengthLimit") or 0,
        is_exempt=level["spec"].get("type") == "Exempt",
    )


def _percent(seats: int, percent: int) -> int:
    return (seats * percent + 50) // 100


class FlowCounts:
    """What happened to the requests of one FlowSchema at one priority level."""

    __slots__ = ("dispatched", "executing", "rejected", "waiting")

    def __init__(self) -> None:
        self.dispatched = 0
        self.executing = 0
        self.waiting = 0
        self.rejected: dict[str, int] = {}
        """reason → how many"""


class _Waiting:
    """A request in a queue."""

    __slots__ = ("counts", "future", "queue")

    def __init__(self, future: asyncio.Future[None], queue: int, counts: FlowCounts) -> None:
        self.future = future
        self.queue = queue
        self.counts = counts


class Level:
    """Seats of one priority level, and the queues in front of them."""

    def __init__(self, limits: Limits, *, clock: Clock, pool: Pool) -> None:
        self.limits = limits
        self._clock = clock
        self._pool = pool
        self.executing = 0
        self.waiting = 0
        self._queues: OrderedDict[int, deque[_Waiting]] = OrderedDict()
        """queue → who waits; the queue whose turn is next comes first, empty ones are left out"""

    def has_seat(self) -> bool:
        """Whether one more request may be worked on."""
        limits = self.limits
        if limits.is_exempt or self.executing < limits.seats:
            return True
        return self.executing < limits.seats + limits.borrowable and self._pool.can_lend(self)

    def check(self, flow: str, counts: FlowCounts) -> None:
        """Raise Rejected where a request of this flow would be refused at once."""
        if not self.waiting and self.has_seat():
            return
        if not self.limits.queues:
            raise _refused(counts, "concurrency-limit")
        if len(self._queues.get(self._queue_of(flow), ())) >= self.limits.queue_length:
            raise _refused(counts, "queue-full")

    def try_acquire(self, counts: FlowCounts) -> bool:
        """Take a seat if one is free and nobody waits for it; each needs one `release`."""
        if self.waiting or not self.has_seat():
            return False
        self._seat(counts)
        return True

    async def acquire(self, flow: str, counts: FlowCounts) -> None:
        """Take a seat, after waiting for one if needed; raises Rejected. Each needs one `release`."""
        if self.try_acquire(counts):
            return
        self.check(flow, counts)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), self._queue_of(flow), counts)
        self._queues.setdefault(waiting.queue, deque()).append(waiting)
        self._count_waiting(waiting, 1)
        timer = self._clock.call_later(WAIT_SECONDS_MAX, lambda: self._give_up(waiting))
        try:
            await waiting.future
        except BaseException:
            # Cancelled: while it waited, or at the moment when it got its seat.
            future = waiting.future
            if not self._forget(waiting) and not future.cancelled() and future.exception() is None:
                self.release(counts)
            raise
        finally:
            timer.cancel()

    def release(self, counts: FlowCounts) -> None:
        """Give a seat back; it goes to the queue whose turn it is, or to a level that may borrow it."""
        self.executing -= 1
        counts.executing -= 1
        if self.waiting:
            self.dispatch()
        if self._pool.waiting:
            self._pool.dispatch()

    def dispatch(self) -> None:
        """Give seats to those who wait, as long as there are any."""
        while self._queues and self.has_seat():
            number, queue = next(iter(self._queues.items()))
            waiting = queue.popleft()
            if queue:
                self._queues.move_to_end(number)
            else:
                del self._queues[number]
            self._count_waiting(waiting, -1)
            if not waiting.future.done():
                self._seat(waiting.counts)
                waiting.future.set_result(None)

    def _seat(self, counts: FlowCounts) -> None:
        self.executing += 1
        counts.executing += 1
        counts.dispatched += 1

    def _count_waiting(self, waiting: _Waiting, change: int) -> None:
        self.waiting += change
        self._pool.waiting += change
        waiting.counts.waiting += change

    def _queue_of(self, flow: str) -> int:
        """The shortest of the queues that a flow was dealt."""
        hand = deal(flow, self.limits.queues, self.limits.hand_size)
        return min(hand, key=lambda number: len(self._queues.get(number, ())))

    def _give_up(self, waiting: _Waiting) -> None:
        if not waiting.future.done() and self._forget(waiting):
            waiting.future.set_exception(_refused(waiting.counts, "time-out"))

    def _forget(self, waiting: _Waiting) -> bool:
        queue = self._queues.get(waiting.queue)
        if queue is None or waiting not in queue:
            return False
        queue.remove(waiting)
        self._count_waiting(waiting, -1)
        if not queue:
            del self._queues[waiting.queue]
        return True


class Pool:
    """The levels of one server, which lend each other what is idle."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.levels: dict[str, Level] = {}
        self.waiting = 0
        """In all queues."""

    def configure(self, limits: Mapping[str, Limits]) -> None:
        """Make the levels these. One that is left out works off what it has, unknown to the others."""
        self.levels = {name: self._level(name, limit) for name, limit in limits.items()}
        self.dispatch()

    def _level(self, name: str, limits: Limits) -> Level:
        level = self.levels.get(name) or Level(limits, clock=self._clock, pool=self)
        level.limits = limits
        return level

    def can_lend(self, borrower: Level) -> bool:
        """Whether other levels have an idle seat for this one, beside what is lent already."""
        seats = 0
        for level in self.levels.values():
            limits, idle = level.limits, level.limits.seats - level.executing
            if idle < 0:
                seats += 0 if limits.is_exempt else idle
            elif level is not borrower:
                seats += min(limits.lendable, idle)
        return seats > 0

    def dispatch(self) -> None:
        """Give seats to whoever waits for them."""
        for level in self.levels.values():
            if level.waiting:
                level.dispatch()


def _refused(counts: FlowCounts, reason: str) -> Rejected:
    counts.rejected[reason] = counts.rejected.get(reason, 0) + 1
    return Rejected(reason)


def deal(flow: str, queues: int, hand_size: int) -> list[int]:
    """The different queues that a flow may wait in: always the same, and seldom all of them those of another flow."""
    value = int.from_bytes(blake2b(flow.encode(), digest_size=16).digest(), "big")
    hand: list[int] = []
    for position in range(min(hand_size, queues)):
        value, card = divmod(value, queues - position)
        for taken in sorted(hand):
            if card >= taken:
                card += 1
        hand.append(card)
    return hand
