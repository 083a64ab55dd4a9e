"""A store's database while it is open: made ready, written to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from attrs import define
from sqlalchemy import URL, Connection, Engine

from trio_oplog.collector._cells import day_of
from trio_oplog.collector._databases import WAL_MAX_BYTES, begin_log_anew, give_back, lock, log_size, open_engine
from trio_oplog.collector._migration import migrate
from trio_oplog.collector._partitions import Partitions
from trio_oplog.collector._place import Place
from trio_oplog.collector._problems import code_of, is_lost, is_passing
from trio_oplog.collector._rows import Row
from trio_oplog.collector._schema import prepare
from trio_oplog.collector._writing import write

T = TypeVar("T")


@define
class Call:
    """Something that a thread does with the database, so that another can put an end to it."""

    driver: Any = None
    is_cut: bool = False


class Database:
    """A database that is open: its connections, and how records are written to it.  Everything here blocks.

    Attributes:
        engine: SQLAlchemy's.
        may_hang: Whether it is reached over a network, so that an answer may never come.
    """

    def __init__(self, url: URL) -> None:
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self.may_hang = not self._is_sqlite
        self._partitions = Partitions()
        # Until it is committed, no other thread may take a partition for one that is there.
        self._making_room = Lock()
        self._file = Path(str(url.database)) if self._is_sqlite else None
        self._place: Place | None = None
        self._log_may_be = WAL_MAX_BYTES
        self.engine: Engine = open_engine(url)

    def prepare(self) -> None:
        """Make or check the tables, and bring those of an earlier version up to date.

        Raises:
            SQLAlchemyError: The database did not let us.
            StoreError: It is not one that can be used.
        """
        with self.engine.begin() as connection:
            lock(connection)
            prepare(connection)
        migrate(self.engine, lock, self._make_room, self._settle)
        self._place = Place(self._file) if self._file is not None else None

    def check(self) -> None:
        """See to it that an SQLite file is still the one that was opened.

        Raises:
            StoreError: It was deleted or replaced.  Nothing that was written last counts; the database is to be closed.
        """
        if self._place is not None:
            self._place.check()

    @property
    def is_log_long(self) -> bool:
        """Whether SQLite's write-ahead log should be begun anew; ``False`` on PostgreSQL."""
        return self._log_size > self._log_may_be

    def shorten_log(self) -> None:
        """Put what is in SQLite's write-ahead log into the file, and begin the log anew, while nobody of this process reads.

        Where another process reads all the time it stays as it is, and is tried again when it has grown by a quarter.
        """
        begin_log_anew(self.engine)
        self._log_may_be = max(WAL_MAX_BYTES, self._log_size * 5 // 4)

    @property
    def _log_size(self) -> int:
        return 0 if self._file is None else log_size(self._file)

    def write(self, connection: Connection, rows: list[Row]) -> None:
        """Keep those rows that are not there yet.

        Args:
            connection: From ``run``.
            rows: Of several with the same workspace and id the first one counts.

        Raises:
            SQLAlchemyError: They could not be written; none of them is there.
        """
        if self._is_sqlite:
            lock(connection)
        else:
            with self._making_room:
                if self._partitions.missing(_days(rows)):
                    # In a transaction of its own, because everybody else waits for it.
                    lock(connection)
                    try:
                        self._make_room(connection, rows)
                        connection.commit()
                    except BaseException:
                        self._partitions.forget()  # what was made went with the transaction
                        raise
        write(connection, rows)

    def alone(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        """Do something that writes, for ``run``."""
        if self._is_sqlite:
            lock(connection)
        return work(connection)

    def run(self, work: Callable[[Connection], T], call: Call | None = None) -> T:
        """Do something in one transaction, or in several where the work commits by itself.

        It is tried a second time when the connection was lost, the server is not the primary any more, or the transaction was
        chosen to end a deadlock.  A commit may have succeeded then without our hearing of it, so the work must bear that.

        Args:
            work: What to do.
            call: What ``cut`` takes to end it.

        Raises:
            SQLAlchemyError: It could not be done; nothing of it is.
        """
        try:
            return self._run(work, call)
        except Exception as error:
            code = code_of(error)
            is_cut = call is not None and call.is_cut
            if self._is_sqlite or is_cut or code is None or not (is_lost(code) or is_passing(code)):
                raise
            if is_lost(code):
                self._renew()
        return self._run(work, call)

    def _run(self, work: Callable[[Connection], T], call: Call | None) -> T:
        with self.engine.connect() as connection:
            if call is not None:
                call.driver = connection.connection.driver_connection
            result = work(connection)
            connection.commit()
            return result

    def cut(self, call: Call) -> None:
        """End what another thread waits for in vain: its connection breaks.  Those that nobody uses are closed."""
        call.is_cut = True
        if call.driver is not None:
            # Closed in the meantime, it has no descriptor, which the driver says in an error of its own.
            gone = (OSError, self.engine.dialect.loaded_dbapi.Error)
            with suppress(*gone), socket.socket(fileno=os.dup(call.driver.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        self._renew()

    def _renew(self) -> None:
        self.engine.dispose()
        self._partitions.forget()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        if self._place is not None:
            self._place.leave()

    def _make_room(self, connection: Connection, rows: Iterable[Row]) -> None:
        if not self._is_sqlite and (days := self._partitions.missing(_days(rows))):
            self._partitions.make(connection, days)

    def _settle(self, engine: Engine) -> None:
        if self._is_sqlite:
            give_back(engine)


def open_database(url: URL) -> Database:
    """Connect, and make, check or migrate the tables.  Blocks.

    Raises:
        SQLAlchemyError: The database did not let us.
        StoreError: It is not one that can be used.
    """
    database = Database(url)
    try:
        database.prepare()
    except BaseException:
        database.close()
        raise
    return database


def _days(rows: Iterable[Row]) -> set[int]:
    return {day_of(row.started_at) for row in rows}
