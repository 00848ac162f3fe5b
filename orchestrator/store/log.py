"""The durable log: every committed revision as one row of one append-only SQLite table.

Owns the file, its lock and its schema; never knows what is visible (that is the store's business). The row
id *is* the revision, and a UNIQUE constraint over (key, previous revision) makes the database itself refuse a
second successor of the same state: the design of kine.

One append is one INSERT statement with many rows, which SQLite commits by itself: one hop to aiosqlite's
thread and one fsync per group, and the thread fights the event loop for the interpreter lock a few times per
group instead of a few times per row. Nothing is left open when it fails.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.store.errors import StoreCorrupt, StoreError, StoreFailed, StoreLocked

if TYPE_CHECKING:  # imported when a log is opened: a memory store needs no SQLite
    import sqlite3

    import aiosqlite

APPLICATION_ID = 0x6F726331
"""In the header of the file ("orc1"): tells our files from other SQLite files."""
SCHEMA_VERSION = 1
REPLAY_CHUNK_ROWS = 2000
WAL_BYTES_MAX = 64 * 1024 * 1024
"""The write-ahead log is cut back to this size at a checkpoint."""
CACHE_KIB_MAX = 256

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE log (
    revision          INTEGER PRIMARY KEY,
    resource          TEXT    NOT NULL,
    namespace         TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    previous_revision INTEGER NOT NULL,
    create_revision   INTEGER NOT NULL,
    deleted           INTEGER NOT NULL,
    value             BLOB    NOT NULL,
    UNIQUE (resource, namespace, name, previous_revision)
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted_revision', 0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_COLUMNS = "revision, resource, namespace, name, previous_revision, create_revision, deleted, value"


class Row(NamedTuple):
    """One revision. `previous_revision` is that of the state (or tombstone) it follows, 0 if there is none."""

    revision: int
    resource: str
    namespace: str
    name: str
    previous_revision: int
    create_revision: int
    deleted: int
    value: bytes


class Log(Protocol):
    """Where a store writes its groups; what it has acknowledged survives the process."""

    @property
    def compacted_revision(self) -> int:
        """Up to here superseded rows and tombstones were removed."""
        ...

    def replay(self) -> AsyncGenerator[Sequence[Row], None]:
        """All rows in order of revision, in chunks; raises StoreCorrupt."""
        ...

    async def append(self, rows: Sequence[Row]) -> None:
        """Make all these rows durable, or none: then it raises StoreFailed."""
        ...

    async def compact(self, revision: int) -> None:
        """Remove what was superseded at or before `revision`, and its tombstones; raises StoreFailed."""
        ...

    async def close(self) -> None:
        """Release the file."""
        ...


class SqliteLog:
    """The log as an SQLite file (WAL, synchronous=FULL), held by one process at a time."""

    def __init__(self, path: Path, connection: aiosqlite.Connection, lock: int, compacted_revision: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._compacted_revision = compacted_revision

    @classmethod
    async def open(cls, path: Path) -> SqliteLog:
        """Open or create the file (0600, in a directory that is created 0700).

        Raises StoreLocked when another process has it open, StoreCorrupt when it is not a log of ours, StoreFailed
        when the file system refuses.
        """
        import sqlite3

        import aiosqlite

        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock_file(path)
        except OSError as error:
            raise StoreFailed(f"cannot open {path}: {error.strerror or error}") from error
        connection: aiosqlite.Connection | None = None
        try:
            # Created here for its mode; SQLite gives the mode of the database to its -wal and -shm files. Never
            # open it again below: closing any descriptor of it would drop SQLite's own locks.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            connection = aiosqlite.connect(path, isolation_level=None, cached_statements=32)
            # A process that ends without closing its store must still end: the file survives that as it survives
            # kill -9. The connection is the thread itself up to aiosqlite 0.21.
            thread: Any = getattr(connection, "_thread", connection)
            thread.daemon = True
            await connection
            compacted_revision = await _prepare(connection, path)
        except BaseException as error:
            if connection is not None:
                await connection.close()
            os.close(lock)
            if isinstance(error, sqlite3.Error):
                raise _opening_error(path, error) from error
            if isinstance(error, OSError):
                raise StoreFailed(f"cannot open {path}: {error.strerror or error}") from error
            raise
        return cls(path, connection, lock, compacted_revision)

    @property
    def compacted_revision(self) -> int:
        """Up to here superseded rows and tombstones were removed."""
        return self._compacted_revision

    async def replay(self) -> AsyncGenerator[Sequence[Row], None]:
        """All rows in order of revision, in chunks; the rows are plain tuples in the order of `Row`."""
        import sqlite3

        try:
            async with self._connection.execute(f"SELECT {_COLUMNS} FROM log ORDER BY revision") as cursor:
                while chunk := await cursor.fetchmany(REPLAY_CHUNK_ROWS):
                    yield chunk  # type: ignore[misc]
        except sqlite3.Error as error:
            raise _opening_error(self.path, error) from error

    async def append(self, rows: Sequence[Row]) -> None:
        """Make all these rows durable in one transaction, or none: then it raises StoreFailed."""
        import sqlite3

        statement = f"INSERT INTO log ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)" + ",(?,?,?,?,?,?,?,?)" * (len(rows) - 1)
        try:
            # fetchall, because then the cursor lives and ends in one hop to the thread.
            await self._answered(self._connection.execute_fetchall(statement, [value for row in rows for value in row]))
        except (sqlite3.Error, ValueError) as error:
            raise StoreFailed(f"cannot write {self.path}: {error}") from error

    async def compact(self, revision: int) -> None:
        """Remove rows with a successor at or before `revision`, and tombstones up to it; raises StoreFailed."""
        import sqlite3

        if revision <= self._compacted_revision:
            return
        # Only this range can hold new successors: those before it did their work in an earlier compaction.
        span = f"revision > {self._compacted_revision:d} AND revision <= {revision:d}"
        try:
            await self._answered(
                self._connection.executescript(
                    f"""
                    BEGIN IMMEDIATE;
                    DELETE FROM log WHERE revision IN
                        (SELECT previous_revision FROM log WHERE {span} AND previous_revision > 0);
                    DELETE FROM log WHERE {span} AND deleted = 1;
                    UPDATE meta SET value = {revision:d} WHERE key = 'compacted_revision';
                    COMMIT;
                    """
                )
            )
        except (sqlite3.Error, ValueError) as error:
            await self._roll_back()
            raise StoreFailed(f"cannot compact {self.path}: {error}") from error
        self._compacted_revision = revision

    async def _answered(self, work: Awaitable[object]) -> None:
        """Await what the connection's thread does, to its end also when cancelled: it would answer a closed loop."""
        try:
            await work
        except asyncio.CancelledError:
            await self._connection.execute_fetchall("SELECT 1")  # in the thread's queue behind it
            raise

    async def _roll_back(self) -> None:
        """Leave no transaction open behind a script that failed in the middle."""
        import sqlite3

        try:
            if self._connection.in_transaction:
                await self._connection.rollback()
        except (sqlite3.Error, ValueError) as error:
            raise StoreFailed(f"cannot roll back {self.path}: {error}") from error

    async def close(self) -> None:
        """Fold the write-ahead log into the file and let the next process have it."""
        import sqlite3

        try:
            await self._connection.close()
        except sqlite3.Error as error:
            raise StoreFailed(f"cannot close {self.path}: {error}") from error
        finally:
            os.close(self._lock)


async def _prepare(connection: aiosqlite.Connection, path: Path) -> int:
    """Check whose file this is before anything is written to it; returns the compacted revision."""
    application_id = await _number(connection, "PRAGMA application_id")
    version = await _number(connection, "PRAGMA user_version")
    is_empty = not await _number(connection, "SELECT count(*) FROM sqlite_master")
    is_new = is_empty and application_id == 0
    if not is_new:
        if application_id != APPLICATION_ID:
            raise StoreCorrupt(path, "this SQLite file belongs to another application")
        if version != SCHEMA_VERSION:
            raise StoreCorrupt(path, f"has schema version {version}; this program knows only {SCHEMA_VERSION}")
    await connection.execute_fetchall("PRAGMA journal_mode = WAL")
    await connection.execute_fetchall("PRAGMA synchronous = FULL")
    # What is in the file is in memory already, as objects: pages of it are only written.
    await connection.execute_fetchall(f"PRAGMA cache_size = -{CACHE_KIB_MAX}")
    await connection.execute_fetchall(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
    if is_new:
        await connection.executescript(_SCHEMA)
    return await _number(connection, "SELECT value FROM meta WHERE key = 'compacted_revision'")


async def _number(connection: aiosqlite.Connection, query: str) -> int:
    rows = list(await connection.execute_fetchall(query))
    return int(rows[0][0]) if rows else 0


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Keep every other process from opening this log inside the `with` block; raises StoreLocked, OSError."""
    descriptor = _lock_file(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock_file(path: Path) -> int:
    """Take the lock beside the database and write our pid into it; raises StoreLocked, OSError.

    The kernel drops the lock with the process, so that nothing has to be cleaned up after kill -9.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreLocked(path, f"process {pid}" if pid else "another process") from None
    except BaseException:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _opening_error(path: Path, error: sqlite3.Error) -> StoreError:
    """What a failure while opening or reading means: a damaged file, or a file system that refuses."""
    import sqlite3

    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return StoreCorrupt(path, str(error))
    if "no such table" in str(error) or "no such column" in str(error):
        return StoreCorrupt(path, str(error))
    return StoreFailed(f"cannot open {path}: {error}")
