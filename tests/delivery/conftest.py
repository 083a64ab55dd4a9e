"""Real HTTP servers on loopback that do exactly what a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import h11
import httpx
import pytest
import trio

from tests.conftest import PAYLOAD
from trio_oplog import Client

SECRET = "a-secret-to-be-seen-nowhere"


@attrs.define
class Request:
    """What the server got."""

    headers: dict[str, str]
    body: bytes
    stream: trio.SocketStream
    number: int

    @property
    def documents(self) -> list[dict[str, Any]]:
        if self.headers["content-type"] == "application/x-ndjson":
            return [json.loads(line) for line in self.body.splitlines()]
        return [json.loads(self.body)]

    @property
    def ids(self) -> list[str]:
        return [document["id"] for document in self.documents]


@attrs.define
class Response:
    """What the server says: a whole answer, after which the connection lives on."""

    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""


class HangupError(Exception):
    """Raised by an answer: the connection ends here, without another word."""


Answer = Callable[[Request], Awaitable[Response | None]]


def account(request: Request) -> Response:
    """What the collector says to a batch that it stores."""
    return Response(body=json.dumps({"stored": request.ids, "refused": []}).encode())


class Server:
    """Counts, and answers as told; by default it stores everything."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.stored: list[str] = []
        self.connections = 0
        self.at_once = self.most_at_once = 0
        self.answer: Answer = self.store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/internal/operations"

    async def store(self, request: Request) -> Response:
        self.stored += request.ids
        return account(request)

    async def hang(self, _: Request) -> None:
        await trio.sleep_forever()

    def then(self, *answers: Response | Answer) -> None:
        """Give these answers in turn, and store what comes after."""
        left = iter(answers)

        async def scripted(request: Request) -> Response | None:
            answer = next(left, self.store)
            return answer if isinstance(answer, Response) else await answer(request)

        self.answer = scripted

    async def handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while await self._one(connection, stream):
                    connection.start_next_cycle()
        except (HangupError, trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass

    async def _one(self, connection: h11.Connection, stream: trio.SocketStream) -> bool:
        headers: dict[str, str] = {}
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        request = Request(headers, body, stream, len(self.requests))
        self.requests.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            response = await self.answer(request)
        finally:
            self.at_once -= 1
        if response is None:
            return False
        data = connection.send(
            h11.Response(
                status_code=response.status,
                headers=[*response.headers.items(), ("Content-Length", str(len(response.body)))],
            )
        )
        data += connection.send(h11.Data(data=response.body)) + connection.send(h11.EndOfMessage())
        await stream.send_all(data)
        return True


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a port of its own, until the test ends."""
    async with serving() as server:
        yield server


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listeners[0].socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, server.handle, listeners)
        yield server
        nursery.cancel_scope.cancel()


@pytest.fixture
def balanced() -> Callable[[Client], bool]:
    """Whether a client's ledger balances."""

    def check(client: Client) -> bool:
        now = client.statistics()
        assert sum(now.dropped.values()) == client.dropped
        assert min(now.queued, now.in_flight, now.delivered, now.submitted) >= 0
        return now.submitted == now.delivered + sum(now.dropped.values()) + now.queued + now.in_flight

    return check


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other tasks and threads bring about; nothing tells when."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 -- threads and sockets set no events of ours
            await trio.sleep(0.001)


@pytest.fixture(name="until")
def until_fixture() -> Callable[[Callable[[], object]], Awaitable[None]]:
    return until


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def payload() -> str:
    return PAYLOAD


@pytest.fixture
def respond() -> type[Response]:
    return Response


@pytest.fixture
def hang_up() -> type[HangupError]:
    return HangupError


@pytest.fixture
def mock_http() -> Callable[[Callable[[httpx.Request], Any]], AbstractAsyncContextManager[httpx.AsyncClient]]:
    """An HTTP client whose transport is a function: for virtual time, where a real socket would be too slow."""

    @asynccontextmanager
    async def make(handler: Callable[[httpx.Request], Any]) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
            yield http

    return make
