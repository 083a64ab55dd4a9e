"""Two PostgreSQL servers, one of which follows the other, and pgbouncer before the one that is the primary."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.collector.conftest import find_postgresql, server_user

PORTS = {"first": 5432, "second": 5433}
SETTINGS = (
    "-c listen_addresses='' -c fsync=off -c wal_level=replica -c max_wal_senders=4 -c hot_standby=on "
    "-c wal_retrieve_retry_interval=100ms"
)


class Cluster:
    """In a folder of its own, on Unix sockets."""

    def __init__(self, folder: Path) -> None:
        programs = find_postgresql()
        assert programs is not None
        self._programs = programs
        self._folder = folder
        self._user: dict[str, Any] = server_user()
        self._primary = "first"
        self._bouncer: subprocess.Popen[bytes] | None = None
        if self._user:
            os.chown(folder, self._user["user"], self._user["group"])
        self._run("initdb", "-D", folder / "first", "-U", "oplog", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._control("first", "start")
        source = f"host={folder} port={PORTS['first']} user=oplog"
        self._run("pg_basebackup", "-D", folder / "second", "-d", source, "-R", "--no-sync", "-c", "fast")
        self._control("second", "start")
        with self.connect() as connection:
            connection.execute("CREATE DATABASE oplog")
        self._write_ini()
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        assert program is not None
        with (folder / "bouncer").open("wb") as output:
            self._bouncer = subprocess.Popen([program, str(folder / "ini")], stdout=output, stderr=output, **self._user)
        deadline = time.monotonic() + 60
        while not (folder / ".s.PGSQL.6432").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def url(self) -> str:
        """Where collectors find the database."""
        return f"postgresql://oplog@/oplog?host={self._folder}&port=6432"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection to the primary itself."""
        where = f"host={self._folder} port={PORTS[self._primary]} user=oplog dbname={database}"
        return psycopg.connect(where, autocommit=True)

    def restart(self, how: str) -> None:
        """Restart the primary: ``fast``, or ``immediate`` as in a crash."""
        self._control(self._primary, "restart", "-m", how)

    def switch_over(self) -> None:
        """Let the other server be the primary, once it has everything; the first one is not there any more."""
        deadline = time.monotonic() + 60
        with self.connect() as connection:
            while connection.execute("SELECT FROM pg_stat_replication WHERE state = 'streaming'").fetchone() is None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        self._control(self._primary, "stop", "-m", "fast")  # which waits until those that follow have it all
        self._primary = "second"
        self._control("second", "promote")
        self._write_ini()
        assert self._bouncer is not None
        self._bouncer.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End everything."""
        if self._bouncer is not None:
            self._bouncer.terminate()
            self._bouncer.wait(30)
        for name in PORTS:
            if (self._folder / name / "postmaster.pid").exists():
                self._control(name, "stop", "-m", "immediate")

    def _write_ini(self) -> None:
        file = self._folder / "ini"
        file.write_text(
            f"[databases]\n* = host={self._folder} port={PORTS[self._primary]} user=oplog\n[pgbouncer]\nlisten_addr=\n"
            f"unix_socket_dir={self._folder}\nlisten_port=6432\nauth_type=any\npool_mode=transaction\ndefault_pool_size=4\n"
            "server_login_retry=1\n"
        )
        file.chmod(0o644)

    def _control(self, name: str, *what: str) -> None:
        options = f"-k {self._folder} -p {PORTS[name]} {SETTINGS}"
        starts = ("-l", self._folder / f"{name}.log", "-o", options) if what[0] in ("start", "restart") else ()
        self._run("pg_ctl", "-D", self._folder / name, "-w", *what, *starts)

    def _run(self, program: str, *arguments: str | Path) -> None:
        # Into a file: a server would keep a pipe open for as long as it runs.
        with (self._folder / "output").open("a") as output:
            command = [self._programs / program, *arguments]
            done = subprocess.run(command, cwd=self._folder, check=False, stdout=output, stderr=output, timeout=120, **self._user)
        assert done.returncode == 0, (self._folder / "output").read_text()
