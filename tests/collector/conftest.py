from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trio_oplog import Operation

BEGINNING = datetime(2026, 1, 31, 12, tzinfo=UTC)


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
    as_whom: dict[str, Any] = {}
    # A short name: the path of a socket has little room.
    folder = Path(tempfile.mkdtemp(prefix="oplog-pg-"))
    try:
        if os.geteuid() == 0:  # which the server refuses to be
            names = {user.pw_name for user in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            as_whom = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

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
