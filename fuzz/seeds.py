"""Writes the seeds of the fuzzers: ``python fuzz/seeds.py CORPUS`` fills CORPUS/frames and CORPUS/wire from recorded sessions.

An input of the frame fuzzer is a session: for each frame one byte (bit 0 the direction, bits 1 and 2 its type), its bytes, and
the separator.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from trio_oplog import Config, Interceptor
from trio_oplog._wire import encode
from trio_oplog.testing import Direction, RecordingSubmitter, load_capture

CAPTURES = Path(__file__).parents[1] / "tests" / "captures"
SEPARATOR = b"\x00\xff"
LONGEST_FRAME = 4096
FRAMES_AT_ONCE = 6


def main(corpus: Path) -> None:
    for name in ("frames", "wire"):
        (corpus / name).mkdir(parents=True, exist_ok=True)
    for capture in sorted(CAPTURES.rglob("*.jsonl")):
        recorder = RecordingSubmitter()
        interceptor = Interceptor(recorder, Config(source="sdk", workspace_id="ws-1"))
        window: list[bytes] = []
        for number, frame in enumerate(load_capture(capture)):
            towards_server = frame.direction is Direction.CLIENT_TO_SERVER
            (interceptor.on_client_frame if towards_server else interceptor.on_server_frame)(frame.text)
            data = frame.text.encode("utf-8", "replace")
            if len(data) <= LONGEST_FRAME and b'"method":"thread/' not in data:
                window = [*window, bytes([(number % 4) << 1 | towards_server]) + data][-FRAMES_AT_ONCE:]
                _write(corpus / "frames", SEPARATOR.join(window))
        interceptor.close()
        for operation in recorder.operations:
            _write(corpus / "wire", encode(operation))


def _write(folder: Path, data: bytes) -> None:
    (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
