"""Step 7: the spool's file: an SQLite database that one process writes and anybody may look into.

Nothing here knows Trio; every call blocks for as long as the disk takes.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from trio_oplog._delivery.ledger import logger
from trio_oplog._delivery.record import Record
from trio_oplog._errors import SpoolError, SpoolInUseError
from trio_oplog._forking import watch_forks

ROW_OVERHEAD: Final = 128
"""What a row costs in the file besides its body, rounded up."""

APPLICATION: Final = 0x6F706C67  # "oplg": tells a spool from somebody else's database
_VERSION: Final = 2
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (
    -- Numbers grow for ever: one that was used is not used again, so that the order of commits is in them.
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The place in the order of submission, in the run that committed it.
    submitted INTEGER NOT NULL DEFAULT 0,
    workspace TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_of_workspace ON records (workspace, number);
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY, workspace TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL,
    died_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS about (destination TEXT NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_COLUMNS: Final = "number, submitted, workspace, id, body"
_WORTH_GIVING_BACK: Final = 1024 * 1024


class MovedError(Exception):
    """The file was deleted or replaced: what was written last is in a file that nobody will find."""


class Holding(NamedTuple):
    """What a file holds of one workspace."""

    records: int
    bytes: int


class DeadRow(NamedTuple):
    """A record that was given up, as it is kept."""

    workspace: str
    id: str
    body: bytes
    reason: str
    died_at: float


def row_size(record: Record) -> int:
    """What a sealed record takes up in the file, by the count of ``SpoolFile.bytes``."""
    return len(record.wire) + ROW_OVERHEAD


def is_corruption(error: sqlite3.Error) -> bool:
    """Whether the error means that the file is corrupt, as opposed to a full disk, a lock or a permission."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SpoolFile:
    """One open spool; methods may be called from any thread, one at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, dead_max: int) -> None:
        self.path = path
        self._db = connection
        self._dead_max = dead_max
        self._process = os.getpid()
        rows = self._db.execute("SELECT workspace, count(*), sum(length(body)) FROM records GROUP BY workspace").fetchall()
        (last,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'").fetchone()
        self.holdings = {name: Holding(count, size + count * ROW_OVERHEAD) for name, count, size in rows}
        self.waiting = sum(holding.records for holding in self.holdings.values())
        self.bytes = sum(holding.bytes for holding in self.holdings.values())
        self.last_number = int(last)
        self.destination = read_destination(self._db)
        # A later run must not take for its own what an earlier one has numbered.
        self._earlier = self.last_number
        self._most = self.bytes
        self._places = self._look()

    @classmethod
    def open(cls, path: Path, dead_max: int, destination: str = "") -> SpoolFile:
        """Open or create a spool; whoever calls holds its lock.

        A damaged file is renamed and a new one begun, which is said once in the log.

        Args:
            path: Where it is.
            dead_max: How many records that were given up it keeps.
            destination: What its records are for; written into a new file.

        Raises:
            SpoolError: It is no spool, or of another version; it is left as it is.
            sqlite3.Error: The disk is full, or fails.
            OSError: The file cannot be made.
        """
        try:
            return cls(path, connect(path, destination), dead_max)
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
        set_aside(path)
        return cls(path, connect(path, destination), dead_max)

    def commit(
        self,
        records: Sequence[Record],
        gone: Sequence[int],
        dead: Sequence[DeadRow],
        max_bytes: float = math.inf,
        *,
        in_order: bool = False,
    ) -> tuple[dict[int, Record], list[Record]]:
        """Remove rows, add records as far as the file may grow and bury the dead, all of it or nothing.

        Args:
            records: To be added, sealed.
            gone: The numbers of those to be removed.
            dead: To be kept aside.
            max_bytes: What the file may hold, by the count of ``bytes``.
            in_order: Whether none may be added after one that has no room; without it smaller ones are.

        Returns:
            The records that were added by their numbers, and those that have no room.

        Raises:
            MovedError: The file is no more where it was, and everything that was ever committed to it is lost.
            SpoolError: This process was forked from the one that opened the file; nothing changed.
            sqlite3.Error: Nothing changed.
        """
        added: dict[int, Record] = {}
        no_room: list[Record] = []
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        added_bytes = 0
        number = self.last_number
        with self._transaction() as db:
            for where in _ranges(gone):
                for workspace, count, size in db.execute(
                    "SELECT workspace, count(*), sum(length(body)) FROM records WHERE number BETWEEN ? AND ? GROUP BY workspace",
                    where,
                ).fetchall():
                    counts[workspace] -= count
                    sizes[workspace] -= size + count * ROW_OVERHEAD
                db.execute("DELETE FROM records WHERE number BETWEEN ? AND ?", where)
            room = max_bytes - self.bytes - sizes.total()
            for record in records:
                size = row_size(record)
                if added_bytes + size > room or (in_order and no_room):
                    no_room.append(record)
                    continue
                number += 1
                added[number] = record
                added_bytes += size
                counts[record.workspace] += 1
                sizes[record.workspace] += size
            db.executemany(
                f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 -- a constant of ours
                [(row, record.number, _storable(record.workspace), record.id, record.wire) for row, record in added.items()],
            )
            if dead:
                db.executemany("INSERT INTO dead (workspace, id, body, reason, died_at) VALUES (?, ?, ?, ?, ?)", dead)
                # The oldest go: the latest tell more about what is wrong now.
                db.execute(
                    "DELETE FROM dead WHERE number <= (SELECT number FROM dead ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (self._dead_max,),
                )
        self._check_place()
        self.last_number = number
        for workspace, size in sizes.items():
            self._hold(workspace, counts[workspace], size)
        self._give_back()
        return added, no_room

    def _hold(self, workspace: str, count: int, size: int) -> None:
        before = self.holdings.get(workspace, Holding(0, 0))
        after = Holding(before.records + count, before.bytes + size)
        self.waiting += count
        self.bytes += size
        if after.records > 0:
            self.holdings[workspace] = after
        else:
            self.holdings.pop(workspace, None)

    def _give_back(self) -> None:
        """Once the file is empty, give the system back the room that it took."""
        self._most = max(self._most, self.bytes)
        if not self.waiting and self._most > _WORTH_GIVING_BACK:
            self._most = 0
            with suppress(sqlite3.Error):  # somebody looks into it: another time
                # Not execute(), which takes one step of it: a page.
                self._db.executescript("PRAGMA incremental_vacuum")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def read(
        self, count: int, max_bytes: float, *, workspace: str | None = None, after: int = 0, skip: Collection[int] = ()
    ) -> list[Record]:
        """The first records with a greater number: at most so many, of at most so many bytes, but one if there is one.

        Args:
            count: How many.
            max_bytes: How many bytes.
            workspace: Whose; ``None`` for anybody's.
            after: The number.
            skip: Numbers to leave out.

        Raises:
            MovedError: The file is no more where it was.
            sqlite3.Error: The file cannot be read.
        """
        self._check_place()
        records: list[Record] = []
        total = 0
        with closing(self._rows(workspace, after, newest=False)) as rows:
            for record in rows:
                if record.row in skip:
                    continue
                total += len(record.wire)
                if len(records) >= count or (records and total > max_bytes):
                    break
                records.append(record)
        return records

    def victims(
        self, workspace: str, row_bytes: int, *, newest: bool, after: int = 0, skip: Collection[int] = ()
    ) -> list[Record]:
        """The oldest or the newest of a workspace's with a greater number, as many as it takes to free so many bytes, or all.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        records: list[Record] = []
        with closing(self._rows(workspace, after, newest=newest)) as rows:
            for record in rows:
                if record.row in skip:
                    continue
                records.append(record)
                row_bytes -= row_size(record)
                if row_bytes <= 0:
                    break
        return records

    def _rows(self, workspace: str | None, after: int, *, newest: bool) -> Generator[Record, None, None]:
        now = time.monotonic()
        where, values = ("", [after]) if workspace is None else ("workspace = ? AND", [_storable(workspace), after])
        order = "DESC" if newest else "ASC"
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM records WHERE {where} number > ? ORDER BY number {order}",  # noqa: S608 -- words of ours
            values,
        )
        try:
            for number, submitted, owner, name, body in rows:
                order_of_submission = submitted if number > self._earlier else 0
                yield Record(order_of_submission, None, len(body), now, body, name, workspace=owner, row=number)
        finally:
            rows.close()

    def dead_rows(self) -> list[DeadRow]:
        """What was given up, oldest first.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        return [
            DeadRow(*row) for row in self._db.execute("SELECT workspace, id, body, reason, died_at FROM dead ORDER BY number")
        ]

    def forget_dead(self) -> None:
        """Delete what was given up: somebody else keeps it now.

        Raises:
            sqlite3.Error: Nothing changed.
        """
        with self._transaction() as db:
            db.execute("DELETE FROM dead")

    def has_dead(self) -> bool:
        """Whether anything that was given up is kept; true where nobody can tell."""
        try:
            return bool(self._db.execute("SELECT count(*) FROM dead").fetchone()[0])
        except sqlite3.Error:
            return True

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise SpoolError(str(self.path), "belongs to the process that this one was forked from")
        with transaction(self._db) as db:
            yield db

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return _place(f"{self.path}"), _place(f"{self.path}-wal")

    def _check_place(self) -> None:
        if self._look() != self._places:
            raise MovedError

    def leave(self) -> None:
        """Close a file that is no more where it was.

        Its write-ahead log goes: where it has stayed, SQLite would take it for the log of the file that is there now.
        """
        is_ours = [now == then for now, then in zip(self._look(), self._places, strict=True)]
        self.close()
        if is_ours == [False, True]:
            for suffix in ("-wal", "-shm"):
                with suppress(OSError):
                    os.unlink(f"{self.path}{suffix}")

    def close(self) -> None:
        """Close it; the write-ahead log is folded in as far as the disk allows.  A forked process leaves it alone."""
        if os.getpid() == self._process:
            self._db.close()


def _place(path: str) -> tuple[int, int] | None:
    """Which file is there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _storable(text: str) -> str:
    """Text that SQLite takes; a workspace that is none has no record that could be encoded."""
    return text.encode("utf-8", "replace").decode()


class SpoolLock:
    """Keeps a second process off a spool; ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = _lock_path(path)
        while True:
            self._take(path)
            # Whoever has taken the spool away may have taken this file along after we opened it.
            if self.is_in_place():
                break
            os.close(self._descriptor)
        watch_forks(self)

    def _take(self, path: Path) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(str(path), f"cannot be opened: {os.strerror(error.errno or 0)}") from None
        with suppress(OSError):  # another user's
            os.fchmod(self._descriptor, 0o600)
        try:
            # Not a lock on the database itself: SQLite's own are dropped when any descriptor of the file is closed.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise SpoolInUseError(str(path), "is in use by another process or client") from None

    def is_in_place(self) -> bool:
        """Whether the locked file is the one that others would lock."""
        if self._descriptor < 0:
            return False
        found = os.fstat(self._descriptor)
        return _place(self._path) == (found.st_dev, found.st_ino)

    def release(self) -> None:
        """Let others have it; safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def after_fork(self) -> None:
        """Leave the lock to the parent: held here as well, it would outlive it."""
        self.release()


def set_aside(path: Path) -> None:
    """Rename a damaged file and what belongs to it."""
    aside = f"{path}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(f"{path}{suffix}"):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    logger.error("the spool %s is damaged; it was renamed to %s and a new one begun", path, aside)


def make_private(path: Path) -> None:
    """Make a file that its owner alone can read, whatever the umask; one that is there becomes so.

    SQLite gives what it keeps beside a database the permissions of the database.  A file that is there is not opened: to close it
    would take away the locks that this process has on it.

    Raises:
        OSError: It cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):  # somebody else's, whom we may write to
                os.chmod(f"{path}{suffix}", 0o600)
        return
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def connect(path: Path, destination: str | None) -> sqlite3.Connection:
    """Connect to a spool; make one for that destination where there is none, or, with ``None``, make none.

    Raises:
        SpoolError: It is no spool, or of another version; it is left as it is.
        sqlite3.Error: The disk is full, or fails, or what is there is damaged.
        OSError: The file cannot be made.
    """
    if destination is not None:
        make_private(path)
    # Handed between threads, used by one at a time.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        fresh = _check(db, path)
        if fresh and destination is not None:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written
        db.execute("PRAGMA journal_mode = WAL")
        # Safe against the death of the process; the last commits may go with the power.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if fresh and destination is not None:
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO about VALUES (?)", (destination,))
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is new; what is no spool is left alone."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION:
        raise SpoolError(str(path), "is a database, but no spool")
    if tables and version != _VERSION:
        raise SpoolError(str(path), f"was written by another version of trio_oplog (format {version})")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        damage = sqlite3.DatabaseError("quick_check failed")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage
    return not tables


def read_destination(db: sqlite3.Connection) -> str:
    """What the records of a spool are for."""
    found = db.execute("SELECT destination FROM about").fetchone()
    return found[0] if found is not None else ""


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Everything in the block, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # SQLite has rolled back by itself, as it does when the disk is full
            db.execute("ROLLBACK")
        raise


def _lock_path(path: Path) -> str:
    return f"{path}.lock"


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers: what is delivered together was mostly submitted together."""
    first = last = 0
    for number in sorted(numbers):
        if first and number <= last + 1:
            last = number
            continue
        if first:
            yield first, last
        first = last = number
    if first:
        yield first, last
