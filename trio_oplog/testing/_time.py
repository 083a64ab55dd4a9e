"""Virtual time for what works in threads, too."""

from __future__ import annotations

import math

import trio
from trio.testing import MockClock


class ThreadsHoldTime(trio.abc.Instrument):
    """Lets a clock jump when every task waits, but not while a thread works.

    Trio's autojump takes a task that waits for a thread for one that waits for time.  So minutes would pass while a file is
    written, and more of them on a slow machine.  Only threads of Trio's default limiter are seen.

    Args:
        clock: The clock of the run.  It jumps while ``idle`` is finite.
        idle: How long nothing may have happened before it jumps, in seconds of real time.
    """

    def __init__(self, clock: MockClock, idle: float) -> None:
        self._clock = clock
        self._idle = idle
        clock.autojump_threshold = idle

    @property
    def idle(self) -> float:
        """How long nothing may have happened before the clock jumps; infinite while it must not."""
        return self._idle

    @idle.setter
    def idle(self, idle: float) -> None:
        self._idle = idle
        self.after_task_step()

    def after_task_step(self, _: object = None) -> None:
        """See Trio.  A task that gives work to a thread takes a token of the limiter in the same step."""
        threads = trio.to_thread.current_default_thread_limiter().borrowed_tokens
        wanted = math.inf if threads else self._idle
        if self._clock.autojump_threshold != wanted:
            self._clock.autojump_threshold = wanted
