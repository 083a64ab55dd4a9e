"""Many small choices out of one drawn byte string: cheap to generate, and it shrinks to the first option of each choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class ChoiceSource:
    """Reads choices from bytes, one byte a choice; bytes that are used up read as zero.

    Drawing one byte string costs Hypothesis as much as drawing one small integer, and it shrinks every byte towards zero.
    So options stand in the order in which a reader would like to see them: the plainest first.

    Args:
        data: What was drawn.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """A whole number from 0 up to (not including) ``below``, which is at most 256."""
        at = self._at
        self._at = at + 1
        return self._data[at] % below if at < len(self._data) else 0

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; the first one when the byte is zero."""
        return options[self.number(len(options))]

    def chance(self, one_in: int) -> bool:
        """True once in ``one_in`` times; never when the byte is zero."""
        return self.number(one_in) == one_in - 1
