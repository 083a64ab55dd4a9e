"""The ledger, where a client reaches a line of it at odd moments only."""

from __future__ import annotations

import trio
import trio.testing

from trio_oplog import DropReason
from trio_oplog._delivery.ledger import Ledger


async def test_a_flush_learns_of_records_that_are_lost_unseen(nursery):
    ledger = Ledger(None)
    answers = []

    async def flush():
        answers.append(await ledger.flush(5, 5))

    nursery.start_soon(flush)
    await trio.testing.wait_all_tasks_blocked()
    ledger.lose(0, DropReason.SPOOL_LOST)
    await trio.testing.wait_all_tasks_blocked()
    assert answers == []
    ledger.lose(3, DropReason.SPOOL_LOST)
    await trio.testing.wait_all_tasks_blocked()
    assert answers == [False]
    assert ledger.total_dropped == 3
    assert await ledger.flush(5, 0)


async def test_the_next_flush_learns_of_them_when_none_was_waiting():
    ledger = Ledger(None)
    ledger.lose(3, DropReason.SPOOL_LOST)
    assert not await ledger.flush(5, 0)
    assert await ledger.flush(5, 0)
