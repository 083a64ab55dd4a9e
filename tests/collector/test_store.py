from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from trio_oplog import ConfigError, ListQuery, Operation, QueryError, StoreError, StoreVersionError, WireError, _wire
from trio_oplog.collector import open_store
from trio_oplog.collector._database import Database
from trio_oplog.collector._databases import begin_log_anew, log_size, open_engine, parse_url
from trio_oplog.collector._rows import key

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVERYTHING = ListQuery(workspace_id="ws", limit=1000)

MakeOperation = Callable[..., Operation]


def ids(bodies: list[bytes]) -> list[str]:
    return [json.loads(body)["id"] for body in bodies]


async def test_a_record_comes_back_byte_for_byte(store_url: str, make_operation: MakeOperation) -> None:
    arguments = b'{ "b" : 1.50, "a" : "\\ud800\\u0000", \n "big": 9007199254740993 }'
    operation = make_operation(arguments=arguments, result_summary="tab\t nul\0 snow\u2603", tool="\U0001f600")
    async with open_store(store_url) as store:
        await store.add([operation])
        [body] = await store.find(EVERYTHING)
    assert body == _wire.encode(operation)
    assert arguments in body


async def test_a_record_is_kept_once_however_often_it_is_added(store_url: str, make_operation: MakeOperation) -> None:
    first, other = make_operation(tool="first"), make_operation()
    async with open_store(store_url) as store:
        await store.add([first])
        await store.add([make_operation(id=first.id, tool="second"), other, other])
        found = await store.find(EVERYTHING)
    assert found == [_wire.encode(other), _wire.encode(first)]


async def test_the_newest_come_first_and_of_equals_the_last_to_arrive(store_url: str, make_operation: MakeOperation) -> None:
    early = make_operation(started_at=NOON - SECOND)
    late = make_operation(started_at=NOON + SECOND)
    one, two = make_operation(), make_operation()
    async with open_store(store_url) as store:
        await store.add([late, one])
        await store.add([early, two])
        assert ids(await store.find(EVERYTHING)) == [late.id, two.id, one.id, early.id]
        assert ids(await store.find(ListQuery(workspace_id="ws", limit=2))) == [late.id, two.id]


async def test_texts_that_no_database_indexes_are_found_as_exactly_as_others(
    store_url: str, make_operation: MakeOperation
) -> None:
    names = ["nul\0", "nul\ufffd", "nul", "long" * 256, "long" * 255 + "lonG", "\u2603" * 341]
    async with open_store(store_url) as store:
        await store.add([make_operation(tool=name, env_id=name, source=name, id=name) for name in names])
        for name in names:
            query = ListQuery(workspace_id="ws", tool=name, env_id=name, source=name, id=name)
            assert ids(await store.find(query)) == [name]


async def test_a_workspace_of_any_name_can_be_indexed(store_url: str, make_operation: MakeOperation) -> None:
    noise = "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))
    operation = make_operation(workspace_id=noise, tool=noise)
    async with open_store(store_url) as store:
        await store.add([operation])
        assert ids(await store.find(ListQuery(workspace_id=noise))) == [operation.id]


async def test_since_lets_in_what_began_then(store_url: str, make_operation: MakeOperation) -> None:
    operation = make_operation(started_at=NOON + timedelta(microseconds=1))
    async with open_store(store_url) as store:
        await store.add([operation])
        assert await store.find(ListQuery(workspace_id="ws", since=operation.started_at))
        assert not await store.find(ListQuery(workspace_id="ws", since=NOON + timedelta(microseconds=2)))


async def test_the_first_and_the_last_day_there_is_can_be_stored(store_url: str, make_operation: MakeOperation) -> None:
    days = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    async with open_store(store_url) as store:
        await store.add([make_operation(started_at=day) for day in days])
        assert len(await store.find(ListQuery(workspace_id="ws", since=days[0]))) == 2


async def test_many_at_once_all_arrive(store_url: str, make_operation: MakeOperation) -> None:
    operations = [make_operation() for _ in range(200)]
    async with open_store(store_url) as store:
        async with trio.open_nursery() as nursery:
            for operation in operations[:100]:
                nursery.start_soon(store.add, [operation])
            nursery.start_soon(store.add, operations[100:])
        assert set(ids(await store.find(EVERYTHING))) == {operation.id for operation in operations}


async def test_nothing_of_a_batch_is_kept_when_one_of_it_cannot_be_written(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        with pytest.raises(WireError):
            await store.add([make_operation(), make_operation(tool="\ud800")])
        assert await store.find(EVERYTHING) == []


async def test_an_empty_batch_changes_nothing(store_url: str) -> None:
    async with open_store(store_url) as store:
        await store.add([])
        assert await store.find(EVERYTHING) == []


async def test_what_was_stored_is_there_after_the_store_was_closed(store_url: str, make_operation: MakeOperation) -> None:
    async with open_store(store_url) as store:
        await store.add([make_operation()])
    async with open_store(store_url) as store:
        assert len(await store.find(EVERYTHING)) == 1


async def test_a_store_opens_at_its_first_use_and_again_after_it_was_closed(
    store_url: str, make_operation: MakeOperation
) -> None:
    store = open_store(store_url)
    await store.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.add, [make_operation()])
        nursery.start_soon(store.add, [make_operation()])
    await store.aclose()
    assert len(await store.find(EVERYTHING)) == 2
    await store.aclose()


async def test_the_last_one_out_closes_a_store(store_url: str) -> None:
    async with open_store(store_url) as store:
        async with store:
            pass
        # Closed it would open again: what tells is that its connection is the same.
        engine = store._engine
        await store.find(EVERYTHING)
        assert store._engine is engine
        assert engine is not None
    assert store._engine is None


async def test_a_failure_is_told_to_everybody_who_waits_and_the_next_write_succeeds(
    tmp_path: Path, make_operation: MakeOperation
) -> None:
    failures: list[tuple[str, object]] = []
    file = tmp_path / "operations.sqlite3"

    async def add() -> None:
        try:
            await store.add([make_operation(arguments=b'"payload"')])
        except StoreError as error:
            failures.append((str(error), error.__context__))

    async with open_store(f"sqlite:///{file}") as store:
        intruder = sqlite3.connect(file)
        intruder.execute("ALTER TABLE workspaces RENAME TO elsewhere")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(add)
        with pytest.raises(StoreError, match="SQLITE_ERROR"):
            await store.find(EVERYTHING)
        intruder.execute("ALTER TABLE elsewhere RENAME TO workspaces")
        intruder.close()
        await store.add([make_operation()])
        assert len(await store.find(EVERYTHING)) == 1
    # Without the database's own error, which has the statement and perhaps the payload.
    assert failures == [("the store cannot be used: SQLITE_ERROR", None)] * 3


async def test_a_write_that_is_cancelled_before_its_turn_is_not_done(tmp_path: Path, make_operation: MakeOperation) -> None:
    file = tmp_path / "operations.sqlite3"
    first, cancelled, last = make_operation(), make_operation(), make_operation()
    async with open_store(f"sqlite:///{file}") as store:
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.add, [first])
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when_blocked, scope)
                await store.add([cancelled])
            assert scope.cancelled_caught
            nursery.start_soon(store.add, [last])
            await trio.testing.wait_all_tasks_blocked()
            blocker.execute("ROLLBACK")
        blocker.close()
        assert ids(await store.find(EVERYTHING)) == [last.id, first.id]


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_a_write_that_has_begun_is_finished_though_its_task_is_cancelled(
    tmp_path: Path, make_operation: MakeOperation
) -> None:
    file = tmp_path / "operations.sqlite3"
    async with open_store(f"sqlite:///{file}") as store:
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.add, [make_operation()])
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            blocker.execute("ROLLBACK")
        blocker.close()
        assert len(await store.find(EVERYTHING)) == 1


async def test_requests_share_a_transaction_up_to_so_many_records(
    tmp_path: Path, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._store._TOGETHER", 5)
    file, sizes = tmp_path / "operations.sqlite3", []
    write = Database.write

    def watch(database: Database, connection: Any, rows: list[Any]) -> None:
        sizes.append(len(rows))
        write(database, connection, rows)

    async with open_store(f"sqlite:///{file}") as store:
        monkeypatch.setattr(Database, "write", watch)
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            for size in (1, 2, 3, 10, 4, 1):
                nursery.start_soon(store.add, [make_operation() for _ in range(size)])
                await trio.testing.wait_all_tasks_blocked()
            blocker.execute("ROLLBACK")
        blocker.close()
        assert sizes == [1, 5, 10, 5]
        assert len(await store.find(EVERYTHING)) == 21


async def test_the_log_of_a_file_stays_short_though_somebody_reads_all_the_time(
    tmp_path: Path, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._database.WAL_MAX_BYTES", 200_000)
    file, log = tmp_path / "operations.sqlite3", tmp_path / "operations.sqlite3-wal"
    over = threading.Event()

    async with open_store(f"sqlite:///{file}") as store:
        await store.add([make_operation() for _ in range(100)])

        def read_until_somebody_waits(connection: Connection) -> None:
            rows = connection.connection.driver_connection.execute("SELECT body FROM operations")  # type: ignore[union-attr]
            rows.fetchone()
            while not store._reading.statistics().tasks_waiting and not over.wait(0.01):
                pass
            rows.close()

        async def read() -> None:
            while not over.is_set():
                await store._read(read_until_somebody_waits)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for _ in range(20):
                await store.add([make_operation(arguments=b'"' + b"x" * 50_000 + b'"')])
                assert log.stat().st_size < 400_000
            over.set()


async def test_a_log_that_another_process_reads_is_shortened_when_it_has_left(
    tmp_path: Path, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._database.WAL_MAX_BYTES", 100_000)
    file, log = tmp_path / "operations.sqlite3", tmp_path / "operations.sqlite3-wal"

    async with open_store(f"sqlite:///{file}") as store:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM operations").fetchall()
        large = b'"' + b"x" * 60_000 + b'"'
        for _ in range(6):
            await store.add([make_operation(arguments=large)])
        assert log.stat().st_size > 300_000
        other.close()
        for _ in range(4):
            await store.add([make_operation(arguments=large)])
        assert log.stat().st_size < 300_000
        assert len(await store.find(EVERYTHING)) == 10


def test_a_log_that_cannot_be_shortened_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "operations.sqlite3"
    file.write_text("no database " * 100)
    engine = open_engine(parse_url(f"sqlite:///{file}"))
    begin_log_anew(engine)
    engine.dispose()
    assert "could not be shortened: SQLITE_NOTADB" in caplog.text
    assert log_size(tmp_path / "none") == 0


async def test_a_disk_that_is_full_keeps_what_is_there_and_takes_more_when_there_is_room(
    tmp_path: Path, make_operation: MakeOperation
) -> None:
    room = 0

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={room or 1 << 30}")

    async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as store:
        first, large = make_operation(), make_operation(arguments=b'"' + b"x" * 500_000 + b'"')
        await store.add([first])
        assert store._engine is not None
        event.listen(store._engine, "checkout", limit)
        room = 1  # what there is and no more
        with pytest.raises(StoreError, match="SQLITE_FULL: the disk is full; make room"):
            await store.add([large, make_operation()])
        assert ids(await store.find(EVERYTHING)) == [first.id]
        assert (await store.prune(NOON + timedelta(days=1))).records == 1
        room = 0
        await store.add([large])
        assert ids(await store.find(EVERYTHING)) == [large.id]


def test_no_text_is_the_key_of_another() -> None:
    for text in ("a\0", "\0", "x" * 1_001, "\ufffd" * 334):
        assert len({text, key(text), key(key(text)), key(key(key(text)))}) == 4
        assert len(key(text).encode()) <= 1_000
    for text in ("a", "x" * 1_000, "\ufffd", "a\ufffdbc" * 60, "\ufffd" + "a" * 63):
        assert key(text) == text


async def test_a_list_over_64_mib_is_refused_naming_the_limit(tmp_path: Path, make_operation: MakeOperation) -> None:
    huge = b'"' + b"x" * (33 * 1024 * 1024) + b'"'
    async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as store:
        for _ in range(2):
            await store.add([make_operation(arguments=huge)])
        with pytest.raises(QueryError, match="limit is too high"):
            await store.find(EVERYTHING)
        assert len(await store.find(ListQuery(workspace_id="ws", limit=1))) == 1


names = st.sampled_from(["a", "b", "c\0"])
operations = st.builds(
    Operation,
    id=st.integers(0, 9).map(str),
    workspace_id=names,
    source=names,
    env_id=names,
    tool=names,
    is_error=st.booleans(),
    started_at=st.integers(0, 3).map(lambda number: NOON + number * SECOND),
    completed_at=st.just(NOON),
    duration_ms=st.just(0),
)
queries = st.builds(
    ListQuery,
    workspace_id=names,
    source=st.none() | names,
    env_id=st.none() | names,
    tool=st.none() | names,
    is_error=st.none() | st.booleans(),
    since=st.none() | st.integers(0, 3).map(lambda number: NOON + number * SECOND),
    id=st.none() | st.integers(0, 9).map(str),
    limit=st.integers(1, 4),
)


def expected(batches: list[list[Operation]], query: ListQuery) -> list[bytes]:
    """What a store that was written for clarity alone would answer."""
    kept: dict[tuple[str, str], Operation] = {}
    for batch in batches:
        for operation in batch:
            kept.setdefault((operation.workspace_id, operation.id), operation)
    arrival = list(kept)
    found = [
        operation
        for operation in kept.values()
        if operation.workspace_id == query.workspace_id
        and query.source in (None, operation.source)
        and query.env_id in (None, operation.env_id)
        and query.tool in (None, operation.tool)
        and query.is_error in (None, operation.is_error)
        and query.id in (None, operation.id)
        and (query.since is None or operation.started_at >= query.since)
    ]
    found.sort(key=lambda operation: (operation.started_at, arrival.index((operation.workspace_id, operation.id))), reverse=True)
    return [_wire.encode(operation) for operation in found[: query.limit]]


@given(batches=st.lists(st.lists(operations, max_size=8), max_size=4), asked=st.lists(queries, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_store_keeps_the_first_of_each_id_and_finds_by_every_filter(
    batches: list[list[Operation]], asked: list[ListQuery]
) -> None:
    async def run() -> None:
        async with open_store(f"sqlite:///{folder}/operations.sqlite3") as store:
            for batch in batches:
                await store.add(batch)
            for query in asked:
                assert await store.find(query) == expected(batches, query)

    with TemporaryDirectory() as folder:
        trio.run(run)


async def test_a_file_is_made_for_its_owner_alone(tmp_path: Path, make_operation: MakeOperation) -> None:
    file = tmp_path / "operations.sqlite3"
    async with open_store(f"sqlite:///{file}") as store:
        await store.add([make_operation()])
        assert store.file == file
        assert {path.name: path.stat().st_mode & 0o777 for path in list(tmp_path.iterdir())} == {  # noqa: ASYNC240
            "operations.sqlite3": 0o600,
            "operations.sqlite3-wal": 0o600,
            "operations.sqlite3-shm": 0o600,
        }


async def test_an_acknowledged_record_is_on_the_disk(tmp_path: Path, make_operation: MakeOperation) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'operations.sqlite3'}") as store:
        await store.add([make_operation()])
        assert store._engine is not None
        with store._engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


async def test_a_file_that_somebody_else_keeps_locked_is_waited_for_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._databases._PATIENCE", 0.1)
    file = tmp_path / "operations.sqlite3"
    blocker = sqlite3.connect(file, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    store = open_store(f"sqlite:///{file}")
    with pytest.raises(StoreError, match="SQLITE_BUSY"):
        await store.find(EVERYTHING)
    blocker.close()
    assert await store.find(EVERYTHING) == []
    await store.aclose()


async def test_a_store_of_a_later_version_is_refused_and_not_touched(store_url: str) -> None:
    async with open_store(store_url) as store:
        assert store._engine is not None
        with store._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE trio_oplog_schema SET version = 3")
    with pytest.raises(StoreVersionError, match="version 3; this package knows 2: update it") as caught:
        async with open_store(store_url):
            pass  # pragma: no cover
    assert (caught.value.found, caught.value.supported) == (3, 2)


async def test_a_store_that_lost_its_version_is_refused(store_url: str) -> None:
    async with open_store(store_url) as store:
        assert store._engine is not None
        with store._engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM trio_oplog_schema")
    with pytest.raises(StoreError, match="damaged"):
        await open_store(store_url).find(EVERYTHING)


async def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "theirs.sqlite3"
    with sqlite3.connect(file) as theirs:
        theirs.execute("CREATE TABLE operations (id)")
    theirs.close()
    with pytest.raises(StoreError, match="use another database"):
        await open_store(f"sqlite:///{file}").find(EVERYTHING)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary, " * 1000)
    with pytest.raises(StoreError, match="SQLITE_NOTADB"):
        await open_store(f"sqlite:///{file}").find(EVERYTHING)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone/operations\.sqlite3 cannot be opened: No such file or directory"):
        await open_store(f"sqlite:///{tmp_path}/gone/operations.sqlite3").find(EVERYTHING)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "operations.sqlite3",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "sqlite+aiosqlite:///x",
        "mysql://host/database",
        "postgresql+asyncpg://host/database",
        "postgresql://host:port/database",
    ],
)
def test_a_url_of_nothing_we_know_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert caught.value.field == "url"


def test_a_password_is_not_shown() -> None:
    store = open_store("postgresql://user:hunter2@host/database")
    assert "hunter2" not in repr(store) + store.url
    assert store.url == "postgresql+psycopg://user:***@host/database"
    assert store.file is None


async def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'trio-oplog\[postgresql\]'"):
        await open_store("postgresql://host/database").find(EVERYTHING)


async def test_a_postgresql_server_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the store cannot be used: OperationalError") as caught:
        await open_store(f"postgresql://user:hunter2@/database?host={tmp_path}").find(EVERYTHING)
    assert caught.value.__context__ is None


async def test_a_postgresql_store_goes_on_after_its_connections_were_cut(
    make_database: Callable[..., str], make_operation: MakeOperation
) -> None:
    url = make_database()
    async with open_store(url) as store:
        await store.add([make_operation()])
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await store.add([make_operation()])
        assert len(await store.find(EVERYTHING)) == 2


async def test_a_postgresql_database_of_another_encoding_is_refused(make_database: Callable[..., str]) -> None:
    url = make_database("TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'")
    with pytest.raises(StoreError, match="UTF8"):
        await open_store(url).find(EVERYTHING)


async def test_two_processes_may_open_an_empty_store_at_once(store_url: str, make_operation: MakeOperation) -> None:
    stores = [open_store(store_url) for _ in range(4)]
    async with trio.open_nursery() as nursery:
        for store in stores:
            nursery.start_soon(store.add, [make_operation()])
    for store in stores:
        assert len(await store.find(EVERYTHING)) == 4
        await store.aclose()
