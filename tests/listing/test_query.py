from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog import ListQuery, QueryError
from trio_oplog._listing import StatisticsQuery
from trio_oplog._listing.query import read_time, write_parameters
from trio_oplog.collector._parameters import read_list

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
queries = st.builds(
    ListQuery,
    workspace_id=texts,
    env_id=st.none() | texts,
    tool=st.none() | texts,
    source=st.none() | texts,
    is_error=st.none() | st.booleans(),
    since=st.none() | st.datetimes(timezones=st.just(UTC)),
    id=st.none() | texts,
    limit=st.integers(1, 1000),
    id_prefix=st.none() | texts,
)


@given(queries)
def test_a_query_survives_the_url(query: ListQuery) -> None:
    assert read_list(write_parameters(query).items()).query == query


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("workspace_id", "a"), ("workspace_id", "a")], "workspace_id is given more than once"),
        ([("workspace_id", "a"), ("colour", "red")], "colour is not a parameter of this list"),
        ([("workspace_id", "")], "workspace_id is missing"),
        ([("workspace_id", "a"), ("is_error", "2")], "is_error must be true or false"),
    ],
)
def test_a_wrong_parameter_of_a_url_is_named(given: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(QueryError) as caught:
        read_list(given)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False), ("", None)])
def test_a_yes_or_no_has_two_spellings(text: str, value: bool | None) -> None:
    assert read_list([("workspace_id", "a"), ("is_error", text)]).query.is_error is value


def test_a_lone_surrogate_is_looked_for_as_the_record_has_it() -> None:
    query = ListQuery(workspace_id="w\udfff", tool="a\ud800b", q="\ud83d\ude00")
    assert (query.workspace_id, query.tool, query.q) == ("w\ufffd", "a\ufffdb", "\N{GRINNING FACE}")
    assert write_parameters(query)["tool"] == "a\ufffdb"
    assert StatisticsQuery(workspace_id="w\udfff", by="tool", client="c\ud800") == StatisticsQuery(
        workspace_id="w\ufffd", by="tool", client="c\ufffd"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workspace_id": ""}, "workspace_id must be a non-empty string"),
        ({"workspace_id": 5}, "workspace_id must be a non-empty string"),
        ({"tool": ""}, "tool must be a non-empty string"),
        ({"env_id": "\u2603" * 342}, "env_id must be at most 1024 bytes long"),
        ({"is_error": 1}, "is_error must be true or false"),
        ({"since": NAIVE}, "since must be a time with a time zone"),
        ({"since": "2026"}, "since must be a time with a time zone"),
        ({"limit": 0}, "limit must be a whole number from 1 to 1000"),
        ({"limit": 1001}, "limit must be a whole number from 1 to 1000"),
        ({"limit": True}, "limit must be a whole number from 1 to 1000"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError) as caught:
        ListQuery(**({"workspace_id": "ws"} | changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+01:30", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-31T12:00:00-00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.000000999Z", datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)),
        ("2026-01-31T12:00:00.000001000Z", datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_in_rfc_3339_is_read(text: str, time: datetime) -> None:
    assert read_time(text) == time


# Far enough from the ends of the calendar for any offset.
moments = st.datetimes(NAIVE.replace(year=2), NAIVE.replace(year=9998), timezones=st.just(UTC))


@given(moments, st.integers(-1439, 1439))
def test_every_offset_means_the_same_moment(time: datetime, minutes: int) -> None:
    assert read_time(time.astimezone(timezone(timedelta(minutes=minutes))).isoformat()) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00 01:00",
        "2026-W05-6T12:00:00Z",
        "\u0662026-01-31T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
        "2026-01-31T12:00:00." + "1" * 41 + "Z",
    ],
)
def test_what_is_no_time_in_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        read_time(text)
    assert caught.value.field == "since"
