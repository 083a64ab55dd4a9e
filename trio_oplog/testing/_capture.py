"""Recorded sessions: reading the captures' format, and writing it from a live bridge.

One JSON object a line: ``{"dir": "c2s" | "s2c", "t": seconds since the start, "frame": "the exact text that crossed"}``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import frozen

from trio_oplog._capture import write_line
from trio_oplog._recording import FrameObserver
from trio_oplog.testing._replaying import AnyFrame
from trio_oplog.testing._session import Direction


@frozen(kw_only=True)
class CapturedFrame:
    """One recorded frame.

    Attributes:
        direction: Which way it went.
        at: When, in seconds since the recording began.
        text: The exact text.
    """

    direction: Direction
    at: float
    text: str


def load_capture(path: str | os.PathLike[str], /) -> list[CapturedFrame]:
    """Read a recorded session.

    Args:
        path: The file.

    Returns:
        Its frames, in order.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not in the captures' format; the error says which.
    """
    # Split on \n only: frames hold U+2028 and others that str.splitlines() takes for ends of lines.
    lines = Path(path).read_bytes().split(b"\n")
    return [_frame(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _frame(number: int, line: bytes) -> CapturedFrame:
    try:
        read = json.loads(line)
        frame = CapturedFrame(direction=Direction(read["dir"]), at=float(read["t"]), text=read["frame"])
        frame.text.encode("utf-8", "surrogatepass")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"line {number} is no recorded frame: {type(error).__name__}") from error
    return frame


class Capture:
    """An interceptor that writes what it sees to a file, and shows it to another one, if there is one.

    A frame that is no UTF-8 is written with U+FFFD in the wrong places, and its bytes in ``b64``.  Made by ``capture()``.
    """

    def __init__(self, file: IO[str], inner: FrameObserver | None, clock: Callable[[], float]) -> None:
        self._file = file
        self._inner = inner
        self._clock = clock
        self._began = clock()

    def on_client_frame(self, frame: AnyFrame, /) -> None:
        """Write a frame from the client, and show it on."""
        self._write(Direction.CLIENT_TO_SERVER, frame)
        if self._inner is not None:
            self._inner.on_client_frame(frame)

    def on_server_frame(self, frame: AnyFrame, /) -> None:
        """Write a frame from the server, and show it on."""
        self._write(Direction.SERVER_TO_CLIENT, frame)
        if self._inner is not None:
            self._inner.on_server_frame(frame)

    def close(self) -> None:
        """The connection ended; the file stays open until ``capture()`` is left."""
        if self._inner is not None:
            self._inner.close()

    def _write(self, direction: Direction, frame: AnyFrame) -> None:
        self._file.write(write_line(direction.value, self._clock() - self._began, frame))


@contextmanager
def capture(
    path: str | os.PathLike[str],
    interceptor: FrameObserver | None = None,
    /,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Capture]:
    """Record a live session: hand what this yields to a bridge in place of the interceptor.

    What crosses is written in the clear, secrets and all: record on a machine of your own, and look before you share.

    Args:
        path: The file; it is written anew.
        interceptor: Sees every frame too; its errors come out as they are.
        clock: Seconds; only differences count.

    Yields:
        Something with an interceptor's methods.

    Raises:
        OSError: The file cannot be written.
    """
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        yield Capture(file, interceptor, clock)
