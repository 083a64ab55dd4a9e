"""``trio-oplog collect`` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trio
from attrs import evolve
from click.testing import CliRunner, Result

from tests.http import PATIENCE, http_client
from trio_oplog import ListClient, ListQuery, Operation, _wire
from trio_oplog._cli import main
from trio_oplog._cli.table import read_reply
from trio_oplog.collector import open_store

SECRET = "swordfish"
CERTIFICATE = Path(__file__).parents[1] / "serving" / "certificate.pem"
KEY = CERTIFICATE.with_name("key.pem")
JSON = {"X-Internal-Secret": SECRET, "Content-Type": "application/json"}
NOW = datetime.now(UTC)


def operation(number: int) -> Operation:
    return Operation(
        id=f"id-{number}",
        workspace_id="ws",
        source="sdk",
        env_id="local",
        tool="echo",
        is_error=False,
        started_at=NOW,
        completed_at=NOW,
        duration_ms=0,
    )


@asynccontextmanager
async def collector(store: Path, *options: str | Path) -> AsyncIterator[tuple[trio.Process, str]]:
    """A collector that has said where it listens."""
    command = [
        sys.executable,
        "-m",
        "trio_oplog",
        "collect",
        "--listen",
        "127.0.0.1:0",
        "--store",
        f"sqlite:///{store}",
        *options,
    ]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, env={**os.environ, "TRIO_OPLOG_SECRET": SECRET})
    assert process.stderr is not None
    with trio.fail_after(60):
        async with process.stderr:
            said = b""
            while not said.endswith(b"\n"):
                said += await process.stderr.receive_some()
            assert said.decode().endswith(f" into sqlite:///{store}\n")
            try:
                yield process, said.decode().split()[2]
            finally:
                if process.returncode is None:
                    process.kill()
                with trio.CancelScope(shield=True):
                    assert await process.stderr.receive_some() == b""
                    await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stores_and_lists_until_a_signal_and_leaves_with_0(tmp_path: Path, number: signal.Signals) -> None:
    async with collector(tmp_path / "log") as (process, url), http_client(headers=JSON) as http:
        assert (await http.post(url, content=_wire.encode(operation(1)))).status_code == 201
        [listed] = read_reply(await ListClient(url, SECRET, timeout=PATIENCE).fetch(ListQuery(workspace_id="ws")))
        assert listed.id == "id-1"
        # The connection is still open: it must not hold up the end.
        process.send_signal(number)
        assert await process.wait() == 0


async def test_it_serves_over_tls(tmp_path: Path) -> None:
    trusts = ssl.create_default_context(cafile=str(CERTIFICATE))
    options = ("--tls-certificate", CERTIFICATE, "--tls-key", KEY)
    async with (
        collector(tmp_path / "log", *options) as (process, url),
        httpx.AsyncClient(verify=trusts, headers=JSON, timeout=PATIENCE) as http,
    ):
        assert url.startswith("https://")
        assert (await http.post(url, content=_wire.encode(operation(1)))).status_code == 201
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_what_is_older_than_it_keeps_is_deleted_while_it_serves(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'log'}") as store:
        await store.add([evolve(operation(1), started_at=NOW - timedelta(days=9)), operation(2)])
    async with collector(tmp_path / "log", "--keep", "8d") as (process, url):
        listed: list[Operation] = []
        with trio.fail_after(60):
            while [each.id for each in listed] != ["id-2"]:
                await trio.sleep(0.01)
                listed = read_reply(await ListClient(url, SECRET, timeout=PATIENCE).fetch(ListQuery(workspace_id="ws")))
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_a_second_signal_does_not_wait_for_requests(tmp_path: Path) -> None:
    async with collector(tmp_path / "log") as (process, url):
        where = httpx.URL(url)
        async with await trio.open_tcp_stream(where.host, where.port or 0) as stream:
            head = f"POST {where.path} HTTP/1.1\r\nHost: x\r\nX-Internal-Secret: {SECRET}\r\nContent-Type: application/json\r\n"
            await stream.send_all(head.encode() + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            # The app waits for the body now.
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGTERM)
            async with http_client() as http:
                while True:  # until the first signal has arrived
                    try:
                        await http.get(url)
                    except httpx.TransportError:
                        break
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert await stream.receive_some() == b""


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    acknowledged: set[str] = set()

    async def post(url: str, first: int) -> None:
        async with http_client(headers=JSON) as http:
            for number in range(first, first + 10_000):  # pragma: no branch
                try:
                    reply = await http.post(url, content=_wire.encode(operation(number)))
                except httpx.TransportError:
                    return
                assert reply.status_code == 201
                acknowledged.add(reply.json()["id"])
                if len(acknowledged) == 50:
                    enough.set()

    for begin in (0, 100_000):  # the second run finds the file as the first was killed over it
        enough = trio.Event()
        acknowledged_before = set(acknowledged)
        acknowledged.clear()
        async with collector(tmp_path / "log") as (process, url), trio.open_nursery() as nursery:
            for task in range(4):
                nursery.start_soon(post, url, begin + task * 10_000)
            await enough.wait()
            process.kill()
        acknowledged |= acknowledged_before
    async with collector(tmp_path / "log") as (process, url):
        listed = read_reply(await ListClient(url, SECRET, timeout=PATIENCE).fetch(ListQuery(workspace_id="ws", limit=1000)))
    assert acknowledged <= {shown.id for shown in listed}
    # Nothing twice, and no more than what was on its way when the process died.
    assert len(listed) == len({shown.id for shown in listed}) <= len(acknowledged) + 8


def refused(*arguments: str, secret: str | None = SECRET) -> Result:
    done = CliRunner().invoke(main, ["collect", *arguments], env={"TRIO_OPLOG_SECRET": secret, "TRIO_OPLOG_SECRET_FILE": None})
    assert done.stderr.count("\n") == 1, done.stderr
    return done


def test_without_a_secret_it_does_not_start() -> None:
    done = refused(secret=None)
    assert done.exit_code == 2
    assert "set TRIO_OPLOG_SECRET, or name its file with --secret-file" in done.stderr


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trio_oplog", "collect", "--store", f"sqlite:///{tmp_path / 'log'}", "--listen"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*command, address],
            check=False,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "TRIO_OPLOG_SECRET": SECRET},
        )
    assert (done.returncode, done.stderr) == (1, f"trio-oplog: cannot listen on {address}: Address already in use\n")


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    done = refused("--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path}/gone/log")
    assert done.exit_code == 1
    assert f"{tmp_path}/gone/log cannot be opened" in done.stderr


@pytest.mark.parametrize("address", ["8088", "localhost", "127.0.0.1:http", "127.0.0.1:65536", ""])
def test_what_is_no_address_is_a_wrong_call(address: str) -> None:
    assert refused("--listen", address).exit_code == 2


def test_tls_needs_both_a_certificate_and_a_key(tmp_path: Path) -> None:
    done = refused("--tls-key", str(KEY))
    assert done.exit_code == 2
    assert "needs both" in done.stderr
    done = refused(
        "--tls-key", str(KEY), "--tls-certificate", str(KEY), "--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path}/log"
    )
    assert done.exit_code == 2
    assert "--tls-certificate" in done.stderr


def test_what_is_no_store_is_a_wrong_call() -> None:
    done = refused("--store", "mysql://user:hunter2@host/database")
    assert done.exit_code == 2
    assert "--store" in done.stderr
    assert "hunter2" not in done.stderr
