"""A real HTTP server on loopback whose behaviour a test scripts, request by request."""

from __future__ import annotations

import math
import socket as plain_socket
import struct
from collections import deque
from typing import Final, Self, TypeAlias

import h11
import trio
from attrs import frozen

from trio_oplog._errors import WireError
from trio_oplog._operation import Operation
from trio_oplog._wire import decode

LOOPBACK: Final = "127.0.0.1"
_READ_BYTES: Final = 65_536


@frozen(kw_only=True)
class Respond:
    """Answer a request.

    Attributes:
        status: The HTTP status.
        headers: More headers of the answer.
        body: Its body.
        delay: How long to wait before the first byte, in seconds.
    """

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: float = 0.0


@frozen
class Hang:
    """Never answer; the connection stays open.

    Attributes:
        at_most: After how long it is reset all the same, in seconds.
    """

    at_most: float = math.inf


@frozen
class Reset:
    """Reset the connection (TCP RST) once the request was read."""


Behaviour: TypeAlias = Respond | Hang | Reset


@frozen(kw_only=True)
class Request:
    """A request that arrived whole.

    Attributes:
        method: The method.
        target: The path and query.
        headers: Names in lower case.
        body: The body.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class FaultyEndpoint:
    """A loopback HTTP server that does what it is told, for testing what delivers operations.

    ::

        async with FaultyEndpoint() as endpoint:
            endpoint.script(Respond(status=503), Reset())   # the next two requests; then everything is accepted
            async with Client(endpoint.url, "secret") as client: ...
            assert endpoint.operations

    Attributes:
        behaviour: What happens to a request when no script is left.
        requests: What arrived, in order.
        operations: The operations of the requests that were answered with 2xx, in order; they may repeat.
    """

    def __init__(self) -> None:
        self.behaviour: Behaviour = Respond()
        self.requests: list[Request] = []
        self.operations: list[Operation] = []
        self._script: deque[Behaviour] = deque()
        self._port = 0
        self._listening: trio.CancelScope | None = None
        self._reserved: plain_socket.socket | None = None
        self._arrived = trio.Event()

    @property
    def url(self) -> str:
        """Where it listens; the same until it is left, also while it refuses."""
        return f"http://{LOOPBACK}:{self._port}/internal/operations"

    def script(self, *behaviours: Behaviour) -> None:
        """Say what happens to the next requests, one each; after them ``behaviour`` holds again."""
        self._script.extend(behaviours)

    async def refuse(self) -> None:
        """Refuse every new connection from now on; the open ones go on."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            await self._stopped.wait()
            # Bound but not listening: the port refuses, and nobody else gets it meanwhile.
            self._reserved = _bound(self._port)

    async def accept(self) -> None:
        """Listen again, on the same port."""
        if self._listening is None:
            if self._reserved is not None:
                self._reserved.close()
                self._reserved = None
            await self._nursery.start(self._listen)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests have arrived in all."""
        while len(self.requests) < count:
            await self._arrived.wait()

    async def __aenter__(self) -> Self:
        self._opened = trio.open_nursery()
        self._nursery = await self._opened.__aenter__()
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._nursery.cancel_scope.shield = True
        self._nursery.cancel_scope.cancel()
        # The nursery does not learn of the block's exception: it would wrap it in a group.
        await self._opened.__aexit__(None, None, None)
        if self._reserved is not None:
            self._reserved.close()

    async def _listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        listener = _bound(self._port)
        listener.listen(128)
        self._port = listener.getsockname()[1]
        self._stopped = trio.Event()
        try:
            with trio.CancelScope() as self._listening:
                stream = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
                task_status.started()
                await trio.serve_listeners(self._serve, [stream], handler_nursery=self._nursery)
        finally:
            self._stopped.set()

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while (request := await _next_request(stream, connection)) is not None:
                behaviour = self._script.popleft() if self._script else self.behaviour
                self.requests.append(request)
                self._arrived.set()
                self._arrived = trio.Event()
                if isinstance(behaviour, Hang):
                    await trio.sleep(behaviour.at_most)
                if not isinstance(behaviour, Respond):
                    stream.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                await self._respond(stream, connection, request, behaviour)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return  # the client went away in the middle: its good right
        finally:
            await trio.aclose_forcefully(stream)

    async def _respond(self, stream: trio.SocketStream, connection: h11.Connection, request: Request, respond: Respond) -> None:
        await trio.sleep(respond.delay)
        if 200 <= respond.status < 300:
            self.operations += _operations(request)
        length = [] if respond.status == 204 else [("Content-Length", str(len(respond.body)))]
        head = h11.Response(status_code=respond.status, headers=[*respond.headers, *length])
        data = connection.send(head) or b""
        if respond.body:
            data += connection.send(h11.Data(data=respond.body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        await stream.send_all(data)


def _bound(port: int) -> plain_socket.socket:
    made = plain_socket.socket(plain_socket.AF_INET, plain_socket.SOCK_STREAM)
    made.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_REUSEADDR, 1)
    made.bind((LOOPBACK, port))
    return made


async def _next_request(stream: trio.SocketStream, connection: h11.Connection) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_READ_BYTES))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Request(method=head.method.decode(), target=head.target.decode(), headers=headers, body=body)
        else:
            return None


def _operations(request: Request) -> list[Operation]:
    if request.method != "POST":
        return []
    ndjson = "ndjson" in request.headers.get("content-type", "")
    documents = request.body.split(b"\n") if ndjson else [request.body]
    found = []
    for document in filter(None, documents):
        try:
            found.append(decode(document))
        except WireError:
            continue  # not an operation: the test has the request itself
    return found
