"""The kill test: gateway and collector die by SIGKILL at random moments, and the account of what arrived is exact.

``TRIO_OPLOG_KILLS`` says how many kills (6 unless told), ``TRIO_OPLOG_KILL_SEED`` which moments.
"""

from __future__ import annotations

import math
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

from trio_oplog._delivery.spool_backlog import GROUP
from trio_oplog._delivery.spool_inspect import status

KILLS = int(os.environ.get("TRIO_OPLOG_KILLS", "6"))
SEED = int(os.environ.get("TRIO_OPLOG_KILL_SEED", str(random.randrange(2**32))))
SECRET = "kill-test"
HERE = Path(__file__).parent


class Victim:
    """One of the two processes, in one of its lives."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> float:
        """End it, and return when."""
        at = time.monotonic()
        self.process.send_signal(signal.SIGKILL)
        self.end()
        return at

    def end(self) -> int:
        with self.process:
            return self.process.wait(120)


def test_every_committed_record_arrives_once_and_the_rest_is_known_exactly(tmp_path):
    chance = random.Random(SEED)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store, spool, journal = tmp_path / "store.sqlite3", tmp_path / "spool.sqlite3", tmp_path / "journal"
    url = f"http://127.0.0.1:{port}/internal/operations"

    def start_collector():
        return Victim("collect.py", str(port), str(store), SECRET)

    def start_submitter(first):
        return Victim("submit.py", url, str(spool), str(journal), str(first), SECRET)

    committed = set()
    submitted = 0
    windows = []
    commits = []

    def bury(at):
        """Compare what the last life of the submitter wrote into its journal with what is in the spool."""
        nonlocal submitted
        life = [line.split() for line in journal.read_text().splitlines()][submitted:] if journal.exists() else []
        # Numbers in the spool go on from life to life, and records are committed in order: so many of this life made it.
        kept = status(spool).last_number - len(committed)
        committed.update(int(number) for number, _, _ in life[:kept])
        assert kept <= len(life)
        if kept < len(life):
            windows.append(at - float(life[kept][1]))
            # Whatever else the machine had to do: of the commits that the life saw finished after the first lost record was
            # submitted, each took along others that were before it.  With less than a group before it, that is one commit,
            # which had begun; the next one is the one that did not finish.
            known = int(life[kept][2])
            seen = len({int(spooled) for _, _, spooled in life[kept:]} - {known})
            assert seen <= math.ceil((kept - known) / GROUP), f"seed {SEED}"
            commits.append(seen)
        submitted += len(life)

    collector, submitter = start_collector(), start_submitter(0)
    living = {"collector", "submitter"}
    try:
        for _ in range(KILLS):
            submitter.wait_until_ready() if "submitter" in living else None
            living.clear()
            time.sleep(chance.uniform(0.02, 0.4))
            victims = chance.choice([["submitter"], ["collector"], ["submitter", "collector"]])
            if "submitter" in victims:
                bury(submitter.kill())
                submitter = start_submitter(submitted)
                living.add("submitter")
            if "collector" in victims:
                collector.kill()
                collector = start_collector()
        if "submitter" in living:
            submitter.wait_until_ready()
        bury(submitter.kill())
        submitter = start_submitter("drain")
        assert submitter.end() == 0, f"seed {SEED}"
    finally:
        for victim in (collector, submitter):
            victim.process.kill()
            victim.end()

    with sqlite3.connect(store) as db:
        stored = [int(name) for (name,) in db.execute("SELECT id FROM operations")]
    db.close()
    lost = submitted - len(committed)
    print(
        f"\n{KILLS} kills, seed {SEED}: {submitted} submitted, {len(committed)} committed, {len(stored)} stored, {lost} lost; "
        f"lost were at most the last {max(windows, default=0) * 1e3:.0f} ms, half of the time {middle(windows) * 1e3:.0f} ms, "
        f"after the last commit but {max(commits, default=0)}"
    )
    assert len(stored) == len(set(stored)), f"seed {SEED}"
    assert set(stored) == committed, f"seed {SEED}"
    assert status(spool).waiting == status(spool).dead == 0


def middle(windows):
    return statistics.median(windows) if windows else 0.0
