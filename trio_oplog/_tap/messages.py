"""Messages of one direction of a byte stream, put together beside the traffic."""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_FRAME: Final = 64 * 1024 * 1024
"""The longest message that is put together, in bytes, 64 MiB: a longer one passes and is not recorded."""

_HEADER: Final = b"content-"
_LENGTH: Final = b"content-length"
_HEADERS_MAX: Final = 4_096


class Message(NamedTuple):
    """One message of a byte stream.

    Attributes:
        end: Where it ends in the chunk that brought its end.
        data: A line with its newline, or a body; ``None`` for one that is too long to be held.
        framed: Whether it came with a ``Content-Length``.
    """

    end: int
    data: bytes | None
    framed: bool


class Assembler:
    r"""Finds the messages in the chunks of one direction, however they are cut.

    A message is a line, which ends with ``\n`` and with nothing else; or a block of headers with a ``Content-Length``, an empty
    line and so many bytes (the framing of the Language Server Protocol).  Which of the two is decided message by message, because
    some peers speak both: a line that begins with ``Content-`` is a header if a whole block of headers follows, and else a line.

    Args:
        max_size: The longest message that is held, in bytes; not negative.  Of a longer one only the end is noticed.
        framing: Whether ``Content-Length`` has a meaning; else there are only lines.
    """

    def __init__(self, max_size: int, *, framing: bool = True) -> None:
        self._max_size = max_size
        self._line_max = max(max_size, _HEADERS_MAX) if framing else max_size  # a header is needed where no message is
        self._framing = framing
        self._held = bytearray()  # the beginning of a line or of a body
        self._too_long = False  # and nothing of it is held any more
        self._headers = bytearray()  # a block of headers that has not ended
        self._length: int | None = None  # what they say
        self._missing = 0  # bytes of a body that have not come

    @property
    def at_boundary(self) -> bool:
        """Whether no message has begun that has not ended."""
        return not (self._held or self._too_long or self._headers or self._missing)

    @property
    def is_too_long(self) -> bool:
        """Whether a message has begun that is longer than ``max_size``."""
        return self._too_long

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in a chunk, in their order.

        Args:
            data: The next bytes, as they came.
        """
        found: list[Message] = []
        at, size = 0, len(data)
        while at < size:
            if self._missing:
                end = min(at + self._missing, size)
                self._missing -= end - at
                self._hold(data[at:end], self._max_size)
                if not self._missing:
                    found.append(self._release(end, framed=True))
            else:
                newline = data.find(b"\n", at)
                end = size if newline < 0 else newline + 1
                self._hold(data[at:end], self._line_max)
                if newline >= 0:
                    self._end_line(at, end, found)
            at = end
        return found

    def finish(self) -> list[Message]:
        """What was begun when the stream ended: a last line without its newline, or the beginning of a body."""
        found: list[Message] = []
        framed = self._missing > 0
        self._missing = 0
        self._drop_headers(0, found)
        if not self.at_boundary:
            found.append(self._release(0, framed=framed))
        return found

    def _hold(self, piece: bytes, limit: int) -> None:
        if self._too_long or len(self._held) + len(piece) > limit:
            self._too_long = True
            self._held.clear()
        else:
            self._held += piece

    def _release(self, end: int, *, framed: bool) -> Message:
        data = None if self._too_long or len(self._held) > self._max_size else bytes(self._held)
        self._held.clear()
        self._too_long = False
        return Message(end, data, framed)

    def _end_line(self, start: int, end: int, found: list[Message]) -> None:
        if self._framing and (self._headers or self._held[: len(_HEADER)].lower() == _HEADER):
            if self._take_header(bytes(self._held), end, found):
                self._held.clear()
                return
            self._drop_headers(start, found)
        found.append(self._release(end, framed=False))

    def _take_header(self, line: bytes, end: int, found: list[Message]) -> bool:
        """Take a line of a block of headers; whether it was one."""
        text = line.strip()
        if not text:
            if self._length is None:
                return False
            self._missing, self._length = self._length, None
            self._headers.clear()
            if not self._missing:
                found.append(Message(end, b"", framed=True))
            return True
        name, colon, value = text.partition(b":")
        if self._too_long or not colon or len(self._headers) + len(line) > _HEADERS_MAX:
            return False
        if name.rstrip().lower() == _LENGTH:
            number = value.strip()
            # A length that no message has would let everything after it escape the record.
            if not number.isdigit() or len(number) > len(str(MAX_FRAME)) or int(number) > MAX_FRAME:
                return False
            self._length = int(number)
        self._headers += line
        return True

    def _drop_headers(self, end: int, found: list[Message]) -> None:
        """What looked like headers was none: they were lines."""
        lines = self._headers.splitlines(keepends=True)
        found.extend(Message(end, bytes(line) if len(line) <= self._max_size else None, framed=False) for line in lines)
        self._headers.clear()
        self._length = None
