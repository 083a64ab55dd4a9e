"""A naive submitter that keeps every promise, and ones that each break one."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from types import SimpleNamespace
from typing import Any, Self

import httpx
import trio

from tests.http import http_client
from trio_oplog import Operation
from trio_oplog._wire import encode
from trio_oplog.testing import Law

FAULTY: list[tuple[type[Any], set[Law]]] = []
logger = logging.getLogger("tests.faulty")


def breaks(*laws: Law) -> Any:
    def register(kind: type[NaiveSubmitter]) -> type[NaiveSubmitter]:
        FAULTY.append((kind, set(laws)))
        return kind

    return register


class NaiveSubmitter:
    """A few workers, one attempt for each operation, three seconds to leave."""

    workers = 4
    leaving = 3.0

    def __init__(self, url: str, secret: str, capacity: int) -> None:
        self.url, self.secret, self.capacity = url, secret, capacity
        self.queue: deque[Operation] = deque()
        self.waiting = trio.Event()
        self.open = False
        self.submitted = self.delivered = self.dropped = self.in_flight = 0

    def submit(self, operation: Operation, /) -> None:
        self.submitted += 1
        if not self.open:
            self.dropped += 1
            return
        self.queue.append(operation)
        if self.is_too_full():
            self.queue.remove(self.victim())
            self.dropped += 1
        self.waiting.set()

    def victim(self) -> Operation:
        """The newest of the workspace that holds the most."""
        ((workspace, _),) = Counter(operation.workspace_id for operation in self.queue).most_common(1)
        return next(operation for operation in reversed(self.queue) if operation.workspace_id == workspace)

    def is_too_full(self) -> bool:
        return len(self.queue) > self.capacity

    def is_full(self) -> bool:
        return len(self.queue) >= self.capacity

    def statistics(self) -> Any:
        return SimpleNamespace(
            submitted=self.submitted,
            delivered=self.delivered,
            dropped={"lost": self.dropped},
            queued=len(self.queue),
            in_flight=self.in_flight,
        )

    async def __aenter__(self) -> Self:
        self.http = http_client()
        self.manager = trio.open_nursery()
        self.nursery = await self.manager.__aenter__()
        self.open = True
        for _ in range(self.workers):
            self.nursery.start_soon(self.work)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open = False
        self.waiting.set()
        with trio.move_on_after(self.leaving, shield=True):
            await self.drain()
        self.nursery.cancel_scope.shield = True
        self.nursery.cancel_scope.cancel()
        await self.manager.__aexit__(None, None, None)
        self.dropped += len(self.queue)
        self.queue.clear()
        await self.http.aclose()

    async def drain(self) -> None:
        while self.queue or self.in_flight:  # noqa: ASYNC110 -- as naive as it may be
            await trio.sleep(10)

    async def work(self) -> None:
        while True:
            while not self.queue:
                self.waiting = trio.Event() if self.waiting.is_set() else self.waiting
                await self.waiting.wait()
            operation = self.queue.popleft()
            self.in_flight += 1
            await self.see_through(operation)

    async def see_through(self, operation: Operation) -> None:
        done = False
        try:
            done = await self.deliver(operation)
        except Exception as error:  # noqa: BLE001
            self.failed(operation, error)
        finally:
            self.in_flight -= 1
            self.settle(done)

    def settle(self, done: bool) -> None:
        if done:
            self.delivered += 1
        else:
            self.dropped += 1

    def failed(self, operation: Operation, error: Exception) -> None:
        logger.warning("a request failed: %s", type(error).__name__)

    def encode(self, operation: Operation) -> bytes:
        return encode(operation)

    async def deliver(self, operation: Operation) -> bool:
        headers = {"X-Internal-Secret": self.secret, "Content-Type": "application/json"}
        answer = await self.http.post(self.url, content=self.encode(operation), headers=headers)
        return answer.is_success


@breaks(Law.SUBMIT_BLOCKS)
class PostsInSubmit(NaiveSubmitter):
    """The calling task waits for the network."""

    def submit(self, operation: Operation, /) -> None:
        time.sleep(0.004)
        super().submit(operation)


@breaks(Law.SUBMIT_RAISES)
class RaisesWhenFull(NaiveSubmitter):
    def submit(self, operation: Operation, /) -> None:
        if self.is_full():
            raise trio.WouldBlock
        super().submit(operation)


@breaks(Law.SUBMIT_RAISES)
class RaisesWhenClosed(NaiveSubmitter):
    def submit(self, operation: Operation, /) -> None:
        if not self.open:
            raise trio.ClosedResourceError
        super().submit(operation)


@breaks(Law.SUBMIT_GOES_ON)
class OneAfterTheOther(NaiveSubmitter):
    """The predecessor's way: what is behind a slow request waits."""

    workers = 1


@breaks(Law.SUBMIT_GOES_ON)
class StopsAtTheFirstFailure(NaiveSubmitter):
    broken = False

    async def deliver(self, operation: Operation) -> bool:
        self.broken = self.broken or not await super().deliver(operation)
        return not self.broken


@breaks(Law.LEAVING_DRAINS)
class AbandonsTheQueue(NaiveSubmitter):
    """The predecessor's ``Close``."""

    leaving = 0.0


@breaks(Law.LEAVING_IS_BOUNDED, Law.SUBMIT_GOES_ON)
class WaitsForEver(NaiveSubmitter):
    leaving = float("inf")

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.http.timeout = httpx.Timeout(None)
        return self


@breaks(Law.EXCEPTIONS)
class WrapsExceptions(NaiveSubmitter):
    async def __aexit__(self, *exception: object) -> None:
        await super().__aexit__(*exception)
        if exception[1] is not None:
            raise BaseExceptionGroup("from a nursery", [exception[1]])


@breaks(Law.EXCEPTIONS)
class SwallowsExceptions(NaiveSubmitter):
    async def __aexit__(self, *exception: object) -> Any:
        await super().__aexit__(*exception)
        return True


@breaks(Law.LEDGER)
class CountsNoFailures(NaiveSubmitter):
    def settle(self, done: bool) -> None:
        self.delivered += done


@breaks(Law.LEDGER)
class CountsNoDrops(NaiveSubmitter):
    def submit(self, operation: Operation, /) -> None:
        super().submit(operation)
        self.dropped = 0


@breaks(Law.LEDGER)
class CountsAttemptsAsDelivered(NaiveSubmitter):
    def settle(self, done: bool) -> None:
        self.delivered += 1


@breaks(Law.LEDGER)
class KeepsNoAccount(NaiveSubmitter):
    statistics = None  # type: ignore[assignment]


@breaks(Law.OVERFLOW)
class QueuesWithoutBounds(NaiveSubmitter):
    def is_too_full(self) -> bool:
        return False


@breaks(Law.OVERFLOW)
class QueuesOneTooMany(NaiveSubmitter):
    def is_too_full(self) -> bool:
        return len(self.queue) > self.capacity + 1


@breaks(Law.FAIR)
class DropsWhoeverComes(NaiveSubmitter):
    """The predecessor's way: once the flood of one has filled the queue, everybody loses."""

    def victim(self) -> Operation:
        return self.queue[-1]


@breaks(Law.OVERFLOW)
class HandsTooMuchToTasks(NaiveSubmitter):
    """What is on its way to a task counts as in flight, and in flight is more than there is room for."""

    def submit(self, operation: Operation, /) -> None:
        self.submitted += 1
        if self.open and self.in_flight <= self.capacity:
            self.in_flight += 1
            self.nursery.start_soon(self.see_through, operation)
        else:
            self.dropped += 1


@breaks(Law.SUBMIT_DELIVERS)
class EncodesArgumentsAgain(NaiveSubmitter):
    def encode(self, operation: Operation) -> bytes:
        return json.dumps(json.loads(encode(operation)), ensure_ascii=False).encode("utf-8", "replace")


@breaks(Law.SUBMIT_DELIVERS)
class ForgetsTheSecret(NaiveSubmitter):
    async def deliver(self, operation: Operation) -> bool:
        return (await self.http.post(self.url, content=self.encode(operation))).is_success


@breaks(Law.SECRETS)
class LogsWhatFailed(NaiveSubmitter):
    async def deliver(self, operation: Operation) -> bool:
        done = await super().deliver(operation)
        if not done:
            logger.warning("refused: %s", operation.result_summary)
        return done


@breaks(Law.SECRETS)
class ShowsItsSecret(NaiveSubmitter):
    def __repr__(self) -> str:
        return f"<submitter to {self.url} with {self.secret}>"
