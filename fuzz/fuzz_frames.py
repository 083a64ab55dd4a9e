"""Coverage-guided fuzzing of the frame entry points: ``python fuzz/fuzz_frames.py CORPUS [libFuzzer options]``.

Whatever a peer sends: nothing is raised, every operation is one that can be written and read again, and none is there twice.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["trio_oplog"]):
    import trio_oplog._wire
    from trio_oplog import Config, Interceptor, Operation

SEPARATOR = b"\x00\xff"
CONFIG = Config(source="sdk", workspace_id="ws-1", args_max_bytes=128, result_max_bytes=32, max_pending=4)


class Checker:
    """A Submitter that looks at each operation, and keeps nothing but ids."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, operation: Operation, /) -> None:
        self.count += 1
        assert trio_oplog._wire.decode(trio_oplog._wire.encode(operation)) == operation  # noqa: SLF001
        assert len((operation.result_summary or "").encode()) <= CONFIG.result_max_bytes
        assert len(operation.arguments or b"") <= CONFIG.args_max_bytes
        assert 0 <= operation.duration_ms < 2**31
        assert all(len(name.encode()) <= 1024 for name in (operation.tool, operation.env_id, operation.request_id or ""))


def one_input(data: bytes) -> None:
    checker = Checker()
    interceptor = Interceptor(checker, CONFIG)
    pieces = data.split(SEPARATOR)
    for piece in pieces:
        if piece:
            flags, body = piece[0], piece[1:]
            look = interceptor.on_client_frame if flags & 1 else interceptor.on_server_frame
            look(_frame(flags >> 1 & 3, body))
    interceptor.close()
    interceptor.close()
    # A call costs a peer at least its method and an id.
    assert checker.count <= len(data) // 20


def _frame(kind: int, body: bytes) -> bytes | bytearray | memoryview | str:
    if kind == 0:
        return body.decode("utf-8", "surrogatepass" if body.isascii() else "surrogateescape")
    return (body, bytearray(body), memoryview(body))[kind - 1]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
