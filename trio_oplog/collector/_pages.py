"""Pages of a list: so many records, and where the next ones begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from trio_oplog._listing import ListQuery
from trio_oplog.collector._positions import Position
from trio_oplog.collector._queries import scan

REPLY_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes of records that one page holds, 64 MiB: what a ListClient takes.  A single record is never too large."""

STREAMED_MAX_BYTES: Final = 1024 * 1024
"""The same of what is sent as it is read, 1 MiB: each client that is slow to take it keeps that much in memory."""

SCANNED_AT_ONCE: Final = 10_000
"""How many records a search reads before it looks at the clock."""


@frozen
class Chunk:
    """A part of a page, as far as one look at the database brings it.

    Attributes:
        found: The bytes of what fits.
        last: The last record that was looked at, where one was.
        is_end: Whether that was the last one there is.
        is_cut: Whether there is more that fits in number, but not in size.
    """

    found: list[bytes]
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
        held: How many it has already.
        fits: Whether a record is one of those searched for; ``None`` where everything is.
        view: What the reader sees of a record; ``None`` for all of it.
    """
    found: list[bytes] = []
    size = held
    last: tuple[int, int] | None = before
    need = wanted + 1 if fits is None else SCANNED_AT_ONCE
    for looked_at, (started_at, seq, body) in enumerate(scan(connection, query, before, need)):
        if len(found) == wanted or (fits is not None and looked_at == SCANNED_AT_ONCE):
            return Chunk(found, _position(last), is_end=False)
        if fits is None or fits(body):
            shown = body if view is None else view(body)
            size += len(shown)
            if size > len(shown) and size > most:
                return Chunk(found, _position(last), is_end=False, is_cut=True)
            found.append(shown)
        last = (started_at, seq)
    return Chunk(found, _position(last), is_end=True)


def _position(place: tuple[int, int] | None) -> Position | None:
    return None if place is None else Position(*place)
