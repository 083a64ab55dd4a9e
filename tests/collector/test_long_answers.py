"""Answers that are sent in pieces, so that a client that is slow to take one keeps little of it in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio

from tests.collector.serving import SECRET, MakeOperation, as_whom, client_of
from trio_oplog import ListQuery, Operation, StoreError, _wire
from trio_oplog.collector import DEFAULT_PATH, Store, create_app, open_store

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PIECE = 2_000


@pytest.fixture
async def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Store, None]:
    for module in ("_store", "_pages"):
        monkeypatch.setattr(f"trio_oplog.collector.{module}.STREAMED_MAX_BYTES", PIECE)
    async with open_store(store_url) as opened:
        yield opened


def large(make_operation: MakeOperation, count: int) -> list[Operation]:
    """Operations of some 900 bytes, two of which are a piece; the newest one took longest."""
    return [
        make_operation(started_at=NOON + timedelta(hours=number), duration_ms=number, arguments=b'"needle %s"' % (b"x" * 650))
        for number in range(count)
    ]


class Reader:
    """A client that takes one piece of an answer at a time, when it is told to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.error: Exception | None = None
        self._send, self._wanted = trio.open_memory_channel[bytes](0)

    async def run(self, app: Any, query: str) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.body" and message["body"]:
                await self._send.send(message["body"])

        scope = {
            "type": "http",
            "method": "GET",
            "path": query.partition("?")[0],
            "query_string": query.partition("?")[2].encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in as_whom(None).items()],
        }
        try:
            await app(scope, trio.sleep_forever, send)
        except StoreError as error:
            self.error = error
        finally:
            self._send.close()

    async def take(self) -> bytes:
        piece = await self._wanted.receive()
        self.pieces.append(piece)
        return piece

    async def rest(self) -> bytes:
        """All of it, with what was taken before."""
        async for piece in self._wanted:
            self.pieces.append(piece)
        return b"".join(self.pieces)


@pytest.mark.parametrize("parameters", [{}, {"q": "NEEDLE"}, {"limit": "4"}], ids=["all", "searched", "limited"])
async def test_a_long_list_is_the_document_of_its_page_sent_in_pieces(
    store: Store, make_operation: MakeOperation, parameters: dict[str, Any]
) -> None:
    await store.add(large(make_operation, 7))
    limit = int(parameters.get("limit", 100))
    page = await store.page(ListQuery(workspace_id="ws", q=parameters.get("q"), limit=limit))
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            reader.run, create_app(store, SECRET), str(httpx.URL(DEFAULT_PATH, params={"workspace_id": "ws", **parameters}))
        )
        assert await reader.rest() == page.document()
    assert len(page.bodies) == min(limit, 7)
    assert len(reader.pieces) > len(page.bodies) // 2
    assert all(len(piece) < PIECE + 100 for piece in reader.pieces)
    (record,) = await store.find(ListQuery(workspace_id="trio-oplog"))
    assert _wire.decode(record).result_summary == f"{len(page.bodies)} operations"


async def test_the_slowest_are_sent_in_pieces_in_their_order(store: Store, make_operation: MakeOperation) -> None:
    made = large(make_operation, 5)
    await store.add(made)
    slowest = await store.slowest(ListQuery(workspace_id="ws"))
    assert slowest.bodies == [_wire.encode(each) for each in reversed(made)]
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, create_app(store, SECRET), f"{DEFAULT_PATH}/slowest?workspace_id=ws")
        assert await reader.rest() == slowest.document()
    assert len(reader.pieces) > 2


async def test_records_count_by_what_is_shown_of_them(store: Store, make_operation: MakeOperation) -> None:
    await store.add(large(make_operation, 5))
    async with client_of(store) as http:
        for path in (DEFAULT_PATH, f"{DEFAULT_PATH}/slowest"):
            reply = await http.get(path, params={"workspace_id": "ws", "payloads": "false"})
            # What is read again is measured as it is stored.
            assert ("content-length" in reply.headers) is (path == DEFAULT_PATH)
            assert [each["duration_ms"] for each in reply.json()["operations"]] == [4, 3, 2, 1, 0]


async def test_what_is_pruned_while_an_answer_is_sent_is_left_out(store: Store, make_operation: MakeOperation) -> None:
    made = large(make_operation, 60)  # of three days, the newest first: what is pruned comes last
    await store.add(made)
    for path in (DEFAULT_PATH, f"{DEFAULT_PATH}/slowest"):
        reader = Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run, create_app(store, SECRET), f"{path}?workspace_id=ws&limit=60")
            await reader.take()
            await store.prune(NOON + timedelta(days=1))
            found = json.loads(await reader.rest())["operations"]
        assert [each["id"] for each in found] == [each.id for each in reversed(made[12:])]


async def test_where_all_that_is_left_is_pruned_an_answer_ends(store: Store, make_operation: MakeOperation) -> None:
    made = large(make_operation, 10)
    await store.add(made)
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, create_app(store, SECRET), f"{DEFAULT_PATH}?workspace_id=ws")
        await reader.take()
        await store.prune(NOON + timedelta(days=2))
        found = [each["id"] for each in json.loads(await reader.rest())["operations"]]
    # One piece was taken, and the next may have been read by then.
    assert 2 <= len(found) <= 4
    assert found == [each.id for each in reversed(made)][: len(found)]


async def test_a_store_that_fails_in_the_middle_cuts_the_answer_short(store: Store, make_operation: MakeOperation) -> None:
    await store.add(large(make_operation, 7))
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, create_app(store, SECRET), f"{DEFAULT_PATH}?workspace_id=ws")
        await reader.take()

        async def fail(*_: object) -> None:
            raise StoreError("the disk is full")

        store._read = fail  # type: ignore[method-assign, assignment]
        answer = await reader.rest()
    assert isinstance(reader.error, StoreError)
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer)
