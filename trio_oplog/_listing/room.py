"""Memory for answers that somebody waits for or does not take: so much for all of them together."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio
from attrs import field, frozen

COPIES: Final = 4
"""So often an answer may be in memory while it is made, received, checked and wrapped."""
COPIES_SENT: Final = 2
"""So often it is while it is sent: itself, and what the transport makes of it."""
RECORD_BYTES: Final = 72 * 1024
"""As long as a record is at most, with the usual limits of arguments and results."""


@frozen(eq=False)
class _Ticket:
    size: int
    called: trio.Event = field(factory=trio.Event)


class Room:
    """A number of bytes.  Who needs more of them than are free waits, in turn.

    Args:
        size: How many there are.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._waiting: deque[_Ticket] = deque()

    @property
    def held(self) -> int:
        """How many are taken."""
        return self.size - self._free

    async def take(self, size: int) -> None:
        """Take so many, at most ``size`` of the room.  Whoever is cancelled has taken nothing."""
        if self.take_nowait(size):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        ticket = _Ticket(size)
        self._waiting.append(ticket)
        try:
            await ticket.called.wait()
        except trio.Cancelled:
            if ticket.called.is_set():  # between the cancellation and now
                self._free += size
            else:
                self._waiting.remove(ticket)
            self._call()
            raise

    def take_nowait(self, size: int) -> bool:
        """Take so many, if they are free and nobody waits; whether they were."""
        if self._waiting or size > self._free:
            return False
        self._free -= size
        return True

    def give(self, size: int) -> None:
        """Give so many back."""
        self._free += size
        self._call()

    def _call(self) -> None:
        while self._waiting and self._waiting[0].size <= self._free:
            ticket = self._waiting.popleft()
            self._free -= ticket.size
            ticket.called.set()


class Holding:
    """What one answer takes of the room.

    Args:
        room: The room.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    async def begin(self, records: int) -> None:
        """Wait until there is room for so many records."""
        size = min(COPIES * RECORD_BYTES * records, self._room.size)
        await self._room.take(size)
        self._size = size

    def fits(self, size: int) -> bool:
        """Whether an answer that has grown to this many bytes has room."""
        more = COPIES * size - self._size
        if more > 0:
            if not self._room.take_nowait(more):
                return False
            self._size += more
        return True

    def shrink(self, size: int) -> None:
        """It has come, and is so long: until it is sent it takes less."""
        self._room.give(self._size - (kept := min(self._size, COPIES_SENT * size)))
        self._size = kept

    def end(self) -> None:
        """It is not in memory any more."""
        self._room.give(self._size)
        self._size = 0
