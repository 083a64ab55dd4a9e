"""PostgreSQL: one partition for each UTC day of ``started_at``, made ahead and on demand."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from trio_oplog.collector._cells import DAY
from trio_oplog.collector._rows import MICROSECONDS
from trio_oplog.collector._schema import DEFAULT_PARTITION, PARTITION

AHEAD: Final = 2
"""How many days after today have their partition before anybody needs it."""

# A record of any date is taken.  But whoever sends one for every day of the calendar gets no partition for each, since every
# query without a time locks all of them: those outside of this window, in days from today, share the default partition.
_OLDEST: Final = 400
_NEWEST: Final = 7
# Nor may one batch have so many made that all others wait for it.  What is left of its days goes into the default partition.
_AT_ONCE: Final = 8

_EXISTING: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'operations'::regclass"
)
_FORBIDDEN: Final = "42501"
_IN_DEFAULT: Final = "23514"

_log = logging.getLogger("trio_oplog.collector")


class Partitions:
    """The days that have a partition, as far as this process knows.

    A day without one, because the permission is missing, because too many were asked for at once, or because the default
    partition has records of it already, is kept in the default partition: found like the others, and pruned record by record.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._impossible: set[int] = set()

    def forget(self) -> None:
        """Look again: the database may be another one."""
        self._known.clear()
        self._impossible.clear()

    def missing(self, days: Iterable[int]) -> set[int]:
        """Those of the days, and of the next ones from today, that should have a partition and may have none.

        Args:
            days: Seconds since 1970 of the beginnings.

        Returns:
            Today and the next days, where they are missing, and of the others the newest 8 at most.
        """
        today = int(datetime.now(UTC).timestamp()) // DAY * DAY
        ahead = {today + number * DAY for number in range(AHEAD + 1)}
        wanted = {day for day in days if today - _OLDEST * DAY <= day <= today + _NEWEST * DAY}
        missing = wanted - ahead - self._known - self._impossible
        return (ahead - self._known - self._impossible).union(sorted(missing, reverse=True)[:_AT_ONCE])

    def make(self, connection: Connection, days: Iterable[int]) -> None:
        """Make the partitions of these days.

        Args:
            connection: In a transaction that keeps others from doing the same; the caller commits it.
            days: From ``missing``.
        """
        existing = set(connection.scalars(_EXISTING))
        for day in sorted(days):
            name = partition_of(day)
            if name in existing or self._try_to_make(connection, name, day):
                self._known.add(day)
            else:
                self._impossible.add(day)

    def _try_to_make(self, connection: Connection, name: str, day: int) -> bool:
        bounds = f"FROM ({day * MICROSECONDS}) TO ({(day + DAY) * MICROSECONDS})"
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"CREATE TABLE {name} PARTITION OF operations FOR VALUES {bounds}")
        except DBAPIError as error:
            code = getattr(error.orig, "sqlstate", None)
            if code not in (_FORBIDDEN, _IN_DEFAULT):
                raise
            if code == _FORBIDDEN:
                _log.warning(
                    "PostgreSQL lets us make no partition %s (42501): its records go into %s, which is pruned slowly; make the "
                    "user of the store's URL the owner of the table operations, with CREATE on its schema",
                    name,
                    DEFAULT_PARTITION,
                )
            return False
        return True


def partition_of(day: int) -> str:
    """The name of a day's partition."""
    return f"{PARTITION}{datetime.fromtimestamp(day, UTC):%Y%m%d}"


def day_of_partition(name: str) -> int | None:
    """The day of a partition, by its name; ``None`` for one that is no day's."""
    try:
        found = datetime.strptime(name.removeprefix(PARTITION), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(found.timestamp())


def partitions(connection: Connection) -> dict[int, str]:
    """The days that have a partition, and its name."""
    names = connection.scalars(_EXISTING)
    return {day: name for name in names if (day := day_of_partition(name)) is not None}
