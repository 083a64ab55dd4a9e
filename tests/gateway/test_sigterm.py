"""SIGTERM in the middle of traffic, through the real command."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Final

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from tests.cli.test_gateway import ECHO, PYTHON, gateway
from tests.cli.test_wrap import wrapping
from trio_oplog import ListQuery
from trio_oplog.collector import open_store

from .conftest import tool_call

CLIENTS: Final = 5
ANSWERS: Final = 20


async def recorded(path: Path) -> list[str]:
    """The request ids of what is on record."""
    async with open_store(f"sqlite:///{path}") as store:
        found = await store.find(ListQuery(workspace_id="local", limit=1000))
    return [str(json.loads(operation)["request_id"]) for operation in found]


class Busy:
    """A client that calls for as long as it is answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: list[str] = []
        self.close_code: int | None = None
        self.is_busy = trio.Event()

    async def run(self, url: str) -> None:
        async with connect(url, proxy=None) as connection:
            try:
                while True:
                    await connection.send(tool_call(f"{self.name}-{len(self.answered)}", self.name))
                    self.answered.append(json.loads(await connection.recv())["id"])
                    if len(self.answered) == ANSWERS:
                        self.is_busy.set()
            except ConnectionClosed:
                self.close_code = connection.close_code


@pytest.mark.usefixtures("nothing_leaks")
async def test_sigterm_under_load_closes_with_1001_and_every_call_that_was_answered_is_on_record(
    no_task_stays: None, tmp_path: Path
) -> None:
    clients = [Busy(f"client{number}") for number in range(CLIENTS)]
    store = tmp_path / "log.sqlite3"
    async with gateway(store, "--", *PYTHON, ECHO) as running, trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.run, running.url)
        for client in clients:
            await client.is_busy.wait()
        running.process.send_signal(signal.SIGTERM)
        await running.process.wait()
    assert running.process.returncode == 0
    assert [client.close_code for client in clients] == [1001] * CLIENTS
    kept = await recorded(store)
    assert len(kept) == len(set(kept))
    assert {request_id for client in clients for request_id in client.answered} <= set(kept)
    assert f"{CLIENTS} connections, 0 refused, {len(kept)} operations, {len(kept)} delivered" in running.said


@pytest.mark.usefixtures("nothing_leaks")
async def test_sigterm_under_load_ends_a_wrapped_server_and_every_call_that_was_answered_is_on_record(
    no_task_stays: None, tmp_path: Path
) -> None:
    store = tmp_path / "log.sqlite3"
    process = await trio.lowlevel.open_process(wrapping(store, *PYTHON, ECHO), stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    sent, received, told = 0, b"", False
    async with process.stdin, process.stdout:
        with trio.fail_after(60):
            try:
                while True:
                    await process.stdin.send_all(tool_call(sent).encode() + b"\n")
                    sent += 1
                    if not (chunk := await process.stdout.receive_some()):
                        break
                    received += chunk
                    if not told and received.count(b"\n") >= ANSWERS:
                        told = True
                        process.send_signal(signal.SIGTERM)
            except trio.BrokenResourceError:
                pass
            await process.wait()
    assert process.returncode == -signal.SIGTERM
    answered = {str(json.loads(line)["id"]) for line in received.split(b"\n")[:-1]}
    assert len(answered) >= ANSWERS
    kept = await recorded(store)
    assert len(kept) == len(set(kept))
    assert answered <= set(kept)
