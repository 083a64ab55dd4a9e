"""Frames, the messages in them, and the exact texts of their parts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

CAPTURES = Path(__file__).parent.parent / "captures"
EXCHANGES = sorted(CAPTURES.glob("http/*.jsonl"))
SESSIONS = sorted({path for path in CAPTURES.glob("**/*.jsonl") if not path.name.startswith("expected-")} - set(EXCHANGES))

Frame: TypeAlias = str | bytes
Key: TypeAlias = tuple[str, Any]
"""An id that can be compared: ``("string", "7")`` and ``("number", 7)`` are two."""

NAME_MAX_BYTES = 1_024
INT64 = range(-(1 << 63), 1 << 63)


class Line(NamedTuple):
    """One frame of a recorded session."""

    direction: str
    """``"c2s"`` or ``"s2c"``."""
    frame: Frame
    """The text that crossed; its bytes where they are no UTF-8."""
    t: float
    """Seconds since the recording began."""


def session(path: Path) -> list[Line]:
    """The frames of a recorded session.  Lines end at newlines only: frames hold raw U+2028."""
    lines = []
    for entry in map(json.loads, filter(None, path.read_bytes().decode().split("\n"))):
        frame = base64.b64decode(entry["b64"]) if "b64" in entry else entry["frame"]
        lines.append(Line(entry["dir"], frame, entry["t"]))
    return lines


def decoded(frame: Frame) -> tuple[str, str, bool]:
    """A frame as clean text, as text that encodes back to its bytes, and whether the two differ.

    Both texts have the same length: each byte that is no UTF-8 is one U+FFFD in the first and one lone surrogate in the second.
    """
    if isinstance(frame, str):
        return frame, frame, False
    try:
        text = frame.decode(json.detect_encoding(frame))
    except UnicodeDecodeError:
        escaped = frame.decode("utf-8", "surrogateescape")
        return re.sub("[\udc80-\udcff]", "\ufffd", escaped), escaped, True
    return text, text, False


@dataclass(frozen=True)
class Message:
    """One JSON-RPC message and where it stands in its frame."""

    value: dict[str, Any]
    text: str
    escaped: str
    begin: int
    end: int
    lossy: bool
    """Whether the frame was no UTF-8."""

    def get(self, *path: str | int) -> Any:
        """The value of a part; ``None`` when there is no such part."""
        value: Any = self.value
        for name in path:
            if isinstance(value, dict):
                value = value.get(name)
            elif isinstance(value, list) and isinstance(name, int) and name < len(value):
                value = value[name]
            else:
                return None
        return value

    def exact(self, *path: str | int) -> str | None:
        """The text of a part as it stands in the frame; ``None`` when there is no such part."""
        span = self._span(*path)
        return None if span is None else self.text[slice(*span)]

    def exact_bytes(self, *path: str | int) -> bytes | None:
        """The bytes of a part as they crossed; ``None`` when there is no such part."""
        span = self._span(*path)
        if span is None:
            return None
        return self.escaped[slice(*span)].encode("utf-8", "surrogateescape" if self.lossy else "surrogatepass")

    def _span(self, *path: str | int) -> tuple[int, int] | None:
        span = (self.begin, self.end)
        for name in path:
            spans = spans_of_parts(self.text, span[0])
            if name not in spans:
                return None
            span = spans[name]
        return span


def read(frame: Frame) -> list[Message]:
    """The messages of a frame: one, those of a batch, or none."""
    text, escaped, lossy = decoded(frame)
    try:
        value = json.loads(text)
    except ValueError:
        return []
    begin = after_blank(text, 0)
    if isinstance(value, list):
        places = [(part, *span) for part, span in zip(value, spans_of_parts(text, begin).values(), strict=True)]
    else:
        places = [(value, begin, len(text))]
    return [Message(part, text, escaped, first, last, lossy) for part, first, last in places if isinstance(part, dict)]


def messages(frame: Frame) -> list[dict[str, Any]]:
    """The messages of a frame as plain values."""
    return [message.value for message in read(frame)]


def spans_of_parts(text: str, begin: int) -> dict[str | int, tuple[int, int]]:
    """Where the members of the object, or the elements of the array, at a place begin and end; nothing for other values."""
    spans: dict[str | int, tuple[int, int]] = {}
    if text[begin] not in "{[":
        return spans
    value_at = json.JSONDecoder().raw_decode
    at = after_blank(text, begin + 1)
    while text[at] not in "]}":
        name: str | int = len(spans)
        if text[begin] == "{":
            name, colon = value_at(text, at)
            at = after_blank(text, after_blank(text, colon) + 1)
        _, end = value_at(text, at)
        spans[name] = (at, end)  # of a repeated name the last counts
        at = after_blank(text, end)
        if text[at] == ",":
            at = after_blank(text, at + 1)
    return spans


def after_blank(text: str, at: int) -> int:
    """The first place at or after ``at`` that is not blank."""
    while at < len(text) and text[at] in " \t\n\r":
        at += 1
    return at


def id_key(value: Any) -> Key | None:
    """What ids are compared by; ``None`` for what is no id."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return ("string" if isinstance(value, str) else "number", value)


def respelled(key: Key) -> Key | None:
    """The same integer in the other type: 7 for "7" and "7" for 7."""
    kind, value = key
    if kind == "number":
        return ("string", str(value)) if isinstance(value, int) else None
    return ("number", int(value)) if re.fullmatch(r"0|-?[1-9][0-9]{0,4000}", value) else None


def same_json(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: the order of names does not count, and true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# Texts


def clean(text: str) -> str:
    """A text without lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def cut(text: str, limit: int) -> str:
    """The longest prefix that fits into so many bytes."""
    kept = ""
    for character in text if len(text.encode()) > limit else "":
        if len((kept + character).encode()) > limit:
            return kept
        kept += character
    return text


def name(value: Any) -> str | None:
    """An identifier or other short text that a peer wrote; ``None`` for what is no text or empty."""
    return cut(clean(value), NAME_MAX_BYTES) if isinstance(value, str) and value else None


def integer(value: Any) -> int | None:
    """An integer that every store can hold."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in INT64 else None


def sized(data: bytes) -> dict[str, Any]:
    """What stands in the place of bytes that are not kept."""
    return {"truncated": True, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def arguments_of(data: bytes | None, limit: int, *, lossy: bool) -> dict[str, Any]:
    """The arguments of a call as fields of its record."""
    if data is None or data == b"null":
        return {}
    if lossy or len(data) > limit or not is_strict_json(data.decode("utf-8", "surrogatepass")):
        return {"arguments_meta": sized(data)}
    return {"arguments": data.decode()}


def is_strict_json(text: str) -> bool:
    """Whether a text that Python reads as JSON is JSON for everybody else, too."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def summary_of(text: str | None, limit: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A result's text as a field of its record, and what its ``result_meta`` says when the text was cut."""
    if not text:
        return {}, {}
    text = clean(text)
    data = text.encode()
    if len(data) <= limit:
        return {"result_summary": text}, {}
    return {"result_summary": cut(text, limit)}, {
        "truncated": True,
        "total_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
