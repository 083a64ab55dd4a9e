"""The connections to an upstream: any number, kept for a moment when they are idle.

The pool of httpx looks at every connection for every request, which takes minutes where two thousand streams are open.  Here
each connection is a transport of its own, and the one that was used last is taken from a stack.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import httpx
import trio

from trio_oplog._reach import check_ca_file, make_tls
from trio_oplog._recording import Headers

CONNECT_TIMEOUT: Final = 10.0
"""How long connecting to an upstream may take by default, in seconds."""
# Servers of MCP commonly close what was idle for five seconds.  A request that meets that would fail.
KEEP_IDLE: Final = 2.0


def tls_for(upstream: httpx.URL, ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """What ``Connections`` to an upstream need.

    Args:
        upstream: The upstream.
        ca_file: See ``make_tls``.

    Raises:
        ConfigError: The certificates cannot be read.
    """
    trusted = check_ca_file(ca_file, None)
    return make_tls(trusted) if upstream.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def headers_for(upstream: httpx.URL, headers: Headers) -> list[tuple[bytes, bytes]]:
    """What an upstream gets in every request: these headers, and those that its URL stands for."""
    own = list(headers)
    if upstream.userinfo and all(name.lower() != b"authorization" for name, _ in own):
        own.append((b"Authorization", b"Basic " + base64.b64encode(unquote_to_bytes(upstream.userinfo))))
    return own


class _Idle(NamedTuple):
    since: float
    transport: httpx.AsyncHTTPTransport


class Connections(httpx.AsyncBaseTransport):
    """A transport without a limit of connections.  Leaving it as a context manager closes those that are idle.

    Args:
        tls: What an ``https`` upstream is verified with.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._idle: deque[_Idle] = deque()  # the one that was used last is the last

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``httpx.AsyncBaseTransport``."""
        transport = self._idle.pop().transport if self._idle else self._connection()
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await _close(transport)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - of an asynchronous transport
        response.stream = _Stream(response.stream, self, transport)
        return response

    async def aclose(self) -> None:
        """See ``httpx.AsyncBaseTransport``."""
        while self._idle:
            await _close(self._idle.popleft().transport)

    async def close_idle(self) -> None:
        """Close those that have been idle for too long."""
        oldest_allowed = trio.current_time() - KEEP_IDLE
        while self._idle and self._idle[0].since < oldest_allowed:
            await _close(self._idle.popleft().transport)

    async def take_back(self, transport: httpx.AsyncHTTPTransport) -> None:
        """A response has ended: its connection, if it can be used again, is idle."""
        self._idle.append(_Idle(trio.current_time(), transport))
        await self.close_idle()

    def _connection(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_IDLE)
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits)


class _Stream(httpx.AsyncByteStream):
    """The body of a response, with whose end a connection is idle again."""

    def __init__(self, stream: httpx.AsyncByteStream, connections: Connections, transport: httpx.AsyncHTTPTransport) -> None:
        self._stream = stream
        self._connections = connections
        self._transport = transport

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()
        await self._connections.take_back(self._transport)


async def close_response(stream: httpx.AsyncByteStream, parts: AsyncIterator[bytes]) -> None:
    """Close a response, and let its iterator end: half-way it would wait for the garbage collector, with all it is made of."""
    with trio.CancelScope(shield=True):
        await stream.aclose()
        with suppress(Exception):
            while True:
                await anext(parts)


async def _close(transport: httpx.AsyncHTTPTransport) -> None:
    with trio.CancelScope(shield=True):
        await transport.aclose()
