"""What a store is asked: every filter, pages, searches, statistics, arrivals and pruning, on both databases."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.testing.faulty.stores import NaiveStore
from trio_oplog import Approval, Context, DecidedBy, ListQuery, Operation, Outcome, QueryError, ResultMeta, StoreError, _wire
from trio_oplog._operation import CHECK_SOURCE
from trio_oplog.collector import Counted, StatisticsQuery, Store, _cells, _histogram, _pages, _queries, open_store
from trio_oplog.collector._databases import READERS
from trio_oplog.collector._problems import guarded
from trio_oplog.collector._retention import _delete_cells
from trio_oplog.collector._rows import Labels, Row
from trio_oplog.collector._search import holds
from trio_oplog.testing._check_store_counts import check_counts

MakeOperation = Callable[..., Operation]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVERYTHING = ListQuery(workspace_id="ws", limit=1000)

numbers = count()
names = st.sampled_from(["a", "b", "c\0"])
optional_names = st.none() | names
few = st.integers(0, 2)
moments = st.builds(lambda days, hours, seconds: NOON + timedelta(days=days, hours=hours, seconds=seconds), few, few, few)
metas = st.builds(ResultMeta, outcome=st.sampled_from([None, Outcome.FAILED]), waited_ms=st.sampled_from([None, 7]))
approvals = st.builds(Approval, decision=st.sampled_from([None, "accept"]), by=st.just(DecidedBy.CLIENT), waited_ms=st.just(1))
operations = st.builds(
    Operation,
    id=st.integers(0, 30).map(str),
    workspace_id=names,
    source=names,
    env_id=names,
    tool=names,
    is_error=st.booleans(),
    started_at=moments,
    completed_at=st.just(NOON),
    duration_ms=st.sampled_from([0, 3, 1000]),
    user_id=optional_names,
    thread_id=optional_names,
    result_summary=st.sampled_from([None, "some text", "Some other"]),
    result_meta=st.none() | metas,
    context=st.none() | st.builds(Context, client=optional_names),
    approval=st.none() | approvals,
)
queries = st.builds(
    ListQuery,
    workspace_id=names,
    source=optional_names,
    env_id=optional_names,
    tool=optional_names,
    user_id=optional_names,
    thread_id=optional_names,
    client=optional_names,
    outcome=st.sampled_from([None, None, "ok", "error", "failed"]),
    approval=st.sampled_from([None, None, "accept", "none", "any"]),
    is_error=st.none() | st.booleans(),
    since=st.none() | moments,
    until=st.none() | moments,
    id=st.sampled_from([None, None, None, "7"]),
    id_prefix=st.sampled_from([None, None, "1", "2", "30"]),
    q=st.sampled_from([None, None, "SOME", "other"]),
    limit=st.integers(1, 9),
)


async def pages(store: Store, query: ListQuery) -> list[bytes]:
    async with aclosing(store.export(query)) as chunks:
        return [body async for bodies in chunks for body in bodies]


def test_a_store_answers_like_one_that_was_written_for_clarity_alone(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that a handful of records has dense days and rare ones, and a search takes several looks.
    monkeypatch.setattr(_queries, "_DENSE", 2)
    monkeypatch.setattr(_queries, "_FEW", 2)
    monkeypatch.setattr(_queries, "_STEP", _cells.DAY)
    monkeypatch.setattr(_pages, "SCANNED_AT_ONCE", 3)

    @given(batches=st.lists(st.lists(operations, max_size=12), max_size=3), asked=st.lists(queries, min_size=1, max_size=6))
    @settings(max_examples=40)
    def holds_for(batches: list[list[Operation]], asked: list[ListQuery]) -> None:
        # A world of its own within the one database: PostgreSQL takes long to make one.
        world = f"{next(numbers)} "

        async def run() -> None:
            naive = NaiveStore()
            async with open_store(store_url) as store:
                for batch in batches:
                    mine = [evolve(each, workspace_id=world + each.workspace_id) for each in batch]
                    await naive.add(mine)
                    await store.add(mine)
                for query in asked:
                    await compare(store, naive, evolve(query, workspace_id=world + query.workspace_id))

        trio.run(run)

    holds_for()


async def compare(store: Store, naive: NaiveStore, query: ListQuery) -> None:
    wanted = (await naive.page(evolve(query, limit=1000))).bodies
    assert await pages(store, query) == wanted
    assert await store.find(query) == wanted[: query.limit]
    kinds = {"call": "tool", "user": "user_id", "all": "hour"}
    for by in kinds.values():
        counted = await store.statistics(StatisticsQuery(workspace_id=query.workspace_id, by=by))
        assert sum(each.count for each in counted.groups) == sum(
            each.workspace_id == query.workspace_id for each in naive.arrived
        )


async def test_what_is_rare_in_full_days_is_found_among_the_rest(store_url: str, make_operation: MakeOperation) -> None:
    usual = [make_operation(started_at=NOON + timedelta(minutes=10 * number)) for number in range(400)]
    rare = [make_operation(started_at=NOON + timedelta(hours=hour), tool="rare") for hour in (1, 30, 31, 60)]
    async with open_store(store_url) as store:
        await store.add([*usual, *rare])
        for limit in (1, 2, 1000):
            query = ListQuery(workspace_id="ws", tool="rare", limit=limit)
            assert await pages(store, query) == [_wire.encode(each) for each in reversed(rare)]
        query = ListQuery(workspace_id="ws", tool="rare", since=rare[1].started_at, until=rare[3].started_at)
        assert await pages(store, query) == [_wire.encode(rare[2]), _wire.encode(rare[1])]


async def test_a_test_record_is_in_no_list_unless_it_is_asked_for(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        began = (await store.arrivals(EVERYTHING)).next
        check = make_operation(source=CHECK_SOURCE, user_id="ada")
        await store.add([check, call := make_operation(user_id="ada")])
        for conditions in ({}, {"tool": "echo"}, {"is_error": False}, {"user_id": "ada"}, {"user_id": "ada", "tool": "echo"}):
            query = ListQuery(workspace_id="ws", **conditions)
            assert await store.find(query) == [_wire.encode(call)]
            assert [body for _, body in (await store.arrivals(query, began)).records] == [_wire.encode(call)]
        for conditions in ({"source": CHECK_SOURCE}, {"id": check.id}):
            assert await store.find(ListQuery(workspace_id="ws", **conditions)) == [_wire.encode(check)]


async def test_more_series_than_are_named_one_by_one_are_found_by_the_database(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_queries, "LISTED", 1)
    monkeypatch.setattr(_queries, "_FEW", 1)
    async with open_store(store_url) as store:
        await store.add([make_operation(tool=tool, env_id="e") for tool in ("a", "b", "c")])
        assert len(await store.find(ListQuery(workspace_id="ws", env_id="e"))) == 3


async def test_a_list_goes_back_over_years_with_few_records(store_url: str, make_operation: MakeOperation) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    made = [
        make_operation(tool="rare", user_id=user, started_at=now - days * DAY)
        for days, user in ((-1, "a"), (0, "b"), (40, "a"), (41, "a"), (300, "b"), (900, "a"), (3_000, "b"))
    ]
    async with open_store(store_url) as store:
        await store.add(made)
        every: list[dict[str, Any]] = [
            {},
            {"tool": "rare"},
            {"user_id": "a"},
            {"tool": "rare", "user_id": "b"},
            {"until": now - 50 * DAY},
        ]
        for conditions in every:
            query = ListQuery(workspace_id="ws", limit=1, **conditions)
            until = conditions.get("until")
            wanted = [
                _wire.encode(each)
                for each in made
                if conditions.get("user_id") in (None, each.user_id) and (until is None or each.started_at < until)
            ]
            assert await pages(store, query) == wanted, conditions
        assert await pages(store, ListQuery(workspace_id="ws", since=now - 50 * DAY, until=now)) == [
            _wire.encode(each) for each in made[2:4]
        ]


async def test_a_workspace_whose_statistics_are_pruned_has_no_record(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation()])
        await store.prune(NOON + DAY)
        assert await store.prune_statistics(NOON + DAY) == 6
        assert await store.find(EVERYTHING) == await store.find(ListQuery(workspace_id="ws", tool="echo")) == []


async def test_a_record_is_looked_up_by_its_id_and_the_rest_of_a_query_counts_too(
    store_url: str, make_operation: MakeOperation
) -> None:
    operation = make_operation()
    async with open_store(store_url) as store:
        await store.add([operation])
        assert await store.find(ListQuery(workspace_id="ws", id=operation.id, tool="echo"))
        for others in ({"tool": "other"}, {"user_id": "ada"}, {"until": NOON}):
            assert await store.find(ListQuery(workspace_id="ws", id=operation.id, **others)) == []
        first = await store.page(ListQuery(workspace_id="ws", limit=1))
        assert first.next is None
        await store.add([make_operation(started_at=NOON - DAY)])
        cursor = (await store.page(ListQuery(workspace_id="ws", limit=1))).next
        assert await store.find(ListQuery(workspace_id="ws", id=operation.id, cursor=cursor)) == []
        assert await store.get("ws", operation.id) == _wire.encode(operation)
        with pytest.raises(QueryError, match="id must be a non-empty string"):
            await store.get("ws", "")


async def test_records_are_looked_up_by_the_beginning_of_their_id(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_queries, "LISTED", 2)
    monkeypatch.setattr(_pages, "SCANNED_AT_ONCE", 2)
    names = [
        "a",
        "ab",
        "abé",
        "ab\U0010ffff",
        "ab\U0010ffffc",
        "abcdefgh1",
        "abcdefgh2",
        "aB",
        "ac",
        "b",
        "a%",
        "a_b",
        "ab" + "c" * 999,
    ]
    some = [make_operation(id=name, started_at=NOON + number * 5 * HOUR) for number, name in enumerate(names)]
    async with open_store(store_url) as store:
        await store.add([*some, make_operation(id="abx", workspace_id="other")])
        for prefix in (
            "a",
            "ab",
            "abé",
            "abc",
            "abcdefgh",
            "abcdefgh1",
            "ab\U0010ffff",
            "a%",
            "a_",
            "x",
            "abx",
            "A",
            "a\0",
            "ab" * 500,
        ):
            wanted = [_wire.encode(each) for each in reversed(some) if each.id.startswith(prefix)]
            for more in ({"limit": 1}, {"limit": 2}, {"limit": 1000}, {"q": "echo"}):
                assert await pages(store, ListQuery(workspace_id="ws", id_prefix=prefix, **more)) == wanted, (prefix, more)
        assert await store.find(ListQuery(workspace_id="ws", id_prefix="a", id="b")) == []
        assert len(await store.find(ListQuery(workspace_id="ws", id_prefix="abc", until=some[6].started_at))) == 1
        assert await store.find(ListQuery(workspace_id="ws", id_prefix="a", tool="none")) == []


async def test_a_live_tail_is_of_the_id_that_was_asked_for(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        start = (await store.arrivals(EVERYTHING)).next
        await store.add([make_operation(id="a"), wanted := make_operation(id="ab")])
        for conditions in ({"id": "ab"}, {"id_prefix": "ab"}):
            arrived = await store.arrivals(ListQuery(workspace_id="ws", **conditions), start)
            assert [body for _, body in arrived.records] == [_wire.encode(wanted)]


@pytest.mark.parametrize("cursor", ["x", "é", "AAAA", "A" * 23, "A" * 24, "Ag" + "A" * 21])
async def test_a_cursor_that_is_none_is_refused(store_url: str, cursor: str) -> None:
    async with open_store(store_url) as store:
        with pytest.raises(QueryError, match="cursor is not the next of a list"):
            await store.find(ListQuery(workspace_id="ws", cursor=cursor))


async def test_a_workspace_that_is_not_there_has_nothing(store_url: str) -> None:
    async with open_store(store_url) as store:
        assert await store.find(EVERYTHING) == []
        assert await pages(store, EVERYTHING) == []
        assert await store.get("ws", "id") is None
        assert await store.statistics(StatisticsQuery(workspace_id="ws", by="tool")) == Counted([])
        assert (await store.arrivals(EVERYTHING, "0")).records == []
        assert await store.workspaces() == []
        assert (await store.prune(NOON, workspace_id="ws")).records == 0
        assert await store.prune_statistics(NOON) == 0


async def test_the_workspaces_are_named_in_order(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation(workspace_id=name) for name in ("b", "a", "x" * 600)])
        assert await store.workspaces() == ["a", "b", "x" * 600]


async def test_a_search_that_runs_out_of_time_says_how_far_it_came_and_goes_on_there(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pages, "SCANNED_AT_ONCE", 4)
    needle = make_operation(started_at=NOON, result_summary="Needle")
    hay = [make_operation(started_at=NOON + timedelta(seconds=number)) for number in range(1, 11)]
    async with open_store(store_url) as store:
        await store.add([needle, *hay])
        first = await store.page(ListQuery(workspace_id="ws", q="needle"), budget=0)
        assert (first.bodies, first.searched_to) == ([], NOON + timedelta(seconds=7))
        second = await store.page(ListQuery(workspace_id="ws", q="needle", cursor=first.next), budget=60)
        assert (second.bodies, second.searched_to, second.next) == ([_wire.encode(needle)], None, None)


async def test_a_list_does_not_wait_for_searches(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def holds_when_told(*_: object, **__: object) -> Callable[[bytes], bool]:
        return lambda _: may_end.wait(60)

    monkeypatch.setattr("trio_oplog.collector._store.holds", holds_when_told)
    async with open_store(store_url) as store, trio.open_nursery() as nursery:
        await store.add([make_operation()])
        try:
            for _ in range(READERS):
                nursery.start_soon(store.page, ListQuery(workspace_id="ws", q="x"))
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(30):
                assert len((await store.page(EVERYTHING)).bodies) == 1
        finally:
            may_end.set()


async def test_who_waits_in_line_for_a_reader_can_leave(store_url: str) -> None:
    readers = [object() for _ in range(READERS)]
    async with open_store(store_url) as store:
        for each in readers:
            await store._reading.acquire_on_behalf_of(each)
        with trio.move_on_after(0.01) as leaving:
            await store.find(EVERYTHING)
        assert leaving.cancelled_caught
        for each in readers:
            store._reading.release_on_behalf_of(each)
        assert await store.find(EVERYTHING) == []


async def test_an_export_cuts_its_lists_where_they_are_too_large(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._store.STREAMED_MAX_BYTES", 1000)
    monkeypatch.setattr("trio_oplog.collector._store.REPLY_MAX_BYTES", 2000)
    large = [make_operation(arguments=b'"' + b"x" * 700 + b'"') for _ in range(3)]
    async with open_store(store_url) as store:
        await store.add(large)
        async with aclosing(store.export(EVERYTHING)) as chunks:
            assert [len(bodies) async for bodies in chunks] == [1, 1, 1]
        with pytest.raises(QueryError, match="limit is too high"):
            await store.page(EVERYTHING)


async def test_an_export_may_be_left_early(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation() for _ in range(3)])
        async with aclosing(store.export(ListQuery(workspace_id="ws", limit=1))) as chunks:
            assert len(await anext(chunks)) == 1


async def test_arrivals_are_filtered_searched_and_bounded(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trio_oplog.collector import _live

    async with open_store(store_url) as store:
        start = (await store.arrivals(EVERYTHING)).next
        texts = (("a", "x"), ("b", "Y"), ("a", "y"))
        await store.add([make_operation(tool=tool, user_id="ada", result_summary=text) for tool, text in texts])

        async def seen(**conditions: str) -> list[str]:
            arrived = await store.arrivals(ListQuery(workspace_id="ws", **conditions), start)
            return [json.loads(body)["result_summary"] for _, body in arrived.records]

        assert await seen() == ["x", "Y", "y"]
        assert await seen(tool="a") == ["x", "y"]
        assert await seen(q="y") == ["Y", "y"]
        assert await seen(user_id="ada", tool="b") == ["Y"]
        assert await seen(user_id="grace") == []
        assert (await store.arrivals(ListQuery(workspace_id="elsewhere"), start)).records == []
        monkeypatch.setattr(_live, "STREAMED_MAX_BYTES", 300)
        assert await seen() == ["x"]
        monkeypatch.setattr(_live, "SCANNED_AT_ONCE", 1)
        assert await seen(tool="b") == []
        for wrong in ("x", "-1", "1.0", "٣", "9" * 20, str((1 << 62) + 1)):
            with pytest.raises(QueryError, match="after is not the id of a record"):
                await store.arrivals(EVERYTHING, wrong)


async def test_statistics_are_of_the_hours_that_are_asked_for(store_url: str, make_operation: MakeOperation) -> None:
    began = [NOON + number * HOUR for number in range(72)]
    some = [make_operation(started_at=at, tool=f"tool-{number % 2}", is_error=number % 3 == 0) for number, at in enumerate(began)]
    async with open_store(store_url) as store:
        await store.add(some)

        async def total(by: str = "outcome", **conditions: object) -> int:
            found = await store.statistics(StatisticsQuery(workspace_id="ws", by=by, **conditions))  # type: ignore[arg-type]
            assert found.is_whole
            return sum(each.count for each in found.groups)

        for first in (0, 5, 12, 30):
            for last in (first + 1, 13, 40, 72):
                times = {"since": began[first] + timedelta(minutes=59), "until": began[last - 1] + timedelta(minutes=1)}
                for by in ("outcome", "hour", "day", "user_id"):
                    assert await total(by, **times) == max(last - first, 0), (by, first, last)
        assert await total(since=began[70]) == 2
        assert await total(until=began[2]) == 2
        assert await total("day", tool="tool-0") == 36
        assert await total("hour", is_error=True) == 24
        assert await total("hour", user_id="nobody") == 0
        days = (await store.statistics(StatisticsQuery(workspace_id="ws", by="day", since=NOON))).groups
        assert [each.value for each in days] == [datetime(2026, 1, 31, tzinfo=UTC) + number * DAY for number in range(4)]


@pytest.mark.parametrize("by", ["tool", "user_id"])
async def test_statistics_are_of_the_most_frequent_groups_where_there_are_more(
    store_url: str, make_operation: MakeOperation, by: str
) -> None:
    # Of two that are as frequent the first by its name comes first, whatever the case.
    names = [("a", 1), ("B", 2), ("d", 4), ("c", 3), ("e" if by == "tool" else None, 2)]
    began = (NOON, NOON + 13 * HOUR, NOON + 40 * HOUR, NOON + 20 * HOUR)
    async with open_store(store_url) as store:
        for name, number in names:
            await store.add([make_operation(**{by: name}, started_at=at, is_error=at == NOON) for at in began[:number]])
        whole = await store.statistics(StatisticsQuery(workspace_id="ws", by=by))
        assert [each.count for each in whole.groups] == [4, 3, 2, 2, 1]
        assert whole.is_whole
        for limit in range(1, 7):
            query = StatisticsQuery(workspace_id="ws", by=by, limit=limit)
            assert await store.statistics(query) == Counted(whole.groups[:limit], is_whole=limit >= 5)
        # Only four have records after noon, though more have ever had one.
        late = StatisticsQuery(workspace_id="ws", by=by, limit=4, since=NOON + HOUR)
        assert [each.count for each in (await store.statistics(late)).groups] == [3, 2, 1, 1]
        assert (await store.statistics(late)).is_whole
        few = await store.statistics(evolve(late, limit=2))
        assert ([each.count for each in few.groups], few.is_whole) == ([3, 2], False)
        assert await store.statistics(evolve(late, limit=1, is_error=True)) == Counted([])


async def test_statistics_are_of_the_newest_hours_and_days_where_there_are_more(
    store_url: str, make_operation: MakeOperation
) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation(started_at=NOON + number * 7 * HOUR, user_id=f"{number % 3}") for number in range(20)])
        times = {"since": NOON + 2 * HOUR, "until": NOON + 130 * HOUR}
        for by, there in (("hour", 18), ("day", 6)):
            whole = await store.statistics(StatisticsQuery(workspace_id="ws", by=by, **times))
            assert [each.value for each in whole.groups] == sorted({each.value for each in whole.groups})  # type: ignore[type-var]
            assert (len(whole.groups), sum(each.count for each in whole.groups), whole.is_whole) == (there, 18, True)
            for limit in (1, 2, there - 1, there, there + 1):
                query = StatisticsQuery(workspace_id="ws", by=by, limit=limit, **times)
                assert await store.statistics(query) == Counted(whole.groups[-limit:], is_whole=limit >= there)


@pytest.mark.parametrize(
    ("conditions", "field"),
    [
        ({"by": "tool", "limit": 0}, "limit"),
        ({"by": "tool", "limit": 1001}, "limit"),
        ({"by": "weather"}, "by"),
        ({"by": "user_id", "tool": "t"}, "user_id"),
        ({"by": "tool", "user_id": "u"}, "user_id"),
        ({"by": "hour", "since": datetime(2026, 1, 1)}, "since"),  # noqa: DTZ001
        ({"by": "hour", "is_error": 1}, "is_error"),
        ({"by": "hour", "tool": ""}, "tool"),
        ({"by": "hour", "workspace_id": ""}, "workspace_id"),
    ],
)
def test_statistics_that_cannot_be_are_refused_by_name(conditions: dict[str, object], field: str) -> None:
    with pytest.raises(QueryError) as caught:
        StatisticsQuery(**({"workspace_id": "ws"} | conditions))  # type: ignore[arg-type]
    assert caught.value.field == field


@given(st.integers(0, _histogram.LARGEST))
def test_a_bucket_stands_for_each_of_its_durations_within_five_percent(milliseconds: int) -> None:
    found = _histogram.percentile({_histogram.bucket_of(milliseconds): 1}, 1.0)
    assert found is not None
    assert abs(found - milliseconds) <= 0.05 * milliseconds * (1 + 1e-9)


def test_what_took_longer_than_any_number_counts_as_the_largest() -> None:
    labels = Labels("ws", "echo", "local", "sdk", "ok", is_error=False, client=None, approval=None)
    rows = [Row(str(number), labels, None, None, 0, took, took, b"") for number, took in enumerate([1 << 70, -5] * 2)]
    cell = _cells.count(rows)[_cells.Series.of_call(labels)][_cells.HOUR, 0]
    assert (cell.count, cell.sum_ms, cell.waits, cell.waited_ms) == (4, _histogram.LARGEST, 4, _histogram.LARGEST)
    assert _histogram.percentile({}, 0.5) is None


async def test_sums_end_at_the_largest_number_that_a_database_holds(store_url: str, make_operation: MakeOperation) -> None:
    largest = _histogram.LARGEST
    async with open_store(store_url) as store:
        for _ in range(2):
            await store.add(
                [
                    make_operation(duration_ms=largest, result_meta=ResultMeta(waited_ms=largest)),
                    make_operation(duration_ms=5),
                ]
            )
        (found,) = (await store.statistics(StatisticsQuery(workspace_id="ws", by="tool"))).groups
    assert (found.count, found.sum_ms, found.waits, found.waited_ms) == (4, largest, 2, largest)


def test_text_is_found_however_json_spells_it(make_operation: MakeOperation) -> None:
    record = _wire.encode(make_operation(arguments=rb'{"a":"\ud83d\ude00 \/x \"q\"\n","b":"\ud800"}', result_summary="Ä"))
    for text in ("😀 /X", 'x "Q"\n', r"\ud800", "ä"):
        assert holds(text)(record), text
    assert not holds("echo!")(record)


@pytest.fixture
def make_result(make_operation: MakeOperation) -> Callable[[str], bytes]:
    return lambda text: _wire.encode(make_operation(result_summary=text))


odd_cases = st.text(
    st.sampled_from(
        'a\\"\N{GREEK CAPITAL LETTER SIGMA}\N{GREEK SMALL LETTER SIGMA}\N{GREEK SMALL LETTER FINAL SIGMA}'
        "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}\N{LATIN SMALL LETTER DOTLESS I}\N{LATIN CAPITAL LETTER SHARP S}"
    ),
    min_size=1,
    max_size=4,
)


@given(before=odd_cases, text=odd_cases, after=odd_cases)
@example("a", "a\N{GREEK CAPITAL LETTER SIGMA}", "a")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_part_of_a_text_is_found_in_it_whatever_the_case(
    make_result: Callable[[str], bytes], before: str, text: str, after: str
) -> None:
    for wanted in (text, text.lower()):
        assert holds(wanted)(make_result(before + text + after)), wanted


async def test_pruning_a_file_gives_the_space_back_and_stops_nobody(tmp_path: Path, make_operation: MakeOperation) -> None:
    file = tmp_path / "operations.sqlite3"
    async with open_store(f"sqlite:///{file}") as store:
        for day in range(4):
            await store.add([make_operation(started_at=NOON + day * DAY, result_summary="x" * 2000) for _ in range(700)])
        with sqlite3.connect(file) as reader:
            before = reader.execute("PRAGMA page_count").fetchone()[0]
        reader.close()
        stored = 0
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                nonlocal stored
                while True:
                    await store.add([make_operation(started_at=NOON + 9 * DAY)])
                    stored += 1

            nursery.start_soon(go_on)
            pruned = await store.prune(NOON + 3 * DAY)
            nursery.cancel_scope.cancel()
        assert (pruned.records, pruned.days) == (2100, 0)
        assert stored > 5
        with sqlite3.connect(file) as reader:
            assert reader.execute("PRAGMA page_count").fetchone()[0] < before / 2
        reader.close()
        assert len(await pages(store, EVERYTHING)) in (700 + stored, 700 + stored + 1)


async def test_statistics_are_pruned_no_further_than_records(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation(started_at=NOON + day * DAY) for day in range(3)])
        assert await store.prune_statistics(NOON + 9 * DAY) == 0
        await store.prune(NOON + DAY)
        # Of the one day that has no record any more, an hour and the day of each of three series.
        assert await store.prune_statistics(NOON + 9 * DAY) == 6
        assert sum(each.count for each in (await store.statistics(StatisticsQuery(workspace_id="ws", by="day"))).groups) == 2


async def test_a_count_stays_where_a_record_came_of_its_day_meanwhile(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation(started_at=NOON), make_operation(started_at=NOON + DAY)])
        await store.prune(NOON + DAY)
        # As if both records had been old when this began.
        delete = partial(_delete_cells, workspace=1, before=1 << 40, size=100)
        assert await store._alone(delete) == 6
        assert len(await store.find(EVERYTHING)) == 1
        assert await store._alone(delete) == 0


async def test_the_record_of_a_deletion_stays_whatever_goes(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation(), make_operation(started_at=datetime.now(UTC))])
        for records in (2, 1, 1):
            # The second time it is the record of the first deletion that goes.
            pruned = await store.prune(datetime.now(UTC) + 2 * DAY, who="somebody")
            assert pruned.records in (records, records + 1)  # with the record of this one
            [record] = await store.find(ListQuery(workspace_id="trio-oplog"))
            assert json.loads(record)["result_summary"] == ("2 operations to delete" if records == 2 else "1 operation to delete")
        assert await store.find(EVERYTHING) == []


def test_records_and_what_is_counted_of_them_agree_exactly(store_url: str) -> None:
    """Law: whatever comes to whichever of two collectors, how often and with whatever time, each record is counted once."""

    @given(
        batches=st.lists(st.lists(operations, max_size=8), min_size=1, max_size=4),
        again=st.lists(st.tuples(st.integers(0, 3), moments, st.booleans()), max_size=3),
        pruned=st.none() | names,
    )
    @settings(max_examples=8)
    def holds_for(batches: list[list[Operation]], again: list[tuple[int, datetime, bool]], pruned: str | None) -> None:
        world = f"{next(numbers)} "
        mine = [[evolve(each, workspace_id=world + each.workspace_id) for each in batch] for batch in batches]

        async def run() -> None:
            async with open_store(store_url) as one, open_store(store_url) as other:
                stores = (one, other)
                async with trio.open_nursery() as nursery:
                    for number, batch in enumerate(mine):
                        nursery.start_soon(stores[number % 2].add, batch)
                # Who was first is known once they are stored; the next time all of them come again.
                names = {each.workspace_id for batch in mine for each in batch}
                kept = [_wire.decode(body) for name in names for body in await pages(one, ListQuery(workspace_id=name))]
                assert len(kept) == len({(each.workspace_id, each.id) for batch in mine for each in batch})
                async with trio.open_nursery() as nursery:
                    for number, moment, changes in again:
                        batch = mine[number % len(mine)]
                        batch = (
                            [evolve(each, started_at=moment, is_error=not each.is_error) for each in batch] if changes else batch
                        )
                        nursery.start_soon(stores[number % 2].add, batch)
                if pruned is not None:
                    await one.prune(NOON + DAY, workspace_id=world + pruned)
                for name in names:
                    await check_counts(other, name, kept)

        trio.run(run)

    holds_for()


async def test_a_store_prunes_again_and_again_and_after_a_failure(
    tmp_path: Path, make_operation: MakeOperation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "operations.sqlite3"
    now = datetime.now(UTC)

    async def wait_for(said: str) -> None:
        with trio.fail_after(60):
            while said not in caplog.text:  # noqa: ASYNC110 -- a log has no event
                await trio.sleep(0.005)
        caplog.clear()

    async with open_store(f"sqlite:///{file}") as store, trio.open_nursery() as nursery:
        await store.add([make_operation(started_at=now - 5 * DAY)])
        nursery.start_soon(partial(store.retain, 2 * DAY, keep_statistics=3 * DAY, every=0.01))
        await wait_for("pruned 1 records")
        intruder = sqlite3.connect(file)
        intruder.execute("ALTER TABLE workspaces RENAME TO elsewhere")
        await wait_for("pruning failed and is tried again in 0.01 seconds: the store cannot be used: SQLITE_ERROR")
        intruder.execute("ALTER TABLE elsewhere RENAME TO workspaces")
        intruder.close()
        await store.add([make_operation(started_at=now - 5 * DAY), make_operation(started_at=now)])
        await wait_for("pruned 1 records")
        assert len(await store.find(EVERYTHING)) == 1
        nursery.cancel_scope.cancel()


async def test_a_file_in_another_mode_that_is_locked_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog.collector._databases._PATIENCE", 0.1)
    file = tmp_path / "operations.sqlite3"
    blocker = sqlite3.connect(file, isolation_level=None)
    blocker.execute("CREATE TABLE theirs (x)")
    blocker.execute("BEGIN IMMEDIATE")
    store = open_store(f"sqlite:///{file}")
    with pytest.raises(StoreError, match="SQLITE_BUSY: another process keeps the file locked"):
        await store.find(EVERYTHING)
    blocker.close()


def test_an_error_says_what_to_do() -> None:
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(StoreError, match="TimeoutError: every connection is in use"):
        guarded(lambda: fail(PoolTimeoutError()))
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: fail(ZeroDivisionError()))
