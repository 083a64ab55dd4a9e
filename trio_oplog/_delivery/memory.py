"""Step 7: the backlog of a client without a spool: the queue itself."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from trio_oplog._delivery.ledger import DropReason, Ledger
from trio_oplog._delivery.queue import Queue
from trio_oplog._delivery.record import Record


def seal(records: Sequence[Record], max_bytes: int) -> tuple[list[Record], list[tuple[Record, DropReason]]]:
    """Encode records.

    Returns:
        Those that are ready to go, and those that will never be, with the reason.
    """
    ready: list[Record] = []
    hopeless: list[tuple[Record, DropReason]] = []
    for record in records:
        try:
            fits = record.seal(max_bytes)
        except Exception:  # noqa: BLE001 -- made by hand, of anything at all
            hopeless.append((record, DropReason.INVALID))
            continue
        if fits:
            ready.append(record)
        else:
            hopeless.append((record, DropReason.TOO_LARGE))
    return ready, hopeless


class MemoryBacklog:
    """Workers take straight from the queue; what they cannot deliver is lost, and counted."""

    durable = False
    pending = spooled = recovered = 0
    failing = False

    def __init__(self, queue: Queue, ledger: Ledger, record_max_bytes: int) -> None:
        self._queue = queue
        self._ledger = ledger
        self._record_max = record_max_bytes

    async def open(self) -> None:
        """Nothing to open."""
        await trio.lowlevel.checkpoint()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Nothing to do meanwhile."""
        task_status.started()
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Give up what nobody took."""
        self._ledger.drop(self._queue.take_nowait(), DropReason.DRAIN_TIMEOUT)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def has_room(self, size: int) -> None:
        """The queue is all there is, and has its own."""

    async def take(self, count: int, max_bytes: int) -> Sequence[Record]:
        """Wait for records; none when the queue is closed and empty."""
        while taken := await self._queue.take(count, max_bytes):
            ready, hopeless = seal(taken, self._record_max)
            for record, reason in hopeless:
                self._ledger.drop([record], reason)
            if ready:
                self._ledger.in_flight += len(ready)
                return ready
        return ()

    def settled(self, records: Sequence[Record], reason: DropReason | None) -> None:
        """Nothing is kept of them."""

    def abandoned(self, records: Sequence[Record]) -> None:
        """Lost: the block was left."""
        self._ledger.in_flight -= len(records)
        self._ledger.drop(records, DropReason.DRAIN_TIMEOUT)
