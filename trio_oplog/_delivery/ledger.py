"""Step 7: the account: what became of every record.

``submitted == delivered + sum(dropped) + queued + in_flight`` holds at every checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import trio
from attrs import define, field, frozen

from trio_oplog._delivery.record import Record
from trio_oplog._operation import Operation

logger: Final = logging.getLogger("trio_oplog")


class DropReason(StrEnum):
    """Why a record was not delivered."""

    QUEUE_FULL = "queue_full"
    """The queue held ``capacity`` records or ``queue_bytes`` bytes."""
    NOT_OPEN = "not_open"
    """It was submitted before ``async with`` or after it."""
    FORKED = "forked"
    """It was submitted in a process that was forked from the one that runs the client."""
    INVALID = "invalid"
    """What was submitted is no Operation that can be encoded."""
    TOO_LARGE = "too_large"
    """It was over ``record_max_bytes``, or the endpoint's limit, even with digests in place of its payload."""
    REJECTED = "rejected"
    """The endpoint said that it will never take it, or something on the way kept refusing it while others got through."""
    FAILED = "failed"
    """The attempts or the time that ``Retry`` allows ran out."""
    DRAIN_TIMEOUT = "drain_timeout"
    """It was not delivered within ``drain_timeout`` after the end of the block."""
    SPOOL_FULL = "spool_full"
    """The spool held ``max_bytes`` bytes."""
    SPOOL_LOST = "spool_lost"
    """It waited in a spool whose file became unreadable."""
    INTERNAL = "internal"
    """A bug of this library, which is logged with its place in the code."""


@frozen(kw_only=True)
class Statistics:
    """What a Client did and holds, at one moment.

    ``submitted == delivered + sum(dropped.values()) + queued + in_flight`` always holds.

    Attributes:
        submitted: Records that were handed to the client, and those that its spool brought from an earlier run.
        delivered: Records that the endpoint says it has stored.
        dropped: Records that were given up, by reason; every reason is there.
        queued: Records that wait in memory or in the spool.
        in_flight: Records that a request is being made for, or that wait to be tried again.
        held: How many of ``in_flight`` have failed and wait to be tried again, by why they failed last, such as
            ``HTTP 401: the secret is wrong``; only the reasons that there are.
        recovered: How many of ``submitted`` an earlier run left in the spool.
        spooled: How many of this run's records were committed to the spool's file, for better or worse.
        peak_queued: The most records that ever waited in the queue in memory.
        queued_bytes: What the queue in memory is charged with, in bytes.
        oldest_age: How long the oldest record in the queue in memory has been waiting, in seconds.
        requests: HTTP requests that were begun.
        failed_requests: How many of them got no answer, or one that asked for another attempt.
        callback_errors: How often ``on_drop`` raised.
    """

    submitted: int
    delivered: int
    dropped: Mapping[DropReason, int]
    queued: int
    in_flight: int
    held: Mapping[str, int]
    recovered: int
    spooled: int
    peak_queued: int
    queued_bytes: int
    oldest_age: float
    requests: int
    failed_requests: int
    callback_errors: int


@frozen(kw_only=True)
class DrainReport:
    """How a Client left its block.

    Attributes:
        delivered: Records delivered after the end of the block.
        dropped: Records given up after the end of the block, by reason; only the reasons that occurred.
        spooled: Records left in the spool for the next run.
        duration: How long leaving took, in seconds.
        timed_out: Whether ``drain_timeout`` ended it.
    """

    delivered: int
    dropped: Mapping[DropReason, int]
    spooled: int
    duration: float
    timed_out: bool

    @property
    def complete(self) -> bool:
        """Whether nothing was given up."""
        return not self.dropped


@define(eq=False)
class _Flush:
    """One task that waits for the fate of everything up to a number."""

    mark: int
    outstanding: int
    lost: bool
    over: trio.Event = field(factory=trio.Event)


class Ledger:
    """Counts records from submission to their fate; the queued ones are counted by whoever holds them."""

    def __init__(self, on_drop: Callable[[Operation, DropReason], object] | None) -> None:
        self.submitted = 0
        self.delivered = 0
        self.in_flight = 0
        self.dropped = dict.fromkeys(DropReason, 0)
        self.callback_errors = 0
        self._on_drop = on_drop
        self._flushes: list[_Flush] = []
        self._lost_since_flush = False

    @property
    def total_dropped(self) -> int:
        """All that was dropped, whatever the reason."""
        return sum(self.dropped.values())

    def deliver(self, records: Sequence[Record]) -> None:
        """These were in flight and are stored now."""
        self.in_flight -= len(records)
        self.delivered += len(records)
        for record in records:
            record.settled = True
        self._settle(records, lost=False)

    def deliver_partly(self, records: Sequence[Record], rejected: int) -> None:
        """These were in flight, and so many of them were rejected, nobody knows which: ``on_drop`` is told of none."""
        self.in_flight -= len(records)
        self.delivered += len(records) - rejected
        self._count(DropReason.REJECTED, rejected)
        for record in records:
            record.settled = True
        self._settle(records, lost=True)

    def drop(self, records: Sequence[Record], reason: DropReason) -> None:
        """These are given up; whoever held them as queued or in flight does so no more."""
        self._count(reason, len(records))
        for record in records:
            record.settled = True
            if self._on_drop is None:
                continue
            try:
                operation = record.restored()
            except ValueError:
                self.callback_errors += 1
                logger.warning("operation %d, dropped as %s, cannot be read back", record.number, reason.value)
            else:
                self.tell(operation, reason)
        self._settle(records, lost=True)

    def refuse(self, operation: Operation | None, reason: DropReason) -> None:
        """This one was submitted and is given up at once; ``None`` when it was none at all."""
        self._count(reason, 1)
        self._lost_since_flush = True
        if operation is not None:
            self.tell(operation, reason)

    def lose(self, count: int, reason: DropReason) -> None:
        """So many that were queued are given up unseen; whoever waits for a flush hears of it."""
        self._count(reason, count)
        if count:
            self._lost_since_flush |= not self._flushes
            for flush in self._flushes:
                flush.lost = True
                flush.over.set()

    def take_back(self, records: Sequence[Record]) -> None:
        """These were not submitted after all; whoever held them as queued does so no more."""
        self.submitted -= len(records)
        self._settle(records, lost=False)

    def _count(self, reason: DropReason, count: int) -> None:
        before = self.dropped[reason]
        self.dropped[reason] = after = before + count
        # At each power of two: the first loss is said at once, and a flood costs a few dozen lines.
        if after.bit_length() > before.bit_length():
            logger.warning("%d operations dropped: %s", after, reason.value)

    def tell(self, operation: Operation, reason: DropReason) -> None:
        """Call ``on_drop``, whatever it does."""
        if self._on_drop is None:
            return
        try:
            self._on_drop(operation, reason)
        except Exception as error:  # noqa: BLE001 -- the user's code; its failure must not touch delivery
            self.callback_errors += 1
            # Its message is left out: it may quote the operation.
            logger.warning("on_drop raised %s", type(error).__name__)

    async def flush(self, mark: int, outstanding: int) -> bool:
        """Wait until everything up to that number has met its fate.

        Args:
            mark: The number of the last record that matters.
            outstanding: How many records up to it are queued or in flight now.

        Returns:
            Whether none was lost since the last flush.  A flush that is cancelled leaves its losses for the next to tell.
        """
        flush = _Flush(mark, outstanding, self._lost_since_flush)
        self._lost_since_flush = False
        self._flushes.append(flush)
        try:
            if outstanding:
                await flush.over.wait()
            else:
                await trio.lowlevel.checkpoint()
        except BaseException:
            self._lost_since_flush |= flush.lost
            raise
        finally:
            self._flushes.remove(flush)
        return not flush.lost

    def _settle(self, records: Sequence[Record], *, lost: bool) -> None:
        told = 0
        for flush in self._flushes:
            count = sum(record.number <= flush.mark for record in records)
            told = max(told, count)
            if count:
                flush.outstanding -= count
                flush.lost |= lost
                if flush.outstanding == 0:
                    flush.over.set()
        if lost and told < len(records):
            self._lost_since_flush = True
