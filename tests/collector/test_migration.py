from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio

from tests.collector.version_1 import make_version_1
from trio_oplog import Approval, Context, DecidedBy, ListQuery, Operation, Outcome, ResultMeta, _wire
from trio_oplog.collector import Store, open_store
from trio_oplog.collector._databases import give_back, open_engine, parse_url

MakeOperation = Callable[..., Operation]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RECORDS = int(os.environ.get("TRIO_OPLOG_MIGRATED", "2400"))
"""How many records the store has whose migration is killed ten times."""
KILLS = 10
COUNTED = "SELECT sum(count) FROM rollups r JOIN series s ON s.number = r.series WHERE s.kind = 'all' AND r.span = 3600"


async def everything(store: Store, workspace_id: str = "ws") -> list[bytes]:
    query = ListQuery(workspace_id=workspace_id, limit=1000)
    return [body async for bodies in store.export(query) for body in bodies]


def scalar(url: str, statement: str) -> Any:
    if url.startswith("sqlite"):
        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return file.execute(statement).fetchone()[0]
        finally:
            file.close()
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row[0]


async def test_records_of_version_1_are_found_in_their_order_and_by_the_new_filters(
    store_url: str, make_operation: MakeOperation, caplog: pytest.LogCaptureFixture
) -> None:
    plain = [make_operation() for _ in range(3)]
    full = make_operation(
        started_at=NOON + timedelta(days=1),
        user_id="ada",
        thread_id="t-1",
        is_error=True,
        duration_ms=40,
        result_meta=ResultMeta(outcome=Outcome.DECLINED, waited_ms=30),
        context=Context(client="desk/1.2"),
        approval=Approval(decision="decline", by=DecidedBy.CLIENT, waited_ms=30),
        arguments=b'{ "verbatim" : 1.0 }',
    )
    elsewhere = make_operation(workspace_id="long" * 1000, tool="nul\0")
    make_version_1(store_url, [*plain, full])
    async with open_store(store_url) as store:
        await store.add([elsewhere])
        assert await everything(store) == [_wire.encode(each) for each in (full, *reversed(plain))]
        for name, value in {
            "user_id": "ada",
            "thread_id": "t-1",
            "outcome": "declined",
            "client": "desk/1.2",
            "approval": "decline",
            "q": "Verbatim",
            "id": full.id,
        }.items():
            assert await store.find(ListQuery(workspace_id="ws", **{name: value})) == [_wire.encode(full)]
        # What was stored before and is delivered again is passed over.
        await store.add([full, *plain])
        assert len(await everything(store)) == 4
        assert await everything(store, elsewhere.workspace_id) == [_wire.encode(elsewhere)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "4 records were moved" in caplog.text


async def test_a_record_of_version_1_that_cannot_be_read_keeps_what_it_was_found_by(
    tmp_path: Path, make_operation: MakeOperation
) -> None:
    url = f"sqlite:///{tmp_path / 'operations.sqlite3'}"
    damaged = [make_operation(is_error=True), make_operation()]
    make_version_1(url, damaged)
    file = sqlite3.connect(tmp_path / "operations.sqlite3")
    file.execute("UPDATE operations SET body = CAST('rubbish' AS BLOB)")
    file.commit()
    file.close()
    async with open_store(url) as store:
        assert await store.find(ListQuery(workspace_id="ws", tool="echo")) == [b"rubbish"] * 2
        assert await store.find(ListQuery(workspace_id="ws", outcome="error")) == [b"rubbish"]
        assert await store.find(ListQuery(workspace_id="ws", q="rubbish")) == []


async def test_a_file_of_version_1_can_shrink_afterwards(tmp_path: Path, make_operation: MakeOperation) -> None:
    url = f"sqlite:///{tmp_path / 'operations.sqlite3'}"
    make_version_1(url, [make_operation()])
    assert scalar(url, "PRAGMA auto_vacuum") == 0
    async with open_store(url):
        pass
    assert scalar(url, "PRAGMA auto_vacuum") == 2


def test_a_file_that_cannot_be_rewritten_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._databases._PATIENCE", 0.1)
    url = f"sqlite:///{tmp_path / 'operations.sqlite3'}"
    make_version_1(url, [])
    blocker = sqlite3.connect(tmp_path / "operations.sqlite3", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    engine = open_engine(parse_url(url))
    give_back(engine)
    engine.dispose()
    blocker.close()
    assert "SQLITE_BUSY): it will not shrink" in caplog.text


def some_operations(make_operation: MakeOperation) -> list[Operation]:
    return [
        make_operation(
            started_at=NOON + timedelta(minutes=number),
            tool=f"tool-{number % 7}",
            user_id=f"user-{number % 5}",
            arguments=b'{"n":%d}' % number,
        )
        for number in range(RECORDS)
    ]


async def kill_where_it_stops(url: str, where: str) -> None:
    program = [sys.executable, "-m", "tests.collector.version_1", url, str(RECORDS // 48), where]
    process = await trio.lowlevel.open_process(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            assert (await process.stdout.receive_some()).startswith(b"stopped")
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@pytest.mark.once
async def test_a_migration_that_is_killed_ten_times_ends_whole(store_url: str, make_operation: MakeOperation) -> None:
    operations = some_operations(make_operation)
    make_version_1(store_url, operations)
    moved = 0
    for kill in range(KILLS - 1):
        await kill_where_it_stops(store_url, "written" if kill % 2 else "read")
        assert scalar(store_url, COUNTED) == (moved := moved + 4 * (RECORDS // 48))
    await kill_where_it_stops(store_url, "moved")
    assert scalar(store_url, COUNTED) == RECORDS
    async with open_store(store_url) as store:
        assert await everything(store) == [_wire.encode(each) for each in reversed(operations)]
    assert scalar(store_url, COUNTED) == RECORDS
