"""How a message is read: into which shape, and by which function it becomes an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from trio_oplog._json import Reader
from trio_oplog._recording.envelope import Envelope, Frame

M = TypeVar("M", bound=Envelope)
F = TypeVar("F")


class Rule(Generic[M, F]):
    """One entry of a table of methods.

    Args:
        shape: The parts of the message that are worth having; whatever it does not name is skipped.
        interpret: Makes an event of such a message.
    """

    __slots__ = ("_reader", "interpret", "read", "shape")

    def __init__(self, shape: type[M], interpret: F) -> None:
        self.shape: type[M] = shape
        self.interpret: F = interpret
        self._reader = Reader(shape)
        self.read: Callable[[Frame], M | None] = self._reader.read

    def read_escaped(self, text: str) -> M | None:
        """Read a text in which surrogates stand for bytes that are no UTF-8."""
        return self._reader.read_tolerantly(text, escaped=True)

    def read_any(self, frame: Frame, *, escaped: bool) -> M | None:
        """Read a frame, or the text of one message of it."""
        return self.read_escaped(frame) if escaped and isinstance(frame, str) else self.read(frame)
