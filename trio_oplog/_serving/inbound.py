"""What a client sends, read ahead within a bound."""

from __future__ import annotations

from typing import Final

import trio

READ_SIZE: Final = 64 * 1024
READ_AHEAD: Final = 64 * 1024


class Inbound:
    """The bytes that arrive on a stream.

    One task runs ``run()``, which reads although nobody asks: only so is it seen at once that the client has left.  It stops
    reading while ``READ_AHEAD`` bytes or more wait to be taken, and so the client has to stop sending.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self.has_ended = False
        """Whether the client has left or said that it sends nothing more.  What it sent before may still wait to be taken."""

    async def run(self) -> None:
        """Read until the client sends no more."""
        try:
            while data := await self._stream.receive_some(READ_SIZE):
                self._buffer += data
                self._changed.unpark_all()
                while len(self._buffer) >= READ_AHEAD:
                    await self._changed.park()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the same to whoever takes
        finally:
            self.has_ended = True
            self._changed.unpark_all()

    async def take(self) -> bytes:
        """All that has arrived, once there is something; empty at the end.  For one task at a time.

        Bytes that are there already are returned even to a task that is being cancelled: they may be a request.
        """
        if self._buffer or self.has_ended:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while not self._buffer and not self.has_ended:
            await self._changed.park()
        data = bytes(self._buffer)
        self._buffer.clear()
        self._changed.unpark_all()  # the reader may wait for room
        return data
