"""A bounded memory of what is over."""

from __future__ import annotations

from collections.abc import Hashable


class Memory:
    """Remembers the latest so many things.

    Args:
        capacity: How many.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: dict[Hashable, None] = {}

    def __contains__(self, thing: Hashable) -> bool:
        return thing in self._known

    def add(self, thing: Hashable) -> None:
        """Remember something, and forget the oldest where that is one too many."""
        self._known.pop(thing, None)
        self._known[thing] = None
        if len(self._known) > self._capacity:
            del self._known[next(iter(self._known))]

    def forget(self, thing: Hashable) -> None:
        """Forget something, if it is known."""
        self._known.pop(thing, None)
