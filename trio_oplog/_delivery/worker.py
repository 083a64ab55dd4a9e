"""Step 8: sees each group of records through: attempts, pauses, halves, until every record of it has met its fate.

Nothing waits for a record that fails.  A group that is to be tried again is held, and its worker takes other work meanwhile.
What happens to the others is also what tells an outage from a record that the endpoint, or a filter on the way, cannot stand.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

import trio

from trio_oplog._delivery.batching import Batching
from trio_oplog._delivery.group import Group, Held
from trio_oplog._delivery.ledger import DropReason, Ledger, logger
from trio_oplog._delivery.protocol import EndpointProtocol
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.request import Endpoint, pack
from trio_oplog._delivery.retry import Breaker, Retry
from trio_oplog._delivery.verdict import Answer, Reply, Verdict
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

        They may weigh more than that, by less than one record: what exceeds a request goes with the next.  A call that is
        cancelled has taken nothing.
        """
        ...

    def settled(self, records: Sequence[Record], reason: DropReason | None) -> None:
        """These were delivered, or dropped for a reason; the ledger knows already."""
        ...

    def abandoned(self, records: Sequence[Record]) -> None:
        """These are no longer in flight, and not delivered: they wait for another turn, or are lost where the block is left."""
        ...


# How often a record fails while others get through before it is held against it.  Some of the servers behind one address may
# refuse everybody for a moment, and others do not.
_STRIKES: Final = 4
# How long something new may take to come before a held group has another turn; two in a row would keep the probe from the others.
_TURN: Final = 0.05
# How many groups from a spool are held while the endpoint is down: enough that the next probe is always another one, in case that
# something in the last one is all that is wrong.  The others wait in the file.
_HELD_WHILE_DOWN: Final = 4
_FAILED: Final = frozenset({Verdict.OUTAGE, Verdict.WRONG_PATH, Verdict.BLOCKED})
# What says nothing of the records of a batch, so that parts of it would fare no better.
_BUSY: Final = (None, 429, 503)


class _LeavingError(Exception):
    """The endpoint is down, the block is being left, and the records are safe: no use in waiting."""


class DeliveryWorker:
    """Takes batches from a backlog to the endpoint; any number of tasks may run it."""

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: EndpointProtocol,
        retry: Retry,
        ledger: Ledger,
        backlog: Backlog,
        *,
        batch_size: int,
        batch_bytes: int,
    ) -> None:
        self.breaker = Breaker(retry, endpoint.name, logger.warning)
        self.failed_requests = 0
        self.last_error: str | None = None
        self._endpoint = endpoint
        self._protocol = protocol
        self._retry = retry
        self._ledger = ledger
        self._backlog = backlog
        self._batching = Batching(endpoint.name, batch_size, batch_bytes)
        self._held = Held()
        self._backlog_is_next = False
        self._remark = ""
        self._todos: dict[int, list[Group]] = {}  # of each task that has work, by its identity

    def held(self) -> Mapping[str, int]:
        """How many records have failed and wait for another attempt, by why they failed last."""
        problems: dict[str, int] = {}
        for group in self._unsettled():
            if group.problem:
                problems[group.problem] = problems.get(group.problem, 0) + len(group.records)
        return problems

    def _unsettled(self) -> Iterator[Group]:
        yield from self._held
        for todo in self._todos.values():
            yield from todo

    def leave(self) -> None:
        """The block is being left: where the records are safe, do not wait for an endpoint that is down."""
        if self._backlog.durable:
            self.breaker.give_up()

    def close(self) -> None:
        """Give back what is still held; every task has ended."""
        while self._held:
            self._backlog.abandoned(self._held.pop().records)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C is for the task that runs the block; the ledger must not be left half-written
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until the backlog is closed and empty, and what failed is settled or safe."""
        task_status.started()
        while todo := await self._next():
            abandoned = True
            self._todos[id(todo)] = todo
            try:
                while todo:
                    todo[:1] = await self._send(todo[0])
                abandoned = False
            except _LeavingError:
                return
            except Exception as bug:  # noqa: BLE001 -- ours: it must not end the gateway, nor the deliveries after it
                abandoned = False
                place = traceback.extract_tb(bug.__traceback__)[-1]
                # The message of the exception is left out: it may quote what it choked on.
                logger.error("bug in trio_oplog: %s in %s line %s", type(bug).__name__, place.name, place.lineno)
            finally:
                del self._todos[id(todo)]
                left = [record for group in todo for record in group.records if not record.settled]
                if left and abandoned:
                    self._backlog.abandoned(left)
                elif left:
                    self._drop(left, DropReason.INTERNAL)

    async def _next(self) -> list[Group]:
        """Wait for work: what is held and due, or what is new, in turns; none when there will never be any."""
        while True:
            now, due = trio.current_time(), self._held.due
            if self._held.is_full or (due <= now and not self._backlog_is_next):
                await trio.sleep_until(due)
                if self._held.due <= trio.current_time():  # else another worker has taken it
                    self._backlog_is_next = True
                    return [self._held.pop()]
                continue
            with trio.move_on_at(max(due, now + _TURN)) as scope:
                records = await self._backlog.take(self._batching.size, self._batching.max_bytes)
            self._backlog_is_next = False
            if scope.cancelled_caught:
                continue
            if records:
                began = trio.current_time()
                groups = pack(self._prepared(records), self._batching.size, self._batching.max_bytes)
                if todo := [Group(group, may_batch, began) for group, may_batch in groups]:
                    return todo
                continue
            if self._backlog.durable or not self._held:
                return []
            await trio.sleep_until(self._held.due)

    def _prepared(self, records: Sequence[Record]) -> list[Record]:
        """Those of which the endpoint's protocol can make something."""
        prepared = []
        for record in records:
            try:
                self._protocol.prepare(record)
            except Exception:  # noqa: BLE001 -- made by hand, of anything at all
                self._drop([record], DropReason.INVALID)
            else:
                prepared.append(record)
        return prepared

    async def _send(self, group: Group) -> list[Group]:
        """Make one request.

        Returns:
            What is to be sent next in place of the group: nothing once its records are settled or held.
        """
        as_batch = group.as_batch and self._batching.size > 1
        if len(group.records) > 1 and not as_batch:
            # It was learned meanwhile that this endpoint knows no batches.
            return group.one_by_one()
        sent = await self._attempt(group, as_batch=as_batch)
        if sent is None:
            self._drop(group.records, DropReason.FAILED)
            return []
        reply, answer = sent
        group.problem = answer.problem
        match answer.verdict:
            case Verdict.STORED:
                if as_batch:
                    self._batching.accepted()
                if group.doubted:
                    self._batching.doubted(group.doubted)
                self._stored(group.records)
                if answer.problem != self._remark:
                    self._remark = answer.problem
                    if answer.problem:
                        logger.warning("%s stored operations and says: %s", self._endpoint.name, answer.problem)
                return []
            case Verdict.PARTLY_STORED:
                self._batching.accepted()
                self._partly_stored(group.records, answer)
                return []
            case Verdict.ACCOUNT:
                self._batching.accepted()
                group.records = self._book(group.records, answer)
                if not group.records:
                    return []
            case Verdict.REFUSED:
                self._batching.explained()
                self._refused(group.records, answer.problem)
                return []
            case Verdict.BATCH_REFUSED:
                return self._divided(group, answer)
            case Verdict.NO_BATCHES:
                self._batching.unknown(answer.problem)
                return group.one_by_one()
            case Verdict.TOO_LARGE:
                return self._too_large(group)
        return self._failed(group, reply, answer, as_batch=as_batch)

    async def _attempt(self, group: Group, *, as_batch: bool) -> tuple[Reply, Answer] | None:
        """Make one request, once the breaker lets it out.  None: that would be after the time that its records have."""
        with trio.move_on_at(math.inf if self._backlog.durable else group.began + self._retry.time_limit) as scope:
            probe = await self.breaker.admit()
        if scope.cancelled_caught:
            return None
        if self.breaker.given_up and self.breaker.is_open:
            self.breaker.unknown(probe=probe)
            raise _LeavingError
        told = False
        try:
            reply = await self._endpoint.post(self._protocol.body(group.records, as_batch=as_batch))
            answer = self._protocol.judge(reply, [record.id for record in group.records], self._retry.statuses, batch=as_batch)
            told = True
            if answer.verdict not in _FAILED:
                self.breaker.success(probe=probe)
            else:
                self.failed_requests += 1
                self.last_error = answer.problem
                logger.info("a request to %s failed: %s", self._endpoint.name, answer.problem)
                if probe or not self._may_be_the_records(group, answer):
                    pause = 0.0 if answer.verdict is Verdict.BLOCKED else self._retry.pause(reply.retry_after)
                    self.breaker.failure(answer.problem, pause, probe=probe)
        finally:
            if not told:
                self.breaker.unknown(probe=probe)
        return reply, answer

    def _may_be_the_records(self, group: Group, answer: Answer) -> bool:
        """Whether a failure says so little of the endpoint that it is none of the breaker's business."""
        # A batch is searched for the record that a filter may have meant; where it is the path, the first record alone tells.
        return answer.verdict is Verdict.BLOCKED and (len(group.records) > 1 or self._others_got_through(group))

    def _others_got_through(self, group: Group) -> bool:
        """Whether records were stored since this group first failed."""
        return self._ledger.delivered > group.delivered_before

    def _failed(self, group: Group, reply: Reply, answer: Answer, *, as_batch: bool) -> list[Group]:
        """Decide what becomes of a group none of which is stored: parts of it are sent, or it waits, or it is given up."""
        delivered = self._ledger.delivered
        others_got_through = delivered > group.delivered_before
        if delivered > group.delivered_last or (
            answer.verdict is Verdict.BLOCKED and others_got_through and self.breaker.is_steady
        ):
            group.strikes += 1
            group.struck_at = min(group.struck_at, trio.current_time())
        group.delivered_before = min(group.delivered_before, delivered)
        group.delivered_last = delivered
        group.failures += 1
        if as_batch and self._is_divisible(group, reply, answer, others_got_through=others_got_through):
            return self._divided(group, answer)
        if answer.verdict is Verdict.BLOCKED and group.strikes >= _STRIKES:
            self._batching.explained()
            self._refused(group.records, f"{answer.problem}, while others are stored")
        else:
            self._hold(group)
        return []

    def _is_divisible(self, group: Group, reply: Reply, answer: Answer, *, others_got_through: bool) -> bool:
        if answer.verdict is Verdict.BLOCKED or (answer.is_format and not self._batching.known):
            return True
        if len(group.records) == 1 or group.failures == 1:
            return False
        # Something in it may be what the endpoint fails on.  Its neighbours must not pay for it.
        return others_got_through or (answer.verdict is not Verdict.WRONG_PATH and reply.status not in _BUSY)

    def _divided(self, group: Group, answer: Answer) -> list[Group]:
        """Parts of a batch that was refused: to find the record that is meant, or that batches are."""
        group.delivered_before = min(group.delivered_before, self._ledger.delivered)
        doubted = answer.problem if answer.is_format else ""
        if self._batching.known and len(group.records) > 1:
            return group.halves(doubted=doubted)
        return group.first_and_rest(doubted=doubted) if answer.is_format or len(group.records) == 1 else group.halves()

    def _hold(self, group: Group) -> None:
        """Keep a group for its next attempt, or give it up where there is none."""
        now, delay = trio.current_time(), self._retry.delay(group.failures)
        if self._is_over(group, now + delay):
            self._drop(group.records, DropReason.FAILED)
        elif not self.breaker.is_open:
            self._held.add(group, now + delay)
        elif self._backlog.durable and len(self._held) >= _HELD_WHILE_DOWN:
            self._backlog.abandoned(group.records)
        else:
            # The breaker says when to try.
            self._held.add(group, now)

    def _is_over(self, group: Group, next_attempt: float) -> bool:
        """Whether a group has had the attempts or the time that ``Retry`` allows."""
        attempts, time_limit = self._retry.attempts, self._retry.time_limit
        if not self._backlog.durable:
            return (attempts is not None and group.failures >= attempts) or next_attempt >= group.began + time_limit
        # What is safe on the disk outlives any outage.  Only what the endpoint fails on while it takes others goes.
        if attempts is not None and group.strikes >= attempts:
            return True
        return group.strikes >= _STRIKES and next_attempt >= group.struck_at + time_limit

    def _too_large(self, group: Group) -> list[Group]:
        if len(group.records) > 1:
            self._batching.too_large(sum(len(record.sent) + 1 for record in group.records))
            return group.halves()
        try:
            is_smaller = group.records[0].shrink()
        except WireError:
            is_smaller = False
        if is_smaller:
            group.as_batch = False
            return [group]
        self._drop(group.records, DropReason.TOO_LARGE)
        return []

    def _book(self, records: Sequence[Record], answer: Answer) -> list[Record]:
        """Settle what the answer speaks of, and return what it does not."""
        self._stored([record for place, record in enumerate(records) if place in answer.stored])
        refused: dict[str, list[Record]] = {}
        for place, problem in answer.refused.items():
            refused.setdefault(problem, []).append(records[place])
        for problem, those in refused.items():
            self._refused(those, problem)
        return [record for record in records if not record.settled]

    def _stored(self, records: Sequence[Record]) -> None:
        self._ledger.deliver(records)
        self._backlog.settled(records, None)

    def _partly_stored(self, records: Sequence[Record], answer: Answer) -> None:
        """Settle a batch of which the endpoint refused some and does not say which: nobody can be told, and all are gone."""
        self.last_error = answer.problem
        self._ledger.deliver_partly(records, answer.rejected)
        self._backlog.settled(records, None)
        logger.warning(
            "%s refused %d of %d operations, and does not say which (%s)",
            self._endpoint.name,
            answer.rejected,
            len(records),
            answer.problem,
        )

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
