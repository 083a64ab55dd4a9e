"""A folder of spools: each client has a file of its own, and takes over what the dead have left."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from trio_oplog import Client, ConfigError, DropReason, Retry, Spool, SpoolError, SpoolFolder
from trio_oplog._delivery import spool_folder, spool_inspect
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import DeadRow, SpoolFile, SpoolLock
from trio_oplog._delivery.spool_folder import Folder
from trio_oplog._wire import encode

QUICK = Retry(base_delay=0.01, max_delay=0.02, open_after=1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spools"


def left_behind(folder, destination, operations, *, dead=()):
    """What a client that was killed leaves: its file, and a lock that nobody holds."""
    path, lock = Folder(SpoolFolder(folder), destination).claim()
    file = SpoolFile.open(path, 10, destination)
    records = [
        Record(number, None, 0, 0.0, encode(operation), operation.id, workspace=operation.workspace_id)
        for number, operation in enumerate(operations, 1)
    ]
    file.commit(records, [], [DeadRow("w", operation.id, encode(operation), "rejected", 1.0) for operation in dead])
    file.close()
    lock.release()
    return path


def names(folder):
    return sorted(os.listdir(folder))


async def test_each_client_has_a_file_of_its_own_and_takes_it_away_when_it_is_empty(server, secret, make_operation, folder):
    async with (
        Client(server.url, secret, spool=SpoolFolder(folder)) as one,
        Client(server.url, secret, spool=SpoolFolder(folder)) as two,
    ):
        one.submit(make_operation())
        two.submit(make_operation())
        assert await one.flush(60)
        assert await two.flush(60)
        assert len(spool_inspect.files(folder)) == 2
        assert all(spool_inspect.status(file).in_use for file in spool_inspect.files(folder))
    assert sorted(server.stored) == ["0", "1"]
    assert names(folder) == []


async def test_what_was_left_behind_is_delivered_by_the_next_client(server, secret, make_operation, folder, until, balanced):
    for _ in range(3):
        left_behind(folder, server.url, [make_operation() for _ in range(300)])
    async with Client(server.url, secret, spool=SpoolFolder(folder), batch_size=100) as client:
        await until(lambda: len(server.stored) == 900)
        await until(lambda: len(names(folder)) == 4)  # our own file, and its lock
        assert client.statistics().recovered == client.statistics().delivered == 900
        assert balanced(client)
        assert await client.flush(60)
    assert sorted(map(int, server.stored)) == list(range(900))
    assert names(folder) == []


async def test_a_living_client_takes_over_what_is_left_while_it_runs(server, secret, make_operation, folder, until):
    async with Client(server.url, secret, spool=SpoolFolder(folder)):
        await until(lambda: len(names(folder)) == 4)
        left_behind(folder, server.url, [make_operation()])
        with trio.fail_after(60):
            await until(lambda: server.stored == ["0"])


async def test_what_is_meant_for_another_destination_is_left_alone(server, secret, make_operation, folder, until):
    other = left_behind(folder, "http://elsewhere/", [make_operation()])
    renamed = left_behind(folder, "http://elsewhere/", [make_operation()])
    # Whatever its name says: what the file says counts.
    ours = Folder(SpoolFolder(folder), server.url).claim()[0].name[:16]
    renamed = renamed.rename(folder / f"{ours}-1-a.spool")
    mine = left_behind(folder, server.url, [make_operation()])
    async with Client(server.url, secret, spool=SpoolFolder(folder)):
        await until(lambda: server.stored == ["2"])
        await until(lambda: not mine.exists())
    assert spool_inspect.status(other).waiting == spool_inspect.status(renamed).waiting == 1
    assert spool_inspect.status(other).destination == "http://elsewhere/"


async def test_a_destination_may_have_a_name_of_its_own(server, secret, make_operation, folder, until):
    left_behind(folder, "sqlite:////operations", [make_operation()])
    async with Client(server.url, secret, spool=SpoolFolder(folder, destination="sqlite:////operations")):
        await until(lambda: server.stored == ["0"])


async def test_an_empty_file_of_a_dead_client_is_removed_and_so_is_a_lock_alone(server, secret, folder, until):
    empty = left_behind(folder, server.url, [])
    (folder / "0123456789abcdef-1-a.spool.lock").touch()
    async with Client(server.url, secret, spool=SpoolFolder(folder)):
        await until(lambda: not empty.exists() and len(names(folder)) == 4)
    assert names(folder) == []


async def test_what_was_given_up_moves_along_and_keeps_the_file(server, secret, make_operation, folder, until):
    path = left_behind(folder, server.url, [make_operation()], dead=[make_operation()])
    async with Client(server.url, secret, spool=SpoolFolder(folder)):
        await until(lambda: not path.exists())
    (file,) = spool_inspect.files(folder)
    assert [(record.id, record.reason) for record in spool_inspect.dead(file)] == [("1", "rejected")]
    assert server.stored == ["0"]


async def test_a_file_whose_client_lives_is_left_alone(server, secret, make_operation, folder, until):
    path = left_behind(folder, server.url, [make_operation()])
    lock = SpoolLock(path)
    async with Client(server.url, secret, spool=SpoolFolder(folder)) as client:
        other = left_behind(folder, server.url, [])
        await until(lambda: not other.exists())
        assert client.statistics().recovered == 0
    lock.release()
    assert spool_inspect.status(path).waiting == 1


async def test_two_clients_never_take_over_the_same_file(server, secret, make_operation, folder, until, balanced):
    for _ in range(20):
        left_behind(folder, server.url, [make_operation() for _ in range(20)])
    async with trio.open_nursery() as nursery, Client(server.url, secret, spool=SpoolFolder(folder), batch_size=20) as one:

        async def another():
            async with Client(server.url, secret, spool=SpoolFolder(folder), batch_size=20) as two:
                await until(lambda: len(server.stored) >= 400)
                assert balanced(two)

        nursery.start_soon(another)
        await until(lambda: len(server.stored) >= 400)
        assert balanced(one)
    assert sorted(map(int, server.stored)) == list(range(400))
    assert names(folder) == []


async def test_a_damaged_file_that_was_left_behind_is_set_aside(server, secret, make_operation, folder, until, caplog):
    path = left_behind(folder, server.url, [make_operation()])
    path.write_bytes(b"no database" * 1000)
    odd = left_behind(folder, server.url, [])
    with sqlite3.connect(odd) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    async with Client(server.url, secret, spool=SpoolFolder(folder)):
        await until(lambda: "cannot be taken over" in caplog.text)
    assert caplog.text.count("is damaged") == 1
    assert odd.exists()
    assert not path.exists()


async def test_the_folder_as_a_whole_is_bounded(make_operation, folder):
    path = left_behind(folder, "http://x/", [make_operation(arguments=b'"' + b"x" * 60_000 + b'"') for _ in range(50)])
    own = folder / "own.spool"
    own.write_bytes(b"x" * 100_000)
    taken = sum((folder / name).stat().st_size for name in names(folder) if name.startswith(path.name))
    assert taken > 3_000_000
    assert Folder(SpoolFolder(folder, max_bytes=10_000_000), "http://x/").limit(own) == 10_000_000 - taken
    assert Folder(SpoolFolder(folder, max_bytes=65_536), "http://x/").limit(own) == 65_536
    assert Folder(SpoolFolder(folder / "nowhere"), "http://x/").limit(own) == 256 * 1024 * 1024
    assert Folder(SpoolFolder(folder / "nowhere"), "http://x/").others(own) == []


async def test_no_more_is_taken_over_than_there_is_room_for(server, secret, make_operation, folder, until, balanced):
    total = 40
    left_behind(folder, server.url, [make_operation(arguments=b'"' + b"x" * 60_000 + b'"') for _ in range(total)])
    spool = SpoolFolder(folder, max_bytes=65_536 * 4)
    async with Client(server.url, secret, spool=spool) as client:
        await until(lambda: client.statistics().delivered == total)
        assert balanced(client)
        assert client.dropped == 0
        await until(lambda: len(names(folder)) == 4)
    assert sorted(map(int, server.stored)) == list(range(total))


async def test_a_folder_that_cannot_be_made_is_an_error_at_start(server, secret, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="cannot be made: File exists"):
        async with Client(server.url, secret, spool=SpoolFolder(tmp_path / "file" / "spools")):
            raise AssertionError("not reached")


async def test_a_folder_that_is_taken_away_is_made_again(server, secret, make_operation, folder, until, caplog, balanced):
    server.answer = server.hang
    async with Client(server.url, secret, spool=SpoolFolder(folder), concurrency=1, drain_timeout=0) as client:
        client.submit(make_operation())
        await until(lambda: client.statistics().in_flight)
        for name in names(folder):
            os.unlink(folder / name)
        folder.rmdir()
        client.submit(make_operation())
        await until(lambda: not client.healthy)
        await until(lambda: client.healthy)
        assert caplog.text.count("was deleted or replaced") == caplog.text.count("works again") == 1
        assert balanced(client)
    (file,) = spool_inspect.files(folder)
    # Also the one that was in flight is in the new file.
    assert spool_inspect.status(file).waiting == 2
    assert client.dropped == 0


async def test_a_name_that_somebody_holds_is_passed_over(folder, monkeypatch):
    tokens = ["a", "a", "b"]
    view = Folder(SpoolFolder(folder), "http://x/")
    monkeypatch.setattr(spool_folder, "token_hex", lambda _: tokens.pop(0))
    first, lock = view.claim()
    second, other = view.claim()
    assert first.name.endswith("-a.spool")
    assert second.name.endswith("-b.spool")
    lock.release()
    other.release()


def test_a_file_that_is_gone_by_the_time_it_is_locked_is_passed_over(folder):
    path = left_behind(folder, "http://x/", [])
    path.unlink()
    assert Folder(SpoolFolder(folder), "http://x/").take_over(path) is None
    assert not Path(f"{path}.lock").exists()


def test_a_lock_that_was_taken_away_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    path = tmp_path / "spool"
    real = os.open
    opened = []

    def meanwhile(name, *arguments):
        descriptor = real(name, *arguments)
        if not opened:
            os.unlink(name)
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", meanwhile)
    lock = SpoolLock(path)
    assert len(opened) == 2
    assert lock.is_in_place()
    lock.release()
    lock.release()
    assert not lock.is_in_place()


async def test_a_source_that_fails_keeps_what_it_has(server, secret, make_operation, folder, until, caplog):
    path = left_behind(folder, server.url, [make_operation()])
    with sqlite3.connect(path) as db:
        db.execute("CREATE TRIGGER never BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'no'); END")
    db.close()
    async with Client(server.url, secret, spool=SpoolFolder(folder)):
        await until(lambda: server.stored)
        await until(lambda: "cannot be taken over: IntegrityError" in caplog.text)
    assert spool_inspect.status(path).waiting == 1


@pytest.mark.parametrize("umask", [0o000, 0o277])
async def test_what_is_written_is_its_owners_alone_whatever_the_umask(folder, umask):
    program = """
import os, stat, sys
from pathlib import Path
os.umask(int(sys.argv[2]))
from trio_oplog._delivery.spool import SpoolFolder
from trio_oplog._delivery.spool_file import SpoolFile
from trio_oplog._delivery.spool_folder import Folder
path, lock = Folder(SpoolFolder(sys.argv[1]), "x").claim()
file = SpoolFile.open(path, 10, "x")
parts = list(Path(sys.argv[1]).iterdir())
print(*sorted({oct(stat.S_IMODE(os.stat(part).st_mode)) for part in parts}), len(parts))
print(oct(stat.S_IMODE(os.stat(sys.argv[1]).st_mode)))
"""
    done = await trio.run_process([sys.executable, "-c", program, str(folder), str(umask)], capture_stdout=True)
    assert done.stdout.decode().split() == ["0o600", "4", "0o700"]


def test_a_spool_that_others_can_read_becomes_its_owners_alone(tmp_path):
    path = tmp_path / "spool"
    SpoolFile.open(path, 10).close()
    path.chmod(0o644)
    SpoolFile.open(path, 10).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_wrong_value_is_refused_by_name(folder):
    for field, value in [("folder", ""), ("destination", ""), ("destination", 5), ("max_bytes", 1), ("dead_max", 0)]:
        with pytest.raises(ConfigError) as caught:
            SpoolFolder(**({"folder": folder} | {field: value}))
        assert caught.value.field == field


async def test_what_is_on_disk_only_is_read_from_the_workspaces_in_turn(server, secret, make_operation, folder, until):
    operations = [make_operation(workspace_id="noisy") for _ in range(5_000)]
    operations += [
        make_operation(workspace_id=name, id=f"{name}-{number}") for number in range(20) for name in ("quiet", "still")
    ]
    left_behind(folder, server.url, operations)
    async with Client(server.url, secret, spool=SpoolFolder(folder), batch_size=100, concurrency=1):
        await until(lambda: len(server.stored) == 5_040)
    places = Counter({name: place for place, name in enumerate(server.stored)})
    assert max(places[f"quiet-{number}"] for number in range(20)) < 2_500
    assert max(places[f"still-{number}"] for number in range(20)) < 2_500


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_a_flood_that_fills_the_spool_drops_its_own_records(secret, make_operation, tmp_path, until, balanced, overflow):
    lost: Counter[str] = Counter()
    options = {"retry": QUICK, "concurrency": 1, "overflow": overflow, "drain_timeout": 0}
    spool = Spool(tmp_path / "spool", max_bytes=400_000)
    told = lambda operation, reason: lost.update([(operation.workspace_id, reason)])  # noqa: E731
    async with Client("http://127.0.0.1:9/", secret, spool=spool, on_drop=told, **options) as client:
        for _ in range(30):
            for _ in range(200):
                client.submit(make_operation(workspace_id="noisy"))
            client.submit(make_operation(workspace_id="quiet"))
            await until(
                lambda: client.statistics().spooled + client.dropped >= client.statistics().submitted - len(client._queue)
            )
            assert balanced(client)
    assert balanced(client)
    assert set(lost) == {("noisy", DropReason.SPOOL_FULL)}
    assert lost.total() > 4_000
    with sqlite3.connect(tmp_path / "spool") as db:
        assert db.execute("SELECT count(*) FROM records WHERE workspace = 'quiet'").fetchone() == (30,)
    db.close()


def test_operations_have_a_workspace_that_sqlite_can_hold(tmp_path):
    file = SpoolFile.open(tmp_path / "spool", 10)
    file.commit([Record(1, None, 0, 0.0, b"{}", "x", workspace="\ud800")], [], [])
    assert [record.workspace for record in file.read(1, 99)] == ["?"]
    file.close()


def test_a_source_that_cannot_be_read_has_no_next_group(folder, make_operation):
    path = left_behind(folder, "http://x/", [make_operation()])
    source = Folder(SpoolFolder(folder), "http://x/").take_over(path)
    path.unlink()
    assert source.next_group(9, 10**6) == []
    source.file.close()
    source.lock.release()


def test_a_lock_whose_file_came_while_we_looked_is_left(folder):
    path = left_behind(folder, "http://x/", [])
    Folder(SpoolFolder(folder), "http://x/")._forget(path)
    assert names(folder) == [path.name, f"{path.name}.lock"]
    SpoolLock(path).release()


def test_a_file_that_cannot_be_asked_for_its_dead_is_kept(folder):
    path = left_behind(folder, "http://x/", [])
    file = SpoolFile.open(path, 10)
    assert not file.has_dead()
    file.close()
    assert file.has_dead()


def test_a_record_that_nobody_can_read_has_no_age(tmp_path):
    path = tmp_path / "spool"
    file = SpoolFile.open(path, 10)
    file.commit([Record(1, None, 0, 0.0, b"{}", "x", workspace="w")], [], [])
    file.close()
    found = spool_inspect.status(path)
    assert (found.waiting, found.oldest) == (1, None)
