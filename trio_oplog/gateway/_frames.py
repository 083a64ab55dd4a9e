"""What the two ends of a bridge have in common: frames, and how a stream of them ends."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from attrs import frozen

Frame: TypeAlias = bytes | str
"""One message of a transport: ``str`` is text, ``bytes`` is binary, ``Line`` is a line of a byte stream."""

MAX_FRAME = 64 * 2**20
"""Longest frame that is taken by default, in bytes."""

GRACE = 5.0
"""How long a connection may go on by default after one side has ended, in seconds."""

NORMAL = 1000
GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
INVALID_DATA = 1007
TOO_BIG = 1009
INTERNAL_ERROR = 1011

_SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_REASON_MAX_BYTES = 123  # RFC 6455, section 5.5: 125 bytes for a control frame, two of them the code


class Line(bytes):
    """A line of a byte stream, exactly as it came: with its terminator, or without one at the end of the input."""

    __slots__ = ()


@frozen
class Closed:
    """How one end stopped sending.

    Attributes:
        code: A close code of RFC 6455, section 7.4; the end of a byte stream is 1000, a broken one 1006.
        reason: What the end said about it; may be empty.
        half: True when the end still takes frames, as a process does that has closed its output.
    """

    code: int = NORMAL
    reason: str = ""
    half: bool = False

    def as_client(self) -> Closed:
        """What the server is told when the client ended so: codes that no close frame may carry become 1000 or 1001."""
        return self._legal(lost=GOING_AWAY)

    def as_server(self) -> Closed:
        """What the client is told when the server ended so: codes that no close frame may carry become 1000 or 1011."""
        return self._legal(lost=INTERNAL_ERROR)

    def _legal(self, *, lost: int) -> Closed:
        if self.code in _SENDABLE or 3000 <= self.code <= 4999:
            return Closed(self.code, _cut(self.reason))
        return Closed(NORMAL if self.code == NO_STATUS else lost, _cut(self.reason))


def _cut(reason: str) -> str:
    return reason.encode("utf-8", "replace")[:_REASON_MAX_BYTES].decode("utf-8", "ignore")


class FrameStream(Protocol):
    """One end of a connection, as whole frames in both directions.

    ``WebSocketFrames`` and ``LineFrames`` are two; anything of this shape can be bridged.
    """

    async def receive(self) -> Frame | Closed:
        """The next frame, or how this end stopped sending.  Cancelling it loses no frame.

        Never raises for what the other end does.  After a ``Closed`` every further call returns one.
        """

    async def send(self, frame: Frame) -> None:
        """Send one frame, and return when the transport has taken it: this is the backpressure.

        Several tasks may send; frames never mix.  After a cancelled ``send`` the stream is only good for closing.

        Raises:
            trio.BrokenResourceError: The other end takes no more frames, or this end has been closed.
        """

    async def send_closed(self, closed: Closed) -> None:
        """Say that no frame follows, and why, as far as the transport can.  Never raises; ``receive`` goes on."""

    async def aclose(self) -> None:
        """Let go of the transport at once.  Never raises."""
