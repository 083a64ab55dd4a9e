"""After a fork: the child repeats no id, and leaves queue, spool and lock to its parent."""

from __future__ import annotations

import sys

import trio

from trio_oplog._delivery import spool_inspect

IDS = """
import os
from trio_oplog._recording.ids import random_ids
ids = random_ids()
for _ in range(10): next(ids)
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, "\\n".join(next(ids) for _ in range(300)).encode())
    os._exit(0)
os.close(write)
ours = {next(ids) for _ in range(300)}
theirs = b""
while part := os.read(read, 65536): theirs += part
os.wait()
print(len(ours), len(set(theirs.decode().split())), len(ours & set(theirs.decode().split())))
"""

CLIENT = """
import os, sys, time
from datetime import UTC, datetime
import trio
from trio_oplog import Client, DropReason, Operation, Spool
now = datetime.now(UTC)
def operation(name):
    return Operation(id=name, workspace_id="w", source="s", env_id="e", tool="t", is_error=False,
                     started_at=now, completed_at=now, duration_ms=0)
async def main():
    told = []
    async with Client("http://127.0.0.1:9/", "s", spool=Spool(sys.argv[1]), drain_timeout=0,
                      on_drop=lambda operation, reason: told.append((operation.id, reason.value))) as client:
        client.submit(operation("before"))
        while not client.statistics().spooled:
            await trio.sleep(0.01)
        child = os.fork()
        if child == 0:
          try:
            client.submit(operation("child"))
            client.submit_from_thread(operation("thread"))
            now_ = client.statistics()
            balanced = now_.submitted == now_.delivered + sum(now_.dropped.values()) + now_.queued + now_.in_flight
            try:
                client._backlog._file.commit([], [1], [])
            except Exception as error:
                told.append((type(error).__name__, str(error).rpartition(" ")[0][-30:]))
            client._backlog._file.close()
            print(told, client.healthy, balanced, now_.dropped[DropReason.FORKED], flush=True)
          finally:
            os._exit(0)
        os.waitpid(child, 0)
        client.submit(operation("after"))
    print(told, client.drain_report.spooled, flush=True)
trio.run(main)
"""


async def test_a_forked_child_repeats_none_of_its_parents_ids():
    done = await trio.run_process([sys.executable, "-W", "ignore", "-c", IDS], capture_stdout=True)
    assert done.stdout.split() == [b"300", b"300", b"0"]


async def test_what_a_forked_child_submits_is_dropped_and_counted_and_the_parents_spool_is_left_alone(tmp_path):
    path = tmp_path / "spool"
    command = [sys.executable, "-W", "ignore", "-c", CLIENT, str(path)]
    with trio.fail_after(60):
        done = await trio.run_process(command, capture_stdout=True)
    child, parent = done.stdout.decode().splitlines()
    assert child.startswith("[('child', 'forked'), ('thread', 'forked'), ('SpoolError'")
    assert child.endswith(" False True 2")
    assert parent == "[] 2"
    found = spool_inspect.status(path)
    assert (found.waiting, found.in_use) == (2, False)


async def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path):
    program = """
import os, sys, time
from pathlib import Path
from trio_oplog._delivery.spool_file import SpoolLock
from trio_oplog._delivery.spool_inspect import SpoolLock as Again
lock = SpoolLock(Path(sys.argv[1]))
read, write = os.pipe()
forked, say = os.pipe()
if os.fork() == 0:
    os.write(say, b"x")
    os.read(read, 1)
    os._exit(0)
os.read(forked, 1)
lock.release()
Again(Path(sys.argv[1])).release()
os.write(write, b"x")
os.wait()
print("free")
"""
    done = await trio.run_process([sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "x")], capture_stdout=True)
    assert done.stdout == b"free\n"
