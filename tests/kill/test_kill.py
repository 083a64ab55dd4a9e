"""The kill test: gateway and collector die by SIGKILL at random moments, and the account of what arrived is exact.

``TRIO_OPLOG_KILLS`` says how many kills (6 unless told), ``TRIO_OPLOG_KILL_SEED`` which moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from trio_oplog._delivery.spool_inspect import export, files, status

pytestmark = pytest.mark.once

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
    store, folder, journal = tmp_path / "store.sqlite3", tmp_path / "spools", tmp_path / "journal"
    url = f"http://127.0.0.1:{port}/internal/operations"

    def start_collector():
        return Victim("collect.py", str(port), str(store), SECRET)

    def start_submitter(first):
        return Victim("submit.py", url, str(folder), str(journal), str(first), SECRET)

    committed = set()
    submitted = 0
    windows = []

    def bury(at):
        """Compare what the last life of the submitter wrote into its journal with what it has committed.

        Its own file has numbered everything that was ever committed to it: what it has submitted, and what it took over from
        earlier lives.  So the ids that were in any file or in the store tell what was committed, and the journal tells what was
        known to be.
        """
        nonlocal submitted
        life = [line.split() for line in journal.read_text().splitlines()][submitted:] if journal.exists() else []
        there = {int(json.loads(body)["id"]) for file in files(folder) for body in export(file)} | in_store(store)
        kept = {int(number) for number, _, _ in life} & there
        committed.update(kept)
        lost = [line for line in life if int(line[0]) not in kept]
        if lost:
            windows.append(at - float(lost[0][1]))
            # What a life knew to be committed is there, as many as it said with its last line.
            assert len(kept) >= int(life[-1][2]), f"seed {SEED}"
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
        left = sum(status(file).waiting for file in files(folder))
        submitter = start_submitter("drain")
        submitter.wait_until_ready()
        took = float(submitter.process.stdout.readline())
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
        f"lost were at most the last {max(windows, default=0) * 1e3:.0f} ms, half of the time {middle(windows) * 1e3:.0f} ms; "
        f"the last run delivered {left} that the dead had left within {took:.2f} s"
    )
    assert len(stored) == len(set(stored)), f"seed {SEED}"
    assert set(stored) == committed, f"seed {SEED}"
    assert list(folder.iterdir()) == []


def in_store(store):
    """What is stored by now."""
    if not store.exists():
        return set()
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        try:
            return {int(name) for (name,) in db.execute("SELECT id FROM operations")}
        except sqlite3.OperationalError:  # killed before it had made its tables
            return set()


def middle(windows):
    return statistics.median(windows) if windows else 0.0
