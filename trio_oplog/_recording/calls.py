"""The open calls of one connection, in the order in which they began, each found by its key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from trio_oplog._recording.dialects.events import Call, CallKey


class OpenCalls:
    """Open calls.  Several may have one key; they end in the order in which they began."""

    def __init__(self) -> None:
        # In the order of their beginning, so that the first is the oldest.
        self.all: dict[Call, None] = {}
        self.by_key: dict[CallKey | None, Call] = {}  # the oldest of those with a key

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.all)

    def oldest(self) -> Call:
        """The call that began first."""
        return next(iter(self.all))

    def add(self, call: Call) -> None:
        """A call begins."""
        oldest = self.by_key.setdefault(call.key, call)
        if oldest is not call:
            for one in (oldest, call):
                one.notes = (one.notes or {}) | {"duplicate_id": True}
            if oldest.later is None:
                oldest.later = deque()
            oldest.later.append(call)
        self.all[call] = None

    def remove(self, call: Call) -> None:
        """End a call."""
        del self.all[call]
        if call.key is not None:
            self._free_key(call)

    def release(self, call: Call) -> None:
        """A call goes on whose request was answered: no other response is for it."""
        self._free_key(call)
        call.key = None

    def _free_key(self, call: Call) -> None:
        oldest = self.by_key[call.key]
        if oldest is not call:  # one that began later ends first: its turn, or its thread, is over
            oldest.later.remove(call)  # type: ignore[union-attr]  # whoever is not the oldest is in there
        elif call.later:
            heir = self.by_key[call.key] = call.later.popleft()
            heir.later = call.later
            call.later = None
        else:
            del self.by_key[call.key]
