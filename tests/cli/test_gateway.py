"""``trio-oplog gateway`` and ``token``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from trio_oplog._cli import main
from trio_oplog._cli.token import command as token_command

PYTHON = (sys.executable, "-I", "-S", "-u", "-c")
ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "result": {"content": []}}), flush=True)
"""
CALL = '{"id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}'
ANSWER = '{"id": 1, "result": {"content": []}}'


class Running:
    def __init__(self, process: trio.Process, url: str) -> None:
        self.process = process
        self.url = url
        self.said = ""


@asynccontextmanager
async def gateway(store: Path, *arguments: str, listen: str = "127.0.0.1:0") -> AsyncIterator[Running]:
    """A gateway in a process of its own; SIGTERM ends it, and what it said then is in ``said``."""
    named = [value for option, value in pairwise(arguments) if option == "--to" and not value.startswith("otlp+")]
    to = () if named else ("--to", f"sqlite:///{store}")
    command = [sys.executable, "-m", "trio_oplog", "gateway", "--listen", listen, *to, *arguments]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with trio.fail_after(60):
        async with process.stderr:
            heard = b""
            while not heard.endswith(b"\n"):
                heard += await process.stderr.receive_some()
            running = Running(process, heard.decode().split()[-1])
            try:
                yield running
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                with trio.CancelScope(shield=True):
                    while chunk := await process.stderr.receive_some():
                        running.said += chunk.decode()
                    await process.wait()


async def refused(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        done: subprocess.CompletedProcess[bytes] = await trio.run_process(
            [sys.executable, "-m", "trio_oplog", "gateway", *command], capture_stderr=True, check=False
        )
    assert done.stderr.count(b"\n") == 1
    return done


async def test_clients_get_children_and_sigterm_ends_with_a_report_and_0(tmp_path: Path) -> None:
    async with gateway(tmp_path / "log", "--", *PYTHON, ECHO) as running:
        async with connect(running.url, proxy=None) as client:
            await client.send(CALL)
            assert await client.recv() == ANSWER
            await client.send('{"id":2,"method":"operations/list"}')
            assert json.loads(await client.recv())["id"] == 2
            running.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1001
        assert await running.process.wait() == 0
    assert running.said == "1 connection, 0 refused, 1 operation, 1 delivered\n"


async def test_one_gateway_in_front_of_another(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path / "inner", "--", *PYTHON, ECHO) as inner,
        gateway(tmp_path / "outer", "--upstream", inner.url) as outer,
        connect(outer.url, proxy=None) as client,
    ):
        await client.send(CALL)
        assert await client.recv() == ANSWER
    assert inner.said == outer.said == "1 connection, 0 refused, 1 operation, 1 delivered\n"
    assert inner.process.returncode == outer.process.returncode == 0


async def test_a_password_in_the_upstream_reaches_no_output(tmp_path: Path) -> None:
    async with gateway(tmp_path / "log", "--upstream", "ws://ada:hunter2@127.0.0.1:9/x?key=hunter2") as running:
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            async with connect(running.url, proxy=None) as client:
                await client.recv()
    assert running.said
    assert "hunter2" not in running.said
    wrong = await refused(["--upstream", "ftp://ada:hunter2@127.0.0.1/"])
    assert b"--upstream" in wrong.stderr
    assert b"hunter2" not in wrong.stderr


async def test_a_second_signal_does_not_wait_for_the_grace_period(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
    async with gateway(tmp_path / "log", "--grace", "600", "--", *PYTHON, deaf) as running:
        async with connect(running.url, proxy=None) as client:
            assert await client.recv() == "up"
            running.process.send_signal(signal.SIGINT)
            with pytest.raises(ConnectionClosed):
                await client.recv()
        running.process.send_signal(signal.SIGINT)
        assert await running.process.wait() == 0


async def test_a_token_that_was_made_lets_its_user_in(tmp_path: Path) -> None:
    made = CliRunner().invoke(token_command, ["--workspace", "ws-1", "--user", "alice"])
    token = made.stderr.split()[-1]
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(made.stdout)
    arguments = ("--tokens", str(tokens), "--", *PYTHON, ECHO)
    async with gateway(tmp_path / "log", *arguments, listen="0.0.0.0:0") as running:
        url = f"ws://127.0.0.1:{running.url.rpartition(':')[2]}"
        with pytest.raises(InvalidStatus, match="401"):
            async with connect(url, proxy=None):
                raise AssertionError
        async with connect(url, proxy=None, additional_headers={"Authorization": f"Bearer {token}"}) as client:
            await client.send(CALL)
            assert await client.recv() == ANSWER
    assert running.said == "1 connection, 1 refused, 1 operation, 1 delivered\n"


def test_a_token_is_made_once_and_its_entry_does_not_hold_it() -> None:
    made = CliRunner().invoke(token_command, ["--user", 'ü"\\'])
    [entry] = tomllib.loads(made.stdout)["token"]
    assert (entry["user_id"], entry["workspace_id"]) == ('ü"\\', "local")
    assert made.stderr.split()[-1] not in made.stdout


@pytest.mark.parametrize(("user", "workspace"), [("a\nb", "w"), ("", "w"), ("u", "\x7f")])
def test_a_token_for_what_is_no_name_is_refused(user: str, workspace: str) -> None:
    assert CliRunner().invoke(token_command, ["--user", user, "--workspace", workspace]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--listen", "0.0.0.0:0", "--", "cat"], "--tokens"),
        (["--listen", "[::]:0", "--", "cat"], "--tokens"),
        (["--listen", "gateway.example:0", "--", "cat"], "--tokens"),
        (["--listen", "127.0.0.1", "--", "cat"], "HOST:PORT"),
        (["--listen", ":8086", "--", "cat"], "HOST:PORT"),
        (["--listen", "127.0.0.1:65536", "--", "cat"], "HOST:PORT"),
        (["--listen", "127.0.0.1:-1", "--", "cat"], "HOST:PORT"),
        ([], "--upstream"),
        (["--upstream", "ws://x", "--", "cat"], "--upstream"),
        (["--upstream", "wss://"], "must be an address that begins with"),
        (["--tokens", "/no/such/file", "--", "cat"], "the token file is missing"),
        (["--to", "ftp://x", "--", "cat"], "destination"),
    ],
)
def test_a_wrong_call_is_refused_with_one_clear_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["gateway", *arguments])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_an_address_that_is_taken_is_refused_with_one_clear_line(host: str, tmp_path: Path) -> None:
    async with gateway(tmp_path / "log", "--", "cat", listen=f"{host}:0") as running:
        port = running.url.rpartition(":")[2]
        done = await refused(["--listen", f"{host}:{port}", "--to", f"sqlite:///{tmp_path}/other", "--", "cat"])
    assert done.returncode == 1
    assert b"in use" in done.stderr


async def test_sighup_reads_the_tokens_again_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    entries, given = [], []
    for user in ("alice", "bob"):
        made = CliRunner().invoke(token_command, ["--user", user])
        entries.append(made.stdout)
        given.append(made.stderr.split()[-1])
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(entries[0])
    async with gateway(tmp_path / "log", "--tokens", str(tokens), "--", *PYTHON, ECHO) as running:
        stderr = running.process.stderr
        assert stderr is not None

        async def is_let_in(token: str) -> bool:
            try:
                async with connect(running.url, proxy=None, additional_headers={"Authorization": f"Bearer {token}"}):
                    return True
            except InvalidStatus:
                return False

        async def reload() -> bytes:
            running.process.send_signal(signal.SIGHUP)
            said = b""
            while not said.endswith(b"\n"):
                said += await stderr.receive_some()
            return said

        assert [await is_let_in(token) for token in given] == [True, False]
        tokens.write_text(entries[1])
        assert await reload() == b"SIGHUP: the tokens were read again\n"
        assert [await is_let_in(token) for token in given] == [False, True]
        tokens.write_text("no tokens")
        assert await reload() == b"SIGHUP: the token file is not TOML; the tokens stay as they were\n"
        assert [await is_let_in(token) for token in given] == [False, True]


async def test_sighup_without_a_file_of_tokens_says_so_and_ends_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path / "log", "--", *PYTHON, ECHO) as running:
        running.process.send_signal(signal.SIGHUP)
        assert running.process.stderr is not None
        assert await running.process.stderr.receive_some() == b"SIGHUP: there is no file of tokens or headers to read again\n"
        async with connect(running.url, proxy=None) as client:
            await client.send(CALL)
            assert await client.recv() == ANSWER


async def test_signals_while_records_are_delivered_do_not_cost_the_account(tmp_path: Path) -> None:
    asked, may_answer = trio.Event(), trio.Event()

    async def slowly(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        asked.set()
        await may_answer.wait()
        await stream.send_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, slowly, 0, host="127.0.0.1"))
        endpoint = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/operations"
        secret = tmp_path / "secret"
        secret.write_text("s")
        options = ("--to", endpoint, "--secret-file", str(secret))
        async with gateway(tmp_path / "unused", *options, "--", *PYTHON, ECHO) as running:
            async with connect(running.url, proxy=None) as client:
                await client.send(CALL)
                assert await client.recv() == ANSWER
                await asked.wait()
                running.process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed):
                    await client.recv()
            for _ in range(3):
                running.process.send_signal(signal.SIGTERM)
            may_answer.set()
            assert await running.process.wait() == 0
        nursery.cancel_scope.cancel()
    assert running.said.splitlines()[-1] == "1 connection, 0 refused, 1 operation, 1 delivered"


async def test_no_child_gets_a_variable_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_OPLOG_SECRET", "s")
    monkeypatch.setenv("MY_OPLOG", "m")
    script = "import os; print([name for name in os.environ if 'OPLOG' in name]); input()"
    async with gateway(tmp_path / "log", "--", *PYTHON, script) as running, connect(running.url, proxy=None) as client:
        assert await client.recv() == "['MY_OPLOG']"
