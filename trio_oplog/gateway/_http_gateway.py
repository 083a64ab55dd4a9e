"""The HTTP front: each request goes to the upstream, each call on record."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import trio
from attrs import frozen

from trio_oplog._address import check_url
from trio_oplog._asgi import ExchangeObserver, ObservedApp, Receive, Scope, Send, target_of
from trio_oplog._errors import ConfigError
from trio_oplog._listing import ListClient
from trio_oplog._operation import Config, Submitter
from trio_oplog._recording import Headers, HttpTap
from trio_oplog._serving import HTTPLimits, HTTPServer
from trio_oplog._trio import require_trio
from trio_oplog.gateway._frames import GRACE, MAX_FRAME
from trio_oplog.gateway._http_connections import Connections, headers_for, tls_for
from trio_oplog.gateway._http_front import IDENTITY, HTTPFront, answer, refuse
from trio_oplog.gateway._http_lists import EXCHANGE, HTTPLists
from trio_oplog.gateway._http_proxy import HTTPProxy, ProxyError
from trio_oplog.gateway._identity import Anyone, Authenticator, Identity
from trio_oplog.gateway._server import HANDSHAKE_TIMEOUT, MAX_CONNECTIONS

_log = logging.getLogger("trio_oplog")

_EXPIRE_EVERY: Final = 30.0
_SERVER_ERROR: Final = -32000


@frozen(kw_only=True)
class HTTPGatewayStatistics:
    """What an ``HTTPGateway`` has done so far.

    Attributes:
        open_connections: Connections of clients that are open now.
        accepted: Requests that were let in.
        unauthenticated: Requests refused with 401.
        refused: Requests and connections refused: too many, from a web page, malformed, or the authenticator failed.
        upstream_failures: Requests for which there was no response.
        open_calls: Calls that have begun and not ended, those that wait for a task or for another round of input included.
        recorded: Operations handed to the Submitter.
        log_errors: Failures of the log that the traffic did not notice.
    """

    open_connections: int
    accepted: int
    unauthenticated: int
    refused: int
    upstream_failures: int
    open_calls: int
    recorded: int
    log_errors: int


class HTTPGateway:
    """An HTTP server in front of an MCP server that has a URL (Streamable HTTP, or the older HTTP+SSE).

    Each request goes to the same path at the upstream.  Bodies and events pass unbuffered and unaltered, both ways.

    Args:
        url: The upstream, ``http`` or ``https``.  A user and a password in it become its ``Authorization`` header.
        authenticator: Who may send requests, and as whom; asked for each.
        submitter: Takes the operations.
        config: What to write into them; ``workspace_id`` and ``user_id`` are the client's identity, whatever it holds.
        list_client: Answers ``operations/list``; ``None`` leaves that to the upstream.
        headers: Headers that the upstream gets in every request, instead of those of the same names from the client.
        ca_file: Certificates in PEM form that an ``https`` upstream is verified with, in place of the usual ones.
        withheld: Names of the client's headers that the upstream does not get.  ``None``: ``authorization``, unless the
            authenticator is ``Anyone``, who does not look at it.
        max_connections: How many clients may be connected at once; at least 1.  See ``HTTPLimits``.
        max_body: The longest body of a request, in bytes; a longer one is refused with 413.
        handshake_timeout: How long a client may take to send the head of a request, in seconds.
        grace: How long requests may take to finish after ``stop``, in seconds.
        origins: Web pages that may send requests (values of the ``Origin`` header).  Clients that are no browser send none and
            always may.
        observe: Is given the ``HttpExchange`` of each request, and the method, the target and the headers of the request;
            returns what watches the exchange in its place, and shows it what it sees.

    Raises:
        ConfigError: A value is wrong; nothing was made.
    """

    def __init__(
        self,
        url: str,
        authenticator: Authenticator,
        submitter: Submitter,
        config: Config,
        *,
        list_client: ListClient | None = None,
        headers: Headers = (),
        ca_file: str | os.PathLike[str] | None = None,
        withheld: Iterable[str] | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_body: int = MAX_FRAME,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        grace: float = GRACE,
        origins: Sequence[str] = (),
        observe: Callable[[ExchangeObserver, str, str, Headers], ExchangeObserver] | None = None,
    ) -> None:
        upstream = check_url(url)
        if max_body < 1:
            raise ConfigError("max_body", "must be at least 1")
        own = headers_for(upstream, headers)
        if withheld is None:
            withheld = () if isinstance(authenticator, Anyone) else ("authorization",)
        self._tap = HttpTap(submitter, config, max_message=max_body)
        self._connections = Connections(tls_for(upstream, ca_file))
        proxy = HTTPProxy(url, self._connections, headers=own, withheld=[name.encode() for name in withheld], max_body=max_body)
        self._upstream, self._proxy = upstream, proxy
        self._app = ObservedApp(proxy if list_client is None else HTTPLists(proxy, list_client), self._begin_exchange)
        self._front = HTTPFront(self._put_through, authenticator, origins=origins)
        limits = HTTPLimits(max_connections=max_connections, head_timeout=handshake_timeout)
        self._server = HTTPServer(self._front, limits=limits, grace=grace)
        self._observe = observe
        self._upstream_failures = 0
        self._is_upstream_gone = False

    def replace_headers(self, headers: Headers) -> None:
        """Send other headers to the upstream, from the next request on, such as a new token; see ``headers``."""
        self._proxy.replace_headers(headers_for(self._upstream, headers))

    def __repr__(self) -> str:
        statistics = self._server.statistics()
        return f"<HTTPGateway open_connections={statistics.open_connections} requests={statistics.requests}>"

    def statistics(self) -> HTTPGatewayStatistics:
        """What has been done so far."""
        server, front, tap = self._server.statistics(), self._front.counts, self._tap.statistics()
        return HTTPGatewayStatistics(
            open_connections=server.open_connections,
            accepted=front.accepted,
            unauthenticated=front.unauthenticated,
            refused=front.refused + server.refused + server.malformed,
            upstream_failures=self._upstream_failures,
            open_calls=tap.open_calls + tap.suspended_calls,
            recorded=tap.recorded,
            log_errors=tap.submit_errors + tap.internal_errors,
        )

    def stop(self) -> None:
        """Take no more clients, and let ``serve`` return when the requests have ended.  Safe to repeat.

        After the grace period streams of events are ended where they are, and everything else is broken off.
        """
        self._server.stop()

    async def serve(
        self, listeners: Sequence[trio.SocketListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until ``stop`` is called, and then until every request has ended: within the grace period and one second.

        When it returns or is cancelled no connection is open, and every call has been handed on.  Once only.

        Args:
            listeners: Where clients connect to, as from ``trio.open_tcp_listeners``.  They are closed at the end.
            task_status: For ``nursery.start``: clients can connect when it returns.

        Raises:
            TrioRequiredError: The program runs under another event loop than Trio's; nothing is served.
        """
        require_trio("HTTPGateway")
        try:
            async with self._connections, trio.open_nursery() as nursery:
                nursery.start_soon(self._expire)
                await self._server.serve(listeners, task_status=task_status)
                nursery.cancel_scope.cancel()
        finally:
            self._tap.close()

    async def _expire(self) -> None:
        while True:
            await trio.sleep(_EXPIRE_EVERY)
            self._tap.expire()
            await self._connections.close_idle()

    def _begin_exchange(self, scope: Scope) -> ExchangeObserver:
        identity: Identity = scope[IDENTITY]
        method, target, headers = scope["method"], target_of(scope), scope["headers"]
        exchange = self._tap.exchange(method, target, headers, workspace_id=identity.workspace_id, user_id=identity.user_id)
        scope[EXCHANGE] = exchange
        return exchange if self._observe is None else self._observe(exchange, method, target, headers)

    async def _put_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put one request through, and answer for an upstream that does not."""
        if scope["type"] != "http":
            raise NotImplementedError
        try:
            await self._app(scope, receive, send)
        except ProxyError as error:
            failure = error
        else:
            self._is_upstream_gone = False
            return
        with suppress(OSError):  # the client has left as well
            await self._answer_for_upstream(failure, scope[EXCHANGE].pending_ids, send)

    async def _answer_for_upstream(self, failure: ProxyError, ids: Sequence[str], send: Send) -> None:
        status = failure.status
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            await refuse(status, send)
            return
        self._upstream_failures += 1
        if not self._is_upstream_gone:
            self._is_upstream_gone = True
            _log.error("there is no server for a client: %s", failure.reason)
        if not ids:
            await refuse(status, send)
            return
        error = f'{{"code":{_SERVER_ERROR},"message":"the server cannot be reached"}}'
        answers = [f'{{"jsonrpc":"2.0","id":{id_},"error":{error}}}' for id_ in ids]
        body = answers[0] if len(answers) == 1 else f"[{','.join(answers)}]"
        await answer(status, b"application/json", body.encode(), send)
