"""The ledger as a state machine: submits, faults, time, flushes, cancellation, closing, restarts on one spool."""

from __future__ import annotations

import itertools
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_oplog import Client, Operation, Retry, Spool

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FAULTS = ["ok", "refuse", "503", "429", "400", "413", "415", "garbage", "partly", "hang", "error"]

submit = st.tuples(st.just("submit"), st.integers(1, 40), st.sampled_from([2, 300, 3_000, "newline", "rubbish"]))
steps = st.lists(
    submit
    | submit
    | st.tuples(st.just("fault"), st.sampled_from(FAULTS))
    | st.tuples(st.just("time"), st.sampled_from([0.0, 0.02, 1.0, 20.0]))
    | st.tuples(st.just("flush"), st.sampled_from([0.0, 1.0]))
    | st.tuples(st.just("thread"), st.integers(1, 5))
    | st.tuples(st.just("leave"), st.sampled_from(["quietly", "raising", "cancelled"]))
)


class Machine:
    """One endpoint, and one client after the other."""

    def __init__(self, *, spool: Spool | None, overflow: str, batch_size: int) -> None:
        self.options = {"spool": spool, "overflow": overflow, "batch_size": batch_size, "queue_bytes": 40_000}
        self.fault = "ok"
        self.numbers = itertools.count()
        self.stored: set[str] = set()
        self.dropped: list[str] = []
        self.submitted: set[str] = set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.01)
        match self.fault:
            case "refuse":
                raise httpx.ConnectError("refused")
            case "error":
                raise ZeroDivisionError
            case "hang":
                await trio.sleep_forever()
            case "503" | "429" | "400" | "413" | "415":
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

    def operation(self, size: object) -> Operation:
        name = str(next(self.numbers))
        self.submitted.add(name)
        arguments = b"[\n]" if size == "newline" else b'"' + b"x" * size + b'"' if isinstance(size, int) else b"0"
        return Operation(
            id=name,
            workspace_id="w",
            source="sdk",
            env_id="e",
            tool="t" if size != "rubbish" else object(),  # type: ignore[arg-type]
            is_error=False,
            started_at=NOW,
            completed_at=NOW,
            duration_ms=0,
            arguments=arguments,
        )

    async def run(self, script: list[tuple]) -> None:
        """Every piece between two leaves is a client's life; the last one finds a good endpoint."""
        lives = [[]]
        for step in script:
            lives[-1].append(step)
            if step[0] == "leave":
                lives.append([])
        for life in lives:
            await self.live(life)
        self.fault = "ok"
        left = await self.live([("time", 60.0), ("flush", 60.0)])
        assert self.submitted == self.stored | set(self.dropped)
        assert left == 0

    async def live(self, script: list[tuple]) -> int:
        retry = Retry(time_limit=30, base_delay=0.1, max_delay=2)
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        client = Client(
            "http://x/",
            "s",
            50,
            http=http,
            drain_timeout=1,
            retry=retry,
            concurrency=3,
            record_max_bytes=2_000,
            on_drop=lambda operation, _: self.dropped.append(operation.id),
            **self.options,
        )
        client.submit(self.operation(2))
        raised = RuntimeError()
        outcome = None
        with trio.CancelScope() as scope:
            outcome = await self.enter(client, script, scope, raised)
        assert outcome in (None, raised)
        client.submit(self.operation(2))
        now = self.check(client)
        assert now.in_flight == 0
        assert now.queued == 0 or self.options["spool"] is not None
        await http.aclose()
        return now.queued

    async def enter(self, client: Client, script: list[tuple], scope: trio.CancelScope, raised: RuntimeError) -> object:
        try:
            async with client:
                for step in script:
                    await self.step(client, step, scope, raised)
        except RuntimeError as caught:
            return caught
        return None

    async def step(self, client: Client, step: tuple, scope: trio.CancelScope, raised: RuntimeError) -> None:
        match step:
            case "submit", count, size:
                for _ in range(count):
                    client.submit(self.operation(size))
            case "fault", fault:
                self.fault = fault
            case "time", seconds:
                await trio.sleep(seconds)
            case "flush", seconds:
                before = self.check(client)
                if await client.flush(seconds):
                    after = self.check(client)
                    assert after.delivered >= before.delivered
            case "thread", count:
                operations = [self.operation(2) for _ in range(count)]
                await trio.to_thread.run_sync(lambda: [client.submit_from_thread(operation) for operation in operations])
            case "leave", "raising":
                raise raised
            case "leave", "cancelled":
                scope.cancel()
                await trio.lowlevel.checkpoint()
        self.check(client)

    @staticmethod
    def check(client: Client):
        now = client.statistics()
        assert now.submitted == now.delivered + sum(now.dropped.values()) + now.queued + now.in_flight
        assert min(now.queued, now.in_flight) >= 0
        return now


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    script=steps,
    overflow=st.sampled_from(["drop_newest", "drop_oldest"]),
    batch_size=st.sampled_from([1, 7]),
)
def test_the_ledger_balances_whatever_happens(spooled, script, overflow, batch_size):
    with tempfile.TemporaryDirectory() as folder:
        # The disk takes real time: the clock of a client with a spool does not jump, but runs fast.
        clock = trio.testing.MockClock(rate=200) if spooled else trio.testing.MockClock(autojump_threshold=0)
        spool = Spool(Path(folder) / "spool", max_bytes=65_536) if spooled else None
        machine = Machine(spool=spool, overflow=overflow, batch_size=batch_size)
        trio.run(machine.run, script, clock=clock)
