from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trio_oplog import Operation
from trio_oplog.collector import Store, _store

BEGINNING = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def _time_enough() -> Iterator[None]:
    """Searches find all that there is, however busy the machine: those that are to run out of time say so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_store, "SEARCH_BUDGET", 60.0)
        for method in (Store.page, Store.slowest, Store.begin_slowest):
            patch.setitem(method.__kwdefaults__, "budget", 60.0)
        yield


@pytest.fixture
def make_operation() -> Callable[..., Operation]:
    """Makes operations that differ in their id alone, and in what is asked for."""
    numbers = count(1)

    def make(**changes: Any) -> Operation:
        values: dict[str, Any] = {
            "id": f"00000000-0000-4000-8000-{next(numbers):012}",
            "workspace_id": "ws",
            "source": "sdk",
            "env_id": "local",
            "tool": "echo",
            "is_error": False,
            "started_at": BEGINNING,
            "completed_at": BEGINNING,
            "duration_ms": 0,
        }
        return Operation(**(values | changes))

    return make


def find_postgresql() -> Path | None:
    """The folder of PostgreSQL's programs: Debian keeps those of the server off the PATH."""
    on_path = shutil.which("pg_ctl")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL cluster of our own, on a Unix socket; the folder of the socket."""
    programs = find_postgresql()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    # A short name: the path of a socket has little room.
    folder = Path(tempfile.mkdtemp(prefix="oplog-pg-"))
    try:
        as_whom = server_user()
        if as_whom:
            os.chown(folder, as_whom["user"], as_whom["group"])

        def run(*command: str | Path) -> None:
            # Into a file: the server would keep a pipe open for as long as it runs.
            with (folder / "output").open("a") as output:
                done = subprocess.run(command, cwd=folder, check=False, stdout=output, stderr=output, timeout=120, **as_whom)
            assert done.returncode == 0, (folder / "output").read_text()

        data, options = folder / "data", f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(programs / "initdb", "-D", data, "-U", "oplog", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        run(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield str(folder)
        finally:
            run(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def server_user() -> dict[str, Any]:
    """As whom to run a server that refuses to be root: arguments for ``subprocess``."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def pgbouncer(postgresql_server: str) -> Iterator[str]:
    """A pgbouncer in transaction mode before the cluster, with two connections for all; the query of a URL that leads there."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="oplog-pb-"))
    user = server_user()
    if user:
        os.chown(folder, user["user"], user["group"])
    (folder / "ini").write_text(
        f"[databases]\n* = host={postgresql_server} user=oplog\n[pgbouncer]\nlisten_addr=\nunix_socket_dir={folder}\n"
        f"listen_port=6432\nauth_type=any\npool_mode=transaction\ndefault_pool_size=2\n"
    )
    (folder / "ini").chmod(0o644)
    with subprocess.Popen([program, "-q", str(folder / "ini")], stderr=subprocess.DEVNULL, **user) as process:
        try:
            for _ in range(600):
                if (folder / ".s.PGSQL.6432").exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
            assert process.poll() is None
            yield f"host={folder}&port=6432"
        finally:
            process.terminate()
    shutil.rmtree(folder)


@pytest.fixture
def make_database(postgresql_server: str) -> Iterator[Callable[..., str]]:
    """Makes empty databases; the URL of each."""
    made: list[str] = []
    with psycopg.connect(f"host={postgresql_server} user=oplog dbname=postgres", autocommit=True) as connection:

        def make(options: str = "") -> str:
            name = f"test_{os.urandom(8).hex()}"
            connection.execute(f"CREATE DATABASE {name} {options}".encode())
            made.append(name)
            return f"postgresql://oplog@/{name}?host={postgresql_server}"

        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'operations.sqlite3'}"
    return str(request.getfixturevalue("make_database")())
