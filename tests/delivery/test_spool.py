"""The spool: what was committed is delivered, by this run or by the next."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from trio_oplog import Client, ConfigError, DropReason, Retry, Spool, SpoolError, SpoolInUseError
from trio_oplog._delivery import spool_file, spool_inspect
from trio_oplog._delivery.record import Record
from trio_oplog._wire import encode

QUICK = Retry(base_delay=0.01, max_delay=0.02, open_after=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.sqlite3"


@pytest.fixture
def leave(path, secret, until):
    """Leaves operations in a spool: nobody listens."""
    return lambda operations: _leave(path, secret, until, operations)


async def _leave(path, secret, until, operations):
    options = {"capacity": max(len(operations), 1), "drain_timeout": 60, "retry": QUICK}
    async with Client("http://127.0.0.1:9/", secret, spool=Spool(path), **options) as client:
        for operation in operations:
            client.submit(operation)
        await until(lambda: client.statistics().spooled == len(operations) and not client.healthy)
    return client


async def test_what_goes_through_the_spool_arrives_and_leaves_it(server, secret, make_operation, balanced, path):
    async with Client(server.url, secret, spool=Spool(path), batch_size=50) as client:
        for _ in range(500):
            client.submit(make_operation())
        assert balanced(client)
        assert await client.flush(60)
        assert balanced(client)
    assert sorted(map(int, server.stored)) == list(range(500))
    assert client.statistics().spooled == 500
    assert balanced(client)
    assert spool_inspect.status(path) == spool_inspect.SpoolStatus(
        path=path,
        destination=server.url,
        waiting=0,
        waiting_bytes=0,
        dead=0,
        last_number=500,
        in_use=False,
        oldest=None,
    )


async def test_what_is_left_is_delivered_by_the_next_run(server, secret, make_operation, leave, balanced, path):
    with trio.fail_after(60):
        client = await leave([make_operation() for _ in range(10)])
    assert client.dropped == 0
    assert client.statistics().queued == 10
    assert client.drain_report.spooled == 10
    assert client.drain_report.complete
    assert client.drain_report.duration < 30
    assert balanced(client)
    async with Client(server.url, secret, spool=Spool(path)) as client:
        assert client.statistics().recovered == 10
        client.submit(make_operation())
        assert await client.flush(60)
        assert balanced(client)
    assert sorted(map(int, server.stored)) == list(range(11))
    assert spool_inspect.status(path).waiting == 0


async def test_records_that_memory_has_no_room_for_are_read_back(server, secret, make_operation, leave, balanced, path):
    total = 3 * 2048
    await leave([make_operation() for _ in range(total)])
    async with Client(server.url, secret, spool=Spool(path), batch_size=256, capacity=total) as client:
        for _ in range(3 * 2048):
            client.submit(make_operation())
            if not client.statistics().submitted % 500:
                assert balanced(client)
                await trio.lowlevel.checkpoint()
        assert await client.flush(20)
    assert len(server.stored) == len(set(server.stored)) == 2 * total
    assert spool_inspect.status(path).waiting == 0


async def test_batches_from_a_spool_keep_to_their_bytes(server, secret, make_operation, path):
    async with Client(server.url, secret, spool=Spool(path), batch_size=50, batch_bytes=1_500, concurrency=1) as client:
        for _ in range(20):
            client.submit(make_operation())
        assert await client.flush(60)
    assert len(server.stored) == 20
    assert max(len(request.body) for request in server.requests) <= 1_500


def record(number, workspace="w"):
    return Record(number, None, 0, 0.0, b"x" * 100, str(number), workspace=workspace)


def test_reading_stops_at_so_many_bytes(path, make_operation):
    file = spool_file.SpoolFile.open(path, 10)
    file.commit([record(number) for number in range(1, 6)], [], [])
    assert [one.row for one in file.read(10, 250, after=1)] == [2, 3]
    assert [one.row for one in file.read(10, 50)] == [1]
    assert [one.row for one in file.read(2, 999, workspace="w", skip={1, 3})] == [2, 4]
    assert file.read(10, 999, workspace="nobody") == []
    file.close()


def test_the_oldest_are_as_many_as_it_takes_to_free_the_bytes_or_all_there_are(path):
    file = spool_file.SpoolFile.open(path, 10)
    file.commit([record(number) for number in range(1, 6)], [], [])
    row = 100 + spool_file.ROW_OVERHEAD
    assert [one.row for one in file.victims("w", 2 * row, newest=False, after=1)] == [2, 3]
    assert [one.row for one in file.victims("w", 2 * row + 1, newest=False, after=1)] == [2, 3, 4]
    assert [one.row for one in file.victims("w", 2 * row, newest=True, after=1, skip={4})] == [5, 3]
    assert [one.row for one in file.victims("w", 10**9, newest=False, after=1)] == [2, 3, 4, 5]
    file.close()


async def test_a_second_client_with_the_same_spool_is_refused(server, secret, make_operation, path):
    async with Client(server.url, secret, spool=Spool(path)) as client:
        assert spool_inspect.status(path).in_use
        with pytest.raises(SpoolInUseError, match="is in use by another process or client"):
            async with Client(server.url, secret, spool=Spool(path)):
                raise AssertionError("not reached")
        with pytest.raises(SpoolInUseError):
            spool_inspect.requeue(path)
        client.submit(make_operation())
    async with Client(server.url, secret, spool=Spool(path)):
        pass
    assert server.stored == ["0"]


async def test_another_process_is_refused_as_well(server, secret, path):
    program = "import sys, pathlib; from trio_oplog._delivery.spool_file import SpoolLock; SpoolLock(pathlib.Path(sys.argv[1]))"
    async with Client(server.url, secret, spool=Spool(path)):
        result = await trio.run_process([sys.executable, "-c", program, str(path)], capture_stderr=True, check=False)
    assert b"SpoolInUseError" in result.stderr


async def test_a_spool_in_a_folder_that_is_not_there_is_an_error_at_start(server, secret, tmp_path):
    with pytest.raises(SpoolError, match="cannot be opened: No such file or directory"):
        async with Client(server.url, secret, spool=Spool(tmp_path / "nowhere" / "spool")):
            raise AssertionError("not reached")


async def test_somebody_elses_database_is_left_alone(server, secret, path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE accounts (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="is a database, but no spool"):
        async with Client(server.url, secret, spool=Spool(path)):
            raise AssertionError("not reached")
    assert path.read_bytes() == before
    with pytest.raises(SpoolError, match="is a database, but no spool"):
        spool_inspect.dead(path)


async def test_a_spool_of_a_later_version_is_left_alone(server, secret, path):
    async with Client(server.url, secret, spool=Spool(path)):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SpoolError, match=r"another version of trio_oplog \(format 99\)"):
        async with Client(server.url, secret, spool=Spool(path)):
            raise AssertionError("not reached")


@pytest.mark.parametrize("damage", ["not a database", "a broken page"])
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(server, secret, make_operation, leave, path, caplog, damage):
    if damage == "not a database":
        path.write_bytes(b"this is no database, " * 1000)
    else:
        await leave([make_operation() for _ in range(500)])
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        path.write_bytes(data)
    server.stored.clear()
    caplog.clear()
    async with Client(server.url, secret, spool=Spool(path)) as client:
        client.submit(make_operation(id="new"))
    assert server.stored == ["new"]
    assert len([record for record in caplog.records if "is damaged" in record.getMessage()]) == 1
    assert [name for name in os.listdir(path.parent) if "corrupt-" in name]


def spoil(path):
    """Overwrite a database that is open."""
    for suffix in ("", "-wal"):
        with open(f"{path}{suffix}", "r+b") as file:
            file.write(b"\xff" * os.path.getsize(f"{path}{suffix}"))


async def test_a_file_that_gets_damaged_meanwhile_costs_what_was_only_in_it_and_says_how_much(
    server, secret, until, make_operation, leave, path, balanced, caplog
):
    total = 3000
    # More than SQLite keeps in its own cache.
    await leave([make_operation(arguments=b'"' + b"x" * 3_000 + b'"') for _ in range(total)])
    release = trio.Event()

    async def wait(request):
        await release.wait()
        return await server.store(request)

    server.answer = wait
    async with Client(server.url, secret, spool=Spool(path), batch_size=200, concurrency=1) as client:
        await until(lambda: client.statistics().in_flight)
        spoil(path)
        client.submit(make_operation())
        release.set()
        await until(lambda: client.statistics().dropped[DropReason.SPOOL_LOST])
        client.submit(make_operation(id="after"))
        assert balanced(client)
    assert balanced(client)
    assert client.statistics().delivered + client.dropped == client.statistics().submitted == total + 2
    assert "after" in server.stored
    assert caplog.text.count("is damaged") == 1


async def test_a_spool_that_cannot_be_written_degrades_to_memory_and_says_so(
    server, secret, make_operation, path, balanced, caplog
):
    async with Client(server.url, secret, spool=Spool(path)) as client:
        client.submit(make_operation())
        assert await client.flush(60)
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(5):
                client.submit(make_operation())
            with trio.fail_after(60):
                assert await client.flush(60)
            assert not client.healthy
            assert balanced(client)
            other.execute("ROLLBACK")
        other.close()
        for _ in range(5):
            client.submit(make_operation())
        assert await client.flush(60)
        assert client.healthy
    assert len(server.stored) == 11
    assert caplog.text.count("operations are kept in memory only") == 1
    assert caplog.text.count("works again") == 1
    assert balanced(client)
    assert spool_inspect.status(path).waiting == 0


@pytest.fixture
def full_disk(monkeypatch):
    """The disk is full as far as opening a database goes, until told otherwise."""
    real = sqlite3.connect

    def connect(*_, **__):
        raise sqlite3.OperationalError(errno.ENOSPC, "database or disk is full")

    def fill(full):
        monkeypatch.setattr(sqlite3, "connect", connect if full else real)

    return fill


async def test_a_disk_that_is_full_at_start_degrades_to_memory_until_it_is_not(
    server, secret, until, make_operation, leave, path, balanced, caplog, full_disk
):
    await leave([make_operation() for _ in range(3)])
    full_disk(True)
    async with Client(server.url, secret, spool=Spool(path)) as client:
        assert not client.healthy
        client.submit(make_operation())
        assert await client.flush(60)
        assert server.stored == ["3"]
        full_disk(False)
        client.submit(make_operation())
        assert await client.flush(60)
        assert client.healthy
        await until(lambda: client.statistics().delivered == 5)
        assert client.statistics().recovered == 3
        assert balanced(client)
    assert sorted(server.stored) == ["0", "1", "2", "3", "4"]
    assert balanced(client)
    assert spool_inspect.status(path).waiting == 0


async def test_what_memory_alone_holds_is_lost_with_the_block_when_the_disk_stays_full(
    secret, make_operation, path, balanced, full_disk
):
    full_disk(True)
    async with Client("http://127.0.0.1:9/", secret, spool=Spool(path), drain_timeout=0.1) as client:
        client.submit(make_operation())
        await trio.testing.wait_all_tasks_blocked(0.05)
        client.submit(make_operation())
    assert client.statistics().dropped[DropReason.DRAIN_TIMEOUT] == 2
    assert balanced(client)


async def test_memory_stays_bounded_while_the_disk_is_full(secret, make_operation, path, balanced, full_disk):
    full_disk(True)
    async with Client("http://127.0.0.1:9/", secret, 100, spool=Spool(path), drain_timeout=0.1) as client:
        operation = make_operation()
        with trio.fail_after(60):
            while client.statistics().queued < 2048 + 99:
                for _ in range(99 - len(client._queue)):
                    client.submit(operation)
                await trio.sleep(0.005)
            await trio.sleep(0.06)  # longer than anybody lingers
        for _ in range(150):
            client.submit(operation)
        assert client.statistics().dropped[DropReason.QUEUE_FULL] > 0
        assert client.statistics().queued + client.statistics().in_flight < 2048 + 256 + 100 + 8
    assert balanced(client)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_a_full_spool_drops_by_policy_and_counts(server, secret, until, make_operation, path, balanced, overflow):
    spool = Spool(path, max_bytes=65_536)
    told = []
    size, count = 1_000, 60
    async with Client(
        "http://127.0.0.1:9/",
        secret,
        spool=spool,
        retry=QUICK,
        overflow=overflow,
        concurrency=1,
        on_drop=lambda operation, reason: told.append((operation.id, reason)),
    ) as client:
        for number in range(count):
            client.submit(make_operation(id=str(number), arguments=b'"' + b"x" * size + b'"'))
            lost = told if overflow == "drop_newest" else []
            await until(lambda: client.statistics().spooled + len(lost) == client.statistics().submitted)  # noqa: B023
        assert balanced(client)
    lost = len(told)
    assert client.statistics().dropped[DropReason.SPOOL_FULL] == lost > 5
    async with Client(server.url, secret, spool=spool):
        pass
    names = {int(name) for name, _ in told}
    if overflow == "drop_newest":
        assert names == set(range(count - lost, count))
    else:
        # Five are in a worker's hands, or held for its next turns.
        assert max(names) < lost + 5
    assert {int(name) for name in server.stored} == set(range(count)) - names


async def test_a_full_spool_drops_the_oldest_also_where_it_is_on_disk_only(
    server, secret, until, make_operation, leave, path, balanced
):
    total = 3_000  # of which memory holds 2 048
    await leave([make_operation() for _ in range(total)])
    there = spool_inspect.status(path)
    size = there.waiting_bytes + there.waiting * spool_file.ROW_OVERHEAD
    told = []
    server.answer = server.hang
    async with Client(
        server.url,
        secret,
        spool=Spool(path, max_bytes=size),
        record_max_bytes=size,
        overflow="drop_oldest",
        concurrency=1,
        drain_timeout=0,
        on_drop=lambda operation, reason: told.append((int(operation.id), reason)),
    ) as client:
        await until(lambda: server.requests)
        client.submit(make_operation(arguments=b'"' + b"x" * (size * 4 // 5) + b'"'))
        await until(lambda: client.statistics().spooled)
        assert balanced(client)
    lost = len(told)
    # The very first is in a worker's hands.
    assert told == [(number, DropReason.SPOOL_FULL) for number in range(1, lost + 1)]
    assert 2_048 < total * 4 // 5 <= lost < total * 4 // 5 + 10
    assert client.statistics().queued == total + 1 - lost
    assert balanced(client)
    server.answer = server.store
    async with Client(server.url, secret, spool=Spool(path), batch_size=200, record_max_bytes=size) as client:
        assert await client.flush(60)
    assert set(map(int, server.stored)) == {0, *range(lost + 1, total + 1)}
    assert spool_inspect.status(path).waiting == 0


async def test_room_for_a_group_is_made_once(server, secret, until, make_operation, path, balanced):
    told = []
    server.answer = server.hang
    spool = Spool(path, max_bytes=65_536)
    options = {"concurrency": 1, "drain_timeout": 0, "on_drop": lambda operation, _: told.append(operation.id)}
    async with Client(server.url, secret, spool=spool, overflow="drop_oldest", **options) as client:
        for _ in range(6):
            client.submit(make_operation(arguments=b'"' + b"x" * 10_000 + b'"'))
        await until(lambda: client.statistics().spooled == 6 and server.requests)
        for number in range(6, 9):
            client.submit(make_operation(arguments=b'"' + b"x" * 10_000 + b'"'))
            await until(lambda: client.statistics().spooled == number + 1)  # noqa: B023
            assert told == [str(gone) for gone in range(1, number - 4)]
        assert balanced(client)


async def test_where_all_the_file_is_in_flight_the_oldest_are_those_that_are_not_in_it_yet(
    server, secret, until, make_operation, leave, path, balanced
):
    # What an earlier run has left is taken at once, however busy the machine.
    await leave([make_operation(arguments=b'"' + b"x" * 10_000 + b'"') for _ in range(5)])
    told = []
    server.answer = server.hang
    spool = Spool(path, max_bytes=65_536, commit_interval=0.05)
    options = {"batch_size": 100, "concurrency": 1, "drain_timeout": 0, "request_timeout": 600}
    async with Client(
        server.url,
        secret,
        spool=spool,
        overflow="drop_oldest",
        on_drop=lambda operation, _: told.append(operation.id),
        **options,
    ) as client:
        await until(lambda: client.statistics().in_flight == 5)
        for _ in range(3):
            client.submit(make_operation(arguments=b'"' + b"x" * 10_000 + b'"'))
        # As a rule they are committed together, but on a busy machine they need not be.
        await until(lambda: len(told) == 2)
        assert told == ["5", "6"]
        assert balanced(client)
    assert balanced(client)
    assert [name for name, _ in spooled_ids(path)] == ["0", "1", "2", "3", "4", "7"]


async def test_what_memory_alone_held_goes_into_the_file_as_soon_as_there_is_one(
    server, secret, until, make_operation, path, balanced, full_disk
):
    told = []
    server.answer = server.hang
    full_disk(True)
    options = {"spool": Spool(path, max_bytes=65_536), "concurrency": 1, "drain_timeout": 0, "overflow": "drop_oldest"}
    async with Client(server.url, secret, on_drop=lambda operation, _: told.append(operation.id), **options) as client:
        for _ in range(3):
            client.submit(make_operation())
        await until(lambda: client.statistics().in_flight and not client._queue and not client._backlog._committing)
        full_disk(False)
        for number in range(3, 10):
            client.submit(make_operation(arguments=b'"' + b"x" * 10_000 + b'"'))
            await until(lambda: client.statistics().spooled == number + 1)  # noqa: B023
        # The very first is in a worker's hands.
        assert told == ["1", "2", "3"]
        assert balanced(client)
    assert balanced(client)


def spooled_ids(path):
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT id, number FROM records ORDER BY number").fetchall()
    db.close()
    return rows


async def test_what_is_larger_than_the_spool_is_dropped(server, secret, make_operation, path, balanced):
    async with Client(server.url, secret, spool=Spool(path, max_bytes=65_536), overflow="drop_oldest") as client:
        client.submit(make_operation(arguments=b'"' + b"x" * 70_000 + b'"'))
        client.submit(make_operation(tool=object()))
        client.submit(make_operation())
    assert server.stored == ["2"]
    assert client.statistics().dropped[DropReason.SPOOL_FULL] == 1
    assert client.statistics().dropped[DropReason.INVALID] == 1
    assert balanced(client)


async def test_wait_submit_waits_for_room_in_the_spool(server, secret, make_operation, path, balanced):
    async with Client(server.url, secret, spool=Spool(path, max_bytes=65_536)) as client:
        with trio.fail_after(60):
            for _ in range(60):
                await client.wait_submit(make_operation(arguments=b'"' + b"x" * 9_000 + b'"'))
    assert client.dropped == 0
    assert len(server.stored) == 60


async def test_rejected_records_are_kept_among_the_dead_and_can_be_requeued(
    server, secret, make_operation, path, respond, balanced
):
    server.then(respond(400), respond(422))
    began = datetime.now(UTC)
    async with Client(server.url, secret, spool=Spool(path), concurrency=1) as client:
        for _ in range(3):
            client.submit(make_operation())
    assert client.statistics().dropped[DropReason.REJECTED] == 2
    assert server.stored == ["2"]
    dead = spool_inspect.dead(path)
    assert [(record.id, record.reason, record.number) for record in dead] == [("0", "rejected", 1), ("1", "rejected", 2)]
    assert began <= dead[0].died_at <= datetime.now(UTC)
    assert len(list(spool_inspect.export(path, of_the_dead=True))) == 2
    assert spool_inspect.requeue(path) == 2
    assert [len(body) for body in spool_inspect.export(path)] == [record.size_bytes for record in dead]
    assert spool_inspect.status(path).dead == 0
    async with Client(server.url, secret, spool=Spool(path)) as client:
        pass
    assert sorted(server.stored) == ["0", "1", "2"]
    assert balanced(client)


async def test_the_table_of_the_dead_is_bounded(server, secret, make_operation, path, respond):
    server.then(*[respond(400)] * 10)
    async with Client(server.url, secret, spool=Spool(path, dead_max=3), concurrency=1) as client:
        for _ in range(10):
            client.submit(make_operation())
            await client.flush(60)
    assert [record.id for record in spool_inspect.dead(path)] == ["7", "8", "9"]


async def test_an_outage_never_costs_a_spooled_record_but_one_that_always_fails_is_given_up(
    server, secret, make_operation, path, respond, balanced
):
    async def fail_on_the_first(request):
        return respond(500) if "0" in request.ids else await server.store(request)

    server.answer = fail_on_the_first
    retry = Retry(attempts=2, base_delay=0.001, open_after=1)
    async with Client(server.url, secret, spool=Spool(path), retry=retry) as client:
        for _ in range(20):
            client.submit(make_operation())
            await trio.sleep(0.001)
        while client.statistics().delivered < 19 or not client.dropped:
            client.submit(make_operation())
            await trio.sleep(0.001)
        assert client.statistics().dropped[DropReason.FAILED] == 1
    assert [record.id for record in spool_inspect.dead(path)] == ["0"]


async def test_what_is_wanted_back_from_a_spool_that_somebody_emptied_counts_as_lost(
    server, secret, until, make_operation, leave, path, balanced
):
    total = 2500
    await leave([make_operation() for _ in range(total)])
    server.answer = server.hang
    async with Client(server.url, secret, spool=Spool(path), concurrency=1, batch_size=100) as client:
        await until(lambda: client.statistics().in_flight)
        with sqlite3.connect(path) as other:
            other.execute("DELETE FROM records")
        other.close()
        server.answer = server.store
        for connection in server.requests:
            await connection.stream.aclose()
        await until(lambda: client.statistics().dropped[DropReason.SPOOL_LOST])
        assert balanced(client)
    assert balanced(client)
    assert client.statistics().queued == 0


def test_a_spool_that_is_not_there_cannot_be_looked_into(path):
    for look in (spool_inspect.status, spool_inspect.dead, spool_inspect.requeue, lambda path: list(spool_inspect.export(path))):
        with pytest.raises(SpoolError, match="does not exist"):
            look(path)
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(SpoolError, match="cannot be read: SQLITE_NOTADB"):
        spool_inspect.status(path)


@pytest.mark.parametrize(
    ("field", "values"),
    [("path", ["", 5, None]), ("max_bytes", [0, True, 1e6]), ("commit_interval", [-1, 0.1, "0", True]), ("dead_max", [0])],
)
def test_a_wrong_value_is_refused_by_name(field, values, tmp_path):
    for value in values:
        with pytest.raises(ConfigError) as caught:
            Spool(**({"path": tmp_path / "x"} | {field: value}))
        assert caught.value.field == field
    assert Spool("x").path == Path("x")


@pytest.mark.parametrize("how", ["deleted", "replaced by another spool", "its log deleted"])
async def test_a_file_that_is_taken_away_is_noticed_before_anything_counts_as_committed_to_it(
    server, secret, until, make_operation, path, balanced, caplog, how
):
    server.answer = server.hang
    async with Client(server.url, secret, spool=Spool(path), concurrency=1, drain_timeout=0) as client:
        for _ in range(3):
            client.submit(make_operation())
        await until(lambda: client.statistics().spooled == 3)
        if how == "deleted":
            os.unlink(path)
        elif how == "its log deleted":
            os.unlink(f"{path}-wal")
        else:
            other = spool_file.SpoolFile.open(path.with_name("other"), 10)
            other.commit([Record(1, None, 0, 0.0, encode(make_operation(id="there")), "there", workspace="w")], [], [])
            other.close()
            os.rename(path.with_name("other"), path)
        client.submit(make_operation(id="3"))
        await until(lambda: not client.healthy)
        await until(lambda: client.healthy)
        assert caplog.text.count("was deleted or replaced") == caplog.text.count("works again") == 1
        assert balanced(client)
    assert client.dropped == 0
    assert balanced(client)
    # What was in flight and what waited is in the file that is there now, and so is what was in it.
    assert {"0", "1", "2", "3"} <= {name for name, _ in spooled_ids(path)}
    assert ("there" in [name for name, _ in spooled_ids(path)]) is (how == "replaced by another spool")


async def test_a_file_that_is_taken_away_costs_what_only_it_held(server, secret, until, make_operation, leave, path, balanced):
    total = 3_000  # of which memory holds 2 048
    await leave([make_operation() for _ in range(total)])
    server.answer = server.hang
    async with Client(server.url, secret, spool=Spool(path), concurrency=1, drain_timeout=0) as client:
        await until(lambda: client.statistics().in_flight)
        os.unlink(path)
        client.submit(make_operation())
        await until(lambda: client.statistics().dropped[DropReason.SPOOL_LOST])
        assert balanced(client)
    assert balanced(client)
    assert client.statistics().dropped[DropReason.SPOOL_LOST] == total - 2_048
    assert len(spooled_ids(path)) == 2_048 + 1


async def test_a_file_that_is_taken_away_at_the_very_end_is_written_again(secret, until, make_operation, path, balanced):
    async with Client("http://127.0.0.1:9/", secret, spool=Spool(path), retry=QUICK, drain_timeout=0) as client:
        client.submit(make_operation())
        await until(lambda: client.statistics().spooled == 1 and not client.healthy)
        os.unlink(path)
        client.submit(make_operation())
    assert client.drain_report.spooled == 2
    assert [name for name, _ in spooled_ids(path)] == ["0", "1"]
    assert balanced(client)


async def test_what_is_delivered_while_it_is_written_again_does_not_stay_in_the_file(
    server, secret, until, make_operation, path, balanced
):
    release = trio.Event()

    async def wait(request):
        await release.wait()
        return await server.store(request)

    server.answer = wait
    async with Client(server.url, secret, spool=Spool(path), concurrency=1) as client:
        client.submit(make_operation())
        await until(lambda: client.statistics().in_flight)
        rewrite = client._backlog._file.commit

        def commit_late(*arguments, **options):
            if arguments[0]:
                trio.from_thread.run_sync(release.set)
                trio.from_thread.run(until, lambda: client.statistics().delivered)
            return rewrite(*arguments, **options)

        record = next(iter(client._backlog._in_flight))
        record.row = -1
        client._backlog._unsaved = True
        client._backlog._file.commit = commit_late
        client._backlog._bell.unpark_all()
        await until(lambda: record.row > 0 and not client._backlog._gone)
        assert balanced(client)
    assert [name for name, _ in spooled_ids(path)] == ["0"]  # the row that the test has forgotten


async def test_another_program_that_comes_in_the_way_keeps_its_file(server, secret, until, make_operation, path, balanced):
    server.answer = server.hang
    async with Client(server.url, secret, spool=Spool(path), concurrency=1, drain_timeout=0) as client:
        client.submit(make_operation())
        await until(lambda: client.statistics().in_flight)
        os.unlink(path)
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE accounts (x)")
        db.close()
        client.submit(make_operation())
        await until(lambda: not client.healthy)
        await trio.sleep(0.1)
    assert balanced(client)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM accounts").fetchone() == (0,)
    db.close()
    assert client.statistics().dropped[DropReason.DRAIN_TIMEOUT] == 2


def test_room_that_an_outage_took_is_given_back(path):
    file = spool_file.SpoolFile.open(path, 10)
    rows, _ = file.commit([Record(n, None, 0, 0.0, b"x" * 10_000, str(n), workspace="w") for n in range(500)], [], [])
    assert path.stat().st_size + Path(f"{path}-wal").stat().st_size > 4_000_000
    file.commit([], list(rows), [])
    assert path.stat().st_size + Path(f"{path}-wal").stat().st_size < 200_000
    file.close()
