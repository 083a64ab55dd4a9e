"""All answers together hold so many bytes at most, whoever does not take them."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.listing.test_answering import EMPTY, QUERY, Flood, client_for, request
from trio_oplog import ConfigError, ListError, ListQuery, try_handle_operations_list
from trio_oplog._listing import answering, read_list_request
from trio_oplog._listing.room import COPIES, COPIES_SENT, RECORD_BYTES, Holding, Room

MANY = ListQuery(workspace_id="ws", limit=1000)


async def test_who_needs_more_than_is_free_waits_in_turn() -> None:
    room = Room(10)
    done: list[str] = []

    async def take(name: str, size: int) -> None:
        await room.take(size)
        done.append(name)

    await take("first", 6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "large", 8)
        await wait_all_tasks_blocked()
        nursery.start_soon(take, "small", 2)  # there would be room for it
        await wait_all_tasks_blocked()
        assert (done, room.held) == (["first"], 6)
        assert not room.take_nowait(1)
        room.give(6)
    assert (sorted(done), room.held) == (["first", "large", "small"], 10)


@pytest.mark.parametrize("is_called", [False, True])
async def test_who_is_cancelled_has_taken_nothing_and_lets_the_others_go_on(is_called: bool) -> None:
    room = Room(10)
    await room.take(5)
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:

        async def take_all() -> None:
            with scope:
                await room.take(10)

        nursery.start_soon(take_all)
        await wait_all_tasks_blocked()
        nursery.start_soon(room.take, 5)
        await wait_all_tasks_blocked()
        assert room.held == 5
        scope.cancel()
        if is_called:  # before it runs again
            room.give(5)
    assert room.held == (5 if is_called else 10)


async def test_an_answer_takes_what_it_may_become_and_then_what_it_is() -> None:
    room = Room(1_000_000)
    holding = Holding(room)
    await holding.begin(2)
    assert room.held == 2 * COPIES * RECORD_BYTES
    assert holding.fits(2 * RECORD_BYTES)
    assert room.held == 2 * COPIES * RECORD_BYTES
    assert holding.fits(2 * RECORD_BYTES + 10)
    assert room.held == COPIES * (2 * RECORD_BYTES + 10)
    assert not holding.fits(1_000_000)
    holding.shrink(10)
    assert room.held == COPIES_SENT * 10
    holding.end()
    assert room.held == 0
    await holding.begin(1000)
    assert room.held == 1_000_000
    holding.end()


async def test_a_list_waits_for_the_room_of_another_one(autojump_clock: MockClock) -> None:
    client = client_for(EMPTY)

    async def ask_later() -> None:
        await client.fetch(MANY)
        ended.append(trio.current_time())

    ended: list[float] = []
    await client._room.take(client._room.size)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_later)
        await trio.sleep(3)
        client._room.give(client._room.size)
    assert ended == [began + 3]
    assert client._room.held == 0


async def test_a_list_that_finds_no_room_in_time_is_told_so(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    client = client_for(EMPTY, timeout=2)
    await client._room.take(client._room.size)
    reply = await try_handle_operations_list(client, "ws", request())
    assert reply is not None
    assert json.loads(reply)["error"] == {"code": -32001, "message": "overloaded"}
    assert caplog.messages == ["operations/list failed: too many answers are waiting to be taken"]
    with pytest.raises(ListError, match="too many answers"):
        await client.fetch(QUERY)


async def test_an_answer_that_outgrows_the_room_is_not_read_to_its_end() -> None:
    flood = Flood(10_000)
    client = client_for(lambda _: httpx.Response(200, stream=flood), max_held=100_000)
    with pytest.raises(ListError, match="too many answers"):
        await client.fetch(QUERY)
    assert flood.read == 30_000
    assert client._room.held == 0


async def test_an_answer_counts_until_it_is_sent() -> None:
    client = client_for(EMPTY)
    found = read_list_request(request())
    assert found is not None
    async with answering(client, "ws", found) as answer:
        assert b"operations" in answer
        assert client._room.held == COPIES_SENT * len(EMPTY)
    assert client._room.held == 0


def test_there_must_be_some_room() -> None:
    with pytest.raises(ConfigError, match="max_held"):
        client_for(EMPTY, max_held=0)
