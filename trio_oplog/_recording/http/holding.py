"""Memory for messages that have not come whole yet: so much for each of them, and so much for all of them together."""

from __future__ import annotations


class Budget:
    """What all the bodies of a tap may hold together.

    Args:
        max_message: The most bytes that one message may take; a longer one is passed over.
        max_held: The most bytes that all of them may take.
    """

    def __init__(self, max_message: int, max_held: int) -> None:
        self.max_message = max_message
        self.max_held = max_held
        self.held = 0


class Hold:
    """What one body takes of a budget.

    Args:
        budget: The budget.
    """

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def reserve(self, size: int) -> bool:
        """Take so many bytes more.

        Returns:
            Whether there was room for them.  If not, nothing is taken any more.
        """
        budget = self._budget
        if self._size + size > budget.max_message or budget.held + size > budget.max_held:
            self.release()
            return False
        self._size += size
        budget.held += size
        return True

    def give(self, size: int) -> None:
        """Give so many bytes back."""
        self._size -= size
        self._budget.held -= size

    def release(self) -> None:
        """Give everything back."""
        self._budget.held -= self._size
        self._size = 0


class WholeText:
    """A body that is one text, put together.

    Args:
        hold: Where it is held.  One for which there is no room is passed over.
    """

    def __init__(self, hold: Hold) -> None:
        self.is_passed_over = False
        self._hold = hold
        self._text = bytearray()

    def add(self, piece: bytes) -> None:
        """Take a piece of it."""
        if self.is_passed_over:
            return
        if self._hold.reserve(len(piece)):
            self._text += piece
        else:
            self.is_passed_over = True
            self._text = bytearray()

    def take(self) -> bytes:
        """The text that has come, which is no longer held."""
        text = bytes(self._text)
        self._text = bytearray()
        self._hold.release()
        return text
