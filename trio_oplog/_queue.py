"""Step 7: the bounded queue between ``submit()`` and delivery.

Not one of Trio's memory channels, because those count items only: they know no bytes, cannot drop their oldest item, do not tell
its age and hand out one item at a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from time import monotonic

import trio

from trio_oplog._record import Record


class Overflow(StrEnum):
    """Who goes when the queue is full."""

    DROP_NEWEST = "drop_newest"
    """The record that finds it full."""
    DROP_OLDEST = "drop_oldest"
    """Whoever waits longest."""


class Queue:
    """Records in order of submission, bounded by count and by bytes.

    Putting is synchronous and needs Trio's thread; taking waits.
    """

    def __init__(self, capacity: int, max_bytes: int, overflow: Overflow) -> None:
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.bytes = 0
        self.peak = 0
        self.closed = False
        self._drop_oldest = overflow is Overflow.DROP_OLDEST
        self._records: deque[Record] = deque()
        self._takers = trio.lowlevel.ParkingLot()
        self._idle = 0
        self._filled: trio.Event | None = None
        self._fill = 0
        self._givers = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def oldest_age(self) -> float:
        """How long the oldest record has been waiting, in seconds; 0 when none is."""
        return monotonic() - self._records[0].since if self._records else 0.0

    def put(self, record: Record) -> Sequence[Record]:
        """Queue a record.

        Returns:
            The records that were dropped for it or instead of it.
        """
        records = self._records
        if len(records) >= self.capacity or self.bytes + record.size > self.max_bytes:
            dropped = self._make_room(record)
            if record in dropped:
                return dropped
        else:
            dropped = ()
        records.append(record)
        self.bytes += record.size
        if len(records) > self.peak:
            self.peak = len(records)
        if self._idle:
            self._idle -= 1
            self._takers.unpark()
        if self._filled is not None and len(records) >= self._fill:
            self._filled.set()
        return dropped

    def _make_room(self, record: Record) -> Sequence[Record]:
        if not self._drop_oldest or record.size > self.max_bytes:
            return (record,)
        dropped = []
        while len(self._records) >= self.capacity or self.bytes + record.size > self.max_bytes:
            oldest = self._records.popleft()
            self.bytes -= oldest.size
            dropped.append(oldest)
        return dropped

    async def has_room(self, size: int) -> None:
        """Wait until a record of that size fits, or never will: the queue was closed, or is too small."""
        await trio.lowlevel.checkpoint()
        while not self.closed and size <= self.max_bytes and (len(self) >= self.capacity or self.bytes + size > self.max_bytes):
            await self._givers.park()

    def take(self, count: int, max_bytes: float = math.inf) -> list[Record]:
        """Take the oldest records: at most so many, of at most so many bytes together, but one at least if there is one."""
        records = self._records
        taken: list[Record] = []
        total = 0
        while records and len(taken) < count:
            total += records[0].size
            if taken and total > max_bytes:
                break
            record = records.popleft()
            self.bytes -= record.size
            taken.append(record)
        if taken and self._givers:
            self._givers.unpark_all()
        return taken

    async def filled(self) -> bool:
        """Wait until there is a record to take.

        Returns:
            False when there is none and never will be.
        """
        while not self._records:
            if self.closed:
                return False
            self._idle += 1
            try:
                await self._takers.park()
            except BaseException:
                self._idle -= 1
                raise
        return True

    async def filled_with(self, count: int) -> None:
        """Wait until there are that many records, or the queue is closed.  For one task at a time."""
        if len(self._records) < count and not self.closed:
            self._fill = count
            self._filled = trio.Event()
            try:
                await self._filled.wait()
            finally:
                self._filled = None

    def close(self) -> None:
        """Let nobody wait any more; what is queued can still be taken."""
        self.closed = True
        self._idle = 0
        self._takers.unpark_all()
        self._givers.unpark_all()
        if self._filled is not None:
            self._filled.set()
