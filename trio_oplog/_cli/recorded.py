"""``--capture FILE``: every frame, or all of every HTTP exchange, goes to a file in the format that ``trio-oplog replay`` reads.

A thread of its own writes them, so that no disk holds up the traffic.  What it cannot keep up with is left out and counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, TypeAlias

import click

from trio_oplog._asgi import ExchangeObserver
from trio_oplog._capture import write_exchange_line, write_line
from trio_oplog._recording import Frame, FrameObserver, Headers

WAITING_MAX_BYTES: Final = 32 * 1024 * 1024
"""The most bytes of frames that wait for the disk; more are left out."""
PATIENCE: Final = 2.0
"""How long the program's end waits for the disk, in seconds."""
_FILES_MAX: Final = 10_000
_OVERHEAD: Final = 200
"""What a frame that waits costs besides its bytes, rounded up."""

WriteLine: TypeAlias = Callable[[float], str]
"""Makes a line of a capture, when it is to be written, for a time in seconds since the session began."""


class _Entry(NamedTuple):
    session: int
    time: float
    write: WriteLine | None  # None: the session has ended
    size: int


class Captures:
    """Writes sessions to files, one each.

    The first file is the one that was named; where that exists already, and for further sessions, ``-2``, ``-3``, … go before
    its suffix.  Nothing is overwritten, and each file is for its owner alone.  A file that cannot be written ends the capture,
    and nothing else; that is said once on standard error.

    Args:
        path: Where the first session goes.
    """

    def __init__(self, path: Path) -> None:
        self.left_out = 0
        self._path = path
        self._numbers = iter(range(1, _FILES_MAX))
        self._sessions = 0
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._in_hand = 0
        self._changed = threading.Condition()
        self._broken = False
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="trio-oplog capture", daemon=True)
        self._thread.start()

    def watch(self, inner: FrameObserver | None = None, *, clock: Callable[[], float] = time.monotonic) -> FrameObserver:
        """Begin a session.

        Args:
            inner: Sees every frame, too; its errors come out as they are.
            clock: Seconds; only differences count.

        Returns:
            What to show the frames to.
        """
        self._sessions += 1
        return _Session(self, self._sessions, inner, clock)

    def watch_exchanges(self, *, clock: Callable[[], float] = time.monotonic) -> ExchangeCapture:
        """Begin a session that consists of HTTP exchanges.

        Args:
            clock: Seconds; only differences count.
        """
        self._sessions += 1
        return ExchangeCapture(partial(self.put, self._sessions), clock)

    def put(self, session: int, now: float, size: int, write: WriteLine | None) -> None:
        """Take one frame of so many bytes, or with ``None`` the end of a session.  Never waits."""
        size += _OVERHEAD
        with self._changed:
            if self._broken or (write is not None and self._waiting_bytes + size > WAITING_MAX_BYTES):
                self.left_out += write is not None
                return
            self._waiting.append(_Entry(session, now, write, size))
            self._waiting_bytes += size
            self._changed.notify()

    def close(self) -> None:
        """Wait for the disk, but not for long, and say what is missing."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(PATIENCE)
        with self._changed:
            was_broken, self._broken = self._broken, True
            left_out = self.left_out + self._in_hand + sum(entry.write is not None for entry in self._waiting)
        if left_out and not was_broken:
            _say(f"{left_out} frames are not in the capture {self._path}: the disk did not keep up")

    def _write(self) -> None:
        files: dict[int, tuple[IO[str], float]] = {}
        try:
            while (entries := self._next()) is not None:
                for entry in entries:
                    self._write_entry(entry, files)
                for file, _ in files.values():
                    file.flush()
                with self._changed:
                    self._in_hand = 0
            for file, _ in files.values():
                file.close()
        except OSError as error:
            with self._changed:
                self._broken = True
                self.left_out += self._in_hand + len(self._waiting)
                self._waiting.clear()
            _say(f"the capture {self._path} cannot be written ({error.strerror}) and ends here; all else goes on")

    def _next(self) -> list[_Entry] | None:
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            entries = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._in_hand = sum(entry.write is not None for entry in entries)
            return entries

    def _write_entry(self, entry: _Entry, files: dict[int, tuple[IO[str], float]]) -> None:
        if entry.write is None:
            if entry.session in files:
                files.pop(entry.session)[0].close()
            return
        if entry.session not in files:
            files[entry.session] = self._open(), entry.time
        file, began = files[entry.session]
        file.write(entry.write(max(entry.time - began, 0.0)))

    def _open(self) -> IO[str]:
        for number in self._numbers:
            path = self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
        raise FileExistsError(0, "too many files of that name exist")


class _Session:
    """A ``FrameObserver`` that puts what it sees into a capture."""

    def __init__(self, captures: Captures, number: int, inner: FrameObserver | None, clock: Callable[[], float]) -> None:
        self._captures = captures
        self._number = number
        self._inner = inner
        self._clock = clock

    def on_client_frame(self, frame: Frame, /) -> None:
        """See ``FrameObserver``."""
        self._put("c2s", frame)
        if self._inner is not None:
            self._inner.on_client_frame(frame)

    def on_server_frame(self, frame: Frame, /) -> None:
        """See ``FrameObserver``."""
        self._put("s2c", frame)
        if self._inner is not None:
            self._inner.on_server_frame(frame)

    def close(self) -> None:
        """See ``FrameObserver``.  Safe to repeat."""
        self._captures.put(self._number, 0.0, 0, None)
        if self._inner is not None:
            self._inner.close()

    def _put(self, direction: Literal["c2s", "s2c"], frame: Frame) -> None:
        # The end of a line belongs to the stream and not to the frame.
        kept = frame.removesuffix("\n") if isinstance(frame, str) else bytes(frame).removesuffix(b"\n")
        self._captures.put(self._number, self._clock(), len(kept), lambda seconds: write_line(direction, seconds, kept))


class ExchangeCapture:
    """Puts the HTTP exchanges of one session into a capture.

    Args:
        put: Takes the time, the size and the line of each event.
        clock: Seconds.
    """

    def __init__(self, put: Callable[[float, int, WriteLine], None], clock: Callable[[], float]) -> None:
        self._put = put
        self._clock = clock
        self._numbers = count(1)

    def watch(self, inner: ExchangeObserver, method: str, target: str, headers: Headers) -> ExchangeObserver:
        """A request has begun.

        Args:
            inner: Sees everything, too.
            method: See ``HttpTap.exchange``.
            target: See ``HttpTap.exchange``.
            headers: See ``HttpTap.exchange``.

        Returns:
            What to show the exchange to.
        """
        exchange = _Exchange(self, next(self._numbers), inner)
        exchange.put("request", method=method, path=target, headers=list(headers))
        return exchange

    def put(self, number: int, event: str, content: dict[str, Any]) -> None:
        """Take one event of an exchange."""
        size = len(content.get("data", b"")) + sum(len(name) + len(value) for name, value in content.get("headers", ()))
        self._put(self._clock(), size, lambda seconds: write_exchange_line(number, event, seconds, **content))


class _Exchange:
    """An ``ExchangeObserver`` that puts what it sees into a capture."""

    def __init__(self, capture: ExchangeCapture, number: int, inner: ExchangeObserver) -> None:
        self._capture = capture
        self._number = number
        self._inner = inner
        self._body: list[bytes] = []

    def put(self, event: str, **content: Any) -> None:
        """Put one event into the capture."""
        self._capture.put(self._number, event, content)

    def request_data(self, data: bytes, /) -> None:
        """See ``ExchangeObserver``.  The capture has the body in one piece."""
        self._body.append(data)
        self._inner.request_data(data)

    def request_end(self) -> None:
        """See ``ExchangeObserver``."""
        self.put("request_body", data=b"".join(self._body))
        self._body.clear()
        self._inner.request_end()

    def response_head(self, status: int, headers: Headers, /) -> None:
        """See ``ExchangeObserver``."""
        self.put("response", status=status, headers=list(headers))
        self._inner.response_head(status, headers)

    def response_data(self, data: bytes, /) -> None:
        """See ``ExchangeObserver``."""
        self.put("response_data", data=data)
        self._inner.response_data(data)

    def response_end(self) -> None:
        """See ``ExchangeObserver``."""
        self.put("response_end", aborted=False)
        self._inner.response_end()

    def client_closed(self) -> None:
        """See ``ExchangeObserver``."""
        self.put("client_closed")
        self._inner.client_closed()

    def upstream_failed(self) -> None:
        """See ``ExchangeObserver``."""
        self.put("response_end", aborted=True)
        self._inner.upstream_failed()


@contextmanager
def open_captures(path: Path | None) -> Iterator[Captures | None]:
    """Capture what crosses as long as the block lasts.

    Args:
        path: See ``Captures``; ``None`` captures nothing.

    Yields:
        What writes; ``None`` where nothing is captured.
    """
    if path is None:
        yield None
        return
    captures = Captures(path)
    try:
        yield captures
    finally:
        captures.close()


def _say(problem: str) -> None:
    click.echo(f"trio-oplog: {problem}", err=True)
