"""A reverse proxy as an ASGI app: bytes pass unbuffered and unaltered, both ways, past an observer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, Protocol, Self

import httpx
import trio

from trio_oplog._address import check_url
from trio_oplog._serving import AbortedError

Headers = Sequence[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECT_TIMEOUT: Final = 10.0

# They are about one connection, and each side has its own (RFC 9110, 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_SERVER_ERROR: Final = -32000


class ExchangeObserver(Protocol):
    """Is shown one exchange, each part before it is passed on.  Never blocks and never raises."""

    @property
    def pending_ids(self) -> Sequence[str]:
        """The ids, as JSON text, of the requests that wait for an answer: each is told when the upstream fails."""

    def request_data(self, data: bytes, /) -> None:
        """A part of the request's body."""

    def request_end(self) -> None:
        """The request has come whole."""

    def response_head(self, status: int, headers: Headers, /) -> None:
        """The head of the upstream's response."""

    def response_data(self, data: bytes, /) -> None:
        """A part of the response's body."""

    def response_end(self) -> None:
        """The response has come whole."""

    def client_closed(self) -> None:
        """The client has left before that."""

    def upstream_failed(self) -> None:
        """There is no response, or it broke off."""


class HTTPProxy:
    """An ASGI app that puts each request through to the same path at another origin.

    The client's leaving closes the connection to the upstream at once.  An upstream that cannot be reached is answered for with
    502, or 504 where it took too long; a response that breaks off ends the client's connection.  A response may be
    silent for ever.

    Args:
        origin: Where the upstream is, ``http`` or ``https``.  Its path and query are not used.
        transport: How it is reached; the caller closes it.  It must not limit its connections, since each silent stream has one.
        observe: Is called with the scope of each request.
        headers: Headers that the upstream gets in every request, instead of those of the same names from the client.
        withheld: Names of the client's headers that are not for the upstream, such as ``authorization`` where its token is the
            gateway's.
        connect_timeout: How long connecting to the upstream may take, in seconds.

    Raises:
        ConfigError: The origin is none.
    """

    def __init__(
        self,
        origin: str,
        transport: httpx.AsyncBaseTransport,
        observe: Callable[[MutableMapping[str, Any]], ExchangeObserver],
        *,
        headers: Headers = (),
        withheld: Iterable[bytes] = (),
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        url = check_url(origin)
        self._origin = url.copy_with(raw_path=b"/", fragment=None, userinfo=b"")
        self._prefix = b"%s://%s" % (self._origin.raw_scheme, self._origin.netloc)
        self._transport = transport
        self._observe = observe
        self._headers = list(headers)
        if all(name.lower() != b"host" for name, _ in headers):
            self._headers.insert(0, (b"Host", self._origin.netloc))
        self._withheld = {b"expect", *(name.lower() for name, _ in self._headers), *(name.lower() for name in withheld)}
        self._timeouts = {"connect": connect_timeout, "read": None, "write": None, "pool": None}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Put one request through."""
        if scope["type"] != "http":
            raise NotImplementedError
        observer = self._observe(scope)
        stopping: trio.Event | None = scope.get("extensions", {}).get("trio_oplog", {}).get("stopping")
        passing = _Response(send, observer)
        async with trio.open_nursery() as nursery:
            into_body, parts = trio.open_memory_channel[bytes](0)
            nursery.start_soon(_read_client, receive, observer, into_body, nursery.cancel_scope)
            with parts:
                await self._forward(self._make_request(scope, _Body(parts)), passing, observer)
            nursery.cancel_scope.cancel()
        if passing.has_ended:
            return
        if stopping is not None and stopping.is_set():
            # The client has not left: the server ends, and what is open is for the log to say.
            await passing.end_events()
        else:
            observer.client_closed()

    async def _forward(self, request: httpx.Request, passing: _Response, observer: ExchangeObserver) -> None:
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            status = HTTPStatus.GATEWAY_TIMEOUT if isinstance(error, httpx.TimeoutException) else HTTPStatus.BAD_GATEWAY
            ids = observer.pending_ids
            observer.upstream_failed()
            await passing.fail(status, ids)
            return
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - of an asynchronous transport
        parts = aiter(stream)
        try:
            headers = [self._localize(name, value) for name, value in _end_to_end(response.headers.raw)]
            await passing.begin(response.status_code, headers)
            async for part in parts:
                await passing.pass_on(part)
            await passing.end()
        except httpx.TransportError:
            passing.has_ended = True
            observer.upstream_failed()
            raise AbortedError from None
        except OSError:
            pass  # the client has left
        finally:
            await _close(stream, parts)

    def _make_request(self, scope: MutableMapping[str, Any], body: httpx.AsyncByteStream) -> httpx.Request:
        raw: Headers = scope.get("extensions", {}).get("trio_oplog", {}).get("raw_headers", scope["headers"])
        headers = [*self._headers, *(header for header in _end_to_end(raw) if header[0].lower() not in self._withheld)]
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            headers.append((b"Transfer-Encoding", b"chunked"))
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        extensions = {"target": scope["raw_path"] + query, "timeout": self._timeouts}
        request = httpx.Request(scope["method"], self._origin, headers=headers, stream=body, extensions=extensions)
        request.method = scope["method"]  # which is not always in capitals
        return request

    def _localize(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """A redirect of the upstream to itself comes back to where the client asked."""
        if name.lower() in (b"location", b"content-location") and value.startswith(self._prefix):
            rest = value[len(self._prefix) :]
            if rest[:1] in (b"/", b"?", b"#", b""):
                return name, rest if rest.startswith(b"/") else b"/" + rest
        return name, value


class _Response:
    """What of the upstream's response has been passed on."""

    def __init__(self, send: Send, observer: ExchangeObserver) -> None:
        self._send = send
        self._observer = observer
        self._is_stream_of_events = False
        self.has_ended = False
        """Whether the observer knows how the exchange has ended."""

    async def begin(self, status: int, headers: Headers) -> None:
        """Pass on the head; at once where it may be long until something follows."""
        self._observer.response_head(status, headers)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        fields = {name.lower(): value for name, value in headers}
        self._is_stream_of_events = fields.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        if b"content-length" not in fields:
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def pass_on(self, part: bytes) -> None:
        """Pass on a part of the body."""
        self._observer.response_data(part)
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        """The upstream has sent all of it."""
        self.has_ended = True
        self._observer.response_end()
        await self._send({"type": "http.response.body", "body": b""})

    async def end_events(self) -> None:
        """End a stream of events where it is, as a server does that goes away.  Anything else is left broken off."""
        if self._is_stream_of_events:
            with suppress(OSError):
                await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, status: HTTPStatus, ids: Sequence[str]) -> None:
        """Answer for an upstream that does not: each request that waits for an answer by its id."""
        self.has_ended = True
        error = f'{{"code":{_SERVER_ERROR},"message":"the server cannot be reached"}}'
        answers = [f'{{"jsonrpc":"2.0","id":{id_},"error":{error}}}' for id_ in ids]
        kind, body = b"text/plain", f"{status.phrase}\n"
        if answers:
            kind, body = b"application/json", answers[0] if len(answers) == 1 else f"[{','.join(answers)}]"
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body.encode()))]
        with suppress(OSError):  # the client has left as well
            await self._send({"type": "http.response.start", "status": status.value, "headers": headers})
            await self._send({"type": "http.response.body", "body": body.encode()})


class _Body(httpx.AsyncByteStream):
    """The body of a request.  An iterator and no generator: a generator that is left half-way waits for the garbage collector."""

    def __init__(self, parts: trio.MemoryReceiveChannel[bytes]) -> None:
        self._parts = parts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._parts)


async def _read_client(
    receive: Receive, observer: ExchangeObserver, into_body: trio.MemorySendChannel[bytes], scope: trio.CancelScope
) -> None:
    """Read what the client sends, no faster than the upstream takes it, until it leaves: then cancel."""
    more = True
    with into_body:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                scope.cancel()
                return
            observer.request_data(message["body"])
            more = message["more_body"]
            if not more:
                observer.request_end()
            if message["body"]:
                with suppress(trio.BrokenResourceError):  # the upstream has answered without the rest
                    await into_body.send(message["body"])
    await receive()
    scope.cancel()


async def _close(stream: httpx.AsyncByteStream, parts: AsyncIterator[bytes]) -> None:
    """Close a response, and let its iterator end: half-way it would wait for the garbage collector, with all it is made of."""
    with trio.CancelScope(shield=True):
        await stream.aclose()
        with suppress(Exception):
            while True:
                await anext(parts)


def _end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that are not about one connection."""
    named = {token.strip().lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP and name.lower() not in named]
