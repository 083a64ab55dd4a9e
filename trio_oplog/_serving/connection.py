"""One connection: heads, exchanges, keep-alive, and a gentle end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import PurePath
from typing import Final

import h11
import trio

from trio_oplog._serving.exchange import AbortedError, AppError, Exchange, Wires
from trio_oplog._serving.inbound import Inbound
from trio_oplog._serving.lifespan import ASGIApp
from trio_oplog._serving.limits import Counters, HTTPLimits
from trio_oplog._serving.outbound import ClientDisconnectedError, Outbound
from trio_oplog._serving.responses import make_response
from trio_oplog._serving.target import Address, RefusalError, Scope, make_scope

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

log = logging.getLogger("trio_oplog.serving")

# A request may be on its way when the server begins to stop.
_STOP_DELAY: Final = 0.25
# A socket that is closed while its client still sends is reset, and then the client may lose the response.
_LINGER: Final = 1.0
_CLOSE_TIMEOUT: Final = 1.0
# The rest of a body that the app did not want is read if it is no longer than this, so that the connection can be kept.
_DRAIN_BYTES: Final = 256 * 1024


class Connection:
    """One client, from the first byte to the last.

    Args:
        stream: The client; whoever made it closes it forcefully after ``run()``.
        app: Answers the requests.
        limits: How much of anything, and for how long.
        counters: What the connections of a server count together.
        waiting: The connections that wait for a request, those that have waited longest first.  This one enters and leaves.
        stopping: Is set when the server begins to stop.
    """

    def __init__(
        self,
        stream: Stream,
        app: ASGIApp,
        limits: HTTPLimits,
        counters: Counters,
        waiting: dict[Connection, None],
        stopping: trio.Event,
    ) -> None:
        self._stream = stream
        self._app = app
        self._limits = limits
        self._counters = counters
        self._waiting = waiting
        self._stopping = stopping
        self._inbound = Inbound(stream)
        self._outbound = Outbound(stream, limits.send_timeout, counters)
        self._wires = Wires(self._inbound, self._outbound, limits, counters, stopping.is_set)
        self._head_scope = trio.CancelScope()
        self._has_served = False
        self._is_idle = False
        self._is_evicted = False
        self._may_client_send = False
        self._exchange: Exchange | None = None

    # What the server calls.

    async def run(self) -> None:
        """Serve the client until one of both has had enough.  Raises nothing that is the client's doing or the app's."""
        await self._contain(self._talk)
        with trio.move_on_after(_CLOSE_TIMEOUT):
            await self._contain(self._stream.aclose)

    def evict(self) -> None:
        """End it at once.  Only while it waits for a request."""
        self._is_evicted = True
        self._head_scope.cancel()

    def stop(self) -> None:
        """End it soon if it is idle.  Else it ends with its request, because the server is stopping."""
        if self._is_idle:
            self._head_scope.deadline = min(self._head_scope.deadline, trio.current_time() + _STOP_DELAY)

    def leave(self) -> None:
        """Tell the app that the client has left, so that it ends what it streams."""
        if self._exchange is not None:
            self._exchange.leave()

    async def _contain(self, part: Callable[[], Awaitable[None]]) -> None:
        """Let a defect end this connection, and never another one; also when it meets a cancellation."""
        try:
            await part()
        except* Exception as group:  # noqa: BLE001 - whatever it is
            self._counters.connection_failures += 1
            log.error("a connection failed: %s", describe(group))  # noqa: TRY400 - a traceback may hold what the client sent

    # The tasks.

    async def _talk(self) -> None:
        if await self._shake_hands():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._contain, self._read)
                await self._contain(self._serve)
                await self._contain(self._linger)
                nursery.cancel_scope.cancel()

    async def _shake_hands(self) -> bool:
        """Whether there is a client to talk to."""
        if not isinstance(self._stream, trio.SSLStream):
            return True
        with trio.move_on_after(self._limits.head_timeout) as scope:
            try:
                await self._stream.do_handshake()
            except trio.BrokenResourceError:
                return False
        self._counters.timeouts += scope.cancelled_caught
        return not scope.cancelled_caught

    async def _read(self) -> None:
        await self._inbound.run()
        self.leave()

    async def _serve(self) -> None:
        """One request after the other, until the connection cannot be used any more."""
        socket = (self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream).socket
        try:
            client, server = _address(socket.getpeername()), _address(socket.getsockname())
        except OSError:
            return  # the client has left already
        scheme = "https" if isinstance(self._stream, trio.SSLStream) else "http"
        rest = b""
        while True:
            http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_head)
            request = await self._read_request(http, rest)
            if request is None:
                return
            try:
                scope = make_scope(request, self._limits, scheme=scheme, client=client, server=server)
            except RefusalError as refusal:
                await self._refuse(refusal.status)
                return
            # What ASGI has no place for.
            own = {"raw_headers": request.headers.raw_items(), "stopping": self._stopping}
            scope["extensions"] = {"trio_oplog": own}
            self._exchange = exchange = Exchange(http, request, self._wires)
            if self._inbound.has_ended:
                exchange.leave()
            await self._answer(scope, exchange)
            self._exchange = None
            if not await self._can_go_on(http, exchange):
                return
            rest, _ = http.trailing_data

    async def _read_request(self, http: h11.Connection, rest: bytes) -> h11.Request | None:
        """The head of the next request; ``None`` when the connection is at its end.

        Args:
            http: Is given the bytes.
            rest: What of them has come with the request before.
        """
        timeout = self._limits.idle_timeout if self._has_served else self._limits.head_timeout
        with trio.CancelScope(deadline=trio.current_time() + timeout) as self._head_scope:
            self._waiting[self] = None
            self._is_idle = True
            if self._stopping.is_set():
                self.stop()
            try:
                # Old clients send an empty line after a body (RFC 9112, 2.2).
                while not (rest := rest.lstrip(b"\r\n")):
                    rest = await self._inbound.take()
                    if not rest:
                        return None
                self._is_idle = False
                if self._has_served:
                    self._head_scope.deadline = trio.current_time() + self._limits.head_timeout
                self._has_served = True
                request = await self._parse(http, rest)
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return None
            finally:
                self._waiting.pop(self, None)
            if not self._is_evicted:
                return request
        if not self._is_idle:
            await self._refuse(HTTPStatus.SERVICE_UNAVAILABLE if self._is_evicted else HTTPStatus.REQUEST_TIMEOUT)
        return None

    async def _parse(self, http: h11.Connection, data: bytes) -> h11.Request | None:
        while data:
            http.receive_data(data)
            event = http.next_event()
            if isinstance(event, h11.Request):
                return event
            data = await self._inbound.take()
        return None

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        """Let the app answer a request, or do so in its stead."""
        self._counters.requests += 1
        status: int | None = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
            if not exchange.is_complete:
                raise AppError("the app returned without a whole response")  # noqa: TRY301 - it is as good as the app's own
        except* AbortedError:
            pass
        except* Exception as group:  # noqa: BLE001 - the app may raise whatever it likes, also when it is cancelled
            status = exchange.refusal
            # An app that was told that its client has left may end however it likes.
            if self._outbound.is_usable and not exchange.was_told_to_leave:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                self._counters.app_failures += 1
                log.error("the app failed at a request: %s", describe(group))  # noqa: TRY400 - a traceback may hold payloads
        if status is not None and not exchange.has_begun:
            await self._respond(status, with_body=scope["method"] != "HEAD")

    async def _can_go_on(self, http: h11.Connection, exchange: Exchange) -> bool:
        if exchange.is_complete and http.our_state is h11.DONE:
            with trio.move_on_after(_LINGER):
                await exchange.drain(_DRAIN_BYTES)
            if http.their_state is h11.DONE:
                return True
        # Whatever has arrived besides would reset the connection.
        self._may_client_send = not exchange.is_received or len(http.trailing_data[0]) > 0
        return False

    async def _refuse(self, status: int) -> None:
        """Answer what no app may see.  The connection ends with it."""
        if status == HTTPStatus.REQUEST_TIMEOUT:
            self._counters.timeouts += 1
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._counters.refused += 1
        else:
            self._counters.malformed += 1
        await self._respond(status)

    async def _respond(self, status: int, *, with_body: bool = True) -> None:
        self._may_client_send = True
        with suppress(ClientDisconnectedError):
            await self._outbound.send([make_response(status, with_body=with_body)])

    async def _linger(self) -> None:
        """Let a client that still sends read the response first."""
        if self._may_client_send and self._outbound.is_usable:
            with trio.move_on_after(_LINGER):
                if isinstance(self._stream, trio.SocketStream):
                    with suppress(trio.BrokenResourceError):
                        await self._stream.send_eof()
                while await self._inbound.take():
                    pass


def _address(name: tuple[str, int] | tuple[str, int, int, int] | str) -> Address:
    """The address of a TCP socket, or the path of another one; ``None`` for one without a name."""
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if name else None


def describe(error: BaseException) -> str:
    """The type of an exception and where it was raised.  What it says is nobody's business: it may hold what a peer wrote."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" at {PurePath(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
    return f"{type(error).__name__}{where}"
