"""Forgetting what is old, without standing in the way of what arrives.

What goes are whole UTC days.  PostgreSQL drops their partitions.  SQLite deletes record by record, in steps that hold the lock
for some milliseconds, and gives the space back in steps, too; so does PostgreSQL where a day has no partition of its own, or
where only one workspace's records go.  Each step is a transaction: killed, the next run goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any, Final

import anyio
from attrs import frozen
from sqlalchemy import Connection, delete, func, select, text, tuple_
from sqlalchemy.exc import DBAPIError

from trio_oplog.collector._cells import day_of
from trio_oplog.collector._partitions import partitions
from trio_oplog.collector._rows import MICROSECONDS, as_time, key, microseconds
from trio_oplog.collector._schema import operations, rollups, workspaces
from trio_oplog.collector._writing import id_key

STEP: Final = 0.02
"""How long one step may take, in seconds; how much it does adapts to that."""

_FIRST_SIZE: Final = 100
_SIZES: Final = (10, 5_000)
_TRIES: Final = 10
_PAUSE: Final = 0.5
_LOCK_TIMEOUT_MS: Final = 200
_LOCKED: Final = "55P03"
_GONE: Final = "42P01"

# By the index of time, the oldest first.
_OLDEST: Final = "SELECT seq FROM operations WHERE workspace = ? AND started_at < ? ORDER BY started_at LIMIT ?"
_DELETE_SQLITE: Final = f"DELETE FROM operations WHERE seq IN ({_OLDEST})"  # noqa: S608
# What another collector deletes at this moment is left to it.
_DELETE_POSTGRESQL: Final = text(
    "DELETE FROM operations o USING (SELECT started_at, seq FROM operations "
    "WHERE workspace = :workspace AND started_at < :before ORDER BY started_at LIMIT :size FOR UPDATE SKIP LOCKED) old "
    "WHERE o.workspace = :workspace AND o.started_at = old.started_at AND o.seq = old.seq RETURNING o.id"
)
# The id of a record that came again after its partition was dropped stays.
_DELETE_IDS: Final = text(
    "DELETE FROM operation_ids WHERE key IN (SELECT key FROM operation_ids i WHERE i.started_at < :before "
    "AND NOT EXISTS (SELECT FROM operations o WHERE o.started_at = i.started_at AND o.started_at < :before) LIMIT :size)"
)

StepRunner = Callable[[Callable[[Connection], Any]], Awaitable[Any]]
"""Does something in a transaction of its own: on SQLite, while nobody else of this process writes."""

_log = logging.getLogger("trio_oplog.collector")


@frozen
class Pruned:
    """What was pruned, or would be.

    Attributes:
        before: The beginning of the first UTC day that is kept.
        records: How many records went.
        days: How many of PostgreSQL's partitions were dropped whole.
    """

    before: datetime
    records: int
    days: int = 0


async def prune(run: StepRunner, before: datetime, workspace_id: str | None, *, dry_run: bool) -> Pruned:
    """Delete the records of the days before the day of a time; see ``Store.prune``."""
    day = day_of(microseconds(before))
    limit = day * MICROSECONDS
    records = days = 0
    chosen: dict[int, str] = await run(lambda connection: _workspaces(connection, workspace_id))
    if workspace_id is None and not dry_run:
        # Those from today on stay, for what arrives: they are emptied like a file of SQLite.
        ended = min(day, day_of(microseconds(datetime.now(UTC))))
        for old in sorted(await run(_partitions)):
            dropped = await _drop(run, old) if old < ended else None
            records, days = records + (dropped or 0), days + (dropped is not None)
    for number, name in chosen.items():
        if dry_run:
            records += await run(partial(_count, workspace=number, before=limit))
        else:
            records += await in_steps(run, partial(_delete, workspace=number, name=name, before=limit))
    if not dry_run:
        if workspace_id is None:
            await in_steps(run, partial(_delete_ids, before=limit))
        await in_steps(run, _give_back)
    return Pruned(as_time(limit), records, days)


async def prune_statistics(run: StepRunner, before: datetime) -> int:
    """Delete the counts of the days before the day of a time; see ``Store.prune_statistics``."""
    day = await run(oldest_day)
    # They tell a query where to look, so they stay as long as the records do.
    limit = day_of(microseconds(before)) if day is None else min(day_of(microseconds(before)), day)
    removed = 0
    for number in await run(partial(_workspaces, workspace_id=None)):
        removed += await in_steps(run, partial(_delete_cells, workspace=number, before=limit))
    return removed


async def in_steps(run: StepRunner, step: Callable[..., int]) -> int:
    """Do something in steps of about ``STEP`` seconds, with as long a pause after each, until there is nothing left of it.

    Args:
        run: Does something in a transaction.
        step: Is told as ``size`` how much to do at most, and says how much it did.

    Returns:
        How much it was in all.
    """
    size, done = _FIRST_SIZE, 0
    while True:
        began = perf_counter()
        did: int = await run(partial(step, size=size))
        took = perf_counter() - began
        done += did
        if did < size:
            return done
        size = min(max(int(size * min(max(STEP / took, 0.5), 2.0)), _SIZES[0]), _SIZES[1])
        await anyio.sleep(took)


async def _drop(run: StepRunner, day: int) -> int | None:
    """Drop a day's partition, once nobody reads it.

    Returns:
        How many records it had; ``None`` where it was in use all the time: it stays for the next run.
    """
    for _ in range(_TRIES):
        dropped: int | None = await run(partial(_try_to_drop, day=day))
        if dropped is not None:
            return dropped
        await anyio.sleep(_PAUSE)
    _log.warning("the partition of %s was in use and stays for the next time", as_time(day * MICROSECONDS).date())
    return None


def _try_to_drop(connection: Connection, day: int) -> int | None:
    there = _partitions(connection)
    if day not in there:  # another collector was quicker
        return 0
    try:
        records = connection.exec_driver_sql(f"SELECT count(*) FROM {there[day]}").scalar()  # noqa: S608 -- a name of ours
        # Everybody who comes after us waits until we have the lock, so we do not wait long.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_MS}ms'; DROP TABLE {there[day]}")
    except DBAPIError as error:
        code = getattr(error.orig, "sqlstate", None)
        if code not in (_LOCKED, _GONE):
            raise
        connection.rollback()
        return 0 if code == _GONE else None  # gone: another collector was dropping it
    return int(records or 0)


def _workspaces(connection: Connection, workspace_id: str | None) -> dict[int, str]:
    statement = select(workspaces.c.number, workspaces.c.name)
    if workspace_id is not None:
        statement = statement.where(workspaces.c.name == key(workspace_id))
    return {record.number: record.name for record in connection.execute(statement)}


def _partitions(connection: Connection) -> dict[int, str]:
    return {} if connection.dialect.name == "sqlite" else partitions(connection)


def _count(connection: Connection, workspace: int, before: int) -> int:
    columns = operations.c
    counted = select(func.count()).where(columns.workspace == workspace, columns.started_at < before)
    return int(connection.scalar(counted) or 0)


def _delete(connection: Connection, workspace: int, name: str, before: int, size: int) -> int:
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(_DELETE_SQLITE, (workspace, before, size)).rowcount
    values = {"workspace": workspace, "before": before, "size": size}
    gone = [id_key(name, operation_id) for operation_id in connection.scalars(_DELETE_POSTGRESQL, values)]
    if gone:
        connection.exec_driver_sql("DELETE FROM operation_ids WHERE key = ANY(%s::text[]::uuid[])", (gone,))
    return len(gone)


def _delete_ids(connection: Connection, before: int, size: int) -> int:
    if connection.dialect.name == "sqlite":
        return 0
    return connection.execute(_DELETE_IDS, {"before": before, "size": size}).rowcount


def _give_back(connection: Connection, size: int) -> int:
    """Hand free pages at the end of the file back to the disk.  PostgreSQL does that by itself where a table is dropped."""
    if connection.dialect.name != "sqlite":
        return 0
    before = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    # Nothing happens where the file was made without the ability.  A script, because a single statement would stop after its
    # first page; it ends the transaction and has one of its own.
    driver: Any = connection.connection.driver_connection
    driver.executescript(f"PRAGMA incremental_vacuum({size})")
    return int(before - connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())


def oldest_day(connection: Connection) -> int | None:
    """The beginning of the UTC day of the oldest record, in seconds since 1970; ``None`` where there is none."""
    columns = operations.c
    first = select(columns.started_at).where(columns.workspace == workspaces.c.number).order_by(columns.started_at).limit(1)
    oldest = connection.scalar(select(func.min(first.scalar_subquery())).select_from(workspaces))
    return None if oldest is None else day_of(oldest)


def _delete_cells(connection: Connection, workspace: int, before: int, size: int) -> int:
    columns = rollups.c
    key = tuple_(columns.workspace, columns.kind, columns.span, columns.start, columns.series)
    old = select(*key.clauses).where(columns.workspace == workspace, columns.start < before).limit(size)
    places = [tuple(place) for place in connection.execute(old.with_for_update(skip_locked=True))]
    # Only now that nobody else can count in these cells: a record may have come of a day that had none before.
    day = oldest_day(connection)
    gone = [place for place in places if day is None or place[3] < day]
    if gone:
        connection.execute(delete(rollups).where(key.in_(gone)))
    return len(gone)
