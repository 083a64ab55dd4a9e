"""Step 7: the bounded queue between ``submit()`` and delivery, fair to workspaces.

A memory channel of Trio's would hand records on in order of arrival and, when it is full, refuse whoever comes: one workspace's
flood would delay and drop the records of all.  So the queue is the client's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from time import monotonic

import trio

from trio_oplog._delivery.lanes import Lanes, Measure
from trio_oplog._delivery.record import Record


class Overflow(StrEnum):
    """Who goes when the queue is full: one of the workspace that holds the most of it."""

    DROP_NEWEST = "drop_newest"
    """The newest record of that workspace, which is the one that finds the queue full where it is of that workspace."""
    DROP_OLDEST = "drop_oldest"
    """The oldest queued record of that workspace."""


class Queue:
    """Records of each workspace in order of submission, bounded by count and by bytes; closed until it is opened.

    Putting is synchronous and needs Trio's thread; taking waits, and takes from the workspaces in turn.
    """

    def __init__(self, capacity: int | None, max_bytes: int, overflow: Overflow) -> None:
        self.max_bytes = max_bytes
        self.peak = 0
        self.closed = True
        self._capacity = math.inf if capacity is None else capacity
        self._drop_oldest = overflow is Overflow.DROP_OLDEST
        self._records: Lanes[Record] = Lanes()
        self._turn = trio.Lock()
        self._takers = trio.lowlevel.ParkingLot()
        self._givers = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return self._records.count

    @property
    def bytes(self) -> int:
        """The bytes of everything queued."""
        return self._records.bytes

    @property
    def oldest_age(self) -> float:
        """How long the oldest record has been waiting, in seconds; 0 when none is.  Asks each workspace."""
        return monotonic() - min(record.since for record in self._records.heads) if self._records.count else 0.0

    def open(self) -> None:
        """Let records in."""
        self.closed = False

    def put(self, record: Record) -> Sequence[Record]:
        """Queue a record; the queue must be open.

        Returns:
            The records that were dropped for it or instead of it.
        """
        dropped: Sequence[Record] = ()
        if self._is_too_full_for(record.size):
            dropped = self._make_room(record)
            if dropped[-1] is record:
                return dropped
        self._records.append(record)
        if self._records.count > self.peak:
            self.peak = self._records.count
        if self._takers:
            self._takers.unpark()
        return dropped

    def _make_room(self, record: Record) -> Sequence[Record]:
        if record.size > self.max_bytes:
            return (record,)
        dropped: list[Record] = []
        while not (dropped and dropped[-1] is record) and self._is_too_full_for(record.size):
            measure = Measure.BYTES if self.bytes + record.size > self.max_bytes else Measure.COUNT
            dropped.append(self._records.make_way(record, measure, oldest=self._drop_oldest))
        return dropped

    async def has_room(self, size: int) -> None:
        """Wait until a record of that size fits, or never will: the queue was closed, or is too small."""
        await trio.lowlevel.checkpoint()
        while not self.closed and size <= self.max_bytes and self._is_too_full_for(size):
            await self._givers.park()

    def _is_too_full_for(self, size: int) -> bool:
        return self._records.count >= self._capacity or self._records.bytes + size > self.max_bytes

    async def receive(self) -> Record | None:
        """Wait for the oldest record of the workspace whose turn it is.

        Returns:
            None when the queue is closed and empty.
        """
        while not self._records.count:
            if self.closed:
                return None
            await self._takers.park()
        return self._receive_nowait()

    def _receive_nowait(self) -> Record:
        record = self._records.popleft()
        if self._givers:
            self._givers.unpark_all()
        return record

    async def take(self, count: int, max_bytes: int) -> list[Record]:
        """Wait for records: at most so many, and none once they weigh so many bytes together.

        A record cannot be put back, so that the last one may go beyond the bytes.

        Returns:
            None at all when the queue is closed and empty.
        """
        # Any number may take, but one at a time waits: it goes away with all that came at once, where each of many would get
        # one record, for a request of its own.
        async with self._turn:
            first = await self.receive()
            return [] if first is None else [first, *self.take_nowait(count - 1, max_bytes - first.size)]

    def take_nowait(self, count: float = math.inf, max_bytes: float = math.inf) -> list[Record]:
        """Take what is queued, within the same limits."""
        taken: list[Record] = []
        while self._records.count and len(taken) < count and max_bytes > 0:
            record = self._receive_nowait()
            max_bytes -= record.size
            taken.append(record)
        return taken

    def close(self) -> None:
        """Let nobody wait any more; what is queued can still be taken."""
        self.closed = True
        self._takers.unpark_all()
        self._givers.unpark_all()
