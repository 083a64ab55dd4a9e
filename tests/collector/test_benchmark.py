"""The benchmark of the store, scaled down: it says how fast each database is, and nothing here depends on that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = 10_000


@pytest.mark.once
def test_a_store_takes_and_finds_what_the_benchmark_makes(store_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "store"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "TRIO_OPLOG_RECORDS": str(RECORDS), "TRIO_OPLOG_STORE": store_url},
        stdout=subprocess.PIPE,
        text=True,
        timeout=150,
    )
    print(done.stdout)  # shown with ``-rP``, or where something fails
    assert re.search(rf"{RECORDS:,} records through the endpoint.*\n +stored +[\d,]+/s", done.stdout)
    for asked in (
        "the first page, errors",
        "the hundredth page",
        "nothing, a user that is not there",
        "statistics of 30 days by tool",
    ):
        assert re.search(rf"{asked} +[\d.,]+ ms", done.stdout), asked
    assert re.search(r"a search +[\d,]+/s", done.stdout)
