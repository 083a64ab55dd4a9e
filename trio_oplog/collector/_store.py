"""Where operations are kept: SQLAlchemy Core in worker threads, on SQLite or PostgreSQL.

A record is acknowledged after its transaction was committed.  SQLite runs with a write-ahead log and ``synchronous=FULL``:
what was acknowledged survives the end of the process and of the machine.  So that each record need not wait for the disk
alone, everything that waits while one transaction commits goes into the next one together.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Never, Self, TypeVar

import anyio
from attrs import evolve
from sqlalchemy import Connection, Engine

from trio_oplog._errors import QueryError, StoreError
from trio_oplog._listing import Arrivals, Counted, ListQuery, Page, Slowest, StatisticsQuery
from trio_oplog._operation import Operation
from trio_oplog.collector._audit import prune_record
from trio_oplog.collector._database import Call, Database, open_database
from trio_oplog.collector._databases import READERS, WRITERS, parse_url
from trio_oplog.collector._live import Settled, read_after, read_arrivals
from trio_oplog.collector._pages import REPLY_MAX_BYTES, STREAMED_MAX_BYTES, Begun, Place, measure_places, read_chunk, read_places
from trio_oplog.collector._positions import read_cursor
from trio_oplog.collector._problems import guarded
from trio_oplog.collector._queries import read_one, read_workspaces
from trio_oplog.collector._retention import Pruned, prune, prune_statistics
from trio_oplog.collector._rows import Row, as_time
from trio_oplog.collector._search import holds, without_payload
from trio_oplog.collector._size import StoreSize, read_nothing, read_size
from trio_oplog.collector._slowest import SlowestSearch, check_slowest
from trio_oplog.collector._statistics import read_statistics

SEARCH_BUDGET: Final = 2.0
"""How long a search may take before it says how far it came, in seconds."""

RETENTION_INTERVAL: Final = 3_600.0
"""How long ``Store.retain`` waits between two runs, in seconds."""

KEEP_STATISTICS: Final = timedelta(days=731)
"""How long ``Store.retain`` keeps statistics: two years."""

_RETENTION: Final = "retention"
_PATIENCE: Final = 60.0
"""How long to wait for an answer of PostgreSQL, in seconds: longer than it lets a statement take."""
_INLINE_ROWS: Final = 16
"""Up to so many records are turned into rows where they are: a thread would cost more than it saves."""
_TOGETHER: Final = 20_000
"""Requests share a transaction up to so many records, as many as one request may have: what was longer would take longer than a
statement may, again each time that it is tried."""
_CUT_SHORT: Final = "the writing was cut short"
_NO_ANSWER: Final = (
    f"the store cannot be used: PostgreSQL gave no answer within {_PATIENCE:g} seconds; the connection was cut, and the next "
    "request makes another one"
)

T = TypeVar("T")

_log = logging.getLogger("trio_oplog.collector")


class _Waiting:
    """Records that wait for the next transaction, and how it went."""

    __slots__ = ("is_taken", "problem", "rows", "settled")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.is_taken = False
        self.settled = anyio.Event()
        self.problem: str | None = None


class Store:
    """Operations, found by workspace and more.  Made by ``open_store``.

    ``async with`` opens it at once and closes it at the end; it may be entered more than once, and the last one out closes
    it.  Without a block it opens at the first use.  After a failure the store is as usable as before.

    Runs under Trio and under asyncio.
    """

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._database: Database | None = None
        self._users = 0
        self._opening = anyio.Lock()
        self._writers = 1 if self.file is not None else WRITERS
        self._writing = anyio.Semaphore(self._writers)
        self._reading = anyio.CapacityLimiter(READERS)
        # What reads much leaves one reader for what reads little.
        self._searching = anyio.Semaphore(READERS - 1)
        self._queue: list[_Waiting] = []
        self._settled = Settled()
        self._next_arrival = anyio.Event()

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    @property
    def url(self) -> str:
        """Where the store is, with ``***`` for a password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def _engine(self) -> Engine | None:
        return None if self._database is None else self._database.engine

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
        with anyio.CancelScope(shield=True):
            async with self._opening, AsyncExitStack() as stack:
                for _ in range(self._writers):
                    await stack.enter_async_context(self._writing)
                await self._let_go()

    async def add(self, batch: Iterable[Operation]) -> None:
        """Keep operations: all of them or none.

        One whose id the workspace has is passed over, so that doing it again changes nothing.

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
            rows = await anyio.to_thread.run_sync(lambda: [Row.of(operation) for operation in found])
        await self.add_rows(rows)

    async def add_rows(self, rows: list[Row]) -> None:
        """``add`` for records that are rows already.

        Args:
            rows: What ``Row.of`` makes of operations.

        Raises:
            StoreError: They could not be written; none of them is there.
        """
        database = await self._opened()
        waiting = _Waiting(rows)
        self._queue.append(waiting)
        try:
            async with self._writing:
                while not waiting.is_taken:
                    await self._write_queue(database)
            await waiting.settled.wait()
        finally:
            # Cancelled while it waited: nobody would hear that it was written.
            if waiting in self._queue:
                self._queue.remove(waiting)
        if waiting.problem is not None:
            raise StoreError(waiting.problem)

    def next_arrival(self) -> anyio.Event:
        """An event that is set when something is stored by this object from now on; what other processes store sets none."""
        return self._next_arrival

    async def find(self, query: ListQuery) -> list[bytes]:
        """The records of one page; see ``page``."""
        return (await self.page(query)).bodies

    async def page(self, query: ListQuery, *, budget: float = SEARCH_BUDGET, payload: bool = True, brief: bool = False) -> Page:
        """Look operations up: the newest first, by ``started_at``, then by arrival.

        The pages that follow one another by ``next`` hold each record once that was there when the first one was asked for, and
        those that have come since and are older than where the reader is.

        Args:
            query: Which ones.
            budget: How long a search with ``q`` may take, in seconds.  It is looked at after every 10 000 records.
            payload: Whether they come with arguments and results, and are searched in them.
            brief: Whether they come without these all the same.

        Raises:
            QueryError: They are over 64 MiB together, so that the limit should be lower; or the cursor is none.
            StoreError: They could not be read.
        """
        page, _ = await self._whole_page(query, budget, REPLY_MAX_BYTES, payload=payload, brief=brief)
        return page

    async def begin_page(self, query: ListQuery, *, payload: bool = True, brief: bool = False) -> Begun[Page]:
        """``page`` for whoever sends it: reads 1 MiB of it, or one record, and says where the others are.

        Raises:
            QueryError, StoreError: See ``page``.
        """
        page, rest = await self._whole_page(query, SEARCH_BUDGET, STREAMED_MAX_BYTES, payload=payload, brief=brief)
        return Begun(page, rest)

    async def pieces(
        self, workspace_id: str, begun: Begun[Page] | Begun[Slowest], *, payload: bool = True, brief: bool = False
    ) -> AsyncGenerator[list[bytes], None]:
        """All records of what was begun, in lists of 1 MiB, or one record, at most.

        Nothing is held open between two lists.  What was pruned meanwhile is left out.

        Args:
            workspace_id: Whose they are.
            begun: From ``begin_page`` or ``begin_slowest``.
            payload: As there.
            brief: As there.

        Raises:
            StoreError: They could not be read; what was yielded is right.
        """
        yield begun.answer.bodies
        places, view = begun.rest, _view(payload=payload, brief=brief)
        while places:
            bodies, places = await self._read(partial(read_places, workspace_id=workspace_id, places=places, view=view))
            if bodies:
                yield bodies
            del bodies  # they would stay while the next ones are read

    async def get(self, workspace_id: str, operation_id: str, *, payload: bool = True) -> bytes | None:
        """The exact bytes of one record of a workspace; ``None`` where it has none of that id.

        Args:
            workspace_id: The workspace.
            operation_id: The id.
            payload: Whether it comes with arguments and result.

        Raises:
            QueryError: A workspace or an id cannot be that.
            StoreError: It could not be read.
        """
        ListQuery(workspace_id=workspace_id, id=operation_id)
        found = await self._read(lambda connection: read_one(connection, workspace_id, operation_id))
        return found if found is None or payload else without_payload(found)

    async def export(self, query: ListQuery, *, payload: bool = True) -> AsyncGenerator[list[bytes], None]:
        """All records that a query asks for, the newest first, without a limit: in lists of some, however many there are.

        Nothing is held open between two lists, so the reader may take as long as it likes.  Close the generator if you leave it
        early (``contextlib.aclosing``).

        Args:
            query: Which ones; its ``limit`` is how many one list has at most.  Nor has it more than 1 MiB, unless one record has.
            payload: Whether they come with arguments and results, and are searched in them.

        Yields:
            The exact bytes of records.

        Raises:
            QueryError: The cursor is none.
            StoreError: They could not be read; what was yielded is right.
        """
        cursor = query.cursor
        while True:
            page, _, _ = await self._page(
                evolve(query, cursor=cursor), SEARCH_BUDGET, STREAMED_MAX_BYTES, STREAMED_MAX_BYTES, payload=payload
            )
            if page.bodies:
                yield page.bodies
            if page.next is None:
                return
            cursor = page.next

    async def workspaces(self) -> list[str]:
        """The names of the workspaces that ever had a record, in order.

        One over 1 000 bytes, or with a NUL, has its digest in place of what no index holds.

        Raises:
            StoreError: They could not be read.
        """
        return await self._read(read_workspaces)

    async def statistics(self, query: StatisticsQuery) -> Counted:
        """Count operations by tool, user, hour and so on.

        What was pruned counts on, as long as its statistics are kept.

        Args:
            query: What to count, and by what.

        Raises:
            StoreError: They could not be read.
        """
        return await self._read_much(lambda connection: read_statistics(connection, query))

    async def slowest(
        self, query: ListQuery, *, budget: float = SEARCH_BUDGET, payload: bool = True, brief: bool = False
    ) -> Slowest:
        """The records that took longest, the slowest first, and of those that took as long the newest first.

        The statistics tell where they are, so that few of the others are read.

        Args:
            query: Which ones, and how many at most, up to 100.  Not with ``id``, ``id_prefix``, ``thread_id``, ``q`` or
                ``cursor``.
            budget: How long it may take, in seconds.  It is looked at after every 10 000 records, and when the days that have
                records are known.
            payload: Whether they come with arguments and results.
            brief: Whether they come without these all the same.

        Raises:
            QueryError: The query cannot be answered, or they are over 64 MiB together, so that the limit should be lower.
            StoreError: They could not be read.
        """
        begun = await self.begin_slowest(query, budget=budget, payload=payload, brief=brief)
        bodies: list[bytes] = []
        async with aclosing(self.pieces(query.workspace_id, begun, payload=payload, brief=brief)) as lists:
            async for some in lists:
                bodies += some
        return evolve(begun.answer, bodies=bodies)

    async def begin_slowest(
        self, query: ListQuery, *, budget: float = SEARCH_BUDGET, payload: bool = True, brief: bool = False
    ) -> Begun[Slowest]:
        """``slowest`` for whoever sends it: reads 1 MiB of it, or one record, and says where the others are.

        Raises:
            QueryError, StoreError: See ``slowest``.
        """
        check_slowest(query)
        view = _view(payload=payload, brief=brief)
        deadline = anyio.current_time() + budget
        search = await self._read_much(lambda connection: SlowestSearch.begin(connection, query))
        while not search.is_over and anyio.current_time() < deadline:
            search = await self._read_much(search.advance)
        places = search.places
        # Without arguments and results they are small.
        if view is None and len(places) > 1:
            size = await self._read(partial(measure_places, workspace_id=query.workspace_id, places=places))
            if size > REPLY_MAX_BYTES:
                raise _too_large()
        bodies: list[bytes] = []
        while places and not bodies:  # pruned meanwhile
            bodies, places = await self._read(partial(read_places, workspace_id=query.workspace_id, places=places, view=view))
        return Begun(Slowest(bodies, search.is_over), places)

    async def arrivals(
        self, query: ListQuery, after: str | None = None, *, payload: bool = True, brief: bool = False
    ) -> Arrivals:
        """The next records to arrive, the first to arrive first: to be asked again and again by whoever watches.

        Each record comes once, also from other collectors on the same database, and none is passed over.  Some seconds may go
        by before it comes, where many write at once.

        Args:
            query: Which ones; its times and its cursor do not count.
            after: ``next`` of the last answer, or the cursor of the last record that was seen; ``None`` begins with now.
            payload: Whether they come with arguments and results, and are searched in them.
            brief: Whether they come without these all the same.

        Raises:
            QueryError: ``after`` is none of these.
            StoreError: They could not be read.
        """
        number = read_after(after)
        fits = None if query.q is None else holds(query.q, payload=payload)
        view = _view(payload=payload, brief=brief)
        return await self._read(lambda connection: read_arrivals(connection, query, number, self._settled, fits, view))

    async def check(self) -> None:
        """See to it that the store can be used, and that PostgreSQL is not read-only.

        Raises:
            StoreError: It cannot.
        """
        await self._read(read_nothing)

    async def size(self) -> StoreSize:
        """How much room the store takes, and how far back it goes.

        Raises:
            StoreError: It could not be read.
        """
        return await self._read(read_size)

    async def prune(
        self, before: datetime, *, workspace_id: str | None = None, dry_run: bool = False, who: str | None = None
    ) -> Pruned:
        """Delete records that began on a UTC day before the day of a time.

        Others are read and stored meanwhile.  Statistics stay.  Cancelled, it has deleted some of the records.

        Args:
            before: The first day to keep; aware.
            workspace_id: Only this workspace's.
            dry_run: Only say what would go.
            who: Who has it done.  Where that is said and something is to go, it is put on record first, in the workspace
                ``trio-oplog``.  That record stays, whatever goes.

        Raises:
            StoreError: The database failed; some of the records are gone.
        """
        records = []
        if who is not None and not dry_run:
            planned = await prune(self._alone, before, workspace_id, dry_run=True)
            if planned.records:
                records = [prune_record(who, planned, workspace_id)]
        await self.add(records)
        pruned = await prune(self._alone, before, workspace_id, dry_run=dry_run)
        # Where everything up to now or later goes, the record of it has gone as well.
        await self.add([record for record in records if record.started_at < pruned.before])
        return pruned

    async def prune_statistics(self, before: datetime) -> int:
        """Delete what was counted of UTC days before the day of a time, but for days that have records or come after one.

        Returns:
            How many counts went, of an hour or a day of a series each.

        Raises:
            StoreError: The database failed; some of the counts are gone.
        """
        return await prune_statistics(self._alone, before)

    async def retain(
        self, keep: timedelta, *, keep_statistics: timedelta = KEEP_STATISTICS, every: float = RETENTION_INTERVAL
    ) -> Never:
        """Prune what is older, now and then again and again, until it is cancelled.  A failure is logged and does not end it.

        Any number of collectors on one database may do so.

        Args:
            keep: How long to keep records.
            keep_statistics: How long to keep statistics; not shorter than the records, whatever it says.
            every: How long to wait in between, in seconds.
        """
        while True:
            now = datetime.now(UTC)
            try:
                pruned = await self.prune(now - keep, who=_RETENTION)
                cells = await self.prune_statistics(now - keep_statistics)
            except StoreError as error:
                _log.error("pruning failed and is tried again in %g seconds: %s", every, error)
            else:
                _log.info("pruned %d records from before %s, and %d counts", pruned.records, pruned.before.date(), cells)
            await anyio.sleep(every)

    async def _alone(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction that writes: on SQLite, while nobody else does."""
        database = await self._opened()
        async with self._writing:
            return await self._in_thread(database, partial(database.alone, work=work))

    async def _whole_page(
        self, query: ListQuery, budget: float, kept: int, *, payload: bool, brief: bool
    ) -> tuple[Page, list[Place]]:
        page, rest, is_cut = await self._page(query, budget, REPLY_MAX_BYTES, kept, payload=payload, brief=brief)
        if is_cut:
            raise _too_large()
        return page, rest

    async def _page(
        self, query: ListQuery, budget: float, most: int, kept: int, *, payload: bool, brief: bool = False
    ) -> tuple[Page, list[Place], bool]:
        """A page: the records that are kept of it, where the others are, and whether it was cut at ``most`` bytes."""
        position = read_cursor(query)
        fits = None if query.q is None else holds(query.q, payload=payload)
        deadline = anyio.current_time() + budget
        look = partial(read_chunk, query=query, most=most, kept=kept, fits=fits, view=_view(payload=payload, brief=brief))
        read = self._read if fits is None else self._read_much
        bodies: list[bytes] = []
        rest: list[Place] = []
        size = 0
        while True:
            wanted = query.limit - len(bodies) - len(rest)
            chunk = await read(partial(look, before=position, wanted=wanted, held=size))
            bodies += chunk.found
            rest += chunk.rest
            size, position = chunk.size, chunk.last
            if chunk.is_end:
                return Page(bodies, None), rest, False
            assert position is not None  # noqa: S101 -- for the type checker: something was looked at
            if len(bodies) + len(rest) == query.limit or chunk.is_cut:
                return Page(bodies, position.spell()), rest, chunk.is_cut
            if anyio.current_time() >= deadline:
                return Page(bodies, position.spell(), as_time(position.started_at)), rest, False

    async def _read(self, work: Callable[[Connection], T]) -> T:
        database = await self._opened()
        # Out here, where who waits in line can be cancelled, and does not wait for PostgreSQL yet.
        async with self._reading:
            return await self._in_thread(database, work)

    async def _read_much(self, work: Callable[[Connection], T]) -> T:
        async with self._searching:
            return await self._read(work)

    async def _opened(self) -> Database:
        async with self._opening:
            if self._database is not None:
                try:
                    self._database.check()
                except StoreError:
                    await self._let_go()
                    raise
            else:
                self._database = await anyio.to_thread.run_sync(guarded, lambda: open_database(self._url))
            return self._database

    async def _let_go(self) -> None:
        """Close every connection."""
        database, self._database = self._database, None
        if database is not None:
            await anyio.to_thread.run_sync(database.close)

    async def _in_thread(self, database: Database, work: Callable[[Connection], T]) -> T:
        """Do something in a thread, in one transaction.  Not cut short by cancellation, only by the time it takes."""
        call = Call()
        patience = _PATIENCE if database.may_hang else math.inf
        with anyio.CancelScope(shield=True), anyio.move_on_after(patience):
            return await anyio.to_thread.run_sync(guarded, lambda: database.run(work, call), abandon_on_cancel=database.may_hang)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(database.cut, call)
        raise StoreError(_NO_ANSWER)

    async def _write_queue(self, database: Database) -> None:
        """Commit what waits in one transaction, those who wait the longest first, and tell each task how it went."""
        taken = self._take()
        rows = [row for waiting in taken for row in waiting.rows]
        problem: str | None = _CUT_SHORT
        try:
            if rows:
                await self._in_thread(database, lambda connection: database.write(connection, rows))
            database.check()  # after the commit, and before anybody hears of it
            problem = None
            self._next_arrival.set()
            self._next_arrival = anyio.Event()
        except StoreError as error:
            problem = error.problem
        finally:
            for waiting in taken:
                waiting.problem = problem
                waiting.settled.set()
        await self._shorten_log(database)

    def _take(self) -> list[_Waiting]:
        """Who is next: all that wait, if they have no more than ``_TOGETHER`` records, and one at least."""
        count, size = 0, 0
        while count < len(self._queue) and (count == 0 or size + len(self._queue[count].rows) <= _TOGETHER):
            size += len(self._queue[count].rows)
            count += 1
        taken, self._queue = self._queue[:count], self._queue[count:]
        for waiting in taken:
            waiting.is_taken = True
        return taken

    async def _shorten_log(self, database: Database) -> None:
        """Have SQLite begin its write-ahead log anew where it has grown too long.

        SQLite does so by itself when nobody reads.  Where readers follow one another without a gap, that is never.
        """
        if not database.is_log_long:
            return
        held = [object() for _ in range(READERS)]
        try:
            with anyio.CancelScope(shield=True):
                for each in held:
                    await self._reading.acquire_on_behalf_of(each)
                await anyio.to_thread.run_sync(database.shorten_log)
        finally:
            for each in held:
                self._reading.release_on_behalf_of(each)


def _view(*, payload: bool, brief: bool) -> Callable[[bytes], bytes] | None:
    """What a reader sees of a record; ``None`` for all of it."""
    return None if payload and not brief else without_payload


def _too_large() -> QueryError:
    return QueryError("limit", f"is too high: the records are over {REPLY_MAX_BYTES >> 20} MiB together")


def open_store(url: str) -> Store:
    """A store at a database URL.  It is opened by ``async with``, or by the first use.

    Args:
        url: ``sqlite:///relative.sqlite3``, ``sqlite:////absolute.sqlite3`` or ``postgresql://user:password@host/database``
            (through psycopg 3, the extra ``postgresql``).  An SQLite file that is not there is made, for its owner alone.

    Raises:
        ConfigError: The URL is not one of these; nothing was opened.
    """
    return Store(url)
