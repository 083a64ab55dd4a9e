"""``trio-oplog collect`` for a team: tokens, two secrets, SIGHUP, and the log of requests."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path

import click
import httpx
import pytest
import trio
from attrs import frozen
from click.testing import CliRunner, Result

from tests.cli.test_collect import SECRET, operation
from tests.http import http_client
from trio_oplog import Client, _wire
from trio_oplog._cli import main
from trio_oplog._cli.listening import name_of, take_listeners
from trio_oplog._cli.token import command as token_command

JSON = {"Content-Type": "application/json"}


@frozen
class Running:
    """A collector in a process of its own."""

    process: trio.Process
    url: str

    async def said(self) -> str:
        """The next line of its standard error."""
        assert self.process.stderr is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = await self.process.stderr.receive_some(1)
            assert byte, line
            line += byte
        return line.decode()

    async def status(self, shown: str, path: str = "?workspace_id=ws") -> int:
        """What it says to somebody who shows this."""
        async with http_client(headers={"Authorization": f"Bearer {shown}"}) as http:
            return (await http.get(f"{self.url}{path}")).status_code

    async def stop(self) -> str:
        """What it said besides, once it has ended well."""
        self.process.send_signal(signal.SIGTERM)
        assert await self.process.wait() == 0
        assert self.process.stderr is not None
        rest = b""
        async for chunk in self.process.stderr:
            rest += chunk
        return rest.decode()


@asynccontextmanager
async def collector(folder: Path, *options: str | Path, secret: str | None = SECRET) -> AsyncIterator[Running]:
    """One that has said where it listens."""
    command = [sys.executable, "-m", "trio_oplog", "collect", "--listen", "127.0.0.1:0", "--store", f"sqlite:///{folder / 'log'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_OPLOG")}
    if secret is not None:
        environment["TRIO_OPLOG_SECRET"] = secret
    process = await trio.lowlevel.open_process([*command, *map(str, options)], stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None
    with trio.fail_after(60):
        async with process.stderr:
            running = Running(process, "")
            try:
                yield Running(process, (await running.said()).split()[2])
            finally:
                if process.returncode is None:  # pragma: no cover -- only where a test fails
                    process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


def make_token(user: str, *options: str) -> tuple[str, str]:
    """A token and its entry in a file."""
    made = CliRunner().invoke(token_command, ["--user", user, *options])
    assert made.exit_code == 0, made.output
    return made.stderr.split()[-1], made.stdout


async def test_tokens_say_who_may_what_and_are_read_again_on_sighup(tmp_path: Path) -> None:
    writer, first = make_token("gate", "--role", "write", "--workspace", "ws")
    reader, second = make_token("grafana", "--role", "read", "--workspace", "*")
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(first)
    async with collector(tmp_path, "--tokens", tokens, secret=None) as running:
        # A client sends a token like the secret.
        async with Client(running.url, writer) as client:
            client.submit(operation(1))
            assert await client.flush(30)
        assert [await running.status(shown) for shown in (writer, reader, SECRET)] == [403, 401, 401]
        tokens.write_text(first + second)
        running.process.send_signal(signal.SIGHUP)
        assert await running.said() == "SIGHUP: secrets and tokens were read again\n"
        assert await running.status(reader) == 200
        tokens.write_text("[[token]]\nsha256 = 'hunter2'\n")
        running.process.send_signal(signal.SIGHUP)
        said = await running.said()
        assert said.startswith("SIGHUP: Invalid value for --tokens: token 1 must have the keys")
        assert said.endswith(". Secrets and tokens stay as they were.\n")
        assert "hunter2" not in said
        assert await running.status(reader) == 200
        assert await running.stop() == ""


async def test_two_secrets_let_in_while_clients_change_over(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    async with collector(tmp_path, "--secret-file", new, "--old-secret-file", old, secret=None) as running:
        assert [await running.status(shown) for shown in ("new", "old", "none")] == [200, 200, 401]
        assert await running.stop() == ""


async def test_the_log_has_time_who_and_what_came_of_each_request_and_no_parameter(tmp_path: Path) -> None:
    async with collector(tmp_path, "--access-log") as running, http_client() as http:
        await http.post(running.url, content=_wire.encode(operation(1)), headers={**JSON, "X-Internal-Secret": SECRET})
        await http.get(f"{running.url}/stats", params={"workspace_id": "ws", "tool": "precious"})
        root = running.url.removesuffix("/internal/operations")
        assert (await http.get(f"{root}/healthz")).json() == {"status": "ok"}
        assert (await http.get(f"{root}/readyz")).json() == {"status": "ok"}
        said = await running.stop()
    assert re.sub(r"\d+ bytes [\d.]+ ms", "SOME", re.sub(r"^\S{24} ", "TIME ", said, flags=re.MULTILINE)).splitlines() == [
        "TIME INFO 127.0.0.1 shared secret POST /internal/operations 201 SOME",
        "TIME INFO 127.0.0.1 - GET /internal/operations/stats 401 SOME",
        "TIME INFO 127.0.0.1 - GET /healthz 200 SOME",
        "TIME INFO 127.0.0.1 - GET /readyz 200 SOME",
    ]


async def test_what_arrives_comes_through_a_real_server(tmp_path: Path) -> None:
    async with collector(tmp_path) as running, http_client(headers={"X-Internal-Secret": SECRET}) as http:
        url = httpx.URL(running.url)
        # By hand: what httpx is left in the middle of is not cleaned up under Trio.
        stream = await trio.open_tcp_stream(url.host, url.port or 0)
        async with stream:
            head = f"GET {url.path}/live?workspace_id=ws HTTP/1.1\r\nHost: x\r\nX-Internal-Secret: {SECRET}\r\n\r\n"
            await stream.send_all(head.encode())
            came = b""
            while b"retry: 1000" not in came:
                came += await stream.receive_some()
            await http.post(running.url, content=_wire.encode(operation(1)), headers=JSON)
            while b'"id":"id-1"' not in came:
                came += await stream.receive_some()
            assert came.startswith(b"HTTP/1.1 200")
            assert b"content-type: text/event-stream" in came
        assert await running.stop() == ""


def refused(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(
        main, ["collect", *map(str, arguments)], env={"TRIO_OPLOG_SECRET": None, "TRIO_OPLOG_SECRET_FILE": None}
    )
    assert done.exit_code == 2
    return done


def test_a_file_that_is_wrong_keeps_it_from_starting(tmp_path: Path) -> None:
    assert "--tokens" in refused("--tokens", tmp_path / "none").stderr
    assert "the token file is missing" in refused("--tokens", tmp_path / "none").stderr
    (tmp_path / "secret").write_text("new")
    assert "cannot be read" in refused("--secret-file", tmp_path / "secret", "--old-secret-file", tmp_path / "none").stderr


@pytest.mark.parametrize(
    ("options", "workspaces"),
    [
        ((), ["local"]),
        (("--workspace", "ws-1", "--also", "ws-2"), ["ws-1", "ws-2"]),
        (("--workspace", "*"), "*"),
    ],
)
def test_a_token_with_a_role_is_an_entry_of_a_collectors_file(options: tuple[str, ...], workspaces: object) -> None:
    token, entry = make_token("ada", "--role", "audit", *options)
    [made] = tomllib.loads(entry)["token"]
    assert (made["name"], made["role"], made["workspaces"]) == ("ada", "audit", workspaces)
    assert token not in entry


@pytest.mark.parametrize(
    "options",
    [
        ("--also", "ws-2"),
        ("--role", "owner"),
        ("--role", "read", "--also", ""),
        ("--role", "read", "--workspace", "*", "--also", "ws-2"),
    ],
)
def test_a_token_that_cannot_be_is_a_wrong_call(options: tuple[str, ...]) -> None:
    assert CliRunner().invoke(token_command, ["--user", "ada", *options]).exit_code == 2


HANDED_OVER = 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=x exec "$@"'
"""What systemd does before it starts a service that has a socket; here the socket is what the shell has for its input."""


def start_with(handed_over: socket.socket, store: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "trio_oplog", "collect", "--listen", "127.0.0.1:1", "--store", f"sqlite:///{store}"]
    return subprocess.Popen(
        ["/bin/sh", "-c", HANDED_OVER, "sh", *program],
        stdin=handed_over,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TRIO_OPLOG_SECRET": SECRET},
    )


def post_in_time(port: int, body: bytes) -> bool:
    """Whether a record was acknowledged, on a connection of its own; a connection that is refused is an error."""
    head = f"POST /internal/operations HTTP/1.1\r\nHost: x\r\nX-Internal-Secret: {SECRET}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return connection.recv(1024).startswith(b"HTTP/1.1 201")


def test_nobody_is_refused_while_a_collector_restarts_on_a_socket_that_stays_open(tmp_path: Path) -> None:
    store = tmp_path / "operations.sqlite3"
    with socket.create_server(("127.0.0.1", 0)) as kept:
        port = kept.getsockname()[1]
        running = start_with(kept, store)
        try:
            assert running.stderr is not None
            assert running.stderr.readline().startswith(f"collecting on http://127.0.0.1:{port}/")
            with ThreadPoolExecutor(4) as clients:
                sent = [clients.submit(post_in_time, port, _wire.encode(operation(number))) for number in range(20)]
                running.terminate()
                sent += [clients.submit(post_in_time, port, _wire.encode(operation(number))) for number in range(20, 60)]
                # Nobody is there now: who connects waits.
                assert running.wait(300) == 0
                running.stderr.close()
                running = start_with(kept, store)
                acknowledged = {number for number, each in enumerate(sent) if each.result()}
        finally:
            running.kill()
            running.communicate()
    with closing(sqlite3.connect(store)) as file:
        stored = {int(name.removeprefix("id-")) for (name,) in file.execute("SELECT id FROM operations")}
    # A client that was slow to ask may have been left without an answer, as on any connection that is idle at the end.
    assert len(acknowledged) > 30
    assert acknowledged <= stored


async def test_sockets_of_another_process_are_left_alone_and_unix_sockets_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, pid in (("1", "1"), ("x", str(os.getpid()))):
        monkeypatch.setenv("LISTEN_FDS", count)
        monkeypatch.setenv("LISTEN_PID", pid)
        assert take_listeners() == []
        assert "LISTEN_FDS" not in os.environ
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        monkeypatch.setattr("trio_oplog._cli.listening._FIRST_DESCRIPTOR", os.dup(unix.fileno()))
        monkeypatch.setenv("LISTEN_FDS", "1")
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        (listener,) = take_listeners()
    assert name_of(listener) == str(tmp_path / "socket")
    assert not listener.socket.get_inheritable()
    await listener.aclose()
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr("trio_oplog._cli.listening._FIRST_DESCRIPTOR", file.fileno())
        monkeypatch.setenv("LISTEN_FDS", "1")
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        with pytest.raises(click.ClickException, match=r"the descriptor \d+ of LISTEN_FDS is no socket that listens"):
            take_listeners()
