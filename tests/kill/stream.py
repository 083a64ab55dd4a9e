"""A client in one of its lives: ``stream.py URL FOLDER JOURNAL FIRST SECRET``.

Submits operations numbered from FIRST until its input ends, then delivers what it has, and says how many were dropped.  Each is
written into the journal before it is submitted: its number, and how many of this life's are known to be committed by then.
"""

from __future__ import annotations

import os
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


async def main(url: str, spool: str, journal: str, first: str, secret: str) -> None:
    retry = Retry(base_delay=0.01, max_delay=0.2)
    over = trio.Event()
    # Unbuffered: what was written stays written, however the process ends.
    lines = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def wait_for_the_end() -> None:
        await trio.to_thread.run_sync(sys.stdin.read)
        over.set()

    async with (
        trio.open_nursery() as nursery,
        Client(url, secret, 100_000, spool=SpoolFolder(spool), batch_size=50, concurrency=4, retry=retry) as client,
    ):
        nursery.start_soon(wait_for_the_end)
        print("ready", flush=True)
        for number in count(int(first)):
            if over.is_set():
                break
            os.write(lines, b"%d %d\n" % (number, client.statistics().spooled))
            client.submit(operation(number))
            await trio.sleep(random.choice([0, 0.001, 0.01]))
        is_delivered = await client.flush(120)
        print(sum(client.statistics().dropped.values()), is_delivered, flush=True)


trio.run(main, *sys.argv[1:])
