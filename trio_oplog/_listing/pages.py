"""What comes of reading: pages of a list, and records in the order of their arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from attrs import frozen


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
        return _document(self.bodies, {"next": self.next, "searched_to": self.searched_to})


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
        return _document(self.bodies, {"incomplete": not self.is_whole})


@frozen
class Arrivals:
    """Records that arrived after a point, the first to arrive first.

    Attributes:
        records: The cursor of each, and its exact bytes.
        next: What to ask for next time as ``after``.
    """

    records: list[tuple[str, bytes]]
    next: str


def _document(bodies: Sequence[bytes], more: Mapping[str, str | datetime | bool | None]) -> bytes:
    # As they were stored: nothing is read again, and arguments stay the text that they are.
    tail = b"".join(b',"%b":%b' % (name.encode(), msgspec.json.encode(value)) for name, value in more.items() if value)
    return b'{"operations":[' + b",".join(bodies) + b"]" + tail + b"}"
