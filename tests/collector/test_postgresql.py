"""PostgreSQL as it is run: behind pgbouncer, failing over, hanging, without permissions."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import trio
import trio.testing
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from trio_oplog import ListQuery, Operation, StoreError
from trio_oplog.collector import Arrivals, StatisticsQuery, Store, open_store
from trio_oplog.collector._partitions import partition_of
from trio_oplog.collector._writing import id_key

MakeOperation = Callable[..., Operation]
EVERYTHING = ListQuery(workspace_id="ws", limit=1000)
DAY = timedelta(days=1)


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    return make_database()


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def today(**parts: int) -> datetime:
    return datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(**parts)


def rows_of(admin: psycopg.Connection, table: str) -> int:
    row = admin.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608
    assert row is not None
    return int(row[0])


async def counted(store: Store) -> int:
    return sum(each.count for each in (await store.statistics(StatisticsQuery(workspace_id="ws", by="tool"))).groups)


async def test_collectors_behind_pgbouncer_share_its_connections_and_leave_no_setting_behind(
    url: str, admin: psycopg.Connection, pgbouncer: str, make_operation: MakeOperation
) -> None:
    name = url.partition("@/")[2].partition("?")[0]
    through = f"postgresql://oplog@/{name}?{pgbouncer}"
    operations = [make_operation() for _ in range(60)]

    async def collect(mine: list[Operation]) -> None:
        async with open_store(through) as store:
            for operation in mine:
                await store.add([operation, operations[0]])
                await store.find(ListQuery(workspace_id="ws", limit=1))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(collect, operations[number::3])
    async with open_store(through) as store:
        assert len(await store.find(EVERYTHING)) == await counted(store) == len(operations)
    with psycopg.connect(through, autocommit=True, prepare_threshold=None) as other:
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert other.execute(f"SHOW {setting}".encode()).fetchone() == ("0",)


async def test_a_record_is_kept_once_though_it_comes_with_another_time_to_another_collector(
    url: str, make_operation: MakeOperation
) -> None:
    first = make_operation(started_at=today())
    again = [make_operation(id=first.id, started_at=today(days=-days)) for days in range(1, 4)]
    async with open_store(url) as one, open_store(url) as other:
        await one.add([first])
        async with trio.open_nursery() as nursery:
            for each in again:
                nursery.start_soon(one.add, [each])
                nursery.start_soon(other.add, [each])
        [body] = await one.find(EVERYTHING)
        assert json.loads(body)["started_at"] == first.started_at.isoformat().replace("+00:00", "Z")
        assert await counted(other) == 1


async def test_a_day_has_a_partition_ahead_and_on_demand_and_other_days_share_one(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    operations = [make_operation(started_at=at) for at in (today(days=-40), datetime(1, 1, 1, tzinfo=UTC), today(days=400))]
    async with open_store(url) as store:
        await store.add(operations)
        assert len(await store.find(EVERYTHING)) == 3
    days = [round(today(days=number).timestamp()) // 86_400 * 86_400 for number in (-40, 0, 1, 2)]
    found = admin.execute("SELECT relname FROM pg_class WHERE relname ~ '^operations_[0-9]{8}$' AND relkind = 'r' ORDER BY 1")
    assert [name for (name,) in found] == sorted(map(partition_of, days))
    assert rows_of(admin, "operations_default") == 2


async def test_a_batch_of_every_day_of_the_calendar_has_few_partitions_made(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    flood = [make_operation(started_at=today(days=-number)) for number in range(1, 100)]
    async with open_store(url) as store:
        await store.add(flood)
        # Today, the next two days, and eight of the others.
        assert rows_of(admin, "pg_inherits WHERE inhparent = 'operations'::regclass") == 1 + 3 + 8
        assert rows_of(admin, "operations_default") == 99 - 8
        assert len(await store.find(EVERYTHING)) == await counted(store) == 99
        assert (await store.prune(today())).records == 99
        assert rows_of(admin, "operation_ids") == len(await store.find(EVERYTHING)) == 0


async def test_a_server_that_became_a_standby_is_left_for_whatever_the_url_leads_to(
    url: str, make_operation: MakeOperation
) -> None:
    async with open_store(url) as store:
        await store.add([make_operation()])
        assert store._engine is not None
        with store._engine.connect() as connection:
            # What the pool holds is read-only from now on, and new connections are not: they lead to the new primary.
            connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            connection.commit()
        await store.add([make_operation()])
        assert len(await store.find(EVERYTHING)) == 2


async def test_a_standby_that_stays_one_is_named(url: str, admin: psycopg.Connection, make_operation: MakeOperation) -> None:
    async with open_store(url):
        pass
    admin.execute(f"ALTER DATABASE {admin.info.dbname} SET default_transaction_read_only = on".encode())
    async with open_store(url) as store:
        with pytest.raises(StoreError, match="25006: the PostgreSQL server is read-only"):
            await store.add([make_operation()])


async def test_a_lock_that_somebody_keeps_is_waited_for_and_named(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog.collector._databases._SETTINGS", "SET LOCAL lock_timeout = '50ms'")
    async with open_store(url) as store:
        await store.add([make_operation()])
        with admin.transaction():
            admin.execute("LOCK TABLE operations IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreError, match="55P03: another transaction keeps a lock"):
                await store.add([make_operation()])
        await store.add([make_operation()])
        assert len(await store.find(EVERYTHING)) == await counted(store) == 2


async def test_a_statement_that_takes_too_long_is_ended_and_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog.collector._databases._SETTINGS", "SET LOCAL statement_timeout = '50ms'")
    async with open_store(url) as store:
        with pytest.raises(StoreError, match="57014: a statement took over 30 seconds"):
            await store._read(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(60)"))


async def test_a_server_that_gives_no_answer_is_cut_off_and_asked_again(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(url) as store:
        await store.add([make_operation()])
        assert store._engine is not None
        with store._engine.connect() as connection:
            backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        monkeypatch.setattr("trio_oplog.collector._store._PATIENCE", 0.5)
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match="gave no answer"):
                await store.add([make_operation()])
            monkeypatch.undo()
            await store.add([make_operation()])
            assert len(await store.find(EVERYTHING)) == 2
        finally:
            os.kill(backend, signal.SIGCONT)


async def test_an_answer_that_comes_while_the_connection_is_cut_changes_nothing(url: str) -> None:
    from trio_oplog.collector._database import Call, open_database
    from trio_oplog.collector._databases import parse_url

    database = await trio.to_thread.run_sync(open_database, parse_url(url))
    never_connected, done = Call(), Call()
    database.run(lambda connection: connection.exec_driver_sql("SELECT 1"), done)
    done.driver.close()
    database.cut(done)
    database.cut(never_connected)
    assert database.run(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1
    database.close()


async def test_a_deadlock_is_tried_again(url: str, admin: psycopg.Connection, make_operation: MakeOperation) -> None:
    tries = []

    def fail_once(connection: object) -> str:
        tries.append(connection)
        if len(tries) == 1:
            raise psycopg.errors.DeadlockDetected
        return "done"

    async with open_store(url) as store:
        assert await store._read(fail_once) == "done"


@pytest.fixture
def limited(url: str, admin: psycopg.Connection) -> str:
    """The same database for a user that may read and write, and make nothing."""
    role = f"limited_{os.urandom(4).hex()}"
    trio.run(_open_and_close, url)
    admin.execute(f"CREATE ROLE {role} LOGIN".encode())
    admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}".encode())
    admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}".encode())
    return url.replace("oplog@", f"{role}@")


async def _open_and_close(url: str) -> None:
    async with open_store(url):
        pass


async def test_two_batches_are_written_at_once_and_nobody_hears_of_one_before_it_is_committed(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    first, second, third, fourth = (make_operation() for _ in range(4))
    done: list[str] = []

    def keep(operation: Operation) -> psycopg.Connection:
        """Somebody else is about to store it, so that whoever does the same waits."""
        other = psycopg.connect(url)
        other.execute("INSERT INTO operation_ids VALUES (%s::uuid, 0)", (id_key("ws", operation.id),))
        return other

    async def until(holds: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not holds():  # noqa: ASYNC110 -- what others do in the server sets no event
                await trio.sleep(0.01)

    def are_waiting(number: int) -> Callable[[], bool]:
        return lambda: len(admin.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall()) == number

    async with open_store(url) as store:
        await store.add([make_operation()])

        async def add(operation: Operation) -> None:
            await store.add([operation])
            done.append(operation.id)

        with keep(first) as keeps_first, keep(second) as keeps_second, keep(third) as keeps_third:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(add, first)
                await until(are_waiting(1))
                nursery.start_soon(add, second)
                await until(are_waiting(2))
                # These wait for their turn, and the third takes the fourth with it.
                nursery.start_soon(add, third)
                await trio.testing.wait_all_tasks_blocked(0.05)
                nursery.start_soon(add, fourth)
                await trio.testing.wait_all_tasks_blocked(0.05)
                keeps_first.rollback()
                await until(lambda: done == [first.id])
                await until(are_waiting(2))
                keeps_second.rollback()
                await until(lambda: done == [first.id, second.id])
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert done == [first.id, second.id]
                keeps_third.rollback()
        assert sorted(done) == sorted(each.id for each in (first, second, third, fourth))
        assert await counted(store) == rows_of(admin, "operations") == 5


async def test_workspaces_have_any_name(url: str, make_operation: MakeOperation) -> None:
    names = ['"', "\\", '\\"', "a,b", "{a}", "NULL", "null", " ", "'", "é\n", "$$"]
    operations = [make_operation(workspace_id=name, tool=name, user_id=name) for name in names]
    async with open_store(url) as store:
        await store.add(operations)
        await store.add(operations)
        assert set(await store.workspaces()) == set(names)
        for name in names:
            assert len(await store.find(ListQuery(workspace_id=name, tool=name))) == 1
            (found,) = (await store.statistics(StatisticsQuery(workspace_id=name, by="tool"))).groups
            assert (found.value, found.count) == (name, 1)


async def test_without_permission_for_partitions_records_go_into_the_default_one(
    url: str, limited: str, admin: psycopg.Connection, make_operation: MakeOperation, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(limited) as store:
        await store.add([make_operation(started_at=today())])
        await store.add([make_operation(started_at=today(days=-3))])
        assert len(await store.find(EVERYTHING)) == 2
        assert rows_of(admin, "operations_default") == 2
        # Today, the next two days, and the one three days ago: each said once.
        assert caplog.text.count("lets us make no partition") == 4
        pruned = await store.prune(today(days=-1))
        assert (pruned.records, pruned.days) == (1, 0)
        assert rows_of(admin, "operation_ids") == len(await store.find(EVERYTHING)) == 1
    async with open_store(url) as store:
        # Who may make them again does so for the days that have nothing in the default partition.
        await store.add([make_operation(started_at=today()), make_operation(started_at=today(days=-2))])
        assert rows_of(admin, "operations_default") == 2
        assert rows_of(admin, partition_of(round(today(days=-2).timestamp()) // 86_400 * 86_400)) == 1


async def test_a_partition_that_goes_wrong_in_another_way_is_an_error(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    async with open_store(url) as store:
        day = round(today().timestamp()) // 86_400 * 86_400
        admin.execute(f"CREATE TABLE {partition_of(day)} ()".encode())
        with pytest.raises(StoreError, match="42P07"):
            await store.add([make_operation(started_at=today())])


async def test_pruning_drops_whole_days_and_forgets_their_ids(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    old = [make_operation(started_at=today(days=-number)) for number in (2, 3, 4, 5000)]
    kept = [make_operation(started_at=today(days=-1)), make_operation()]
    async with open_store(url) as store:
        await store.add([*old, *kept[:1]])
        pruned = await store.prune(today(days=-1))
        assert (pruned.records, pruned.days) == (4, 3)
        assert rows_of(admin, "operation_ids") == len(await store.find(EVERYTHING)) == 1
        assert await counted(store) == 5
        assert (await store.prune(today(days=-1))).records == 0


async def test_a_partition_that_is_read_all_the_time_is_left_for_the_next_run(
    url: str,
    admin: psycopg.Connection,
    make_operation: MakeOperation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("trio_oplog.collector._retention._LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr("trio_oplog.collector._retention._PAUSE", 0.0)
    async with open_store(url) as store:
        await store.add([make_operation(started_at=today(days=-3))])
        # Kept out of the way of the deletion of records, which the lock does not hold up.
        monkeypatch.setattr("trio_oplog.collector._retention._workspaces", lambda *_: {})
        with admin.transaction():
            admin.execute("SELECT count(*) FROM operations")
            assert (await store.prune(today())).days == 0
        assert "was in use and stays" in caplog.text
        assert (await store.prune(today())).days == 1


async def test_a_partition_that_may_not_be_dropped_is_an_error(
    url: str, limited: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    async with open_store(url) as store:
        await store.add([make_operation(started_at=today(days=-3))])
    role = limited.partition("//")[2].partition("@")[0]
    admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}".encode())
    async with open_store(limited) as store:
        with pytest.raises(StoreError, match="42501: the user of the store's URL lacks a permission"):
            await store.prune(today())


async def test_two_that_prune_at_once_leave_each_other_what_they_do(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    day = round(today(days=-3).timestamp()) // 86_400 * 86_400
    rows = "SELECT FROM operations WHERE started_at < 0 ORDER BY seq LIMIT 2 FOR UPDATE"
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
    old = [make_operation(started_at=datetime(1960, 1, number, tzinfo=UTC)) for number in range(1, 6)]
    async with open_store(url) as store:
        await store.add([make_operation(started_at=today(days=-3)), make_operation(started_at=today()), *old])
        with admin.transaction():
            # Another one deletes two records, and drops a partition.
            admin.execute(rows.encode())
            admin.execute(f"DROP TABLE {partition_of(day)}".encode())
            async with trio.open_nursery() as nursery:
                pruned = []

                async def prune() -> None:
                    pruned.append(await store.prune(today()))

                nursery.start_soon(prune)
                with psycopg.connect(url, autocommit=True) as looker, trio.fail_after(60):
                    while looker.execute(waiting.encode(), (admin.info.dbname,)).fetchone() == (0,):  # noqa: ASYNC110
                        await trio.sleep(0.01)
                admin.execute(b"COMMIT")
                admin.execute(b"BEGIN")
                admin.execute(rows.encode())
        assert (pruned[0].records, pruned[0].days) in {(5, 1), (3, 1)}
        assert len(await store.find(EVERYTHING)) in {1, 3}
        with admin.transaction():
            admin.execute(rows.encode())
            await store.prune(today())
        await store.prune(today())
        assert len(await store.find(EVERYTHING)) == 1


async def test_counts_that_are_deleted_between_their_reading_and_their_writing_are_written_all_the_same(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    deleted = []

    def delete_once(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO rollups") and not deleted:
            deleted.append(admin.execute("DELETE FROM rollups").rowcount)

    async with open_store(url) as store:
        await store.add([make_operation()])
        assert store._engine is not None
        event.listen(store._engine, "before_cursor_execute", delete_once)
        await store.add([make_operation()])
        assert deleted == [6]
        assert await counted(store) == 2


async def test_a_partition_whose_making_was_not_committed_is_made_the_next_time(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    failed = []

    def fail_once(connection: object) -> None:
        if not failed:
            failed.append(True)
            raise OperationalError("COMMIT", None, Exception("the disk is full"))

    long_ago = today(days=-20)
    async with open_store(url) as store:
        assert store._engine is not None
        event.listen(store._engine, "commit", fail_once)
        with pytest.raises(StoreError):
            await store.add([make_operation(started_at=long_ago)])
        await store.add([make_operation(started_at=long_ago)])
    assert rows_of(admin, partition_of(round(long_ago.timestamp()) // 86_400 * 86_400)) == 1


async def test_a_partition_that_another_collector_dropped_is_not_missed(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    from trio_oplog.collector._retention import _try_to_drop

    async with open_store(url) as store:
        await store.add([make_operation(started_at=today())])
        assert await store._alone(lambda connection: _try_to_drop(connection, 0)) == 0


async def test_whoever_watches_waits_for_a_number_that_is_given_out_and_not_committed(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    async with open_store(url) as store:
        await store.add([make_operation()])
        after = (await store.arrivals(EVERYTHING)).next
        with psycopg.connect(url) as slow:
            slow.execute("INSERT INTO workspaces (number, name) VALUES (1000, 'slow')")
            slow.execute("SELECT nextval('operations_arrival')")
            await store.add([make_operation()])
            for _ in range(2):
                arrived = await store.arrivals(EVERYTHING, after)
                assert arrived.records == []
                after = arrived.next
            slow.commit()
            with psycopg.connect(url) as slower:
                # Whoever takes a number later holds up later numbers only.
                slower.execute("SELECT nextval('operations_arrival')")
                arrived = await store.arrivals(EVERYTHING, after)
                assert len(arrived.records) == 1
                slower.rollback()
        assert (await store.arrivals(EVERYTHING, arrived.next)).records == []


async def test_whoever_watches_waits_for_the_newest_transaction_of_all(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    # It is in no snapshot of the database's, as no later one has ended.
    async with open_store(url) as store:
        await store.add([make_operation()])
        after = (await store.arrivals(EVERYTHING)).next
        with psycopg.connect(url) as slow:
            slow.execute(
                "INSERT INTO operations (workspace, series, id, started_at, body) "
                "SELECT workspace, series, 'slow', started_at, body FROM operations"
            )
            for _ in range(3):
                assert await store.arrivals(EVERYTHING, after) == Arrivals([], after)
            slow.commit()
        assert len((await store.arrivals(EVERYTHING, after)).records) == 1


async def test_whoever_watches_goes_on_with_a_server_that_knows_less(
    url: str, admin: psycopg.Connection, make_operation: MakeOperation
) -> None:
    async with open_store(url) as store:
        await store.add([make_operation() for _ in range(5)])
        after = (await store.arrivals(EVERYTHING)).next
        assert await store.arrivals(EVERYTHING, after) == await store.arrivals(EVERYTHING, after)
        admin.execute("ALTER SEQUENCE operations_arrival RESTART WITH 2")
        after = (await store.arrivals(EVERYTHING, after)).next
        assert after == "0"
        assert (await store.arrivals(EVERYTHING, "9" * 18)).next == "0"
