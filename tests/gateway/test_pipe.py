"""Pipes, and lines over them that are sent without waiting."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trio_oplog.gateway import Line, LineFrames, LinePart, Lines
from trio_oplog.gateway._pipe import Pipe, SendsNowait

pytestmark = pytest.mark.usefixtures("nothing_leaks")

BIG = bytes(range(256)) * 4096  # more than a pipe takes


def pipe() -> tuple[Pipe, Pipe]:
    """The end that reads, and the end that writes."""
    reading, writing = os.pipe()
    return Pipe(reading), Pipe(writing)


async def read_all(stream: Pipe, received: bytearray) -> None:
    while chunk := await stream.receive_some():
        received += chunk


async def test_what_is_sent_arrives_however_much_it_is() -> None:
    reading, writing = pipe()
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, reading, received)
        await writing.wait_send_all_might_not_block()
        await writing.send_all(BIG)
        await writing.aclose()
    assert received == BIG
    await reading.aclose()


async def test_what_there_is_no_room_for_is_not_taken() -> None:
    reading, writing = pipe()
    taken = writing.send_nowait(BIG)
    assert 0 < taken < len(BIG)
    assert writing.send_nowait(BIG) == 0
    assert await reading.receive_some(7) == BIG[:7]
    await reading.aclose()
    with pytest.raises(trio.BrokenResourceError):
        writing.send_nowait(b"x")
    await writing.aclose()
    await writing.aclose()
    with pytest.raises(trio.ClosedResourceError):
        writing.send_nowait(b"x")


async def test_who_was_not_first_goes_on_waiting() -> None:
    reading, writing = pipe()
    other = Pipe(os.dup(reading._fd))
    got: list[bytes] = []

    async def read(stream: Pipe) -> None:
        got.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, reading)
        nursery.start_soon(read, other)
        await wait_all_tasks_blocked()
        writing.send_nowait(b"a")
        while not got:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked(0.01)
        writing.send_nowait(b"b")
    assert got == [b"a", b"b"]
    for stream in (reading, other, writing):
        await stream.aclose()


async def test_an_end_that_cannot_be_read_is_a_broken_resource() -> None:
    reading, writing = pipe()
    await reading.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await writing.receive_some()
    await writing.aclose()


# Lines over pipes


async def test_lines_are_taken_at_once_where_there_is_room() -> None:
    reading, writing = pipe()
    frames = LineFrames(reading, writing)
    assert frames.send_nowait(Lines([b"one\n", b"two\n"], b"one\ntwo\n"))
    assert frames.send_nowait(["three", Line(b"the last of an input")])
    assert frames.send_nowait(Lines([b"four\n"], b"four\n"))
    assert await reading.receive_some() == b"one\ntwo\nthree\nthe last of an input\nfour\n"
    await frames.aclose()
    with pytest.raises(trio.BrokenResourceError):
        frames.send_nowait(["five"])


async def test_what_is_not_taken_at_once_is_sent_before_anything_else() -> None:
    reading, writing = pipe()
    frames = LineFrames(reading, writing)
    long = [Line(BIG + b"\n")]
    received = bytearray()
    async with trio.open_nursery() as nursery:
        assert not frames.send_nowait(long)
        assert not frames.send_nowait(["in between"])
        nursery.start_soon(frames.send, "after")
        await wait_all_tasks_blocked()
        nursery.start_soon(read_all, reading, received)
        await frames.send_many(long)
        assert not frames.send_nowait([LinePart(b"a part "), LinePart(b"and its end\n")])
        await wait_all_tasks_blocked(0.01)
        await writing.aclose()
    assert received == BIG + b"\nafter\n"
    await frames.aclose()


async def test_a_stream_that_cannot_send_without_waiting_takes_nothing_at_once() -> None:
    outgoing, other = memory_stream_pair()
    frames = LineFrames(other, outgoing)
    assert not isinstance(outgoing, SendsNowait)
    assert not frames.send_nowait(["one"])
    await frames.send_many(["one"])
    assert await other.receive_some() == b"one\n"


def test_some_of_several_lines_are_lines_as_well() -> None:
    lines = Lines([b"one\n", b"two\n", b"three\n"], b"one\ntwo\nthree\n")
    some = lines[1:]
    assert isinstance(some, Lines)
    assert (list(some), some.data, len(some)) == ([b"two\n", b"three\n"], b"two\nthree\n", 2)
    assert type(lines[0]) is Line
