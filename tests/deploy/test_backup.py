"""The commands of the how-to about backups: what they make is for its owner alone, and has everything that was acknowledged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import trio

from tests.collector.conftest import find_postgresql, make_database, postgresql_server
from trio_oplog import ListQuery, Operation, StoreError
from trio_oplog.collector import StatisticsQuery, Store, open_store

pytestmark = pytest.mark.once

__all__ = ["make_database", "postgresql_server"]

NOW = datetime.now(UTC)
EVERYTHING = ListQuery(workspace_id="ws", limit=1000)


def operation(number: int) -> Operation:
    return Operation(
        id=f"id-{number}",
        workspace_id="ws",
        source="sdk",
        env_id="local",
        tool="echo",
        is_error=False,
        started_at=NOW,
        completed_at=NOW,
        duration_ms=0,
    )


async def counted(store: Store) -> int:
    return sum(group.count for group in (await store.statistics(StatisticsQuery(workspace_id="ws", by="tool"))).groups)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


async def back_up(source: Path, target: Path) -> None:
    """As ``sqlite3 source ".backup target"`` does, which calls the same function of SQLite."""

    def run() -> None:
        with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
            one.backup(other)
            assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        one.close()
        other.close()

    await trio.to_thread.run_sync(run)


def put_in_place(copy: Path, file: Path) -> None:
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file}{suffix}").unlink()
    shutil.copyfile(copy, file)


@pytest.mark.usefixtures("umask")
async def test_a_backup_of_a_file_is_made_while_it_is_written_to_and_put_in_its_place(tmp_path: Path) -> None:
    file, copy = tmp_path / "operations.sqlite3", tmp_path / "backup.sqlite3"
    async with open_store(f"sqlite:///{file}") as store:
        await store.add([operation(number) for number in range(50)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(back_up, file, copy)
            for number in range(50, 100):
                await store.add([operation(number)])
        put_in_place(copy, file)
        # It runs all the while: what it had open is noticed, and then left.
        with pytest.raises(StoreError, match="was deleted or replaced"):
            await store.find(EVERYTHING)
        there = len(await store.find(EVERYTHING))
        assert 50 <= there == await counted(store)
        await store.add([operation(number) for number in range(101)])
        assert len(await store.find(EVERYTHING)) == await counted(store) == 101
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.usefixtures("umask")
async def test_a_dump_of_postgresql_is_restored_and_goes_on(tmp_path: Path, make_database) -> None:  # type: ignore[no-untyped-def]
    programs = find_postgresql()
    assert programs is not None
    source, target = make_database(), make_database()
    async with open_store(source) as store:
        await store.add([operation(number) for number in range(50)])
    dump = tmp_path / "backup.dump"
    for command in (
        [programs / "pg_dump", "--format=custom", f"--file={dump}", f"--dbname={source}"],
        [programs / "pg_restore", "--no-owner", f"--dbname={target}", dump],
    ):
        await trio.run_process(command, stderr=subprocess.DEVNULL)
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    async with open_store(target) as store:
        assert len(await store.find(EVERYTHING)) == await counted(store) == 50
        after = (await store.arrivals(EVERYTHING)).next
        await store.add([operation(number) for number in range(60)])
        assert len(await store.find(EVERYTHING)) == await counted(store) == 60
        # The order of arrival goes on where it was.
        assert len((await store.arrivals(EVERYTHING, after)).records) == 10
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT count(*) = count(DISTINCT seq) FROM operations").fetchone() == (True,)
