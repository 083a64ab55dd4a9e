"""Stores as version 1 of the tables had them, written with plain SQL; and a program that opens a store and says so.

``python -m tests.collector.version_1 URL STEP WHERE`` brings a store up to date, STEP records at a time, and stops to be killed:
in the fifth step, when its records are ``read`` or ``written``, or when all are ``moved`` and the old table is still there.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable
from itertools import count
from typing import Any

import psycopg
import trio

from trio_oplog import Operation, _wire
from trio_oplog.collector import _migration, open_store
from trio_oplog.collector._database import Database

# What SQLAlchemy made of the tables of trio_oplog 0.1 before version 2.
SQLITE = """
CREATE TABLE operations (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace_id TEXT NOT NULL, env_id TEXT NOT NULL,
    tool TEXT NOT NULL, source TEXT NOT NULL, is_error BOOLEAN NOT NULL, started_at BIGINT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX operations_newest ON operations (workspace_id, started_at, seq);
CREATE INDEX operations_tool ON operations (workspace_id, tool, started_at, seq);
CREATE TABLE trio_oplog_schema (version INTEGER NOT NULL);
INSERT INTO trio_oplog_schema VALUES (1);
"""
POSTGRESQL = SQLITE.replace("INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "BIGSERIAL PRIMARY KEY").replace("BLOB", "BYTEA")
COLUMNS = "id, workspace_id, env_id, tool, source, is_error, started_at, body"


def make_version_1(url: str, operations: Iterable[Operation]) -> None:
    """A store of version 1 with these records."""
    rows = [as_row(operation) for operation in operations]
    if url.startswith("sqlite"):
        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        file.execute("PRAGMA journal_mode=WAL")
        file.executescript(SQLITE)
        file.executemany(f"INSERT INTO operations ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
        file.commit()
        file.close()
        return
    with psycopg.connect(url) as connection:
        connection.execute(POSTGRESQL.encode())
        with connection.cursor().copy(f"COPY operations ({COLUMNS}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)


def as_row(operation: Operation) -> tuple[Any, ...]:
    body = _wire.encode(operation)
    started_at = round(operation.started_at.timestamp() * 1_000_000)
    columns = (operation.id, operation.workspace_id, operation.env_id, operation.tool, operation.source)
    return (*columns, operation.is_error, started_at, body)


def stop() -> None:
    print("stopped", flush=True)
    sys.stdin.read()


def stop_at(where: str) -> None:
    """Have the migration of this process stop there."""
    steps, write = count(1), _migration.write

    def write_or_stop(*arguments: Any) -> None:
        is_fifth = next(steps) == 5
        if is_fifth and where == "read":
            stop()
        write(*arguments)
        if is_fifth and where == "written":
            stop()

    def settle_or_stop(*_: object) -> None:
        stop()

    if where == "moved":
        Database._settle = settle_or_stop  # type: ignore[assignment,method-assign]
    else:
        _migration.write = write_or_stop


async def bring_up_to_date(url: str) -> None:
    async with open_store(url):
        pass


if __name__ == "__main__":
    _, url, step, where = sys.argv
    _migration.STEP_RECORDS = int(step)  # type: ignore[misc]
    stop_at(where)
    trio.run(bring_up_to_date, url)
