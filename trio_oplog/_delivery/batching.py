"""Step 8: how large a request may be: what the endpoint has shown of batches, and when to ask it again."""

from __future__ import annotations

import math
from typing import Final

import trio

from trio_oplog._delivery.ledger import logger

_FIRST_PAUSE: Final = 30.0
_LONGEST_PAUSE: Final = 600.0
_DOUBTS: Final = 2
"""So many refused batches, the first record of each of which passed alone, mean that the endpoint does not know batches."""


class Batching:
    """The limits of one request, which an endpoint may lower for a while.

    Nothing is learned for ever: a client lives for months, and what answered 400 once may have been a proxy that was just being
    restarted.

    Attributes:
        known: Whether the last batch that anything is known of was answered with an account.
    """

    def __init__(self, endpoint: str, size: int, max_bytes: int) -> None:
        self.known = False
        self._endpoint = endpoint
        self._size = size
        self._bytes = self._bytes_now = max_bytes
        self._bytes_until = -math.inf
        self._pause = _FIRST_PAUSE
        self._off_until = -math.inf
        self._is_off = False
        self._doubts = 0

    @property
    def size(self) -> int:
        """The most records in one request now; 1 while the endpoint is not asked for more."""
        return self._size if trio.current_time() >= self._off_until else 1

    @property
    def max_bytes(self) -> int:
        """The most bytes in one request of more than one record now."""
        return self._bytes_now if trio.current_time() < self._bytes_until else self._bytes

    def accepted(self) -> None:
        """A batch was answered with an account."""
        self.known = True
        self._doubts = 0
        self._pause = _FIRST_PAUSE
        if self._is_off:
            self._is_off = False
            logger.warning("%s takes batches again", self._endpoint)

    def unknown(self, problem: str) -> None:
        """The endpoint does not know batches: none is sent for a while, longer each time."""
        self.known = False
        self._doubts = 0
        if self.size > 1:
            self._off_until = trio.current_time() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if not self._is_off:
            self._is_off = True
            logger.warning("%s takes no batches (%s); one by one for now", self._endpoint, problem)

    def doubted(self, problem: str) -> None:
        """A batch was refused, and the first of its records passed alone."""
        self._doubts += 1
        if self._doubts >= _DOUBTS:
            self.unknown(problem)

    def explained(self) -> None:
        """A record was refused alone: that is why its batch was."""
        self._doubts = 0

    def too_large(self, size: int) -> None:
        """A body of so many bytes was too large."""
        self._bytes_now = max(min(self.max_bytes, size // 2), 1)
        self._bytes_until = trio.current_time() + _LONGEST_PAUSE
