"""Calls that were answered and have not ended: tasks, and rounds that wait for more input."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Final, Self, TypeAlias

from msgspec import Struct

from trio_oplog._errors import ConfigError
from trio_oplog._operation import MAX_SUSPENDED, MAX_SUSPENDED_AGE, Outcome
from trio_oplog._recording.consent import Ask
from trio_oplog._recording.dialects.events import Call, Continuation, End, Suspended
from trio_oplog._recording.dialects.mcp import canonical
from trio_oplog._recording.recorder import Recorder

UNANSWERED: Final = End(is_error=True, notes={"outcome": Outcome.UNANSWERED})

# What a task, and a round of input, are found by.  Neither is ever looked for in another workspace.
_TaskKey: TypeAlias = tuple[str, str]
_RoundKey: TypeAlias = tuple[str, str | None, str | None, str, str, str | None]


class Entry(Struct, eq=False, gc=False):
    """One suspended call."""

    call: Call
    recorder: Recorder
    since: float
    task: _TaskKey | None
    round: _RoundKey | None
    asks: frozenset[str]
    end: End | None
    """How it ends if nothing more is heard of it, and when that was known."""
    ended: float
    ended_at: datetime
    is_answered: bool = False
    """Whether the client asked for what is known of the end."""
    asked: dict[str, Ask] | None = None
    """What a person was asked for, by key; answered or not."""

    @property
    def is_over(self) -> bool:
        """Whether the task is known to have ended: it waits for nobody any more, but for the client to fetch its result."""
        return self.task is not None and self.end is not None


class SuspendedCalls:
    """Calls that were answered and have not ended, because a task goes on or because the client is to call again.

    What ends such a call may come on another connection or in another HTTP exchange.  The Interceptors of connections to one
    server can share one ``SuspendedCalls``; an ``Interceptor`` that is given none has one of its own.  Each call is recorded
    by the ``Interceptor`` on which it began, also after that one was closed.  Used from one thread.

    Leaving it as a ``with`` block is ``close()``.

    Args:
        max_calls: How many calls it holds at most.  One more, and the oldest is recorded as it stands.
        max_age: How long it holds a call, in seconds.  What is older is recorded as it stands, the next time that a call
            comes, goes or is looked for, or by ``expire()``.
        monotonic: A clock, in seconds; the one that the Interceptors have.

    Raises:
        ConfigError: A bound is not above 0; the error names it.
    """

    def __init__(
        self,
        *,
        max_calls: int = MAX_SUSPENDED,
        max_age: float = MAX_SUSPENDED_AGE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not max_calls > 0:
            raise ConfigError("max_calls", "must be a whole number of at least 1")
        if not max_age > 0:
            raise ConfigError("max_age", "must be a number of seconds above 0")
        self._max_calls = max_calls
        self._max_age = max_age
        self._monotonic = monotonic
        self._entries: dict[Entry, None] = {}  # the oldest first
        self._tasks: dict[_TaskKey, Entry] = {}
        self._rounds: dict[_RoundKey, deque[Entry]] = {}

    def __repr__(self) -> str:
        return f"<SuspendedCalls {len(self._entries)} of {self._max_calls}>"

    def __len__(self) -> int:
        """How many calls wait here."""
        return len(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Record every call that waits here, as it stands.  Safe to repeat."""
        while self._entries:
            self._give_up(next(iter(self._entries)))

    def expire(self) -> None:
        """Record the calls that have waited for longer than ``max_age``."""
        oldest_allowed = self._monotonic() - self._max_age
        while self._entries and (entry := next(iter(self._entries))).since < oldest_allowed:
            self._give_up(entry)

    def suspend(self, call: Call, recorder: Recorder, news: Suspended) -> Entry:
        """Take a call that was answered and goes on."""
        self.expire()
        now = recorder.monotonic()
        workspace = recorder.config.workspace_id
        task = round_key = None
        if news.task_id is not None:
            call.notes = (call.notes or {}) | {"task_id": news.task_id}
            task = workspace, news.task_id
            if task in self._tasks:  # the server uses the id again
                self._give_up(self._tasks[task])
        else:
            round_key = _round_key(call, recorder, news.state)
        entry = Entry(call, recorder, now, task, round_key, news.asks, news.end, now, recorder.clock())
        self._entries[entry] = None
        if task is not None:
            self._tasks[task] = entry
        if round_key is not None:
            self._rounds.setdefault(round_key, deque()).append(entry)
        while len(self._entries) > self._max_calls:
            self._give_up(next(iter(self._entries)))
        return entry

    def find_task(self, recorder: Recorder, task_id: str) -> Entry | None:
        """The call that goes on as this task."""
        self.expire()
        return self._tasks.get((recorder.config.workspace_id, task_id))

    def take_round(self, call: Call, recorder: Recorder, continues: Continuation) -> Entry | None:
        """The oldest call that this one carries on, taken out."""
        self.expire()
        waiting = self._rounds.get(_round_key(call, recorder, continues.state), ())
        for entry in waiting:
            if not entry.asks or not entry.asks.isdisjoint(continues.answered):
                self.take(entry)
                return entry
        return None

    def take(self, entry: Entry) -> None:
        """Take a call out."""
        del self._entries[entry]
        if entry.task is not None:
            del self._tasks[entry.task]
        if entry.round is not None:
            waiting = self._rounds[entry.round]
            waiting.remove(entry)
            if not waiting:
                del self._rounds[entry.round]

    def _give_up(self, entry: Entry) -> None:
        """Record a call of which nothing more will be heard."""
        self.take(entry)
        if entry.end is None:
            entry.recorder.record(entry.call, UNANSWERED, entry.recorder.monotonic(), entry.recorder.clock())
        else:
            entry.recorder.record(entry.call, entry.end, entry.ended, entry.ended_at)


def _round_key(call: Call, recorder: Recorder, state: str | None) -> _RoundKey:
    if call.arguments is not None:
        arguments = sha256(canonical(call.arguments)).hexdigest()
    else:
        arguments = "" if call.arguments_meta is None else call.arguments_meta.sha256
    config = recorder.config
    return config.workspace_id, config.user_id, call.user_id, call.tool, arguments, state
