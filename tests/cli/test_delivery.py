"""What the programs deliver with: a spool each, where that can be had."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.test_wrap import CALL, ECHO, PYTHON, run, stored, wrapping
from trio_oplog._cli import delivery
from trio_oplog._cli.destination import Destination


async def test_spools_that_cannot_be_had_are_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "spools"
    folder.mkdir()
    for where, problem in (
        (tmp_path / "file" / "x", "cannot be made (Not a directory)"),
        (folder, "is a database, but no spool"),
    ):
        for path in delivery._paths(Destination("http://x/", None, "s", str(tmp_path / "log")), folder):
            with sqlite3.connect(path) as other:
                other.execute("CREATE TABLE IF NOT EXISTS x (y)")
            other.close()
        done = await run(wrapping(tmp_path / "log", *PYTHON, ECHO, options=["--spool", str(where)]), CALL)
        assert done.stdout == b'{"id": 1, "result": {"content": []}}\n'
        assert problem in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
    assert len(await stored(tmp_path / "log")) == 2


async def test_programs_that_run_at_once_have_a_spool_each_and_the_next_one_takes_over_what_is_left(
    tmp_path: Path, make_operation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down")

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        down = Destination("http://down/", http, "s", "here")
        opened = partial(delivery.open_client, down, spool=tmp_path / "spools", drain_timeout=0)
        async with opened() as first, opened() as second:
            first.submit(make_operation())
            second.submit(make_operation())
        monkeypatch.setattr(delivery, "_SPOOLS_MAX", 1)
        async with opened() as next_one, opened() as one_too_many:
            assert one_too_many.healthy
            assert next_one.statistics().recovered == 1
        other = down._replace(name="elsewhere")
        async with delivery.open_client(other, spool=tmp_path / "spools", drain_timeout=0) as stranger:
            assert stranger.statistics().recovered == 0
        async with delivery.open_client(down, spool=None, drain_timeout=0) as without:
            assert without.statistics().recovered == 0
    assert len(list((tmp_path / "spools").glob("*.sqlite3"))) == 3
