"""Interceptors under the eyes of a test: their clock, their ids and what they hand over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from unittest.mock import patch

from tests.unchecked import unchecked
from trio_oplog import Config, Interceptor, InterceptorStatistics, Operation
from trio_oplog._recording import SuspendedCalls, approvals

BEGAN = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
"""The moment at which every watch begins."""


class Recorded(list[Operation]):
    """A Submitter that keeps what it is handed."""

    def submit(self, operation: Operation) -> None:
        self.append(operation)


class Watch:
    """An Interceptor on a connection whose time stands still until ``seconds`` is set, with ids ``id-1``, ``id-2``, ..."""

    def __init__(
        self, *, shared: dict[str, Any] | None = None, beside: Watch | None = None, room: int | None = None, **config: Any
    ) -> None:
        """Watch a connection.

        Args:
            shared: What to make a ``SuspendedCalls`` with that other connections may share; ``None``: one of its own.
            beside: Another connection, whose clock, ids, ``SuspendedCalls`` and records this one shares.
            room: How many entries the tables have room for that hold no calls, instead of 1 024.
            **config: What differs from the usual ``Config``.
        """
        self._time = _Time() if beside is None else beside._time
        self.recorded = Recorded() if beside is None else beside.recorded
        self._ids: Iterator[str] = self._count() if beside is None else beside._ids
        self.suspended: SuspendedCalls | None = None if beside is None else beside.suspended
        if shared is not None:
            self.suspended = SuspendedCalls(**{"monotonic": self._time.monotonic} | shared)
        with patch.object(approvals, "LEAST_ROOM", approvals.LEAST_ROOM if room is None else room):
            self.interceptor = Interceptor(
                self.recorded,
                Config(**{"source": "sdk", "workspace_id": "ws-1"} | config),
                suspended=self.suspended,
                clock=lambda: BEGAN + timedelta(seconds=self.seconds),
                monotonic=self._time.monotonic,
                new_id=lambda: next(self._ids),
            )

    def beside(self, **config: Any) -> Self:
        """Another connection to the same server."""
        return type(self)(beside=self, **config)

    @property
    def seconds(self) -> float:
        """The time of every connection that was made beside another."""
        return self._time.seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._time.seconds = seconds

    def client(self, *messages: Any) -> None:
        """Each message is one frame from the client: text as it is, anything else as JSON."""
        for message in messages:
            self.interceptor.on_client_frame(frame(message))

    def server(self, *messages: Any) -> None:
        for message in messages:
            self.interceptor.on_server_frame(frame(message))

    def close(self) -> Recorded:
        self.interceptor.close()
        return self.recorded

    @property
    def statistics(self) -> InterceptorStatistics:
        return self.interceptor.statistics()

    def _count(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"id-{number}"


class _Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return 5.0 + self.seconds


def sizes_of_tables(interceptor: Interceptor) -> list[int]:
    """How many entries each table of an Interceptor holds."""
    pairing, approvals, suspended = interceptor._pairing, interceptor._pairing.approvals, interceptor._suspended
    tables = [pairing.calls.all, pairing.calls.by_key, pairing.requests, pairing._ended._known]
    tables += [approvals.open, approvals._reviews, approvals._hooks, approvals._early]
    tables += [suspended._entries, suspended._tasks, suspended._rounds]
    return [*map(len, tables), sum(map(len, suspended._rounds.values()))]


def frame(message: Any) -> Any:
    return message if isinstance(message, str | bytes | bytearray | memoryview) else json.dumps(message, ensure_ascii=False)


def operation(**fields: Any) -> Operation:
    """A successful, instant call of an unknown tool, but for the given fields.

    ``seconds`` and ``began`` say when it ended and began, counted from the beginning of the watch.
    """
    began, seconds = fields.pop("began", None), fields.pop("seconds", None)
    if began is not None or seconds is not None:
        began, seconds = began or 0.0, (seconds or began or 0.0)
        times = {"started_at": BEGAN + timedelta(seconds=began), "completed_at": BEGAN + timedelta(seconds=seconds)}
        fields = times | {"duration_ms": int((seconds - began) * 1000)} | fields
    return unchecked(_PLAIN, **fields)


_PLAIN = Operation(
    id="id-1",
    workspace_id="ws-1",
    source="sdk",
    env_id="local",
    tool="unknown",
    is_error=False,
    started_at=BEGAN,
    completed_at=BEGAN,
    duration_ms=0,
)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail
