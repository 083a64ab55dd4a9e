"""Sessions on several connections that share a ``SuspendedCalls``, against an independent reading of the rules."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings

from tests.naive import differences, expected_of_connections
from tests.recording.test_captures import wire_form
from tests.traffic import Step, traffic
from tests.watching import Recorded, Watch, sizes_of_tables


def play(steps: Iterable[Step], *, shared: dict[str, Any] | None, **config: Any) -> tuple[Recorded, int]:
    """What is recorded of a session, and how many entries the fullest table ever held."""
    first = Watch(shared=shared, **config)
    open_connections: dict[str, Watch] = {}
    fullest = 0
    for step in steps:
        first.seconds = step.t
        watch = open_connections.get(step.connection) or first.beside(**config)
        open_connections[step.connection] = watch
        if step.direction == "close":
            open_connections.pop(step.connection).close()
        else:
            (watch.client if step.direction == "c2s" else watch.server)(step.frame)
        fullest = max(fullest, *sizes_of_tables(watch.interceptor))
        assert watch.statistics.internal_errors == 0
    for watch in open_connections.values():
        watch.close()
    if first.suspended is not None:
        first.suspended.close()
    return first.recorded, fullest


@pytest.mark.parametrize("kinds", ["mcp", "codex", "acp", "mcp codex acp"])
@pytest.mark.parametrize("shared", [True, False])
def test_any_session_yields_what_a_naive_reader_derives(kinds: str, shared: bool) -> None:
    @settings(max_examples=40)
    @given(traffic(kinds, 25))
    def check(steps: list[Step]) -> None:
        recorded, _ = play(steps, shared={} if shared else None)
        expected = expected_of_connections(map(tuple, steps), source="sdk", workspace_id="ws-1", shared=shared)  # type: ignore[arg-type]
        assert differences([wire_form(operation) for operation in recorded], expected) == []
        assert len({operation.id for operation in recorded}) == len(recorded)

    check()


@settings(max_examples=60)
@given(traffic("mcp codex acp", 40))
def test_full_tables_lose_no_call_record_none_twice_and_never_grow(steps: list[Step]) -> None:
    _, fullest = play(steps, shared={"max_calls": 2}, max_pending=2, room=2)
    assert fullest <= 2
    # What remembers two things forgets the third; an item that is told again then has the id that it had.
    recorded, _ = play(steps, shared={"max_calls": 2}, max_pending=2)
    assert len({operation.id for operation in recorded}) == len(recorded)


@settings(max_examples=60)
@given(traffic("mcp", 40))
def test_full_tables_cost_no_call_of_mcp_its_record(steps: list[Step]) -> None:
    begun = [json.loads(as_text(step.frame)) for step in steps if step.direction == "c2s"]
    requests = sum(message.get("method") == "tools/call" for message in begun)
    recorded, _ = play(steps, shared={"max_calls": 1}, max_pending=1)
    assert sum((op.result_meta.rounds or 1) if op.result_meta else 1 for op in recorded) == requests


def as_text(frame: str | bytes) -> str:
    return frame if isinstance(frame, str) else frame.decode("latin-1")
