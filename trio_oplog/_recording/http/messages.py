"""A body or an event -> the JSON-RPC messages in it, each with its envelope."""

from __future__ import annotations

from msgspec import Raw, Struct

from trio_oplog._json import Reader
from trio_oplog._recording.envelope import Envelope, Frame, messages

_envelope = Reader(Envelope)


class Part(Struct, gc=False):
    """One message, or a text of several that cannot be told apart without losing bytes that are no UTF-8."""

    frame: Frame
    method: str | None
    id: Raw
    is_alone: bool = True
    """Whether it is a message and no element of an array."""


def read_parts(frame: bytes) -> list[Part]:
    """The messages of a text of any shape; none for what holds no JSON-RPC."""
    if not frame.lstrip().startswith(b"["):
        envelope = _envelope.read(frame)
        if envelope is not None:
            return [Part(frame, envelope.method, envelope.id)]
    found = messages(frame)
    if found is None:
        return []
    texts = found.texts[:1] if found.escaped else found.texts
    read = [(text, _envelope.read_tolerantly(text, escaped=found.escaped) or Envelope()) for text in texts]
    return [Part(frame if found.escaped else text, part.method, part.id, not found.is_array) for text, part in read]
