"""What is asked over HTTP besides a list: one record, statistics, workspaces, exports, and what arrives."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio

from tests.collector.serving import SECRET, Listener, MakeOperation, access_for, as_whom, client_of, post
from trio_oplog import Approval, Context, DecidedBy, Outcome, ResultMeta, StoreError, _wire
from trio_oplog.collector import DEFAULT_PATH, Access, Store, _endpoint, create_app, open_store

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
WS = {"workspace_id": "ws"}


@pytest.fixture
async def store(store_url: str) -> AsyncGenerator[Store, None]:
    async with open_store(store_url) as opened:
        yield opened


@pytest.fixture
async def http(store: Store) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with client_of(store, puts_reads_on_record=False) as client:
        yield client


async def ids(http: httpx.AsyncClient, **parameters: str) -> list[str]:
    reply = await http.get(DEFAULT_PATH, params=WS | parameters)
    assert reply.status_code == 200, reply.text
    return [operation["id"] for operation in reply.json()["operations"]]


async def test_every_new_filter_narrows_the_list(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    plain = make_operation()
    other = make_operation(
        started_at=NOON + timedelta(hours=1),
        user_id="ada",
        thread_id="t-1",
        context=Context(client="desk/1.2"),
        approval=Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=1),
        result_meta=ResultMeta(outcome=Outcome.FAILED),
        result_summary="A Needle in it",
    )
    await post(http, plain, other)
    for name, value in {
        "user_id": "ada",
        "thread_id": "t-1",
        "client": "desk/1.2",
        "approval": "accept",
        "outcome": "failed",
        "q": "needle",
        "since": "2026-01-31T12:00:01Z",
    }.items():
        assert await ids(http, **{name: value}) == [other.id]
    assert await ids(http, until="2026-01-31T12:00:01Z") == [plain.id]


async def test_pages_follow_one_another_while_records_arrive(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    there = [make_operation(started_at=NOON + timedelta(seconds=number)) for number in range(25)]
    await post(http, *there)
    seen: list[str] = []
    parameters = {**WS, "limit": "10"}
    for _ in range(3):
        reply = (await http.get(DEFAULT_PATH, params=parameters)).json()
        seen += [operation["id"] for operation in reply["operations"]]
        await post(http, make_operation(started_at=NOON + timedelta(hours=1)))
        parameters["cursor"] = reply.get("next", "")
    assert parameters["cursor"] == ""
    assert seen == [operation.id for operation in reversed(there)]


async def test_one_operation_is_shown_as_it_was_stored(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    odd = make_operation(id="a/b c?d=é#", arguments=b'{ "verbatim" : 1.0 }')
    await post(http, odd)
    where = f"{DEFAULT_PATH}/a%2Fb%20c%3Fd%3D%C3%A9%23"
    reply = await http.get(where, params=WS)
    assert (reply.status_code, reply.content) == (200, _wire.encode(odd))
    for path, parameters in ((where, {"workspace_id": "elsewhere"}), (f"{DEFAULT_PATH}/none", WS)):
        assert (await http.get(path, params=parameters)).status_code == 404
    assert (await http.get(where)).json() == {"error": "workspace_id is missing", "field": "workspace_id"}
    assert (await http.get(where, params={**WS, "limit": "1"})).json()["field"] == "limit"
    assert (await http.get(f"{DEFAULT_PATH}/{'x' * 1025}", params=WS)).json()["field"] == "id"


async def test_statistics_come_from_what_was_counted(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    await post(http, make_operation(duration_ms=100), make_operation(is_error=True, duration_ms=300), make_operation(tool="b"))
    reply = (await http.get(f"{DEFAULT_PATH}/stats", params={**WS, "by": "tool"})).json()
    assert reply["by"] == "tool"
    assert [(group["value"], group["count"], group["errors"], group["sum_ms"]) for group in reply["groups"]] == [
        ("echo", 2, 1, 400),
        ("b", 1, 0, 0),
    ]
    assert reply["groups"][0]["p95_ms"] == pytest.approx(300, rel=0.05)
    by_day = {**WS, "by": "day", "is_error": "false", "since": "2026-01-01T00:00:00Z"}
    [day] = (await http.get(f"{DEFAULT_PATH}/stats", params=by_day)).json()["groups"]
    first = (await http.get(f"{DEFAULT_PATH}/stats", params={**WS, "by": "tool", "limit": "1"})).json()
    assert first == {"by": "tool", "groups": reply["groups"][:1], "incomplete": True}
    assert (day["value"], day["count"]) == ("2026-01-31T00:00:00Z", 2)
    for wrong, field in (
        (WS, "by"),
        ({"by": "tool"}, "workspace_id"),
        ({**WS, "by": "weather"}, "by"),
        ({**WS, "by": "tool", "limit": "1001"}, "limit"),
        ({**WS, "by": "tool", "cursor": "x"}, "cursor"),
        ({**WS, "by": "tool", "q": "x"}, "q"),
        ({**WS, "by": "tool", "user_id": "ada"}, "user_id"),
    ):
        reply = await http.get(f"{DEFAULT_PATH}/stats", params=wrong)
        assert (reply.status_code, reply.json()["field"]) == (400, field)


async def test_the_workspaces_are_named(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    await post(http, make_operation(), make_operation(workspace_id="another"))
    assert (await http.get(f"{DEFAULT_PATH}/workspaces")).json() == {"workspaces": ["another", "ws"]}
    assert (await http.get(f"{DEFAULT_PATH}/workspaces", params=WS)).json()["field"] == "workspace_id"


async def test_an_export_has_everything_one_a_line(
    store: Store, http: httpx.AsyncClient, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._parameters.LIMIT_MAX", 10)
    operations = [
        make_operation(
            arguments=b'{\n"a":\r\n1}', tool="echo" if number % 2 else "b", started_at=NOON + timedelta(seconds=number)
        )
        for number in range(25)
    ]
    await store.add(operations)
    reply = await http.get(f"{DEFAULT_PATH}/export", params=WS)
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    assert reply.headers["Content-Disposition"] == 'attachment; filename="operations.ndjson"'
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["id"] for line in lines] == [operation.id for operation in reversed(operations)]
    assert lines[0]["arguments"] == {"a": 1}
    only = await http.get(f"{DEFAULT_PATH}/export", params={**WS, "tool": "b", "format": "ndjson"})
    assert len(only.text.splitlines()) == 13
    assert (await http.head(f"{DEFAULT_PATH}/export", params=WS)).content == b""
    for name, value in (("limit", "5"), ("format", "xml"), ("cursor", "x")):
        reply = await http.get(f"{DEFAULT_PATH}/export", params={**WS, name: value})
        assert (reply.status_code, reply.json()["field"]) == (400, name)


async def test_an_export_is_a_table_that_no_spreadsheet_runs(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    plain = make_operation()
    full = make_operation(
        started_at=NOON + timedelta(hours=1),
        tool='=HYPERLINK("x")',
        user_id="-1",
        arguments=b'{"a":"b,c"}',
        result_summary='two\nlines and "quotes"',
        result_meta=ResultMeta(waited_ms=7),
        context=Context(client="desk/1.2", server="files/3.4"),
        approval=Approval(by=DecidedBy.NONE, waited_ms=5),
    )
    await post(http, plain, full)
    reply = await http.get(f"{DEFAULT_PATH}/export", params={**WS, "format": "csv"})
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    first, second = csv.DictReader(io.StringIO(reply.text, newline=""))
    assert first == {
        "id": full.id,
        "workspace_id": "ws",
        "started_at": "2026-01-31T13:00:00+00:00",
        "completed_at": "2026-01-31T12:00:00+00:00",
        "duration_ms": "0",
        "source": "sdk",
        "env_id": "local",
        "tool": '\'=HYPERLINK("x")',
        "is_error": "false",
        "outcome": "ok",
        "user_id": "'-1",
        "thread_id": "",
        "request_id": "",
        "client": "desk/1.2",
        "server": "files/3.4",
        "approval": "none",
        "approved_by": "none",
        "waited_ms": "7",
        "arguments": '{"a":"b,c"}',
        "result_summary": 'two\nlines and "quotes"',
    }
    assert (second["id"], second["client"], second["approval"], second["arguments"]) == (plain.id, "", "", "")


async def test_an_export_that_fails_half_way_is_cut_and_not_ended(
    store: Store, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trio_oplog.collector._parameters.LIMIT_MAX", 2)
    await store.add([make_operation() for _ in range(5)])
    looked = store._page
    looks = 0

    async def look(*arguments: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise StoreError("the disk is gone")
        return await looked(*arguments, **options)

    monkeypatch.setattr(store, "_page", look)
    async with client_of(store) as http:
        with pytest.raises(StoreError, match="the disk is gone"):
            await http.get(f"{DEFAULT_PATH}/export", params=WS)
    assert "the response to export was cut short: the disk is gone" in caplog.text


async def test_an_export_that_nobody_waits_for_ends(store: Store, make_operation: MakeOperation) -> None:
    await store.add([make_operation() for _ in range(5)])
    listener = Listener()
    listener.leave()
    await listener.run(create_app(store, SECRET), f"{DEFAULT_PATH}/export?workspace_id=ws", as_whom(None))
    assert listener.is_over.is_set()


@asynccontextmanager
async def listening(
    store: Store, query: str = "workspace_id=ws", *, access: str | Access = SECRET, **headers: str
) -> AsyncGenerator[Listener, None]:
    """A live tail that has begun."""
    app = create_app(store, access, puts_reads_on_record=False)
    async with trio.open_nursery() as nursery:
        listener = Listener()
        nursery.start_soon(listener.run, app, f"{DEFAULT_PATH}/live?{query}", {**as_whom(None), **headers})
        with trio.fail_after(60):
            assert (await listener.chunk()).startswith(b"retry: 1000\nid: ")
            assert listener.status == 200
            yield listener
            listener.leave()
            await listener.is_over.wait()


async def test_what_arrives_is_shown_as_it_comes_and_from_where_a_client_was(store: Store, make_operation: MakeOperation) -> None:
    before, first, second, third = (make_operation(tool=tool) for tool in ("before", "first", "second", "third"))
    await store.add([before])
    async with listening(store) as listener:
        await store.add([first])
        await store.add([make_operation(workspace_id="elsewhere"), second])
        seen = [await listener.event() for _ in range(2)]
        assert [data["tool"] for _, data in seen] == ["first", "second"]
    await store.add([third])
    where = seen[0][0]
    for query, headers in ((f"workspace_id=ws&after={where}", {}), ("workspace_id=ws&after=0", {"Last-Event-ID": where})):
        async with listening(store, query, **headers) as listener:
            assert [(await listener.event())[1]["tool"] for _ in range(2)] == ["second", "third"]
    async with listening(store, f"workspace_id=ws&tool=third&q=THIRD&after={where}") as listener:
        assert (await listener.event())[1]["id"] == third.id


async def test_what_another_collector_stores_is_shown_too(
    store: Store, store_url: str, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_endpoint, "POLL_INTERVAL", 0.01)
    async with open_store(store_url) as other, listening(store) as listener:
        await other.add([operation := make_operation()])
        assert (await listener.event())[1]["id"] == operation.id


async def test_a_live_tail_that_is_asked_wrongly_says_so(http: httpx.AsyncClient) -> None:
    for query, headers, field in (
        ("workspace_id=ws&after=x", {}, "after"),
        ("workspace_id=ws", {"Last-Event-ID": "-1"}, "after"),
        ("workspace_id=ws&since=2026-01-31T12:00:00Z", {}, "since"),
        ("", {}, "workspace_id"),
    ):
        reply = await http.get(f"{DEFAULT_PATH}/live?{query}", headers=headers)
        assert (reply.status_code, reply.json()["field"]) == (400, field)
    assert (await http.head(f"{DEFAULT_PATH}/live", params=WS)).headers["Content-Type"] == "text/event-stream"


async def test_a_quiet_live_tail_says_where_it_is_now_and_then(
    store: Store, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_endpoint, "HEARTBEAT", 0.0)
    await store.add([make_operation()])
    async with listening(store) as listener:
        assert await listener.chunk() == b"id: 1\n\n"


async def test_there_is_a_limit_of_live_tails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endpoint, "LISTENERS_MAX", 0)
    async with client_of(store) as http:
        reply = await http.get(f"{DEFAULT_PATH}/live", params=WS)
    assert (reply.status_code, reply.json()) == (503, {"error": "too many live tails are open"})
    assert int(reply.headers["Retry-After"]) > 0


async def test_a_token_has_a_share_of_the_live_tails_and_the_secret_all_that_are_free(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_endpoint, "LISTENERS_MAX", 6)
    monkeypatch.setattr(_endpoint, "LISTENERS_OF_TOKEN_MAX", 2)
    app = create_app(store, access_for(), puts_reads_on_record=False)
    where = f"{DEFAULT_PATH}/live?workspace_id=ws"

    async def ask(headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://collector") as http:
            return await http.get(where, headers=headers)

    async with trio.open_nursery() as nursery:

        async def listen(token: str | None) -> Listener:
            listener = Listener()
            nursery.start_soon(listener.run, app, where, as_whom(token))
            await listener.chunk()
            assert listener.status == 200
            return listener

        first = [await listen("read-*") for _ in range(2)]
        reply = await ask(as_whom("read-*"))
        assert (reply.status_code, reply.json()) == (429, {"error": "the token has too many live tails open"})
        assert int(reply.headers["Retry-After"]) > 0
        # Shown in another header it is the same one.
        assert (await ask({"X-Internal-Secret": "read-*"})).status_code == 429
        first[0].leave()
        await first[0].is_over.wait()
        others = [await listen(token) for token in ("read-*", "audit-*", None, None, None)]
        assert (await ask(as_whom(None))).status_code == 503
        for listener in (*first, *others):
            listener.leave()


async def test_live_tails_that_come_at_once_are_counted_before_they_begin(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endpoint, "LISTENERS_MAX", 2)
    app = create_app(store, SECRET, puts_reads_on_record=False)
    listeners = [Listener() for _ in range(6)]
    for _ in range(2):  # the second time they find as much room as the first
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(listener.run, app, f"{DEFAULT_PATH}/live?workspace_id=ws", as_whom(None))
            for listener in listeners:
                await listener.chunk()
            assert sorted(listener.status for listener in listeners) == [200, 200, 503, 503, 503, 503]
            for listener in listeners:
                listener.leave()
        listeners = [Listener() for _ in range(6)]


async def test_a_live_tail_that_cannot_begin_takes_no_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(_endpoint, "LISTENERS_MAX", 1)
    monkeypatch.setattr(store, "add", fail)
    async with client_of(store) as http:
        for _ in range(3):
            reply = await http.get(f"{DEFAULT_PATH}/live", params=WS)
            assert (reply.status_code, reply.json()) == (503, {"error": "the store is unavailable"})


async def test_a_token_that_is_taken_away_ends_its_live_tail(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endpoint, "POLL_INTERVAL", 0.01)
    access = Access([SECRET])
    async with listening(store, access=access) as listener:
        access.replace(Access(["another"]))
        assert await listener.event() == ("", None)
