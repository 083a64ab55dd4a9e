"""The listeners, the limit of connections, and the graceful stop."""

from __future__ import annotations

import select
import ssl
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import trio

from trio_oplog._errors import ConfigError
from trio_oplog._serving.connection import Connection, Stream
from trio_oplog._serving.lifespan import ASGIApp, Lifespan
from trio_oplog._serving.limits import Counters, HTTPLimits, HTTPServerStatistics
from trio_oplog._serving.responses import make_response

GRACE: Final = 5.0
_DEFAULT_LIMITS: Final = HTTPLimits()

# After the grace period, apps are told that their client has left, and have this long to end what they stream.
_FAREWELL: Final = 1.0
# Connections that the kernel has accepted are taken over before a listener is closed, but not for ever.
_ACCEPT_REST: Final = 1.0
_REFUSING_MAX: Final = 64
_REFUSAL_TIMEOUT: Final = 0.5


class HTTPServer:
    """Serves an ASGI app over HTTP/1.1.

    Whatever a client sends ends its own connection at most.  Connections are kept alive, bodies are streamed both ways with
    backpressure, and the app gets ``http.disconnect`` at once when its client leaves or stops sending; what the app
    sends in spite of that is still sent where the client takes it.

    A request's ``scope["extensions"]["trio_oplog"]`` holds ``raw_headers``, the headers with their names as they were spelled,
    and ``stopping``, a ``trio.Event`` that is set when the server begins to stop.

    Args:
        app: An ASGI 3 app that runs under Trio.
        limits: How much a stranger may take.
        grace: How long requests may take to finish after ``stop``, in seconds.
    """

    def __init__(self, app: ASGIApp, *, limits: HTTPLimits = _DEFAULT_LIMITS, grace: float = GRACE) -> None:
        self._app = app
        self._limits = limits
        self._grace = grace
        self._counters = Counters()
        self._stopping = trio.Event()
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}
        self._refusing = 0
        self._tasks = 0
        self._task_ended = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<HTTPServer open_connections={len(self._open)} requests={self._counters.requests}>"

    def statistics(self) -> HTTPServerStatistics:
        """What has been done so far."""
        counters = self._counters
        return HTTPServerStatistics(
            open_connections=len(self._open),
            accepted=counters.accepted,
            refused=counters.refused,
            requests=counters.requests,
            malformed=counters.malformed,
            timeouts=counters.timeouts,
            app_failures=counters.app_failures,
            connection_failures=counters.connection_failures,
        )

    def stop(self) -> None:
        """Take no more connections, and let ``serve`` return when the requests have ended.  Safe to repeat.

        A request that is on its way on an open connection is still answered.  After the grace period every app gets
        ``http.disconnect``, and one second later what still runs is cancelled.
        """
        self._stopping.set()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        tls: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until ``stop`` is called, and then until every request has ended: within the grace period and one second.

        When it returns, raises or is cancelled, no connection is open, and the app's lifespan is over.  Once only.

        Args:
            listeners: Where clients connect to, as from ``trio.open_tcp_listeners``.  They are closed at the end.
            tls: Speak TLS with them, as from ``tls_context``.
            task_status: For ``nursery.start``: clients can connect when it returns.

        Raises:
            Exception: What the app's lifespan raised.  When it does so in the middle, the server stops first.
        """
        lifespan = Lifespan(self._app)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lifespan.run)
                await lifespan.start()
                if lifespan.failure is None:
                    nursery.start_soon(self._stop_after, lifespan)
                    await self._serve(listeners, tls, task_status)
                lifespan.shut_down()
        finally:
            with trio.CancelScope(shield=True):
                for listener in listeners:
                    await listener.aclose()
        if lifespan.failure is not None:
            raise lifespan.failure

    async def _stop_after(self, lifespan: Lifespan) -> None:
        await lifespan.ended.wait()
        if lifespan.failure is not None:
            self.stop()

    async def _serve(
        self, listeners: Sequence[trio.SocketListener], tls: ssl.SSLContext | None, task_status: trio.TaskStatus[None]
    ) -> None:
        accept = [listener if tls is None else trio.SSLListener(listener, tls, https_compatible=True) for listener in listeners]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                await accepting.start(partial(trio.serve_listeners, self._handle, accept, handler_nursery=connections))
                task_status.started()
                await self._stopping.wait()
                with trio.move_on_after(_ACCEPT_REST):
                    await _until_none_waits(listeners)
                accepting.cancel_scope.cancel()
            for connection in self._open:
                connection.stop()
            with trio.move_on_after(self._grace):
                while self._tasks:
                    await self._task_ended.park()
            for connection in self._open:
                connection.leave()
            connections.cancel_scope.deadline = trio.current_time() + _FAREWELL

    async def _handle(self, stream: Stream) -> None:
        self._tasks += 1
        try:
            if len(self._open) >= self._limits.max_connections and not self._evict():
                await self._refuse(stream)
                return
            self._counters.accepted += 1
            connection = Connection(stream, self._app, self._limits, self._counters, self._waiting, self._stopping)
            self._open.add(connection)
            try:
                await connection.run()
            finally:
                self._open.discard(connection)
        finally:
            self._tasks -= 1
            self._task_ended.unpark_all()

    def _evict(self) -> bool:
        """End the connection that has waited for a request the longest, if there is one."""
        if not self._waiting:
            return False
        connection = next(iter(self._waiting))
        del self._waiting[connection]
        self._open.discard(connection)
        connection.evict()
        return True

    async def _refuse(self, stream: Stream) -> None:
        """Say that there is no room; to as many at once as that costs little."""
        self._counters.refused += 1
        if self._refusing >= _REFUSING_MAX or isinstance(stream, trio.SSLStream):
            return
        self._refusing += 1
        try:
            with trio.move_on_after(_REFUSAL_TIMEOUT):
                await stream.send_all(make_response(HTTPStatus.SERVICE_UNAVAILABLE))
                await stream.send_eof()
                # What was not read when a socket is closed resets it, and then the client may not see the response.
                while await stream.receive_some():
                    pass
        except trio.BrokenResourceError:
            pass
        finally:
            self._refusing -= 1


async def _until_none_waits(listeners: Sequence[trio.SocketListener]) -> None:
    """Let the accepting tasks take what has connected: it would be reset when the listeners are closed."""
    poll = select.poll()
    for listener in listeners:
        poll.register(listener.socket.fileno(), select.POLLIN)
    while poll.poll(0):
        await trio.lowlevel.checkpoint()


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What ``HTTPServer.serve`` needs to speak TLS.

    Args:
        certificate: A PEM file with the certificate and those that lead to a trusted one.
        key: A PEM file with its private key, unencrypted.

    Raises:
        ConfigError: One of the files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password, lest OpenSSL ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise ConfigError("certificate", f"and its key cannot be used: {error.strerror or type(error).__name__}") from None
    return context
