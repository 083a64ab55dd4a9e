"""How the programs deliver: everything that was recorded arrives, also when thousands of calls end at once or nobody listens."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio
from websockets.trio.client import connect

from tests.cli.test_gateway import gateway
from tests.cli.test_wrap import ECHO, PYTHON, stored, wrapping
from trio_oplog._cli.delivery import open_client
from trio_oplog._cli.destination import Destination, open_destination
from trio_oplog._cli.options import default_spool
from trio_oplog._delivery import spool_inspect

CALLS = 3_000


def calls(count: int, prefix: str = "") -> bytes:
    lines = [
        json.dumps({"id": f"{prefix}{number}", "method": "tools/call", "params": {"name": "echo", "arguments": {}}})
        for number in range(count)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


async def test_thousands_of_pipelined_calls_are_all_on_record(tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = await trio.run_process(wrapping(store, *PYTHON, ECHO), stdin=calls(CALLS), capture_stdout=True, capture_stderr=True)
    assert done.stderr == b""
    async with open_destination(f"sqlite:///{store}") as destination:
        assert destination.name == f"sqlite:///{store}"
    assert count(store) == CALLS


def count(store: Path) -> int:
    with sqlite3.connect(store) as db:
        (found,) = db.execute("SELECT count(*) FROM operations").fetchone()
    db.close()
    return int(found)


async def test_thousands_of_calls_that_end_with_their_connection_are_all_on_record(tmp_path: Path) -> None:
    silent = "import sys\nfor line in sys.stdin: pass"
    store = tmp_path / "store"
    done = await trio.run_process(wrapping(store, *PYTHON, silent), stdin=calls(CALLS), capture_stdout=True, capture_stderr=True)
    assert done.stderr == b""
    assert count(store) == CALLS


async def test_a_gateway_that_is_told_to_end_records_every_open_call(tmp_path: Path) -> None:
    silent = "import sys\nfor line in sys.stdin: pass"
    store = tmp_path / "store"
    async with gateway(store, "--", *PYTHON, silent) as running, trio.open_nursery() as nursery:
        ready = trio.Event()
        left = 4

        async def client(number: int) -> None:
            nonlocal left
            async with connect(running.url) as socket:
                for line in calls(400, f"{number}-").decode().splitlines():
                    await socket.send(line)
                await (await socket.ping()).wait()
                left -= 1
                if not left:
                    ready.set()
                async for _ in socket:
                    pass

        for number in range(4):
            nursery.start_soon(client, number)
        await ready.wait()
        running.process.send_signal(signal.SIGTERM)
        await running.process.wait()
    assert "1600 operations, 1600 delivered" in running.said
    assert count(store) == 1_600


async def test_what_an_endpoint_that_is_away_did_not_get_the_next_program_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TRIO_OPLOG_SECRET", "s")
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        to = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        await listeners[0].aclose()
        command = [sys.executable, "-m", "trio_oplog", "wrap", "--to", to, "--", *PYTHON, ECHO]
        done = await trio.run_process(command, stdin=calls(50), stdout=subprocess.DEVNULL, capture_stderr=True)
        assert b"lost" not in done.stderr
        (file,) = spool_inspect.files(default_spool())
        found = spool_inspect.status(file)
        assert (found.waiting, found.in_use, found.destination) == (50, False, f"{to}/internal/operations")
        assert stat.S_IMODE(default_spool().stat().st_mode) == 0o700
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

        listeners = await trio.open_tcp_listeners(int(to.rpartition(":")[2]), host="127.0.0.1")
        received: list[bytes] = []

        async def take(stream: trio.SocketStream) -> None:
            async with stream:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += await stream.receive_some()
                head, _, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                while len(body) < length:
                    body += await stream.receive_some()
                received.extend(body.splitlines())
                answer = json.dumps({"stored": [json.loads(line)["id"] for line in body.splitlines()], "refused": []}).encode()
                await stream.send_all(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
                )

        nursery.start_soon(trio.serve_listeners, take, listeners)
        await trio.run_process(command, stdin=calls(1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        nursery.cancel_scope.cancel()
    assert len(received) == len(set(received)) == 51
    assert spool_inspect.files(default_spool()) == []


async def test_a_spool_folder_that_cannot_be_used_costs_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(201))) as http:
        destination = Destination("http://endpoint/", http, "s", "http://endpoint/")
        async with open_client(destination, spool=tmp_path / "file" / "spools", drain_timeout=5) as client:
            assert client.healthy
    assert "cannot be made: File exists; operations are kept in memory only" in capsys.readouterr().err


async def test_without_a_spool_nothing_is_written(tmp_path: Path) -> None:
    async with (
        open_destination(f"sqlite:///{tmp_path / 'store'}") as destination,
        open_client(destination, spool=None, drain_timeout=5) as client,
    ):
        assert client.healthy
    assert set(os.listdir(tmp_path)) == {"store"}
    assert await stored(tmp_path / "store") == []
