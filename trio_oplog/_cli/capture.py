"""Recorded sessions: one JSON object a line, ``{"dir": "c2s" | "s2c", "t": seconds, "frame": "text"}``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import click
import msgspec

_SECONDS_MAX: Final = 1e10
"""No session and no date is later than this, some three centuries."""


class Line(msgspec.Struct, frozen=True):
    """One frame.

    Attributes:
        dir: From the client to the server, or back.
        t: When, in seconds since the session began.
        frame: The exact text that crossed.
        b64: The exact bytes in base64, where they are no UTF-8.
    """

    dir: Literal["c2s", "s2c"]
    t: Annotated[float, msgspec.Meta(ge=0, le=_SECONDS_MAX)]
    frame: str
    b64: bytes | None = None

    @property
    def crossed(self) -> str | bytes:
        """What crossed."""
        return self.frame if self.b64 is None else self.b64


class Capture(NamedTuple):
    """What is known of a recorded session before it is replayed.

    Attributes:
        path: Its file.
        digest: SHA-256 of the file.
        frames: How many frames it has.
        began_at: When it began, in seconds since the epoch: by the first frame that says when it was sent, else by the age of the
            file, which was finished with the last frame.
    """

    path: Path
    digest: str
    frames: int
    began_at: float


_decode = msgspec.json.Decoder(Line).decode


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
        if began_at is None and "emittedAtMs" in line.frame:
            began_at = _sent_at(line)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Capture(path, digest, frames, path.stat().st_mtime - last if began_at is None else began_at)


def read(path: Path) -> Iterator[Line]:
    r"""The frames in their order.  Lines end in ``\n`` alone: a frame may hold any other line end as it is."""
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if text.isspace():
                continue
            try:
                yield _decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                yield _read_tolerantly(path, number, text)


def _read_tolerantly(path: Path, number: int, text: bytes) -> Line:
    """A frame that msgspec refuses: it may have crossed with a lone surrogate in it."""
    try:
        return msgspec.convert(json.loads(text), Line)
    except (ValueError, RecursionError):
        problem = f"{path}, line {number}, is no recorded frame: is this a capture?"
    raise click.ClickException(problem)


def _sent_at(line: Line) -> float | None:
    try:
        message: Any = json.loads(line.frame)
        sent_at = float(message["emittedAtMs"]) / 1000
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return sent_at - line.t if line.t < sent_at < _SECONDS_MAX else None
