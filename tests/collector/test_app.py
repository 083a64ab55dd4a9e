from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from tests.http import http_client, serve_on_loopback
from trio_oplog import ConfigError, Operation, StoreError, _wire
from trio_oplog.collector import DEFAULT_PATH, HTTPServer, Store, create_app, open_store

SECRET = "swordfish"
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
MIB = 1024 * 1024

MakeOperation = Callable[..., Operation]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "operations.sqlite3"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{file}") as opened:
        yield opened


@pytest.fixture
async def http(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(store, SECRET))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://collector", headers={"X-Internal-Secret": SECRET}
    ) as client:
        yield client


@pytest.fixture
async def endpoint(store: Store, nursery: trio.Nursery) -> str:
    """The URL of the app behind a real server."""
    return await serve_on_loopback(create_app(store, SECRET), nursery) + DEFAULT_PATH


async def listed(http: httpx.AsyncClient, **parameters: str) -> list[dict[str, Any]]:
    reply = await http.get(DEFAULT_PATH, params={"workspace_id": "ws", **parameters})
    assert reply.status_code == 200
    operations: list[dict[str, Any]] = reply.json()["operations"]
    return operations


async def test_a_posted_operation_is_stored_and_listed(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    operation = make_operation(arguments=b'{ "verbatim" : 1.0 }')
    reply = await http.post(DEFAULT_PATH, content=_wire.encode(operation), headers=JSON)
    assert (reply.status_code, reply.json()) == (201, {"id": operation.id})
    reply = await http.get(DEFAULT_PATH, params={"workspace_id": "ws"})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.content == b'{"operations":[' + _wire.encode(operation) + b"]}"


async def test_what_comes_in_odd_spelling_is_stored_in_ours_but_for_its_arguments(
    http: httpx.AsyncClient, make_operation: MakeOperation
) -> None:
    operation = make_operation(arguments=b'{ "a":\n1 }')
    odd = _wire.encode(operation).replace(b'"tool":"echo"', b'"novelty": [], \n "tool" : "\\u0065cho", "user_id": null')
    assert (await http.post(DEFAULT_PATH, content=odd, headers=JSON)).status_code == 201
    reply = await http.get(DEFAULT_PATH, params={"workspace_id": "ws"})
    assert reply.content == b'{"operations":[' + _wire.encode(operation) + b"]}"


async def test_a_repeated_id_is_answered_like_the_first_and_kept_as_it_was(
    http: httpx.AsyncClient, make_operation: MakeOperation
) -> None:
    first = make_operation(tool="first")
    again = make_operation(id=first.id, tool="again")
    replies = [await http.post(DEFAULT_PATH, content=_wire.encode(each), headers=JSON) for each in (first, again)]
    assert {(reply.status_code, reply.content) for reply in replies} == {(201, msgspec.json.encode({"id": first.id}))}
    assert [operation["tool"] for operation in await listed(http)] == ["first"]


async def test_every_filter_narrows_the_list(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    plain = make_operation()
    other = make_operation(tool="a+b&c", env_id="e", source="llm", is_error=True)
    elsewhere = make_operation(workspace_id="elsewhere")
    for operation in (plain, other, elsewhere):
        await http.post(DEFAULT_PATH, content=_wire.encode(operation), headers=JSON)
    assert len(await listed(http)) == 2
    assert len(await listed(http, tool="", env_id="", source="", is_error="", since="", id="", limit="")) == 2
    assert len(await listed(http, limit="1")) == 1
    for name, value in {"tool": "a+b&c", "env_id": "e", "source": "llm", "is_error": "true", "id": other.id}.items():
        assert [operation["id"] for operation in await listed(http, **{name: value})] == [other.id]
    assert [operation["id"] for operation in await listed(http, is_error="0")] == [plain.id]
    assert len(await listed(http, since="2026-01-31T13:00:00+01:00")) == 2
    assert await listed(http, since="2026-01-31T12:00:00.000001Z") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "workspace_id"),
        ("workspace_id=", "workspace_id"),
        ("workspace_id=ws&limit=0", "limit"),
        ("workspace_id=ws&limit=1001", "limit"),
        ("workspace_id=ws&limit=-1", "limit"),
        ("workspace_id=ws&limit=ten", "limit"),
        (f"workspace_id=ws&limit={'9' * 5000}", "limit"),
        ("workspace_id=ws&is_error=perhaps", "is_error"),
        ("workspace_id=ws&since=yesterday", "since"),
        ("workspace_id=ws&since=2026-02-30T00:00:00Z", "since"),
        ("workspace_id=ws&toll=echo", "toll"),
        ("workspace_id=ws&tool=a&tool=b", "tool"),
        (f"workspace_id=ws&tool={'x' * 1025}", "tool"),
    ],
)
async def test_a_bad_filter_is_named_and_its_value_not_repeated(http: httpx.AsyncClient, query: str, field: str) -> None:
    reply = await http.get(f"{DEFAULT_PATH}?{query}")
    assert reply.status_code == 400
    assert reply.json()["field"] == field
    assert not {"perhaps", "yesterday", "ten", "999"} & set(reply.json()["error"].split())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, "id"),
        ({"tool": 5}, "tool"),
        ({"duration_ms": "soon"}, "duration_ms"),
        ({"started_at": "soon"}, "started_at"),
        ({"result_meta": {"outcome": "soon"}}, "result_meta.outcome"),
        ({"result_meta": {"waited_ms": "soon"}}, "result_meta.waited_ms"),
        ({"result_meta": {"rounds": "soon"}}, "result_meta.rounds"),
        ({"result_meta": {"task_id": ["soon"]}}, "result_meta.task_id"),
        ({"result_meta": {"title": ["soon"]}}, "result_meta.title"),
        ({"result_meta": {"id_respelled": "soon"}}, "result_meta.id_respelled"),
        ({"result_meta": {"replaced": "soon"}}, "result_meta.replaced"),
        ({"context": "soon"}, "context"),
        ({"context": {"client": ["soon"]}}, "context.client"),
        ({"approval": "soon"}, "approval"),
        ({"approval": {"by": "client"}}, "approval.waited_ms"),
        ({"approval": {"by": "soon", "waited_ms": 0}}, "approval.by"),
        ({"approval": {"by": "client", "waited_ms": "soon"}}, "approval.waited_ms"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    http: httpx.AsyncClient, make_operation: MakeOperation, change: dict[str, Any], field: str
) -> None:
    document = json.loads(_wire.encode(make_operation())) | change
    reply = await http.post(DEFAULT_PATH, content=json.dumps(document), headers=JSON)
    assert reply.status_code == 400
    assert reply.json()["field"] == field
    assert "soon" not in reply.text
    assert await listed(http) == []


CONTEXT = {
    "client": "desk/1.2",
    "server": "files/3.4",
    "protocol": "2025-11-25",
    "session": "s-1",
    "transport": "stdio",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "parent_span_id": "b7ad6b7169203331",
}
APPROVAL = {"decision": "accept", "by": "client", "waited_ms": 2_000, "reason": "writes", "risk": "low", "count": 2}
RESULT_META = {"outcome": "unfetched", "waited_ms": 2_100, "rounds": 2, "task_id": "t", "title": "Read a file"}
FLAGS = {"id_respelled": True, "replaced": True}


@pytest.mark.parametrize(
    "change",
    [
        {"context": CONTEXT, "approval": APPROVAL, "result_meta": RESULT_META | FLAGS},
        {"approval": {"by": "none", "waited_ms": 0}},
        {},  # as an earlier version writes it
    ],
)
async def test_where_a_call_came_from_and_who_approved_it_are_listed_as_they_were_sent(
    http: httpx.AsyncClient, make_operation: MakeOperation, change: dict[str, Any]
) -> None:
    document = json.loads(_wire.encode(make_operation())) | change
    assert (await http.post(DEFAULT_PATH, content=json.dumps(document), headers=JSON)).status_code == 201
    line = json.loads(_wire.encode(make_operation())) | change
    reply = await http.post(DEFAULT_PATH, content=json.dumps(line) + "\n", headers=NDJSON)
    assert reply.json() == {"stored": [line["id"]], "refused": []}
    assert sorted(await listed(http), key=lambda operation: str(operation["id"])) == [document, line]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_object_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    reply = await http.post(DEFAULT_PATH, content=body, headers=JSON)
    assert reply.status_code == 400
    assert reply.json() == {"error": "the document is not a JSON object in UTF-8", "field": ""}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Internal-Secret": ""},
        {"X-Internal-Secret": "swordfisH"},
        {"X-Internal-Secret": "swordfish2"},
        {"X-Internal-Secret": "sw\xf6rdfish".encode("latin-1")},
        [("X-Internal-Secret", SECRET), ("X-Internal-Secret", SECRET)],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_the_secret_nothing_is_done(store: Store, make_operation: MakeOperation, method: str, headers: Any) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=create_app(store, SECRET))) as http:
        request = http.build_request(
            method, f"http://collector{DEFAULT_PATH}?workspace_id=ws", headers=headers, content=_wire.encode(make_operation())
        )
        reply = await http.send(request)
    assert reply.status_code == 401
    assert SECRET not in reply.text


@pytest.mark.parametrize("secret", ["", " ", "two\nlines", "schl\xfcssel"])
async def test_a_secret_that_lets_everybody_in_or_nobody_is_refused_at_the_start(store: Store, secret: str) -> None:
    with pytest.raises(ConfigError, match="secret"):
        create_app(store, secret)


async def test_the_path_is_the_gateways_choice(store: Store) -> None:
    app = create_app(store, SECRET, path="/log")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), headers={"X-Internal-Secret": SECRET}) as http:
        assert (await http.get("http://collector/log?workspace_id=ws")).status_code == 200
        assert (await http.get(f"http://collector{DEFAULT_PATH}?workspace_id=ws")).status_code == 404
    with pytest.raises(ConfigError, match="path must begin with /"):
        create_app(store, SECRET, path="log")


async def test_other_methods_are_not_allowed(http: httpx.AsyncClient) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        reply = await http.request(method, DEFAULT_PATH)
        assert reply.status_code == 405
        assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert (await http.head(f"{DEFAULT_PATH}?workspace_id=ws")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_of_another_kind_is_refused(
    http: httpx.AsyncClient, make_operation: MakeOperation, headers: dict[str, str]
) -> None:
    reply = await http.post(DEFAULT_PATH, content=_wire.encode(make_operation()), headers=headers)
    assert reply.status_code == 415
    assert await listed(http) == []


async def test_a_content_type_may_say_its_charset(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8", "Content-Encoding": "identity"}
    reply = await http.post(DEFAULT_PATH, content=_wire.encode(make_operation()), headers=headers)
    assert reply.status_code == 201


async def test_each_line_of_a_batch_is_stored_or_refused_by_itself(
    http: httpx.AsyncClient, make_operation: MakeOperation
) -> None:
    one, two = make_operation(), make_operation()
    lines = [
        _wire.encode(one),
        b"",
        b"{",
        b'{"id": "broken"}',
        _wire.encode(one).replace(b'"id":"' + one.id.encode() + b'"', b'"id":5'),
        _wire.encode(two) + b"\r",
        _wire.encode(one),
        b'{"id": "' + b"x" * 2000 + b'"}',
        b"",
    ]
    reply = await http.post(DEFAULT_PATH, content=b"\n".join(lines), headers=NDJSON)
    assert reply.status_code == 200
    assert reply.json() == {
        "stored": [one.id, two.id, one.id],
        "refused": [
            {"line": 3, "id": None, "error": "the document is not a JSON object in UTF-8"},
            {"line": 4, "id": "broken", "error": "workspace_id is missing", "field": "workspace_id"},
            {"line": 5, "id": None, "error": "id must be a string", "field": "id"},
            {"line": 8, "id": "x" * 1024, "error": "workspace_id is missing", "field": "workspace_id"},
        ],
    }
    assert {operation["id"] for operation in await listed(http)} == {one.id, two.id}


async def test_an_empty_batch_is_a_batch(http: httpx.AsyncClient) -> None:
    reply = await http.post(DEFAULT_PATH, content=b"", headers=NDJSON)
    assert (reply.status_code, reply.json()) == (200, {"stored": [], "refused": []})


async def test_a_batch_of_more_lines_than_records_could_have_is_refused(
    http: httpx.AsyncClient, make_operation: MakeOperation
) -> None:
    body = _wire.encode(make_operation()) + b"\n" * 20_001
    reply = await http.post(DEFAULT_PATH, content=body, headers=NDJSON)
    assert reply.status_code == 413
    assert await listed(http) == []


async def test_a_large_record_is_taken(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    operation = make_operation(arguments=b'"' + b"x" * (7 * MIB) + b'"')
    reply = await http.post(DEFAULT_PATH, content=_wire.encode(operation), headers=JSON)
    assert reply.status_code == 201
    large_but_wrong = b'{"id": 5' + b" " * MIB + b"}"
    assert (await http.post(DEFAULT_PATH, content=large_but_wrong, headers=JSON)).json()["field"] == "id"


async def spoken_to(endpoint: str, headers: str, body: bytes) -> bytes:
    """What a server says to a request that is left open after these bytes."""
    url = httpx.URL(endpoint)
    stream = await trio.open_tcp_stream(url.host, url.port or 0)
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: x\r\nX-Internal-Secret: {SECRET}\r\nContent-Type: application/json\r\n{headers}\r\n"
    )
    answer = b""
    async with stream:
        await stream.send_all(head.encode() + body)
        while b"}" not in answer:
            answer += await stream.receive_some()
    return answer


async def test_a_body_of_8_mib_is_read_and_one_that_says_it_is_longer_is_not(endpoint: str) -> None:
    async with http_client(headers={"X-Internal-Secret": SECRET, **JSON}) as http:
        assert (await http.post(endpoint, content=b"x" * (8 * MIB))).status_code == 400
    answer = await spoken_to(endpoint, f"Content-Length: {8 * MIB + 1}\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b'{"error":"the body is over 8 MiB"}')


async def test_a_body_of_unknown_length_is_refused_once_it_is_over_8_mib(endpoint: str) -> None:
    chunk = b"%x\r\n%b\r\n" % (MIB, b"x" * MIB)
    answer = await spoken_to(endpoint, "Transfer-Encoding: chunked\r\n", chunk * 8 + b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


async def test_of_a_body_that_is_cut_short_nothing_is_stored(endpoint: str, store: Store, make_operation: MakeOperation) -> None:
    body = _wire.encode(make_operation())
    url = httpx.URL(endpoint)
    stream = await trio.open_tcp_stream(url.host, url.port or 0)
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: x\r\nX-Internal-Secret: {SECRET}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {len(body) + 10}\r\n\r\n"
    )
    await stream.send_all(head.encode() + body + b"\n")
    await stream.aclose()
    async with http_client(headers={"X-Internal-Secret": SECRET}) as http:
        reply = await http.get(endpoint, params={"workspace_id": "ws"})
    assert reply.json() == {"operations": []}


@pytest.mark.parametrize("length", ["-1", "many"])
async def test_a_length_that_is_none_is_refused(http: httpx.AsyncClient, length: str) -> None:
    reply = await http.post(DEFAULT_PATH, content=b"{}", headers={**JSON, "Content-Length": length})
    assert reply.status_code == 413


async def test_a_sender_who_leaves_is_no_error(store: Store) -> None:
    app = create_app(store, SECRET)
    scope = {
        "type": "http",
        "method": "POST",
        "path": DEFAULT_PATH,
        "query_string": b"",
        "headers": [(b"x-internal-secret", SECRET.encode()), (b"content-type", b"application/json")],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_a_store_that_fails_answers_503_and_logs_no_payload(
    http: httpx.AsyncClient, file: Path, make_operation: MakeOperation, caplog: pytest.LogCaptureFixture
) -> None:
    intruder = sqlite3.connect(file)
    intruder.execute("ALTER TABLE workspaces RENAME TO elsewhere")
    operation = make_operation(tool="precious", arguments=b'"precious"')
    with caplog.at_level(logging.DEBUG):
        for reply in (
            await http.post(DEFAULT_PATH, content=_wire.encode(operation), headers=JSON),
            await http.post(DEFAULT_PATH, content=_wire.encode(operation), headers=NDJSON),
            await http.get(DEFAULT_PATH, params={"workspace_id": "precious"}),
        ):
            assert (reply.status_code, reply.json()) == (503, {"error": "the store is unavailable"})
    ours = [record for record in caplog.records if record.name.startswith("trio_oplog")]
    assert [record.getMessage() for record in ours if record.levelno == logging.ERROR] == [
        "the request store failed: the store cannot be used: SQLITE_ERROR",
        "the request store failed: the store cannot be used: SQLITE_ERROR",
        "the request list failed: the store cannot be used: SQLITE_ERROR",
    ]
    assert "precious" not in "".join(record.getMessage() for record in ours)
    intruder.execute("ALTER TABLE elsewhere RENAME TO workspaces")
    intruder.close()
    assert (await http.post(DEFAULT_PATH, content=_wire.encode(operation), headers=JSON)).status_code == 201


async def test_the_lifespan_of_the_app_opens_the_store_and_closes_it(file: Path) -> None:
    store = open_store(f"sqlite:///{file}")
    server = HTTPServer(create_app(store, SECRET))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        assert store._engine is not None
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}{DEFAULT_PATH}"
        async with http_client(headers={"X-Internal-Secret": SECRET}) as http:
            assert (await http.get(f"{url}?workspace_id=ws")).json() == {"operations": []}
        server.stop()
    assert store._engine is None


async def test_a_store_that_cannot_be_opened_ends_the_server_with_what_is_wrong(tmp_path: Path) -> None:
    server = HTTPServer(create_app(open_store(f"sqlite:///{tmp_path}/gone/operations.sqlite3"), SECRET))
    with pytest.raises(StoreError, match="No such file"):
        await server.serve(await trio.open_tcp_listeners(0, host="127.0.0.1"))


async def test_a_store_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    app = create_app(open_store(f"sqlite:///{tmp_path}/gone/operations.sqlite3"), SECRET)
    with pytest.raises(StoreError, match="No such file"):
        async with app.router.lifespan_context(app):
            pass  # pragma: no cover
