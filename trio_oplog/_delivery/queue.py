"""Step 7: the bounded queue between ``submit()`` and delivery: one of Trio's memory channels, with a budget in bytes.

The channel bounds the count, hands records to whoever waits for them and says when there will be no more.  It shows nothing of
what it holds, so beside it stands what the account needs: how many bytes that is, and since when each record has been waiting.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from time import monotonic

import trio

from trio_oplog._delivery.record import Record


class Overflow(StrEnum):
    """Who goes when the queue is full."""

    DROP_NEWEST = "drop_newest"
    """The record that finds it full."""
    DROP_OLDEST = "drop_oldest"
    """Whoever waits longest."""


class Queue:
    """Records in order of submission, bounded by count and by bytes; closed until it is opened.

    Putting is synchronous and needs Trio's thread; taking waits.  A record that finds a task waiting at the channel is handed
    over directly: it needs no room, and counts as queued until that task has woken up.  One task at a time waits there, so that
    ``capacity`` + 1 records at most are in the queue.
    """

    def __init__(self, capacity: int, max_bytes: int, overflow: Overflow) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.peak = 0
        self.closed = True
        self._capacity = capacity
        self._drop_oldest = overflow is Overflow.DROP_OLDEST
        self._send, self._receive = trio.open_memory_channel[Record](capacity)
        self._send_nowait = self._send.send_nowait
        self._waiting: deque[float] = deque()  # since when, for each record in the channel
        self._turn = trio.Lock()
        self._takers = 0
        self._handed_over = 0
        self._handed_over_bytes = 0
        self._givers = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting) + self._handed_over

    @property
    def all_bytes(self) -> int:
        """The bytes of everything queued; ``bytes`` are those in the channel, which the budget is for."""
        return self.bytes + self._handed_over_bytes

    @property
    def oldest_age(self) -> float:
        """How long the oldest record has been waiting, in seconds; 0 when none is."""
        return monotonic() - self._waiting[0] if self._waiting else 0.0

    def open(self) -> None:
        """Let records in."""
        self.closed = False

    def put(self, record: Record) -> Sequence[Record]:
        """Queue a record; the queue must be open.

        Returns:
            The records that were dropped for it or instead of it.
        """
        size = record.size
        dropped: Sequence[Record] = ()
        if self.bytes + size > self.max_bytes:
            if not self._drop_oldest or size > self.max_bytes:
                return (record,)
            dropped = self._pop_until_there_is_room_for(size)
        # A taker that was cancelled still counts as one until it runs again; only the channel knows who really waits.
        handed_over = self._takers and self._send.statistics().tasks_waiting_receive
        try:
            self._send_nowait(record)
        except trio.WouldBlock:
            if not self._drop_oldest:
                return (record,)
            dropped = (self._pop(),)
            self._send_nowait(record)
        if handed_over:
            self._handed_over += 1
            self._handed_over_bytes += size
            return dropped
        self._waiting.append(record.since)
        self.bytes += size
        if len(self._waiting) > self.peak:
            self.peak = len(self._waiting)
        return dropped

    def _pop_until_there_is_room_for(self, size: int) -> Sequence[Record]:
        popped = []
        while self.bytes + size > self.max_bytes:
            popped.append(self._pop())
        return popped

    def _pop(self) -> Record:
        """The oldest record in the channel, which must hold one."""
        record = self._receive.receive_nowait()
        self._waiting.popleft()
        self.bytes -= record.size
        return record

    async def has_room(self, size: int) -> None:
        """Wait until a record of that size fits, or never will: the queue was closed, or is too small."""
        await trio.lowlevel.checkpoint()
        while not self.closed and size <= self.max_bytes and self._is_too_full_for(size):
            await self._givers.park()

    def _is_too_full_for(self, size: int) -> bool:
        return len(self._waiting) >= self._capacity or self.bytes + size > self.max_bytes

    async def receive(self) -> Record | None:
        """Wait for the oldest record.

        Returns:
            None when the queue is closed and empty.
        """
        if self._waiting:
            return self._receive_nowait()
        self._takers += 1
        try:
            record = await self._receive.receive()
        except trio.EndOfChannel:
            return None
        finally:
            self._takers -= 1
        self._handed_over -= 1
        self._handed_over_bytes -= record.size
        return record

    def _receive_nowait(self) -> Record:
        record = self._pop()
        if self._givers:
            self._givers.unpark_all()
        return record

    async def take(self, count: int, max_bytes: int) -> list[Record]:
        """Wait for the oldest records: at most so many, and none once they weigh so many bytes together.

        A record cannot be put back, so that the last one may go beyond the bytes.

        Returns:
            None at all when the queue is closed and empty.
        """
        # Any number may take, but one at a time waits at the channel: it goes away with all that came at once, where each of
        # many would have been handed one record, for a request of its own.
        async with self._turn:
            first = await self.receive()
            return [] if first is None else [first, *self.take_nowait(count - 1, max_bytes - first.size)]

    def take_nowait(self, count: float = math.inf, max_bytes: float = math.inf) -> list[Record]:
        """Take what is in the channel, within the same limits."""
        taken: list[Record] = []
        while self._waiting and len(taken) < count and max_bytes > 0:
            record = self._receive_nowait()
            max_bytes -= record.size
            taken.append(record)
        return taken

    def close(self) -> None:
        """Let nobody wait any more; what is queued can still be taken."""
        self.closed = True
        self._send.close()
        self._givers.unpark_all()
