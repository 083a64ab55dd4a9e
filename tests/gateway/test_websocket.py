"""Frames over WebSocket."""

from __future__ import annotations

import logging

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from trio_oplog.gateway import Closed, GatewayServerConnection, Line, WebSocketFrames

from .conftest import websocket_pair


async def test_text_stays_text_and_binary_stays_binary() -> None:
    async with websocket_pair() as (ours, theirs):
        frames = WebSocketFrames(ours)
        for frame in ("text \u2028\0", b"binary \xff\0", "", b""):
            await theirs.send(frame)
            received = await frames.receive()
            assert (type(received), received) == (type(frame), frame)
            await frames.send(received)
            echoed = await theirs.recv()
            assert (type(echoed), echoed) == (type(frame), frame)


async def test_a_message_in_fragments_is_one_frame() -> None:
    async with websocket_pair() as (ours, theirs):
        await theirs.send(["one ", "mess", "age"])
        assert await WebSocketFrames(ours).receive() == "one message"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (Line(b'{"a":1}\n'), '{"a":1}'),
        (Line(b'{"a":1}\r\n'), '{"a":1}\r'),
        (Line(b'{"a":1}'), '{"a":1}'),
        (Line(b"\xff\n"), b"\xff"),
    ],
)
async def test_a_line_becomes_a_message(line: Line, message: str | bytes) -> None:
    async with websocket_pair() as (ours, theirs):
        frames = WebSocketFrames(ours)
        await frames.send(Line(b"\n"))
        await frames.send(Line(b" \r\n"))
        await frames.send(line)
        assert await theirs.recv() == message


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_a_close_code_is_received(code: int) -> None:
    async with websocket_pair() as (ours, theirs):
        frames = WebSocketFrames(ours)
        await theirs.send("before")
        await theirs.aclose(code, "good-bye")
        assert await frames.receive() == "before"
        assert await frames.receive() == Closed(code, "good-bye")
        assert await frames.receive() == Closed(code, "good-bye")
        with pytest.raises(trio.BrokenResourceError):
            await frames.send("after")


async def test_a_lost_connection_is_an_abnormal_closure() -> None:
    async with websocket_pair() as (ours, theirs):
        await trio.aclose_forcefully(theirs.stream)
        assert await WebSocketFrames(ours).receive() == Closed(1006)


async def test_who_closed_first_says_why() -> None:
    async with websocket_pair() as (ours, theirs):
        frames = WebSocketFrames(ours)
        await frames.send_closed(Closed(4001, "ours"))
        with pytest.raises(ConnectionClosed):
            await theirs.recv()
        assert await frames.receive() == Closed(4001, "ours")


async def test_a_message_over_the_limit_closes_with_1009() -> None:
    async with websocket_pair(max_size=10) as (ours, theirs):
        await theirs.send("x" * 11)
        closed = await WebSocketFrames(ours).receive()
        assert isinstance(closed, Closed)
        assert closed.code == 1009
        await theirs.wait_closed()
        assert theirs.close_code == 1009


async def test_text_that_is_no_utf8_closes_with_1007() -> None:
    async with websocket_pair() as (ours, theirs):
        await theirs.send(b"\xff", text=True)
        closed = await WebSocketFrames(ours).receive()
        assert isinstance(closed, Closed)
        assert closed.code == 1007


@pytest.mark.parametrize(
    ("closed", "as_client", "as_server"),
    [
        (Closed(1000, "bye"), Closed(1000, "bye"), Closed(1000, "bye")),
        (Closed(1000, half=True), Closed(1000), Closed(1000)),
        (Closed(4321), Closed(4321), Closed(4321)),
        (Closed(1005), Closed(1000), Closed(1000)),
        (Closed(1006, "gone"), Closed(1001, "gone"), Closed(1011, "gone")),
        (Closed(1015), Closed(1001), Closed(1011)),
        (Closed(2999), Closed(1001), Closed(1011)),
        (Closed(1000, "é" * 62), Closed(1000, "é" * 61), Closed(1000, "é" * 61)),
    ],
)
def test_a_code_that_no_close_frame_may_carry_is_told_as_one_that_it_may(
    closed: Closed, as_client: Closed, as_server: Closed
) -> None:
    assert closed.as_client() == as_client
    assert closed.as_server() == as_server


async def test_an_illegal_code_is_never_sent() -> None:
    async with websocket_pair() as (ours, theirs):
        await WebSocketFrames(ours).send_closed(Closed(1006))
        assert theirs.close_code == 1011


async def test_cutting_off_ends_a_connection_whose_reader_is_held_back() -> None:
    async with websocket_pair(max_queue=(1, 0)) as (ours, theirs):
        for number in range(8):
            await theirs.send(f"nobody reads {number}")
        while ours.recv_flow_control is None:
            await trio.lowlevel.checkpoint()
        with trio.fail_after(60):
            await WebSocketFrames(ours).aclose()
            await ours.wait_closed()
            await WebSocketFrames(ours).aclose()


async def test_a_ping_is_answered() -> None:
    async with websocket_pair() as (ours, theirs):
        WebSocketFrames(ours)
        with trio.fail_after(60):
            await (await theirs.ping()).wait()


def test_websockets_never_writes_frames_to_the_log() -> None:
    assert not logging.getLogger("trio_oplog.gateway.websockets").isEnabledFor(logging.DEBUG)


async def test_a_connection_that_cannot_send_is_read_until_it_is_lost() -> None:
    async with websocket_pair(create_connection=GatewayServerConnection) as (ours, theirs), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send_more_than_anybody_takes() -> None:
            with pytest.raises(ConnectionClosed):
                while True:
                    await ours.send("x" * 2**20)

        while theirs.recv_flow_control is None:
            await trio.lowlevel.checkpoint()
        frames = WebSocketFrames(ours)
        for number in range(30):
            await theirs.ping()
            await theirs.send(str(number))
            assert await frames.receive() == str(number)
        # The replies wait behind the message that nobody takes; there is an end to how many may.
        assert ours.protocol.writes
        for _ in range(100):
            await theirs.ping()
        await frames.aclose()
        await ours.wait_closed()
        await WebSocketFrames(theirs).aclose()
