"""Virtual time for tests in which threads work, too: a disk takes none of it, however slow it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import trio
from trio.testing import MockClock


class DiskTime:
    """Lets a clock jump when every task waits, but never while a thread works.

    Trio's autojump takes a task that waits for a thread for one that waits for time.  So minutes would pass while a file is
    written, as many as the machine is slow.

    Args:
        clock: The clock; time passes while ``passes`` is true.
    """

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self._passes = False
        self._working = 0

    @property
    def passes(self) -> bool:
        """Whether time may pass."""
        return self._passes

    @passes.setter
    def passes(self, passes: bool) -> None:
        self._passes = passes
        self._apply()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See all work that tasks give to threads."""
        run_sync = trio.to_thread.run_sync

        async def run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
            self._working += 1
            self._apply()
            try:
                return await run_sync(function, *args, **options)
            finally:
                self._working -= 1
                self._apply()

        with patch.object(trio.to_thread, "run_sync", run):
            yield

    def _apply(self) -> None:
        self._clock.autojump_threshold = 0 if self._passes and not self._working else math.inf
