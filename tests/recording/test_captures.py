"""The recorded sessions of real programs, against an independent reading of the rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.naive import SESSIONS, Line, differences, expected_of, id_key, messages, session
from trio_oplog import Config, Interceptor, Operation
from trio_oplog._recording import Frame
from trio_oplog._wire import decode, encode

CONFIG = Config(source="sdk", workspace_id="ws-1")
CALLS = {"tools/call", "mcpServer/tool/call"}
VARIABLE = {"id", "started_at", "completed_at"}


class Recorded(list[Operation]):
    def submit(self, operation: Operation) -> None:
        self.append(operation)


def record(lines: Iterable[tuple[str, Frame, float]], config: Config = CONFIG) -> Recorded:
    recorded = Recorded()
    now = 0.0
    with Interceptor(recorded, config, monotonic=lambda: now) as interceptor:
        for direction, frame, t in lines:
            now = t
            (interceptor.on_client_frame if direction == "c2s" else interceptor.on_server_frame)(frame)
    assert interceptor.statistics().internal_errors == 0
    return recorded


def wire_form(operation: Operation) -> dict[str, Any]:
    """What goes over the wire, with ``arguments`` as exact text, without what differs from run to run."""
    document = json.loads(encode(operation))
    assert document.keys() >= VARIABLE
    fields = {name: value for name, value in document.items() if name not in VARIABLE}
    return fields | ({"arguments": operation.arguments.decode()} if operation.arguments is not None else {})


def as_name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", SESSIONS, ids=as_name)
def test_every_operation_is_what_a_naive_reader_derives(path: Path) -> None:
    assert differences([wire_form(operation) for operation in record(session(path))], expected_of(path)) == []


def test_all_sessions_together_hold_431_operations_none_of_them_twice() -> None:
    recorded = [operation for path in SESSIONS for operation in record(session(path))]
    assert len(SESSIONS) == 60
    assert len(recorded) == 431
    assert len({operation.id for operation in recorded}) == 431


def test_small_limits_cut_as_a_naive_reader_would() -> None:
    config = Config(source="sdk", workspace_id="ws-1", args_max_bytes=20, result_max_bytes=9)
    for path in SESSIONS:
        cut = [wire_form(operation) for operation in record(session(path), config)]
        assert differences(cut, expected_of(path, args_max_bytes=20, result_max_bytes=9)) == []


@pytest.mark.parametrize("form", [str.encode, lambda text: bytearray(text.encode()), lambda text: memoryview(text.encode())])
def test_bytes_bytearrays_and_memoryviews_are_read_like_text(form: Callable[[str], Frame]) -> None:
    for path in SESSIONS:
        lines = session(path)
        again = record((direction, form(frame) if isinstance(frame, str) else frame, t) for direction, frame, t in lines)
        assert [wire_form(operation) for operation in again] == [wire_form(operation) for operation in record(lines)]


def test_every_operation_survives_the_wire() -> None:
    for path in SESSIONS:
        for operation in record(session(path)):
            assert decode(encode(operation)) == operation


def independent(path: Path) -> bool:
    """Whether only the order within each direction and within a call counts in a session.

    No two calls share an id or are told by what else is open: neither is anybody asked about one, nor does one come back under
    another id.  And the agent's updates are not told by what the client has requested.
    """
    keys = [id_key(m.get("id")) for d, f, _ in session(path) for m in messages(f) if d == "c2s" and "method" in m and "id" in m]
    said = set().union(*({*record, *record.get("result_meta", {})} for record in expected_of(path)))
    told_otherwise = said & {"approval", "task_id", "rounds", "id_respelled"} or path.parent.name == "acp"
    return len(keys) == len(set(keys)) and not told_otherwise


@settings(max_examples=60)
@given(data=st.data(), path=st.sampled_from([path for path in SESSIONS if independent(path)]))
def test_any_interleaving_that_keeps_each_direction_and_each_call_in_order_records_the_same(
    data: st.DataObject, path: Path
) -> None:
    frames = [(direction, frame) for direction, frame, _ in session(path)]
    shuffled = interleave(data, frames)
    assert sorted_forms(record(at_once(shuffled))) == sorted_forms(record(at_once(frames)))


def at_once(frames: list[tuple[str, str | bytes]]) -> list[Line]:
    return [Line(direction, frame, 0.0) for direction, frame in frames]


def sorted_forms(operations: list[Operation]) -> list[str]:
    return sorted(json.dumps(wire_form(operation), sort_keys=True) for operation in operations)


def interleave(data: st.DataObject, frames: list[tuple[str, str | bytes]]) -> list[tuple[str, str | bytes]]:
    """Merge the two directions anew.  Frames that speak of one request keep their order; so does each direction."""
    spoken_of = [requests_in(direction, frame) for direction, frame in frames]
    # Nobody calls a tool before the server has said who it is.
    greeted = next((at for at, (_, frame) in enumerate(frames) if any(m.get("method") in CALLS for m in messages(frame))), 0)
    waits = [{early for early in range(at) if early < greeted or spoken_of[early] & spoken_of[at]} for at in range(len(frames))]
    queues = {way: [at for at, (direction, _) in enumerate(frames) if direction == way] for way in ("c2s", "s2c")}
    merged: list[int] = []
    while any(queues.values()):
        ready = [way for way in queues if queues[way] and waits[queues[way][0]] <= set(merged)]
        merged.append(queues[ready[0] if len(ready) == 1 else data.draw(st.sampled_from(ready))].pop(0))
    return [frames[at] for at in merged]


def requests_in(direction: str, frame: str | bytes) -> set[tuple[str, Any]]:
    """The requests that a frame makes, answers or takes back: who made it, and its id."""
    other = "s2c" if direction == "c2s" else "c2s"
    found = {(direction if m.get("method") else other, id_key(m["id"])) for m in messages(frame) if "id" in m}
    taken_back = [m["params"]["requestId"] for m in messages(frame) if m.get("method") == "notifications/cancelled"]
    return found | {(direction, id_key(request_id)) for request_id in taken_back}
