"""The slowest records, against a sort of all of them, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collector.serving import client_of
from tests.collector.test_queries import moments, operations, queries
from tests.testing.faulty.stores import NaiveStore
from trio_oplog import ListQuery, Operation, QueryError, _wire
from trio_oplog._listing import Slowest
from trio_oplog._operation import CHECK_SOURCE
from trio_oplog.collector import DEFAULT_PATH, Access, Store, _pages, _slowest, open_store
from trio_oplog.collector._histogram import LARGEST
from trio_oplog.collector._pages import Begun
from trio_oplog.collector._search import without_payload

MakeOperation = Callable[..., Operation]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TEN_MINUTES, HOUR, DAY = timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)

numbers = count()
# Some of one millisecond, some of one bucket, and some far away.
timed = st.builds(lambda each, ms: evolve(each, duration_ms=ms), operations, st.sampled_from([0, 3, 10, 11, 1000, 1005]))
unasked: dict[str, Any] = {"id": None, "id_prefix": None, "thread_id": None, "q": None}


async def slowest_of(naive: NaiveStore, query: ListQuery) -> list[bytes]:
    """All that fit, sorted; the sort keeps the newest first."""
    bodies = (await naive.page(evolve(query, limit=1000))).bodies
    return sorted(bodies, key=lambda body: -_wire.decode(body).duration_ms)[: query.limit]


def test_the_slowest_are_those_of_a_sort_of_all(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: whatever is asked for, also after pruning, the answer is the beginning of all that fits, sorted by duration."""
    # So that a handful of records takes several looks.
    monkeypatch.setattr(_slowest, "SCANNED_AT_ONCE", 2)
    monkeypatch.setattr(_slowest, "LISTED", 1)

    @given(
        batch=st.lists(timed, max_size=30),
        asked=st.lists(queries, min_size=1, max_size=5),
        before=st.none() | moments,
    )
    @settings(max_examples=25)
    def holds_for(batch: list[Operation], asked: list[ListQuery], before: datetime | None) -> None:
        world = f"{next(numbers)} "  # within the one database: PostgreSQL takes long to make one

        async def run() -> None:
            naive = NaiveStore()
            async with open_store(store_url) as store:
                mine = [evolve(each, workspace_id=world + each.workspace_id) for each in batch]
                await naive.add(mine)
                await store.add(mine)
                if before is not None:
                    await naive.prune(before, workspace_id=f"{world}a")
                    await store.prune(before, workspace_id=f"{world}a")
                for query in asked:
                    wanted = evolve(query, workspace_id=world + query.workspace_id, **unasked)
                    assert await store.slowest(wanted, budget=60) == Slowest(await slowest_of(naive, wanted))

        trio.run(run)

    holds_for()


async def filled(store: Store, make_operation: MakeOperation) -> list[Operation]:
    """Three days of calls, one each 10 minutes; each takes a millisecond longer than the one before."""
    made = [
        make_operation(
            started_at=NOON + number * TEN_MINUTES, duration_ms=number, tool=f"tool-{number % 3}", user_id=str(number % 2)
        )
        for number in range(432)
    ]
    await store.add(made)
    return made


async def ids(store: Store, **asked: Any) -> list[str]:
    found = await store.slowest(ListQuery(workspace_id="ws", **asked))
    assert found.is_whole
    return [_wire.decode(body).id for body in found.bodies]


async def test_cut_hours_and_filters_count_exactly(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        made = await filled(store, make_operation)
        slow = make_operation(source=CHECK_SOURCE, duration_ms=9_999)  # in no list unless it is asked for
        await store.add([slow])
        named = [each.id for each in made]
        # From the middle of an hour to the middle of an hour, with what begins at the end left out.
        cut = {"since": made[100].started_at, "until": made[200].started_at}
        assert await ids(store, **cut, limit=5) == named[199:194:-1]
        assert await ids(store, **cut, limit=100) == named[199:99:-1]
        assert await ids(store, since=made[431].started_at) == [named[431]]
        assert await ids(store, since=made[431].started_at + timedelta(microseconds=1)) == []
        assert await ids(store, until=made[1].started_at) == [named[0]]
        assert await ids(store, tool="tool-1", user_id="0", limit=2) == [named[430], named[424]]
        assert await ids(store, user_id="1", limit=2) == [named[431], named[429]]
        assert await ids(store, source=CHECK_SOURCE) == [slow.id]
        assert await ids(store, tool="none") == []
        assert await store.slowest(ListQuery(workspace_id="nothing")) == Slowest([])


@pytest.mark.parametrize("at_once", [1, 10_000])
async def test_of_those_that_took_as_long_the_newest_come_first(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(_slowest, "SCANNED_AT_ONCE", at_once)
    async with open_store(store_url) as store:
        made = [make_operation(started_at=NOON + number // 2 * HOUR, duration_ms=5) for number in range(20)]
        await store.add(made)
        assert await ids(store, limit=5) == [each.id for each in made[:14:-1]]


async def test_few_records_are_read_of_many(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def duration_of(body: bytes) -> int:
        read.append(body)
        return _wire.decode(body).duration_ms

    monkeypatch.setattr(_slowest, "duration_of", duration_of)
    async with open_store(store_url) as store:
        made = await filled(store, make_operation)
        assert await ids(store, limit=3) == [each.id for each in made[:-4:-1]]
        assert len(read) < 100
        read.clear()
        # All alike: those of the newest hours are enough.
        same = [evolve(each, workspace_id="same", duration_ms=7) for each in made]
        await store.add(same)
        assert len((await store.slowest(ListQuery(workspace_id="same", limit=3))).bodies) == 3
        assert len(read) < 20


async def test_what_was_pruned_is_passed_over(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation(started_at=NOON + number * HOUR, duration_ms=9_000 - number) for number in range(40)])
        await store.prune(NOON + 1 * DAY)
        kept = await store.find(ListQuery(workspace_id="ws"))
        assert 0 < len(kept) < 40
        assert (await store.slowest(ListQuery(workspace_id="ws"))).bodies == kept[::-1]
        await store.prune(NOON + 9 * DAY)
        assert await store.slowest(ListQuery(workspace_id="ws")) == Slowest([])


async def test_what_is_pruned_while_it_is_looked_for_is_left_out(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(store_url) as store:
        made = [make_operation(duration_ms=1), make_operation(duration_ms=2, started_at=NOON + 2 * DAY)]
        await store.add(made)
        read = _pages.read_places

        def read_later(*arguments: Any, **options: Any) -> Any:
            trio.from_thread.run(store.prune, NOON + 2 * DAY)
            return read(*arguments, **options)

        monkeypatch.setattr("trio_oplog.collector._store.read_places", read_later)
        assert await ids(store) == [made[1].id]


async def test_without_time_it_says_that_it_is_not_whole(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    def duration_of(body: bytes) -> int:
        mock_clock.jump(1)
        return _wire.decode(body).duration_ms

    monkeypatch.setattr(_slowest, "SCANNED_AT_ONCE", 2)
    monkeypatch.setattr(_slowest, "duration_of", duration_of)
    async with open_store(store_url) as store:
        made = [make_operation(started_at=NOON + number * HOUR, duration_ms=number) for number in range(9)]
        await store.add(made)
        assert await store.slowest(ListQuery(workspace_id="ws"), budget=0) == Slowest([], is_whole=False)
        # What promises most is looked at first, so what there is after some time is the best of it.
        found = await store.slowest(ListQuery(workspace_id="ws"), budget=3)
        assert (found.bodies, found.is_whole) == ([_wire.encode(each) for each in made[:-4:-1]], False)
        assert (await store.slowest(ListQuery(workspace_id="ws"), budget=60)).is_whole


async def test_more_bytes_than_an_answer_holds_are_refused(
    store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(store_url) as store:
        made = [make_operation(arguments=b'"%s"' % (b"x" * 500)) for _ in range(2)]
        await store.add(made)
        monkeypatch.setattr("trio_oplog.collector._store.REPLY_MAX_BYTES", 600)
        with pytest.raises(QueryError, match="limit is too high: the records are over"):
            await store.slowest(ListQuery(workspace_id="ws"))
        # A single one is never too large, and without arguments they are small.
        assert (await store.slowest(ListQuery(workspace_id="ws", limit=1))).bodies == [_wire.encode(made[1])]
        assert len((await store.slowest(ListQuery(workspace_id="ws"), brief=True)).bodies) == 2
        assert len((await store.slowest(ListQuery(workspace_id="ws"), payload=False)).bodies) == 2


@pytest.mark.parametrize("name", ["id", "id_prefix", "thread_id", "q", "cursor"])
async def test_what_no_rollup_counts_by_is_refused(tmp_path: Any, name: str) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}")
    with pytest.raises(QueryError, match=f"{name} does not go together with the slowest"):
        await store.slowest(ListQuery(workspace_id="ws", **{name: "x"}))
    with pytest.raises(QueryError, match="limit must be a whole number from 1 to 100"):
        await store.slowest(ListQuery(workspace_id="ws", limit=101))


async def test_they_are_had_over_http(tmp_path: Any, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as store, client_of(store, Access(["s3cret"])) as http:
        http.headers["X-Internal-Secret"] = "s3cret"
        made = [make_operation(duration_ms=number, arguments=b"{}") for number in range(30)]
        await store.add(made)
        bodies = [_wire.encode(each) for each in reversed(made)]

        async def ask(**parameters: str) -> Any:
            return await http.get(f"{DEFAULT_PATH}/slowest", params={"workspace_id": "ws"} | parameters)

        assert (await ask()).content == b'{"operations":[%b]}' % b",".join(bodies[:20])
        reply = await ask(limit="2", payloads="false")
        assert reply.content == b'{"operations":[%b]}' % b",".join(map(without_payload, bodies[:2]))
        for wrong in ({"q": "x"}, {"limit": "101"}, {"cursor": "x"}, {"workspace_id": ""}):
            reply = await ask(**wrong)
            assert (reply.status_code, reply.json()["field"]) == (400, next(iter(wrong)))

        async def cut_short(*_: object, **__: object) -> Begun[Slowest]:
            return Begun(Slowest(bodies[:1], is_whole=False), [])

        monkeypatch.setattr(store, "begin_slowest", cut_short)
        assert (await ask()).content == b'{"operations":[%b],"incomplete":true}' % bodies[0]


@pytest.mark.parametrize(
    ("body", "duration"),
    [
        (b'{"duration_ms":7}', 7),
        (b'{"duration_ms":-7}', 0),
        (b'{"duration_ms":%d}' % (LARGEST + 1), LARGEST),
        (b"{", 0),
        (b"{}", 0),
    ],
)
def test_a_duration_counts_as_in_the_statistics(body: bytes, duration: int) -> None:
    assert _slowest.duration_of(body) == duration
