"""An Interceptor under the eyes of a test: its clock, its ids and what it hands over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from trio_oplog import Config, Interceptor, InterceptorStatistics, Operation

BEGAN = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
"""The moment at which every watch begins."""


class Recorded(list[Operation]):
    """A Submitter that keeps what it is handed."""

    def submit(self, operation: Operation) -> None:
        self.append(operation)


class Watch:
    """An Interceptor on a connection whose time stands still until ``seconds`` is set, with ids ``id-1``, ``id-2``, ..."""

    def __init__(self, **config: Any) -> None:
        self.seconds = 0.0
        self.recorded = Recorded()
        self._ids = self._count()
        self.interceptor = Interceptor(
            self.recorded,
            Config(**{"source": "sdk", "workspace_id": "ws-1"} | config),
            clock=lambda: BEGAN + timedelta(seconds=self.seconds),
            monotonic=lambda: 5.0 + self.seconds,
            new_id=lambda: next(self._ids),
        )

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


def frame(message: Any) -> Any:
    return message if isinstance(message, str | bytes | bytearray | memoryview) else json.dumps(message, ensure_ascii=False)


def operation(**fields: Any) -> Operation:
    """A successful, instant call of an unknown tool, but for the given fields."""
    return attrs.evolve(_PLAIN, **fields)


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
