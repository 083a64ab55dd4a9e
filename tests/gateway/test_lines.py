"""Frames over byte streams."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from trio_oplog import ConfigError
from trio_oplog.gateway import Closed, Line, LineFrames


class Chunks(trio.abc.ReceiveStream):
    """An input that arrives in exactly these pieces."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.chunks.pop(0) if self.chunks else b""

    async def aclose(self) -> None:
        self.closed = True


def lines_of(*chunks: bytes, **options: object) -> LineFrames:
    outgoing, _ = memory_stream_pair()
    return LineFrames(Chunks(*chunks), outgoing, **options)


async def everything(frames: LineFrames) -> list[bytes | str | Closed]:
    received: list[bytes | str | Closed] = []
    while True:
        frame = await frames.receive()
        received.append(frame)
        if isinstance(frame, Closed):
            return received


END = Closed(1000, "", half=True)


async def test_a_line_ends_with_a_newline_and_with_nothing_else() -> None:
    text = b'{"a":1}\r\n{"b":"\xe2\x80\xa8"}\n\rx\x0b\x0c\x85\n\n{"c":3}\n'
    assert await everything(lines_of(text)) == [
        b'{"a":1}\r\n',
        b'{"b":"\xe2\x80\xa8"}\n',
        b"\rx\x0b\x0c\x85\n",
        b"\n",
        b'{"c":3}\n',
        END,
    ]


async def test_the_last_line_may_lack_its_newline() -> None:
    assert await everything(lines_of(b"one\ntw", b"o")) == [b"one\n", b"two", END]


async def test_an_input_that_has_ended_stays_ended() -> None:
    frames = lines_of()
    assert await frames.receive() == END
    assert await frames.receive() == END


async def test_a_broken_input_ends_with_an_abnormal_closure() -> None:
    outgoing, incoming = memory_stream_pair()
    frames = LineFrames(incoming, outgoing)
    await incoming.aclose()
    assert await frames.receive() == Closed(1006)


async def test_a_line_over_the_limit_ends_the_input_as_a_websocket_would() -> None:
    frames = lines_of(b"ok\n", b"123", b"456", b"\nnever read\n", max_frame=5)
    assert await everything(frames) == [b"ok\n", Closed(1009, "line too long")]
    assert await frames.receive() == Closed(1009, "line too long")


async def test_a_whole_line_over_the_limit_in_one_chunk_ends_the_input_too() -> None:
    assert await everything(lines_of(b"ok\n123456\nnever\n", max_frame=5)) == [b"ok\n", Closed(1009, "line too long")]


@pytest.mark.parametrize(
    ("frame", "sent"),
    [
        (Line(b"as it is\r\n"), b"as it is\r\n"),
        (Line(b"no newline"), b"no newline"),
        ('{"t":"\u2028"}', '{"t":"\u2028"}\n'.encode()),
        (b'{"b":1}', b'{"b":1}\n'),
        ('{\r\n  "a": 1\n}\n', b'{    "a": 1 }\n'),
        ('{"a":1}\r\n', b'{"a":1}\n'),
        ('{"a":1}\n{"a":\n2}{"a":3}', b'{"a":1}\n{"a": 2}\n{"a":3}\n'),
        (b'{"a":1}\nno json\n\n', b'{"a":1}\nno json\n'),
        (b'{"a":"\xff"}\n{}', b'{"a":"\xff"}\n{}\n'),
        ("", b"\n"),
        (Line(b""), b""),
    ],
)
async def test_what_is_sent_is_one_line(frame: bytes | str, sent: bytes) -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    await frames.send(frame)
    await frames.send_closed(Closed())
    assert await other.receive_some() == sent


async def test_a_frame_after_a_line_without_newline_begins_on_a_line_of_its_own() -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    await frames.send(Line(b"the last of the input"))
    await frames.send("an answer")
    assert await other.receive_some() == b"the last of the input\nan answer\n"


async def test_frames_of_several_tasks_never_mix() -> None:
    outgoing, other = trio.testing.lockstep_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    received = bytearray()

    async def read() -> None:
        while chunk := await other.receive_some(7):
            received.extend(chunk)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        async with trio.open_nursery() as senders:
            for letter in "abc":
                senders.start_soon(frames.send, letter * 40)
        await frames.send_closed(Closed())
    assert sorted(received.split(b"\n")) == [b"", b"a" * 40, b"b" * 40, b"c" * 40]


@pytest.mark.parametrize("which", ["the other end has gone", "this end was closed"])
async def test_sending_to_nobody_is_a_broken_resource(which: str) -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    await (other if which == "the other end has gone" else frames).aclose()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            await frames.send(Line(b"x"))


async def test_closing_closes_both_streams_even_when_cancelled() -> None:
    outgoing, _ = memory_stream_pair()
    incoming = Chunks()
    with trio.CancelScope() as scope:
        scope.cancel()
        await LineFrames(incoming, outgoing).aclose()
    assert incoming.closed
    with pytest.raises(trio.ClosedResourceError):
        await outgoing.send_all(b"x")


def test_a_limit_below_one_byte_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_frame must be at least 1"):
        lines_of(max_frame=0)
