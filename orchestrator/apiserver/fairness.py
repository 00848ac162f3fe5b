"""Priority and fairness: how many requests are worked on at once, and whose turn is next.

Every request belongs to a priority level by who sends it; a level has seats, and queues in front of them, one
per user, served in turn. So one flooding client fills its own queue and is answered 429, while everybody else
waits for at most one of its requests. The cluster's own components do not pass here at all: they talk to the API
in process. Watches and byte streams occupy a seat only until they are open.

Mirrors kube-apiserver's API Priority and Fairness with its default configuration.
# Simplified: levels and the users that belong to them are fixed; FlowSchemas and PriorityLevelConfigurations are
# stored and not obeyed. `system:masters` has seats of its own, many, where Kubernetes does not count it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.apiserver.user import AUTHENTICATED_GROUP, MASTERS_GROUP, User

WAIT_SECONDS_MAX = 15.0
"""As long as kube-apiserver lets a request wait: a quarter of its time limit."""
RETRY_AFTER_SECONDS = 1
TOO_MANY = "Too many requests, please try again later."


class Rejected(errors.TooManyRequests):
    """The request found no seat; answered as plain text, as kube-apiserver does."""

    def __init__(self, reason: str) -> None:
        super().__init__(TOO_MANY, retry_after_seconds=RETRY_AFTER_SECONDS)
        self.why = reason
        """`queue-full` or `time-out`, as metrics name it."""


class LevelLimits(Struct, frozen=True):
    """What a priority level may hold."""

    name: str
    seats: int
    queue_per_user: int
    queued: int
    """Of all users together."""


EXEMPT = LevelLimits("exempt", seats=256, queue_per_user=2048, queued=4096)
SYSTEM = LevelLimits("system", seats=96, queue_per_user=512, queued=2048)
WORKLOAD_HIGH = LevelLimits("workload-high", seats=96, queue_per_user=512, queued=2048)
WORKLOAD_LOW = LevelLimits("workload-low", seats=64, queue_per_user=128, queued=2048)
GLOBAL_DEFAULT = LevelLimits("global-default", seats=64, queue_per_user=128, queued=2048)
CATCH_ALL = LevelLimits("catch-all", seats=16, queue_per_user=32, queued=32)
LEVELS = (EXEMPT, SYSTEM, WORKLOAD_HIGH, WORKLOAD_LOW, GLOBAL_DEFAULT, CATCH_ALL)


def level_of(user: User) -> LevelLimits:
    """The priority level of a user's requests, as the default FlowSchemas assign it."""
    groups = user.groups
    if MASTERS_GROUP in groups:
        return EXEMPT
    if "system:nodes" in groups:
        return SYSTEM
    if "system:serviceaccounts" in groups:
        return WORKLOAD_HIGH if "system:serviceaccounts:kube-system" in groups else WORKLOAD_LOW
    if user.name in ("system:kube-controller-manager", "system:kube-scheduler"):
        return WORKLOAD_HIGH
    return GLOBAL_DEFAULT if AUTHENTICATED_GROUP in groups else CATCH_ALL


class Level:
    """Seats of one priority level, and the users in front of them."""

    def __init__(self, limits: LevelLimits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self.executing = 0
        self.waiting = 0
        self.rejected: dict[str, int] = {}
        """reason → how many"""
        self.dispatched = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """user → who waits; the user whose turn is next comes first"""

    def is_full_for(self, user: str) -> bool:
        """Whether a request of this user would be refused at once."""
        if self.executing < self.limits.seats and not self.waiting:
            return False
        queue = self._queues.get(user)
        return self.waiting >= self.limits.queued or (queue is not None and len(queue) >= self.limits.queue_per_user)

    async def acquire(self, user: str) -> None:
        """Take a seat, after waiting for one if needed; raises Rejected. Each needs one `release`."""
        if self.executing < self.limits.seats and not self.waiting:
            self.executing += 1
            self.dispatched += 1
            return
        if self.is_full_for(user):
            raise self.refuse("queue-full")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(user, deque()).append(future)
        self.waiting += 1
        timer = self._clock.call_later(WAIT_SECONDS_MAX, lambda: self._give_up(user, future))
        try:
            await future
        except BaseException:
            # Cancelled: while it waited, or at the moment when it got its seat.
            if not self._forget(user, future) and not future.cancelled() and future.exception() is None:
                self.release()
            raise
        finally:
            timer.cancel()

    def release(self) -> None:
        """Give a seat back; it goes to the user who has waited longest for a turn."""
        self.executing -= 1
        while self._queues and self.executing < self.limits.seats:
            user, queue = next(iter(self._queues.items()))
            future = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues.move_to_end(user)
            else:
                del self._queues[user]
            if not future.done():
                self.executing += 1
                self.dispatched += 1
                future.set_result(None)

    def refuse(self, reason: str) -> Rejected:
        """Count a refusal."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        return Rejected(reason)

    def _give_up(self, user: str, future: asyncio.Future[None]) -> None:
        if not future.done() and self._forget(user, future):
            future.set_exception(self.refuse("time-out"))

    def _forget(self, user: str, future: asyncio.Future[None]) -> bool:
        queue = self._queues.get(user)
        if queue is None or future not in queue:
            return False
        queue.remove(future)
        self.waiting -= 1
        if not queue:
            del self._queues[user]
        return True


class Fairness:
    """All priority levels of one API server."""

    def __init__(self, clock: Clock) -> None:
        self.levels = {limits.name: Level(limits, clock) for limits in LEVELS}

    def level(self, user: User) -> Level:
        """Where a user's requests are counted."""
        return self.levels[level_of(user).name]
