"""``ReadClient`` against the app that it is for, and against endpoints that are something else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.collector.serving import SECRET, client_of
from trio_oplog import ListError, ListQuery, Operation
from trio_oplog._listing import Arrivals, ReadClient, Slowest, StatisticsQuery, reading
from trio_oplog.collector import Store, open_store

URL = "http://endpoint/internal/operations"
QUERY = ListQuery(workspace_id="ws-1", limit=2)

MakeOperation = Callable[..., Operation]


@pytest.fixture
async def store(tmp_path: Path, make_operation: MakeOperation) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path / 'log'}") as opened:
        await opened.add([make_operation(tool=tool) for tool in ("a", "b", "b")])
        yield opened


def client_for(answer: bytes | int | Exception | list[bytes], **options: Any) -> ReadClient:
    """A client whose endpoint answers with a body, a status, not at all, or in chunks that break off."""

    class Chunks(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            assert isinstance(answer, list)
            for chunk in answer:
                yield chunk
            raise httpx.ReadError("gone")

    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, content=b"upstream says: hunter2")
        return httpx.Response(200, content=answer) if isinstance(answer, bytes) else httpx.Response(200, stream=Chunks())

    return ReadClient(URL, SECRET, http=httpx.AsyncClient(transport=httpx.MockTransport(respond)), **options)


async def test_it_reads_what_the_store_says(store: Store) -> None:
    async with client_of(store, puts_reads_on_record=False) as http:
        client = ReadClient(URL, SECRET, http=http)
        first = await client.page(QUERY)
        assert first == await store.page(QUERY)
        assert first.next is not None
        name = msgspec.json.decode(first.bodies[0])["id"]
        assert (await client.page(ListQuery(workspace_id="ws-1", id_prefix=name))).bodies == first.bodies[:1]
        assert await client.workspaces() == ["ws-1"]
        for by in ("tool", "hour", "user_id"):
            query = StatisticsQuery(workspace_id="ws-1", by=by)
            assert await client.statistics(query) == await store.statistics(query)
        few = StatisticsQuery(workspace_id="ws-1", by="tool", limit=1)
        assert await client.statistics(few) == await store.statistics(few)
        assert not (await client.statistics(few)).is_whole
        assert await client.slowest(QUERY) == await store.slowest(QUERY)
        async with aclosing(client.export(QUERY)) as lists:
            exported = [body async for bodies in lists for body in bodies]
        assert exported == (await store.page(ListQuery(workspace_id="ws-1"))).bodies


@pytest.mark.parametrize(("text", "silence"), [(None, 60), ("rare", 600)])
async def test_an_export_that_searches_may_be_silent_for_longer(text: str | None, silence: float) -> None:
    allowed = []

    def respond(request: httpx.Request) -> httpx.Response:
        allowed.append(request.extensions["timeout"]["read"])
        return httpx.Response(200)

    client = ReadClient(URL, SECRET, http=httpx.AsyncClient(transport=httpx.MockTransport(respond)))
    async with aclosing(client.export(ListQuery(workspace_id="ws", q=text))) as lists:
        assert [bodies async for bodies in lists] == []
    assert allowed == [silence]


async def test_exports_come_in_lists_of_some(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LIST_AT_ONCE", 2)
    async with client_of(store) as http:
        client = ReadClient(URL, SECRET, http=http)
        assert [len(bodies) async for bodies in client.export(QUERY)] == [2, 1]
        monkeypatch.setattr(reading, "_LIST_AT_ONCE", 3)
        assert [len(bodies) async for bodies in client.export(QUERY)] == [3]


async def test_a_live_tail_is_read_event_by_event() -> None:
    client = client_for(b"retry: 1000\nid: 5\n\nid: 6\ndata: {}\n\n: nothing\n\n")
    assert [arrived async for arrived in client.live(QUERY)] == [
        Arrivals([], "5"),
        Arrivals([("6", b"{}")], "6"),
        Arrivals([], "6"),
    ]
    async with aclosing(client.live(QUERY, "4")) as arrivals:
        assert await anext(arrivals) == Arrivals([], "5")


@pytest.mark.parametrize("searched_to", ["2026-01-31T12:00:00Z", "then"])
async def test_how_far_a_search_came_is_a_time_or_not_known(searched_to: str) -> None:
    page = await client_for(b'{"operations":[],"next":"x","searched_to":"%s"}' % searched_to.encode()).page(QUERY)
    assert (page.next, page.searched_to is None) == ("x", searched_to == "then")


@pytest.mark.parametrize("body", [b"{}", b'{"operations":5}'])
async def test_something_else_than_a_list_is_told_so(body: bytes) -> None:
    with pytest.raises(ListError, match="is no list of operations"):
        await client_for(body).page(QUERY)
    with pytest.raises(ListError, match="is no list of operations"):
        await client_for(body).slowest(QUERY)


async def test_that_the_slowest_may_not_be_the_slowest_is_told() -> None:
    assert await client_for(b'{"operations":[{}],"incomplete":true}').slowest(QUERY) == Slowest([b"{}"], is_whole=False)


async def test_something_else_than_statistics_or_workspaces_is_told_so() -> None:
    with pytest.raises(ListError, match="no list of workspaces"):
        await client_for(b"[]").workspaces()
    with pytest.raises(ListError, match="holds no statistics"):
        await client_for(b'{"groups":[{}]}').statistics(StatisticsQuery(workspace_id="ws", by="tool"))


async def exported(client: ReadClient) -> list[bytes]:
    return [body async for bodies in client.export(QUERY) for body in bodies]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (401, "the endpoint does not accept the secret (status 401)"),
        (403, "the endpoint does not let this token do that (status 403)"),
        (404, "the endpoint does not know this request: is it a collector, and one of this version? (status 404)"),
        (500, "the endpoint refused (status 500)"),
        (httpx.ConnectError("hunter2"), "the endpoint cannot be reached: ConnectError"),
        ([b"{}\n"], "the endpoint broke off: connection lost"),
        (b"{}\n{", "the endpoint broke off in the middle of a line"),
        ([b"x" * 100, b"y"], "the endpoint sent a line of over 99 bytes"),
    ],
)
async def test_a_stream_that_fails_says_why_and_quotes_nobody(answer: Any, problem: str) -> None:
    with pytest.raises(ListError) as caught:
        await exported(client_for(answer, max_bytes=99))
    assert str(caught.value) == problem
    assert caught.value.__cause__ is None


async def test_without_a_client_of_ones_own_it_makes_one() -> None:
    with pytest.raises(ListError, match="cannot be reached: connection refused"):
        await exported(ReadClient("http://127.0.0.1:1/", SECRET))
