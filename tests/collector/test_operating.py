"""Running a collector: whether it lives and works, what it counts, what it logs, slow clients, and any event loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
import httpx
import psycopg
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from tests.collector.serving import NDJSON, SECRET, Listener, MakeOperation, access_for, as_whom, client_of, post
from trio_oplog import Operation, StoreError, _wire
from trio_oplog.collector import DEFAULT_PATH, Store, create_app, open_store

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def store(store_url: str) -> AsyncGenerator[Store, None]:
    async with open_store(store_url) as opened:
        yield opened


async def test_a_collector_says_that_it_lives_and_that_its_store_works(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trio_oplog.collector._app._HEALTH_INTERVAL", 0.0)
    async with client_of(store) as http:
        del http.headers["X-Internal-Secret"]
        for path in ("/healthz", "/readyz"):
            assert (await http.get(path)).json() == {"status": "ok"}

        async def fail() -> None:
            raise StoreError("the disk of db.internal is full")

        monkeypatch.setattr(store, "check", fail)
        assert (await http.get("/healthz")).status_code == 200
        reply = await http.get("/readyz")
    assert (reply.status_code, reply.json()) == (503, {"status": "the store is unavailable"})
    assert "not ready: the disk of db.internal is full" in caplog.text


async def test_strangers_who_ask_whether_the_store_works_have_it_looked_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._app._HEALTH_INTERVAL", 3_600.0)
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        await trio.testing.wait_all_tasks_blocked()

    monkeypatch.setattr(store, "check", look)
    async with client_of(store) as http, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(http.get, "/readyz")
    assert looks == 1


async def test_a_length_of_thousands_of_digits_is_too_long(store: Store) -> None:
    async with client_of(store) as http:
        reply = await http.post(DEFAULT_PATH, content=b"{}", headers={**JSON, "Content-Length": "1" * 5_000})
    assert reply.status_code == 413


async def test_a_read_only_server_is_not_ready_and_is_left(make_database: Callable[[], str], postgresql_server: str) -> None:
    url = make_database()
    name = url.partition("@/")[2].partition("?")[0]
    async with open_store(url) as store:
        await store.check()
        with psycopg.connect(f"host={postgresql_server} user=oplog dbname=postgres", autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
            await store.check()  # as a connection of before still may
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            with pytest.raises(StoreError, match="25006: the PostgreSQL server is read-only"):
                await store.check()
            admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
        await store.check()


def metrics_of(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_what_happens_is_counted_for_prometheus(store: Store, make_operation: MakeOperation) -> None:
    app = create_app(store, access_for("ws"), puts_reads_on_record=False)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://collector", headers=as_whom(None)) as http:
        assert metrics_of((await http.get("/metrics")).text)[("trio_oplog_oldest_day_timestamp_seconds",)] == 0
        first, second = make_operation(), make_operation()
        await post(http, first, second)
        assert (await http.post(DEFAULT_PATH, content=_wire.encode(first) + b"\n{}", headers=NDJSON)).status_code == 200
        assert (await http.post(DEFAULT_PATH, content=_wire.encode(first), headers=JSON)).status_code == 201
        for headers in ({"X-Internal-Secret": "none"}, {}):
            await http.get(DEFAULT_PATH, headers=headers)
        await http.request("BREW", DEFAULT_PATH)
        await http.get("/nowhere")
        listener = Listener()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run, app, f"{DEFAULT_PATH}/live?workspace_id=ws", as_whom(None))
            await listener.chunk()
            during = metrics_of((await http.get("/metrics")).text)
            listener.leave()
        reply = await http.get("/metrics")
        assert reply.headers["Content-Type"].startswith("text/plain; version=")
        after = metrics_of(reply.text)
        assert (await http.get("/metrics?workspace_id=ws")).status_code == 400
    assert (during[("trio_oplog_live_listeners",)], after[("trio_oplog_live_listeners",)]) == (1, 0)
    for name, value in {
        ("trio_oplog_operations_acknowledged_total",): 4,
        ("trio_oplog_lines_refused_total",): 1,
        ("trio_oplog_batch_operations_count",): 3,
        ("trio_oplog_batch_operations_sum",): 5,
        ("trio_oplog_requests_refused_total", "unauthorized"): 1,
        ("trio_oplog_requests_refused_total", "malformed"): 1,
        ("trio_oplog_requests_refused_total", "method"): 1,
        ("trio_oplog_requests_refused_total", "not_found"): 1,
        ("trio_oplog_requests_refused_total", "store"): 0,
        ("trio_oplog_request_seconds_count", "POST", "store"): 3,
        ("trio_oplog_request_seconds_count", "GET", "live"): 1,
        ("trio_oplog_request_seconds_count", "other", "none"): 1,
        ("trio_oplog_oldest_day_timestamp_seconds",): 1_769_817_600,  # 2026-01-31
    }.items():
        assert after[name] == value, name
    assert after[("trio_oplog_store_bytes",)] > 10_000
    assert "ws" not in {label for name in after for label in name}


async def test_metrics_are_for_whoever_may_read_everywhere(store: Store) -> None:
    for token, status in (("read-*", 200), ("audit-*", 200), ("read-ws", 403), ("write-*", 403), (None, 200)):
        async with client_of(store, access_for("ws"), token=token) as http:
            assert (await http.get("/metrics")).status_code == status


async def test_each_request_is_logged_without_its_parameters(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trio_oplog.collector.access"):
        async with client_of(store, access_for("ws"), token="read-ws") as http:
            await http.get(f"{DEFAULT_PATH}/a%0Ab%20é", params={"workspace_id": "precious"})
            await http.get(f"{DEFAULT_PATH}/{'x' * 300}", params={"workspace_id": "precious"})
    first, second = (record.getMessage() for record in caplog.records if record.name == "trio_oplog.collector.access")
    assert first.startswith(f"127.0.0.1 - GET {DEFAULT_PATH}/a%0Ab%20%C3%A9 404 ")
    assert len(second) < 350
    assert "precious" not in caplog.text.replace("httpx", "")[: len(first)]


async def test_an_app_that_fails_is_logged_as_what_the_server_says(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO, "trio_oplog.collector.access"):
        async with client_of(store) as http:
            store.workspaces = fail  # type: ignore[method-assign]
            with pytest.raises(ZeroDivisionError):
                await http.get(f"{DEFAULT_PATH}/workspaces")
    assert "GET /internal/operations/workspaces 500 0 bytes" in caplog.text


async def test_a_body_that_comes_too_slowly_is_given_up(
    store: Store, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._bodies.BODY_TIMEOUT", 0.0)
    sent: list[Any] = []

    async def receive() -> Any:
        return await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-internal-secret", SECRET.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": DEFAULT_PATH, "query_string": b"", "headers": headers}
    await create_app(store, SECRET)(scope, receive, send)
    assert (sent[0]["status"], sent[1]["body"]) == (408, b'{"error":"the body is too slow"}')


async def _use(url: str, operation: Operation) -> None:
    """Everything that an app does, on whatever event loop this is."""
    async with open_store(url) as store:
        app = create_app(store, SECRET)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://collector", headers=as_whom(None)) as http:
                await post(http, operation)
                for path in ("", f"/{operation.id}", "/stats?by=tool", "/export", "/export?format=csv"):
                    reply = await http.get(f"{DEFAULT_PATH}{path}", params={"workspace_id": "ws"})
                    assert reply.status_code in (200, 400), reply.text
                for path in (f"{DEFAULT_PATH}/workspaces", "/metrics", "/readyz"):
                    assert (await http.get(path)).status_code == 200
                many = [evolved(operation, number) for number in range(100)]
                async with anyio.create_task_group() as group:
                    for start in range(0, 100, 20):
                        group.start_soon(post_all, http, many[start : start + 20])
                reply = await http.post(f"{DEFAULT_PATH}/prune", params={"before": "2027-01-01T00:00:00Z", "workspace_id": "ws"})
                assert reply.json()["records"] == 101
        await _listen(app, store, operation)


def evolved(operation: Operation, number: int) -> Operation:
    from attrs import evolve

    return evolve(operation, id=f"many-{number}")


async def post_all(http: httpx.AsyncClient, operations: list[Operation]) -> None:
    await post(http, *operations)


async def _listen(app: Callable[..., Awaitable[None]], store: Store, operation: Operation) -> None:
    """A live tail that sees an operation and is left."""
    left = anyio.Event()
    came = b""

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal came
        came += message.get("body", b"")
        if came.count(b"retry") and not came.count(b"data: "):
            await store.add([evolved(operation, 1_000)])
        elif b"data: " in came:
            left.set()

    headers = [(b"x-internal-secret", SECRET.encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"{DEFAULT_PATH}/live",
        "query_string": b"workspace_id=ws",
        "headers": headers,
    }
    with anyio.fail_after(60):
        await app(scope, receive, send)
    assert b"many-1000" in came


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_app_runs_on_either_event_loop(store_url: str, make_operation: MakeOperation, backend: str) -> None:
    anyio.run(_use, store_url, make_operation(), backend=backend)
