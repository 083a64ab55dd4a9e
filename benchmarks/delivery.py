"""(c) and (d): what ``submit()`` costs, and how many operations a second arrive, against a loop of awaited ``httpx`` POSTs."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import trio

from benchmarks.measure import Row, show
from benchmarks.servers import running
from trio_oplog import Client, Operation, Spool
from trio_oplog._wire import encode

SECRET = "benchmark"  # noqa: S105
LOOP = 400
"""How many operations the loop of awaited POSTs sends."""
MANY = 20_000
ROUNDS = 3
SUBMIT_MAX_US = 3.0


def operations(count: int) -> list[Operation]:
    """As the recorded sessions have them: arguments of some hundred bytes and a short answer."""
    now = datetime.now(UTC)
    return [
        Operation(
            id=str(uuid.uuid4()),
            workspace_id="ws-1",
            source="sdk",
            env_id="local",
            tool="shell",
            is_error=False,
            started_at=now,
            completed_at=now,
            duration_ms=5,
            thread_id="0192f0c1-0000-7000-8000-000000000000",
            request_id=str(number),
            arguments=b'{"command":["bash","-lc","ls -la src tests docs"],"workdir":"/home/user/project","timeout_ms":10000}',
            result_summary="total 24\ndrwxr-xr-x 4 user user 4096 src\ndrwxr-xr-x 2 user user 4096 tests\n",
        )
        for number in range(count)
    ]


async def awaited_loop(url: str, count: int = LOOP) -> float:
    """Operations a second."""
    bodies = [encode(operation) for operation in operations(count)]
    headers = {"X-Internal-Secret": SECRET, "Content-Type": "application/json"}
    async with httpx.AsyncClient(trust_env=False) as http:
        began = time.perf_counter()
        for body in bodies:
            (await http.post(url, content=body, headers=headers)).raise_for_status()
        return count / (time.perf_counter() - began)


async def delivered(url: str, count: int, **options: Any) -> float:
    """Operations a second, from the first ``submit()`` until all are acknowledged."""
    ready = operations(count)
    async with Client(url, SECRET, count, queue_bytes=1 << 40, **options) as client:
        began = time.perf_counter()
        for at in range(0, count, 500):
            for operation in ready[at : at + 500]:
                client.submit(operation)
            await trio.lowlevel.checkpoint()
        assert await client.flush(60)
        return count / (time.perf_counter() - began)


async def submit_cost(spool: Spool | None) -> float:
    """Microseconds a call, the best of many rounds."""
    ready = operations(1000)
    best = float("inf")
    with tempfile.TemporaryDirectory():
        async with Client("http://127.0.0.1:9/", SECRET, 10**6, queue_bytes=1 << 40, drain_timeout=0, spool=spool) as client:
            for _ in range(30):
                began = time.perf_counter()
                for operation in ready:
                    client.submit(operation)
                best = min(best, (time.perf_counter() - began) / len(ready))
                await trio.sleep(0.005)
    return best * 1e6


def compare(name: str, url: str, bound: str, count: int, loop: int, options: Callable[[], dict[str, Any]]) -> Row:
    """Turn about, the best of each."""
    ours = baseline = 0.0
    for _ in range(ROUNDS):
        baseline = max(baseline, trio.run(awaited_loop, url, loop))
        chosen = options()
        ours = max(ours, trio.run(lambda chosen=chosen: delivered(url, count, **chosen)))
    return Row(name, f"{ours:,.0f}/s", f"{baseline:,.0f}/s", ours / baseline, bound)


def run() -> bool:
    """Print the tables."""
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder) / f"spool-{number}.sqlite3" for number in range(10**6))
        rows = []
        for name, spool in (("submit()", None), ("submit(), with the spool", Spool(next(fresh)))):
            cost = trio.run(submit_cost, spool)
            rows.append(Row(name, f"{cost:.2f} us", f"{SUBMIT_MAX_US} us allowed", cost / SUBMIT_MAX_US, "<= 1"))
        kept.append(show("(c) What submit() costs; the ratio is of what is allowed", rows))

        rows = []
        with running("ack", "0.005") as url:
            rows.append(compare("a server that takes 5 ms, one by one", url, ">= 5", 1_000, 100, dict))
        with running("ack", "0") as url:
            rows.append(compare("a server that answers at once, one by one", url, "", 2_000, LOOP, dict))
            rows.append(compare("... in batches of 100", url, ">= 40", MANY, LOOP, lambda: {"batch_size": 100}))
            rows.append(compare("... in batches of 500", url, ">= 40", MANY, LOOP, lambda: {"batch_size": 500, "concurrency": 2}))
            rows.append(
                compare(
                    "... in batches of 500, with the spool",
                    url,
                    ">= 15",
                    MANY,
                    LOOP,
                    lambda: {"batch_size": 500, "concurrency": 2, "spool": Spool(next(fresh))},
                )
            )
        with running("collect", str(Path(folder) / "collected.sqlite3"), SECRET) as url:
            rows.append(
                compare(
                    "the real collector on SQLite, in batches of 500",
                    url,
                    ">= 10",
                    MANY // 2,
                    LOOP,
                    lambda: {"batch_size": 500, "concurrency": 2},
                )
            )
        kept.append(show("(d) Operations a second, against a loop of single awaited httpx POSTs", rows))
    return all(kept)
