"""Frames over byte streams: one JSON text a line, as MCP and Codex speak on stdin and stdout."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal

import trio

from trio_oplog._errors import ConfigError
from trio_oplog.gateway._frames import ABNORMAL, MAX_FRAME, TOO_BIG, Closed, Frame, Line, LinePart, Lines
from trio_oplog.gateway._pipe import CHUNK, SendsNowait

# One look at the clock, the caches and the kernel for all of them, and no long hold of the loop.
_LINES_AT_ONCE: Final = 64
# Shorter pieces of a line are put together while they are held: each by itself would take several times its size.
_SMALL: Final = 4_096
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
        self._held: list[bytes | bytearray] = []  # the beginning of a line whose end has not come
        self._held_size = 0
        self._in_parts = False  # what comes next belongs to a line that is passed in pieces
        self._closed: Closed | None = None
        self._send_lock = trio.Lock()
        self._open_line = False  # what was sent last was a piece: nothing else may follow but the rest
        self._unterminated = False  # what was sent last had no newline
        self._write_nowait = outgoing.send_nowait if isinstance(outgoing, SendsNowait) else None
        self._left: tuple[Sequence[Frame], memoryview] | None = None  # by send_nowait, which keeps the lock for it

    async def receive(self) -> Frame | Closed:
        """See ``FrameStream.receive``."""
        while True:
            line = self._next_line()
            if line is not None:
                return line if isinstance(line, LinePart) else Line(line)
            if self._closed is not None:
                return self._closed
            await self._receive_chunk()

    async def receive_many(self) -> Sequence[Frame] | Closed:
        """See ``FrameBatches.receive_many``: the lines that one read has brought, 64 at most."""
        if self._start < len(self._chunk):
            # Else nobody had a turn while a chunk of very many lines is passed on: sending takes none where there is room.
            await trio.lowlevel.checkpoint()
        while True:
            lines = self._next_lines()
            if lines is not None:
                return lines
            if self._closed is not None:
                return self._closed
            await self._receive_chunk()

    async def _receive_chunk(self) -> None:
        try:
            self._chunk = bytes(await self._incoming.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._closed = Closed(ABNORMAL)
        else:
            if not self._chunk:
                self._closed = Closed(half=True)
        self._start = 0

    def _next_lines(self) -> Sequence[Frame] | None:
        """Take the next line, with those that are whole in the chunk."""
        if not self._held and not self._in_parts and len(self._chunk) <= self._max_frame:
            # No line began before the chunk, and none in it can be too long.
            data = self._chunk[self._start :]
            texts = data.split(b"\n", _LINES_AT_ONCE)
            rest = texts.pop()
            if texts:
                self._start = len(self._chunk) - len(rest)
                if rest:
                    data = data[: -len(rest)]
                return Lines([data] if len(texts) == 1 else [text + b"\n" for text in texts], data)
        line = self._next_line()
        if isinstance(line, LinePart):
            return (line,)
        return None if line is None else Lines([line], line)

    def _next_line(self) -> bytes | None:
        """Take one line, or a part of one; without one, hold what is left of the chunk."""
        start = self._start
        end = self._chunk.find(b"\n", start) + 1
        if not end:
            rest = self._chunk[start:]
            self._chunk, self._start = b"", 0
            return self._hold(rest)
        self._start = end
        last = self._chunk[start:end]
        if self._in_parts:
            self._in_parts = False
            return LinePart(last)
        if self._held_size + len(last) > self._max_frame:
            return self._refuse(last)
        return self._release(last)

    def _hold(self, piece: bytes) -> bytes | None:
        if not piece:
            return self._release() if self._held and self._closed is not None else None
        if self._in_parts:
            return LinePart(piece)
        if self._held_size + len(piece) > self._max_frame:
            self._in_parts = self._pass_oversized
            return self._refuse(piece)
        self._held_size += len(piece)
        if len(piece) >= _SMALL:
            self._held.append(piece)
        elif self._held and isinstance(self._held[-1], bytearray):
            self._held[-1] += piece
        else:
            self._held.append(bytearray(piece))
        return None

    def _refuse(self, piece: bytes) -> LinePart | None:
        """A line has grown over the limit: pass it on from here in parts, or end the input."""
        if self._pass_oversized:
            return LinePart(self._release(piece))
        self._release()
        self._chunk, self._start = b"", 0
        self._closed = Closed(TOO_BIG, "line too long")
        return None

    def _release(self, *last: bytes) -> bytes:
        whole = b"".join((*self._held, *last))
        self._held.clear()
        self._held_size = 0
        return whole

    async def send(self, frame: Frame) -> None:
        """See ``FrameStream.send``."""
        if not (self._open_line and isinstance(frame, LinePart)):
            await self._lock()
        # The lock is kept from piece to piece, so that nothing else gets into the line.
        await self._write(self._terminated(frame), keeps_line=isinstance(frame, LinePart))

    def send_nowait(self, frames: Sequence[Frame], /) -> bool:
        """See ``FrameBatches.send_nowait``.  Takes nothing at once when its stream has no ``send_nowait``."""
        if self._write_nowait is None or self._send_lock.locked() or _has_parts(frames):
            return False
        data = self._joined(frames)
        try:
            sent = self._write_nowait(data)
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError from error
        if sent == len(data):
            return True
        self._send_lock.acquire_nowait()
        self._left = frames, memoryview(data)[sent:]
        return False

    async def send_many(self, frames: Sequence[Frame], /) -> None:
        """See ``FrameBatches.send_many``."""
        if self._left is not None and self._left[0] is frames:
            rest, self._left = self._left[1], None
            await self._write(rest)
        elif _has_parts(frames):
            for frame in frames:
                await self.send(frame)
        else:
            await self._lock()
            await self._write(self._joined(frames))

    async def _lock(self) -> None:
        try:
            self._send_lock.acquire_nowait()  # acquire() would cost a turn of the scheduler, and sending takes one anyway
        except trio.WouldBlock:
            await self._send_lock.acquire()

    def _joined(self, frames: Sequence[Frame]) -> bytes:
        if isinstance(frames, Lines) and not self._unterminated:
            return frames.data
        return b"".join([self._terminated(frame) for frame in frames])

    def _terminated(self, frame: Frame) -> bytes:
        """A frame as it is to be written after what was written last."""
        data = _encoded(frame)
        if self._unterminated and not (self._open_line and isinstance(frame, LinePart)):
            data = b"\n" + data
        self._unterminated = not data.endswith(b"\n")
        return data

    async def _write(self, data: bytes | memoryview, *, keeps_line: bool = False) -> None:
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


def _has_parts(frames: Sequence[Frame]) -> bool:
    return not isinstance(frames, Lines) and any(isinstance(frame, LinePart) for frame in frames)


def _encoded(frame: Frame) -> bytes:
    if isinstance(frame, Line):
        return frame
    data = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    if b"\n" in data or b"\r" in data:
        data = data.translate(_NEWLINES_TO_BLANKS)
    return data + b"\n"
