"""A gateway to be killed: ``submit.py URL SPOOL JOURNAL FIRST SECRET``.

Submits operations numbered from FIRST without end, each written into the journal before it is submitted: its number, the time,
and how many of this life's are known to be committed by then.  With ``drain`` for FIRST it submits nothing and ends once the
spool is empty.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import UTC, datetime
from itertools import count

import trio

from trio_oplog import Client, Operation, Retry, Spool


async def main(url: str, spool: str, journal: str, first: str, secret: str) -> None:
    retry = Retry(base_delay=0.01, max_delay=0.05)
    async with Client(url, secret, 100_000, spool=Spool(spool), batch_size=100, concurrency=4, retry=retry) as client:
        print("ready", flush=True)
        if first == "drain":
            assert await client.flush(60)
            return
        # Unbuffered: what was written stays written, however the process ends.
        lines = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for number in count(int(first)):
            now = datetime.now(UTC)
            operation = Operation(
                id=f"{number:09}",
                workspace_id="ws-1",
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
