"""With ``wrap`` and without it nobody can tell the difference: every kind of server is driven directly and through it.

No time is compared here: where one byte must come before the next is asked for, the client asks for the next one only then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from .conftest import PRELUDE, PYTHON, Program, gone, running, wrapping

Drive = Callable[[Program, Path], Awaitable[list[Any]]]


class Kind(NamedTuple):
    """A kind of server, and a client that says what it saw of it."""

    script: str
    drive: Drive
    options: tuple[str, ...] = ()


async def drive_echo(program: Program, told: Path) -> list[Any]:
    seen: list[Any] = []
    for line in (b"one\n", b'{"id":1,"method":"tools/call","params":{"name":"t"}}\n', b"\r\n", b"\n"):
        await program.send(line)
        seen.append(await program.receive(len(line)))
    await program.stdin.aclose()
    return [*seen, await program.receive_all(), await program.wait()]


async def drive_framed(program: Program, told: Path) -> list[Any]:
    body = b'{"id":1,"method":"tools/call","params":{"name":"t"}}'
    message = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    seen: list[Any] = []
    for cuts in ([message], [message[:4], message[4:20], message[20:-3], message[-3:]]):
        for piece in cuts:
            await program.send(piece)
            seen.append(await program.receive(len(piece)))  # the server repeats each piece before it has the next
    await program.stdin.aclose()
    return [*seen, await program.wait()]


async def drive_no_newline(program: Program, told: Path) -> list[Any]:
    await program.send(b"no newline")
    seen: list[Any] = [await program.receive(10)]
    await program.stdin.aclose()
    return [*seen, await program.receive_all(), await program.wait()]


async def drive_binary(program: Program, told: Path) -> list[Any]:
    data = bytes(range(256)) * 2048
    seen: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.send, data)
        seen.append(await program.receive(len(data)) == data)
    await program.stdin.aclose()
    return [*seen, await program.receive_all(), await program.wait()]


async def drive_slow_writer(program: Program, told: Path) -> list[Any]:
    seen: list[Any] = []
    for _ in range(20):
        await program.send(b".")
        seen.append(await program.receive(1))
    await program.stdin.aclose()
    return [*seen, await program.wait()]


async def drive_to_the_end(program: Program, told: Path) -> list[Any]:
    return [await program.receive_all(), await program.wait()]


async def drive_grandchild(program: Program, told: Path) -> list[Any]:
    status = await program.wait()  # while another process holds the pipes
    await program.send(b"hello")
    seen = [await program.receive(5)]
    await tell(told)
    return [status, *seen, await program.receive_all()]


async def drive_deaf(program: Program, told: Path) -> list[Any]:
    server = int(await program.receive_line())
    program.kill(signal.SIGTERM)
    seen: list[Any] = [await program.receive_line()]
    await program.send(b"?")
    seen.append(await program.receive_line())
    program.kill(signal.SIGKILL)
    seen.append(await program.wait())
    await gone(server)
    return [*seen, await program.receive_all()]


async def drive_handler(program: Program, told: Path) -> list[Any]:
    seen: list[Any] = [await program.receive_line()]
    program.kill(signal.SIGINT)
    seen.append(await program.receive_line())
    program.kill_group(signal.SIGINT)
    seen.append(await program.receive_line())
    await program.stdin.aclose()
    return [*seen, await program.receive_all(), await program.wait()]


async def drive_after_the_end(program: Program, told: Path) -> list[Any]:
    await program.send(b'{"id":1,"method":"tools/call","params":{"name":"t"}}\n')
    await program.stdin.aclose()
    seen: list[Any] = [await program.receive_line()]
    await tell(told)
    return [*seen, await program.receive_all(), await program.wait()]


async def tell(told: Path) -> None:
    await trio.to_thread.run_sync(told.write_bytes, b"go on")


ECHO = "while data := read(): write(data)"
KINDS = {
    "echo": Kind(ECHO, drive_echo),
    "Content-Length": Kind(ECHO, drive_framed),
    "no newline at the end": Kind(ECHO + "\nwrite(b'the last')", drive_no_newline),
    "binary": Kind(ECHO, drive_binary),
    "slow writer": Kind("for at in range(20): read(1); write(bytes([65 + at]))", drive_slow_writer),
    "stderr flood": Kind("os.write(2, b'e' * 50000)\nwrite(b'done')\nos.write(2, b'end')", drive_to_the_end),
    "grandchild that keeps the pipes": Kind(
        "if os.fork(): os._exit(3)\nwrite(read(5))\nwait_for(sys.argv[1])\nwrite(b'late')", drive_grandchild
    ),
    "ignores SIGTERM": Kind(
        "signal.signal(signal.SIGTERM, lambda *_: write(b'TERM\\n'))\nwrite(b'%d\\n' % os.getpid())\n"
        "while read(): write(b'still here\\n')",
        drive_deaf,
        ("--kill-after", "600"),
    ),
    "handles SIGINT": Kind(
        "count = 0\ndef handle(*_):\n global count\n count += 1\n write(b'%d\\n' % count)\n"
        "signal.signal(signal.SIGINT, handle)\nwrite(b'ready\\n')\nwhile read(): pass\nwrite(b'%d times' % count)\nsys.exit(130)",
        drive_handler,
    ),
    "exits at once": Kind("sys.exit(7)", drive_to_the_end),
    "ends by a signal": Kind("write(b'x')\nos.kill(os.getpid(), signal.SIGUSR1)", drive_to_the_end),
    "exits late after the end of its input": Kind(
        "while read(): pass\nwrite(b'ended\\n')\nwait_for(sys.argv[1])\nwrite(b'late')\nsys.exit(4)", drive_after_the_end
    ),
    "answers a pipe late": Kind(
        "read()\nwrite(b'reading\\n')\nwait_for(sys.argv[1])\nwrite(b'{\"id\":1,\"result\":{}}\\n')", drive_after_the_end
    ),
}


async def observe(kind: Kind, folder: Path, *, wrapped: bool) -> list[Any]:
    told = folder / "told"
    command = [*PYTHON, PRELUDE + kind.script, str(told)]
    with (folder / "stderr").open("wb") as stderr:
        async with running(wrapping(folder / "log", command, *kind.options) if wrapped else command, stderr=stderr) as program:
            seen = await kind.drive(program, told)
    return [*seen, (folder / "stderr").read_bytes()]


@pytest.mark.once
async def test_every_kind_of_server_looks_the_same_with_and_without(tmp_path: Path) -> None:
    seen: dict[tuple[str, bool], list[Any]] = {}
    at_once = trio.CapacityLimiter(6)
    folders = {(name, wrapped): tmp_path / f"{name} {wrapped}" for name in KINDS for wrapped in (False, True)}
    for folder in folders.values():
        folder.mkdir()
        os.mkfifo(folder / "told")

    async def see(name: str, wrapped: bool) -> None:
        async with at_once:
            seen[name, wrapped] = await observe(KINDS[name], folders[name, wrapped], wrapped=wrapped)

    async with trio.open_nursery() as nursery:
        for name in KINDS:
            for wrapped in (False, True):
                nursery.start_soon(see, name, wrapped)
    for name in KINDS:
        assert seen[name, True] == seen[name, False], name
