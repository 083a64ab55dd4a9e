"""Holds our own implementations to the laws until the time is up: ``python fuzz/laws.py SECONDS [EXAMPLES]``.

Each round has a seed of its own, which a failure names, and EXAMPLES drawn sessions (2000 unless said otherwise).
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from trio_oplog import Client, Interceptor
from trio_oplog.collector import Store, open_store
from trio_oplog.testing import check_interceptor, check_store, check_submitter


@asynccontextmanager
async def store() -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:///{Path(folder, 'operations.sqlite3')}") as opened:
            yield opened


def main(seconds: float, examples: int) -> None:
    until = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < until:
        seed = random.SystemRandom().randrange(2**32)
        print(f"round {rounds}, seed {seed}", flush=True)
        check_interceptor(Interceptor, max_examples=examples, seed=seed)
        check_submitter(Client, max_examples=max(examples // 40, 1), seed=seed)
        check_store(store, max_examples=max(examples // 40, 1), seed=seed)
        rounds += 1
    print(f"{rounds} rounds of {examples} sessions, and every law held")


if __name__ == "__main__":
    main(float(sys.argv[1]), int((sys.argv[2:] or ["2000"])[0]))
