"""Our own standard input and output."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trio_oplog.gateway import inherited_stream
from trio_oplog.gateway._stdio import _ThreadedFile

BIG = bytes(range(256)) * 4096  # more than any buffer between two ends takes


class Ends:
    """One descriptor to hand over, and the other end of it."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.ours = ours
        self.theirs = theirs
        self.flags = fcntl.fcntl(ours, fcntl.F_GETFL)


def pipe(*, reading: bool) -> Ends:
    read, write = os.pipe()
    return Ends(read, write) if reading else Ends(write, read)


def unix_socket(*, reading: bool) -> Ends:
    ours, theirs = socket.socketpair()
    return Ends(ours.detach(), theirs.detach())


@pytest.fixture(params=[pipe, unix_socket])
def reading(request: pytest.FixtureRequest, nothing_leaks: None) -> Iterator[Ends]:
    ends = request.param(reading=True)
    yield ends
    assert os.readlink(f"/proc/self/fd/{ends.ours}") == "/dev/null"
    os.close(ends.ours)
    os.close(ends.theirs)


@pytest.fixture(params=[pipe, unix_socket])
def writing(request: pytest.FixtureRequest, nothing_leaks: None) -> Iterator[Ends]:
    ends = request.param(reading=False)
    yield ends
    assert os.readlink(f"/proc/self/fd/{ends.ours}") == "/dev/null"
    os.close(ends.ours)
    os.close(ends.theirs)


async def test_what_is_written_to_it_is_read_and_no_flag_is_touched(reading: Ends) -> None:
    stream = inherited_stream(reading.ours)
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, write_all, reading.theirs, BIG)
        while len(received) < len(BIG):
            received += await stream.receive_some()
            assert fcntl.fcntl(reading.ours, fcntl.F_GETFL) == reading.flags
    assert received == BIG
    await stream.aclose()
    await stream.aclose()


async def test_what_it_writes_is_read_and_no_flag_is_touched(writing: Ends) -> None:
    stream = inherited_stream(writing.ours)
    received = bytearray()

    def read_all() -> None:
        while len(received) < len(BIG):
            received.extend(os.read(writing.theirs, 65_536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, read_all)
        await stream.send_all(BIG)
        assert fcntl.fcntl(writing.ours, fcntl.F_GETFL) == writing.flags
    assert received == BIG
    await stream.wait_send_all_might_not_block()
    await stream.aclose()


async def test_reading_can_be_cancelled(reading: Ends) -> None:
    stream = inherited_stream(reading.ours)
    with trio.move_on_after(0.01) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    await stream.aclose()


async def test_the_other_end_sees_that_it_was_closed(writing: Ends) -> None:
    await inherited_stream(writing.ours).aclose()
    assert os.read(writing.theirs, 1) == b""


async def test_closing_wakes_who_reads(reading: Ends) -> None:
    stream = inherited_stream(reading.ours)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()

        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


@pytest.mark.parametrize("make", [pipe, unix_socket])
async def test_writing_to_nobody_is_a_broken_resource(make: object, nothing_leaks: None) -> None:
    ends = make(reading=False)  # type: ignore[operator]
    stream = inherited_stream(ends.ours)
    os.close(ends.theirs)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    await stream.aclose()
    os.close(ends.ours)


async def test_a_broken_socket_ends_the_reading(nothing_leaks: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours = listener.accept()[0].detach()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets the connection
    theirs.close()
    stream = inherited_stream(ours)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.aclose()
    os.close(ours)


async def test_files_are_read_and_written_too(tmp_path: Path, nothing_leaks: None) -> None:
    path = tmp_path / "file"
    out = os.open(path, os.O_CREAT | os.O_WRONLY)
    stream = inherited_stream(out)
    await stream.send_all(BIG)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    os.close(out)

    back = os.open(path, os.O_RDONLY)
    stream = inherited_stream(back)
    received = bytearray()
    while chunk := await stream.receive_some():
        received += chunk
    assert received == BIG
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    await stream.aclose()
    os.close(back)


async def test_a_terminal_is_read_and_written_and_its_mode_is_left_alone() -> None:
    theirs, ours = pty.openpty()
    flags = fcntl.fcntl(ours, fcntl.F_GETFL)
    stream = inherited_stream(ours)
    os.write(theirs, b"typed\n")
    assert await stream.receive_some() == b"typed\n"
    await stream.send_all(b"shown")
    shown = b""
    while b"shown" not in shown:  # what was typed is echoed, and may come alone
        shown += os.read(theirs, 100)
    assert fcntl.fcntl(ours, fcntl.F_GETFL) == flags
    await stream.aclose()
    os.close(theirs)
    os.close(ours)


async def test_a_descriptor_that_somebody_made_non_blocking_works_in_threads(nothing_leaks: None) -> None:
    ours, theirs = os.pipe()
    other, back = os.pipe()
    for fd in (ours, back):
        os.set_blocking(fd, False)
    reader, writer = _ThreadedFile(ours), _ThreadedFile(back)
    received = bytearray()

    def answer() -> None:
        while len(received) < len(BIG):
            received.extend(os.read(other, 65_536))
        os.write(theirs, b"late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, answer)
        await writer.wait_send_all_might_not_block()
        await writer.send_all(BIG)
        assert await reader.receive_some() == b"late"
    assert received == BIG
    await reader.aclose()
    await writer.aclose()
    await writer.aclose()
    for fd in (ours, theirs, other, back):
        os.close(fd)


async def test_a_pipe_that_cannot_be_opened_anew_is_served_by_threads(nothing_leaks: None) -> None:
    ours, theirs = os.pipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (theirs, hard))
    try:
        stream = inherited_stream(ours)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.write(theirs, b"hello")
    assert await stream.receive_some() == b"hello"
    assert isinstance(stream, _ThreadedFile)
    await stream.aclose()
    os.close(ours)
    os.close(theirs)


def write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
