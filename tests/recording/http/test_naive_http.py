"""The naive reader of HTTP against what others counted in the recorded exchanges, call by call.

``expected-http.jsonl`` was made by scripts from the captures and without this reader.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.naive import CAPTURES
from tests.naive.http import expected_of_exchanges
from tests.recording.test_naive import milliseconds, outcome_of_mcp, rows_of

ROWS = rows_of("expected-http.jsonl", "file")
DISAGREEMENTS = {
    ("http/py2_modern_tasks", 38): ({"human_ms": 3}, "an answer showed the elicitation 3 ms before the task was cancelled"),
}
"""By capture and id of the first request: what the frames say instead."""


def test_there_are_251_calls_in_23_captures() -> None:
    assert (len(ROWS), sum(map(len, ROWS.values()))) == (23, 251)


@pytest.mark.parametrize("capture", ROWS)
def test_every_call_over_http_is_the_one_that_scripts_counted(capture: str) -> None:
    def order(began: float, request_id: object) -> tuple[float, str]:
        return (round(began, 6), str(request_id))

    records = expected_of_exchanges(CAPTURES / f"{capture}.jsonl")
    records.sort(key=lambda record: order(record["_began_t"], record["request_id"]))
    rows = sorted(ROWS[capture], key=lambda row: order(row["start_t"], row["ids"][0]))
    assert len(records) == len(rows)
    for counted, record in zip(rows, records, strict=True):
        row = counted | DISAGREEMENTS.get((capture, counted["ids"][0]), ({}, ""))[0]
        meta = record.get("result_meta", {})
        assert (record["tool"], record["request_id"]) == (row["tool"], str(row["ids"][0]))
        assert json.loads(record.get("arguments", "null")) == row["arguments"]
        assert meta.get("outcome") == outcome_of_mcp(row), row
        assert meta.get("task_id") == row["task"], row
        assert record["context"].get("session") == row["session"], row
        assert meta.get("waited_ms", 0) == pytest.approx(row["human_ms"], abs=1), row
        assert record["_began_t"] == pytest.approx(row["start_t"], abs=1e-6)
        if row["duration_ms"] is not None:
            assert milliseconds(record) == pytest.approx(row["duration_ms"], abs=1), row
        retries = re.search(r"(\d+) retr(?:y|ies)\b", " ".join(row["remarks"]))
        assert meta.get("rounds", 1) == (int(retries[1]) + 1 if retries else 1), row
