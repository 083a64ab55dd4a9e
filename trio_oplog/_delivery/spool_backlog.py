"""Step 7: the spool: records wait in a file until the endpoint has stored them.

``submit()`` fills the queue in memory as ever.  A writer takes groups out of it and commits them to the file; workers get what
is committed; what they delivered is deleted with a later commit.  A record is read back only where memory has no room for it.
Queue, memory and file serve the workspaces in turn, and where there is no room, one of the workspace that holds the most goes.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from trio_oplog._delivery.eviction import Candidates, choose
from trio_oplog._delivery.lanes import Lanes
from trio_oplog._delivery.ledger import DropReason, Ledger, logger
from trio_oplog._delivery.memory import seal
from trio_oplog._delivery.queue import Overflow, Queue
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool import Spool, SpoolFolder
from trio_oplog._delivery.spool_file import (
    DeadRow,
    Holding,
    MovedError,
    SpoolFile,
    SpoolLock,
    is_corruption,
    row_size,
    set_aside,
)
from trio_oplog._delivery.spool_folder import Abandoned, Folder, remove
from trio_oplog._errors import SpoolError

GROUP: Final = 256
"""The most records in one commit."""
_READY: Final = 8 * GROUP
_READY_BYTES: Final = 16 * 1024 * 1024
_REOPEN_INTERVAL: Final = 1.0
_ADOPT_INTERVAL: Final = 2.0

_IN_NO_FILE: Final = 0
_LOST_WITH_ITS_FILE: Final = -1
"""What ``Record.row`` is for a record that was committed, to a file that is no more."""


@attrs.define
class _Unread:
    """What the file holds of one workspace, and memory does not: everything above a number."""

    cursor: int
    count: int = 0
    bytes: int = 0
    skip: set[int] = attrs.Factory(set)
    """Numbers above the cursor that memory holds."""


@attrs.define
class _Reading:
    """A part of a visit: what is to be read of one workspace, and what came."""

    workspace: str
    after: int
    skip: set[int]
    count: int
    records: list[Record] | None = None


@attrs.define
class _Visit:
    """What one visit to the file is for, and what came of it."""

    group: list[Record]
    rewrite: list[Record]
    gone: list[int]
    dead: list[DeadRow]
    free: Mapping[str, int]
    reading: list[_Reading]
    hopeless: list[tuple[Record, DropReason]] = attrs.Factory(list)
    saved: Mapping[int, Record] = attrs.Factory(dict)
    no_room: list[Record] = attrs.Factory(list)
    evicted: dict[str, list[Record]] = attrs.Factory(dict)
    error: str | None = None
    lost_file: bool = False
    found: Mapping[str, Holding] = attrs.Factory(dict)


class SpoolBacklog:
    """Workers take what the file holds; what they cannot deliver stays in it."""

    durable = True

    def __init__(
        self,
        spool: Spool | SpoolFolder,
        queue: Queue,
        ledger: Ledger,
        record_max_bytes: int,
        overflow: Overflow,
        destination: str,
    ) -> None:
        self.pending = 0
        self.spooled = 0
        self.recovered = 0
        self.failing = False
        self._settings = spool
        self._limit = spool.max_bytes
        self._queue = queue
        self._ledger = ledger
        self._record_max = record_max_bytes
        self._drop_oldest = overflow is Overflow.DROP_OLDEST
        self._destination = destination
        self._folder = Folder(spool, destination) if isinstance(spool, SpoolFolder) else None
        self._path: Path
        self._lock: SpoolLock
        self._file: SpoolFile | None = None
        self._ready: Lanes[Record] = Lanes()
        self._unread: OrderedDict[str, _Unread] = OrderedDict()
        self._in_flight: set[Record] = set()
        self._unsaved = False  # whether memory holds what should be in the file, and there is hope
        self._gone: list[int] = []
        self._dead: list[DeadRow] = []
        self._to_free: dict[str, int] = {}  # this many bytes of these workspaces, by dropping what is in the file only
        self._held: list[Record] = []  # by the writer, until it has a group
        self._held_bytes = 0
        self._committing = 0
        self._all_in = False
        self._looking_around = self._folder is not None  # for the first time: whoever leaves at once delivers what is found, too
        self._wants_more = False
        self._takers = trio.lowlevel.ParkingLot()
        self._waiters = trio.lowlevel.ParkingLot()
        self._bell = trio.lowlevel.ParkingLot()
        self._visiting = trio.Lock()

    # For the client

    async def open(self) -> None:
        """Take the file over, or make one in the folder.

        Raises:
            SpoolInUseError: Another process or client has it.
            SpoolError: It cannot be opened, or is no spool.
        """
        self._path, self._lock = await trio.to_thread.run_sync(self._claim)
        try:
            await trio.to_thread.run_sync(self._open_file)
        except BaseException:
            self._lock.release()
            raise
        if self._file is None:
            self._degrade("cannot be opened")
        else:
            self._adopt(self._file.holdings)

    def _claim(self) -> tuple[Path, SpoolLock]:
        if self._folder is not None:
            return self._folder.claim()
        path = Path(self._settings.path) if isinstance(self._settings, Spool) else Path()
        return path, SpoolLock(path)

    def _adopt(self, found: Mapping[str, Holding]) -> None:
        """Account for what an earlier run left."""
        total = sum(holding.records for holding in found.values())
        for workspace, holding in found.items():
            self._leave_unread(workspace, 0, holding.records, holding.bytes)
        self._count_in(total)
        if total:
            logger.info("the spool %s brings %d operations from an earlier run", self._path, total)

    def _count_in(self, count: int) -> None:
        self.recovered += count
        self.pending += count
        self._ledger.submitted += count

    @trio.lowlevel.enable_ki_protection
    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Write, read and delete until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._write)
            if self._folder is not None:
                nursery.start_soon(self._take_over, self._folder)
            task_status.started()

    async def close(self) -> None:
        """Commit what is still in memory and close the file; workers and tasks have ended."""
        self._hold(self._queue.take_nowait())
        with trio.CancelScope(shield=True):
            group = self._let_go()
            # Twice: the first visit may find that the file is no more.
            for _ in range(2):
                # What a worker gave back is older than what it had not taken yet.
                group = sorted([*self._take_out_unsaved(), *group], key=lambda record: record.number)
                await self._visit(group, reading=False)
                group = []
                if all(record.row > 0 for record in self._ready):
                    break
            lost = self._take_out_unsaved()
            self.pending -= len(lost)
            self._ledger.drop(lost, DropReason.DRAIN_TIMEOUT)
            self._ready.clear()
            await trio.to_thread.run_sync(self._close_file)

    def _take_out_unsaved(self) -> list[Record]:
        unsaved = [record for record in self._ready if record.row <= 0]
        self._remove(unsaved)
        return unsaved

    def _close_file(self) -> None:
        if self._file is not None:
            done_with = self._folder is not None and not self._file.waiting and not self._file.has_dead()
            self._file.close()
            if done_with:
                remove(self._path)
        self._lock.release()

    async def has_room(self, size: int) -> None:
        """Wait until the file has room for a record of that size and for all that is on its way, or the client is closed."""
        while not self._queue.closed and self._is_too_full_for(size):
            await self._waiters.park()

    def _is_too_full_for(self, size: int) -> bool:
        there = self._queue.bytes + self._held_bytes + self._committing + (self._file.bytes if self._file is not None else 0)
        return there > 0 and there + size > self._limit

    # For workers

    async def take(self, count: int, max_bytes: int) -> Sequence[Record]:
        """Wait for committed records; none when the client is closed and the file empty."""
        await trio.lowlevel.checkpoint()
        while not self._ready:
            if self._all_in and not self._unread and not self._looking_around:
                return ()
            self._ask_for_more()
            await self._takers.park()
        taken: list[Record] = []
        while self._ready and len(taken) < count and max_bytes > 0:
            record = self._ready.popleft()
            max_bytes -= record.size
            taken.append(record)
        self.pending -= len(taken)
        self._ledger.in_flight += len(taken)
        self._in_flight.update(taken)
        if len(self._ready) < _READY // 2:
            self._ask_for_more()
        if self._all_in and not self._ready:
            self._takers.unpark_all()
        return taken

    def _enter_memory(self, records: Iterable[Record]) -> None:
        for record in records:
            record.size = len(record.wire)
            self._ready.append(record)

    def _leave_unread(self, workspace: str, after: int, count: int, size: int) -> None:
        unread = self._unread.setdefault(workspace, _Unread(after))
        unread.count += count
        unread.bytes += size

    def _ask_for_more(self) -> None:
        if self._unread and not self._wants_more:
            self._wants_more = True
            self._bell.unpark_all()

    def settled(self, records: Sequence[Record], reason: DropReason | None) -> None:
        """Delete them with the next commit, and bury the rejected."""
        if not self._gone:
            self._bell.unpark_all()
        self._in_flight.difference_update(records)
        self._gone += [record.row for record in records if record.row > 0]
        if reason is not None:
            now = time.time()
            self._dead += [DeadRow(record.workspace, record.id, record.wire, reason.value, now) for record in records]
            del self._dead[: -self._settings.dead_max]

    def abandoned(self, records: Sequence[Record]) -> None:
        """They wait for the next run."""
        self._ledger.in_flight -= len(records)
        self._in_flight.difference_update(records)
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
        with trio.move_on_after(self._settings.commit_interval):
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
            while not (self._gone or self._dead or self._wants_more or self._unsaved):
                await self._bell.park()
            with trio.move_on_after(self._settings.commit_interval):
                while not self._wants_more:
                    await self._bell.park()
            with trio.CancelScope(shield=True):
                await self._visit([], reading=True)
            await trio.sleep(_REOPEN_INTERVAL if self.failing else 0)

    async def _take_over(self, folder: Folder) -> None:
        """Move what others left behind in the folder into our own file."""
        while self._looking_around or not self._queue.closed:
            self._limit = await trio.to_thread.run_sync(folder.limit, self._path)
            for path in await trio.to_thread.run_sync(folder.others, self._path):
                abandoned = await trio.to_thread.run_sync(folder.take_over, path)
                if abandoned is not None:
                    try:
                        await self._move_in(abandoned)
                    finally:
                        with trio.CancelScope(shield=True):
                            await trio.to_thread.run_sync(abandoned.release)
            self._looking_around = False
            self._takers.unpark_all()
            await trio.sleep(_ADOPT_INTERVAL)

    async def _move_in(self, source: Abandoned) -> None:
        """Move everything from an abandoned file into ours, a group at a time.

        A kill between the two commits leaves a group in both files: it is delivered twice, and stored once.
        """
        more = True
        while more:
            while self._file is not None and self._file.bytes > self._limit // 2:
                if self._queue.closed:
                    return
                await self._waiters.park()
            with trio.CancelScope(shield=True):
                async with self._visiting:
                    if self._file is None:
                        return
                    group = await trio.to_thread.run_sync(source.next_group, GROUP, min(self._limit // 2, _READY_BYTES))
                    # A number that no flush before this has waited for.
                    self._count_in(len(group))
                    for record in group:
                        record.number = self._ledger.submitted
                    moved, more = await trio.to_thread.run_sync(source.move, group, self._file)
                    self._book_moved(moved, [record for record in group if record.row <= 0])

    def _book_moved(self, moved: Mapping[int, Record], left: list[Record]) -> None:
        for row, record in moved.items():
            self._leave_unread(record.workspace, row - 1, 1, row_size(record))
        self.recovered -= len(left)
        self.pending -= len(left)
        self._ledger.take_back(left)
        if moved:
            logger.info("the spool %s takes %d operations over from one that was left behind", self._path, len(moved))
            self._takers.unpark_all()
            self._ask_for_more()

    # Visits

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
        rewrite: list[Record] = []
        if self._unsaved and not self._to_free:
            self._unsaved = False
            rewrite = [record for record in (*self._ready, *self._in_flight) if record.row <= 0]
        visit = _Visit(group, rewrite, self._gone, self._dead, self._to_free, self._plan_reading() if reading else [])
        self._gone, self._dead, self._to_free = [], [], {}
        return visit

    def _plan_reading(self) -> list[_Reading]:
        """Of each workspace the same, as much as memory has room for."""
        plan: list[_Reading] = []
        room = _READY - len(self._ready)
        if room <= 0 or self._ready.bytes >= _READY_BYTES:
            return plan
        share = max(room // max(len(self._unread), 1), 1)
        for workspace, unread in self._unread.items():
            if room <= 0:
                break
            plan.append(_Reading(workspace, unread.cursor, unread.skip, min(share, unread.count)))
            room -= share
        return plan

    def _open_file(self) -> None:
        """Open the file, if that works.

        Raises:
            SpoolError: It is no spool, or another client's.
        """
        try:
            if not self._lock.is_in_place():
                # Somebody took everything away, the lock and perhaps the folder.
                if self._folder is not None:
                    self._folder.make()
                self._lock.release()
                self._lock = SpoolLock(self._path)
            self._file = SpoolFile.open(self._path, self._settings.dead_max, self._destination_of_file)
        except (sqlite3.Error, OSError):
            self._file = None

    @property
    def _destination_of_file(self) -> str:
        return self._destination if self._folder is None else self._folder.destination

    def _carry_out(self, visit: _Visit) -> None:
        """In a thread: nothing else touches the file and the visit meanwhile."""
        visit.group, visit.hopeless = seal(visit.group, self._record_max)
        try:
            if self._file is None:
                self._open_file()
                visit.found = dict(self._file.holdings) if self._file is not None else {}
            if self._file is None:
                visit.error = "cannot be opened"
            else:
                self._try(visit, self._file)
        except SpoolError as error:
            visit.error = error.problem
        if visit.error is not None:
            visit.saved, visit.no_room, visit.evicted, visit.reading = {}, [], {}, []

    def _try(self, visit: _Visit, file: SpoolFile) -> None:
        try:
            self._go_through(visit, file)
        except MovedError:
            self._lose_file(visit, file, "was deleted or replaced")
        except sqlite3.Error as error:
            visit.error = error.sqlite_errorname
            if is_corruption(error):
                self._lose_file(visit, file, visit.error)
                set_aside(self._path)

    def _go_through(self, visit: _Visit, file: SpoolFile) -> None:
        after: dict[str, int] = {}
        for workspace, size in visit.free.items():
            unread = self._unread[workspace]
            evicted = file.victims(workspace, size, newest=not self._drop_oldest, after=unread.cursor, skip=unread.skip)
            visit.evicted[workspace] = evicted
            if self._drop_oldest and evicted:
                after[workspace] = evicted[-1].row
        gone = visit.gone + [record.row for records in visit.evicted.values() for record in records]
        visit.saved, visit.no_room = file.commit(
            visit.rewrite + visit.group, gone, visit.dead, self._limit, in_order=self._drop_oldest
        )
        left = _READY_BYTES
        for part in visit.reading:
            if left <= 0:
                break
            part.records = file.read(
                part.count,
                _READY_BYTES // len(visit.reading),
                workspace=part.workspace,
                after=after.get(part.workspace, part.after),
                skip=part.skip,
            )
            left -= sum(len(record.wire) for record in part.records)

    def _lose_file(self, visit: _Visit, file: SpoolFile, problem: str) -> None:
        visit.error, visit.lost_file = problem, True
        file.leave()
        self._file = None

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
            if not visit.lost_file:  # numbers of a file that is no more mean others in the next
                self._gone += visit.gone
            self._dead = visit.dead + self._dead
            self._enter_memory(visit.group)
            self._unsaved = True
            self._bell.unpark_all()
        else:
            self._recover()
            self._book_evicted(visit)
            self._book_saved(visit)
            self._book_read(visit)
            rest = self._make_room(visit)
        self._takers.unpark_all()
        self._waiters.unpark_all()
        return rest

    def _book_evicted(self, visit: _Visit) -> None:
        for workspace, records in visit.evicted.items():
            unread = self._unread[workspace]
            unread.count -= len(records)
            unread.bytes -= sum(map(row_size, records))
            if self._drop_oldest and records:
                unread.cursor = records[-1].row
            self._give_up(records)
            if not records:
                self._lose_unread(workspace)  # somebody else deleted them
            elif unread.count <= 0:
                del self._unread[workspace]

    def _book_saved(self, visit: _Visit) -> None:
        rewritten = set(visit.rewrite)
        for row, record in visit.saved.items():
            self.spooled += record.row == _IN_NO_FILE
            record.row = row
            if record not in rewritten:
                if self._has_place_in_memory(record.workspace):
                    self._enter_memory([record])
                else:
                    self._leave_unread(record.workspace, row - 1, 1, row_size(record))
            elif record.settled:
                self._gone.append(row)  # while it was being written
            elif record.workspace in self._unread:
                self._unread[record.workspace].skip.add(row)

    def _has_place_in_memory(self, workspace: str) -> bool:
        """Whether a committed record may stay in memory: there is room, or its workspace has less than its share of it."""
        if workspace in self._unread:
            return False
        if len(self._ready) < _READY and self._ready.bytes < _READY_BYTES:
            return True
        lane, shares = self._ready.lane(workspace), self._ready.workspaces + 1
        return lane is None or (len(lane.items) < _READY // shares and lane.bytes < _READY_BYTES // shares)

    def _book_read(self, visit: _Visit) -> None:
        for part in visit.reading:
            unread = self._unread.get(part.workspace)
            if part.records is None or unread is None:
                continue
            if not part.records:
                self._lose_unread(part.workspace)  # somebody else deleted them
                continue
            self._enter_memory(part.records)
            unread.count -= len(part.records)
            unread.bytes -= sum(map(row_size, part.records))
            unread.cursor = part.records[-1].row
            unread.skip = {row for row in unread.skip if row > unread.cursor}
            if unread.count <= 0:
                del self._unread[part.workspace]
            else:
                self._unread.move_to_end(part.workspace)

    def _make_room(self, visit: _Visit) -> list[Record]:
        """Choose who goes for what has no room; those that only the file holds are dropped by the next visit."""
        rewritten = set(visit.rewrite)
        rest = [record for record in visit.no_room if record not in rewritten]
        self._give_up([record for record in rest if row_size(record) > self._limit])
        rest = [record for record in rest if row_size(record) <= self._limit]
        if not rest or self._file is None:
            return []
        candidates = Candidates(
            held=Counter({workspace: holding.bytes for workspace, holding in self._file.holdings.items()}),
            # What a worker gave back stands behind what is newer.
            ready=sorted((record for record in self._ready if record.row > 0), key=lambda record: record.row),
            unread={workspace: unread.bytes for workspace, unread in self._unread.items()},
            rest=rest,
        )
        chosen = choose(candidates, sum(map(row_size, rest)) + self._file.bytes - self._limit, oldest=self._drop_oldest)
        self._remove(chosen.ready)
        self._gone += [record.row for record in chosen.ready]
        self._give_up(chosen.ready + chosen.rest)
        self._to_free = chosen.unread
        dropped = set(chosen.rest)
        return [record for record in rest if record not in dropped]

    def _remove(self, victims: Sequence[Record]) -> None:
        """Take these out of what is ready."""
        gone = set(victims)
        left = [record for record in self._ready if record not in gone]
        self._ready.clear()
        for record in left:
            self._ready.append(record)

    def _give_up(self, records: list[Record]) -> None:
        self.pending -= len(records)
        self._ledger.drop(records, DropReason.SPOOL_FULL)

    def _forget_file(self) -> None:
        for record in (*self._ready, *self._in_flight):
            record.row = min(record.row, _LOST_WITH_ITS_FILE) if record.row else record.row
        self._gone.clear()
        for workspace in list(self._unread):
            self._lose_unread(workspace)

    def _lose_unread(self, workspace: str) -> None:
        unread = self._unread.pop(workspace)
        self.pending -= unread.count
        self._ledger.lose(unread.count, DropReason.SPOOL_LOST)

    def _degrade(self, problem: str) -> None:
        if not self.failing:
            self.failing = True
            logger.error("the spool %s fails (%s); operations are kept in memory only", self._path, problem)

    def _recover(self) -> None:
        if self.failing:
            self.failing = False
            logger.warning("the spool %s works again", self._path)
