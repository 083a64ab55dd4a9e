"""``trio-oplog replay`` and ``trio-oplog list``, through every part there is."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from click.testing import CliRunner, Result

from tests.http import serve_on_loopback
from trio_oplog import Operation
from trio_oplog._cli import main, replay
from trio_oplog._cli.destination import Destination
from trio_oplog._listing import ReadClient
from trio_oplog.collector import DEFAULT_PATH, create_app, open_store

CAPTURES = Path(__file__).parents[1] / "captures"
SHELL = CAPTURES / "turn_shell.jsonl"
APPROVALS = CAPTURES / "codex171" / "approval_command.jsonl"
MCP = CAPTURES / "mcp" / "py1_demo.jsonl"
SECRET = "swordfish"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program for a user whose state folder is empty."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("COLUMNS", raising=False)
    for name in ("TRIO_OPLOG_SECRET", "TRIO_OPLOG_SECRET_FILE"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: object, **environment: str) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        if result.exit_code:
            assert result.stderr.count("\n") in (1, 2), result.stderr
        return result

    return invoke


def records(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    operations: list[dict[str, Any]] = json.loads(result.stdout)["operations"]
    return operations


def test_a_recorded_session_ends_as_a_table_of_its_operations(run: Run, tmp_path: Path) -> None:
    result = run("replay", SHELL)
    assert (result.exit_code, result.stderr) == (0, "1 session, 58 frames, 7 operations, 7 delivered, 0 dropped\n")
    lines = result.stdout.splitlines()
    assert len(lines) == 8
    columns = ["WHO", "SOURCE", "ENV", "TOOL", "TOOK", "OUTCOME", "ARGUMENTS", "RESULT"]
    assert lines[0].split() == ["ID", lines[0].split()[1], time.tzname[0], *columns]
    assert sum("commandExecution" in line for line in lines) == 7
    assert "cat: missing.txt: No such file or directory" in result.stdout
    # The file and its folder are for the user alone.
    store = tmp_path / "state" / "trio-oplog" / "operations.sqlite3"
    assert (store.stat().st_mode & 0o777, store.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_who_approved_is_in_the_table_and_with_all_else_in_the_json(run: Run) -> None:
    header, *lines = run("replay", APPROVALS).stdout.splitlines()
    assert {"APPROVED", "WAITED"} < set(header.split())
    assert any("accept (client)" in line for line in lines)
    assert any("decline (client)" in line and "declined" in line for line in lines)
    approvals = [operation["approval"] for operation in records(run("list", "--json")) if "approval" in operation]
    assert all(approval["by"] == "client" and approval["waited_ms"] >= 0 for approval in approvals)
    assert {operation["context"]["server"] for operation in records(run("list", "--json"))} == {"codex/0.171.0"}


def test_durations_and_days_are_those_that_were_recorded(run: Run) -> None:
    run("replay", SHELL)
    operations = records(run("list", "--json"))
    lines = [json.loads(line) for line in SHELL.read_text().split("\n") if line]
    sent = {
        item["id"]: frame["emittedAtMs"] / 1000
        for line in lines
        if (frame := json.loads(line["frame"])).get("method") == "item/started" and (item := frame["params"]["item"])
    }
    for operation in operations:
        emitted = sent[operation["request_id"]]
        assert abs(datetime.fromisoformat(operation["started_at"]) - datetime.fromtimestamp(emitted, UTC)) < timedelta(
            seconds=0.1
        )
    assert max(operation["duration_ms"] for operation in operations) > 400


def test_a_session_without_a_date_of_its_own_ended_when_its_file_did(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "session.jsonl"
    copy.write_bytes(MCP.read_bytes())
    os.utime(copy, (1_700_000_000, 1_700_000_000))
    run("replay", copy)
    newest, *_ = records(run("list", "--json"))
    assert newest["started_at"].startswith("2023-11-14T22:1")


def test_a_session_that_is_replayed_again_is_stored_once(run: Run) -> None:
    first = run("replay", MCP, SHELL)
    before = records(run("list", "--json"))
    second = run("replay", MCP, SHELL)
    assert first.stderr == second.stderr == "2 sessions, 105 frames, 25 operations, 25 delivered, 0 dropped\n"
    assert first.stdout == second.stdout
    assert records(run("list", "--json")) == before


def test_each_workspace_has_its_own_copy(run: Run) -> None:
    run("replay", MCP, "--workspace", "a")
    run("replay", MCP, "--workspace", "b")
    assert len(records(run("list", "--json", "--workspace", "a"))) == 18
    assert len(records(run("list", "--json", "--workspace", "b"))) == 18
    assert run("list").stderr == "0 operations in the workspace local; 'trio-oplog workspaces' shows which there are\n"


def test_operations_are_shown_though_a_page_of_younger_ones_hides_them(run: Run, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log'}"
    now = datetime.now(UTC) + timedelta(days=36500)

    async def crowd() -> None:
        younger = Operation(
            id="x",
            workspace_id="local",
            source="sdk",
            env_id="local",
            tool="younger",
            is_error=False,
            started_at=now,
            completed_at=now,
            duration_ms=0,
        )
        import attrs

        async with open_store(store) as opened:
            await opened.add([attrs.evolve(younger, id=str(number)) for number in range(1000)])

    trio.run(crowd)
    result = run("replay", SHELL, "--to", store)
    assert result.stdout.count("commandExecution") == 7
    assert "younger" not in result.stdout


def test_recorded_exchanges_of_http_are_replayed_too(run: Run) -> None:
    resumed, modern = CAPTURES / "http" / "py1_resume.jsonl", CAPTURES / "http" / "py2_modern_cancel.jsonl"
    result = run("replay", resumed, modern)
    assert result.stderr == "2 sessions, 126 frames, 11 operations, 11 delivered, 0 dropped\n"
    operations = records(run("list", "--json"))
    assert {operation["context"].get("session") for operation in operations} == {None, "30f3ef4b121344fdbe5d66d8ba40cba7"}
    assert {operation["started_at"][:16] for operation in operations} == {"2026-11-27T00:53", "2026-11-27T00:57"}
    assert run("replay", resumed, modern).stdout == result.stdout


def test_exchanges_may_have_begun_before_the_recording_and_break_off(run: Run, tmp_path: Path) -> None:
    call = json.dumps({"id": 1, "method": "tools/call", "params": {"name": "t"}})
    answer = base64.b64encode(b'data: {"id": 1, "result": "\xff"}\n\n').decode()
    stream = {"ev": "response", "status": 200, "headers": [["Content-Type", "text/event-stream"], ["Date", "soon"]]}
    events: list[dict[str, Any]] = [{"x": 0, "ev": "response_data", "data": "of an exchange that began before"}]
    for x, *more in ((1, {"ev": "response_data", "data": {"b64": answer}}), (2,), (3, {"ev": "response_end", "aborted": True})):
        events += [{"x": x, "ev": "request", "method": "POST", "path": "/mcp", "headers": [["x", "\u2028"]]}]
        events += [{"x": x} | event for event in ({"ev": "request_body", "data": call}, stream, *more)]
    events += [{"x": 1, "ev": "response_end"}, {"x": 1, "ev": "client_closed"}]
    session = tmp_path / "session.jsonl"
    session.write_text("\n".join(json.dumps({"t": t} | event) for t, event in enumerate(events)))
    result = run("replay", session)
    assert result.stderr == f"1 session, {len(events)} frames, 3 operations, 3 delivered, 0 dropped\n"
    assert result.stdout.count("unanswered") == 2


def test_a_session_without_calls_is_no_error(run: Run, tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.jsonl"
    quiet.write_text('\n{"dir": "c2s", "t": 0, "frame": "{\\"method\\":\\"initialized\\"}"}\n\n')
    result = run("replay", quiet)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "1 session, 1 frame, 0 operations, 0 delivered, 0 dropped\n"


def test_calls_that_are_open_at_the_end_of_a_session_are_shown_as_unanswered(run: Run, tmp_path: Path) -> None:
    session = tmp_path / "session.jsonl"
    frame = json.dumps({"id": 1, "method": "tools/call", "params": {"name": "slow", "arguments": {"surrogate": "\ud800"}}})
    session.write_text(json.dumps({"dir": "c2s", "t": 1.5, "frame": frame.replace("\\ud800", "\ud800")}))
    result = run("replay", session)
    assert "unanswered" in result.stdout


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"dir": "up", "t": 0, "frame": ""}',
        '{"dir": "c2s", "t": NaN, "frame": ""}',
        '{"dir": "c2s", "t": -1, "frame": ""}',
        '{"dir": "c2s", "t": 0, "frame": 5}',
        '{"x": 1, "t": 0, "ev": "nothing"}',
        '{"x": 1, "t": -1, "ev": "request"}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_frame_is_named(run: Run, tmp_path: Path, line: str) -> None:
    session = tmp_path / "session.jsonl"
    session.write_text('{"dir": "c2s", "t": 0, "frame": ""}\n' + line)
    result = run("replay", session)
    assert result.exit_code == 1
    assert result.stderr == f"trio-oplog: {session}, line 2, is no recorded frame: is this a capture?\n"


@pytest.mark.parametrize("emitted", ['"soon"', "null", "-5", "1e400", "[]", "9" * 400])
def test_a_frame_that_lies_about_its_date_is_not_believed(run: Run, tmp_path: Path, emitted: str) -> None:
    session = tmp_path / "session.jsonl"
    frames = [f'{{"emittedAtMs": {emitted}}}', '{"id":1,"method":"tools/call","params":{"name":"t"}}', '["emittedAtMs"]']
    session.write_text("\n".join(json.dumps({"dir": "c2s", "t": 5, "frame": frame}) for frame in frames))
    os.utime(session, (1_700_000_005, 1_700_000_005))
    run("replay", session)
    [operation] = records(run("list", "--json"))
    assert operation["started_at"] == "2023-11-14T22:13:25Z"


# Destinations


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--to", "ftp://host/"], 2, "The destination must be http(s)://..., postgresql://... or sqlite:///path."),
        (["--to", "sqlite://"], 2, "The destination must be http(s)://..., postgresql://... or sqlite:///path."),
        (["--to", "http://"], 2, "The destination must be an http or https URL with a host."),
        (["--to", "http://127.0.0.1:1/"], 2, "The endpoint's secret is missing: set TRIO_OPLOG_SECRET"),
        (["--to", "http://127.0.0.1:1/", "--secret-file", "/nowhere"], 2, "cannot be read from /nowhere: No such file"),
        (["--to", "sqlite:////nowhere/log"], 1, "the file /nowhere/log cannot be opened"),
        (["--workspace", ""], 1, "workspace_id must be a non-empty string"),
    ],
)
def test_a_destination_that_is_none_is_told_in_one_line(run: Run, arguments: list[str], status: int, message: str) -> None:
    result = run("replay", SHELL, *arguments)
    assert result.exit_code == status
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\xff", b"two\nlines\n", b"\n"])
def test_a_secret_file_that_holds_none_is_named(run: Run, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    for result in (
        run("list", "--from", "http://127.0.0.1:1/", "--secret-file", file),
        run("list", "--from", "http://127.0.0.1:1/", TRIO_OPLOG_SECRET_FILE=str(file)),
    ):
        assert result.exit_code == 2
        assert f"The secret in {file} " in result.stderr


async def serving(nursery: trio.Nursery, store: Path) -> str:
    return await serve_on_loopback(create_app(open_store(f"sqlite:///{store}"), SECRET), nursery)


async def test_an_endpoint_over_http_needs_neither_path_nor_arguments_but_the_secret(
    run: Run, tmp_path: Path, nursery: trio.Nursery
) -> None:
    url = await serving(nursery, tmp_path / "log")
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
    replayed = await in_thread(lambda: run("replay", SHELL, "--to", url, TRIO_OPLOG_SECRET=SECRET))
    assert replayed.stderr == "1 session, 58 frames, 7 operations, 7 delivered, 0 dropped\n"
    listed = await in_thread(lambda: run("list", "--json", "--from", url + DEFAULT_PATH, "--secret-file", secret))
    assert len(records(listed)) == 7
    refused = await in_thread(lambda: run("list", "--from", url, TRIO_OPLOG_SECRET="wrong"))
    assert (refused.exit_code, refused.stderr) == (1, "trio-oplog: the endpoint does not accept the secret (status 401)\n")
    refused = await in_thread(lambda: run("replay", SHELL, "--to", url, TRIO_OPLOG_SECRET="wrong"))
    assert (refused.exit_code, refused.stderr) == (1, "trio-oplog: the endpoint does not accept the secret (status 401)\n")
    nursery.cancel_scope.cancel()


def test_nobody_at_the_address_is_told_before_anything_is_read(run: Run) -> None:
    result = run("replay", SHELL, "--to", "http://127.0.0.1:1", TRIO_OPLOG_SECRET=SECRET)
    assert (result.exit_code, result.stderr) == (1, "trio-oplog: the endpoint cannot be reached: connection refused\n")


def endpoint(answer: Callable[[httpx.Request], httpx.Response], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every destination one that answers like this."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(*_: object, **__: object) -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            yield Destination("http://endpoint/", http, SECRET, "http://endpoint/")

    monkeypatch.setattr("trio_oplog._cli.replay.open_destination", opened)

    @asynccontextmanager
    async def readable(*_: object) -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            yield ReadClient("http://endpoint/", SECRET, http=http)

    monkeypatch.setattr("trio_oplog._cli.listing.open_readable", readable)


def test_an_endpoint_that_refuses_the_records_is_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400) if request.method == "POST" else httpx.Response(200, content=b'{"operations":[]}')

    endpoint(answer, monkeypatch)
    result = run("replay", SHELL)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "1 session, 58 frames, 7 operations, 0 delivered, 7 dropped",
        "trio-oplog: operations were lost (7 rejected): HTTP 400",
    ]


def test_an_endpoint_that_takes_but_does_not_show_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b'{"operations":[]}')

    endpoint(answer, monkeypatch)
    result = run("replay", SHELL)
    assert (result.exit_code, result.stderr) == (0, "1 session, 58 frames, 7 operations, 7 delivered, 0 dropped, 0 shown\n")


def test_a_list_that_fails_after_the_replay_is_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += request.method == "GET"
        return httpx.Response(200 if asked == 1 else 500, content=b'{"operations":[]}')

    endpoint(answer, monkeypatch)
    result = run("replay", SHELL)
    assert result.exit_code == 1
    assert "the operations are stored, but cannot be listed" in result.stderr


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "is no list of operations"),
        (b'{"operations":5}', "is no list of operations"),
        (b'{"operations":[{"id":"1"}]}', "lists something that is no operation"),
        (b'{"operations":[[]]}', "lists something that is no operation"),
    ],
)
def test_a_list_of_something_else_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch, body: bytes, problem: str) -> None:
    endpoint(lambda _: httpx.Response(200, content=body), monkeypatch)
    result = run("list")
    assert (result.exit_code, result.stderr) == (1, f"trio-oplog: the endpoint's answer {problem}\n")


# list


def test_every_option_of_list_narrows_it(run: Run) -> None:
    run("replay", SHELL, MCP)
    everything = records(run("list", "--json"))
    assert len(everything) == 25
    one = everything[0]
    for arguments, matches in {
        ("--tool", "echo"): lambda operation: operation["tool"] == "echo",
        ("--env", "demo"): lambda operation: operation["env_id"] == "demo",
        ("--source", "llm"): lambda operation: operation["source"] == "llm",
        ("--errors",): lambda operation: operation["is_error"],
        ("--no-errors",): lambda operation: not operation["is_error"],
        ("--since", one["started_at"]): lambda operation: operation["started_at"] >= one["started_at"],
        ("--since", "999999s"): lambda operation: True,
        ("--until", one["started_at"]): lambda operation: operation["started_at"] < one["started_at"],
        ("--user", "ada"): lambda operation: operation.get("user_id") == "ada",
        ("--thread", "t-1"): lambda operation: operation.get("thread_id") == "t-1",
        ("--outcome", "tool_error"): lambda operation: operation.get("result_meta", {}).get("outcome") == "tool_error",
        ("--client", "none"): lambda operation: False,
        ("--approval", "any"): lambda operation: "approval" in operation,
        ("--grep", "CAT"): lambda operation: (
            "cat" in json.dumps(operation.get("arguments", "")) + operation["tool"] + operation.get("result_summary", "")
        ),
        ("--id", one["id"]): lambda operation: operation["id"] == one["id"],
    }.items():
        wanted = [operation["id"] for operation in everything if matches(operation)]
        # Whether "999999s" takes in all of a session depends on the day, so only that it is understood.
        found = [operation["id"] for operation in records(run("list", "--json", *arguments))]
        assert found == wanted or "999999s" in arguments


def test_a_page_says_where_the_next_one_begins(run: Run) -> None:
    run("replay", SHELL)
    cursor = json.loads(run("list", "--limit", 3, "--json").stdout)["next"]
    assert (
        run("list", "--limit", 3).stderr == f"3 operations in the workspace local; there is more: --all, or --cursor {cursor}\n"
    )
    assert run("list", "--limit", 8).stderr == "7 operations in the workspace local\n"
    assert run("list", "--limit", 1).stderr.startswith("1 operation in the workspace local; there is more")
    assert run("list", "--limit", 4, "--cursor", cursor).stderr == "4 operations in the workspace local\n"
    assert run("list", "--cursor", "no cursor").stderr == (
        "trio-oplog list: The value of --cursor is not the next of a list. Try 'trio-oplog list --help'.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "'--limit'"),
        (["--limit", "1001"], "'--limit'"),
        (["--since", "someday"], "'--since': must be a time such as"),
        (["--since", "999999d"], "'--since': must be a time such as"),
        (["--tool", ""], "The value of --tool must be a non-empty string."),
        (["--colour"], "No such option"),
    ],
)
def test_a_wrong_option_is_named(run: Run, arguments: list[str], message: str) -> None:
    result = run("list", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.endswith("Try 'trio-oplog list --help'.\n")


def test_a_file_that_is_not_there_is_not_made_to_be_listed(run: Run, tmp_path: Path) -> None:
    result = run("list", "--from", f"sqlite:///{tmp_path / 'typo'}")
    assert result.exit_code == 1
    assert "there is no such file" in result.stderr
    assert not (tmp_path / "typo").exists()


# The progress bar


def test_a_long_replay_moves_on_a_terminal_and_not_in_a_pipe(run: Run, tmp_path: Path) -> None:
    session = tmp_path / "long.jsonl"
    session.write_text('{"dir": "c2s", "t": 0, "frame": ""}\n' * 2_000)
    assert "replaying" not in run("replay", session).output
    assert "replaying" in run("replay", session, FORCE_COLOR="1").stderr
    assert "replaying" not in run("replay", SHELL, FORCE_COLOR="1").stderr


def test_replay_is_one_path_for_files_and_endpoints() -> None:
    # A file is reached through the app, as an endpoint is: there is no second kind of sink to go wrong.
    assert not hasattr(replay, "open_store")
