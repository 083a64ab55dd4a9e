"""Who gets which signal through ``wrap``, and who is left alive."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from .conftest import PRELUDE, PYTHON, gone, is_alive, running, until_it_records, wrapping

CALL = b'{"id":1,"method":"tools/call","params":{"name":"t","arguments":{}}}\n'
HANDLED = [
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH),
    *(signal.SIGCONT, signal.SIGURG, signal.SIGIO, signal.SIGABRT, signal.SIGRTMIN, signal.SIGRTMAX),
]
COUNTS = f"""
seen = []
def handle(signum, _):
    seen.append(signum)
    write(b"%d\\n" % signum)
for signum in {[int(signum) for signum in HANDLED]}: signal.signal(signum, handle)
write(b"%d\\n" % os.getpid())
while read(): write(b"%d\\n" % len(seen))
"""
WAITS = "write(b'%d\\n' % os.getpid())\nwhile True: time.sleep(600)"


def outcomes(store: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(store)) as database:  # which may not be a store yet
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM operations ORDER BY seq")]
    return [(body["request_id"], body.get("result_meta", {}).get("outcome")) for body in bodies]


async def test_every_signal_reaches_the_server_once_whether_it_went_to_us_or_to_our_group(tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + COUNTS])) as program:
        await program.receive_line()
        for signum in HANDLED:
            program.kill(signum)
            assert await program.receive_line() == b"%d\n" % signum
            program.kill_group(signum)
            assert await program.receive_line() == b"%d\n" % signum
        await program.send(b"?")
        assert await program.receive_line() == b"%d\n" % (2 * len(HANDLED))
        await program.stdin.aclose()
        assert await program.wait() == 0


async def test_a_server_that_has_left_our_group_gets_what_went_to_the_group(tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + "os.setsid()\n" + COUNTS])) as program:
        await program.receive_line()
        program.kill_group(signal.SIGUSR1)
        assert await program.receive_line() == b"%d\n" % signal.SIGUSR1
        await program.stdin.aclose()
        assert await program.wait() == 0


@pytest.mark.parametrize("to", ["us", "the group"])
async def test_sigkill_leaves_no_server_behind(to: str, tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + WAITS])) as program:
        server = int(await program.receive_line())
        (program.kill if to == "us" else program.kill_group)(signal.SIGKILL)
        assert await program.wait() == -signal.SIGKILL
        await gone(server)


async def test_what_a_server_has_started_outlives_our_sigkill_as_it_would_the_servers(tmp_path: Path) -> None:
    script = "pid = os.fork()\n" + WAITS.replace("os.getpid()", "(pid or os.getpid())")
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script])) as program:
        [grandchild] = {int(await program.receive_line()), int(await program.receive_line())}
        program.kill(signal.SIGKILL)
        assert await program.wait() == -signal.SIGKILL
        assert is_alive(grandchild)
        os.kill(grandchild, signal.SIGKILL)
        await gone(grandchild)


async def test_when_we_are_killed_the_open_calls_are_on_record(tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + "read()\n" + WAITS])) as program:
        await program.send(CALL)
        server = int(await program.receive_line())
        program.kill(signal.SIGKILL)
        assert await program.receive_all() == b""
        await gone(server)
        with trio.fail_after(60):
            while not await trio.to_thread.run_sync(recorded, tmp_path / "log"):  # noqa: ASYNC110 -- a file tells nobody
                await trio.sleep(0.05)
        assert outcomes(tmp_path / "log") == [("1", "unanswered")]


def recorded(store: Path) -> bool:
    try:
        return bool(outcomes(store))
    except sqlite3.OperationalError:  # not made yet
        return False


async def test_a_server_that_ignores_sigterm_is_killed_and_the_open_call_is_on_record(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nread()\n" + WAITS
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + deaf], "--kill-after", "0.1")) as program:
        await until_it_records(program)
        await program.send(CALL)
        server = int(await program.receive_line())
        program.kill(signal.SIGTERM)
        assert await program.receive_all() == b""
        assert await program.wait() == -signal.SIGKILL
        assert not is_alive(server)
    assert outcomes(tmp_path / "log") == [("1", "unanswered")]


async def test_sigterm_ends_us_when_the_client_reads_nothing_and_it_can_still_read_everything(tmp_path: Path) -> None:
    # More than our pipe to the client takes, and less than that, our chunk and the server's pipe take together.
    script = "read()\nwrite(b'x' * 100000)\nwait_for(sys.argv[1])"
    told = tmp_path / "told"
    os.mkfifo(told)
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script, str(told)])) as program:
        await until_it_records(program)
        await program.send(CALL)
        with told.open("wb") as tell:  # the server has written everything
            tell.flush()
            program.kill(signal.SIGTERM)
            assert await program.wait() == -signal.SIGTERM
        assert await program.receive_all() == b"x" * 100_000
    assert outcomes(tmp_path / "log") == [("1", "unanswered")]


async def test_a_client_that_has_gone_is_noticed_by_a_server_that_writes(tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGPIPE, signal.SIG_IGN)\nwrite(b'first')\nread(1)\n"
    script += "try:\n while True: write(b'next')\nexcept BrokenPipeError: sys.exit(6)"
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script])) as program:
        assert await program.receive(5) == b"first"
        await program.stdout.aclose()
        await program.send(b"!")
        assert await program.wait() == 6


async def test_a_server_that_reads_no_more_is_noticed_by_a_client_that_writes(tmp_path: Path) -> None:
    script = "os.close(0)\nwrite(b'closed')\nwait_for(sys.argv[1])"
    told = tmp_path / "told"
    os.mkfifo(told)
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script, str(told)])) as program:
        assert await program.receive(6) == b"closed"
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await program.send(b"x" * 65536)
        await trio.to_thread.run_sync(told.write_bytes, b"")
        assert await program.wait() == 0


async def test_a_server_that_nobody_listens_to_may_be_given_a_time(tmp_path: Path) -> None:
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + WAITS], "--grace", "0.1")) as program:
        server = int(await program.receive_line())
        await program.stdin.aclose()
        await program.stdout.aclose()
        assert await program.wait() == -signal.SIGTERM
        await gone(server)


async def test_a_server_that_closes_its_output_still_reads(tmp_path: Path) -> None:
    script = "os.close(1)\nopen(sys.argv[1], 'wb').write(read())"
    heard = tmp_path / "heard"
    async with running(wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script, str(heard)])) as program:
        assert await program.receive_all() == b""
        await program.send(b"hello")
        assert await program.wait() == 0
    assert heard.read_bytes() == b"hello"


async def test_a_stop_is_passed_on_and_seen_and_so_is_its_end(tmp_path: Path) -> None:
    async with running(
        wrapping(tmp_path / "log", [*PYTHON, PRELUDE + "write(b'up')\nwhile data := read(): write(data)"])
    ) as program:
        await program.receive(2)
        for kill in (program.kill, program.kill_group):
            kill(signal.SIGTSTP)
            _, status = await trio.to_thread.run_sync(os.waitpid, program.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert os.WSTOPSIG(status) == signal.SIGTSTP
            kill(signal.SIGCONT)
            await program.send(b"again")
            assert await program.receive(5) == b"again"
        await program.stdin.aclose()
        assert await program.wait() == 0


async def test_nothing_of_ours_is_inherited_and_everything_else_is(tmp_path: Path) -> None:
    script = "write(repr([sorted(name for name in os.environ if 'OPLOG' in name), os.read(int(sys.argv[1]), 5)]).encode())"
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    environment = {**os.environ, "TRIO_OPLOG_SECRET": "s", "TRIO_OPLOG_SECRET_FILE": "f", "MY_OPLOG": "m"}
    command = wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script, str(reading)])
    async with running(command, env=environment, pass_fds=[reading]) as program:
        assert await program.receive_all() == b"[['MY_OPLOG'], b'hello']"
        os.close(reading)
        os.close(writing)


async def test_a_descriptor_that_the_server_closes_is_closed_for_whoever_waits_for_its_end(tmp_path: Path) -> None:
    script = "os.close(int(sys.argv[1]))\nwhile read(): pass"
    reading, writing = os.pipe()
    command = wrapping(tmp_path / "log", [*PYTHON, PRELUDE + script, str(writing)])
    async with running(command, pass_fds=[writing]) as program:
        os.close(writing)
        assert await trio.to_thread.run_sync(os.read, reading, 1) == b""
        await program.stdin.aclose()
        assert await program.wait() == 0
    os.close(reading)


@pytest.mark.parametrize(
    ("destination", "environment", "problem"),
    [
        (
            "http://127.0.0.1:1",
            {},
            b"secret is missing: set TRIO_OPLOG_SECRET, or name its file with --secret-file",
        ),
        ("http://127.0.0.1:1", {"TRIO_OPLOG_SECRET_FILE": "/no/such/file"}, b"The secret cannot be read from /no/such/file"),
        ("http://", {}, b"The destination must be an http or https URL"),
        ("sqlite:///{folder}", {}, b"SQLITE_CANTOPEN: it is no file, or none that may be opened (name another place with --to)"),
        ("sqlite:///{folder}/damaged", {}, b"SQLITE_NOTADB: the file is no SQLite database (name another place with --to)"),
        (None, {"XDG_STATE_HOME": "/dev/null/nowhere"}, b"/dev/null/nowhere"),
    ],
)
async def test_a_log_that_cannot_work_costs_records_only_and_says_so_in_one_line(
    destination: str | None, environment: dict[str, str], problem: bytes, tmp_path: Path
) -> None:
    (tmp_path / "damaged").write_bytes(b"no database, and long enough to be none" * 10)
    to = [] if destination is None else ["--to", destination.format(folder=tmp_path)]
    command = [sys.executable, "-m", "trio_oplog", "wrap", *to, "--", "cat"]
    with (tmp_path / "stderr").open("wb") as stderr:
        async with running(command, stderr=stderr, env={**os.environ, **environment}) as program:
            await program.send(CALL)
            while not (tmp_path / "stderr").read_bytes():  # noqa: ASYNC110 -- a file tells nobody
                await trio.sleep(0.01)
            await program.stdin.aclose()
            assert (await program.receive_all(), await program.wait()) == (CALL, 0)
    said = (tmp_path / "stderr").read_bytes()
    assert problem in said
    assert said.endswith(b"; the server runs, and nothing is recorded\n")
    assert said.count(b"\n") == 1
