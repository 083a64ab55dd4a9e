"""Frames over byte streams."""

from __future__ import annotations

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trio_oplog import ConfigError
from trio_oplog.gateway import Closed, Line, LineFrames, LinePart, Lines


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


@given(
    lines=st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=6),
    tail=st.binary(max_size=12).filter(lambda line: b"\n" not in line),
    cuts=st.lists(st.integers(1, 20), max_size=30),
    limit=st.integers(1, 16),
)
@example(lines=[b"0123456789"], tail=b"", cuts=[4, 4], limit=3)
@example(lines=[b"0123456789", b"x"], tail=b"0123", cuts=[], limit=3)
def test_however_an_input_is_cut_every_byte_of_it_comes_out(lines: list[bytes], tail: bytes, cuts: list[int], limit: int) -> None:
    text = b"".join(line + b"\n" for line in lines) + tail
    chunks, rest = [], text
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    chunks = [chunk for chunk in (*chunks, rest) if chunk]

    received = trio.run(everything, lines_of(*chunks, max_frame=limit, oversized="pass"))
    assert received.pop() == END
    assert b"".join(received) == text

    whole = [frame for frame in received if not isinstance(frame, LinePart)]
    expected = [line for line in (*(line + b"\n" for line in lines), tail) if line and len(line) <= limit]
    assert whole == expected
    assert all(type(frame) is Line for frame in whole)
    # A piece is never longer than what was held and what has just come.
    assert all(len(frame) <= limit + max(map(len, chunks)) for frame in received)


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
        ('{\r\n  "a": 1\n}\n', b'{    "a": 1 } \n'),
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


async def test_nothing_gets_between_the_pieces_of_a_line() -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    async with trio.open_nursery() as nursery:
        await frames.send(LinePart(b"begin "))
        nursery.start_soon(frames.send, "an answer")
        await wait_all_tasks_blocked()
        await frames.send(LinePart(b"middle "))
        await frames.send(LinePart(b"end\n"))
    assert await other.receive_some() == b"begin middle end\nan answer\n"


async def test_several_frames_at_once_are_the_lines_that_they_are_one_by_one() -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    await frames.send_many([Line(b"one\r\n"), "two", Line(b"the last of an input"), b"{\n}"])
    assert await other.receive_some() == b"one\r\ntwo\nthe last of an input\n{ }\n"
    await frames.send_many([Line(b"whole\n"), LinePart(b"begin "), LinePart(b"end\n"), "after"])
    assert await other.receive_some() == b"whole\nbegin end\nafter\n"


async def test_what_a_read_has_brought_comes_at_once() -> None:
    frames = lines_of(b"one\ntwo\nthr", b"ee", b"\n", b"four")
    lines = await frames.receive_many()
    assert isinstance(lines, Lines)
    assert (list(lines), lines.texts, lines.data) == ([b"one\n", b"two\n"], [b"one\n", b"two\n"], b"one\ntwo\n")
    assert [list(await frames.receive_many()) for _ in range(2)] == [[b"three\n"], [b"four"]]
    assert await frames.receive_many() == Closed(half=True)


async def test_who_takes_very_many_lines_gives_others_a_turn_between_them() -> None:
    frames = lines_of(b"\n" * 1_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        batches = 0
        while not isinstance(lines := await frames.receive_many(), Closed):
            assert len(lines) <= 64
            batches += 1
        nursery.cancel_scope.cancel()
    assert batches == 16
    assert turns >= batches


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
            senders.start_soon(frames.send_many, ["d" * 20, "d" * 20])
        await frames.send_closed(Closed())
    assert sorted(received.split(b"\n")) == [b"", b"a" * 40, b"b" * 40, b"c" * 40, b"d" * 20, b"d" * 20]


@pytest.mark.parametrize("which", ["the other end has gone", "this end was closed"])
async def test_sending_to_nobody_is_a_broken_resource(which: str) -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(Chunks(), outgoing)
    await (other if which == "the other end has gone" else frames).aclose()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            await frames.send(LinePart(b"x"))


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
