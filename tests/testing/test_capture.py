"""Sessions are recorded in the captures' format, and read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_oplog import Config, Interceptor
from trio_oplog.testing import Direction, RecordingSubmitter, capture, load_capture

CAPTURES = Path(__file__).parents[1] / "captures"
CALL = '{"method":"tools/call","id":1,"params":{"name":"echo"}}'


def test_every_recorded_session_can_be_read() -> None:
    # The others are tables of what must come of them, and exchanges of HTTP.
    for path in set(CAPTURES.rglob("[!e]*.jsonl")) - set(CAPTURES.glob("http/*")):
        frames = load_capture(path)
        assert frames
        assert len(frames) == path.read_bytes().count(b"\n")
        assert all(frame.at >= 0 for frame in frames)


@pytest.mark.parametrize(
    "line",
    ["{", "5", '{"dir":"up","t":0,"frame":""}', '{"dir":"c2s","t":"x","frame":""}', '{"dir":"c2s","t":0,"frame":5}', '{"t":0}'],
)
def test_a_line_that_is_no_frame_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(f'{{"dir":"c2s","t":0,"frame":""}}\n{line}\n')
    with pytest.raises(ValueError, match="line 2 is no recorded frame"):
        load_capture(path)


def test_what_crosses_is_written_and_shown_on(tmp_path: Path) -> None:
    path, recorder, times = tmp_path / "mine.jsonl", RecordingSubmitter(), iter((10.0, 10.5, 11.25))
    inner = Interceptor(recorder, Config(source="sdk", workspace_id="ws-1"))
    with capture(path, inner, clock=lambda: next(times)) as watching:
        watching.on_client_frame(CALL)
        watching.on_server_frame(b'{"id":1,"result":"\xff\xe2\x80\xa8"}')
        watching.close()
    assert [(frame.direction, frame.at, frame.text) for frame in load_capture(path)] == [
        (Direction.CLIENT_TO_SERVER, 0.5, CALL),
        (Direction.SERVER_TO_CLIENT, 1.25, '{"id":1,"result":"\ufffd\u2028"}'),
    ]
    assert repr(recorder) == "<RecordingSubmitter of 1 operations>"


def test_a_session_is_recorded_without_an_interceptor_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    with capture(path) as watching:
        watching.on_client_frame(memoryview(b"{}"))
        watching.on_server_frame("{}")
        watching.close()
    assert [frame.text for frame in load_capture(path)] == ["{}", "{}"]
