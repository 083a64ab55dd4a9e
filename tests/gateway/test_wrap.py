"""A stdio server behind our own standard input and output."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_oplog import Config, Interceptor
from trio_oplog.gateway import BridgeReport, wrap

from .conftest import Recorder, tool_call

pytestmark = pytest.mark.usefixtures("nothing_leaks")

CONFIG = Config(source="test", workspace_id="ws-1")
PYTHON = (sys.executable, "-I", "-S", "-u", "-c")

# Answers every call, and says why it ended when it is told to: by a thread that waits for the signal, because a handler in Python
# does not run when its signal comes just before the next line is waited for.
SERVER = """
import json, os, signal, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
threading.Thread(target=lambda: signal.sigwait([signal.SIGTERM]) and os._exit(7), daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "result": {"content": []}}), flush=True)
sys.exit(5)
"""


class Wrapped:
    """A wrapped command, and the client's ends of its pipes."""

    def __init__(self, interceptor: Interceptor | None, command: tuple[str, ...], **options: Any) -> None:
        stdin, self._to = os.pipe()
        self._from, stdout = os.pipe()
        self._ours = (stdin, stdout)
        self._arguments = (command, interceptor)
        self._options = options
        self.to = trio.lowlevel.FdStream(self._to)
        self.answers = trio.lowlevel.FdStream(self._from)
        self.result: tuple[int, BridgeReport] | None = None

    async def run(self) -> None:
        try:
            self.result = await wrap(*self._arguments, stdin=self._ours[0], stdout=self._ours[1], **self._options)
        finally:
            for fd in self._ours:
                os.close(fd)

    @property
    def status(self) -> int:
        assert self.result is not None
        return self.result[0]


@asynccontextmanager
async def wrapped(interceptor: Interceptor | None, *command: str, **options: Any) -> AsyncIterator[Wrapped]:
    running = Wrapped(interceptor, command, **options)
    async with running.to, running.answers, trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        with trio.fail_after(60):
            yield running


async def test_a_call_passes_and_is_recorded_and_the_exit_status_is_the_servers(recorder: Recorder) -> None:
    async with wrapped(Interceptor(recorder, CONFIG), *PYTHON, SERVER) as running:
        assert await running.answers.receive_some() == b"ready\n"
        await running.to.send_all(tool_call(1).encode() + b"\n")
        assert await running.answers.receive_some() == b'{"id": 1, "result": {"content": []}}\n'
        await running.to.aclose()
        assert await running.answers.receive_some() == b""
    assert running.status == 5
    assert recorder.outcomes == [("1", "echo", None)]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_is_handed_on(signum: int, recorder: Recorder) -> None:
    script = SERVER.replace("signal.SIGTERM", f"signal.Signals({int(signum)})")
    async with wrapped(Interceptor(recorder, CONFIG), *PYTHON, script) as running:
        assert await running.answers.receive_some() == b"ready\n"
        os.kill(os.getpid(), signum)
        assert await running.answers.receive_some() == b""
    assert running.status == 7


async def test_a_server_that_dies_of_a_signal_gives_128_and_its_number(recorder: Recorder) -> None:
    async with wrapped(Interceptor(recorder, CONFIG), "sh", "-c", "read line; kill -9 $$") as running:
        await running.to.send_all(tool_call("mid").encode() + b"\n")
        assert await running.answers.receive_some() == b""
    assert running.status == 137
    assert recorder.outcomes == [("mid", "echo", "unanswered")]


async def test_a_server_that_ignores_everything_is_killed_after_both_grace_periods() -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
    async with wrapped(None, *PYTHON, script, grace=0.05, kill_after=0.1) as running:
        assert await running.answers.receive_some() == b"up\n"
        await running.to.aclose()
        assert await running.answers.receive_some() == b""
    assert running.status == 137


async def test_what_the_server_still_says_after_the_end_of_its_input_arrives() -> None:
    async with wrapped(None, "sh", "-c", "cat >/dev/null; echo one; sleep 0.2; printf two") as running:
        await running.to.aclose()
        received = b""
        while chunk := await running.answers.receive_some():
            received += chunk
    assert received == b"one\ntwo"
    assert running.status == 0


async def test_a_client_that_stops_reading_ends_a_server_that_goes_on_writing() -> None:
    async with wrapped(None, "yes", grace=0.1, kill_after=0.1) as running:
        await running.answers.receive_some()
        await running.answers.aclose()
    # Its output is gone and it is told to go: whichever it notices first.
    assert running.status in {128 + signal.SIGPIPE, 128 + signal.SIGTERM}


async def test_a_line_of_100_mib_passes_and_the_memory_stays_bounded(no_task_stays: None) -> None:
    size = 100 * 2**20
    script = f"""
import sys
chunk = b"x" * 65536
for _ in range({size} // len(chunk)):
    sys.stdout.buffer.write(chunk)
sys.stdout.buffer.write(b"\\nafter\\n")
"""
    forget_peak()
    before = peak_memory()
    async with wrapped(None, *PYTHON, script, max_frame=2**20) as running:
        received, tail = 0, b""
        while chunk := await running.answers.receive_some():
            received += len(chunk)
            tail = (tail + chunk)[-7:]
    assert received == size + 7
    assert tail == b"\nafter\n"
    assert peak_memory() - before < 16 * 2**20


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


async def test_a_command_that_is_not_there_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        await wrap(["no-such-command-anywhere"], None)
