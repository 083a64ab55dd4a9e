"""What is sent to a client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import trio

from trio_oplog._serving.limits import Counters

PIECE: Final = 64 * 1024


class ClientDisconnectedError(OSError):
    """The client has left, or was cut off because it did not take what was sent.  Sending more raises this again."""


class Outbound:
    """The bytes that go to a client.  Nothing follows what was not sent whole."""

    def __init__(self, stream: trio.abc.SendStream, send_timeout: float, counters: Counters) -> None:
        self._stream = stream
        self._send_timeout = send_timeout
        self._counters = counters
        self._lock = trio.Lock()
        self.is_usable = True
        """Whether everything so far was sent whole; else nothing more can be sent."""

    async def send(self, parts: Sequence[bytes]) -> None:
        """Send all parts, one after the other.

        Raises:
            ClientDisconnectedError: The client has left, or did not take them in time.
        """
        # The uncontended lock costs no turn of the scheduler this way; sending is a checkpoint anyway.
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            if not self.is_usable:
                raise ClientDisconnectedError
            self.is_usable = False  # a task that is cancelled now leaves half a message
            for piece in _pieces(parts):
                with trio.move_on_after(self._send_timeout) as scope:
                    try:
                        await self._stream.send_all(piece)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        raise ClientDisconnectedError from None
                if scope.cancelled_caught:
                    self._counters.timeouts += 1
                    raise ClientDisconnectedError
            self.is_usable = True
        finally:
            self._lock.release()


def _pieces(parts: Sequence[bytes]) -> Iterable[bytes | memoryview]:
    """One piece where that is short; else pieces of the parts, which are not copied."""
    if sum(map(len, parts)) <= PIECE:
        yield b"".join(parts)
        return
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]
