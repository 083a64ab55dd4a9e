"""``trio-oplog wrap`` between real programs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from mcp import Client, MCPError, StdioServerParameters

from trio_oplog import ListClient, ListQuery
from trio_oplog._cli import main
from trio_oplog.collector import create_app, open_store

SERVER = Path(__file__).parents[2] / "examples" / "mcp_server.py"
PYTHON = (sys.executable, "-I", "-S", "-u", "-c")
CALL = b'{"id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}\n'
ECHO = """
import json, sys
for line in sys.stdin:
    sys.stdout.write(json.dumps({"id": json.loads(line)["id"], "result": {"content": []}}) + "\\n")
"""


def wrapping(store: Path, *command: str, options: Sequence[str] = ()) -> list[str]:
    to = () if "--to" in options else ("--to", f"sqlite:///{store}")
    return [sys.executable, "-m", "trio_oplog", "wrap", *to, *options, "--", *command]


async def stored(path: Path, workspace: str = "local") -> list[dict[str, Any]]:
    """What is on record, the oldest first."""
    store = open_store(f"sqlite:///{path}")
    transport = httpx.ASGITransport(app=create_app(store, "s"))
    async with store, httpx.AsyncClient(transport=transport) as http:
        client = ListClient("http://store.test/internal/operations", "s", http=http)
        reply = json.loads(await client.fetch(ListQuery(workspace_id=workspace)))
    return sorted(reply["operations"], key=lambda operation: operation["started_at"])


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_real_client_and_a_real_server_notice_nothing_and_each_call_is_on_record(tmp_path: Path, mode: Any) -> None:
    def tapped(command: Sequence[str], where: str) -> str:
        return f"tee {tmp_path}/to.{where} | {shlex.join(command)} | tee {tmp_path}/from.{where}"

    store = tmp_path / "log.sqlite3"
    inner = ["sh", "-c", tapped([sys.executable, str(SERVER)], "inner")]
    outer = ["-c", tapped(wrapping(store, *inner, options=["--user", "ada"]), "outer")]
    progress: list[float] = []

    async def note_progress(now: float, total: float | None, message: str | None) -> None:
        progress.append(now)

    async with Client(StdioServerParameters(command="sh", args=outer, env=dict(os.environ)), mode=mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"add", "divide", "count", "wait"}
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3.0}
        assert (await client.call_tool("divide", {"a": 1, "b": 0})).is_error
        await client.call_tool("count", {"to": 3}, progress_callback=note_progress)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call_tool, "wait", {"seconds": 600})
            while b'"wait"' not in (tmp_path / "to.inner").read_bytes():  # noqa: ASYNC110 -- a file tells nobody
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        with pytest.raises(MCPError):
            await client.get_prompt("no such prompt")
        await client.call_tool("add", {"a": "ü", "b": "\u2028"})

    assert progress == [1, 2, 3]
    for way in ("to", "from"):
        assert (tmp_path / f"{way}.outer").read_bytes() == (tmp_path / f"{way}.inner").read_bytes() != b""

    operations = await stored(store)
    meta = [(operation["tool"], operation.get("result_meta", {}).get("outcome")) for operation in operations]
    assert meta == [("add", None), ("divide", "tool_error"), ("count", None), ("wait", "cancelled"), ("add", "tool_error")]
    assert {operation["env_id"] for operation in operations} == {"workshop"}
    assert {operation["user_id"] for operation in operations} == {"ada"}
    assert operations[0]["arguments"] == {"a": 1, "b": 2}
    assert operations[4]["arguments"] == {"a": "ü", "b": "\u2028"}


async def run(command: Sequence[str], input_: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        return await trio.run_process(command, stdin=input_, capture_stdout=True, capture_stderr=True, check=False, **options)


async def test_nothing_of_ours_is_on_stdout_and_the_servers_stderr_and_status_are_its_own(tmp_path: Path) -> None:
    done = await run(wrapping(tmp_path / "log", "sh", "-c", "cat; printf 'no newline'; echo oops >&2; exit 42"), b"one\r\ntwo")
    assert (done.stdout, done.stderr, done.returncode) == (b"one\r\ntwono newline", b"oops\n", 42)


async def test_calls_are_on_record_before_it_leaves(tmp_path: Path) -> None:
    done = await run(wrapping(tmp_path / "log", *PYTHON, ECHO), CALL)
    assert (done.stdout, done.stderr, done.returncode) == (b'{"id": 1, "result": {"content": []}}\n', b"", 0)
    assert [operation["request_id"] for operation in await stored(tmp_path / "log")] == ["1"]


async def test_files_and_sockets_serve_as_well_as_pipes(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(CALL * 100)
    command = wrapping(tmp_path / "log", *PYTHON, ECHO)
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout, trio.fail_after(60):
        await trio.run_process(command, stdin=stdin, stdout=stdout)
    assert (tmp_path / "out").read_bytes() == b'{"id": 1, "result": {"content": []}}\n' * 100

    ours, theirs = trio.socket.socketpair()
    with ours, theirs, trio.fail_after(60):
        process = await trio.lowlevel.open_process(command, stdin=theirs, stdout=theirs)
        theirs.close()
        await ours.send(CALL)
        assert await ours.recv(1000) == b'{"id": 1, "result": {"content": []}}\n'
        ours.shutdown(socket.SHUT_WR)
        assert await ours.recv(1000) == b""
        assert await process.wait() == 0


@pytest.mark.parametrize(("command", "status"), [("no-such-command-anywhere", 127), ("/etc/passwd", 126)])
async def test_a_command_that_cannot_be_started_is_said_as_a_shell_says_it(command: str, status: int, tmp_path: Path) -> None:
    done = await run(wrapping(tmp_path / "log", command))
    assert (done.stdout, done.returncode) == (b"", status)
    assert done.stderr.startswith(f"trio-oplog: {command} cannot be started: ".encode())
    assert done.stderr.count(b"\n") == 1


async def test_a_store_that_cannot_be_opened_does_not_keep_the_server_from_running(tmp_path: Path) -> None:
    done = await run(wrapping(tmp_path, "cat"), b"hello\n")
    assert (done.stdout, done.returncode) == (b"hello\n", 0)
    assert done.stderr.endswith(b"; the server runs, and nothing is recorded\n")
    assert done.stderr.count(b"\n") == 1


async def test_an_endpoint_that_refuses_loses_operations_and_the_traffic_does_not_notice(tmp_path: Path) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        request = b""
        while not request.rstrip().endswith(b"}"):  # the operation, which is the end of it
            request += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        options = ["--to", f"http://127.0.0.1:{listener.socket.getsockname()[1]}/operations"]
        environment = {**os.environ, "TRIO_OPLOG_SECRET": "s"}
        done = await run(wrapping(tmp_path / "log", *PYTHON, ECHO, options=options), CALL, env=environment)
        nursery.cancel_scope.cancel()
    assert (done.stdout, done.returncode) == (b'{"id": 1, "result": {"content": []}}\n', 0)
    assert b"trio-oplog: operations were lost (1 rejected)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--to", "ftp://x", "touch"], "destination"),
        (["--grace", "-1", "touch"], "--grace"),
        ([], "COMMAND"),
        (["--no-such"], "--no-such"),
    ],
)
def test_a_wrong_call_starts_nothing(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = tmp_path / "started"
    with pytest.raises(SystemExit) as left:
        main(["wrap", *arguments, *([str(started)] if "touch" in arguments else [])])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1
    assert not started.exists()


async def test_sigterm_reaches_the_server_and_the_records_are_delivered_all_the_same(tmp_path: Path) -> None:
    # A handler in Python would not run when its signal came just before the next line is waited for.
    waiting = "threading.Thread(target=lambda: signal.sigwait([signal.SIGTERM]) and os._exit(9), daemon=True).start()"
    script = f"import os, signal, threading\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n{waiting}\n{ECHO}"
    command = wrapping(tmp_path / "log", *PYTHON, script)
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with trio.fail_after(60):
        async with process.stdin, process.stdout:
            await process.stdin.send_all(CALL)
            assert await process.stdout.receive_some() == b'{"id": 1, "result": {"content": []}}\n'
            await process.stdin.send_all(CALL.replace(b"1", b"2"))
            await process.stdout.receive_some()
            process.send_signal(signal.SIGTERM)
            # A second one comes while records may be on their way.
            process.send_signal(signal.SIGTERM)
            assert await process.stdout.receive_some() == b""
            assert await process.wait() == 9
    assert [operation["request_id"] for operation in await stored(tmp_path / "log")] == ["1", "2"]


async def test_certificates_that_cannot_be_read_are_said_by_name(tmp_path: Path) -> None:
    environment = {**os.environ, "TRIO_OPLOG_SECRET": "s"}
    options = ["--to", "https://127.0.0.1:9/operations"]
    named = wrapping(tmp_path / "log", *PYTHON, ECHO, options=[*options, "--ca-file", str(tmp_path / "nowhere.pem")])
    done = await run(named, CALL, env=environment)
    assert b"nowhere.pem cannot be read" in done.stderr
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    done = await run(
        wrapping(tmp_path / "log", *PYTHON, ECHO, options=options), CALL, env={**environment, "SSL_CERT_FILE": str(rubbish)}
    )
    assert b"rubbish.pem holds no certificates" in done.stderr
