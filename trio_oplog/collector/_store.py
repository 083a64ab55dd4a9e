"""Where operations are kept: SQLAlchemy Core in worker threads, on SQLite or PostgreSQL.

A record is acknowledged after its transaction was committed.  SQLite runs with a write-ahead log and ``synchronous=FULL``:
what was acknowledged survives the end of the process and of the machine.  So that each record need not wait for the disk
alone, everything that waits while one transaction commits goes into the next one together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio
from sqlalchemy import Engine, Select, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from trio_oplog._errors import QueryError, StoreError
from trio_oplog._listing import ListQuery
from trio_oplog._operation import CHECK_SOURCE, Operation
from trio_oplog.collector._databases import READERS, open_engine, parse_url
from trio_oplog.collector._place import Place
from trio_oplog.collector._schema import Row, key, microseconds, operations

REPLY_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes of records that one ``list`` holds in memory, 64 MiB: what a ListClient takes."""

_INLINE_ROWS: Final = 16
"""Up to so many records are turned into rows where they are: a thread would cost more than it saves."""
_ROWS_AT_ONCE: Final = 64
_CUT_SHORT: Final = "the writing was cut short"

# One statement in both dialects, and yet SQLAlchemy has no common name for it.
_PASS_OVER_REPEATED: Final = {
    "sqlite": sqlite.insert(operations).on_conflict_do_nothing(index_elements=["id"]),
    "postgresql": postgresql.insert(operations).on_conflict_do_nothing(index_elements=["id"]),
}

T = TypeVar("T")


class _Waiting:
    """Records that wait for the next transaction, and how it went."""

    __slots__ = ("problem", "rows", "settled")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.settled = False
        self.problem: str | None = None


class Store:
    """Operations, found by workspace and more.  Made by ``open_store``.

    ``async with`` opens it at once and closes it at the end; it may be entered more than once, and the last one out closes
    it.  Without a block it opens at the first use.  After a failure the store is as usable as before.

    Needs to run under Trio.
    """

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._insert = _PASS_OVER_REPEATED[self._url.get_backend_name()]
        self._engine: Engine | None = None
        self._place: Place | None = None
        self._users = 0
        self._opening = trio.Lock()
        # One writer: SQLite knows no more, and PostgreSQL's transactions cannot wait for each other in a circle.
        self._writing = trio.Lock()
        self._reading = trio.CapacityLimiter(READERS)
        self._queue: list[_Waiting] = []

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    @property
    def url(self) -> str:
        """Where the store is, with ``***`` for a password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The SQLite file; ``None`` for PostgreSQL."""
        return Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            StoreError: It cannot be opened; it stays closed.
        """
        await self._opened()
        self._users += 1
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store, if nobody else is inside."""
        self._users -= 1
        if self._users == 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Close every connection.  A later use opens the store again."""
        with trio.CancelScope(shield=True):
            async with self._opening, self._writing:
                await self._let_go()

    async def add(self, batch: Iterable[Operation]) -> None:
        """Keep operations: all of them or none.

        One whose id the store has is passed over, so that doing it again changes nothing.

        Args:
            batch: The operations; ids may repeat.

        Raises:
            StoreError: They could not be written; none of them is there.
            WireError: One of them holds what no record can; none of them is there.
        """
        found = list(batch)
        if len(found) <= _INLINE_ROWS:
            rows = [Row.of(operation) for operation in found]
        else:
            rows = await trio.to_thread.run_sync(lambda: [Row.of(operation) for operation in found])
        engine = await self._opened()
        waiting = _Waiting(rows)
        self._queue.append(waiting)
        try:
            async with self._writing:
                if not waiting.settled:
                    await self._write_queue(engine)
        finally:
            # Cancelled while it waited: nobody would hear that it was written.
            if waiting in self._queue:
                self._queue.remove(waiting)
        if waiting.problem is not None:
            raise StoreError(waiting.problem)

    async def find(self, query: ListQuery) -> list[bytes]:
        """Look operations up.

        Returns:
            The exact bytes of each record, the newest first: by ``started_at``, then by arrival.

        Raises:
            QueryError: They are over ``REPLY_MAX_BYTES`` together; the limit should be lower.
            StoreError: They could not be read.
        """
        statement = _statement(query)
        engine = await self._opened()
        return await trio.to_thread.run_sync(_guarded, lambda: _read(engine, statement), limiter=self._reading)

    async def _opened(self) -> Engine:
        async with self._opening:
            if self._place is not None:
                try:
                    self._place.check()
                except StoreError:
                    await self._let_go()
                    raise
            if self._engine is None:
                self._engine = await trio.to_thread.run_sync(_guarded, lambda: open_engine(self._url))
                self._place = Place(self.file) if self.file is not None else None
            return self._engine

    async def _let_go(self) -> None:
        """Close every connection."""
        engine, self._engine = self._engine, None
        place, self._place = self._place, None
        if engine is not None:
            await trio.to_thread.run_sync(engine.dispose)
        if place is not None:
            place.leave()

    async def _write_queue(self, engine: Engine) -> None:
        """Commit everything that waits in one transaction, and tell each waiting task how it went."""
        taken, self._queue = self._queue, []
        rows = [row._asdict() for waiting in taken for row in waiting.rows]
        problem: str | None = _CUT_SHORT
        try:
            # Shielded: the others who wait for this transaction were not cancelled.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_guarded, lambda: _write(engine, self._insert, rows))
            if self._place is not None:
                self._place.check()  # after the commit, and before anybody hears of it
            problem = None
        except StoreError as error:
            problem = error.problem
        finally:
            for waiting in taken:
                waiting.settled, waiting.problem = True, problem


def open_store(url: str) -> Store:
    """A store at a database URL.  It is opened by ``async with``, or by the first use.

    Args:
        url: ``sqlite:///relative.sqlite3``, ``sqlite:////absolute.sqlite3`` or ``postgresql://user:password@host/database``
            (through psycopg 3, the extra ``postgresql``).  An SQLite file that is not there is made, for its owner alone.

    Raises:
        ConfigError: The URL is not one of these; nothing was opened.
    """
    return Store(url)


def _write(engine: Engine, insert: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        with engine.begin() as connection:
            connection.execute(insert, rows)


def _read(engine: Engine, statement: Select[bytes]) -> list[bytes]:
    bodies: list[bytes] = []
    size = 0
    with engine.connect() as connection:
        for (body,) in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(statement):
            size += len(body)
            if size > REPLY_MAX_BYTES:
                raise QueryError("limit", f"is too high: the records are over {REPLY_MAX_BYTES >> 20} MiB together")
            bodies.append(body)
    return bodies


def _statement(query: ListQuery) -> Select[bytes]:
    columns = operations.c
    statement = select(columns.body).where(columns.workspace_id == key(query.workspace_id))
    for column, wanted in (
        (columns.id, query.id),
        (columns.env_id, query.env_id),
        (columns.tool, query.tool),
        (columns.source, query.source),
    ):
        if wanted is not None:
            statement = statement.where(column == key(wanted))
    if query.source is None and query.id is None:
        statement = statement.where(columns.source != CHECK_SOURCE)
    if query.is_error is not None:
        statement = statement.where(columns.is_error == query.is_error)
    if query.since is not None:
        statement = statement.where(columns.started_at >= microseconds(query.since))
    return statement.order_by(columns.started_at.desc(), columns.seq.desc()).limit(query.limit)


def _guarded(work: Callable[[], T]) -> T:
    """Do what touches the database; its errors come out as ours, and carry nothing that it said."""
    try:
        return work()
    except SQLAlchemyError as error:
        problem = f"the store cannot be used: {_code(error)}"
    # Outside of the handler, so that no payload hangs on the error as its context.
    raise StoreError(problem)


def _code(error: SQLAlchemyError) -> str:
    """SQLite's or PostgreSQL's name for what went wrong."""
    cause = getattr(error, "orig", None) or error
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__
