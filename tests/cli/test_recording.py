"""The recorder of ``wrap``, in the tests' own process: the test is the tap."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.cli.test_wrap import CALL, stored
from trio_oplog._cli import recording
from trio_oplog._cli.options import Recording
from trio_oplog._tap import CLIENT, END, SERVER, TAKEN
from trio_oplog._tap.journal import Journal

ANSWER = b'{"id":1,"result":{"content":[]}}\n'
LIST = b'{"id":%d,"method":"operations/list"}'


def options(store: Path, **changes: Any) -> Recording:
    plain = Recording(
        dest=f"sqlite:///{store}",
        receivers=(),
        otlp_headers=None,
        otlp_payloads=False,
        secret_file=None,
        ca_file=None,
        workspace="local",
        user=None,
        source="mcp",
        env="local",
        redact=(),
        redact_none=False,
        args_max=None,
        result_max=None,
        spool=None,
        capture=None,
    )
    return plain._replace(**changes)


class Tap:
    """The other end of the recorder's journal."""

    def __init__(self, line: socket.socket) -> None:
        self.journal = Journal(line)

    async def answers(self, count: int) -> dict[int, Any]:
        """The next answers, by the numbers of their requests."""
        found: dict[int, Any] = {}
        while len(found) < count:
            await trio.lowlevel.wait_readable(self.journal.fileno())
            found |= {number: json.loads(answer) for number, answer in self.journal.read()}
        return found


@asynccontextmanager
async def recorder(chosen: Recording) -> AsyncIterator[Tap]:
    ours, theirs = socket.socketpair()
    with ours:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recording._record, theirs, chosen)
            tap = Tap(ours)
            yield tap
            tap.journal.end()


async def test_what_crossed_is_recorded_and_lists_are_answered(tmp_path: Path) -> None:
    async with recorder(options(tmp_path / "log")) as tap:
        tap.journal.write(CLIENT, CALL)
        tap.journal.write(SERVER, ANSWER)
        tap.journal.write(TAKEN, LIST % 7, 1)
        tap.journal.write(TAKEN, b'{"id":[],"method":"operations/list"}', 2)
        answers = await tap.answers(2)
        tap.journal.write(END, b"")
    assert answers[1]["id"] == 7
    assert "result" in answers[1]
    assert answers[2]["error"]["code"] == -32600
    assert [operation["tool"] for operation in await stored(tmp_path / "log")] == ["echo"]


async def test_what_is_open_when_the_tap_is_killed_is_on_record(tmp_path: Path) -> None:
    async with recorder(options(tmp_path / "log")) as tap:
        tap.journal.write(CLIENT, CALL)
    [operation] = await stored(tmp_path / "log")
    assert operation["result_meta"]["outcome"] == "unanswered"


async def test_a_message_that_is_too_long_is_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recording, "MAX_FRAME", 100)
    async with recorder(options(tmp_path / "log")) as tap:
        tap.journal.write(CLIENT, b"x" * 200 + b"\n" + CALL)
        tap.journal.write(END, b"")
    assert len(await stored(tmp_path / "log")) == 1
    assert "1 messages of more than" in capfd.readouterr().err


@pytest.mark.parametrize("is_off", [True, False])
async def test_a_capture_is_written_where_the_log_cannot_be_opened(
    is_off: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    chosen = options(tmp_path / "file" / "log", capture=tmp_path / "session.jsonl", is_off=is_off)
    async with recorder(chosen) as tap:
        tap.journal.write(CLIENT, CALL)
        tap.journal.write(TAKEN, LIST % 7, 1)
        answers = await tap.answers(1)
        tap.journal.write(END, b"")
    assert answers[1] == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -32603, "message": "The operation log is not available"},
    }
    [line] = (tmp_path / "session.jsonl").read_text().splitlines()
    assert json.loads(line)["dir"] == "c2s"
    assert ("nothing is recorded" in capfd.readouterr().err) is not is_off


async def test_without_a_log_and_a_capture_there_is_nothing_to_do(tmp_path: Path) -> None:
    async with recorder(options(tmp_path / "log", is_off=True)) as tap:
        await trio.lowlevel.wait_readable(tap.journal.fileno())
        assert tap.journal.read() == []
        assert tap.journal.closed


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dest": "https://127.0.0.1/"}, "The endpoint's secret is missing"),
        ({"workspace": ""}, "workspace_id must be a non-empty string"),
    ],
)
async def test_a_log_that_cannot_be_opened_is_said_in_one_line(
    changes: dict[str, Any], problem: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with recorder(options(tmp_path / "log", **changes)) as tap:
        tap.journal.write(CLIENT, CALL)
    said = capfd.readouterr().err
    assert problem in said
    assert said.count("\n") == 1


async def test_a_state_folder_that_cannot_be_used_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    async with recorder(options(tmp_path / "log", dest=None)) as tap:
        tap.journal.write(CLIENT, CALL)
    assert "(name another place with --to); the server runs, and nothing is recorded\n" in capfd.readouterr().err


async def test_more_lists_at_once_than_eight_are_refused(tmp_path: Path) -> None:
    release = trio.Event()

    async def endpoint(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await release.wait()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\n" + b'{"operations":[]}')
        await stream.aclose()

    secret = tmp_path / "secret"
    secret.write_text("s")
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, endpoint, 0, host="127.0.0.1"))
        dest = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/operations"
        async with recorder(options(tmp_path, dest=dest, secret_file=secret)) as tap:
            for number in range(1, recording.LISTS_AT_ONCE + 2):
                tap.journal.write(TAKEN, LIST % number, number)
            refused = await tap.answers(1)
            release.set()
            answers = await tap.answers(recording.LISTS_AT_ONCE)
            tap.journal.write(END, b"")
        nursery.cancel_scope.cancel()
    assert refused[recording.LISTS_AT_ONCE + 1]["error"]["code"] == -32001
    assert all("result" in answer for answer in answers.values())


async def test_a_tap_that_is_gone_before_the_log_is_open_harms_nothing(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    await recording._record(theirs, options(tmp_path / "log"))
