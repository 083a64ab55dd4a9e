"""Frames over byte streams: one JSON text a line, as MCP and Codex speak on stdin and stdout."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio

from trio_oplog._errors import ConfigError
from trio_oplog._tap import Assembler, json_texts
from trio_oplog.gateway._frames import ABNORMAL, MAX_FRAME, TOO_BIG, Closed, Frame, Line

_CHUNK: Final = 65_536
_BREAKS_TO_BLANKS: Final = bytes.maketrans(b"\n\r", b"  ")


class LineFrames:
    r"""A ``FrameStream`` over a pair of byte streams.

    A line ends with ``\n`` and with nothing else: a carriage return before it belongs to the line, and so does U+2028.
    What is received is a ``Line``: the exact bytes, the newline among them; the last line of an input may lack it.

    A ``Line`` is sent as it is.  Other frames (from a WebSocket) are sent as a line client would have sent them: each JSON text
    in them on a line of its own, with spaces in place of the line breaks inside of it, which in JSON are only ever blanks
    between two tokens.

    Args:
        incoming: Where frames come from.
        outgoing: Where frames go to.  May be the same stream, such as a socket.
        max_frame: Longest line that is taken, in bytes with its newline; at least 1.  A longer one ends the input with code
            1009, as a WebSocket would.

    Raises:
        ConfigError: A value is wrong; nothing was made.

    Source: newline-delimited JSON; the stdio transport of MCP.
    """

    def __init__(self, incoming: trio.abc.ReceiveStream, outgoing: trio.abc.SendStream, *, max_frame: int = MAX_FRAME) -> None:
        if max_frame < 1:
            raise ConfigError("max_frame", "must be at least 1")
        self._incoming = incoming
        self._outgoing = outgoing
        self._messages = Assembler(max_frame, framing=False)
        self._received: list[Line] = []  # the next one last
        self._closed: Closed | None = None
        self._send_lock = trio.Lock()
        self._unterminated = False  # what was sent last had no newline

    async def receive(self) -> Frame | Closed:
        """See ``FrameStream.receive``."""
        if self._received:
            await trio.lowlevel.checkpoint()
        while not self._received:
            if self._closed is not None:
                return self._closed
            await self._receive_chunk()
        return self._received.pop()

    async def _receive_chunk(self) -> None:
        try:
            data = bytes(await self._incoming.receive_some(_CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._closed = Closed(ABNORMAL)
            return
        if not data:
            self._closed = Closed(half=True)
        for message in self._messages.feed(data) if data else self._messages.finish():
            if message.data is None:
                self._closed = Closed(TOO_BIG, "line too long")
                break
            self._received.append(Line(message.data))
        else:
            if self._messages.is_too_long:
                self._closed = Closed(TOO_BIG, "line too long")
        self._received.reverse()

    async def send(self, frame: Frame) -> None:
        """See ``FrameStream.send``."""
        data = _encoded(frame)
        async with self._send_lock:
            if self._unterminated and data:
                data = b"\n" + data
            try:
                await self._outgoing.send_all(data)
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error
            self._unterminated = not data.endswith(b"\n") if data else self._unterminated

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
    return b"".join(text.strip(b"\r\n").translate(_BREAKS_TO_BLANKS) + b"\n" for text in json_texts(data))
