"""The line from the tap to the recorder: what crossed and when; and back: answers to ``operations/list``.

An entry is a head of 13 bytes (kind, size, time) and a body.  The time is that of the monotonic clock, which both processes read.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

CLIENT: Final = 0
SERVER: Final = 1
TAKEN: Final = 2
END: Final = 3
"""Kinds of entries: bytes of the client, bytes of the server, a request that the recorder is to answer, the server's end."""

READY: Final = 0
"""The number of no request: the recorder is ready."""

WAITING_MAX: Final = 16 * 1024 * 1024
"""How many bytes may wait for the recorder, 16 MiB.  With more of them the traffic waits for it, but not for long."""
STUCK_AFTER: Final = 1.0
"""How long the recorder may take nothing while the traffic waits for it, in seconds.  Then it is given up."""
LOADING_MAX: Final = 5.0
"""The same, until the recorder has said that it is ready: it loads everything heavy and opens the log meanwhile."""

_HEAD: Final = struct.Struct("<BId")
_ANSWER: Final = struct.Struct("<II")
_CHUNK: Final = 65_536


class Entry(NamedTuple):
    """One entry.

    Attributes:
        kind: ``CLIENT``, ``SERVER``, ``TAKEN`` or ``END``.
        time: When it crossed, in seconds of the monotonic clock.
        number: Of a request that was taken, for its answer; else 0.
        data: The bytes that crossed, or the request.
    """

    kind: int
    time: float
    number: int
    data: bytes


class EntryReader:
    """Reads entries, however they are cut."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that have come whole.

        Args:
            data: The next bytes of the journal.
        """
        self._held += data
        found: list[Entry] = []
        at = 0
        while len(self._held) - at >= _HEAD.size:
            kind, size, when = _HEAD.unpack_from(self._held, at)
            end = at + _HEAD.size + size
            if len(self._held) < end:
                break
            body = bytes(self._held[at + _HEAD.size : end])
            number = int.from_bytes(body[:4], "little") if kind == TAKEN else 0
            found.append(Entry(kind, when, number, body[4:] if kind == TAKEN else body))
            at = end
        del self._held[:at]
        return found


def write_answer(number: int, answer: bytes) -> bytes:
    """An answer on its way to the tap; number ``READY`` says that the recorder has opened the log."""
    return _ANSWER.pack(number, len(answer)) + answer


class Journal:
    """The tap's end of the line.  Never waits.

    Args:
        recorder: The socket to the recorder.
        clock: The monotonic clock.
    """

    def __init__(self, recorder: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        recorder.settimeout(0.0)
        self._socket = recorder
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._moved = clock()
        self._answers = bytearray()
        self._ready = False
        self.closed = False
        """Whether the recorder is gone."""

    @property
    def full(self) -> bool:
        """Whether the traffic has to wait for the recorder."""
        return self._size > WAITING_MAX

    @property
    def waiting(self) -> bool:
        """Whether something waits for the recorder."""
        return self._size > 0

    @property
    def stuck_at(self) -> float:
        """When the recorder will have been given up, if it takes nothing until then."""
        return self._moved + (STUCK_AFTER if self._ready else LOADING_MAX)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def events(self) -> int:
        """What to poll for."""
        return select.POLLIN | (select.POLLOUT if self._size else 0)

    def write(self, kind: int, data: bytes, number: int = 0) -> None:
        """Add an entry, with the time that it is."""
        if self.closed:
            return
        body = number.to_bytes(4, "little") + data if kind == TAKEN else data
        if not self._size:
            self._moved = self._clock()
        entry = _HEAD.pack(kind, len(body), self._clock()) + body
        self._waiting.append(entry)
        self._size += len(entry)
        self.flush()

    def flush(self) -> None:
        """Send what the recorder takes at once."""
        while self._waiting:
            data = self._waiting[0]
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._moved = self._clock()
            self._size -= sent
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = data[sent:]

    def handle(self, events: int) -> list[tuple[int, bytes]]:
        """Do what a poll found ready.

        Args:
            events: What it said of the descriptor.

        Returns:
            The answers that have come, each with the number of its request.
        """
        if events & select.POLLOUT:
            self.flush()
        return self.read() if events & ~select.POLLOUT and not self.closed else []

    def read(self) -> list[tuple[int, bytes]]:
        """The answers that have come, each with the number of its request; notices when the recorder is gone."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.close()
        self._answers += data
        found: list[tuple[int, bytes]] = []
        while len(self._answers) >= _ANSWER.size:
            number, size = _ANSWER.unpack_from(self._answers)
            end = _ANSWER.size + size
            if len(self._answers) < end:
                break
            if number == READY:
                self._ready = True
            else:
                found.append((number, bytes(self._answers[_ANSWER.size : end])))
            del self._answers[:end]
        return found

    def end(self) -> None:
        """Say that nothing follows; to be called when nothing waits."""
        if not self.closed:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()

    def close(self) -> None:
        """Let go of the recorder."""
        self.closed = True
        self._waiting.clear()
        self._size = 0
        self._socket.close()
