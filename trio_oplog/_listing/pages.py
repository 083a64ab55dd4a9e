"""What comes of reading: pages of a list, and records in the order of their arrival."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from attrs import frozen

DOCUMENT_BEGIN: Final = b'{"operations":['
"""What comes before the records in a document.  They stand in it as they were stored, with commas in between: nothing is read
again, and arguments stay the text that they are."""


@frozen
class Page:
    """A page of a list, the newest first.

    Attributes:
        bodies: The exact bytes of each record.
        next: The ``cursor`` of the next page; ``None`` where there is none.
        searched_to: Where a search with ``q`` stopped for want of time: what began before that was not looked at, and is looked
            at by the next page.  ``None`` where the page is full, or everything was looked at.
    """

    bodies: list[bytes]
    next: str | None
    searched_to: datetime | None = None

    def document(self) -> bytes:
        """The page as an endpoint answers with it."""
        return DOCUMENT_BEGIN + b",".join(self.bodies) + self.document_end()

    def document_end(self) -> bytes:
        """What comes after the records in it."""
        return _document_end({"next": self.next, "searched_to": self.searched_to})


@frozen
class Slowest:
    """The records that took longest, the slowest first.

    Attributes:
        bodies: The exact bytes of each record.
        is_whole: Whether everything was looked at.  Else the time was over before: there may be slower ones.
    """

    bodies: list[bytes]
    is_whole: bool = True

    def document(self) -> bytes:
        """The same as an endpoint answers with it."""
        return DOCUMENT_BEGIN + b",".join(self.bodies) + self.document_end()

    def document_end(self) -> bytes:
        """What comes after the records in it."""
        return _document_end({"incomplete": not self.is_whole})


@frozen
class Arrivals:
    """Records that arrived after a point, the first to arrive first.

    Attributes:
        records: The cursor of each, and its exact bytes.
        next: What to ask for next time as ``after``.
    """

    records: list[tuple[str, bytes]]
    next: str


def _document_end(more: Mapping[str, str | datetime | bool | None]) -> bytes:
    members = (b',"%b":%b' % (name.encode(), msgspec.json.encode(value)) for name, value in more.items() if value)
    return b"]" + b"".join(members) + b"}"
