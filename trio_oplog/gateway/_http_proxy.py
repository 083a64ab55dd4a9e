"""A reverse proxy as an ASGI app: bytes pass unbuffered and unaltered, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Final, Self

import httpx
import trio

from trio_oplog._address import check_url
from trio_oplog._asgi import Receive, Scope, Send, is_stopping
from trio_oplog._reach import name_failure
from trio_oplog._recording import Headers
from trio_oplog._serving import AbortedError
from trio_oplog.gateway._http_connections import CONNECT_TIMEOUT, close_response

# They are about one connection, and each side has its own (RFC 9110, 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_EVENTS: Final = b"text/event-stream"


class ProxyError(Exception):
    """There is no response of the upstream.

    Attributes:
        status: What to tell the client.
        reason: What went wrong, in a few words, for the log.  Nothing that a peer wrote is in it.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class HTTPProxy:
    """An ASGI app that puts each request through to the same path at another origin.

    The client's leaving closes the connection to the upstream at once.  A response that breaks off ends the client's connection.
    A response may be silent for ever.

    Args:
        origin: Where the upstream is, ``http`` or ``https``.  Its path and query are not used.
        transport: How it is reached; the caller closes it.  It must not limit its connections, since each silent stream has one.
        headers: Headers that the upstream gets in every request, instead of those of the same names from the client.
        withheld: Names of the client's headers that are not for the upstream, such as ``authorization`` where its token is the
            gateway's.
        max_body: The longest body of a request, in bytes; ``None`` for any.
        connect_timeout: How long connecting to the upstream may take, in seconds.

    Raises:
        ConfigError: The origin is none.
    """

    def __init__(
        self,
        origin: str,
        transport: httpx.AsyncBaseTransport,
        *,
        headers: Headers = (),
        withheld: Iterable[bytes] = (),
        max_body: int | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        url = check_url(origin)
        self._origin = url.copy_with(raw_path=b"/", fragment=None, userinfo=b"")
        self._prefix = b"%s://%s" % (self._origin.raw_scheme, self._origin.netloc)
        self._transport = transport
        self._never = {b"expect", *(name.lower() for name in withheld)}
        self.replace_headers(headers)
        self._max_body = max_body
        self._timeouts = {"connect": connect_timeout, "read": None, "write": None, "pool": None}

    def replace_headers(self, headers: Headers) -> None:
        """Send these headers, and not those from before, from the next request on."""
        self._headers = list(headers)
        if all(name.lower() != b"host" for name, _ in self._headers):
            self._headers.insert(0, (b"Host", self._origin.netloc))
        self._withheld = self._never | {name.lower() for name, _ in self._headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put one request through.

        Raises:
            ProxyError: There is no response, and nothing was sent: the upstream cannot be reached (502), it took too long to
                connect (504), or the body is longer than it may be (413).
            AbortedError: The response broke off in the middle.
        """
        if scope["type"] != "http":
            raise NotImplementedError
        passing = _Passing(scope, receive, send, self._max_body)
        await passing.run(self)
        if passing.failure is not None:
            raise passing.failure

    async def request(self, scope: Scope, body: httpx.AsyncByteStream) -> httpx.Response:
        """Send the request of a scope to the upstream.

        Raises:
            httpx.TransportError: There is no response.
        """
        raw: Headers = scope.get("extensions", {}).get("trio_oplog", {}).get("raw_headers", scope["headers"])
        headers = [*self._headers, *(header for header in _end_to_end(raw) if header[0].lower() not in self._withheld)]
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            headers.append((b"Transfer-Encoding", b"chunked"))
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        extensions = {"target": scope["raw_path"] + query, "timeout": self._timeouts}
        request = httpx.Request(scope["method"], self._origin, headers=headers, stream=body, extensions=extensions)
        request.method = scope["method"]  # which is not always in capitals
        return await self._transport.handle_async_request(request)

    def localize(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """A header of a response, for the client: a redirect of the upstream to itself comes back to where the client asked."""
        if name.lower() in (b"location", b"content-location") and value.startswith(self._prefix):
            rest = value[len(self._prefix) :]
            if rest[:1] in (b"/", b"?", b"#", b""):
                return name, rest if rest.startswith(b"/") else b"/" + rest
        return name, value


class _Passing:
    """One request and its response on their way."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int | None) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._has_begun = False
        self._has_ended = False
        self._is_stream_of_events = False
        self._is_cut_off = False  # by the server, which stops
        self.failure: ProxyError | AbortedError | None = None
        """Why there is no whole response, where that is not the client's doing."""

    async def run(self, proxy: HTTPProxy) -> None:
        """Put them through until one side has ended."""
        length = next((value for name, value in self._scope["headers"] if name == b"content-length"), b"0")
        if self._max_body is not None and int(length) > self._max_body:
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
            return
        async with trio.open_nursery() as nursery:
            into_body, parts = trio.open_memory_channel[bytes](0)
            nursery.start_soon(self._read_client, into_body, nursery.cancel_scope)
            with parts:
                await self._forward(proxy, parts)
            nursery.cancel_scope.cancel()
        if self._is_cut_off and self._is_stream_of_events and self.failure is None and not self._has_ended:
            # Streams end where they are, as those of a server do that goes away.  Anything else is left broken off.
            with suppress(OSError):
                await self._send({"type": "http.response.body", "body": b""})

    async def _forward(self, proxy: HTTPProxy, body: trio.MemoryReceiveChannel[bytes]) -> None:
        try:
            response = await proxy.request(self._scope, _Body(body))
        except httpx.TransportError as error:
            is_late = isinstance(error, httpx.TimeoutException)
            self._fail(HTTPStatus.GATEWAY_TIMEOUT if is_late else HTTPStatus.BAD_GATEWAY, name_failure(error))
            return
        body.close()  # an upstream that has answered takes no more of it; the client is read on, so that its leaving is seen
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - of an asynchronous transport
        parts = aiter(stream)
        try:
            await self._begin(response, [proxy.localize(name, value) for name, value in _end_to_end(response.headers.raw)])
            async for part in parts:
                await self._send({"type": "http.response.body", "body": part, "more_body": True})
            self._has_ended = True
            await self._send({"type": "http.response.body", "body": b""})
        except httpx.TransportError:
            self.failure = AbortedError()
        except OSError:
            pass  # the client has left
        finally:
            await close_response(stream, parts)

    async def _begin(self, response: httpx.Response, headers: Headers) -> None:
        """Pass on the head; at once where it may be long until something follows."""
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        self._is_stream_of_events = response.headers.get("content-type", "").lower().encode().startswith(_EVENTS)
        if "content-length" not in response.headers:
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    def _fail(self, status: HTTPStatus, reason: str) -> None:
        self.failure = AbortedError() if self._has_begun else ProxyError(status, reason)

    async def _read_client(self, into_body: trio.MemorySendChannel[bytes], scope: trio.CancelScope) -> None:
        """Read what the client sends, no faster than the upstream takes it, until it leaves: then cancel."""
        size, more = 0, True
        with into_body:
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    break
                size += len(message["body"])
                if self._max_body is not None and size > self._max_body:
                    self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
                    scope.cancel()
                    return
                more = message["more_body"]
                if message["body"]:
                    with suppress(trio.BrokenResourceError):  # the upstream has answered without the rest
                        await into_body.send(message["body"])
            else:
                into_body.close()
                await self._receive()
        self._is_cut_off = is_stopping(self._scope)
        scope.cancel()


class _Body(httpx.AsyncByteStream):
    """The body of a request.  An iterator and no generator: a generator that is left half-way waits for the garbage collector."""

    def __init__(self, parts: trio.MemoryReceiveChannel[bytes]) -> None:
        self._parts = parts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._parts)


def _end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that are not about one connection."""
    kept = list(headers)
    named = {token.strip().lower() for name, value in kept if name.lower() == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in kept if name.lower() not in _HOP_BY_HOP and name.lower() not in named]
