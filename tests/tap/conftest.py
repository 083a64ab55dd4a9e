"""A server with a client: directly, or with ``trio-oplog wrap`` between the two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

PYTHON = (sys.executable, "-I", "-S", "-u", "-c")
# What every script here begins with: raw bytes in and out, and one write for each piece.
PRELUDE = """
import os, signal, sys, time
def read(size=65536): return os.read(0, size)
def write(data):
    while data: data = data[os.write(1, data):]
def wait_for(path):
    with open(path, "rb") as told: return told.read()
"""


class Program:
    """A running program, and what its client does with it."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        self.stderr = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    async def send(self, data: bytes) -> None:
        await self.stdin.send_all(data)

    async def receive(self, size: int) -> bytes:
        """Exactly so many bytes, or what there is before the end."""
        received = b""
        while len(received) < size and (piece := await self.stdout.receive_some(size - len(received))):
            received += piece
        return received

    async def receive_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (piece := await self.stdout.receive_some(1)):
            line += piece
        return line

    async def receive_all(self) -> bytes:
        received = bytearray()
        while piece := await self.stdout.receive_some():
            received += piece
        return bytes(received)

    def kill(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill_group(self, signum: int) -> None:
        os.killpg(self.pid, signum)

    async def wait(self) -> int:
        return await self.process.wait()


def wrapping(store: Path, command: Sequence[str], *options: str) -> list[str]:
    return [sys.executable, "-m", "trio_oplog", "wrap", "--to", f"sqlite:///{store}", *options, "--", *command]


@asynccontextmanager
async def running(command: Sequence[str], **options: object) -> AsyncIterator[Program]:
    """Run a command in a process group of its own; nothing of it is left afterwards."""
    process = await trio.lowlevel.open_process(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0, **options
    )
    program = Program(process)
    try:
        with trio.fail_after(90):
            yield program
    finally:
        with trio.CancelScope(shield=True):
            await program.stdin.aclose()
            await program.stdout.aclose()
            # Its helpers end with it, and may still have something to write down.
            with trio.move_on_after(30):
                await process.wait()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


LIST = b'{"jsonrpc":"2.0","id":"mine","method":"operations/list","params":{}}'


async def until_it_records(program: Program) -> None:
    """Wait until the recorder of ``wrap`` is up, as its answer to a list says.

    What ends before that leaves it 10 seconds to start and to deliver, which a busy machine may need for starting alone.
    """
    await program.send(LIST + b"\n")
    assert json.loads(await program.receive_line())["result"] == {"operations": []}


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    with trio.fail_after(60):
        while is_alive(pid):  # noqa: ASYNC110 -- a process that is no child of ours tells nobody
            await trio.sleep(0.01)
