"""What comes of reading: pages of a list, and records in the order of their arrival."""

from __future__ import annotations

from datetime import datetime

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


@frozen
class Slowest:
    """The records that took longest, the slowest first.

    Attributes:
        bodies: The exact bytes of each record.
        is_whole: Whether everything was looked at.  Else the time was over before: there may be slower ones.
    """

    bodies: list[bytes]
    is_whole: bool = True


@frozen
class Arrivals:
    """Records that arrived after a point, the first to arrive first.

    Attributes:
        records: The cursor of each, and its exact bytes.
        next: What to ask for next time as ``after``.
    """

    records: list[tuple[str, bytes]]
    next: str
