"""HTTP exchanges of ASGI apps, shown to observers; and the calls of an MCP server in this process on record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

from trio_oplog._operation import Config, Submitter
from trio_oplog._recording import Headers, HttpExchange, HttpTap, HttpTapStatistics
from trio_oplog._trio import require_trio

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# What a path may hold as it is (RFC 3986, 3.3).
_PATH_SAFE: Final = "/:@!$&'()*+,;=~"


class ExchangeObserver(Protocol):
    """Is shown one exchange, each part before it is passed on.  Never blocks and never raises.

    An ``HttpExchange`` is one.
    """

    def request_data(self, data: bytes, /) -> None:
        """A part of the request's body."""

    def request_end(self) -> None:
        """The request has come whole."""

    def response_head(self, status: int, headers: Headers, /) -> None:
        """The head of the response."""

    def response_data(self, data: bytes, /) -> None:
        """A part of the response's body."""

    def response_end(self) -> None:
        """The response is whole."""

    def client_closed(self) -> None:
        """The client has left before that."""

    def upstream_failed(self) -> None:
        """There is no response, or it broke off."""


class ObservedApp:
    """An ASGI app whose exchanges are shown to observers.  What crosses is not altered, and nothing waits for anything.

    Args:
        app: Answers the requests.  What it raises comes out as it is.
        observe: Is called with the scope of each request.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[Scope], ExchangeObserver]) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        crossing = _Crossing(self._observe(scope), scope, receive, send)
        try:
            await self._app(scope, crossing.receive, crossing.send)
        finally:
            crossing.finish()


class _Crossing:
    """What an observer is shown of one exchange, on its way between a server and an app."""

    def __init__(self, observer: ExchangeObserver, scope: Scope, receive: Receive, send: Send) -> None:
        self._observer = observer
        self._scope = scope
        self._receive = receive
        self._send = send
        self._has_left = False
        self._is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            if body := message.get("body"):
                self._observer.request_data(body)
            if not message.get("more_body"):
                self._observer.request_end()
        else:
            self._has_left = self._has_left or not is_stopping(self._scope)
        return message

    async def send(self, message: Message) -> None:
        # A message that is not as it should be is for the server to refuse.
        if message["type"] == "http.response.start":
            self._observer.response_head(message.get("status", 0), message.get("headers") or ())
        elif message["type"] == "http.response.body":
            if body := message.get("body"):
                self._observer.response_data(body)
            if not message.get("more_body"):
                self._is_whole = True
                self._observer.response_end()
        try:
            await self._send(message)
        except OSError:  # says ASGI for a client that has left
            self._has_left = True
            raise

    def finish(self) -> None:
        """The app has ended."""
        if self._is_whole:
            return
        if self._has_left:
            self._observer.client_closed()
        else:
            self._observer.upstream_failed()


def is_stopping(scope: Scope) -> bool:
    """Whether ``http.disconnect`` may mean that the ``HTTPServer`` stops, rather than that the client has left."""
    stopping = scope.get("extensions", {}).get("trio_oplog", {}).get("stopping")
    return stopping is not None and bool(stopping.is_set())


def target_of(scope: Scope) -> str:
    """The path and the query that were asked for, as the client spelled them where the server says how."""
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"], safe=_PATH_SAFE) if raw is None else raw.partition(b"?")[0].decode("latin-1")
    query: bytes = scope.get("query_string", b"")
    return f"{path}?{query.decode('latin-1')}" if query else path


class RecordedApp:
    """An ASGI app whose MCP calls are on record, as ``record_http`` makes it.

    The end of the server's lifespan is ``close()``, before the app hears of it.  A server that has no lifespan, and an app that
    is mounted in another one, need a ``close()`` of their own.
    """

    def __init__(self, app: ASGIApp, tap: HttpTap) -> None:
        self._app = app
        self._tap = tap
        self._observed = ObservedApp(app, self._observe)

    def __repr__(self) -> str:
        statistics = self._tap.statistics()
        return f"<RecordedApp open_exchanges={statistics.open_exchanges} recorded={statistics.recorded}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put one request through.

        Raises:
            TrioRequiredError: The server runs under another event loop than Trio's; the app was not called.
        """
        require_trio("record_http")
        if scope["type"] != "lifespan":
            await self._observed(scope, receive, send)
            return

        async def receive_last() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.close()  # while what takes the operations is still open, which may be the app's own
            return message

        await self._app(scope, receive_last, send)

    def statistics(self) -> HttpTapStatistics:
        """What has been seen so far."""
        return self._tap.statistics()

    def close(self) -> None:
        """Record every open call as ``unanswered``.  Later requests pass without a record.  Safe to repeat."""
        self._tap.close()

    def _observe(self, scope: Scope) -> HttpExchange:
        self._tap.expire()
        return self._tap.exchange(scope["method"], target_of(scope), scope["headers"])


def record_http(app: ASGIApp, submitter: Submitter, config: Config) -> RecordedApp:
    """Record the calls of an MCP server that runs in this process as an ASGI app, under Trio.

    It is transparent: bytes, events and their times stay as they are.  Only what is JSON-RPC is looked at, so that the app may
    serve other things besides.  A call begins when the app has read the whole body of its request.

    Args:
        app: The MCP server, such as the app that the Python SDK makes, or one in which that is mounted.
        submitter: Takes the operations, such as a ``Client`` that is open as long as the server runs.
        config: What to write into every operation, and the limits.

    Returns:
        The app to serve.

    Raises:
        ConfigError: The submitter has no ``submit()``, or the config is none; the error names which.
    """
    return RecordedApp(app, HttpTap(submitter, config))
