"""The WebSocket front: each client that connects gets an upstream and an Interceptor of its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import ClassVar, Final, Protocol, cast

import trio
from attrs import Attribute, evolve, field, frozen
from httpx import Headers
from websockets.exceptions import InvalidHandshake, InvalidURI
from websockets.http11 import Request, Response
from websockets.trio.client import connect
from websockets.trio.server import ServerConnection, serve
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from trio_oplog._errors import ConfigError
from trio_oplog._listing import ListClient
from trio_oplog._operation import Config, Operation, Submitter
from trio_oplog._recording import FrameObserver, Interceptor, SuspendedCalls
from trio_oplog._trio import require_trio
from trio_oplog.gateway._bridge import OperationsList, bridge
from trio_oplog.gateway._child import KILL_AFTER, open_child
from trio_oplog.gateway._frames import GOING_AWAY, GRACE, INTERNAL_ERROR, MAX_FRAME, Closed, FrameStream
from trio_oplog.gateway._identity import Authenticator
from trio_oplog.gateway._websocket import WEBSOCKETS_LOG, GatewayClientConnection, GatewayServerConnection, WebSocketFrames

_log = logging.getLogger("trio_oplog")

MAX_CONNECTIONS: Final = 256
HANDSHAKE_TIMEOUT: Final = 10.0
PING_INTERVAL: Final = 20.0
# Few frames, because each may be as long as a frame may be: this is the memory that a connection can cost.
_QUEUED_FRAMES: Final = (2, 1)


class Upstream(Protocol):
    """Where a gateway gets a server from, for each client one.  ``WebSocketUpstream`` and ``ChildUpstream`` are two.

    One with an attribute ``is_shared`` that is true says that every client reaches the same server.  Then a call that goes on
    as a task, or asks for input, may be ended on another connection than its own.
    """

    def connect(self, subprotocol: str | None, /) -> AbstractAsyncContextManager[FrameStream]:
        """Get a server.

        Args:
            subprotocol: What the client's WebSocket speaks, where it said so.

        Returns:
            A context manager: entering it connects, leaving it sees to the end of what was opened.  Raises ``OSError`` or
            ``websockets.exceptions.InvalidHandshake`` when there is no server to be had.
        """


def _websocket_address(_: object, attribute: Attribute[str], value: str) -> None:
    try:
        parse_uri(value)
    except InvalidURI:  # its sentence quotes the address, which may hold a password
        raise ConfigError(attribute.name, "must be a ws:// or wss:// address") from None


def _not_empty(_: object, attribute: Attribute[Sequence[str]], value: Sequence[str]) -> None:
    if not value or isinstance(value, str):
        raise ConfigError(attribute.name, "must name a program")


@frozen
class WebSocketUpstream:
    """A server at a WebSocket address.

    Attributes:
        url: ``ws://`` or ``wss://``.  Proxies of the environment are not used.
        max_frame: Longest message taken from it, in bytes; a longer one closes the connection with 1009.
        open_timeout: How long connecting may take, in seconds.
        close_timeout: How long the closing handshake may take, in seconds.
    """

    url: str = field(validator=_websocket_address)
    max_frame: int = field(default=MAX_FRAME, kw_only=True)
    open_timeout: float = field(default=HANDSHAKE_TIMEOUT, kw_only=True)
    close_timeout: float = field(default=GRACE, kw_only=True)
    is_shared: ClassVar[bool] = True

    @asynccontextmanager
    async def connect(self, subprotocol: str | None, /) -> AsyncIterator[FrameStream]:
        """See ``Upstream.connect``."""
        async with connect(
            self.url,
            subprotocols=None if subprotocol is None else [cast("Subprotocol", subprotocol)],
            compression=None,
            proxy=None,
            open_timeout=self.open_timeout,
            ping_interval=PING_INTERVAL,
            ping_timeout=None,
            close_timeout=self.close_timeout,
            max_size=self.max_frame,
            max_queue=_QUEUED_FRAMES,
            logger=WEBSOCKETS_LOG,
            create_connection=GatewayClientConnection,
        ) as connection:
            yield WebSocketFrames(connection)


@frozen
class ChildUpstream:
    """A server that is started for each client: a command that speaks newline-delimited JSON.

    Attributes:
        command: The program and its arguments; not empty.
        max_frame: Longest line taken from it, in bytes; a longer one closes the connection with 1009.
        grace: How long it may go on after the client has gone, in seconds.
        kill_after: How long it may go on after SIGTERM, in seconds.
    """

    command: Sequence[str] = field(validator=_not_empty)
    max_frame: int = field(default=MAX_FRAME, kw_only=True)
    grace: float = field(default=GRACE, kw_only=True)
    kill_after: float = field(default=KILL_AFTER, kw_only=True)

    @asynccontextmanager
    async def connect(self, subprotocol: str | None, /) -> AsyncIterator[FrameStream]:  # noqa: ARG002 - the interface's
        """See ``Upstream.connect``."""
        async with open_child(self.command, grace=self.grace, kill_after=self.kill_after, max_frame=self.max_frame) as child:
            yield child


@frozen(kw_only=True)
class GatewayStatistics:
    """What a gateway has done so far.

    Attributes:
        open_connections: Connections that are open now.
        accepted: Clients that were let in.
        unauthenticated: Handshakes refused with 401.
        refused: Handshakes refused with 503: too many connections, or the authenticator failed.
        upstream_failures: Clients that were let in and for whom there was no server; they were closed with 1011.
        open_calls: Calls that have begun and not ended, those that wait for a task or for another round of input included.
        recorded: Operations handed to the Submitter on connections that have ended.
        undelivered_frames: Frames that their receiver did not take any more.
        log_errors: Failures of the log that the traffic did not notice.
    """

    open_connections: int
    accepted: int
    unauthenticated: int
    refused: int
    upstream_failures: int
    open_calls: int
    recorded: int
    undelivered_frames: int
    log_errors: int


class Gateway:
    """A WebSocket server that puts every client through to a server of its own, and every call on record.

    Args:
        upstream: Where servers come from.
        authenticator: Who may connect, and as whom.
        submitter: Takes the operations.
        config: What to write into them; ``workspace_id`` and ``user_id`` are the client's identity, whatever it holds.
        list_client: Answers ``operations/list``; ``None`` leaves that to the server.
        max_connections: More clients are refused with 503; at least 1.
        max_frame: Longest message taken from a client, in bytes; a longer one closes its connection with 1009.
        handshake_timeout: How long a client may take to say what it wants, in seconds; it is cut off then.
        grace: How long a connection may go on after one side has ended, in seconds.
        origins: Web pages that may connect (values of the ``Origin`` header).  Clients that are no browser send none and
            always may: without this check any page that a user looks at could reach a gateway on the user's machine.
        observe: Is given the Interceptor of each connection and returns what watches the connection in its place: something
            that shows the Interceptor what it sees, and is closed with the connection.

    Raises:
        ConfigError: A value is wrong; nothing was made.
    """

    def __init__(
        self,
        upstream: Upstream,
        authenticator: Authenticator,
        submitter: Submitter,
        config: Config,
        *,
        list_client: ListClient | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_frame: int = MAX_FRAME,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        grace: float = GRACE,
        origins: Sequence[str] = (),
        observe: Callable[[FrameObserver], FrameObserver] | None = None,
    ) -> None:
        if max_connections < 1:
            raise ConfigError("max_connections", "must be at least 1")
        self._upstream = upstream
        self._authenticator = authenticator
        self._submitter = _CountingSubmitter(submitter)
        self._config = config
        self._list_client = list_client
        # A task that began on one connection may end on another one, where all of them reach one server.
        self._suspended = None
        if getattr(upstream, "is_shared", False):
            self._suspended = SuspendedCalls(max_calls=config.max_suspended, max_age=config.max_suspended_age)
        self._max_connections = max_connections
        self._max_frame = max_frame
        self._handshake_timeout = handshake_timeout
        self._grace = grace
        self._origins = [None, *(cast("Origin", origin) for origin in origins)]
        self._observe = observe
        self._stop = trio.Event()
        # From the moment a client has said who it is until its handler starts.
        self._configs: dict[ServerConnection, Config] = {}
        # From the moment a client is let in until everything of it has ended; the scope is its handler's.
        self._open: dict[ServerConnection, trio.CancelScope] = {}
        self._interceptors: set[Interceptor] = set()
        self._released = trio.Event()
        self._accepted = 0
        self._unauthenticated = 0
        self._refused = 0
        self._upstream_failures = 0
        self._undelivered_frames = 0
        self._log_errors = 0

    def __repr__(self) -> str:
        return f"<Gateway open_connections={len(self._open)} accepted={self._accepted}>"

    def statistics(self) -> GatewayStatistics:
        """What has been done so far."""
        return GatewayStatistics(
            open_connections=len(self._open),
            accepted=self._accepted,
            unauthenticated=self._unauthenticated,
            refused=self._refused,
            upstream_failures=self._upstream_failures,
            open_calls=self._open_calls(),
            recorded=self._submitter.submitted,
            undelivered_frames=self._undelivered_frames,
            log_errors=self._log_errors,
        )

    def _open_calls(self) -> int:
        seen = [interceptor.statistics() for interceptor in self._interceptors]
        # Where connections share one table, each of them counts all that wait there.
        suspended = sum(one.suspended_calls for one in seen) if self._suspended is None else len(self._suspended)
        return sum(one.open_calls for one in seen) + suspended

    def stop(self) -> None:
        """Take no more clients, close every connection with 1001, and let ``serve`` return.  Safe to repeat."""
        self._stop.set()

    async def serve(
        self, listeners: Sequence[trio.SocketListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until ``stop`` is called, and then until every connection has ended: within twice the grace period.

        When it returns or is cancelled no connection is open, no child runs, and every call has been handed on.  Once only.

        Args:
            listeners: Where clients connect to, as from ``trio.open_tcp_listeners``.  They are closed at the end.
            task_status: For ``nursery.start``: clients can connect when it returns.

        Raises:
            TrioRequiredError: The program runs under another event loop than Trio's; nothing is served.
        """
        require_trio("Gateway")
        try:
            async with trio.open_nursery() as nursery:
                server = await nursery.start(
                    partial(
                        serve,
                        self._handle,
                        listeners=list(listeners),
                        origins=self._origins,
                        select_subprotocol=_first,
                        compression=None,
                        process_request=self._authenticate,
                        process_response=self._admit,
                        server_header=None,
                        open_timeout=self._handshake_timeout,
                        ping_interval=PING_INTERVAL,
                        ping_timeout=None,
                        close_timeout=self._grace,
                        max_size=self._max_frame,
                        max_queue=_QUEUED_FRAMES,
                        logger=WEBSOCKETS_LOG,
                        create_connection=GatewayServerConnection,
                    )
                )
                task_status.started()
                await self._stop.wait()
                for scope in self._open.values():
                    scope.deadline = trio.current_time() + 2 * self._grace
                nursery.start_soon(partial(server.aclose, code=GOING_AWAY))
                while self._open:
                    await self._released.wait()
                nursery.cancel_scope.cancel()
        finally:
            if self._suspended is not None:
                self._suspended.close()

    async def _authenticate(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = Headers([(name.encode(), value.encode("latin-1", "replace")) for name, value in request.headers.raw_items()])
        try:
            identity = await self._authenticator.authenticate(headers)
            if identity is not None:
                self._configs[connection] = evolve(self._config, workspace_id=identity.workspace_id, user_id=identity.user_id)
                return None
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is let in; its text may hold a secret
            _log.error("the authenticator failed with %s", type(error).__name__)
            self._refused += 1
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Try again later.\n")
        self._unauthenticated += 1
        response = connection.respond(HTTPStatus.UNAUTHORIZED, "A bearer token is needed.\n")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _admit(self, connection: ServerConnection, _: Request, response: Response) -> Response | None:
        """Give a client that passed every check its place, or refuse it: there is no checkpoint between the two."""
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._configs.pop(connection, None)
            return None
        if len(self._open) >= self._max_connections:
            del self._configs[connection]
            self._refused += 1
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections.\n")
        self._open[connection] = trio.CancelScope()
        # A client that is lost before its handler starts would keep its place for ever.
        connection.nursery.start_soon(self._release_lost, connection)
        return None

    async def _release_lost(self, connection: ServerConnection) -> None:
        try:
            await connection.wait_closed()
        finally:
            if connection in self._configs:
                self._release(connection)

    def _release(self, connection: ServerConnection) -> None:
        self._configs.pop(connection, None)
        self._open.pop(connection, None)
        self._released.set()
        self._released = trio.Event()

    async def _handle(self, connection: ServerConnection) -> None:
        config = self._configs.pop(connection)
        operations = None
        if self._list_client is not None:
            operations = OperationsList(list_client=self._list_client, workspace_id=config.workspace_id)
        client = WebSocketFrames(connection)
        interceptor = Interceptor(self._submitter, config, suspended=self._suspended)
        observer: FrameObserver = interceptor
        if self._observe is not None:
            observer = self._observe(observer)
        self._accepted += 1
        self._interceptors.add(interceptor)
        try:
            with self._open[connection]:
                await self._put_through(client, connection.subprotocol, observer, operations)
        finally:
            with trio.CancelScope(shield=True):
                await client.aclose()
            observer.close()
            self._interceptors.discard(interceptor)
            self._release(connection)

    async def _put_through(
        self, client: FrameStream, subprotocol: str | None, observer: FrameObserver, operations: OperationsList | None
    ) -> None:
        try:
            async with self._upstream.connect(subprotocol) as server:
                report = await bridge(client, server, observer, operations=operations, grace=self._grace)
        except (OSError, InvalidHandshake) as error:
            self._upstream_failures += 1
            _log.error("there is no server for a client: %s", type(error).__name__)
            await client.send_closed(Closed(INTERNAL_ERROR, "no server"))
        else:
            self._undelivered_frames += report.undelivered_frames
            self._log_errors += report.observer_errors


class _CountingSubmitter:
    """Hands operations on, and counts them."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self.submitted = 0

    def submit(self, operation: Operation, /) -> None:
        """Hand on one operation."""
        self.submitted += 1
        self._submitter.submit(operation)


def _first(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The subprotocol that a client likes best; the server is asked for the same one."""
    return offered[0] if offered else None
