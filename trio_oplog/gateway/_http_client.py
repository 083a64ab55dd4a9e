"""The client's end of MCP over HTTP as a stream of frames: what is sent is POSTed, and what comes back is received."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import httpx
import trio

from trio_oplog._address import check_url
from trio_oplog._reach import Body, name_failure
from trio_oplog._recording import Budget, EventParser, Headers, Hold
from trio_oplog._trio import require_trio
from trio_oplog.gateway._frames import MAX_FRAME, Closed, Frame
from trio_oplog.gateway._http_connections import CONNECT_TIMEOUT, Connections, close_response, headers_for, tls_for
from trio_oplog.gateway._http_messages import INITIALIZED, Outgoing, make_error, read_error

RETRY_AFTER: Final = 1.0
"""How long to wait until a stream that ended is asked for again, in seconds, unless the server says how long."""
_RETRY_MAX: Final = 60.0
_RESUMED_MAX: Final = 10
# So long a message waits for the server to have taken the one before it.
_IN_TURN: Final = 10.0
_GOODBYE: Final = 2.0
_EVENTS: Final = "text/event-stream"
_MESSAGE: Final = (b"", b"message")


class HTTPFrames:
    """A ``FrameStream`` to a server that has an http URL, as ``open_http`` makes it.

    Each frame that is sent becomes a POST.  Answers, and what else the server says on the streams of events, are received.
    Sessions begin with the answer to ``initialize``; after it the stream of the server's own messages is asked for.  A stream
    that broke off is resumed, where that can be.  A request that gets no answer gets an error: one that was refused, one whose
    server cannot be reached, one whose session has ended.  From 2026-07-28 on to cancel a request is to close its stream.
    """

    def __init__(self, url: httpx.URL, connections: Connections, headers: Headers, nursery: trio.Nursery, max_frame: int) -> None:
        self._url = url
        self._connections = connections
        self._headers = list(headers)
        self._nursery = nursery
        self._max_frame = max_frame
        self._into_received, self._received = trio.open_memory_channel[bytes](0)
        self._session: bytes | None = None
        self._protocol: str | None = None
        self._listening = trio.CancelScope()
        self._is_listening = False
        self._open: dict[Outgoing, trio.CancelScope] = {}
        self._has_ended = False

    # The interface.

    async def receive(self) -> Frame | Closed:
        """See ``FrameStream.receive``."""
        try:
            return await self._received.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return Closed()

    async def send(self, frame: Frame) -> None:
        """See ``FrameStream.send``: returns when the server has a request, or has answered anything else."""
        body = (frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else bytes(frame)).strip()
        if not body or self._has_ended:
            await trio.lowlevel.checkpoint()
            return
        message = Outgoing(body)
        if message.cancels and self._cancel(message):
            await trio.lowlevel.checkpoint()
            return
        is_taken = trio.Event()
        self._open[message] = trio.CancelScope()
        self._nursery.start_soon(self._post, body, message, is_taken)
        with trio.move_on_after(_IN_TURN):
            await is_taken.wait()

    async def send_closed(self, closed: Closed) -> None:  # noqa: ARG002 - the interface's
        """See ``FrameStream.send_closed``: what is open may be answered."""
        self._has_ended = True
        self._end_if_idle()

    async def aclose(self) -> None:
        """See ``FrameStream.aclose``."""
        self._has_ended = True
        self._listening.cancel()
        for scope in self._open.values():
            scope.cancel()
        self._received.close()

    async def finish(self) -> None:
        """End the session at the server, if it takes that."""
        await self.aclose()
        if self._session is not None:
            with trio.move_on_after(_GOODBYE, shield=True):
                try:
                    await (await self._request("DELETE", b"", [])).aclose()
                except httpx.TransportError:
                    return  # then it ends by itself

    # Requests.

    def _cancel(self, message: Outgoing) -> bool:
        """Take back a request of a version without sessions; whether it was one."""
        for other, scope in self._open.items():
            if other.protocol is not None and message.cancels in other.waiting:
                scope.cancel()
                return True
        return False

    async def _request(self, method: str, body: bytes, headers: Headers, is_sent: trio.Event | None = None) -> httpx.Response:
        own = [(b"Host", self._url.netloc), (b"Accept-Encoding", b"identity"), *self._headers]
        if self._session is not None:
            own.append((b"Mcp-Session-Id", self._session))
        if self._protocol is not None and all(name != b"MCP-Protocol-Version" for name, _ in headers):
            own.append((b"MCP-Protocol-Version", self._protocol.encode("ascii", "replace")))
        if body:
            own += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]

        async def trace(event: str, _: dict[str, Any]) -> None:
            if is_sent is not None and event == "http11.send_request_body.complete":
                is_sent.set()

        extensions = {"timeout": {"connect": CONNECT_TIMEOUT, "read": None, "write": None, "pool": None}, "trace": trace}
        request = httpx.Request(method, self._url, headers=[*own, *headers], stream=Body(body), extensions=extensions)
        return await self._connections.handle_async_request(request)

    async def _post(self, body: bytes, message: Outgoing, is_taken: trio.Event) -> None:
        try:
            with self._open[message]:
                if message.method == "initialize":
                    self._session = self._protocol = None
                await self._exchange(body, message, is_taken)
        finally:
            is_taken.set()
            del self._open[message]
            self._end_if_idle()

    async def _exchange(self, body: bytes, message: Outgoing, is_taken: trio.Event) -> None:
        headers: list[tuple[bytes, bytes]] = [(b"Accept", b"application/json, text/event-stream"), *message.headers]
        problem = "the server said nothing about it"
        try:
            response = await self._request("POST", body, headers, is_taken if message.waiting else None)
            is_taken.set()
            problem = await self._take(response, message) or problem
        except httpx.TransportError as error:
            problem = f"the server cannot be reached: {name_failure(error)}"
            is_taken.set()
        await self._answer_for_server(message, make_error(problem))
        if message.method == INITIALIZED and not self._is_listening:
            self._is_listening = True
            self._nursery.start_soon(self._listen)

    async def _take(self, response: httpx.Response, message: Outgoing) -> str | None:
        """Receive a response; why it answers nothing, where that is known."""
        if message.method == "initialize" and "mcp-session-id" in response.headers:
            self._session = response.headers["mcp-session-id"].encode("latin-1")
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            return "its Content-Encoding is not known"
        if _is_stream(response):
            last_id, retry_after = await self._take_events(response, message)
            return await self._resume(message, last_id, retry_after)
        body = await self._read(response)
        if body is None:
            return "its answer is too long"
        if not response.is_success:
            if error := read_error(body):
                await self._answer_for_server(message, error)
            return f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
        if body.strip():
            await self._hear(body, message)
        return None

    async def _read(self, response: httpx.Response) -> bytes | None:
        """A whole body; ``None`` for one that is too long."""
        parts: list[bytes] = []
        size = 0
        async with _reading(response) as pieces:
            async for piece in pieces:
                parts.append(piece)
                size += len(piece)
                if size > self._max_frame:
                    return None
        return b"".join(parts)

    async def _take_events(self, response: httpx.Response, message: Outgoing | None) -> tuple[bytes, float]:
        """Receive a stream; the id of its last event, and how long to wait until it is asked for again."""
        events = EventParser(Hold(Budget(self._max_frame, self._max_frame)))
        try:
            async with _reading(response) as pieces:
                async for piece in pieces:
                    for event in events.feed(piece):
                        if event.type in _MESSAGE and event.data.strip():
                            await self._hear(event.data, message)
        except httpx.TransportError:
            pass  # it broke off
        after = RETRY_AFTER if events.retry_ms is None else min(events.retry_ms / 1000, _RETRY_MAX)
        return events.last_id, after

    async def _resume(self, message: Outgoing, last_id: bytes, retry_after: float) -> str | None:
        """Ask for the rest of a stream until everything is answered."""
        for _ in range(_RESUMED_MAX):
            if not message.waiting or not last_id:
                break
            await trio.sleep(retry_after)
            response = await self._request("GET", b"", [(b"Accept", _EVENTS.encode()), (b"Last-Event-ID", last_id)])
            if not _is_stream(response):
                await response.aclose()
                break
            newest_id, retry_after = await self._take_events(response, message)
            last_id = newest_id or last_id
        return "its stream ended without an answer"

    async def _listen(self) -> None:
        """Receive what the server says of its own accord, for as long as it offers a stream for that."""
        last_id, after = b"", RETRY_AFTER
        with trio.CancelScope() as self._listening:
            while True:
                headers = [(b"Accept", _EVENTS.encode())]
                if last_id:
                    headers.append((b"Last-Event-ID", last_id))
                try:
                    response = await self._request("GET", b"", headers)
                except httpx.TransportError:
                    after = min(2 * after, _RETRY_MAX)
                else:
                    if not _is_stream(response):
                        await response.aclose()
                        break
                    newest_id, after = await self._take_events(response, None)
                    last_id = newest_id or last_id
                await trio.sleep(after)
        self._is_listening = False

    # What was received.

    async def _hear(self, frame: bytes, message: Outgoing | None) -> None:
        protocol = message.hear(frame) if message is not None else None
        if protocol is not None:
            self._protocol = protocol
        await self._into_received.send(frame)

    async def _answer_for_server(self, message: Outgoing, error: bytes) -> None:
        for answer in message.answer_for_server(error):
            await self._into_received.send(answer)

    def _end_if_idle(self) -> None:
        if self._has_ended and not self._open:
            self._listening.cancel()
            self._into_received.close()


def _is_stream(response: httpx.Response) -> bool:
    media_type: str = response.headers.get("content-type", "")
    return response.status_code == HTTPStatus.OK and media_type.lower().startswith(_EVENTS)


@asynccontextmanager
async def _reading(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The pieces of a body; whenever the block is left, nothing of it is left half-way."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - of an asynchronous transport
    pieces = aiter(stream)
    try:
        yield pieces
    finally:
        await close_response(stream, pieces)


@asynccontextmanager
async def open_http(
    url: str,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    ca_file: str | os.PathLike[str] | None = None,
    max_frame: int = MAX_FRAME,
) -> AsyncIterator[HTTPFrames]:
    """Speak to an MCP server that has an http URL as if it were a stream of frames.

    Args:
        url: ``http`` or ``https``.  A user and a password in it become the ``Authorization`` header.
        headers: What the server gets in every request, such as a token.
        ca_file: Certificates in PEM form that an ``https`` server is verified with, in place of the usual ones.
        max_frame: The longest answer or event that is taken, in bytes.

    Yields:
        The stream.  When the block is left the session is ended at the server, and every connection is closed.

    Raises:
        ConfigError: The URL is none, or the certificates cannot be read.
        TrioRequiredError: The program runs under another event loop than Trio's; nothing runs.
    """
    require_trio("open_http")
    upstream = check_url(url)
    async with Connections(tls_for(upstream, ca_file)) as connections, trio.open_nursery() as nursery:
        plain = upstream.copy_with(userinfo=b"", fragment=None)
        frames = HTTPFrames(plain, connections, headers_for(upstream, headers), nursery, max_frame)
        try:
            yield frames
        finally:
            await frames.finish()
            nursery.cancel_scope.cancel()
