"""Who may do what: every route by every role in every workspace; what is on record; and what a reader never sees."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from tests.collector.serving import NDJSON, SECRET, Listener, access_for, as_whom, client_of
from trio_oplog import Approval, ConfigError, DecidedBy, ListQuery, Operation, ResultMeta, TokenFileError, _wire
from trio_oplog._tokens import new_token
from trio_oplog.collector import DEFAULT_PATH, Access, Grant, Role, Store, create_app, open_store
from trio_oplog.collector._schema import operations, workspaces

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}
PAYLOAD = "Zzyzx"
"""What only arguments and results have."""


def operation(number: int, workspace: str) -> Operation:
    """One with a payload in each place that has one."""
    text = f"{PAYLOAD} {number}"
    return Operation(
        id=f"id-{number}",
        workspace_id=workspace,
        source="sdk",
        env_id="local",
        tool="echo",
        is_error=False,
        started_at=NOON + timedelta(seconds=number),
        completed_at=NOON,
        duration_ms=0,
        user_id="ada",
        arguments=json.dumps({PAYLOAD: [text]}).encode(),
        result_summary=text,
        result_meta=ResultMeta(truncated=True, total_bytes=9, sha256=PAYLOAD.encode().hex().ljust(64, "0"), title=text),
        approval=Approval(by=DecidedBy.CLIENT, decision="accept", waited_ms=1, reason=text, risk=text),
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store, None]:
    async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as opened:
        await opened.add([operation(1, "mine"), operation(2, "theirs")])
        yield opened


READERS = (Role.READ, Role.AUDIT, Role.ADMIN)
WRITERS = (Role.WRITE, Role.ADMIN)
# Of each route: its method, its address with {workspace}, who may, and what it says where there is nothing.
ROUTES = {
    "list": ("GET", "?workspace_id={workspace}", READERS, {"operations": []}),
    "prefix": ("GET", "?workspace_id={workspace}&id_prefix=id-", READERS, {"operations": []}),
    "slowest": ("GET", "/slowest?workspace_id={workspace}", READERS, {"operations": []}),
    "get": ("GET", "/id-{number}?workspace_id={workspace}", READERS, None),
    "stats": ("GET", "/stats?workspace_id={workspace}&by=tool", READERS, {"by": "tool", "groups": []}),
    "workspaces": ("GET", "/workspaces", READERS, None),
    "export": ("GET", "/export?workspace_id={workspace}", READERS, b""),
    "csv": ("GET", "/export?workspace_id={workspace}&format=csv", READERS, b""),
    "prune": ("POST", "/prune?workspace_id={workspace}&before=2027-01-01T00:00:00Z&dry_run=1", (Role.ADMIN,), None),
    "prune all": ("POST", "/prune?before=2027-01-01T00:00:00Z&dry_run=1", (Role.ADMIN,), None),
    "store": ("POST", "", WRITERS, None),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("where", ["*", "mine"])
@pytest.mark.parametrize("role", [*Role, None])
async def test_each_role_does_what_it_may_in_its_workspaces_and_nothing_else(
    store: Store, route: str, where: str, role: Role | None
) -> None:
    method, address, allowed, nothing = ROUTES[route]
    is_everywhere = where == "*" or role is None
    async with client_of(store, access_for("mine"), token=None if role is None else f"{role}-{where}") as http:
        for number, workspace in enumerate(("mine", "theirs"), 1):
            body = _wire.encode(operation(number + 10, workspace)) if route == "store" else None
            path = address.format(workspace=workspace, number=number)
            reply = await http.request(method, f"{DEFAULT_PATH}{path}", headers=JSON, content=body)
            if role is not None and role not in allowed:
                assert reply.status_code == 403
                assert reply.json() == {"error": f"a token with the role {role} may not do this"}
            elif route == "workspaces":
                seen = {"mine", "theirs"} if is_everywhere else {"mine"}
                assert set(reply.json()["workspaces"]) - {"trio-oplog"} == seen
            elif route == "prune all":
                assert reply.status_code == (200 if is_everywhere else 400)
            elif is_everywhere or workspace == "mine":
                assert reply.status_code == (201 if route == "store" else 200)
                found = reply.content.count(b"id-") if route not in ("stats", "prune") else 1
                assert found == 1
                sees = route in ("list", "prefix", "slowest", "get", "export", "csv") and role is not Role.READ
                assert (PAYLOAD in reply.text) is sees
            elif route == "store":
                assert (reply.status_code, reply.json()["field"]) == (422, "workspace_id")
            elif route == "get":
                assert reply.status_code == 404
            elif route == "prune":
                assert reply.json()["records"] == 0
            elif route == "csv":
                assert reply.text.count("\r\n") == 1
            else:
                assert (reply.content if nothing == b"" else reply.json()) == nothing


@pytest.mark.parametrize("where", ["*", "mine"])
@pytest.mark.parametrize("role", [*Role, None])
async def test_a_live_tail_shows_each_role_what_it_may_see(store: Store, where: str, role: Role | None) -> None:
    app = create_app(store, access_for("mine"))
    for number, workspace in enumerate(("mine", "theirs"), 20):
        listener = Listener()
        async with trio.open_nursery() as nursery:
            address = f"{DEFAULT_PATH}/live?workspace_id={workspace}"
            nursery.start_soon(listener.run, app, address, as_whom(None if role is None else f"{role}-{where}"))
            first = await listener.chunk()
            if role is Role.WRITE:
                assert listener.status == 403
            else:
                assert first.startswith(b"retry:")
                await store.add([operation(number, workspace)])
                if role is None or where == "*" or workspace == "mine":
                    _, shown = await listener.event()
                    assert (shown["id"], "arguments" in shown) == (f"id-{number}", role is not Role.READ)
                else:
                    with trio.move_on_after(0.3):
                        await listener.event()
                        raise AssertionError("something was shown")
            listener.leave()


async def test_a_batch_is_refused_line_by_line_where_a_token_is_not_for_it(store: Store) -> None:
    lines = b"\n".join(_wire.encode(operation(30 + number, name)) for number, name in enumerate(("mine", "theirs", "trio-oplog")))
    for token, refused in (
        ("write-mine", ["is none that the token is for", "is the collector's own"]),
        (None, ["is the collector's own"]),
    ):
        async with client_of(store, access_for("mine"), token=token) as http:
            reply = (await http.post(DEFAULT_PATH, content=lines, headers=NDJSON)).json()
        assert [line["error"] for line in reply["refused"]] == [f"workspace_id {problem}" for problem in refused]
        assert {line["field"] for line in reply["refused"]} == {"workspace_id"}
    assert await store.find(ListQuery(workspace_id="trio-oplog")) == []


async def test_a_record_without_payload_is_whole_but_for_that(store: Store) -> None:
    async with client_of(store, access_for("mine"), token="read-mine") as http:
        shown = (await http.get(f"{DEFAULT_PATH}/id-1", params={"workspace_id": "mine"})).json()
        [plain] = [await http.get(DEFAULT_PATH, params={"workspace_id": "mine", "q": text}) for text in (PAYLOAD.lower(),)]
        found = await http.get(DEFAULT_PATH, params={"workspace_id": "mine", "q": "ECHO"})
    whole = json.loads(_wire.encode(operation(1, "mine")))
    for name in ("arguments", "result_summary"):
        del whole[name]
    del whole["result_meta"]["sha256"], whole["result_meta"]["title"], whole["approval"]["reason"], whole["approval"]["risk"]
    assert shown == whole
    assert plain.json() == {"operations": []}
    assert found.json() == {"operations": [whole]}


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            b'{"id":"x","tool":"t","is_error":true,"result_summary":"Zzyzx","new":"Zzyzx"}',
            {"id": "x", "tool": "t", "is_error": True},
        ),
        (b'{"id":["Zzyzx"]}', {}),
        (b"Zzyzx", {}),
    ],
)
async def test_a_record_that_cannot_be_read_keeps_no_reader_from_the_others(
    store: Store, body: bytes, shown: dict[str, Any]
) -> None:
    def replace(connection: Connection) -> None:
        mine = select(workspaces.c.number).where(workspaces.c.name == "mine").scalar_subquery()
        connection.execute(update(operations).where(operations.c.workspace == mine, operations.c.id == "id-1").values(body=body))

    whole = len(await store.find(ListQuery(workspace_id="mine")))
    await store._alone(replace)
    async with client_of(store, access_for("mine"), token="read-mine") as http:
        found = (await http.get(DEFAULT_PATH, params={"workspace_id": "mine"})).json()["operations"]
        exported = await http.get(f"{DEFAULT_PATH}/export", params={"workspace_id": "mine"})
        searched = await http.get(DEFAULT_PATH, params={"workspace_id": "mine", "q": PAYLOAD})
    assert len(found) == whole
    assert shown in found
    assert searched.json() == {"operations": []}
    assert [json.loads(line) for line in exported.text.splitlines()] == found


@pytest.mark.parametrize("path", ["", "/export", "/live"])
async def test_a_workspace_that_is_not_for_a_token_is_not_even_looked_at(
    store: Store, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it was looked at")

    monkeypatch.setattr("trio_oplog.collector._queries.ask", refuse)
    wrong = "after" if path == "/live" else "cursor"
    async with client_of(store, access_for("mine"), token="audit-mine") as http:
        for workspace in ("theirs", "none"):
            where = {"workspace_id": workspace, "q": PAYLOAD}
            reply = await http.get(f"{DEFAULT_PATH}{path}", params={**where, wrong: "x"})
            assert (reply.status_code, reply.json()["field"]) == (400, wrong)
            more = {"after": "0"} if path == "/live" else {}
            assert (await http.head(f"{DEFAULT_PATH}{path}", params={**where, **more})).status_code == 200


async def on_record(store: Store) -> list[dict[str, Any]]:
    found = await store.find(ListQuery(workspace_id="trio-oplog", limit=1000))
    return [json.loads(body) for body in reversed(found)]


async def test_every_read_of_payloads_and_every_deletion_is_on_record(store: Store) -> None:
    where = {"workspace_id": "mine"}
    reads = [
        ("", where),
        ("/id-1", where),
        ("/export", where),
        ("", {**where, "tool": "none"}),
        ("/slowest", where),
        ("/slowest", {**where, "payloads": "false"}),
        ("/stats", {**where, "by": "tool"}),
    ]
    for token in ("read-mine", "audit-*"):
        async with client_of(store, access_for("mine"), token=token) as http:
            for path, parameters in reads:
                assert (await http.get(f"{DEFAULT_PATH}{path}", params=parameters)).status_code == 200
    prune = {"before": "2026-02-01T00:00:00Z", "workspace_id": "mine"}
    async with client_of(store, access_for("mine"), token="admin-mine") as http:
        for more in ({"dry_run": "true"}, {}, {}):
            reply = await http.post(f"{DEFAULT_PATH}/prune", params=prune | more)
            assert reply.status_code == 200
    records = await on_record(store)
    assert [
        (each["tool"], each["user_id"], each["arguments"], each["result_summary"]) for each in records if "result_summary" in each
    ] == [
        ("audit/read", "audit-*", {"route": "list", **where}, "1 operation"),
        ("audit/read", "audit-*", {"route": "get", **where, "id": "id-1"}, "1 operation"),
        ("audit/read", "audit-*", {"route": "slowest", **where}, "1 operation"),
        ("audit/prune", "admin-mine", {"before": "2026-02-01", **where}, "1 operation to delete"),
    ]
    assert [each["arguments"] for each in records if "result_summary" not in each] == [{"route": "export", **where}]
    assert await store.find(ListQuery(workspace_id="mine")) == []
    assert len(await store.find(ListQuery(workspace_id="theirs"))) == 1


async def test_a_deletion_that_is_asked_for_carelessly_deletes_nothing(store: Store) -> None:
    async with client_of(store, access_for("mine")) as http:
        for wrong in ({"workspace_id": ""}, {"workspace_id": "mine", "dry_run": ""}, {"before": ""}):
            reply = await http.post(f"{DEFAULT_PATH}/prune", params={"before": "2026-02-01T00:00:00Z"} | wrong)
            assert (reply.status_code, reply.json()["error"]) == (400, f"{list(wrong)[-1]} must not be empty")
        for pattern in ("*", "%", "m_ne", "mine "):
            parameters = {"before": "2026-02-01T00:00:00Z", "workspace_id": pattern}
            assert (await http.post(f"{DEFAULT_PATH}/prune", params=parameters)).json()["records"] == 0
    for workspace in ("mine", "theirs"):
        assert len(await store.find(ListQuery(workspace_id=workspace))) == 1


async def test_a_live_tail_is_on_record_once(store: Store) -> None:
    app = create_app(store, access_for("mine"))
    listener = Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run, app, f"{DEFAULT_PATH}/live?workspace_id=trio-oplog", as_whom("audit-*"))
        # It sees itself, and that no more.
        _, shown = await listener.event()
        listener.leave()
    assert [each["id"] for each in await on_record(store)] == [shown["id"]]
    assert shown["arguments"] == {"route": "live", "workspace_id": "trio-oplog"}


async def test_what_cannot_be_put_on_record_is_not_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(batch: object) -> None:
        from trio_oplog import StoreError

        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "add", fail)
    async with client_of(store) as http:
        reply = await http.get(DEFAULT_PATH, params={"workspace_id": "mine"})
    assert reply.status_code == 503
    assert PAYLOAD not in reply.text


names = st.sampled_from(["mine", "theirs", "trio-oplog", "other"])
texts = st.sampled_from([PAYLOAD, "echo", "z", "sdk", "ada", "accept", "any", "ok", "1", "0", "x", "id-"])
parameter_names = [
    *("env_id", "tool", "source", "user_id", "thread_id", "outcome", "client", "approval", "q", "id", "id_prefix"),
    *("is_error", "limit", "since", "until", "cursor", "by", "format", "after", "before", "dry_run"),
]
steps = st.tuples(
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "DELETE"]),
    st.sampled_from(["", "/stats", "/slowest", "/workspaces", "/export", "/prune", "/id-1", "/id-2", "/nothing", "/../metrics"]),
    st.none() | names,
    st.dictionaries(st.sampled_from(parameter_names), texts | st.just("2026-01-31T12:00:00Z") | st.just("csv"), max_size=3),
    st.booleans(),
)


@pytest.mark.once
def test_a_random_walk_with_a_token_for_reading_finds_no_byte_of_a_payload(tmp_path: Path) -> None:
    """Law: whatever a token with the role read asks, no answer has a part of arguments or results."""

    @given(walk=st.lists(steps, min_size=1, max_size=12), token=st.sampled_from(["read-*", "read-mine"]))
    @settings(max_examples=60)
    def holds_for(walk: list[Any], token: str) -> None:
        async def run() -> None:
            async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as store:
                await store.add([operation(1, "mine"), operation(2, "theirs")])
                async with client_of(store, access_for("mine")) as http:  # something of the auditor's to find
                    await http.get(DEFAULT_PATH, params={"workspace_id": "mine", "q": PAYLOAD})
                async with client_of(store, access_for("mine"), token=token) as http:
                    await wander(http, walk)

        trio.run(run)

    holds_for()


async def wander(http: httpx.AsyncClient, walk: list[Any]) -> None:
    cursor = ""
    for method, path, workspace, parameters, goes_on in walk:
        asked = {**({} if workspace is None else {"workspace_id": workspace}), **parameters}
        if goes_on and cursor:
            asked["cursor"] = cursor
        reply = await http.request(method, f"{DEFAULT_PATH}{path}", params=asked, headers=JSON, content=b"{}")
        assert PAYLOAD not in reply.text
        assert PAYLOAD.encode().hex() not in reply.text
        assert not any(PAYLOAD in value for value in reply.headers.values())
        if reply.status_code == 200 and reply.headers.get("Content-Type") == "application/json" and method == "GET":
            cursor = reply.json().get("next", cursor)


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer nobody"}, {"Authorization": "Basic read-mine"}, {}, {"X-Internal-Secret": ""}]
)
@pytest.mark.parametrize("route", [*ROUTES, "metrics"])
async def test_without_a_token_nothing_is_done(store: Store, route: str, headers: dict[str, str]) -> None:
    method, address = ROUTES[route][:2] if route in ROUTES else ("GET", "")
    path = f"{DEFAULT_PATH}{address.format(workspace='mine', number=1)}" if route in ROUTES else "/metrics"
    async with client_of(store, access_for("mine")) as http:
        del http.headers["X-Internal-Secret"]
        reply = await http.request(method, path, headers=headers)
    assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_token_may_be_shown_like_the_secret_but_only_one_at_a_time(store: Store) -> None:
    async with client_of(store, access_for("mine")) as http:
        del http.headers["X-Internal-Secret"]
        for headers, status in (
            ({"X-Internal-Secret": "read-mine"}, 200),
            ({"Authorization": "bearer  read-mine "}, 200),
            ({"Authorization": f"Bearer {SECRET}"}, 200),
            ({"X-Internal-Secret": "read-mine", "Authorization": "Bearer read-mine"}, 401),
        ):
            assert (await http.get(DEFAULT_PATH, params={"workspace_id": "mine"}, headers=headers)).status_code == status


async def test_two_secrets_let_in_while_they_are_changed(store: Store) -> None:
    access = Access(["new", "old"])
    for secret in ("new", "old"):
        async with client_of(store, access) as http:
            http.headers["X-Internal-Secret"] = secret
            assert (await http.get(f"{DEFAULT_PATH}/workspaces")).status_code == 200


def entry(**changes: Any) -> str:
    values = {"sha256": "0" * 64, "name": "grafana", "role": "read", "workspaces": ["mine"]} | changes
    return (
        "[[token]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None) + "\n"
    )


def test_a_file_of_tokens_says_who_may_do_what(tmp_path: Path) -> None:
    token, digest = new_token()
    other, other_digest = new_token()
    file = tmp_path / "tokens.toml"
    file.write_text(entry(sha256=digest) + entry(sha256=other_digest, role="admin", workspaces="*"))
    access = Access.read(file, secrets=[SECRET])
    assert access.find(token.encode()) == Grant(name="grafana", role=Role.READ, workspaces=frozenset({"mine"}))
    assert access.find(other.encode()) == Grant(name="grafana", role=Role.ADMIN)
    assert access.find(SECRET.encode()) == Grant(name="shared secret", role=Role.ADMIN, is_shared=True)
    assert access.find(b"nobody") is None
    assert repr(access) == "<Access for 3 secrets and tokens>"
    access.replace(Access.read(file))
    assert access.find(SECRET.encode()) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the token file must hold"),
        ("[[token", "the token file is not TOML"),
        ("a = " + "[" * 100_000, "the token file is not TOML"),
        (entry(role=None), "token 1 must have the keys sha256, name, role, workspaces"),
        (entry(role="owner"), "role of token 1 must be one of write, read, audit, admin"),
        (entry(name=""), "name of token 1 must be a non-empty string"),
        (entry(name="a\nb"), "name of token 1 must be printable text"),
        (entry(workspaces=[]), r'workspaces of token 1 must be "\*" or a list of non-empty strings'),
        (entry(workspaces=[""]), "workspaces of token 1"),
        (entry(workspaces="mine"), "workspaces of token 1"),
        (entry() + entry(), "token 2 is there twice"),
        (entry(sha256="0" * 63), "sha256 of token 1 must be 64"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_quotes_nothing(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "tokens.toml").write_text(content)
    with pytest.raises(TokenFileError, match=problem):
        Access.read(tmp_path / "tokens.toml")


def test_access_for_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="secrets must hold one where there are no tokens"):
        Access()
    with pytest.raises(ConfigError, match="secret must be non-empty"):
        Access([""])


async def test_a_token_covers_a_workspace_whatever_the_store_calls_it(store: Store) -> None:
    long = "w" * 1_001
    await store.add([operation(1, long)])
    token = {bytes(32): Grant(name="x", role=Role.READ, workspaces=frozenset({long}))}
    [name] = [each for each in await store.workspaces() if each.startswith("w")]
    assert name != long
    grant = Access(tokens=token)._entries[0][1]
    assert grant.covered(await store.workspaces()) == [name]
    # And nobody else's does, who has a workspace that is called like what the store makes of the name.
    spelled = evolve(grant, workspaces=frozenset({name}))
    assert spelled.covered(await store.workspaces()) == []
    assert await store.find(ListQuery(workspace_id=name)) == []
