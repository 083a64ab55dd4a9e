"""Step 7: a bounded inbox for operations submitted from other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import trio
from attrs import define

from trio_oplog._delivery.lanes import Lanes, Measure
from trio_oplog._delivery.ledger import DropReason
from trio_oplog._operation import Operation


@define(eq=False)
class _Entered:
    """One operation that waits for Trio's thread."""

    operation: Operation
    workspace: str
    size: int = 0


class ThreadInbox:
    """Hands operations from any thread over to Trio's, a bounded number at a time, and from the workspaces in turn."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Reentrant, since a garbage collection inside it may run somebody's __del__ that submits.
        self._lock = threading.RLock()
        self._waiting: Lanes[_Entered] = Lanes()
        self._refused: dict[DropReason, int] = {}
        self._closed = DropReason.NOT_OPEN
        self._token: trio.lowlevel.TrioToken | None = None
        self._admit: Callable[[Operation], None]

    def open(self, token: trio.lowlevel.TrioToken, admit: Callable[[Operation], None]) -> None:
        """Let operations in from now on, by calling ``admit`` in Trio's thread."""
        with self._lock:
            self._admit = admit
            self._token = token

    def enter(self, operation: Operation) -> Sequence[tuple[Operation, DropReason]]:
        """Hand one over, in any thread.

        Returns:
            What was given up for it or instead of it, and why: at most one.
        """
        with self._lock:
            given_up = self._queue(operation)
            for _, reason in given_up:
                self._refused[reason] = self._refused.get(reason, 0) + 1
            return given_up

    def _queue(self, operation: Operation) -> Sequence[tuple[Operation, DropReason]]:
        if self._token is None:
            return ((operation, self._closed),)
        try:
            self._token.run_sync_soon(self.let_in, idempotent=True)
        except trio.RunFinishedError:
            # The block was never left: its task was abandoned with its event loop.
            return ((operation, DropReason.NOT_OPEN),)
        entered = _Entered(operation, _workspace(operation))
        given_up: Sequence[tuple[Operation, DropReason]] = ()
        if len(self._waiting) >= self._capacity:
            victim = self._waiting.make_way(entered, Measure.COUNT, oldest=False)
            given_up = ((victim.operation, DropReason.QUEUE_FULL),)
            if victim is entered:
                return given_up
        self._waiting.append(entered)
        return given_up

    @trio.lowlevel.enable_ki_protection
    def let_in(self) -> None:
        """Admit everything that waits; in Trio's thread."""
        while True:
            # Asked under the lock: whoever has scheduled this may not have appended its operation yet.
            with self._lock:
                if not self._waiting:
                    return
                entered = self._waiting.popleft()
            self._admit(entered.operation)

    def close(self) -> None:
        """Refuse operations from now on, once those that wait are let in; in Trio's thread."""
        with self._lock:
            self._token = None
        self.let_in()

    def after_fork(self) -> None:
        """In a forked process: refuse everything.  What waits is the parent's to let in."""
        self._lock = threading.RLock()  # a thread that is not here may have held it
        self._token = None
        self._closed = DropReason.FORKED

    def counts(self) -> tuple[int, Mapping[DropReason, int]]:
        """How many wait, and how many were refused why."""
        with self._lock:
            return len(self._waiting), dict(self._refused)

    @property
    def total_refused(self) -> int:
        """How many were refused, for whatever reason."""
        with self._lock:
            return sum(self._refused.values())


def _workspace(operation: Operation) -> str:
    """Whose it is; what is no operation, of which the client will say so, is nobody's."""
    try:
        return str(operation.workspace_id)
    except Exception:  # noqa: BLE001 -- of anything at all
        return ""
