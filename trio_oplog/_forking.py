"""What must not go on in a forked process as if nothing had happened: ids made in advance, locks, clients."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Forked(Protocol):
    """Something that has to know that it is in a forked process now."""

    def after_fork(self) -> None:
        """Called in the child, before ``os.fork()`` returns there.  Must not raise."""


# The one thing that is global: so is a fork.
_watching: Final[weakref.WeakSet[Forked]] = weakref.WeakSet()


def watch_forks(thing: Forked) -> None:
    """Let something know of forks for as long as it is there."""
    _watching.add(thing)


def _tell() -> None:
    for thing in list(_watching):
        thing.after_fork()


os.register_at_fork(after_in_child=_tell)
