"""Records in the order of their arrival, for whoever watches: each once, none passed over.

SQLite knows one writer, so what has a number is there.  On PostgreSQL a transaction may take a number and commit after a later
number was seen.  Numbers are *settled* up to one when every transaction that may have taken one up to it has ended.  Which
do is told by the lock on the sequence that ``nextval`` takes and that is held to the end of the transaction.  The database's own
snapshots do not tell: one that is newer than all that have ended is in none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Final

from sqlalchemy import Connection, select, text

from trio_oplog._errors import QueryError
from trio_oplog._listing import Arrivals, ListQuery
from trio_oplog.collector._pages import SCANNED_AT_ONCE, STREAMED_MAX_BYTES
from trio_oplog.collector._queries import AT_ONCE, conditions_of
from trio_oplog.collector._schema import operations

_MOST: Final = 1 << 62

_LAST_SQLITE = text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'operations'")
_LAST_POSTGRESQL = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM operations_arrival")
_RUNNING = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted "
    "AND relation = 'operations_arrival'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Settled:
    """Up to which number every record that will ever be there is there.  To be asked again and again, by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._settled = 0
        # The last number at some time, and the transactions that may have had one up to it by then and not have ended.
        self._waiting: tuple[int, frozenset[str]] | None = None

    def read(self, connection: Connection) -> tuple[int, int]:
        """The last number that is settled, and the last one that was given out.

        Args:
            connection: What sees in each statement everything that is committed by then.
        """
        if connection.dialect.name == "sqlite":
            last = int(connection.scalar(_LAST_SQLITE))
            return last, last
        with self._lock:
            # In this order: whoever has a number up to the last one has the lock by the second statement, or has ended.
            last = int(connection.scalar(_LAST_POSTGRESQL))
            if last < self._settled:  # another server, which knows less
                self._settled, self._waiting = last, None
            if last == self._settled:
                return last, last
            running = frozenset(connection.scalars(_RUNNING))
            if self._waiting is not None and not running & self._waiting[1]:
                self._settled, self._waiting = self._waiting[0], None
            if not running:
                self._settled, self._waiting = last, None
            elif self._waiting is None:
                self._waiting = (last, running)
            return self._settled, last


def read_arrivals(
    connection: Connection,
    query: ListQuery,
    after: int | None,
    settled: Settled,
    fits: Callable[[bytes], bool] | None,
    view: Callable[[bytes], bytes] | None = None,
) -> Arrivals:
    """The next records to arrive that a query asks for: its limit, and 1 MiB, at most; a single one is never too large."""
    end, last = settled.read(connection)
    if after is None or after > last:  # from now on; also after a failover to a server that knows less
        return Arrivals([], str(last))
    if after >= end:
        return Arrivals([], str(after))
    # Of many that others sent, some at a time.
    end = min(end, after + SCANNED_AT_ONCE)
    conditions = conditions_of(connection, query)
    columns = operations.c
    found: list[tuple[str, bytes]] = []
    if conditions is not None:
        statement = select(columns.seq, columns.body).where(columns.seq > after, columns.seq <= end, *conditions)
        size = 0
        options = {"yield_per": AT_ONCE[connection.dialect.name]}
        with connection.execute(statement.order_by(columns.seq), execution_options=options) as rows:
            for seq, body in rows:
                size += len(body)
                if len(found) == query.limit or (found and size > STREAMED_MAX_BYTES):
                    return Arrivals(found, found[-1][0])
                if fits is None or fits(body):
                    found.append((str(seq), body if view is None else view(body)))
    return Arrivals(found, str(end))


def read_after(cursor: str | None) -> int | None:
    """The number that a cursor of arrivals spells.

    Raises:
        QueryError: It spells none; names ``after``.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(_MOST))) or int(cursor) > _MOST:
        raise QueryError("after", "is not the id of a record that arrived")
    return int(cursor)
