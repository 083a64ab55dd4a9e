"""Frames over byte streams: one JSON text a line, as MCP and Codex speak on stdin and stdout."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal

import trio

from trio_oplog._errors import ConfigError
from trio_oplog.gateway._frames import ABNORMAL, MAX_FRAME, TOO_BIG, Closed, Frame, Line, LinePart

_CHUNK: Final = 65_536
_NEWLINES_TO_BLANKS: Final = bytes.maketrans(b"\n\r", b"  ")


class LineFrames:
    r"""A ``FrameStream`` over a pair of byte streams.

    A line ends with ``\n`` and with nothing else: a carriage return before it belongs to the line, and so does U+2028.
    What is received is a ``Line``: the exact bytes, the newline among them; the last line of an input may lack it.

    A ``Line`` is sent as it is.  Other frames (from a WebSocket) get their newline here.  One with line breaks inside, which
    in JSON are only ever blanks between two tokens, is sent with spaces in their place: it would fall apart otherwise.

    Args:
        incoming: Where frames come from.
        outgoing: Where frames go to.  May be the same stream, such as a socket.
        max_frame: Longest line that is held in memory, in bytes with its newline; at least 1.
        oversized: What becomes of a longer one.  ``"close"`` ends the input with code 1009, as a WebSocket would.
            ``"pass"`` hands it over in pieces, each a ``LinePart``.

    Raises:
        ConfigError: A value is wrong; nothing was made.

    Source: newline-delimited JSON; the stdio transport of MCP.
    """

    def __init__(
        self,
        incoming: trio.abc.ReceiveStream,
        outgoing: trio.abc.SendStream,
        *,
        max_frame: int = MAX_FRAME,
        oversized: Literal["close", "pass"] = "close",
    ) -> None:
        if max_frame < 1:
            raise ConfigError("max_frame", "must be at least 1")
        self._incoming = incoming
        self._outgoing = outgoing
        self._max_frame = max_frame
        self._pass_oversized = oversized == "pass"
        self._chunk = b""
        self._start = 0
        self._held = bytearray()  # the beginning of a line whose end has not come
        self._in_parts = False  # what comes next belongs to a line that is passed in pieces
        self._closed: Closed | None = None
        self._send_lock = trio.Lock()
        self._open_line = False  # what was sent last was a piece: nothing else may follow but the rest
        self._unterminated = False  # what was sent last had no newline

    async def receive(self) -> Frame | Closed:
        """See ``FrameStream.receive``."""
        while True:
            line = self._next_line()
            if line is not None:
                return line
            if self._closed is not None:
                return self._closed
            try:
                self._chunk = bytes(await self._incoming.receive_some(_CHUNK))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._closed = Closed(ABNORMAL)
            else:
                if not self._chunk:
                    self._closed = Closed(half=True)
            self._start = 0

    def receive_nowait(self) -> Frame | None:
        """See ``FrameBatches.receive_nowait``: the lines that one read has brought."""
        return self._next_line()

    def _next_line(self) -> Line | None:
        """Take one line out of the chunk; without one, move what is left of the chunk to the held bytes."""
        start = self._start
        newline = self._chunk.find(b"\n", start)
        if newline < 0:
            return self._hold(start)
        self._start = newline + 1
        piece = self._chunk[start : self._start]
        if self._in_parts:
            self._in_parts = False
            return LinePart(piece)
        if len(self._held) + len(piece) > self._max_frame:
            return self._refuse(piece)
        if not self._held:
            return Line(piece)
        self._held += piece
        return self._release(Line)

    def _hold(self, start: int) -> Line | None:
        rest = self._chunk[start:]
        self._chunk, self._start = b"", 0
        if rest:
            if self._in_parts:
                return LinePart(rest)
            if len(self._held) + len(rest) > self._max_frame:
                self._in_parts = self._pass_oversized
                return self._refuse(rest)
            self._held += rest
        elif self._held and self._closed is not None:
            return self._release(Line)
        return None

    def _refuse(self, piece: bytes) -> Line | None:
        """A line has grown over the limit: pass it on from here in pieces, or end the input."""
        if self._pass_oversized:
            self._held += piece
            return self._release(LinePart)
        self._held = bytearray()
        self._chunk, self._start = b"", 0
        self._closed = Closed(TOO_BIG, "line too long")
        return None

    def _release(self, kind: type[Line]) -> Line:
        held, self._held = self._held, bytearray()
        return kind(held)

    async def send(self, frame: Frame) -> None:
        """See ``FrameStream.send``."""
        if not (self._open_line and isinstance(frame, LinePart)):
            await self._lock()
        # The lock is kept from piece to piece, so that nothing else gets into the line.
        await self._write(self._terminated(frame), keeps_line=isinstance(frame, LinePart))

    async def send_many(self, frames: Sequence[Frame], /) -> None:
        """See ``FrameBatches.send_many``."""
        if any(isinstance(frame, LinePart) for frame in frames):
            for frame in frames:
                await self.send(frame)
            return
        await self._lock()
        await self._write(b"".join([self._terminated(frame) for frame in frames]))

    async def _lock(self) -> None:
        try:
            self._send_lock.acquire_nowait()  # acquire() would cost a turn of the scheduler, and sending takes one anyway
        except trio.WouldBlock:
            await self._send_lock.acquire()

    def _terminated(self, frame: Frame) -> bytes:
        """A frame as it is to be written after what was written last."""
        data = _encoded(frame)
        if self._unterminated and not (self._open_line and isinstance(frame, LinePart)):
            data = b"\n" + data
        self._unterminated = not data.endswith(b"\n")
        return data

    async def _write(self, data: bytes, *, keeps_line: bool = False) -> None:
        self._open_line = False
        try:
            await self._outgoing.send_all(data)
            self._open_line = self._unterminated and keeps_line
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError from error
        finally:
            if not self._open_line:
                self._send_lock.release()

    async def send_closed(self, closed: Closed) -> None:  # noqa: ARG002 - the interface's
        """See ``FrameStream.send_closed``: a byte stream can only end; the code and the reason are lost."""
        if not isinstance(self._outgoing, trio.abc.HalfCloseableStream):
            await self._outgoing.aclose()
            return
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # then it has ended already
            await self._outgoing.send_eof()

    async def aclose(self) -> None:
        """See ``FrameStream.aclose``."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._outgoing)
            await trio.aclose_forcefully(self._incoming)


def _encoded(frame: Frame) -> bytes:
    if isinstance(frame, Line):
        return frame
    data = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    if b"\n" in data or b"\r" in data:
        data = data.translate(_NEWLINES_TO_BLANKS)
    return data + b"\n"
