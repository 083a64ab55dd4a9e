"""The bytes of a stream of server-sent events -> its events.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from trio_oplog._recording.http.holding import Hold

_BOM: Final = b"\xef\xbb\xbf"
_TYPE_MAX: Final = 64
_ID_MAX: Final = 1_024
_RETRY_DIGITS: Final = 9


class Event(NamedTuple):
    """One event that was dispatched."""

    type: bytes
    """Empty for the default, which is ``message``; cut to 64 bytes."""
    data: bytes
    """As it crossed, which is UTF-8 unless the peer is mistaken.  Several ``data`` lines are joined by newlines."""


class EventParser:
    """Reads one stream, whatever pieces it comes in.  Lines end with LF, CR or CRLF; an event is there with its blank line.

    Args:
        hold: Where the part of an event is held of which the rest has not come.  An event for which there is no room is passed
            over; ``passed_over`` counts them.
    """

    def __init__(self, hold: Hold) -> None:
        self.passed_over = 0
        self.has_id = False
        """Whether the stream could be resumed: the last event that came had an id, or one before it did."""
        self.last_id = b""
        """The id of the last event that came, or of one before it; empty for one of more than 1 024 bytes, which is not kept."""
        self.retry_ms: int | None = None
        """How long to wait until the stream is asked for again, where the peer has said so."""
        self._hold = hold
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._line_began = False  # there is such a line, though perhaps nothing of it was kept
        self._is_first = True
        self._after_cr = False  # a LF that comes next belongs to the line end before it
        self._type = b""
        self._data: bytes | bytearray | None = None
        self._has_id = False
        self._id = b""
        self._is_skipping = False  # there was no room for this event

    def feed(self, data: bytes) -> list[Event]:
        """Take a piece of the stream.

        Args:
            data: The piece; not kept.

        Returns:
            The events that are complete with it.
        """
        events: list[Event] = []
        if data and b"\n" not in data and b"\r" not in data:  # of a long line, which is seen at the speed of memchr
            self._after_cr = False
            self._keep(data)
            return events
        for line in data.splitlines(keepends=True):
            if self._after_cr:
                self._after_cr = False
                if line == b"\n":
                    continue
            if line[-1:] not in (b"\n", b"\r"):
                self._keep(line)
                break
            self._after_cr = line.endswith(b"\r")
            event = self._end_line(line.rstrip(b"\r\n"))
            if event is not None:
                events.append(event)
        return events

    def release(self) -> None:
        """The stream has ended: what is left of it is no event."""
        self._hold.release()
        self._line, self._data = bytearray(), None

    def _keep(self, piece: bytes) -> None:
        """Keep the beginning of a line, or more of it."""
        self._line_began = True
        if self._is_skipping or self._line.startswith(b":"):  # a comment, of any length
            return
        if self._hold.reserve(len(piece)):
            self._line += piece
        else:
            self._skip()

    def _skip(self) -> None:
        self._is_skipping = True
        self._line, self._data = bytearray(), None

    def _end_line(self, line: bytes) -> Event | None:
        is_first, self._is_first = self._is_first, False
        if self._line_began:
            self._line_began = False
            if not self._line:  # it was passed over
                return None
            self._hold.give(len(self._line))
            line = bytes(self._line + line)
            self._line = bytearray()
        if is_first:
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        self._read_field(line)
        return None

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._type = value[:_TYPE_MAX]
        elif name == b"id" and b"\0" not in value:
            self._has_id = bool(value)
            self._id = value if len(value) <= _ID_MAX else b""
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self.retry_ms = int(value)

    def _add_data(self, value: bytes) -> None:
        if self._is_skipping:
            return
        if not self._hold.reserve(len(value) + 1):
            self._skip()
        elif self._data is None:  # nearly always the only one
            self._data = value
        else:
            self._data = bytearray(self._data) if isinstance(self._data, bytes) else self._data
            self._data += b"\n" + value

    def _dispatch(self) -> Event | None:
        self.has_id, self.last_id = self._has_id, self._id
        data, kind = self._data, self._type
        self._type, self._data = b"", None
        self._hold.release()
        if self._is_skipping:
            self._is_skipping = False
            self.passed_over += 1
        return None if data is None else Event(kind, bytes(data))
