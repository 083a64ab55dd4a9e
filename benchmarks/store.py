"""(e): the store: how fast records come in, and how long it takes to ask.

``TRIO_OPLOG_RECORDS`` says how many records there are (100 000), ``TRIO_OPLOG_STORE`` names an empty database other than a new
SQLite file.  They come from ``benchmarks.records``, a million in 30 days: fewer are fewer days, with as many in each hour.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import trio

from benchmarks.measure import Row, show
from benchmarks.records import RARE_TOOL, batches
from benchmarks.servers import running
from trio_oplog import ListQuery
from trio_oplog.collector import StatisticsQuery, Store, open_store

RECORDS = int(os.environ.get("TRIO_OPLOG_RECORDS", "100000"))
SECRET = "benchmark"  # noqa: S105
SIZE = 500
# As many as one Client has at a time: what waits while one transaction commits shares the next.
SENDERS = 16
FIRST_MS, UNMATCHED_MS, STATISTICS_MS = 50, 300, 100
FASTEST = {"sqlite": 20_000, "postgresql": 15_000}
SEARCHED = 200_000

QUERIES: dict[str, dict[str, Any]] = {
    "without a filter": {},
    "a usual tool": {"tool": "read_files"},
    "a rare tool": {"tool": RARE_TOOL},
    "an environment": {"env_id": "mail"},
    "a source": {"source": "sdk"},
    "errors": {"is_error": True},
    "an outcome": {"outcome": "failed"},
    "a client": {"client": "codex/0.171.0"},
    "an approval": {"approval": "decline"},
    "a user": {"user_id": "user-7"},
    "until two weeks ago": {"until": datetime.now(UTC) - timedelta(days=14)},
}
UNMATCHED: dict[str, dict[str, Any]] = {
    "a tool that is not there": {"tool": "x"},
    "a user that is not there": {"user_id": "x"},
    "a thread that is not there": {"thread_id": "x"},
    "a rare tool's errors of one user": {"tool": RARE_TOOL, "is_error": True, "user_id": "user-7"},
}


async def send(url: str, bodies: list[bytes]) -> list[float]:
    """Post all of them; how long each took, in seconds, in order."""
    waiting = list(enumerate(bodies))[::-1]
    took = [0.0] * len(bodies)
    headers = {"X-Internal-Secret": SECRET, "Content-Type": "application/x-ndjson"}

    async def sender(http: httpx.AsyncClient) -> None:
        while waiting:
            number, body = waiting.pop()
            began = time.perf_counter()
            (await http.post(url, content=body, headers=headers, timeout=60)).raise_for_status()
            took[number] = time.perf_counter() - began

    async with httpx.AsyncClient(trust_env=False) as http, trio.open_nursery() as nursery:
        for _ in range(SENDERS):
            nursery.start_soon(sender, http)
    return took


def percentile_99(took: list[float]) -> float:
    return sorted(took)[int(0.99 * (len(took) - 1))]


async def best(ask: Callable[[], Awaitable[Any]], times: int = 5) -> float:
    """Milliseconds, the best of some."""
    found = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        found = min(found, time.perf_counter() - began)
    return found * 1e3


def within(name: str, took: float, allowed: float) -> Row:
    return Row(name, f"{took:,.1f} ms", f"{allowed} ms allowed", took / allowed, "<= 1")


async def ask(store: Store) -> list[Row]:
    rows = []
    for name, conditions in QUERIES.items():
        query = ListQuery(workspace_id="team", **conditions)
        rows.append(within(f"the first page, {name}", await best(lambda query=query: store.page(query)), FIRST_MS))
    cursor = None
    for _ in range(99):
        cursor = (await store.page(ListQuery(workspace_id="team", cursor=cursor))).next
    rows.append(
        within("the hundredth page", await best(lambda: store.page(ListQuery(workspace_id="team", cursor=cursor))), FIRST_MS)
    )
    for name, conditions in UNMATCHED.items():
        query = ListQuery(workspace_id="team", **conditions)
        rows.append(within(f"nothing, {name}", await best(lambda query=query: store.page(query)), UNMATCHED_MS))
    for by in ("tool", "env_id", "user_id", "outcome", "hour", "day"):
        counted = StatisticsQuery(workspace_id="team", by=by, since=datetime.now(UTC) - timedelta(days=30))
        rows.append(
            within(f"statistics of 30 days by {by}", await best(lambda counted=counted: store.statistics(counted)), STATISTICS_MS)
        )
    there = sum(each.count for each in (await store.statistics(StatisticsQuery(workspace_id="team", by="day"))).groups)
    took = await best(lambda: store.page(ListQuery(workspace_id="team", q="no such text"), budget=60), 2)
    rows.append(Row("a search", f"{there / took * 1e3:,.0f}/s", f"{SEARCHED:,}/s wanted", there / took * 1e3 / SEARCHED, ">= 1"))
    return rows


async def measure(url: str) -> list[Row]:
    async with open_store(url) as store:
        rows = await ask(store)
        began = time.perf_counter()
        pruned = await store.prune(datetime.now(UTC) - timedelta(days=15))
        took = time.perf_counter() - began
        return [*rows, Row("pruning", f"{pruned.records / took:,.0f}/s", f"{pruned.days} partitions dropped", None)]


def run() -> bool:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("TRIO_OPLOG_STORE") or f"sqlite:///{Path(folder) / 'operations.sqlite3'}"
        wanted = FASTEST[url.partition(":")[0]]
        bodies = list(batches(RECORDS, 30 * RECORDS / 1_000_000, size=SIZE))
        with running("store", url, SECRET) as endpoint:
            began = time.perf_counter()
            took = trio.run(send, endpoint, bodies)
            rate = len(bodies) * SIZE / (time.perf_counter() - began)
        tenth = max(len(took) // 10, 1)
        first, last = percentile_99(took[:tenth]), percentile_99(took[-tenth:])
        kept = [
            show(
                f"(e) {RECORDS:,} records through the endpoint, in batches of {SIZE}",
                [
                    Row("stored", f"{rate:,.0f}/s", f"{wanted:,}/s wanted", rate / wanted, ">= 1"),
                    Row(
                        "p99 of a batch, last tenth",
                        f"{last * 1e3:,.0f} ms",
                        f"{first * 1e3:,.0f} ms, first",
                        last / first,
                        "<= 1.2",
                    ),
                ],
            ),
            show("(e) Asking for them", trio.run(measure, url)),
        ]
    return all(kept)
