"""The queue is fair: what one workspace floods costs no other workspace a record, and delays none for long."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

import trio
from hypothesis import example, given
from hypothesis import strategies as st

from trio_oplog import Client, DropReason, Spool
from trio_oplog._delivery.inbox import ThreadInbox
from trio_oplog._delivery.lanes import Lanes, Measure
from trio_oplog._delivery.queue import Overflow, Queue
from trio_oplog._delivery.record import Record


class Thing(NamedTuple):
    workspace: str
    size: int
    number: int


def record(workspace, size=1, number=0):
    return Record(number, None, size, 0.0, workspace=workspace)


def opened(capacity, max_bytes=1_000, overflow=Overflow.DROP_NEWEST):
    queue = Queue(capacity, max_bytes, overflow)
    queue.open()
    return queue


names = st.sampled_from("abcdef")
puts = st.tuples(names, st.integers(1, 60))
steps = st.lists(st.one_of(puts, st.just("take")), max_size=120)


@given(steps=steps, capacity=st.integers(1, 12), max_bytes=st.integers(1, 200), overflow=st.sampled_from(Overflow))
@example(steps=[("a", 1)] * 3 + [("b", 1)], capacity=2, max_bytes=99, overflow=Overflow.DROP_NEWEST)
@example(steps=[("a", 1), ("b", 1), ("c", 1)], capacity=2, max_bytes=99, overflow=Overflow.DROP_OLDEST)
@example(steps=[("a", 9), ("b", 30)], capacity=9, max_bytes=30, overflow=Overflow.DROP_OLDEST)
@example(steps=[("a", 1), ("b", 3), ("a", 3)], capacity=9, max_bytes=4, overflow=Overflow.DROP_OLDEST)
def test_a_workspace_that_holds_no_more_than_its_share_loses_nothing(steps, capacity, max_bytes, overflow):
    """Whoever loses a record held more than limit / (workspaces that have something waiting), the newcomer counted in."""
    queue = opened(capacity, max_bytes, overflow)
    waiting: dict[str, deque[Record]] = {}
    for number, step in enumerate(steps):
        if step == "take":
            for taken in queue.take_nowait(1):
                assert waiting[taken.workspace].popleft() is taken
                if not waiting[taken.workspace]:
                    del waiting[taken.workspace]
            continue
        newcomer = record(*step, number)
        held = {name: (len(lane), sum(one.size for one in lane)) for name, lane in waiting.items()}
        count, size = held.get(newcomer.workspace, (0, 0))
        held[newcomer.workspace] = count + 1, size + newcomer.size
        dropped = queue.put(newcomer)
        for lost in dropped:
            count, size = held[lost.workspace]
            active = len(held)
            assert count * active > capacity or size * active > max_bytes
            if lost is not newcomer:
                lane = waiting[lost.workspace]
                assert (lane.popleft if overflow is Overflow.DROP_OLDEST else lane.pop)() is lost
                held[lost.workspace] = count - 1, size - lost.size
                if not lane:
                    del waiting[lost.workspace]
                    if lost.workspace != newcomer.workspace:
                        del held[lost.workspace]
        if newcomer not in dropped:
            waiting.setdefault(newcomer.workspace, deque()).append(newcomer)
        assert len(queue) == sum(map(len, waiting.values())) <= capacity
        assert queue.bytes == sum(one.size for lane in waiting.values() for one in lane) <= max_bytes


@given(steps=steps)
def test_between_two_records_of_one_workspace_each_other_that_waits_has_its_turn(steps):
    """The law: a record that is taken is the oldest of a workspace that was served no later than any other that waits."""
    queue = opened(None, 10**9)
    served: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    turn = 0
    for step in steps:
        turn += 1
        if step != "take":
            if not waiting[step[0]]:
                served[step[0]] = turn  # it stands behind those that wait already
            waiting[step[0]] += 1
            queue.put(record(*step))
            continue
        for taken in queue.take_nowait(1):
            assert served[taken.workspace] == min(served[name] for name in +waiting)
            served[taken.workspace] = turn
            waiting[taken.workspace] -= 1


def test_a_flood_of_one_workspace_drops_its_own_records():
    queue = opened(100)
    lost: Counter[str] = Counter()
    for number in range(10_000):
        lost.update(one.workspace for one in queue.put(record("noisy")))
        if number % 100 == 99 and number < 5_000:
            lost.update(one.workspace for one in queue.put(record("quiet")))
    assert lost["noisy"] == 9_950
    assert lost["quiet"] == 0
    assert [one.workspace for one in queue.take_nowait(4)] == ["noisy", "quiet"] * 2


def test_a_million_workspaces_over_time_leave_nothing_behind():
    lanes: Lanes[Thing] = Lanes()
    for number in range(100_000):
        lanes.append(Thing(str(number), 1, number))
        if len(lanes) > 5:
            newcomer = Thing(str(number), 1, number)
            assert lanes.make_way(newcomer, Measure.BYTES, oldest=False) is newcomer
            lanes.popleft()
    assert len(lanes._lanes) == len(lanes) == 5
    assert all(len(ranking._heap) <= 2 * 6 + 65 for ranking in lanes._rankings.values())
    while lanes:
        lanes.popleft()
    assert not lanes._lanes
    assert not lanes._rankings


async def test_a_quiet_workspace_beside_a_flood_loses_nothing(server, secret, make_operation, balanced):
    lost: Counter[str] = Counter()
    told = lambda operation, _: lost.update([operation.workspace_id])  # noqa: E731
    async with Client(server.url, secret, drain_timeout=60, on_drop=told) as client:
        for number in range(150):
            for _ in range(100):
                client.submit(make_operation(workspace_id="noisy"))
            client.submit(make_operation(workspace_id="quiet", id=f"quiet-{number}"))
            if number % 10 == 0:
                await trio.lowlevel.checkpoint()
        assert balanced(client)
    assert sum(name.startswith("quiet-") for name in server.stored) == 150
    assert lost == {"noisy": client.statistics().dropped[DropReason.QUEUE_FULL]}
    assert lost["noisy"] > 10_000


async def test_a_flood_from_a_thread_drops_its_own_operations(make_operation):
    admitted = []
    inbox = ThreadInbox(10)
    inbox.open(trio.lowlevel.current_trio_token(), admitted.append)
    lost: Counter[str] = Counter()
    for _ in range(100):
        lost.update(operation.workspace_id for operation, _ in inbox.enter(make_operation(workspace_id="noisy")))
    for _ in range(3):
        lost.update(operation.workspace_id for operation, _ in inbox.enter(make_operation(workspace_id="quiet")))
    assert lost == {"noisy": 93}
    assert inbox.enter(object())[0][0].workspace_id == "noisy"  # it is for the client to say that it is no operation
    assert inbox.counts() == (10, {DropReason.QUEUE_FULL: 94})
    inbox.let_in()
    assert [getattr(operation, "workspace_id", None) for operation in admitted[:4]] == ["noisy", "quiet", None, "noisy"]
    assert len(admitted) == 10


async def test_a_burst_of_thousands_waits_for_the_spool_to_take_it(server, secret, make_operation, balanced, tmp_path):
    async with Client(server.url, secret, spool=Spool(tmp_path / "spool"), batch_size=100) as client:
        for _ in range(5_000):
            client.submit(make_operation())
        assert balanced(client)
    assert client.dropped == 0
    assert len(server.stored) == 5_000
