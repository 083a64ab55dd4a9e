"""The recorded exchanges of real programs, against an independent reading of the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.naive import EXCHANGES, differences
from tests.naive.http import expected_of_exchanges
from tests.recording.test_captures import as_name, wire_form
from tests.tapping import Step, TapWatch, steps_of
from trio_oplog import Operation

STEPS = {path: steps_of(path) for path in EXCHANGES}
EXPECTED = {path: expected_of_exchanges(path) for path in EXCHANGES}

any_sizes = st.lists(st.integers(1, 200), min_size=1, max_size=5)


def in_order(operations: list[Operation]) -> list[dict[str, Any]]:
    """Records in the order of their beginnings, and of what they say."""
    return [wire_form(one) for one in sorted(operations, key=lambda one: (one.started_at, str(one.request_id)))]


def expected_in_order(path: Path, **changes: Any) -> list[dict[str, Any]]:
    records = sorted(EXPECTED[path], key=lambda record: (round(record["_began_t"], 6), str(record["request_id"])))
    return [record | changes for record in records]


def record(path: Path, sizes: list[int] | None) -> list[Operation]:
    watch = TapWatch()
    watch.play(STEPS[path], sizes=sizes)
    recorded = watch.close()
    statistics = watch.statistics
    assert (statistics.internal_errors, statistics.passed_over, statistics.open_calls) == (0, 0, 0)
    assert statistics.recorded == len(recorded)
    assert watch.tap.budget.held == 0
    return recorded


@pytest.mark.parametrize("path", EXCHANGES, ids=as_name)
def test_every_operation_of_a_recorded_session_is_what_a_naive_reader_derives(path: Path) -> None:
    assert differences(in_order(record(path, None)), expected_in_order(path)) == []


def test_all_sessions_together_hold_251_operations_none_of_them_twice() -> None:
    watch = TapWatch()
    for path in EXCHANGES:
        watch.play([step._replace(exchange=(path.stem, step.exchange)) for step in STEPS[path]])
    recorded = watch.close()
    assert (len(EXCHANGES), len(recorded), len({operation.id for operation in recorded})) == (23, 251, 251)


@pytest.mark.parametrize("path", EXCHANGES, ids=as_name)
def test_it_does_not_matter_in_which_pieces_a_body_comes(path: Path) -> None:
    @settings(max_examples=5)
    @example([1])
    @given(any_sizes)
    def check(sizes: list[int]) -> None:
        assert differences(in_order(record(path, sizes)), expected_in_order(path)) == []

    check()


def merged(parts: dict[Any, tuple[Path, float]]) -> list[Step]:
    """Recorded sessions at once, each by its own client and from its own moment on."""
    steps = [
        step._replace(t=step.t + offset, exchange=(name, step.exchange))
        for name, (path, offset) in parts.items()
        for step in STEPS[path]
    ]
    return sorted(steps, key=lambda step: step.t)


def without_ends_of_the_recording(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records that do not say how long what was never answered took: until all of the clients had left."""
    never = [record.get("result_meta", {}).get("outcome") == "unanswered" for record in records]
    return [record | ({"duration_ms": None} if is_open else {}) for record, is_open in zip(records, never, strict=True)]


offsets = st.integers(0, 3_000).map(lambda milliseconds: milliseconds / 1_000)


@pytest.mark.parametrize("path", EXCHANGES, ids=as_name)
def test_clients_of_different_identities_never_mix_though_all_their_ids_are_equal(path: Path) -> None:
    """Not even though they present the same session ids."""

    @settings(max_examples=4)
    @example([0.0, 0.0, 0.0])
    @given(st.lists(offsets, min_size=2, max_size=4))
    def check(moments: list[float]) -> None:
        who = {number: {"workspace_id": f"ws-{number}", "user_id": f"user-{number}"} for number in range(len(moments))}
        watch = TapWatch()
        watch.play(merged({number: (path, moment) for number, moment in enumerate(moments)}), who=who)
        recorded = watch.close()
        for number, identity in who.items():
            ours = [operation for operation in recorded if operation.workspace_id == f"ws-{number}"]
            expected = expected_in_order(path, **identity)
            assert differences(*map(without_ends_of_the_recording, (in_order(ours), expected))) == []
        assert len(recorded) == len(moments) * len(EXPECTED[path])

    check()


@settings(max_examples=20)
@given(st.dictionaries(st.sampled_from(EXCHANGES), offsets, min_size=2, max_size=6), any_sizes)
def test_clients_of_one_identity_never_mix_though_their_ids_are_equal(moments: dict[Path, float], sizes: list[int]) -> None:
    watch = TapWatch()
    watch.play(merged({path.stem: (path, moment) for path, moment in moments.items()}), sizes=sizes)
    recorded = watch.close()

    expected = [record for path in moments for record in expected_in_order(path)]
    assert len(recorded) == len(expected)
    assert differences(*map(by_duration, map(without_ends_of_the_recording, (in_order(recorded), expected)))) == []


def renamed(path: Path, number: int) -> list[Step]:
    """The same session of another client: the server gives it other ids of sessions and of tasks."""
    told = {record["context"].get("session") for record in EXPECTED[path]}
    told |= {record.get("result_meta", {}).get("task_id") for record in EXPECTED[path]}
    text = json.dumps([step._asdict() for step in STEPS[path]])
    for name in sorted(filter(None, told)):
        text = text.replace(name, f"{number}{name[1:]}")
    return [Step(**step) for step in json.loads(text)]


WITHOUT_ROUNDS = [path for path in EXCHANGES if not any("rounds" in record.get("result_meta", {}) for record in EXPECTED[path])]


@pytest.mark.parametrize("path", WITHOUT_ROUNDS, ids=as_name)
def test_clients_of_one_identity_that_do_the_same_at_once_never_mix(path: Path) -> None:
    copies = [
        step._replace(t=step.t + number / 1_000, exchange=(number, step.exchange))
        for number in range(4)
        for step in renamed(path, number)
    ]
    watch = TapWatch()
    watch.play(sorted(copies, key=lambda step: step.t))
    recorded = watch.close()

    def told(record: dict[str, Any]) -> dict[str, Any]:
        meta = {key: value for key, value in record.get("result_meta", {}).items() if key != "task_id"}
        context = {key: value for key, value in record["context"].items() if key != "session"}
        return record | {"result_meta": meta, "context": context, "result_summary": None}

    found = [told(record) for record in without_ends_of_the_recording(in_order(recorded))]
    expected = [told(record) for record in without_ends_of_the_recording(expected_in_order(path)) for _ in range(4)]
    assert differences(by_duration(found), by_duration(expected)) == []


def by_duration(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records in an order in which those that must be equal stand at one place."""

    def told(record: dict[str, Any]) -> str:
        meta = record.get("result_meta", {})
        said = [record["tool"], record["request_id"], record.get("arguments"), meta.get("outcome"), meta.get("task_id")]
        return str([*said, record["context"], record.get("result_summary")])

    return sorted(records, key=lambda record: (told(record), record["duration_ms"] or 0))
