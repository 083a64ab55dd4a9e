"""Where a page of a list ends, so that the next one begins there."""

from __future__ import annotations

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple, Self

from trio_oplog._errors import QueryError
from trio_oplog._listing import ListQuery

# A version of its own, so that a later one can mean something else.
_FORM: Final = struct.Struct(">Bqq")
_VERSION: Final = 1


class Position(NamedTuple):
    """The place of a record in the order of lists: by time, and of the same time by arrival."""

    started_at: int
    seq: int

    def spell(self) -> str:
        """As a cursor."""
        return urlsafe_b64encode(_FORM.pack(_VERSION, *self)).decode().rstrip("=")

    @classmethod
    def read(cls, cursor: str) -> Self:
        """The position that a cursor spells.

        Raises:
            QueryError: It spells none; names ``cursor``.
        """
        try:
            version, started_at, seq = _FORM.unpack(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        except (UnicodeEncodeError, binascii.Error, struct.error):
            version = None
        if version != _VERSION:
            raise QueryError("cursor", "is not the next of a list")
        return cls(started_at, seq)


def read_cursor(query: ListQuery) -> Position | None:
    """The position after which a query's page begins; ``None`` for the first page.

    Raises:
        QueryError: The cursor is none.
    """
    return None if query.cursor is None else Position.read(query.cursor)
