"""A client that is never killed: ``stream.py URL FOLDER FIRST SECRET``.

Submits operations numbered from FIRST until its input ends, then delivers what it has, and says how many there were and how many
were dropped.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from itertools import count

import trio

from trio_oplog import Client, Operation, ResultMeta, Retry, SpoolFolder


def operation(number: int) -> Operation:
    # Some of yesterday, so that several partitions are written to.
    now = datetime.now(UTC) - timedelta(days=number % 7 == 0)
    return Operation(
        id=f"{number:09}",
        workspace_id=f"ws-{number % 3}",
        source="sdk",
        env_id="local",
        tool=f"tool-{number % 5}",
        is_error=number % 11 == 0,
        started_at=now,
        completed_at=now,
        duration_ms=number % 1_000,
        user_id=f"user-{number % 4}",
        arguments=b'{"number":%d}' % number,
        result_meta=ResultMeta(waited_ms=number % 50) if number % 13 == 0 else None,
    )


async def main(url: str, spool: str, first: str, secret: str) -> None:
    retry = Retry(base_delay=0.01, max_delay=0.2)
    over = trio.Event()

    async def wait_for_the_end() -> None:
        await trio.to_thread.run_sync(sys.stdin.read)
        over.set()

    async with (
        trio.open_nursery() as nursery,
        Client(url, secret, 100_000, spool=SpoolFolder(spool), batch_size=50, concurrency=4, retry=retry) as client,
    ):
        nursery.start_soon(wait_for_the_end)
        print("ready", flush=True)
        submitted = 0
        for number in count(int(first)):
            if over.is_set():
                break
            client.submit(operation(number))
            submitted += 1
            await trio.sleep(random.choice([0, 0.001, 0.01]))
        is_delivered = await client.flush(120)
        print(submitted, sum(client.statistics().dropped.values()), is_delivered, flush=True)


trio.run(main, *sys.argv[1:])
