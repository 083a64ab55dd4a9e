"""(g) What ``trio-oplog wrap`` adds until the first answer of a server, to each byte after that, and what memory it holds.

The server needs 300 ms to answer ``initialize``, directly and wrapped, taking turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

import psutil

from benchmarks.measure import Row, show

SERVER = """
import os, time
began = time.perf_counter()
os.read(0, 65536)
time.sleep(max(0, 0.3 - (time.perf_counter() - began)))
os.write(1, b'{"id":1,"result":{}}\\n')
while data := os.read(0, 65536): os.write(1, data)
"""
INITIALIZE = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
TURNS = 7
ROUND_TRIPS = 50
ADDED_MAX_MS = 50
MEMORY_MAX_MIB = {"sqlite": 48, "http": 40}
MIB = 2**20


class Turn:
    """One start of the server: when its answers came, and what memory what stands between held."""

    def __init__(self, *wrapped_by: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        began = time.perf_counter()
        command = [*wrapped_by, sys.executable, "-I", "-S", "-c", SERVER]
        with subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**environment, "TRIO_OPLOG_SECRET": "benchmark"},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(INITIALIZE)
            process.stdout.read(65536)
            self.first = time.perf_counter() - began
            if wrapped_by:
                time.sleep(2)  # until the recorder has loaded everything
            times = []
            for _ in range(ROUND_TRIPS):
                began = time.perf_counter()
                process.stdin.write(b"x")
                process.stdout.read(1)
                times.append(time.perf_counter() - began)
            self.round_trip = median(times)
            self.process_rss, self.all_pss = held(psutil.Process(process.pid)) if wrapped_by else (0.0, 0.0)
            process.stdin.close()


def held(process: psutil.Process) -> tuple[float, float]:
    """What the started process holds, and what it and its helpers hold together: shared pages count once."""
    ours = [process, *(child for child in process.children() if "trio_oplog" in child.cmdline())]
    return process.memory_info().rss / MIB, sum(one.memory_full_info().pss for one in ours) / MIB


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        wrap = [sys.executable, "-m", "trio_oplog", "wrap", "--to"]
        ways = {"sqlite": [*wrap, f"sqlite:///{folder}/store", "--"], "http": [*wrap, "http://127.0.0.1:1", "--"]}
        turns: dict[str, list[Turn]] = {"direct": [], **{name: [] for name in ways}}
        Turn(*ways["sqlite"])  # compiles
        for _ in range(TURNS):
            turns["direct"].append(Turn())
            for name, way in ways.items():
                turns[name].append(Turn(*way))
    direct_first = median(turn.first for turn in turns["direct"])
    direct_trip = median(turn.round_trip for turn in turns["direct"])
    rows = []
    for name in ways:
        added = median(turn.first - direct.first for turn, direct in zip(turns[name], turns["direct"], strict=True))
        first, trip = (median(getattr(turn, what) for turn in turns[name]) for what in ("first", "round_trip"))
        rows += [
            Row(f"first answer, {name}", f"{first * 1e3:.0f} ms", f"{direct_first * 1e3:.0f} ms direct", first / direct_first),
            Row(f"added to it (at most {ADDED_MAX_MS} ms)", f"{added * 1e3:.0f} ms", "", added * 1e3 / ADDED_MAX_MS, "<= 1"),
            Row(
                f"a byte there and back, {name}", f"{trip * 1e6:.0f} us", f"{direct_trip * 1e6:.0f} us direct", trip / direct_trip
            ),
        ]
        for what, value in (("process", "process_rss"), ("helpers", "all_pss")):
            mib = median(getattr(turn, value) for turn in turns[name])
            most = MEMORY_MAX_MIB[name]
            label = "of the started process (RSS)" if what == "process" else "with its helpers (PSS)"
            rows.append(Row(f"memory {label}, {name}", f"{mib:.1f} MiB", f"{most} MiB allowed", mib / most, "<= 1"))
    show("(g) trio-oplog wrap: the first answer of a server that needs 300 ms, each byte after that, and memory", rows)
