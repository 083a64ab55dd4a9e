"""A server that is a child process."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import sys
from pathlib import Path

import psutil
import pytest
import trio

from trio_oplog.gateway import Closed, open_child

pytestmark = pytest.mark.usefixtures("nothing_leaks")

PYTHON = (sys.executable, "-I", "-S", "-u", "-c")
CAT = ("cat",)


def deaf(*, says: str = "ready") -> tuple[str, ...]:
    """A server that hears neither the end of its input nor SIGTERM."""
    return (
        *PYTHON,
        f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print({says!r}); time.sleep(600)",
    )


async def test_frames_go_to_a_child_and_come_back() -> None:
    async with open_child(CAT) as child:
        await child.send("one")
        assert await child.receive() == b"one\n"
        await child.send_closed(Closed())
        assert await child.receive() == Closed()
        assert child.returncode == 0
        assert await child.receive() == Closed()
        with pytest.raises(trio.BrokenResourceError):
            await child.send("two")


@pytest.mark.parametrize(
    ("script", "reason"), [("exit 3", "the server exited with status 3"), ("kill -9 $$", "the server was ended by signal 9")]
)
async def test_a_child_that_fails_says_how(script: str, reason: str) -> None:
    async with open_child(["sh", "-c", script]) as child:
        assert await child.receive() == Closed(1011, reason)


async def test_a_child_that_only_closes_its_output_still_takes_frames(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    async with open_child(["sh", "-c", f"exec >/dev/null; read line; echo $line > {heard}"], kill_after=0.2) as child:
        assert await child.receive() == Closed(half=True)
        await child.send("hello")
        assert await child.wait() == 0
    assert heard.read_text() == "hello\n"


async def test_a_child_that_ignores_the_end_of_its_input_is_terminated() -> None:
    async with open_child(["sleep", "600"], grace=0.05) as child:
        await child.send_closed(Closed())
        await child.send_closed(Closed())
        assert await child.receive() == Closed(1011, "the server was ended by signal 15")


async def test_a_child_that_ignores_sigterm_too_is_killed() -> None:
    async with open_child(deaf(), grace=0.05, kill_after=0.1) as child:
        assert await child.receive() == b"ready\n"
        await child.send_closed(Closed())
        assert await child.receive() == Closed(1011, "the server was ended by signal 9")


async def test_leaving_the_block_ends_a_child_that_runs() -> None:
    async with open_child(deaf(), kill_after=0.1) as child:
        assert await child.receive() == b"ready\n"
        assert repr(child) == f"<Child pid={child.pid} returncode=None>"
    assert child.returncode == -signal.SIGKILL


async def test_a_cancelled_block_ends_a_child_that_runs() -> None:
    with trio.CancelScope() as scope:
        async with open_child(deaf(), kill_after=0.1) as child:
            assert await child.receive() == b"ready\n"
            scope.cancel()
            await trio.sleep_forever()
    assert child.returncode == -signal.SIGKILL


async def test_a_signal_reaches_the_server_that_a_launcher_has_started() -> None:
    launcher = shlex.join([*PYTHON, "import time; print('up'); time.sleep(600)"]) + " & wait"
    async with open_child(["sh", "-c", launcher], kill_after=0.3) as child:
        assert await child.receive() == b"up\n"
        [server] = psutil.Process(child.pid).children()
        child.signal(signal.SIGTERM)
        assert await child.receive() == Closed(1011, "the server was ended by signal 15")
    await gone(server)


async def gone(process: psutil.Process) -> None:
    """Wait until a process that was killed is gone, or waits for an init that does not reap."""
    with trio.fail_after(60):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            await trio.lowlevel.checkpoint()


async def test_what_a_launcher_leaves_behind_after_a_signal_is_killed() -> None:
    deaf_script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(600)"
    async with open_child(["sh", "-c", f"{shlex.join([*PYTHON, deaf_script])} & wait"], kill_after=0.2) as child:
        assert await child.receive() == b"1\n"
        [server] = psutil.Process(child.pid).children()
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGTERM)
        assert await child.wait() == -signal.SIGTERM
    await gone(server)


async def test_an_output_that_outlives_the_child_ends_after_the_grace_period() -> None:
    async with open_child(["sh", "-c", "sleep 600 & echo $!"], grace=0.1) as child:
        pid = await child.receive()
        assert isinstance(pid, bytes)
        assert await child.receive() == Closed()
    # It was not ours to kill: nothing had to be told to go.
    os.kill(int(pid), signal.SIGKILL)
    await gone(psutil.Process(int(pid)))


async def test_a_line_over_the_limit_closes_with_1009() -> None:
    async with open_child(["sh", "-c", "echo 123456; sleep 600"], max_frame=4, kill_after=0.1) as child:
        assert await child.receive() == Closed(1009, "line too long")


async def test_a_command_that_is_not_there_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        async with open_child(["no-such-command-anywhere"]):
            raise AssertionError


@pytest.mark.parametrize("free", [2, 4])
async def test_a_child_for_which_there_are_not_enough_descriptors_leaves_none_behind(free: int) -> None:
    probes = [os.dup(0) for _ in range(free)]
    for probe in probes:
        os.close(probe)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probes[-1] + 1, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            async with open_child(CAT):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
