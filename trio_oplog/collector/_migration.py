"""From version 1 of the tables to version 2: in steps, each a transaction, so that it goes on wherever it was stopped.

``prepare`` sets version 1's table aside under another name and makes the new ones, empty.  Each step moves some records, the
first to arrive first, and the last one removes the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, inspect, select

from trio_oplog import _wire
from trio_oplog._errors import WireError
from trio_oplog.collector._rows import NO_OUTCOME, NO_OUTCOME_BUT_ERROR, Labels, Row
from trio_oplog.collector._schema import FORMER, former
from trio_oplog.collector._writing import write

STEP_RECORDS: Final = 1_000
"""How many records one transaction moves."""

Locker = Callable[[Connection], None]
RoomMaker = Callable[[Connection, Iterable[Row]], None]

_log = logging.getLogger("trio_oplog.collector")


def migrate(engine: Engine, lock: Locker, make_room: RoomMaker, finish: Callable[[Engine], None]) -> None:
    """Move the records of version 1, if there are any.  Blocks until all are moved; killed, it goes on at the next call.

    Args:
        engine: A database that ``prepare`` has seen.
        lock: Keeps others from doing the same until the transaction ends.
        make_room: Is shown the rows of a step before they are written, in the same transaction.
        finish: What is still to be done when all are moved, before the old table goes.
    """
    with engine.connect() as connection:
        if not _is_there(connection):
            return
    _log.warning("the store has tables of version 1 and is moved to version 2; it can be used when that is done")
    last: int | None = -1
    moved = 0
    while last is not None:
        with engine.begin() as connection:
            lock(connection)
            # Another process may have moved them in the meantime, or be at it as well: each takes its turn.
            rows = _read(connection, last) if _is_there(connection) else []
            make_room(connection, [row for _, row in rows])
            write(connection, [row for _, row in rows])
            last = rows[-1][0] if rows else None
            if rows:
                connection.execute(delete(former).where(former.c.seq <= last))
        moved += len(rows)
    finish(engine)
    with engine.begin() as connection:
        lock(connection)
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {FORMER}")
    _log.warning("the store is of version 2 now; %d records were moved", moved)


def _is_there(connection: Connection) -> bool:
    return FORMER in inspect(connection).get_table_names()


def _read(connection: Connection, after: int) -> list[tuple[int, Row]]:
    statement = select(former).where(former.c.seq > after).order_by(former.c.seq).limit(STEP_RECORDS)
    return [(record.seq, _row(record)) for record in connection.execute(statement)]


def _row(record: Any) -> Row:
    """The row of a record of version 1; its bytes stay what they are."""
    try:
        return Row.of(_wire.decode(record.body), record.body)
    except WireError:
        # Somebody wrote into the table by hand.  What stood beside the body is kept, since it was found by that.
        outcome = NO_OUTCOME_BUT_ERROR if record.is_error else NO_OUTCOME
        labels = Labels(
            record.workspace_id, record.tool, record.env_id, record.source, outcome, record.is_error, client=None, approval=None
        )
        return Row(record.id, labels, None, None, record.started_at, 0, None, record.body)
