"""``trio-oplog check`` says what is configured from where, and whether operations would reach the store."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trio_oplog._cli import main
from trio_oplog._cli.check import command
from trio_oplog._cli.options import default_spool
from trio_oplog._delivery.ledger import DropReason
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.spool_file import DeadRow, SpoolFile

SECRET = "swordfish"
Answer = Callable[[str], tuple[int, bytes]]


def check(*arguments: object, **environment: str) -> Result:
    result = CliRunner().invoke(main, ["check", *map(str, arguments)], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert SECRET not in result.output
    return result


def findings(*arguments: object, **environment: str) -> dict[str, list[dict[str, Any]]]:
    result = check("--json", *arguments, **environment)
    told = json.loads(result.stdout)
    assert told["ok"] is (result.exit_code == 0) is not any("remedy" in finding for finding in told["findings"])
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in told["findings"]:
        found.setdefault(finding.pop("what"), []).append(finding)
    return found


def test_all_is_well_with_an_empty_folder_and_the_test_record_is_in_no_list(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/log.sqlite3"
    for _ in range(2):
        result = check("--to", store)
        assert (result.exit_code, result.stderr) == (0, "")
        lines = result.stdout.splitlines()
        assert lines[0] == "ok   configuration no file"
        assert lines[1] == f"     to            {store}  (option)"
        assert "ok   destination   can be read" in lines
    listing = ["list", "--from", store, "--json"]
    listed = [CliRunner().invoke(main, [*listing, *asked]) for asked in ([], ["--source", "trio-oplog-check"])]
    assert [len(json.loads(result.stdout)["operations"]) for result in listed] == [0, 1]
    [operation] = json.loads(listed[1].stdout)["operations"]
    found = findings("--to", store)
    assert found["test record"] == [{"found": f"is stored, as {operation['id']}"}]
    by_id = CliRunner().invoke(main, ["list", "--from", store, "--json", "--id", operation["id"]])
    assert by_id.stdout == listed[1].stdout


def test_each_setting_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "config" / "trio-oplog" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(
        'to = "http://me:hunter2@127.0.0.1:9/x?key=hunter2"\nsecret-file = "s"\n[wrap]\nenv = "box"\nredact = ["konto"]\n'
        '[gateway]\nenv = "hall"\nredact-none = true\nno-spool = true\n[check]\nuser = "ada"\n'
    )
    found = findings("--workspace", "w")
    assert found["configuration"] == [{"found": str(path)}]
    assert found["to"] == [{"found": "http://127.0.0.1:9/x", "source": "file"}]
    assert found["workspace"] == [{"found": "w", "source": "option"}]
    assert found["env"] == [{"found": "box", "source": "file"}]
    assert found["user"] == [{"found": "ada", "source": "file"}]
    assert found["source"] == [{"found": "mcp", "source": "default"}]
    assert found["redact"] == [{"found": "the usual keys, konto", "source": "file"}]
    assert found["secret"] == [{"found": f"in {path.parent / 's'}", "source": "file"}]
    [destination] = found["destination"]
    assert destination["remedy"] == f"The secret cannot be read from {path.parent / 's'}: No such file or directory"
    as_gateway = findings("--for", "gateway", TRIO_OPLOG_SECRET=SECRET)
    assert as_gateway["env"][0]["found"] == "hall"
    assert as_gateway["redact"][0]["found"] == "nothing"
    assert as_gateway["spool"][0]["found"] == "none"
    assert "spools" not in as_gateway
    assert as_gateway["secret"] == [{"found": "from TRIO_OPLOG_SECRET", "source": "environment"}]


def test_every_mistake_of_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('workspce = "w"\n[gateway]\nmax-frame = "a"\n[wrap]\ngrace = 1\n')
    result = CliRunner().invoke(main, ["--config", str(path), "check"])
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if line.startswith("FAIL")] == [
        f"FAIL configuration {path}: workspce is no option: write workspace",
        f"FAIL configuration {path}: [gateway] max-frame must be a whole number",
    ]


def test_the_command_runs_without_the_program_around_it() -> None:
    assert CliRunner().invoke(command, [], standalone_mode=False).return_value == 0


@contextmanager
def endpoint(answer: Answer) -> Iterator[str]:
    """A server on loopback that gives these answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = answer(self.command)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 -- http.server's name

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "what", "remedy"),
    [
        (lambda _: (401, b"{}"), "destination", "give the secret that the endpoint has, with --secret-file"),
        (lambda _: (404, b"{}"), "destination", "name the whole address of the endpoint with --to"),
        (lambda _: (500, b"{}"), "destination", "see that a collector runs there, or name another destination with --to"),
        (lambda m: (200, b'{"operations":[]}') if m == "GET" else (400, b"{}"), "test record", "see that this secret may write"),
        (lambda m: (200 if m == "GET" else 201, b'{"operations":[]}'), "test record", "reading and writing reach the same store"),
        (lambda m: (200 if m == "GET" else 201, b'{"operations":[5]}'), "test record", "see that a collector runs there"),
        (lambda m: (200 if m == "GET" else 201, b'{"operations":5}'), "test record", "see that a collector runs there"),
    ],
)
def test_a_destination_that_does_not_do_is_told_with_the_remedy(answer: Answer, what: str, remedy: str) -> None:
    with endpoint(answer) as url:
        found = findings("--to", url, TRIO_OPLOG_SECRET=SECRET)
    [problem] = found[what]
    assert remedy in problem["remedy"]
    if what != "destination":
        assert found["destination"] == [{"found": "answers, and takes the secret for reading"}]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--to", "http://127.0.0.1:9/"], "the endpoint cannot be reached: connection refused"),
        (["--to", "sqlite:////nowhere/log"], "the file /nowhere/log cannot be opened"),
        (["--source", ""], "source must be a non-empty string"),
    ],
)
def test_a_destination_that_is_not_there_is_told(arguments: list[str], problem: str) -> None:
    [found] = findings(*arguments, TRIO_OPLOG_SECRET=SECRET)["destination"]
    assert problem in found["found"]


def test_a_missing_secret_and_an_unusable_state_folder_are_told(tmp_path: Path) -> None:
    found = findings("--to", "http://127.0.0.1:9/")
    assert found["secret"] == [{"found": "not set", "source": "default"}]
    assert found["destination"][0]["remedy"].startswith("The endpoint's secret is missing: set TRIO_OPLOG_SECRET")
    (tmp_path / "state").write_text("")
    found = findings()
    assert found["to"] == [{"found": "your own store", "source": "default"}]
    assert found["destination"][0]["found"].endswith(": Not a directory") or "File exists" in found["destination"][0]["found"]
    assert found["spools"][0]["remedy"] == "name another folder with --spool"


def test_how_full_the_spools_are(tmp_path: Path) -> None:
    folder = default_spool()
    folder.mkdir(parents=True)
    records = [Record(number, None, 9, 0.0, b"{}", str(number)) for number in (1, 2)]
    for name in ("a", "b"):
        file = SpoolFile.open(folder / f"{name}.spool", 10)
        file.commit(records, [], [])
        file.close()
    assert findings()["spools"] == [{"found": "2 files, 4 operations waiting (8 bytes)"}]

    file = SpoolFile.open(folder / "a.spool", 10)
    file.commit([], [1], [DeadRow("", "1", b"{}", DropReason.REJECTED, 0.0)])
    file.close()
    (folder / "b.spool").rename(folder / "b.spool.corrupt-20260101T000000.000000Z")
    with sqlite3.connect(folder / "c.spool") as other:
        other.execute("CREATE TABLE x (y)")
    other.close()
    found = findings()["spools"]
    assert [finding["found"].removeprefix("the spool ").removeprefix(f"{folder}/") for finding in found] == [
        "1 operation rejected",
        "c.spool is a database, but no spool",
        "b.spool.corrupt-20260101T000000.000000Z is damaged",
        "1 file, 1 operation waiting (2 bytes)",
    ]
    assert [bool(finding.get("remedy")) for finding in found] == [True, True, True, False]
