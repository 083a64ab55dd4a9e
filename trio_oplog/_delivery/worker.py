"""Step 8: sees each batch through: attempts, pauses, halves, until every record of it has met its fate."""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from typing import Protocol

import trio

from trio_oplog._delivery.ledger import DropReason, Ledger, logger
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.request import JSON, NDJSON, Answer, Endpoint, Reply, Verdict, judge, pack
from trio_oplog._delivery.retry import Breaker, Retry
from trio_oplog._errors import WireError


class Backlog(Protocol):
    """Where workers get records from: the queue in memory, or the spool."""

    durable: bool
    """Whether a record that is not delivered now can be delivered by the next run."""
    pending: int
    """How many records it holds that are neither in the queue nor in flight."""
    spooled: int
    """How many it has committed."""
    recovered: int
    """How many an earlier run left."""
    failing: bool
    """Whether it cannot do what it is there for."""

    async def open(self) -> None:
        """Get ready."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Do its own work until cancelled."""
        ...

    async def close(self) -> None:
        """Keep or give up what is left, workers having ended."""
        ...

    async def has_room(self, size: int) -> None:
        """Wait until another record of that size would not make it overflow."""
        ...

    async def take(self, count: int, max_bytes: int) -> Sequence[Record]:
        """Wait for sealed records, which are in flight from then on; none when there will never be any.

        They may weigh more than that, by less than one record: what exceeds a request goes with the next.
        """
        ...

    def settled(self, records: Sequence[Record], reason: DropReason | None) -> None:
        """These were delivered, or dropped for a reason; the ledger knows already."""
        ...

    def abandoned(self, records: Sequence[Record]) -> None:
        """Delivery ends while these are in flight."""
        ...


class _LeavingError(Exception):
    """The endpoint is down, the block is being left, and the records are safe: no use in waiting."""


class DeliveryWorker:
    """Takes batches from a backlog to the endpoint; any number of tasks may run it."""

    def __init__(
        self,
        endpoint: Endpoint,
        retry: Retry,
        ledger: Ledger,
        backlog: Backlog,
        *,
        batch_size: int,
        batch_bytes: int,
        record_max: int,
    ) -> None:
        self.breaker = Breaker(retry, endpoint.name, logger.warning)
        self.failed_requests = 0
        self.last_error: str | None = None
        self._endpoint = endpoint
        self._retry = retry
        self._ledger = ledger
        self._backlog = backlog
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._record_max = record_max

    def leave(self) -> None:
        """The block is being left: where the records are safe, do not wait for an endpoint that is down."""
        if self._backlog.durable:
            self.breaker.give_up()

    @trio.lowlevel.enable_ki_protection  # Ctrl-C is for the task that runs the block; the ledger must not be left half-written
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until the backlog is closed and empty."""
        task_status.started()
        while records := await self._backlog.take(self._batch_size, self._batch_bytes):
            abandoned = True
            try:
                await self._deliver(records)
                abandoned = False
            except _LeavingError:
                return
            except Exception as bug:  # noqa: BLE001 -- ours: it must not end the gateway, nor the deliveries after it
                abandoned = False
                place = traceback.extract_tb(bug.__traceback__)[-1]
                # The message of the exception is left out: it may quote what it choked on.
                logger.error("bug in trio_oplog: %s in %s line %s", type(bug).__name__, place.name, place.lineno)
            finally:
                left = [record for record in records if not record.settled]
                if left and abandoned:
                    self._backlog.abandoned(left)
                elif left:
                    self._drop(left, DropReason.INTERNAL)

    async def _deliver(self, records: Sequence[Record]) -> None:
        for group, may_batch in pack(records, self._batch_size, self._batch_bytes):
            await self._see_through(group, as_batch=may_batch)

    async def _see_through(self, records: list[Record], *, as_batch: bool, began: float | None = None) -> None:
        """Send one body until each of its records is settled."""
        began = trio.current_time() if began is None else began
        failures = 0
        healthy_before = self.breaker.successes
        while records:
            if as_batch and self._batch_size == 1 and len(records) > 1:
                # Another worker learned meanwhile that this endpoint knows no batches.
                await self._each(records)
                return
            deadline = math.inf if self._backlog.durable else began + self._retry.time_limit
            sent = await self._attempt(records, deadline, as_batch=as_batch and self._batch_size > 1)
            if sent is None:
                self._drop(records, DropReason.FAILED)
                return
            reply, answer = sent
            match answer.verdict:
                case Verdict.STORED:
                    self._stored(records)
                    return
                case Verdict.TOO_LARGE:
                    await self._too_large(records)
                    return
                case Verdict.NO_BATCHES:
                    if self._batch_size > 1:
                        self._batch_size = 1
                        logger.warning(
                            "%s takes no batches (%s); one by one from now on", self._endpoint.name, reply.problem or "no account"
                        )
                    await self._each(records)
                    return
                case Verdict.REFUSED:
                    self._refused(records, reply.problem)
                    return
                case Verdict.ACCOUNT:
                    records = self._book(records, answer)
            failures += 1
            if len(records) > 1 and failures > 1 and reply.status is not None and reply.status not in (429, 503):
                # Something in it may be what the endpoint fails on.  Its neighbours must not pay for it.
                await self._halve(records, began)
                return
            healthy = reply.status is not None and self.breaker.successes > healthy_before
            if records and not await self._may_try_again(failures, began, endpoint_is_healthy=healthy):
                self._drop(records, DropReason.FAILED)
                return

    async def _attempt(self, records: Sequence[Record], deadline: float, *, as_batch: bool) -> tuple[Reply, Answer] | None:
        """Make one request, once the breaker lets it out.  None: that would be after the deadline."""
        with trio.move_on_at(deadline) as scope:
            probe = await self.breaker.admit()
        if scope.cancelled_caught:
            return None
        if self.breaker.given_up and self.breaker.is_open:
            self.breaker.unknown(probe=probe)
            raise _LeavingError
        told = False
        try:
            if as_batch:
                reply = await self._endpoint.post(b"\n".join([record.wire for record in records]) + b"\n", NDJSON)
            else:
                reply = await self._endpoint.post(records[0].wire, JSON)
            answer = judge(reply, [record.id for record in records], self._retry.statuses, batch=as_batch)
            if answer.verdict is Verdict.AGAIN:
                self.failed_requests += 1
                self.last_error = reply.problem
                told = True
                self.breaker.failure(reply.problem, self._retry.pause(reply.retry_after), probe=probe)
                logger.info("a request to %s failed: %s", self._endpoint.name, reply.problem)
            else:
                told = True
                self.breaker.success(probe=probe)
        finally:
            if not told:
                self.breaker.unknown(probe=probe)
        return reply, answer

    async def _may_try_again(self, failures: int, began: float, *, endpoint_is_healthy: bool) -> bool:
        """Pause before the next attempt; False when there is none."""
        retry = self._retry
        delay = retry.delay(failures)
        out = (
            retry.attempts is not None and failures >= retry.attempts
        ) or trio.current_time() + delay >= began + retry.time_limit
        if out and self._backlog.durable:
            # What is safe on the disk outlives any outage.  Only a record that the endpoint fails on while it takes others goes.
            out = endpoint_is_healthy
        if out:
            return False
        if not self.breaker.is_open:
            await trio.sleep(delay)
        return True

    async def _each(self, records: Sequence[Record]) -> None:
        for record in records:
            await self._see_through([record], as_batch=False)

    async def _halve(self, records: list[Record], began: float | None = None) -> None:
        middle = len(records) // 2
        await self._see_through(records[:middle], as_batch=True, began=began)
        await self._see_through(records[middle:], as_batch=True, began=began)

    async def _too_large(self, records: list[Record]) -> None:
        if len(records) > 1:
            size = sum(len(record.wire) + 1 for record in records)
            self._batch_bytes = max(min(self._batch_bytes, size // 2), 1)
            await self._halve(records)
            return
        try:
            smaller = records[0].shrink()
        except WireError:
            smaller = False
        if smaller:
            await self._see_through(records, as_batch=False)
            return
        self._drop(records, DropReason.TOO_LARGE)

    def _book(self, records: Sequence[Record], answer: Answer) -> list[Record]:
        """Settle what the answer speaks of, and return what it does not."""
        self._stored([record for place, record in enumerate(records) if place in answer.stored])
        refused = [record for place, record in enumerate(records) if place in answer.refused]
        if refused:
            self._refused(refused, "HTTP 200 with an account")
        return [record for record in records if not record.settled]

    def _stored(self, records: Sequence[Record]) -> None:
        self._ledger.deliver(records)
        self._backlog.settled(records, None)

    def _refused(self, records: Sequence[Record], problem: str) -> None:
        self.last_error = problem
        self._drop(records, DropReason.REJECTED)
        logger.warning(
            "%s refused %d operations (%s), the first with id %.36s", self._endpoint.name, len(records), problem, records[0].id
        )

    def _drop(self, records: Sequence[Record], reason: DropReason) -> None:
        self._ledger.in_flight -= len(records)
        self._ledger.drop(records, reason)
        self._backlog.settled(records, reason)
