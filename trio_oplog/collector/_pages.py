"""Pages of a list: so many records, and where the next ones begin.

A page that is sent holds ``STREAMED_MAX_BYTES`` of its records at most.  Of the others it knows where they are, and they are read
again, some at a time, when their client has taken those before: so a client that is slow keeps no long answer in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, func, select

from trio_oplog._listing import ListQuery, Page, Slowest
from trio_oplog.collector._positions import Position
from trio_oplog.collector._queries import read_number, scan
from trio_oplog.collector._schema import operations

REPLY_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes of records that one page holds, 64 MiB: what a ListClient takes.  A single record is never too large."""

STREAMED_MAX_BYTES: Final = 1024 * 1024
"""What of an answer is read before it is sent, 1 MiB or one record: each client that is slow to take it keeps that in memory."""

SCANNED_AT_ONCE: Final = 10_000
"""How many records a search reads before it looks at the clock."""

_PLACES_AT_ONCE: Final = 100

Place: TypeAlias = tuple[int, int]
"""Where a record is: when it began and its number.  A ``Position``, but plain, since there may be many."""

Answer = TypeVar("Answer", Page, Slowest)


@frozen
class Begun(Generic[Answer]):
    """An answer of which the beginning was read.

    Attributes:
        answer: The beginning, and what is said of the whole.
        rest: Where the records are that come after it, in order.  Nowhere if it has none.
    """

    answer: Answer
    rest: list[Place]

    @property
    def count(self) -> int:
        """How many records the whole has."""
        return len(self.answer.bodies) + len(self.rest)


@frozen
class Chunk:
    """A part of a page, as far as one look at the database brings it.

    Attributes:
        found: The bytes of what fits.
        rest: Where that is which fits as well, and of which the bytes were not kept.
        size: How many bytes the page has so far.
        last: The last record that was looked at, where one was.
        is_end: Whether that was the last one there is.
        is_cut: Whether there is more that fits in number, but not in size.
    """

    found: list[bytes]
    rest: list[Place]
    size: int
    last: Position | None
    is_end: bool
    is_cut: bool = False


def read_chunk(
    connection: Connection,
    query: ListQuery,
    before: Position | None,
    *,
    wanted: int,
    most: int,
    kept: int,
    held: int = 0,
    fits: Callable[[bytes], bool] | None = None,
    view: Callable[[bytes], bytes] | None = None,
) -> Chunk:
    """Read records until there are enough, or no more, or a search has read ``SCANNED_AT_ONCE`` of them.

    Args:
        connection: What to read from.
        query: What is asked for.
        before: Only those after this one in the order of the list.
        wanted: How many are enough.
        most: How many bytes of records the page may have; the first record is never too large.
        kept: How many of them are kept.
        held: How many it has already.
        fits: Whether a record is one of those searched for; ``None`` where everything is.
        view: What the reader sees of a record; ``None`` for all of it.
    """
    found: list[bytes] = []
    rest: list[Place] = []
    size = held
    last: tuple[int, int] | None = before
    need = wanted + 1 if fits is None else SCANNED_AT_ONCE
    for looked_at, (started_at, seq, body) in enumerate(scan(connection, query, before, need)):
        if len(found) + len(rest) == wanted or (fits is not None and looked_at == SCANNED_AT_ONCE):
            return Chunk(found, rest, size, _position(last), is_end=False)
        if fits is None or fits(body):
            shown = body if view is None else view(body)
            if size and size + len(shown) > most:
                return Chunk(found, rest, size, _position(last), is_end=False, is_cut=True)
            if size and size + len(shown) > kept:
                rest.append((started_at, seq))
            else:
                found.append(shown)
            size += len(shown)
        last = (started_at, seq)
    return Chunk(found, rest, size, _position(last), is_end=True)


def read_places(
    connection: Connection, workspace_id: str, places: list[Place], *, view: Callable[[bytes], bytes] | None
) -> tuple[list[bytes], list[Place]]:
    """Read the first of some records: ``STREAMED_MAX_BYTES``, or one.

    Args:
        connection: What to read from.
        workspace_id: Whose they are.
        places: Where they are, in the order in which they are wanted.
        view: What the reader sees of a record; ``None`` for all of it.

    Returns:
        What was read, without what was pruned meanwhile, and the places that are left.
    """
    columns = operations.c
    first = places[:_PLACES_AT_ONCE]
    number = read_number(connection, workspace_id)

    def there(places: Sequence[Place]) -> list[ColumnElement[bool]]:
        times, numbers = zip(*places, strict=True)
        return [columns.workspace == number, columns.started_at.in_(times), columns.seq.in_(numbers)]

    # No database reads the bytes of a record to say how many they are.
    measured = connection.execute(select(columns.seq, func.length(columns.body)).where(*there(first)))
    sizes = {seq: int(length) for seq, length in measured}
    count = size = 0
    for _, seq in first:
        size += sizes.get(seq, 0)
        if count and size > STREAMED_MAX_BYTES:
            break
        count += 1
    read = connection.execute(select(columns.seq, columns.body).where(*there(first[:count])))
    shown = {seq: body if view is None else view(body) for seq, body in read}
    return [shown[seq] for _, seq in first[:count] if seq in shown], places[count:]


def measure_places(connection: Connection, workspace_id: str, places: Sequence[Place]) -> int:
    """How many bytes some records have together."""
    columns = operations.c
    mine = (columns.workspace == read_number(connection, workspace_id), columns.started_at.in_([time for time, _ in places]))
    statement = select(func.sum(func.length(columns.body))).where(*mine, columns.seq.in_([seq for _, seq in places]))
    return int(connection.scalar(statement) or 0)


def _position(place: tuple[int, int] | None) -> Position | None:
    return None if place is None else Position(*place)
