"""A store whose file is deleted or replaced acknowledges nothing, and is opened again."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys

import pytest

from trio_oplog import ListQuery, StoreError
from trio_oplog.collector import open_store

EVERYTHING = ListQuery(workspace_id="ws-1")


def ids(path):
    with sqlite3.connect(path) as db:
        found = [name for (name,) in db.execute("SELECT id FROM operations ORDER BY id")]
    db.close()
    return found


@pytest.mark.parametrize("use", ["add", "find"])
@pytest.mark.parametrize("how", ["deleted", "replaced", "its log deleted"])
async def test_a_file_that_is_taken_away_is_noticed_and_the_store_is_opened_again(tmp_path, make_operation, how, use):
    path, other = tmp_path / "store", tmp_path / "other"
    async with open_store(f"sqlite:///{other}") as store:
        await store.add([make_operation(id="there")])
    async with open_store(f"sqlite:///{path}") as store:
        await store.add([make_operation(id="before")])
        if how == "deleted":
            os.unlink(path)
        elif how == "replaced":
            os.rename(other, path)
        else:
            os.unlink(f"{path}-wal")
        with pytest.raises(StoreError, match="was deleted or replaced"):
            await (store.add([make_operation(id="lost")]) if use == "add" else store.find(EVERYTHING))
        await store.add([make_operation(id="after")])
        await store.find(EVERYTHING)
    first = {"deleted": [], "replaced": ["there"], "its log deleted": ["before"]}[how]
    assert ids(path) == sorted(["after", *first])


async def test_a_file_that_is_taken_away_while_it_is_written_to_acknowledges_nothing(tmp_path, make_operation, monkeypatch):
    path = tmp_path / "store"
    async with open_store(f"sqlite:///{path}") as store:
        await store.add([make_operation()])
        opened = store._opened

        async def meanwhile():
            engine = await opened()
            os.unlink(path)
            monkeypatch.undo()
            return engine

        monkeypatch.setattr(store, "_opened", meanwhile)
        with pytest.raises(StoreError, match="was deleted or replaced"):
            await store.add([make_operation(id="lost")])
        with pytest.raises(StoreError, match="was deleted or replaced"):
            await store.add([make_operation(id="again")])
        await store.add([make_operation(id="after")])
    assert ids(path) == ["after"]


@pytest.mark.parametrize("umask", ["0", "0o277"])
def test_a_store_is_its_owners_alone_whatever_the_umask(tmp_path, umask):
    program = f"""
import os, sys, trio
os.umask({umask})
from trio_oplog.collector import open_store
async def main():
    async with open_store("sqlite:///" + sys.argv[1]):
        print(*sorted(oct(os.stat(sys.argv[1] + part).st_mode & 0o777) for part in ("", "-wal", "-shm")))
trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "store")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0o600"] * 3
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o600
