"""What the backlog does on one visit to its file: who is read, who goes, and what becomes of a file that somebody changed."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import asynccontextmanager, closing

import pytest
import trio

from trio_oplog import DropReason, Spool, SpoolFolder, SpoolInUseError
from trio_oplog._delivery import spool_backlog
from trio_oplog._delivery.eviction import Candidates, Chosen, choose
from trio_oplog._delivery.ledger import Ledger
from trio_oplog._delivery.queue import Overflow, Queue
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_backlog import SpoolBacklog
from trio_oplog._delivery.spool_file import SpoolFile, SpoolLock

LEAST = 65_536
POLICIES = pytest.mark.parametrize("overflow", Overflow)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool"


def sealed(name, workspace, size):
    return Record(0, None, size, 0.0, b"x" * size, name, workspace=workspace)


def fill(path, records):
    """What an earlier run left."""
    with closing(SpoolFile.open(path, 10)) as file:
        file.commit(records, [], [])


def waiting(path):
    with closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute("SELECT id FROM records ORDER BY number")]


def new_backlog(spool, overflow=Overflow.DROP_NEWEST):
    queue = Queue(None, 10**9, overflow)
    return SpoolBacklog(spool, queue, Ledger(None), 10**6, overflow, "http://x/"), queue


@asynccontextmanager
async def opened(path, overflow=Overflow.DROP_NEWEST):
    """A backlog whose tasks do not run: the test makes every visit."""
    backlog, queue = new_backlog(Spool(path, max_bytes=LEAST), overflow)
    await backlog.open()
    queue.open()
    yield backlog
    await backlog.close()


async def submit(backlog, *records):
    """Commit these, as the writer does."""
    for number, record in enumerate(records, 1):
        record.number = number
    backlog._hold(records)
    backlog._ledger.submitted += len(records)
    await backlog._visit(backlog._let_go(), reading=False)


def is_balanced(backlog):
    ledger = backlog._ledger
    return ledger.submitted == ledger.delivered + sum(ledger.dropped.values()) + backlog.pending + ledger.in_flight


@POLICIES
async def test_for_another_workspace_the_largest_gives_way_also_where_it_is_on_disk_only(path, overflow):
    fill(path, [sealed(str(number), "a", 10_000) for number in range(6)])
    async with opened(path, overflow) as backlog:
        await submit(backlog, sealed("b", "b", 10_000))
        assert backlog._ledger.dropped[DropReason.SPOOL_FULL] == 1
        assert is_balanced(backlog)
    assert waiting(path) == [*("12345" if overflow is Overflow.DROP_OLDEST else "01234"), "b"]


@POLICIES
async def test_the_last_of_a_workspace_may_be_what_gives_way(path, overflow):
    fill(path, [sealed("large", "a", 50_000)])
    async with opened(path, overflow) as backlog:
        await submit(backlog, sealed("b", "b", 20_000))
        assert not backlog._unread
        assert is_balanced(backlog)
    assert waiting(path) == ["b"]


@POLICIES
async def test_what_is_to_give_way_but_was_deleted_by_somebody_else_counts_as_lost(path, overflow):
    fill(path, [sealed(str(number), "a", 10_000) for number in range(6)])
    async with opened(path, overflow) as backlog:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("DELETE FROM records")
        await submit(backlog, sealed("b", "b", 10_000))
        assert backlog._ledger.dropped[DropReason.SPOOL_LOST] == 6
        assert is_balanced(backlog)


async def test_the_oldest_are_the_oldest_whatever_a_worker_gave_back(path):
    async with opened(path, Overflow.DROP_OLDEST) as backlog:
        await submit(backlog, *(sealed(str(number), "a", 10_000) for number in range(6)))
        backlog.abandoned(await backlog.take(2, 10**6))
        assert [record.id for record in backlog._ready] == [*"234501"]
        await submit(backlog, sealed("6", "a", 10_000))
        assert is_balanced(backlog)
    assert waiting(path) == [*"123456"]


def test_of_what_is_in_flight_nothing_gives_way():
    newcomer = sealed("b", "b", 100)
    held = Candidates(held=Counter({"a": 10_000}), ready=[], unread={}, rest=[newcomer])
    assert choose(held, 10_000, oldest=True) == Chosen(rest=[newcomer])


async def test_more_workspaces_than_memory_has_room_for_are_read_in_turn(path, monkeypatch):
    monkeypatch.setattr(spool_backlog, "_READY", 2)
    fill(path, [sealed(f"{workspace}{number}", workspace, 100) for workspace in "abc" for number in range(2)])
    async with opened(path) as backlog:
        taken = []
        while len(taken) < 6:
            await backlog._visit([], reading=True)
            assert len(backlog._ready) == 2
            taken += [record.id for record in await backlog.take(9, 10**6)]
        assert taken == ["a0", "b0", "c0", "a1", "b1", "c1"]
        assert is_balanced(backlog)


async def test_memory_takes_no_more_bytes_than_it_has_room_for_whoever_they_are(path, monkeypatch):
    monkeypatch.setattr(spool_backlog, "_READY_BYTES", 3_000)
    fill(path, [sealed(workspace, workspace, 2_000) for workspace in "abc"])
    async with opened(path) as backlog:
        await backlog._visit([], reading=True)
        assert [record.id for record in await backlog.take(9, 10**6)] == ["a", "b"]
        await backlog._visit([], reading=True)
        assert [record.id for record in await backlog.take(9, 10**6)] == ["c"]
        assert is_balanced(backlog)


async def test_a_lock_that_is_taken_away_with_its_file_is_taken_anew(path):
    async with opened(path) as backlog:
        await submit(backlog, sealed("a", "a", 100))
        for part in ("", ".lock"):
            path.with_name(path.name + part).unlink()
        await submit(backlog, sealed("b", "a", 100))
        assert backlog.failing
        await backlog._visit([], reading=False)
        assert not backlog.failing
        with pytest.raises(SpoolInUseError):
            SpoolLock(path)
        assert is_balanced(backlog)
    assert waiting(path) == ["a", "b"]


async def test_a_client_that_is_closed_looks_once_and_takes_over_what_it_has_room_for(tmp_path):
    backlog, queue = new_backlog(SpoolFolder(tmp_path, max_bytes=65_536))
    left = []
    for name in "ab":
        path, lock = backlog._folder.claim()
        with closing(SpoolFile.open(path, 10, "http://x/")) as file:
            file.commit([sealed(name, name, 40_000)], [], [])
        lock.release()
        left.append(path)
    await backlog.open()
    assert queue.closed
    with trio.fail_after(60):
        await backlog._take_over(backlog._folder)
    await backlog.close()
    assert sorted(len(waiting(path)) for path in (backlog._path, *left) if path.exists()) == [1, 1]


async def test_a_client_whose_own_file_cannot_be_used_leaves_those_of_others_alone(tmp_path):
    backlog, _ = new_backlog(SpoolFolder(tmp_path))
    left, lock = backlog._folder.claim()
    with closing(SpoolFile.open(left, 10, "http://x/")) as file:
        file.commit([sealed("a", "a", 100)], [], [])
    lock.release()
    await backlog.open()
    backlog._file, own = None, backlog._file
    abandoned = backlog._folder.take_over(left)
    await backlog._move_in(abandoned)
    abandoned.release()
    own.close()
    await backlog.close()
    assert waiting(left) == ["a"]
