"""Three collectors on one PostgreSQL behind pgbouncer, killed at random; the server is restarted, switched over, and crashes.

``TRIO_OPLOG_TEAM_KILLS`` says how many kills of a collector (3 unless told), ``TRIO_OPLOG_KILL_SEED`` which moments.  Three
clients with spools deliver through a load balancer, so that what is sent again comes to another collector.  Every second kill
takes a client as well, also one that has hardly begun; it begins again on the same folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.collector.conftest import find_postgresql
from tests.kill.balancer import Balancer
from tests.kill.cluster import Cluster
from trio_oplog import ListQuery, _wire
from trio_oplog._delivery.spool_inspect import export, files
from trio_oplog.collector import StatisticsQuery, open_store

pytestmark = pytest.mark.once

KILLS = int(os.environ.get("TRIO_OPLOG_TEAM_KILLS", "3"))
SEED = int(os.environ.get("TRIO_OPLOG_KILL_SEED", str(random.randrange(2**32))))
SECRET = "team-test"
HERE = Path(__file__).parent
EACH = 100_000_000

needs_programs = pytest.mark.skipif(
    find_postgresql() is None or not (shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")),
    reason="PostgreSQL or pgbouncer is not installed: apt-get install postgresql pgbouncer",
)


class Collector:
    """``trio-oplog collect`` at a port, in one life after another."""

    def __init__(self, url: str, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._url, self._log = url, log
        self.start()

    def start(self) -> None:
        listen = f"127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "trio_oplog", "collect", "--listen", listen, "--store", self._url]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "TRIO_OPLOG_SECRET": SECRET})

    def wait_until_it_listens(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)
        raise AssertionError("the collector does not listen")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


class Client:
    """``stream.py`` with a spool, in one life after another.

    Attributes:
        submitted: What it wrote into its journal before it was killed, or ended.
        committed: What was in its spool when it was killed.
        known: Of each life that was killed: what was submitted, and how many of it were known to be committed.
        kills: How often it was killed.
    """

    def __init__(self, url: str, folder: Path, number: int) -> None:
        self._url, self._folder, self._first = url, folder / f"spool-{number}", number * EACH
        self._journal = folder / f"journal-{number}"
        self.submitted: set[int] = set()
        self.committed: set[int] = set()
        self.known: list[tuple[set[int], int]] = []
        self.kills = 0
        self.start()

    def start(self) -> None:
        first = self._first + len(self.submitted)
        command = [sys.executable, str(HERE / "stream.py"), self._url, str(self._folder), str(self._journal), str(first), SECRET]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.kills += 1
        self.known.append(self._bury())
        if self._folder.exists():
            self.committed |= {int(json.loads(body)["id"]) for file in files(self._folder) for body in export(file)}

    def end(self) -> set[int]:
        """Let it deliver what it has; says what it submitted in its last life, all of which it has delivered then."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        out, _ = self.process.communicate("", timeout=300)
        assert out.split() == ["0", "True"], f"seed {SEED}"  # nothing was dropped
        return self._bury()[0]

    def _bury(self) -> tuple[set[int], int]:
        lines = self._journal.read_text().splitlines()[len(self.submitted) :] if self._journal.exists() else []
        life = {int(line.split()[0]) for line in lines}
        self.submitted |= life
        return life, int(lines[-1].split()[1]) if lines else 0


@needs_programs
@pytest.mark.timeout(1_800)
def test_three_collectors_lose_nothing_and_count_each_record_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    # A short name: the path of a socket has little room.
    folder = Path(tempfile.mkdtemp(prefix="oplog-team-"))
    cluster = Cluster(folder)
    collectors = [Collector(cluster.url, tmp_path / f"collector-{number}.log") for number in range(3)]
    balancer = Balancer([collector.port for collector in collectors])
    clients: list[Client] = []
    # In the middle, each once, in this order: after a switchover there is no other server to switch to.
    events = {
        KILLS // 4: lambda: cluster.restart("fast"),
        KILLS // 2: cluster.switch_over,
        3 * KILLS // 4: lambda: cluster.restart("immediate"),
    }
    try:
        url = f"http://127.0.0.1:{balancer.port}/internal/operations"
        clients = [Client(url, tmp_path, number) for number in range(3)]
        happened = []
        for kill in range(KILLS):
            time.sleep(chance.uniform(0.1, 1.0))
            if kill % 2 == 0:
                client = chance.choice(clients)
                client.kill()
                client.start()
            collector = chance.choice(collectors)
            collector.end(signal.SIGKILL)
            if kill in events:
                happened.append(kill)
                events[kill]()
            collector.start()
        assert len(happened) == len(events), f"seed {SEED}"
        delivered = [client.end() for client in clients]
        for collector in collectors:
            collector.wait_until_it_listens()  # before that, SIGTERM ends any program
        assert [collector.end(signal.SIGTERM) for collector in collectors] == [0, 0, 0]
        stored = trio.run(settle, cluster.url)
        submitted = set[int]().union(*(client.submitted for client in clients))
        committed = set[int]().union(*delivered, *(client.committed for client in clients))
        kills = sum(client.kills for client in clients)
        print(
            f"\n{KILLS} kills of collectors and {kills} of clients, seed {SEED}: {len(submitted)} submitted, "
            f"{len(stored)} stored, {len(submitted - set(stored))} that no spool had yet"
        )
        assert set(stored.values()) == {1}, f"seed {SEED}"
        assert set(stored) <= submitted, f"seed {SEED}"
        assert committed <= set(stored), f"seed {SEED}"
        # What a life knew to be committed may have been delivered before it was killed, and then no spool had it any more.
        for life, known in (each for client in clients for each in client.known):
            assert len(life & set(stored)) >= known, f"seed {SEED}"
        assert not any(files(tmp_path / f"spool-{number}") for number in range(3))
    finally:
        for process in (each.process for each in [*clients, *collectors]):
            process.kill()
            process.communicate()
        balancer.stop()
        cluster.stop()
        shutil.rmtree(folder)


async def settle(url: str) -> Counter[int]:
    """What is stored, and how often; what was counted agrees with it exactly."""
    stored: Counter[int] = Counter()
    async with open_store(url) as store:
        for workspace in await store.workspaces():
            records = [
                _wire.decode(body)
                async for bodies in store.export(ListQuery(workspace_id=workspace, limit=1000))
                for body in bodies
            ]
            stored.update(int(record.id) for record in records)
            for by, value_of in (("tool", lambda each: each.tool), ("user_id", lambda each: each.user_id), ("day", day_of)):
                counted = {
                    group.value: (group.count, group.errors, group.sum_ms, group.waits, group.waited_ms)
                    for group in (await store.statistics(StatisticsQuery(workspace_id=workspace, by=by))).groups
                }
                expected: dict[object, list[int]] = {}
                for record in records:
                    waited = None if record.result_meta is None else record.result_meta.waited_ms
                    sums = (1, record.is_error, record.duration_ms, waited is not None, waited or 0)
                    into = expected.setdefault(value_of(record), [0] * 5)
                    into[:] = map(sum, zip(into, sums, strict=True))
                assert counted == {value: tuple(sums) for value, sums in expected.items()}, f"seed {SEED}"
    return stored


def day_of(record):
    return record.started_at.replace(hour=0, minute=0, second=0, microsecond=0)
