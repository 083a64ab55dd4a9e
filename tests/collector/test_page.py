"""The page as files: what is served, and under which headers.  What it does in a browser is in tests/browser."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import Mount

import trio_oplog.collector
from tests.collector.serving import SECRET, Listener, MakeOperation, access_for, as_whom, client_of, post
from trio_oplog.collector import DEFAULT_PATH, Store, create_app, open_store
from trio_oplog.collector._audit import AUDIT_WORKSPACE
from trio_oplog.collector._sign_in import create_local_app

FOLDER = Path(trio_oplog.collector.__file__).parent / "page"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.name != "index.html")
WS = {"workspace_id": "ws"}
BRIEF = {**WS, "payloads": "false"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store, None]:
    async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as opened:
        yield opened


@pytest.fixture
async def http(store: Store) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with client_of(store) as client:
        yield client


async def test_every_file_of_the_page_is_served_to_anybody_and_may_reach_nothing_else(http: httpx.AsyncClient) -> None:
    http.headers.pop("X-Internal-Secret")
    for path in ("/", *(f"/page/{name}" for name in FILES)):
        reply = await http.get(path)
        assert reply.status_code == 200, path
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Content-Type"] in (
            "text/html; charset=utf-8",
            "text/css; charset=utf-8",
            "text/javascript; charset=utf-8",
            "image/svg+xml",
        )
    assert (await http.get("/page/nothing.js")).status_code == 404
    assert (await http.post("/")).status_code == 405


async def test_a_file_that_the_browser_has_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/page/app.js")
    again = await http.get("/page/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await http.get("/page/app.js", headers={"If-None-Match": '"other"'})).status_code == 200
    head = await http.head("/")
    assert (head.status_code, head.content) == (200, b"")


def test_the_browser_is_told_of_every_script_at_once() -> None:
    told = re.findall(r'<link rel="modulepreload" href="page/([^"]+)">', (FOLDER / "index.html").read_text())
    assert told == [name for name in FILES if name.endswith(".js") and name != "app.js"]


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_a_file_of_the_page_has_no_code_in_its_markup_and_names_no_other_host(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    allowed = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"https?://[^\s\"'`<>)]+", text)) <= allowed
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
        ".cookie",
    ):
        assert word not in text, f"{name} uses {word}"
    if name == "index.html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


async def test_the_page_knows_where_its_endpoint_is(store: Store) -> None:
    for path, written in ((DEFAULT_PATH, "internal/operations"), ('/a"b/c/', "a&quot;b/c")):
        async with client_of(store, path=path) as http:
            assert f'<meta name="trio-oplog-endpoint" content="{written}">' in (await http.get("/")).text
    async with client_of(store, path="/") as http:
        assert (await http.get("/", params=WS)).json() == {"operations": []}
    mounted = Starlette(routes=[Mount("/log", create_app(store, SECRET))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=mounted), base_url="http://collector") as http:
        assert 'src="page/app.js"' in (await http.get("/log/")).text
        assert (await http.get("/log/page/app.js")).status_code == 200


async def test_whoever_asks_learns_what_they_may_do(store: Store) -> None:
    expected = {
        None: {"name": "shared secret", "role": "admin", "write": True, "payloads": True, "prune": True},
        "read-ws": {"name": "read-ws", "role": "read", "write": False, "payloads": False, "prune": False},
        "audit-ws": {"name": "audit-ws", "role": "audit", "write": False, "payloads": True, "prune": False},
    }
    for token, rights in expected.items():
        async with client_of(store, access_for("ws"), token=token) as http:
            assert (await http.get(f"{DEFAULT_PATH}/whoami")).json() == rights
            assert (await http.get(f"{DEFAULT_PATH}/whoami", params=WS)).status_code == 400
    async with client_of(store, access_for("ws"), token="write-ws") as http:
        assert (await http.get(f"{DEFAULT_PATH}/whoami")).status_code == 403


async def test_a_list_without_payloads_is_no_read_of_payloads(http: httpx.AsyncClient, make_operation: MakeOperation) -> None:
    await post(http, make_operation(arguments=b'{"a": "needle"}', result_summary="found"))

    async def on_record() -> int:
        reply = await http.get(DEFAULT_PATH, params={"workspace_id": AUDIT_WORKSPACE, "payloads": "false"})
        return len(reply.json()["operations"])

    [brief] = (await http.get(DEFAULT_PATH, params=BRIEF)).json()["operations"]
    assert not brief.keys() & {"arguments", "result_summary"}
    assert await on_record() == 0
    # Which calls hold a text says something of what they hold.
    [found] = (await http.get(DEFAULT_PATH, params={**BRIEF, "q": "needle"})).json()["operations"]
    assert found == brief
    assert await on_record() == 1
    [whole] = (await http.get(DEFAULT_PATH, params={**WS, "payloads": "true"})).json()["operations"]
    assert whole["result_summary"] == "found"
    assert await on_record() == 2
    assert (await http.get(DEFAULT_PATH, params={**WS, "payloads": "maybe"})).json()["field"] == "payloads"


async def test_a_link_signs_in_once_and_then_there_is_another(store: Store, make_operation: MakeOperation) -> None:
    codes: list[str] = []
    app, links = create_local_app(store, codes.append)
    await store.add([make_operation(arguments=b"1")])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:1") as http:

        async def exchange(code: str) -> httpx.Response:
            return await http.post("/exchange", headers={"Authorization": f"Bearer {code}"})

        assert (await exchange("")).status_code == 403  # before there is any link
        links.renew()
        assert (await exchange("guess")).status_code == 403
        assert (await http.post("/exchange")).status_code == 403
        reply = await exchange(codes[0])
        assert reply.status_code == 200
        assert (await exchange(codes[0])).status_code == 403
        assert len(codes) == 2
        assert (await exchange(codes[1])).text == reply.text
        http.headers["Authorization"] = f"Bearer {reply.text}"
        [shown] = (await http.get(DEFAULT_PATH, params=WS)).json()["operations"]
        assert shown["arguments"] == 1
        assert await store.workspaces() == ["ws"]  # one's own reading is not on record
        assert (await http.post(DEFAULT_PATH, json={})).status_code == 403
        assert (await http.get("/")).status_code == 200
        # A name of somebody else's that leads to this machine gets nothing, not even the page.
        for host in ("evil.example", "evil.example:1", "127.0.0.1.evil.example", "localhost.evil.example"):
            assert (await http.get("/", headers={"Host": host})).status_code == 400
            assert (await http.get(DEFAULT_PATH, params=WS, headers={"Host": host})).status_code == 400
        assert (await http.get("/", headers={"Host": "localhost:1"})).status_code == 200


async def test_a_live_tail_without_payloads_is_no_read_of_payloads(store: Store, make_operation: MakeOperation) -> None:
    app = create_app(store, SECRET)
    for query, on_record in (("payloads=false", []), ("payloads=false&q=needle", [AUDIT_WORKSPACE])):
        async with trio.open_nursery() as nursery:
            listener = Listener()
            nursery.start_soon(listener.run, app, f"{DEFAULT_PATH}/live?workspace_id=ws&{query}", as_whom(None))
            with trio.fail_after(60):
                await listener.chunk()
                await store.add([make_operation(arguments=b'"a needle"', result_summary="found")])
                _, shown = await listener.event()
                assert not shown.keys() & {"arguments", "result_summary"}
                listener.leave()
                await listener.is_over.wait()
        assert await store.workspaces() == sorted([*on_record, "ws"])
