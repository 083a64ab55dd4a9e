"""``--capture FILE``: what crosses is written, replayed the same, and never holds up the traffic."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from websockets.trio.client import connect

from tests.cli.test_gateway import gateway
from tests.cli.test_wrap import CALL, ECHO, PYTHON, run, stored, wrapping
from trio_oplog import Config, Interceptor
from trio_oplog._cli import capture, recorded
from trio_oplog._cli.recorded import Captures, open_captures
from trio_oplog.testing import RecordingSubmitter, load_capture

ARGUMENTS = {"password": "hunter2", "to": "\u2028ü"}
REQUEST = {"id": 7, "method": "tools/call", "params": {"name": "login", "arguments": ARGUMENTS}}


def facts(operation: dict[str, Any]) -> dict[str, Any]:
    return {name: operation.get(name) for name in ("tool", "request_id", "is_error", "result_summary", "result_meta", "env_id")}


async def test_a_captured_session_replays_to_the_same_operations(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    frames = json.dumps(REQUEST).encode() + b"\n" + CALL + b'{"id":"\xff","method":"tools/call","params":{"name":"odd"}}\n'
    script = (
        "import json, sys\n"
        "for line in sys.stdin.buffer:\n"
        "    i = json.loads(line.decode('utf-8', 'replace'))['id']\n"
        "    sys.stdout.buffer.write(json.dumps({'id': i, 'error': {'code': 5, 'message': 'no'}}).encode() + b'\\n')\n"
        "    sys.stdout.buffer.flush()\n"
    )
    done = await run(wrapping(tmp_path / "log", *PYTHON, script, options=["--capture", str(file)]), frames)
    assert (done.stderr, done.stdout.count(b"\n")) == (b"", 3)
    assert file.stat().st_mode & 0o777 == 0o600
    sent = [line for line in capture.read(file) if line.dir == "c2s"]
    crossed = [line.crossed.encode() if isinstance(line.crossed, str) else line.crossed for line in sent]
    assert b"\n".join(crossed) + b"\n" == frames
    assert "hunter2" in file.read_text()
    assert len(load_capture(file)) == 6

    command = [*wrapping(tmp_path / "again")[:3], "replay", str(file), "--to", f"sqlite:///{tmp_path / 'again'}"]
    assert (await run(command)).returncode == 0
    before, after = [sorted(map(facts, await stored(tmp_path / log)), key=str) for log in ("log", "again")]
    assert before == after
    assert len(before) == 3


async def test_each_connection_of_a_gateway_has_a_file_of_its_own(tmp_path: Path) -> None:
    async with gateway(tmp_path / "log", "--capture", str(tmp_path / "session.jsonl"), "--", *PYTHON, ECHO) as running:
        for _ in range(2):
            async with connect(running.url, proxy=None) as client:
                await client.send(CALL.decode())
                await client.recv()
    for name in ("session.jsonl", "session-2.jsonl"):
        assert [frame.direction for frame in load_capture(tmp_path / name)] == ["c2s", "s2c"]


def texts(path: Path) -> list[str]:
    return [frame.text for frame in load_capture(path)]


def test_nothing_is_overwritten_and_each_session_ends_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("mine")
    with open_captures(path) as captures:
        assert captures is not None
        first, second, unused = (captures.watch(clock=iter([5.0, 6.5, 4.0]).__next__) for _ in range(3))
        first.on_client_frame("one")
        second.on_client_frame(memoryview(b"\xff"))
        first.on_server_frame(b"two")
        first.close()
        first.close()
        second.on_server_frame("three")
        second.on_server_frame("from a clock that went back")
        unused.close()
    assert path.read_text() == "mine"
    assert [(frame.at, frame.text) for frame in load_capture(tmp_path / "a-2.jsonl")] == [(0, "one"), (1.5, "two")]
    assert [frame.at for frame in load_capture(tmp_path / "a-3.jsonl")] == [0, 1.5, 0]
    assert len(list(tmp_path.iterdir())) == 3


def test_whoever_watches_behind_it_sees_everything(tmp_path: Path) -> None:
    recorder = RecordingSubmitter()
    with open_captures(tmp_path / "a") as captures:
        assert captures is not None
        watching = captures.watch(Interceptor(recorder, Config(source="s", workspace_id="w")))
        watching.on_client_frame(json.dumps(REQUEST) + "\n")
        watching.on_server_frame('{"id":7,"result":{}}')
        watching.on_client_frame(CALL)
        watching.close()
    assert [operation.request_id for operation in recorder.operations] == ["7", "1"]
    with open_captures(None) as nothing:
        assert nothing is None


def test_a_file_that_cannot_be_written_costs_the_capture_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no such folder" / "a"
    with open_captures(path) as captures:
        assert captures is not None
        watching = captures.watch()
        watching.on_client_frame("one")
        captures._thread.join(60)
        watching.on_client_frame("two")
        watching.close()
    said = f"trio-oplog: the capture {path} cannot be written (No such file or directory) and ends here; all else goes on\n"
    assert capsys.readouterr().err == said
    assert captures.left_out == 2


def test_too_many_files_of_one_name_end_the_capture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "_FILES_MAX", 2)
    (tmp_path / "a").touch()
    with open_captures(tmp_path / "a") as captures:
        assert captures is not None
        captures.watch().on_client_frame("one")
    assert "(too many files of that name exist)" in capsys.readouterr().err


def test_a_disk_that_does_not_keep_up_costs_frames_which_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A FIFO is such a disk: who opens it waits for a reader, and a full one for the reader to read.
    monkeypatch.setattr(recorded, "WAITING_MAX_BYTES", 1_000)
    monkeypatch.setattr(recorded, "PATIENCE", 0.0)
    os.mkfifo(tmp_path / "slow")
    opening = threading.Event()

    class Slow(Captures):
        def _open(self) -> Any:
            opening.set()
            return open(tmp_path / "slow", "w", encoding="utf-8")

    captures = Slow(tmp_path / "slow")
    watching = captures.watch()
    watching.on_client_frame("in hand")
    assert opening.wait(60)
    for _ in range(5):
        watching.on_client_frame("x" * 100)
    watching.close()
    assert captures.left_out == 2
    captures.close()
    said = f"trio-oplog: 6 frames are not in the capture {tmp_path / 'slow'}: the disk did not keep up\n"
    assert capsys.readouterr().err == said
    with (tmp_path / "slow").open() as reader:  # the thread may go on
        reader.read()
    captures._thread.join(60)
    assert not captures._thread.is_alive()
