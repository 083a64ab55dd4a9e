"""Frames over WebSocket connections of ``websockets.trio``."""

from __future__ import annotations

import logging
from typing import Final

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import ClientConnection
from websockets.trio.connection import Connection
from websockets.trio.server import ServerConnection

from trio_oplog._recording import is_utf8
from trio_oplog.gateway._frames import ABNORMAL, Closed, Frame, Line

# websockets writes whole frames to its log at the level DEBUG.  Payloads have no place in a log: its connections get this
# logger, whose level stays above that whatever the application sets for its own.
WEBSOCKETS_LOG: Final = logging.getLogger("trio_oplog.gateway.websockets")
WEBSOCKETS_LOG.setLevel(logging.WARNING)


# Control frames that wait to be sent; with more of them the reader waits, too, lest they pile up.
_REPLIES_MAX: Final = 64


class _ReadsWhileSending(Connection):
    """A connection that goes on reading while a message of its own is not taken.

    The reader of ``websockets.trio`` sends its replies itself (to a ping, to a close frame), and on the way whatever else
    waits to be sent.  While the other end takes nothing it is not read either, and when that is what it waits for, both wait
    for ever.  Here the reader leaves the sending to another task.
    """

    _reader: trio.lowlevel.Task | None = None
    _replying = False

    async def recv_events(self) -> None:
        self._reader = trio.lowlevel.current_task()
        await super().recv_events()

    async def send_data(self) -> None:
        waiting = len(self.protocol.writes)
        if trio.lowlevel.current_task() is not self._reader or waiting >= _REPLIES_MAX:
            await super().send_data()
        elif waiting and not self._replying:
            self._replying = True
            self.nursery.start_soon(self._reply)

    async def _reply(self) -> None:
        try:
            while self.protocol.writes:
                await super().send_data()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.set_connection_exc(error)  # the reader will notice for itself
        finally:
            self._replying = False


class GatewayClientConnection(_ReadsWhileSending, ClientConnection):
    """For ``create_connection`` of ``websockets.trio.client.connect``: goes on reading while it cannot send.

    Without it a bridge can come to a stop for ever when both sides send more than the network takes, as they can on a
    connection of their own.
    """


class GatewayServerConnection(_ReadsWhileSending, ServerConnection):
    """For ``create_connection`` of ``websockets.trio.server.serve``: see ``GatewayClientConnection``."""


class WebSocketFrames:
    """A ``FrameStream`` over one WebSocket connection.

    A text message is ``str``, a binary one ``bytes``; what came in fragments is one frame.  Pings are answered by
    ``websockets``.  A message over its ``max_size`` closes the connection with 1009, text that is no UTF-8 with 1007.

    A ``Line`` is sent as a text message without its newline, as a binary one when it is no UTF-8; a blank one is no message
    and is left out.

    Args:
        connection: A client's or a server's connection, open; better a ``GatewayClientConnection`` or
            ``GatewayServerConnection``.  Whoever opened it closes it; ``aclose`` cuts it off.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(self) -> Frame | Closed:
        """See ``FrameStream.receive``."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            return _how_closed(error)

    async def send(self, frame: Frame) -> None:
        """See ``FrameStream.send``."""
        try:
            if isinstance(frame, Line):
                await self._send_line(frame)
            else:
                await self._connection.send(frame)
        except ConnectionClosed as error:
            raise trio.BrokenResourceError from error

    async def _send_line(self, line: Line) -> None:
        text = memoryview(line)[:-1] if line.endswith(b"\n") else memoryview(line)
        if line.isspace() or not line:
            return
        await self._connection.send(text, text=is_utf8(line))

    async def send_closed(self, closed: Closed) -> None:
        """See ``FrameStream.send_closed``.  Returns when the connection is closed, at the latest after its ``close_timeout``."""
        legal = closed.as_server()
        await self._connection.aclose(legal.code, legal.reason)

    async def aclose(self) -> None:
        """See ``FrameStream.aclose``.  Without a closing handshake: there may be half a frame on the wire."""
        connection = self._connection
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(connection.stream)
        # A reader that is held back because of a full queue does not notice that its connection is gone, and would keep
        # the connection's nursery open for ever.  No waiting for it here: a cancelled reader never says that it is done.
        if connection.recv_flow_control is not None:
            connection.recv_flow_control.set()


def _how_closed(error: ConnectionClosed) -> Closed:
    """Who closed first says why; with neither, the connection broke."""
    first, second = (error.rcvd, error.sent) if error.rcvd_then_sent is not False else (error.sent, error.rcvd)
    frame = first or second
    return Closed(frame.code, frame.reason) if frame is not None else Closed(ABNORMAL)
