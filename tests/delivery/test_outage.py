"""The outage: 60 seconds of virtual time without an endpoint, under 500 records a second."""

from __future__ import annotations

from itertools import pairwise

import httpx
import pytest
import trio
import trio.testing

from trio_oplog import Client, DropReason, Retry, Spool

RATE = 500
OUTAGE = 60


class Endpoint:
    """Refuses connections while it is down, and notes when it was asked."""

    def __init__(self) -> None:
        self.down = False
        self.stored: list[str] = []
        self.attempts_while_down: list[float] = []
        self.at_once = self.most_at_once_while_down = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.at_once += 1
        try:
            if self.down:
                self.attempts_while_down.append(trio.current_time())
                self.most_at_once_while_down = max(self.most_at_once_while_down, self.at_once)
                await trio.sleep(0.01)
                raise httpx.ConnectError("refused")
            ids = [line.split(b'"')[3].decode() for line in request.content.splitlines()]
            self.stored += ids
            return httpx.Response(200, json={"stored": ids, "refused": []})
        finally:
            self.at_once -= 1


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
async def http(endpoint):
    async with httpx.AsyncClient(transport=httpx.MockTransport(endpoint.answer)) as http:
        yield http


async def outage(client, endpoint, make_operation, balanced):
    """One second of health, a minute of outage, and health again."""
    for second in range(OUTAGE + 2):
        endpoint.down = 1 <= second <= OUTAGE
        for _ in range(10):
            for _ in range(RATE // 10):
                client.submit(make_operation())
            await trio.sleep(1 / 10)
        assert balanced(client)


async def test_without_a_spool_exactly_what_the_ledger_says_is_lost(
    endpoint, http, secret, make_operation, balanced, autojump_clock
):
    lost = []
    options = {"on_drop": lambda operation, reason: lost.append((operation.id, reason))}
    retry = Retry(time_limit=3_600, random=lambda: 0.5)
    async with Client("http://x/", secret, 5_000, http=http, batch_size=100, retry=retry, **options) as client:
        await outage(client, endpoint, make_operation, balanced)
        with trio.fail_after(60):
            await client.flush(60)
        assert balanced(client)
    assert client.dropped == len(lost) == client.statistics().dropped[DropReason.QUEUE_FULL] > 0
    assert sorted([*map(int, endpoint.stored), *(int(name) for name, _ in lost)]) == list(range(RATE * (OUTAGE + 2)))


async def test_nobody_stampedes_while_the_endpoint_is_down_nor_when_it_is_back(
    endpoint, http, secret, make_operation, balanced, autojump_clock
):
    retry = Retry(time_limit=3_600, random=lambda: 0.5)
    options = {"batch_size": 100, "concurrency": 16}
    async with Client("http://x/", secret, 40_000, http=http, retry=retry, **options) as client:
        await outage(client, endpoint, make_operation, balanced)
        back = trio.current_time()
        assert await client.flush(120)
        took = trio.current_time() - back
    # Up to one for each worker when it goes down; then one at a time, ever less often.
    first = endpoint.attempts_while_down[0]
    probes = [at for at in endpoint.attempts_while_down if at > first + 0.05]
    assert len(endpoint.attempts_while_down) - len(probes) <= 16
    assert len(probes) <= 10
    assert all(later - earlier > 0.1 for earlier, later in pairwise(probes))
    # The server answers at once, so that recovery costs the last pause and no virtual time besides.
    assert took <= 15
    assert client.dropped == 0
    assert len(endpoint.stored) == len(set(endpoint.stored)) == RATE * (OUTAGE + 2)


@pytest.mark.once
async def test_with_a_spool_nothing_is_lost(
    endpoint, http, secret, make_operation, balanced, tmp_path, autojump_clock, disk_time
):
    options = {"batch_size": 100, "spool": Spool(tmp_path / "spool.sqlite3"), "retry": Retry(random=lambda: 0.5)}
    async with Client("http://x/", secret, 40_000, http=http, drain_timeout=600, **options) as client:
        await outage(client, endpoint, make_operation, balanced)
        assert await client.flush(600)
        assert balanced(client)
    assert client.statistics().delivered == RATE * (OUTAGE + 2)
    assert client.dropped == 0
    assert set(map(int, endpoint.stored)) == set(range(RATE * (OUTAGE + 2)))
    assert len(endpoint.attempts_while_down) < 60
