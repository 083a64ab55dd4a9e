"""The ledger as a state machine: submits, faults, time, flushes, cancellation, closing, restarts on one spool."""

from __future__ import annotations

import itertools
import math
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unchecked import unchecked
from trio_oplog import Client, Operation, Retry, Spool
from trio_oplog.testing._time import ThreadsHoldTime

NOW = datetime(2026, 11, 22, tzinfo=UTC)
STATUSES = ["503", "522", "429", "400", "401", "403", "404", "413", "415"]
FAULTS = ["ok", "refuse", *STATUSES, "page", "firewall", "garbage", "partly", "hang", "error"]


class Endpoint:
    """Stores what it is sent, in the way that its fault allows."""

    def __init__(self) -> None:
        self.fault = "ok"
        self.stored: set[str] = set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.01)
        match self.fault:
            case "refuse":
                raise httpx.ConnectError("refused")
            case "error":
                raise ZeroDivisionError
            case "hang":
                await trio.sleep_forever()
            case "page":
                return httpx.Response(200, html="<html>Log in</html>")
            case "firewall" if b'7"' in request.content:
                return httpx.Response(403)
            case _ if self.fault in STATUSES:
                return httpx.Response(int(self.fault), headers={"Retry-After": "1"})
        batch = request.headers["content-type"] != "application/json"
        if self.fault == "garbage" and batch:
            return httpx.Response(200, content=b"garbage")
        ids = [line.split(b'"')[3].decode() for line in (request.content.splitlines() if batch else [request.content])]
        if self.fault == "partly" and batch:
            self.stored.update(ids[::2])
            return httpx.Response(200, json={"stored": ids[::2], "refused": [{"line": 2, "id": None, "error": "no"}]})
        self.stored.update(ids)
        return httpx.Response(200, json={"stored": ids, "refused": []})


class Life:
    """One client, from entering its block to having left it, in a task of its own."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.how = trio.Event()
        self.over = trio.Event()
        self.raised = RuntimeError()
        self.outcome: BaseException | None = None
        self.leaving = "quietly"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with trio.CancelScope() as scope:
                async with self.client:
                    task_status.started()
                    await self.how.wait()
                    if self.leaving == "raising":
                        raise self.raised  # noqa: TRY301 -- it has to go through the block
                    if self.leaving == "cancelled":
                        scope.cancel()
                        await trio.sleep_forever()
        except BaseException as error:  # noqa: BLE001 -- the machine has it to compare
            self.outcome = error
        self.over.set()


class Deliveries(RuleBasedStateMachine):
    """An endpoint, and one client after the other.

    Trio runs in a thread of its own, where nothing moves the clock but the steps that take time; each step ends with every task
    at rest.
    """

    spooled = False

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = Endpoint()
        self.numbers = itertools.count()
        self.submitted: set[str] = set()
        self.dropped: set[str] = set()
        self.folder = tempfile.TemporaryDirectory()
        clock = trio.testing.MockClock()
        self.disk_time = ThreadsHoldTime(clock, math.inf)
        self.running = threading.Event()
        self.thread = threading.Thread(target=lambda: trio.run(self.world, clock=clock, instruments=[self.disk_time]))
        self.thread.start()
        self.running.wait()

    async def world(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.end = trio.Event()
        async with trio.open_nursery() as self.nursery:
            self.running.set()
            await self.end.wait()

    def do(self, step, *arguments):
        """Take a step in Trio's thread, and wait until it has had all its consequences that take no time."""

        async def settle():
            result = await step(*arguments)
            await trio.testing.wait_all_tasks_blocked()
            return result

        return trio.from_thread.run(settle, trio_token=self.token)

    @contextmanager
    def time(self) -> Iterator[None]:
        """Let time pass as soon as nobody has anything else to do, a disk included."""
        self.disk_time.idle = 0
        try:
            yield
        finally:
            self.disk_time.idle = math.inf

    def operation(self, size: object) -> Operation:
        name = str(next(self.numbers))
        self.submitted.add(name)
        arguments = b"[\n]" if size == "newline" else b'"' + b"x" * size + b'"' if isinstance(size, int) else b"0"
        operation = Operation(
            id=name,
            workspace_id="w",
            source="sdk",
            env_id="e",
            tool="t",
            is_error=False,
            started_at=NOW,
            completed_at=NOW,
            duration_ms=0,
            arguments=arguments,
        )
        return unchecked(operation, tool=object()) if size == "rubbish" else operation

    @initialize(overflow=st.sampled_from(["drop_newest", "drop_oldest"]), batch_size=st.sampled_from([1, 7]))
    def begin(self, overflow, batch_size):
        self.options = {
            "spool": Spool(Path(self.folder.name) / "spool", max_bytes=65_536) if self.spooled else None,
            "overflow": overflow,
            "batch_size": batch_size,
            "http": httpx.AsyncClient(transport=httpx.MockTransport(self.endpoint.answer)),
            "retry": Retry(time_limit=30, base_delay=0.1, max_delay=2),
        }
        self.do(self.enter)

    async def enter(self) -> None:
        self.life = Life(
            Client(
                "http://x/",
                "s",
                50,
                queue_bytes=40_000,
                record_max_bytes=2_000,
                concurrency=3,
                drain_timeout=1,
                on_drop=lambda operation, _: self.dropped.add(operation.id),
                **self.options,
            )
        )
        self.life.client.submit(self.operation(2))
        await self.nursery.start(self.life.run)

    @rule(count=st.integers(1, 60), size=st.sampled_from([2, 300, 1_500, 3_000, "newline", "rubbish"]))
    def submit(self, count, size):
        async def submit():
            for _ in range(count):
                self.life.client.submit(self.operation(size))
            self.check()

        self.do(submit)

    @rule(count=st.integers(1, 60))
    def submit_from_this_thread(self, count):
        for _ in range(count):
            self.life.client.submit_from_thread(self.operation(2))

    @rule(fault=st.sampled_from(FAULTS))
    def change_the_fault(self, fault):
        self.endpoint.fault = fault

    @rule(seconds=st.sampled_from([0.02, 0.3, 3.0, 40.0]))
    def let_time_pass(self, seconds):
        async def wait():
            with self.time():
                await trio.sleep(seconds)

        self.do(wait)

    @rule(seconds=st.sampled_from([0.0, 1.0, 40.0]))
    def flush(self, seconds):
        async def flush():
            before = self.submitted.copy()
            with self.time():
                if await self.life.client.flush(seconds):
                    assert before <= self.endpoint.stored | self.dropped

        self.do(flush)

    @rule(how=st.sampled_from(["quietly", "raising", "cancelled"]))
    def leave_and_enter_again(self, how):
        self.do(self.leave, how)
        self.do(self.enter)

    async def leave(self, how) -> None:
        life = self.life
        life.leaving = how
        life.how.set()
        with self.time():
            await life.over.wait()
        assert life.outcome is (life.raised if how == "raising" else None)
        life.client.submit(self.operation(2))
        now = self.check()
        assert now.in_flight == 0
        if not self.spooled:
            assert now.queued == 0
        if now.queued == 0:
            assert self.submitted == self.endpoint.stored | self.dropped

    @invariant()
    def the_ledger_balances(self):
        async def check():
            self.check()

        if hasattr(self, "life"):
            self.do(check)

    def check(self):
        now = self.life.client.statistics()
        assert now.submitted == now.delivered + sum(now.dropped.values()) + now.queued + now.in_flight
        assert min(now.queued, now.in_flight, now.queued_bytes) >= 0
        assert now.queued_bytes <= 40_000
        return now

    def teardown(self):
        try:
            if hasattr(self, "life"):
                self.do(self.finish)
        finally:
            self.token.run_sync_soon(self.end.set)
            self.thread.join()
            self.folder.cleanup()

    async def finish(self) -> None:
        """With a good endpoint and time enough, the last client leaves nothing behind."""
        await self.leave("quietly")
        self.endpoint.fault = "ok"
        await self.enter()
        with self.time():
            await self.life.client.flush(600)
        assert (now := self.check()).queued + now.in_flight == 0
        await self.leave("quietly")
        assert self.check().queued == 0
        await self.options["http"].aclose()


class DeliveriesFromASpool(Deliveries):
    spooled = True


# A tenth of what the profile says finds a count that is wrong anywhere: each example is up to thirty steps.
LENGTH = settings(deadline=None, max_examples=max(settings().max_examples // 10, 1), stateful_step_count=30)
TestTheLedgerBalancesWhateverHappens = Deliveries.TestCase
TestTheLedgerBalancesWhateverHappens.settings = LENGTH
TestTheLedgerBalancesWhateverHappensWithASpool = DeliveriesFromASpool.TestCase
TestTheLedgerBalancesWhateverHappensWithASpool.settings = LENGTH
