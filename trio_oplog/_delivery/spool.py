"""Step 7: the spool: records wait in a file until the endpoint has stored them.

``submit()`` fills the queue in memory as ever.  A writer takes groups out of it and commits them to the file; workers get what
is committed; what they delivered is deleted with a later commit.  A record is read back only where memory has no room for it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import attrs
import trio
from attrs import Attribute, field, frozen

from trio_oplog._delivery.ledger import DropReason, Ledger, logger
from trio_oplog._delivery.memory import seal
from trio_oplog._delivery.queue import Overflow, Queue
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import SpoolFile, SpoolLock, is_corruption, row_size, set_aside
from trio_oplog._errors import ConfigError

GROUP: Final = 256
"""The most records in one commit."""
_READY: Final = 8 * GROUP
_READY_BYTES: Final = 16 * 1024 * 1024
_REOPEN_INTERVAL: Final = 1.0


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str | os.PathLike) and value else value


def _whole(least: int) -> Any:
    def check(_: Any, attribute: Attribute[Any], value: object) -> None:
        if type(value) is not int or value < least:
            raise ConfigError(attribute.name, f"must be a whole number of at least {least}")

    return check


@frozen(kw_only=True)
class Spool:
    """Where a Client keeps what the endpoint has not stored yet.

    What was committed outlives the process, however it ends; the next client with the same path delivers it.  Delivery is at
    least once: a record that was stored just before the process died is sent again with the same id.

    Attributes:
        path: An SQLite file, made where there is none; beside it SQLite keeps ``-wal`` and ``-shm``, and the client ``.lock``.
        max_bytes: The most bytes of records in the file; at least 65 536.  What is over is dropped by the client's ``overflow``.
        commit_interval: How long a record may wait in memory for others to be committed with, in seconds; at most 0.05.
        dead_max: How many rejected records are kept to be looked at; the oldest go first.

    Raises:
        ConfigError: A value is wrong; the error names the field.
    """

    path: Path = field(converter=_path, kw_only=False)
    max_bytes: int = field(default=256 * 1024 * 1024, validator=_whole(65_536))
    commit_interval: float = field(default=0.02)
    dead_max: int = field(default=1000, validator=_whole(1))

    @path.validator
    def _check_path(self, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, Path):
            raise ConfigError(attribute.name, "must be the path of a file")

    @commit_interval.validator
    def _check_commit_interval(self, attribute: Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 0.05:
            raise ConfigError(attribute.name, "must be seconds, from 0 to 0.05")


@attrs.define
class _Visit:
    """What one visit to the file is for, and what came of it."""

    group: list[Record]
    gone: list[int]
    dead: list[tuple[Record, DropReason]]
    after: int
    free: int
    read: int
    hopeless: list[tuple[Record, DropReason]] = attrs.Factory(list)
    saved: list[Record] = attrs.Factory(list)
    no_room: list[Record] = attrs.Factory(list)
    evicted: list[Record] = attrs.Factory(list)
    read_back: list[Record] = attrs.Factory(list)
    error: str | None = None
    lost_file: bool = False
    found: int = 0


class SpoolBacklog:
    """Workers take what the file holds; what they cannot deliver stays in it."""

    durable = True

    def __init__(self, spool: Spool, queue: Queue, ledger: Ledger, record_max_bytes: int, overflow: Overflow) -> None:
        self.pending = 0
        self.spooled = 0
        self.recovered = 0
        self.failing = False
        self._spool = spool
        self._queue = queue
        self._ledger = ledger
        self._record_max = record_max_bytes
        self._drop_oldest = overflow is Overflow.DROP_OLDEST
        self._lock: SpoolLock
        self._file: SpoolFile | None = None
        self._ready: deque[Record] = deque()
        self._ready_bytes = 0
        self._cursor = 0  # what is in the file above this number is not in memory,
        self._unread = 0  # and this is how much that is
        self._gone: list[int] = []
        self._dead: list[tuple[Record, DropReason]] = []
        self._to_free = 0  # this many bytes, by dropping what is in the file only
        self._held: list[Record] = []  # by the writer, until it has a group
        self._held_bytes = 0
        self._committing = 0
        self._all_in = False
        self._wants_more = False
        self._takers = trio.lowlevel.ParkingLot()
        self._waiters = trio.lowlevel.ParkingLot()
        self._bell = trio.lowlevel.ParkingLot()
        self._visiting = trio.Lock()

    # For the client

    async def open(self) -> int:
        """Take the file over.

        Returns:
            The number of the last record that was ever in it.

        Raises:
            SpoolInUseError: Another process or client has it.
            SpoolError: It cannot be opened, or is no spool.
        """
        lock = await trio.to_thread.run_sync(SpoolLock, self._spool.path)
        try:
            await trio.to_thread.run_sync(self._try_to_open)
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        if self._file is not None:
            self._adopt(self._file.waiting)
            return self._file.last_number
        self._degrade("cannot be opened")
        # Above whatever the file will turn out to hold.
        return time.time_ns() // 1000

    def _adopt(self, found: int) -> None:
        """Account for what an earlier run left."""
        self._unread += found
        self.recovered += found
        self.pending += found
        self._ledger.submitted += found
        if found:
            logger.info("the spool %s brings %d operations from an earlier run", self._spool.path, found)

    @trio.lowlevel.enable_ki_protection
    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Write, read and delete until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._write)
            task_status.started()

    async def close(self) -> None:
        """Commit what is still in memory and close the file; workers and tasks have ended."""
        self._hold(self._queue.take_nowait())
        # What a worker gave back is older than what it had not taken yet.
        ready = sorted(self._ready, key=lambda record: record.number)
        group = [record for record in ready if not record.row] + self._let_go()
        self._ready = deque(record for record in ready if record.row)
        with trio.CancelScope(shield=True):
            await self._visit(group, reading=False)
            lost = [record for record in self._ready if not record.row]
            self.pending -= len(lost)
            self._ledger.drop(lost, DropReason.DRAIN_TIMEOUT)
            self._ready.clear()
            if self._file is not None:
                await trio.to_thread.run_sync(self._file.close)
            self._lock.release()

    async def has_room(self, size: int) -> None:
        """Wait until the file has room for a record of that size and for all that is on its way, or the client is closed."""
        while not self._queue.closed and self._is_too_full_for(size):
            await self._waiters.park()

    def _is_too_full_for(self, size: int) -> bool:
        there = self._queue.bytes + self._held_bytes + self._committing + (self._file.bytes if self._file is not None else 0)
        return there > 0 and there + size > self._spool.max_bytes

    # For workers

    async def take(self, count: int, max_bytes: int) -> Sequence[Record]:
        """Wait for committed records; none when the client is closed and the file empty."""
        await trio.lowlevel.checkpoint()
        while not self._ready:
            if self._all_in and not self._unread:
                return ()
            self._ask_for_more()
            await self._takers.park()
        taken: list[Record] = []
        total = 0
        while self._ready and len(taken) < count:
            total += len(self._ready[0].wire)
            if taken and total > max_bytes:
                break
            taken.append(self._leave_memory())
        self.pending -= len(taken)
        self._ledger.in_flight += len(taken)
        if len(self._ready) < _READY // 2:
            self._ask_for_more()
        if self._all_in and not self._ready:
            self._takers.unpark_all()
        return taken

    def _leave_memory(self) -> Record:
        record = self._ready.popleft()
        self._ready_bytes -= len(record.wire)
        return record

    def _enter_memory(self, records: Sequence[Record]) -> None:
        self._ready += records
        self._ready_bytes += sum(len(record.wire) for record in records)

    def _ask_for_more(self) -> None:
        if self._unread and not self._wants_more:
            self._wants_more = True
            self._bell.unpark_all()

    def settled(self, records: Sequence[Record], reason: DropReason | None) -> None:
        """Delete them with the next commit, and bury the rejected."""
        if not self._gone:
            self._bell.unpark_all()
        self._gone += [record.number for record in records if record.row]
        if reason is not None:
            self._dead += [(record, reason) for record in records]
            del self._dead[: -self._spool.dead_max]

    def abandoned(self, records: Sequence[Record]) -> None:
        """They wait for the next run."""
        self._ledger.in_flight -= len(records)
        self.pending += len(records)
        self._enter_memory(records)

    # The tasks

    async def _write(self) -> None:
        while await self._gather():
            # Between here and the end of the commit the group is nowhere else.
            with trio.CancelScope(shield=True):
                await self._visit(self._let_go(), reading=True)
        self._all_in = True
        self._takers.unpark_all()

    async def _gather(self) -> bool:
        """Hold a group of records; False when there will never be one.  Where this is cancelled, ``close()`` commits them."""
        while self.failing and len(self._ready) >= _READY:
            # Without a file, memory is all there is: let the queue fill, and its overflow decide.
            await self._waiters.park()
        record = await self._queue.receive()
        if record is None:
            return False
        self._hold([record])
        with trio.move_on_after(self._spool.commit_interval):
            while len(self._held) < GROUP and self._held_bytes < _READY_BYTES:
                record = await self._queue.receive()
                if record is None:
                    break
                self._hold([record])
        return True

    def _hold(self, records: Sequence[Record]) -> None:
        self.pending += len(records)
        self._held += records
        self._held_bytes += sum(record.size for record in records)

    def _let_go(self) -> list[Record]:
        group, self._held = self._held, []
        self._committing, self._held_bytes = self._held_bytes, 0
        return group

    async def _sweep(self) -> None:
        while True:
            while not (self._gone or self._dead or self._wants_more):
                await self._bell.park()
            with trio.move_on_after(self._spool.commit_interval):
                while not self._wants_more:
                    await self._bell.park()
            with trio.CancelScope(shield=True):
                await self._visit([], reading=True)
            await trio.sleep(_REOPEN_INTERVAL if self.failing else 0)

    async def _visit(self, group: list[Record], *, reading: bool) -> None:
        """Go to the file until the group is in it, taking along what else there is to delete and to read."""
        async with self._visiting:
            while True:
                visit = self._plan(group, reading=reading)
                await trio.to_thread.run_sync(self._carry_out, visit)
                if group:
                    self._committing = 0
                group = self._book(visit)
                if not group:
                    break

    def _plan(self, group: list[Record], *, reading: bool) -> _Visit:
        self._wants_more = False
        room = reading and self._unread and self._ready_bytes < _READY_BYTES
        visit = _Visit(
            group=group,
            gone=self._gone,
            dead=self._dead,
            after=self._cursor,
            free=self._to_free,
            read=max(_READY - len(self._ready), 0) if room else 0,
        )
        self._gone, self._dead, self._to_free = [], [], 0
        return visit

    def _try_to_open(self) -> None:
        try:
            self._file = SpoolFile.open(self._spool.path, self._spool.dead_max)
        except (sqlite3.Error, OSError):
            self._file = None

    def _carry_out(self, visit: _Visit) -> None:
        """In a thread: nothing else touches the file and the visit meanwhile."""
        visit.group, visit.hopeless = seal(visit.group, self._record_max)
        if self._file is None:
            self._try_to_open()
            visit.found = self._file.waiting if self._file is not None else 0
        if self._file is None:
            visit.error = "cannot be opened"
            return
        try:
            if visit.free:
                visit.evicted = self._file.oldest(visit.after, visit.free)
                visit.after = max([visit.after, *(record.number for record in visit.evicted)])
            gone = visit.gone + [record.number for record in visit.evicted]
            visit.saved, visit.no_room = self._file.commit(
                visit.group, gone, visit.dead, self._spool.max_bytes, in_order=self._drop_oldest
            )
            if visit.read:
                visit.read_back = self._file.read(visit.after, visit.read, _READY_BYTES)
        except sqlite3.Error as error:
            visit.error = error.sqlite_errorname
            visit.saved, visit.no_room, visit.evicted = [], [], []
            if is_corruption(error):
                visit.lost_file = True
                self._file.close()
                self._file = None
                set_aside(self._spool.path)

    def _book(self, visit: _Visit) -> list[Record]:
        """Write down what came of a visit.

        Returns:
            The records to try again with, now that there is room for them.
        """
        for record, reason in visit.hopeless:
            self.pending -= 1
            self._ledger.drop([record], reason)
        if visit.lost_file:
            self._forget_file()
        self._adopt(visit.found)
        rest: list[Record] = []
        if visit.error is not None:
            self._degrade(visit.error)
            self._gone += visit.gone
            self._dead = visit.dead + self._dead
            self._enter_memory(visit.group)
        else:
            self._recover()
            self._book_saved(visit)
            rest = self._make_room(visit)
        self._takers.unpark_all()
        self._waiters.unpark_all()
        return rest

    def _book_saved(self, visit: _Visit) -> None:
        self._cursor = visit.after
        self._unread -= len(visit.evicted)
        self._give_up(visit.evicted)
        for record in visit.saved:
            record.row = record.number
        self.spooled += len(visit.saved)
        if visit.saved and not visit.read and not self._unread and len(self._ready) < _READY and self._ready_bytes < _READY_BYTES:
            self._enter_memory(visit.saved)
            self._cursor = visit.saved[-1].number
        else:
            self._unread += len(visit.saved)
        if visit.read_back:
            self._enter_memory(visit.read_back)
            self._unread -= len(visit.read_back)
            self._cursor = visit.read_back[-1].number
        elif self._unread and not visit.evicted and (visit.read or visit.free):
            self._lose_unread()  # somebody else deleted them

    def _make_room(self, visit: _Visit) -> list[Record]:
        """Drop what does not fit, or the oldest in its place."""
        rest = [record for record in visit.no_room if row_size(record) <= self._spool.max_bytes]
        self._give_up([record for record in visit.no_room if row_size(record) > self._spool.max_bytes])
        if not (rest and self._drop_oldest):
            self._give_up(rest)
            return []
        file = cast("SpoolFile", self._file)  # it was there to say that it is full
        need = sum(map(row_size, rest)) + file.bytes - self._spool.max_bytes
        # From old to new: what memory holds of the file, what is in the file only, what is not in it yet.
        victims: list[Record] = []
        for record in self._ready:
            if need <= 0:
                break
            if record.row:
                victims.append(record)
                need -= row_size(record)
        self._remove(victims)
        self._gone += [record.number for record in victims]
        if need > 0 and self._unread:
            self._to_free = need
        while rest and need > 0 and not self._unread:
            victims.append(rest.pop(0))
            need -= row_size(victims[-1])
        self._give_up(victims)
        return rest

    def _remove(self, victims: Sequence[Record]) -> None:
        """Take these out of what is ready, in whose order they are."""
        gone = {record.number for record in victims}
        self._ready = deque(record for record in self._ready if record.number not in gone)
        self._ready_bytes -= sum(len(record.wire) for record in victims)

    def _give_up(self, records: list[Record]) -> None:
        self.pending -= len(records)
        self._ledger.drop(records, DropReason.SPOOL_FULL)

    def _forget_file(self) -> None:
        for record in self._ready:
            record.row = 0
        self._lose_unread()

    def _lose_unread(self) -> None:
        self.pending -= self._unread
        self._ledger.lose(self._unread, DropReason.SPOOL_LOST)
        self._unread = 0

    def _degrade(self, problem: str) -> None:
        if not self.failing:
            self.failing = True
            logger.error("the spool %s fails (%s); operations are kept in memory only", self._spool.path, problem)

    def _recover(self) -> None:
        if self.failing:
            self.failing = False
            logger.warning("the spool %s works again", self._spool.path)
