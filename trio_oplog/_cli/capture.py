"""Recorded sessions, one JSON object a line: frames, or what crossed in HTTP exchanges.

A frame is ``{"dir": "c2s" | "s2c", "t": seconds, "frame": "text"}``; see ``HttpLine`` for the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import click
import msgspec

_SECONDS_MAX: Final = 1e10
"""No session and no date is later than this, some three centuries."""


_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=_SECONDS_MAX)]


class Line(msgspec.Struct, frozen=True):
    """One frame.

    Attributes:
        dir: From the client to the server, or back.
        t: When, in seconds since the session began.
        frame: The exact text that crossed.
        b64: The exact bytes in base64, where they are no UTF-8.
    """

    dir: Literal["c2s", "s2c"]
    t: _Seconds
    frame: str
    b64: bytes | None = None

    @property
    def crossed(self) -> str | bytes:
        """What crossed."""
        return self.frame if self.b64 is None else self.b64


class Encoded(msgspec.Struct, frozen=True):
    """Bytes that are no UTF-8 by themselves."""

    b64: bytes


class HttpLine(msgspec.Struct, frozen=True):
    """Something that crossed in an exchange.

    Attributes:
        x: Which exchange.
        t: When, in seconds since the session began.
        ev: What crossed, or how the exchange ended.
        method: Of a request.
        path: Of a request: path and query.
        status: Of a response.
        headers: Of a request or a response.
        data: A part of a body, without framing; of a request the whole.
        aborted: Of the end of a response: whether the upstream broke off.
    """

    x: int | str
    t: _Seconds
    ev: Literal["request", "request_body", "response", "response_data", "response_end", "client_closed", "cut_by_proxy"]
    method: str = ""
    path: str = ""
    status: int = 0
    headers: list[tuple[str, str]] = []
    data: str | Encoded = ""
    aborted: bool = False


class Capture(NamedTuple):
    """What is known of a recorded session before it is replayed.

    Attributes:
        path: Its file.
        digest: SHA-256 of the file.
        frames: How many frames it has, or events of exchanges.
        began_at: When it began, in seconds since the epoch: by the first frame or response that says when it was sent, else by
            the age of the file, which was finished with the last of them.
    """

    path: Path
    digest: str
    frames: int
    began_at: float


_decode = msgspec.json.Decoder(Line).decode
_decode_http = msgspec.json.Decoder(HttpLine).decode


def survey(path: Path) -> Capture:
    """Read a recorded session once, and see whether it is one.

    Raises:
        click.ClickException: It is not; the error names the line.
        OSError: It cannot be read.
    """
    began_at: float | None = None
    frames, last = 0, 0.0
    for line in read(path):
        frames, last = frames + 1, line.t
        if began_at is None:
            began_at = _answered_at(line) if isinstance(line, HttpLine) else _sent_at(line)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Capture(path, digest, frames, path.stat().st_mtime - last if began_at is None else began_at)


def read(path: Path) -> Iterator[Line | HttpLine]:
    r"""The lines in their order.  Lines end in ``\n`` alone: a frame may hold any other line end as it is."""
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if text.isspace():
                continue
            try:
                yield _decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                yield _read_tolerantly(path, number, text)


def _read_tolerantly(path: Path, number: int, text: bytes) -> Line | HttpLine:
    """A line that is no frame to msgspec: it is of an exchange, or the frame crossed with a lone surrogate in it."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_http(text)
    try:
        return msgspec.convert(json.loads(text), Line)
    except (ValueError, RecursionError):
        problem = f"{path}, line {number}, is no recorded frame: is this a capture?"
    raise click.ClickException(problem)


def _sent_at(line: Line) -> float | None:
    """When a session began by the date of a frame."""
    if "emittedAtMs" not in line.frame:
        return None
    try:
        message: Any = json.loads(line.frame)
        return _began_at(float(message["emittedAtMs"]) / 1000, line.t)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _answered_at(line: HttpLine) -> float | None:
    """When a session began by the date of a response, which is the beginning of a second."""
    date = next((value for name, value in line.headers if name.lower() == "date"), None) if line.ev == "response" else None
    try:
        return _began_at(parsedate_to_datetime(date).timestamp(), line.t) if date is not None else None
    except (ValueError, OverflowError):
        return None


def _began_at(then: float, t: float) -> float | None:
    """When a session began in which something is dated; ``None`` where the date cannot be right."""
    return then - t if t < then < _SECONDS_MAX else None
