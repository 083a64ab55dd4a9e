"""(f) What ``import trio_oplog`` adds to the ``import trio, httpx`` that its users have anyway."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.measure import Row, show

PROGRAM = """
import time
began = time.perf_counter()
import trio, httpx
between = time.perf_counter()
import trio_oplog
print(between - began, time.perf_counter() - between)
"""
RUNS = 15
ADDED_MAX_MS = 60


def run() -> bool:
    """Print the table."""
    # As installed packages are: compiled before.  The first run sees to that.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    best = [float("inf"), float("inf")]
    for _ in range(RUNS):
        command = [sys.executable, "-c", PROGRAM]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
        best = [min(pair) for pair in zip(best, map(float, printed.stdout.split()), strict=True)]
    baseline, added = best
    row = Row(
        f"import trio_oplog (at most {ADDED_MAX_MS} ms)",
        f"{added * 1e3:.1f} ms",
        f"{baseline * 1e3:.1f} ms trio, httpx",
        added * 1e3 / ADDED_MAX_MS,
        "<= 1",
    )
    return show("(f) Import time, added to that of trio and httpx; the ratio is of what is allowed", [row])
