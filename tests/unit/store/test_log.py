# ruff: noqa: ASYNC220, ASYNC221, ASYNC240 - nothing else runs on the loop of a test
from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.store import (
    Compacted,
    MvccStore,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    open_store,
)
from orchestrator.store.log import APPLICATION_ID, Row, SqliteLog, hold_lock
from tests.unit.store.fakes import POD_FIELDS, pod, pod_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


async def reopen(path: Path) -> MvccStore:
    return await open_store(path, clock=SystemClock(), indexed_fields=POD_FIELDS)


def count_rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection, connection:
        return int(connection.execute("SELECT count(*) FROM log").fetchone()[0])


async def test_everything_survives_a_restart(path: Path) -> None:
    store = await reopen(path)
    await store.create(pod_key("a"), pod("a", x="ü"))
    await store.update(pod_key("a"), pod("a", x=2), expected_revision=2)
    await store.create(pod_key("b"), pod("b"))
    await store.delete(pod_key("b"))
    listed = [(record.key, record.raw, record.revision) for record in (await store.list("pods")).records]
    events = [(e.type, e.record.raw, e.revision) for e in await store.watch("pods", since=1).next_batch()]
    await store.close()

    store = await reopen(path)
    assert store.revision == 5
    assert [(record.key, record.raw, record.revision) for record in (await store.list("pods")).records] == listed
    resumed = await store.watch("pods", since=1).next_batch()
    assert [(e.type, e.record.raw, e.revision) for e in resumed] == events
    assert [e.record.obj["metadata"]["resourceVersion"] for e in resumed] == ["2", "3", "4", "5"]
    at_2 = await store.get(pod_key("a"), revision=2)
    assert at_2 is not None
    assert at_2.obj["x"] == "ü"
    again = await store.create(pod_key("b"), pod("b"))
    assert again.revision == 6
    await store.close()


async def test_the_revision_never_decreases_even_when_the_last_rows_were_compacted(path: Path) -> None:
    store = await reopen(path)
    await store.create(pod_key("a"), pod("a"))
    await store.delete(pod_key("a"))
    await store.compact(3)
    await store.close()
    assert count_rows(path) == 0
    store = await reopen(path)
    assert (store.revision, store.compacted_revision) == (3, 3)
    with pytest.raises(Compacted):
        store.watch("pods", since=2)
    assert (await store.create(pod_key("a"), pod("a"))).revision == 4
    await store.close()


async def test_compaction_removes_superseded_rows_and_tombstones_only(path: Path) -> None:
    store = await reopen(path)
    for name in "abc":
        await store.create(pod_key(name), pod(name))  # 2 3 4
    await store.update(pod_key("a"), pod("a"), expected_revision=2)  # 5
    await store.delete(pod_key("b"))  # 6
    await store.update(pod_key("c"), pod("c"), expected_revision=4)  # 7
    await store.compact(6)
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT revision FROM log ORDER BY revision").fetchall() == [(4,), (5,), (7,)]
    store = await reopen(path)
    assert [record.revision for record in (await store.list("pods", revision=6)).records] == [5, 4]
    events = await store.watch("pods", since=6).next_batch()
    assert [(event.revision, event.previous and event.previous.revision) for event in events] == [(7, 4)]
    await store.close()


async def test_the_history_limit_holds_over_a_restart(path: Path) -> None:
    store = await open_store(path, clock=SystemClock(), history_limit=20)
    record = await store.create(pod_key("a"), pod("a"))
    for _ in range(200):
        record = await store.update(pod_key("a"), pod("a"), expected_revision=record.revision)
    await store.compact(store.compacted_revision + 1)
    await store.close()
    assert count_rows(path) <= 26
    store = await open_store(path, clock=SystemClock(), history_limit=4)
    assert store.revision == 202
    assert store.stats().history_events <= 5
    await store.create(pod_key("b"), pod("b"))
    await store.compact(store.compacted_revision)  # waits until the log has followed
    await store.close()
    assert count_rows(path) <= 7


async def test_concurrent_writes_share_transactions(path: Path) -> None:
    store = await reopen(path)
    await asyncio.gather(*(store.create(pod_key(f"p{number}"), pod("p")) for number in range(300)))
    assert store.stats().writes == 300
    assert store.stats().groups <= 4
    await store.close()
    assert count_rows(path) == 300


async def test_files_are_private(path: Path) -> None:
    umask = os.umask(0)
    try:
        store = await reopen(path)
        await store.create(pod_key("a"), pod("a"))
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], "0o600")
        assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
        await store.close()
    finally:
        os.umask(umask)


async def test_commits_are_synchronous(path: Path) -> None:
    log = await SqliteLog.open(path)
    rows = [list(await log._connection.execute_fetchall(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
    assert [row[0][0] for row in rows] == ["wal", 2]
    await log.close()


async def test_a_second_opener_is_told_who_has_it(path: Path) -> None:
    store = await reopen(path)
    with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        await reopen(path)
    await store.create(pod_key("a"), pod("a"))
    await store.close()
    await (await reopen(path)).close()


async def test_the_lock_can_be_held_without_opening(path: Path) -> None:
    await (await reopen(path)).close()
    with hold_lock(path), pytest.raises(StoreLocked):
        await reopen(path)
    store = await reopen(path)
    with pytest.raises(StoreLocked), hold_lock(path):
        raise AssertionError("two holders")
    await store.close()


async def test_a_process_that_forgets_to_close_ends(path: Path) -> None:
    script = WRITER.replace("range(10**9)", "range(1)")
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, timeout=60, check=True, capture_output=True
    )
    assert ended.stderr == b""
    store = await reopen(path)
    assert store.stats().objects == {"pods": 200}
    await store.close()


async def foreign_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text)")


async def newer_schema(path: Path) -> None:
    await (await reopen(path)).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")


async def text_file(path: Path) -> None:
    path.write_text("this is not a database, whatever its name says\n" * 100)


async def cut_file(path: Path) -> None:
    store = await reopen(path)
    await asyncio.gather(*(store.create(pod_key(f"p{n}"), pod("p", x="x" * 1000)) for n in range(100)))
    await store.close()
    os.truncate(path, path.stat().st_size // 2)


async def tables_gone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (foreign_sqlite, "belongs to another application"),
        (newer_schema, "schema version 99"),
        (text_file, "not a database"),
        (cut_file, "malformed"),
        (tables_gone, "no such table"),
    ],
)
async def test_a_file_that_is_not_ours_or_damaged_is_refused(path: Path, damage: object, message: str) -> None:
    assert callable(damage)
    path.parent.mkdir(mode=0o700)
    await damage(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=message) as refused:
        await reopen(path)
    assert str(path) in str(refused.value)
    if damage not in (cut_file, tables_gone):  # those two carry our mark: only others' files stay untouched
        assert path.read_bytes() == before


async def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "store.db", tmp_path):
        with pytest.raises(StoreFailed, match=str(path)):
            await reopen(path)


async def test_the_database_itself_refuses_a_second_successor(path: Path) -> None:
    log = await SqliteLog.open(path)
    await log.append([Row(2, "pods", "d", "a", 0, 2, 0, b"{}")])
    with pytest.raises(StoreFailed, match="UNIQUE"):
        await log.append([Row(3, "pods", "d", "b", 0, 3, 0, b"{}"), Row(4, "pods", "d", "a", 0, 4, 0, b"{}")])
    await log.close()
    assert count_rows(path) == 1  # all or nothing


async def test_a_full_disk_fails_writes_until_there_is_room(path: Path) -> None:
    store = await reopen(path)
    await store.create(pod_key("a"), pod("a"))
    assert store._commits is not None
    log = store._commits.log
    assert isinstance(log, SqliteLog)
    connection = log._connection
    await connection.execute_fetchall("PRAGMA max_page_count = 16")
    with pytest.raises(StoreFailed, match="full"):
        await store.create(pod_key("big"), pod("big", x="x" * 100_000))
    assert await store.get(pod_key("big")) is None
    await connection.execute_fetchall("PRAGMA max_page_count = 100000")
    created = await store.create(pod_key("big"), pod("big", x="x" * 100_000))
    await store.close()
    store = await reopen(path)
    assert [record.key.name for record in (await store.list("pods")).records] == ["a", "big"]
    assert store.revision == created.revision
    await store.close()


async def test_index_watch_works_on_replayed_records(path: Path) -> None:
    store = await reopen(path)
    await store.create(pod_key("a"), pod("a", spec={"nodeName": "n1"}))
    await store.close()
    store = await reopen(path)
    watch = store.watch("pods", index=("spec.nodeName", "n1"), since=1)
    await store.delete(pod_key("a"))
    assert [event.revision for event in await watch.next_batch() + await watch.next_batch()] == [2, 3]
    await store.close()


ROOT = Path(__file__).parents[3]
WRITER = """
import asyncio, sys
from contextlib import closing
from pathlib import Path
from orchestrator.aiokit.clock import SystemClock
from orchestrator.store import Key, open_store

async def main():
    store = await open_store(Path(sys.argv[1]), clock=SystemClock(), history_limit=50)
    async def write(writer):
        for number in range(10**9):
            name = f"{writer}-{number}"
            record = await store.create(Key("pods", "default", name), {"metadata": {"name": name}})
            print(name, record.revision, flush=True)
    await asyncio.gather(*(write(writer) for writer in range(200)))

asyncio.run(main())
"""


async def test_kill_9_loses_no_acknowledged_write(path: Path) -> None:
    """200 writers in flight, killed in the middle of it, with automatic compaction at work."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(1500)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    acknowledged = {name: int(revision) for name, revision in (line.split() for line in lines if line.endswith("\n"))}
    store = await reopen(path)
    stored = {record.key.name: record.revision for record in (await store.list("pods")).records}
    assert {name: stored.get(name) for name in acknowledged} == acknowledged
    assert store.revision >= max(acknowledged.values())
    await store.create(pod_key("after"), pod("after"))
    await store.close()
