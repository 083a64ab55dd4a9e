"""Recorded traffic arrives byte for byte, whatever becomes of its log."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair
from websockets.trio.client import connect
from websockets.trio.server import ServerConnection

from tests.naive import SESSIONS as RECORDED_SESSIONS
from trio_oplog import Client, Config, Interceptor, Operation
from trio_oplog._wire import decode
from trio_oplog.gateway import LineFrames, WebSocketUpstream, bridge

from .conftest import CAPTURES, LOOPBACK, Recorder, captured, websocket_server
from .test_server import running

SESSIONS = [str(path.relative_to(CAPTURES)) for path in RECORDED_SESSIONS]
SIZES = (1, 2, 7, 100, 1460, 65_536)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONFIG = Config(source="test", workspace_id="ws-1")


class Log:
    """The endpoint of a Client: well, dead, hanging or slow."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.stored: dict[str, Operation] = {}

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        match self.state:
            case "dead":
                raise httpx.ConnectError("refused")
            case "hanging":
                await trio.sleep_forever()
            case "slow":
                await trio.sleep(0.7)
        for line in request.content.split(b"\n"):
            operation = decode(line)
            self.stored[operation.id] = operation
        return httpx.Response(201)


class Both:
    """A Client, and what it was given."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.given: list[Operation] = []

    def submit(self, operation: Operation, /) -> None:
        self.given.append(operation)
        self.client.submit(operation)


def counting() -> Iterator[str]:
    return (str(uuid.UUID(int=number)) for number in itertools.count())


def pieces(text: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    while text:
        size = next(sizes)
        yield text[:size]
        text = text[size:]


async def play(session: str, state: str, sizes: Sequence[int]) -> list[Operation]:
    """Play a session through a bridge whose log is in this state; what was given to the log."""
    log = Log(state)
    cuts = itertools.cycle(sizes)
    client_side, client_end = memory_stream_pair()
    server_side, server_end = memory_stream_pair()
    http = httpx.AsyncClient(transport=httpx.MockTransport(log))
    async with Client("http://log.test/operations", "secret", capacity=16, http=http, drain_timeout=2) as client:
        both = Both(client)
        ids = counting()
        interceptor = Interceptor(both, CONFIG, clock=lambda: NOON, monotonic=lambda: 1.0, new_id=lambda: next(ids))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge, LineFrames(client_end, client_end), LineFrames(server_end, server_end), interceptor)
            for way, records in groupby(captured(session), key=lambda record: record[0]):
                sent = b"".join(frame.encode() + b"\n" for _, frame in records)
                source, target = (client_side, server_side) if way == "c2s" else (server_side, client_side)
                for piece in pieces(sent, cuts):
                    await source.send_all(piece)
                arrived = b""
                while len(arrived) < len(sent):
                    arrived += await target.receive_some()
                assert arrived == sent
            await client_side.send_eof()
            await server_side.send_eof()
    statistics = client.statistics()
    assert statistics.submitted == len(both.given)
    assert statistics.queued == statistics.in_flight == 0
    given_ids = {operation.id for operation in both.given}
    lost = sum(statistics.dropped.values())
    # What the ledger does not name as dropped is stored, unaltered.
    assert len(given_ids) - lost <= len(log.stored) <= len(given_ids)
    assert all(log.stored[operation.id] == operation for operation in both.given if operation.id in log.stored)
    assert (lost == 0) or state != "well"
    return both.given


@given(session=st.sampled_from(SESSIONS), sizes=st.lists(st.sampled_from(SIZES)).map(lambda sizes: [*sizes, 65_536]))
@settings(max_examples=25, deadline=None)
def test_a_session_arrives_whole_and_its_operations_do_not_depend_on_the_log(session: str, sizes: list[int]) -> None:
    operations = [
        trio.run(play, session, state, sizes, clock=MockClock(autojump_threshold=0))
        for state in ("well", "dead", "hanging", "slow")
    ]
    assert operations[0] == operations[1] == operations[2] == operations[3]


@pytest.mark.parametrize("session", SESSIONS)
async def test_a_session_arrives_whole_over_websockets_cut_into_pieces(session: str, recorder: Recorder) -> None:
    """Every byte of the WebSocket connection goes through a relay that cuts it up."""
    records = captured(session)
    upstream_has = trio.Event()
    ends: list[ServerConnection] = []

    async def keep(connection: ServerConnection) -> None:
        ends.append(connection)
        upstream_has.set()
        await connection.wait_closed()

    cuts = itertools.cycle(SIZES)

    async def relay(source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for chunk in source:
            for piece in pieces(bytes(chunk), cuts):
                await target.send_all(piece)
        await target.send_eof()

    async with websocket_server(keep) as upstream_url, running(recorder, WebSocketUpstream(upstream_url)) as gateway:
        port = int(gateway.url.rpartition(":")[2])

        async def through(stream: trio.SocketStream) -> None:
            async with stream, await trio.open_tcp_stream(LOOPBACK, port) as onward, trio.open_nursery() as nursery:
                nursery.start_soon(relay, stream, onward)
                nursery.start_soon(relay, onward, stream)

        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, through, 0, host=LOOPBACK))
            url = f"ws://{LOOPBACK}:{listener.socket.getsockname()[1]}"
            async with connect(url, max_size=None, compression=None, proxy=None) as client:
                await upstream_has.wait()
                for way, frame in records:
                    source, target = (client, ends[0]) if way == "c2s" else (ends[0], client)
                    async with trio.open_nursery() as both:
                        both.start_soon(source.send, frame)
                        assert await target.recv() == frame
            nursery.cancel_scope.cancel()
    expected = Recorder()
    with Interceptor(expected, CONFIG) as interceptor:
        for way, frame in records:
            (interceptor.on_client_frame if way == "c2s" else interceptor.on_server_frame)(frame)
    assert Counter((op.tool, op.request_id, op.is_error) for op in recorder.operations) == Counter(
        (op.tool, op.request_id, op.is_error) for op in expected.operations
    )
