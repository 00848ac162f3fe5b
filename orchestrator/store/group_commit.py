"""Group commit: the writes that wait go to the log together, and become visible when they are durable.

Owns the order of writes between their decision and their commit, the writer task, and the compaction of the log.
Never decides a write and never knows what is visible: `plan` and `apply` are the store's.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.store.errors import StoreClosed, StoreError, StoreFailed
from orchestrator.store.log import Log, Row
from orchestrator.store.records import Event, EventType, Key, Record

WAITING_WRITES_MAX = 1024
"""Writes that may be on their way; more wait for their turn, in order."""
GROUP_WRITES_MAX = 256
GROUP_BYTES_MAX = 8 * 1024 * 1024
COMPACTION_STEP = 512
"""Revisions that the log compacts between two groups, so that no write waits long."""


class _Write:
    """A write between its submission and the commit of its group."""

    __slots__ = ("acknowledged", "event", "row", "waiters")

    def __init__(self, event: Event, row: Row, acknowledged: asyncio.Future[None]) -> None:
        self.event = event
        self.row = row
        self.acknowledged = acknowledged
        self.waiters: list[asyncio.Future[None]] = []
        """Later writers of the same key; each has a future of its own, so that cancelling one touches no other."""


class GroupCommit:
    """The way of writes to one log; `start` it once what the log holds was read."""

    def __init__(
        self,
        log: Log,
        *,
        apply: Callable[[Event], None],
        waiting_writes_max: int = WAITING_WRITES_MAX,
        group_writes_max: int = GROUP_WRITES_MAX,
    ) -> None:
        """`apply` makes a committed event visible; it does not block and does not raise."""
        self.log = log
        self.tombstones: dict[Key, int] = {}
        """Deletions that are still rows of the log, oldest first: what a new object under the key follows."""
        self.waiting_writes = 0
        self.groups = 0
        self.failed_writes = 0
        self._apply = apply
        self._group_writes_max = group_writes_max
        self._slots = asyncio.Semaphore(waiting_writes_max)
        self._queue: deque[_Write] = deque()
        self._pending: dict[Key, _Write] = {}
        self._wakeup = asyncio.Event()
        self._is_closing = False
        self._writer: asyncio.Task[None] | None = None
        self._compaction_goal = 0
        self._compaction_waiters: list[tuple[int, asyncio.Future[None]]] = []

    def start(self) -> None:
        """Begin to commit."""
        self._writer = asyncio.create_task(self._run(), name="store-writer")

    async def finish(self) -> None:
        """Commit what was submitted and end; what comes later is refused."""
        self._is_closing = True
        self._wakeup.set()
        if self._writer is not None:
            await self._writer

    # ---- writing

    async def write(self, key: Key, plan: Callable[[], Event]) -> Record:
        """Decide a write when those before it on this key are visible; returns when it is durable, and visible.

        Raises what `plan` raises, StoreClosed, StoreFailed. A caller that is cancelled leaves a write that was
        submitted where it is.
        """
        await self._turn(key)
        try:
            self._check_writable()
            event = plan()
        except BaseException:
            self._leave()
            raise
        write = self._submit(event)
        await write.acknowledged
        return event.record

    async def _turn(self, key: Key) -> None:
        """Wait for a free slot and for the commits before us on this key, so that what is visible decides."""
        await self._slots.acquire()
        self.waiting_writes += 1
        try:
            while (pending := self._pending.get(key)) is not None:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                pending.waiters.append(waiter)
                await waiter
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        self.waiting_writes -= 1
        self._slots.release()

    def _check_writable(self) -> None:
        if self._is_closing:
            raise StoreClosed
        if self._writer is None:
            raise StoreFailed("the store was not started")
        if self._writer.done():
            raise StoreFailed("the writer of the store has ended")

    def _submit(self, event: Event) -> _Write:
        record = event.record
        key = record.key
        if event.previous is not None:
            previous_revision = event.previous.revision
        else:
            previous_revision = self.tombstones.get(key, 0)
        is_deleted = int(event.type is EventType.DELETED)
        row = Row(record.revision, *key, previous_revision, record.create_revision, is_deleted, record.raw)
        write = _Write(event, row, asyncio.get_running_loop().create_future())
        self._pending[key] = write
        self._queue.append(write)
        self._wakeup.set()
        return write

    # ---- committing

    async def _run(self) -> None:
        """Commit what is waiting, group by group, and compact the log in between, until the store closes."""
        log = self.log
        try:
            while self._queue or not self._is_closing:
                if self._queue:
                    await self._commit(self._take_group())
                if self._compaction_goal > log.compacted_revision:
                    await self._compact_one_step()
                elif not self._queue and not self._is_closing:
                    self._wakeup.clear()
                    await self._wakeup.wait()
        finally:
            # Only a cancelled or broken writer leaves writes behind; nobody may wait for ever.
            self._queue.clear()
            self._fail(list(self._pending.values()), StoreClosed())
            self._end_compaction_waiters(sys.maxsize, StoreClosed())

    def _take_group(self) -> list[_Write]:
        group: list[_Write] = []
        size = 0
        while self._queue and len(group) < self._group_writes_max:
            size += len(self._queue[0].row.value)
            if group and size > GROUP_BYTES_MAX:
                break
            group.append(self._queue.popleft())
        return group

    async def _commit(self, group: list[_Write]) -> None:
        try:
            await self.log.append([write.row for write in group])
        except Exception as error:  # whatever a log raises, the writers of this group must hear of it
            self._fail(group, error)
        else:
            self.groups += 1
            for write in group:
                self._settle_tombstone(write.event)
                self._apply(write.event)
            for write in group:
                self._finish(write)
                if not write.acknowledged.done():  # done: the client is gone, the write stands
                    write.acknowledged.set_result(None)

    def _fail(self, group: Sequence[_Write], cause: Exception) -> None:
        self.failed_writes += len(group)
        for write in group:
            self._finish(write)
            if not write.acknowledged.done():
                error = StoreClosed() if isinstance(cause, StoreClosed) else StoreFailed(str(cause))
                error.__cause__ = cause
                write.acknowledged.set_exception(error)

    def _finish(self, write: _Write) -> None:
        """The next writer of this key may decide, and the slot is free."""
        del self._pending[write.event.record.key]
        for waiter in write.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._leave()

    def _settle_tombstone(self, event: Event) -> None:
        if event.type is EventType.DELETED:
            self.tombstones[event.record.key] = event.revision
        elif event.type is EventType.ADDED:
            self.tombstones.pop(event.record.key, None)

    # ---- compacting

    def compact_soon(self, revision: int) -> None:
        """Have the log forget what is older than this revision, between two groups; not before `start`."""
        if self._writer is not None:
            self._compaction_goal = revision
            self._wakeup.set()

    async def compact(self, revision: int) -> None:
        """Have the log forget what is older, and wait for it; raises StoreClosed, StoreFailed."""
        if revision <= self.log.compacted_revision:
            return
        self._check_writable()
        self._compaction_goal = max(self._compaction_goal, revision)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._compaction_waiters.append((revision, waiter))
        self._wakeup.set()
        await waiter

    async def _compact_one_step(self) -> None:
        """One step towards the goal. After a failure the goal is given up until the next compaction is due."""
        log = self.log
        try:
            await log.compact(min(self._compaction_goal, log.compacted_revision + COMPACTION_STEP))
        except StoreError as error:
            self._compaction_goal = 0
            self._end_compaction_waiters(sys.maxsize, error)
            return
        compacted = log.compacted_revision
        while self.tombstones and self.tombstones[key := next(iter(self.tombstones))] <= compacted:
            del self.tombstones[key]
        self._end_compaction_waiters(compacted, None)

    def _end_compaction_waiters(self, revision: int, error: StoreError | None) -> None:
        waiting, self._compaction_waiters = self._compaction_waiters, []
        for goal, waiter in waiting:
            if goal > revision:
                self._compaction_waiters.append((goal, waiter))
            elif waiter.done():
                continue
            elif error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(type(error)(str(error)))
