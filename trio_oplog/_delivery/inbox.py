"""Step 7: the way in for other threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

import trio

from trio_oplog._delivery.ledger import DropReason
from trio_oplog._operation import Operation


class ThreadInbox:
    """Hands operations from any thread over to Trio's, a bounded number at a time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Reentrant, since a garbage collection inside it may run somebody's __del__ that submits.
        self._lock = threading.RLock()
        self._waiting: deque[Operation] = deque()
        self._refused: dict[DropReason, int] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._admit: Callable[[Operation], None]

    def open(self, token: trio.lowlevel.TrioToken, admit: Callable[[Operation], None]) -> None:
        """Let operations in from now on, by calling ``admit`` in Trio's thread."""
        with self._lock:
            self._admit = admit
            self._token = token

    def enter(self, operation: Operation) -> DropReason | None:
        """Hand one over, in any thread.

        Returns:
            Why it was refused, if it was.
        """
        with self._lock:
            reason = self._queue(operation)
            if reason is not None:
                self._refused[reason] = self._refused.get(reason, 0) + 1
            return reason

    def _queue(self, operation: Operation) -> DropReason | None:
        if self._token is None:
            return DropReason.NOT_OPEN
        if len(self._waiting) >= self._capacity:
            return DropReason.QUEUE_FULL
        try:
            self._token.run_sync_soon(self.let_in, idempotent=True)
        except trio.RunFinishedError:
            # The block was never left: its task was abandoned with its event loop.
            return DropReason.NOT_OPEN
        self._waiting.append(operation)
        return None

    @trio.lowlevel.enable_ki_protection
    def let_in(self) -> None:
        """Admit everything that waits; in Trio's thread."""
        while self._waiting:
            with self._lock:
                operation = self._waiting.popleft()
            self._admit(operation)

    def close(self) -> None:
        """Refuse operations from now on, once those that wait are let in; in Trio's thread."""
        with self._lock:
            self._token = None
        self.let_in()

    def counts(self) -> tuple[int, Mapping[DropReason, int]]:
        """How many wait, and how many were refused why."""
        with self._lock:
            return len(self._waiting), dict(self._refused)

    @property
    def total_refused(self) -> int:
        """How many were refused, for whatever reason."""
        with self._lock:
            return sum(self._refused.values())
