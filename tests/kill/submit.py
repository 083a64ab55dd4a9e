"""A gateway to be killed: ``submit.py URL FOLDER JOURNAL FIRST SECRET``; a SECRET of ``otlp`` speaks that and has none.

Submits operations numbered from FIRST without end, each written into the journal before it is submitted: its number, the time,
and how many of this life's are known to be committed by then.  With ``drain`` for FIRST it submits nothing, delivers what the
dead have left in the folder, says how long that took, and ends.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import UTC, datetime
from itertools import count

import trio

from trio_oplog import Client, Operation, Otlp, Retry, SpoolFolder


def files_in(folder: str) -> int:
    return sum(name.endswith(".spool") for name in os.listdir(folder))


async def main(url: str, spool: str, journal: str, first: str, secret: str) -> None:
    speaks = {"protocol": Otlp()} if secret == "otlp" else {"secret": secret}
    retry = Retry(base_delay=0.01, max_delay=0.05)
    options = {"spool": SpoolFolder(spool), "batch_size": 100, "concurrency": 4, "retry": retry}
    async with Client(url, capacity=100_000, **options, **speaks) as client:
        print("ready", flush=True)
        if first == "drain":
            began = time.monotonic()
            while files_in(spool) > 1 or client.statistics().queued + client.statistics().in_flight:  # noqa: ASYNC110
                await trio.sleep(0.01)  # files of others tell nobody that they are gone
            print(time.monotonic() - began, flush=True)
            return
        # Unbuffered: what was written stays written, however the process ends.
        lines = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for number in count(int(first)):
            now = datetime.now(UTC)
            operation = Operation(
                id=f"{number:09}",
                workspace_id=f"ws-{number % 3}",
                source="sdk",
                env_id="local",
                tool="shell",
                is_error=False,
                started_at=now,
                completed_at=now,
                duration_ms=0,
                arguments=b'{"number":%d}' % number,
            )
            os.write(lines, b"%d %f %d\n" % (number, time.monotonic(), client.statistics().spooled))
            client.submit(operation)
            if random.random() < 0.2:
                await trio.sleep(random.choice([0, 0.001, 0.01]))


trio.run(main, *sys.argv[1:])
