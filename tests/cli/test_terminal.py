"""``list``, ``show``, ``stats``, ``export`` and ``workspaces`` on real stores: what a person and what a program sees."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import pyarrow.parquet as pq
import pytest
import trio
from attrs import evolve
from click.testing import CliRunner, Result

from tests.cli.terminal import on_a_terminal, on_a_terminal_of_its_own
from trio_oplog import Approval, Context, DecidedBy, ListError, Operation, Outcome, ResultMeta, _wire
from trio_oplog._cli import following, listing, main, show
from trio_oplog._cli.following import follow
from trio_oplog._cli.layout import Column, Layout, fit
from trio_oplog._cli.listening import name_of
from trio_oplog._cli.output import harmless, harmless_json
from trio_oplog._cli.stats import bar
from trio_oplog._cli.times import in_zone
from trio_oplog._listing import Arrivals, ListQuery, ReadClient
from trio_oplog._serving import HTTPServer
from trio_oplog.collector import DEFAULT_PATH, Store, create_app, open_store

SECRET = "swordfish"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOSTILE = "\x1b[2J\x1b]0;x\x07\x00\x9b31m\u202eevil\u2066\u200b\u2028 \u6771\u4eac \U000e0041"
FORBIDDEN = set(HOSTILE) - set(" evil\u6771\u4eac[]2J0;x31m")

Run = Callable[..., Result]


def operation(number: int, **changes: Any) -> Operation:
    values: dict[str, Any] = {
        "id": f"{number:08x}-0000-4000-8000-000000000000",
        "workspace_id": "local",
        "source": "mcp",
        "env_id": "laptop",
        "tool": "read_file",
        "is_error": False,
        "started_at": NOON + timedelta(minutes=number),
        "completed_at": NOON + timedelta(minutes=number, seconds=1),
        "duration_ms": 7,
        "user_id": "ada",
        "arguments": b'{"path":"/home/ada/notes.txt"}',
        "result_summary": "buy milk",
    }
    return Operation(**(values | changes))


OPERATIONS = [
    operation(0),
    operation(
        1,
        tool="shell",
        user_id=None,
        context=Context(client="codex/1.0", server="s/2"),
        is_error=True,
        duration_ms=61_000,
        result_summary='{"a":[1,{"b":null}]}',
        result_meta=ResultMeta(outcome=Outcome.DECLINED, waited_ms=2_100, exit_code=3),
        approval=Approval(decision="decline", by=DecidedBy.CLIENT, waited_ms=2_090, reason="no"),
    ),
    operation(2, tool="search", user_id="bob", arguments=None, result_summary=None, is_error=True, duration_ms=1_500),
]


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[str]:
    """A collector in this process; its URL."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(HTTPServer(create_app(store, SECRET)).serve, listeners)
        yield f"http://{name_of(listeners[0])}"
        nursery.cancel_scope.cancel()


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., str]:
    """Stores operations and says where."""
    url = f"sqlite:///{tmp_path / 'log'}"

    async def add(operations: tuple[Operation, ...]) -> None:
        async with open_store(url) as store:
            await store.add(operations)

    def filled(*operations: Operation) -> str:
        trio.run(add, operations)
        return url

    return filled


@pytest.fixture
def run(fill: Callable[..., str]) -> Run:
    """Runs the program on a store with three operations."""
    url = fill(*OPERATIONS)

    def invoke(command: str, *arguments: object, width: int = 120, at: str | None = None, **environment: str) -> Result:
        words = [command, "--from", at or url, *map(str, arguments)]
        result = CliRunner().invoke(main, words, env={"COLUMNS": str(width), **environment})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


def test_each_filter_narrows_the_list(run: Run) -> None:
    for arguments, wanted in {
        ("--user", "bob"): [2],
        ("--outcome", "declined"): [1],
        ("--grep", "NOTES"): [1, 0],
        ("--client", "codex/1.0"): [1],
        ("--approval", "any"): [1],
        ("--thread", "t"): [],
        ("--until", "2026-01-31 12:01"): [0],
        ("--since", "2026-01-31T12:02:00Z", "--utc"): [2],
    }.items():
        document = json.loads(run("list", "--json", *arguments).stdout)
        assert [int(each["id"][:8], 16) for each in document["operations"]] == wanted, arguments


def test_a_list_goes_on_page_after_page(run: Run) -> None:
    first = json.loads(run("list", "--json", "--limit", 2).stdout)
    second = json.loads(run("list", "--json", "--limit", 2, "--cursor", first["next"]).stdout)
    assert "next" not in second
    everything = run("list", "--all", "--limit", 1, "--json")
    assert everything.stderr == ""
    assert [json.loads(line) for line in everything.stdout.splitlines()] == first["operations"] + second["operations"]
    table = run("list", "--all", "--limit", 1)
    assert (len(table.stdout.splitlines()), table.stderr) == (4, "3 operations in the workspace local\n")
    assert run("list", "--all", "--tool", "none").output == "0 operations in the workspace local\n"


def test_a_search_says_how_far_it_came(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_oplog.collector._pages.SCANNED_AT_ONCE", 1)
    monkeypatch.setattr(Store.page, "__kwdefaults__", {**(Store.page.__kwdefaults__ or {}), "budget": 0.0})
    result = run("list", "--grep", "nothing")
    assert result.stderr.startswith(
        "0 operations in the workspace local, searched back to 2026-01-31 12:02:00+00:00; there is more: --all, or --cursor "
    )
    assert len(run("list", "--grep", "buy", "--all").stdout.splitlines()) == 2


def test_times_are_local_unless_utc_is_asked_for(run: Run) -> None:
    # The time zone of the process, without a database of time zones.
    os.environ["TZ"] = "AAA-05:30"
    time.tzset()
    assert "2026-01-31 AAA" in run("list", width=200).stdout
    assert "17:32:00.000" in run("list", width=200).stdout
    assert "12:02:00.000" in run("list", "--utc", width=200).stdout
    assert len(run("list", "--since", "2026-01-31 17:31").stdout.splitlines()) == 3
    assert len(run("list", "--since", "2026-01-31 12:01", "--utc").stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "text", ["now", "today", "yesterday", "12:00", "9:30", "12:00:30", "90s", "15m", "2h", "7d", "1w", "2026-01-31"]
)
def test_a_time_is_what_people_write(run: Run, text: str) -> None:
    assert run("list", "--since", text).exit_code == 0


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-02-30", "999999w", "9999-12-31 99:00", ""])
def test_what_is_no_time_is_a_wrong_call_in_one_line(run: Run, text: str) -> None:
    result = run("list", "--since", text)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "must be a time such as" in result.stderr


def test_a_time_at_the_end_of_the_calendar_stays_in_utc() -> None:
    os.environ["TZ"] = "AAA-14"
    time.tzset()
    last = datetime.max.replace(tzinfo=UTC)
    assert in_zone(last, utc=False) == last


def test_a_wrong_value_is_named_by_its_option(run: Run) -> None:
    for words, problem in {
        ("list", "--cursor", "nonsense"): "The value of --cursor is not the next of a list",
        ("list", "--workspace", ""): "The value of --workspace must be a non-empty string",
        ("show", "x", "--workspace", ""): "The value of --workspace must be a non-empty string",
        ("list", "--since", "1h", "--until", "2h"): "--until is no later than --since: nothing can lie between them. Try",
        ("stats", "--since", "2026-01-31", "--until", "2026-01-31"): "--until is no later than --since",
        ("list", "extra"): "Got unexpected extra argument (extra). Try",
        ("list", "--grep", "x" * 2_000): "The value of --grep must be at most 1024 bytes long",
    }.items():
        result = run(*words)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert problem in result.stderr


def test_following_goes_with_nothing_that_has_an_end(run: Run) -> None:
    result = run("list", "--follow", "--all")
    assert result.exit_code == 2
    assert "--follow goes on from now" in result.stderr


# show


def test_show_says_everything(run: Run) -> None:
    result = run("show", "00000001")
    assert result.exit_code == 0, result.output
    assert result.stdout == SHOWN


SHOWN = """\
id                     00000001-0000-4000-8000-000000000000
started_at             2026-01-31 12:01:00.000000 UTC
completed_at           2026-01-31 12:01:01.000000 UTC
duration_ms            61000 (1 min 1 s)
tool                   shell
is_error               true
env_id                 laptop
source                 mcp
workspace_id           local
result_meta.outcome    declined
result_meta.exit_code  3
result_meta.waited_ms  2100 (2.1 s)
context.client         codex/1.0
context.server         s/2
approval.by            client
approval.waited_ms     2090 (2.1 s)
approval.decision      decline
approval.reason        no

arguments
{
  "path": "/home/ada/notes.txt"
}

result
{
  "a": [
    1,
    {
      "b": null
    }
  ]
}
"""


def test_show_takes_the_beginning_of_an_id_and_json_is_the_record(run: Run) -> None:
    assert json.loads(run("show", "00000002", "--json").stdout)["tool"] == "search"
    assert json.loads(run("show", OPERATIONS[0].id, "--json").stdout)["tool"] == "read_file"
    plain = run("show", "00000002").stdout
    assert "arguments" not in plain
    assert "result" not in plain


def test_an_id_that_is_unknown_or_not_enough_is_an_error_in_one_line(run: Run) -> None:
    unknown = run("show", "ff\x1b", "--workspace", "local")
    assert (unknown.exit_code, unknown.stderr) == (1, "trio-oplog: the workspace local has no operation ff\ufffd\n")
    several = run("show", "0000")
    names = ", ".join(each.id for each in OPERATIONS[::-1])
    assert (several.exit_code, several.stderr) == (
        1,
        f"trio-oplog: several operations begin with 0000, such as {names}: say more of it\n",
    )
    empty = run("show", "")
    assert (empty.exit_code, empty.stderr.count("\n")) == (2, 1)
    assert "The ID must be a non-empty string." in empty.stderr


def test_an_operation_is_found_in_any_workspace_and_a_whole_id_goes_before_its_beginnings(
    fill: Callable[..., str], run: Run
) -> None:
    fill(operation(1, workspace_id="team"), operation(77, workspace_id="team"))
    fill(*(operation(0, id=f"same{'x' * number}") for number in range(6)))
    assert json.loads(run("show", "0000004d", "--json").stdout)["workspace_id"] == "team"
    assert run("show", "0000004d", "--workspace", "local").stderr == "trio-oplog: the workspace local has no operation 0000004d\n"
    assert run("show", "ff").stderr == "trio-oplog: no workspace has an operation ff\n"
    name = OPERATIONS[1].id
    assert run("show", "00000001").stderr == (
        f"trio-oplog: several operations begin with 00000001, such as {name} in local, {name} in team: name the workspace\n"
    )
    assert json.loads(run("show", "00000001", "--workspace", "team", "--json").stdout)["tool"] == "read_file"
    assert json.loads(run("show", "same", "--json").stdout)["id"] == "same"
    assert json.loads(run("show", "samexxxxx", "--json").stdout)["id"] == "samexxxxx"
    assert run("show", "samex").exit_code == 0
    several = run("show", "sam").stderr
    assert several.endswith("such as samexxxxx, samexxxx, samexxx: say more of it\n")


def endpoint(answer: Callable[[httpx.Request], httpx.Response]) -> ReadClient:
    return ReadClient("http://endpoint/", SECRET, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)))


async def test_an_endpoint_of_another_make_is_asked_for_the_whole_id() -> None:
    bodies = {each.id: _wire.encode(each) for each in OPERATIONS}

    def answer(request: httpx.Request) -> httpx.Response:
        wanted = request.url.params.get("id")
        found = bodies.values() if wanted is None else [body for name, body in bodies.items() if name == wanted]
        return httpx.Response(200, content=b'{"operations":[' + b",".join(found) + b"]}")

    name = OPERATIONS[1].id
    assert [each.id for each in await show._find_in(endpoint(answer), "local", name)] == [name]
    assert [each.id for each in await show._find_in(endpoint(answer), "local", "00000002")] == [OPERATIONS[2].id]
    with pytest.raises(click.UsageError, match="name one with --workspace"):
        await show._workspaces(endpoint(lambda _: httpx.Response(404)))
    with pytest.raises(ListError, match="does not accept the secret"):
        await show._workspaces(endpoint(lambda _: httpx.Response(401)))


def test_odd_records_are_shown_as_they_are(fill: Callable[..., str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(operation(5, result_summary="{no json", arguments=b'"' + b"x" * 70_000 + b'"', duration_ms=1_000))
    shown = run("show", "00000005").stdout
    assert "{no json" in shown
    assert "1000 (1.0 s)" in shown

    async def odd(*_: object) -> bytes:
        return b'{"id":"1","started_at":"then","tool":5,"is_error":false,"x":[1]}'

    monkeypatch.setattr(show, "_find", odd)
    lines = run("show", "1").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["id", "1"],
        ["started_at", "then"],
        ["tool", "5"],
        ["is_error", "false"],
        ["x", "[1]"],
    ]


# stats, workspaces


def test_stats_count_by_whatever_is_asked_for(run: Run) -> None:
    assert [line.split()[0] for line in run("stats", "--by", "user").stdout.splitlines()] == ["USER", "(none)", "ada", "bob"]
    assert [line.split("  ")[0] for line in run("stats", "--by", "hour").stdout.splitlines()] == [
        "HOUR (UTC)",
        "2026-01-31 12:00",
    ]
    assert [line.split("  ")[0] for line in run("stats", "--by", "day").stdout.splitlines()] == ["DAY (UTC)", "2026-01-31"]
    document = json.loads(run("stats", "--by", "outcome", "--json", "--errors").stdout)
    assert (document["by"], [group["value"] for group in document["groups"]]) == ("outcome", ["declined", "error"])
    most = run("stats", "--by", "user", "--limit", "1")
    assert [line.split()[0] for line in most.stdout.splitlines()] == ["USER", "(none)"]
    assert most.stderr == "there are more; these are the most frequent 1\n"
    assert json.loads(run("stats", "--by", "user", "--limit", "1", "--json").stdout)["incomplete"]
    assert run("stats", "--workspace", "none").output == "there is nothing to count in the workspace none\n"
    wrong = run("stats", "--user", "ada", "--tool", "shell")
    assert wrong.exit_code == 2
    assert "The value of --user is counted apart" in wrong.stderr


def test_where_the_clocks_were_changed_each_hour_says_which_zone_it_is_of(fill: Callable[..., str], run: Run) -> None:
    fill(operation(9, started_at=NOON + timedelta(days=180)))
    os.environ["TZ"] = "AAA0BBB,M3.5.0,M10.5.0"
    time.tzset()
    lines = run("stats", "--by", "hour").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["HOUR", "2026-01-31 12:00 AAA", "2026-07-30 13:00 BBB"]


def test_bars_are_as_long_as_what_they_count() -> None:
    assert [bar(count, 80, 10) for count in (0, 1, 4, 8, 79, 80)] == ["▏", "▏", "▌", "█", "█████████▉", "██████████"]


def test_workspaces_are_named(fill: Callable[..., str], run: Run) -> None:
    fill(operation(1, workspace_id="b\x1b"))
    assert run("workspaces").stdout == "b\ufffd\nlocal\n"
    assert json.loads(run("workspaces", "--json").stdout) == {"workspaces": ["b\x1b", "local"]}


def test_a_store_without_workspaces_says_so(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'empty'}"

    async def make() -> None:
        async with open_store(store):
            pass

    trio.run(make)
    result = CliRunner().invoke(main, ["workspaces", "--from", store])
    assert (result.stdout, result.stderr) == ("", "there is no workspace yet: one appears with its first record\n")


# export


def test_an_export_is_the_records_in_any_format(run: Run, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run("export").stdout.splitlines()]
    assert [line["tool"] for line in lines] == ["search", "shell", "read_file"]
    assert run("export", "--format", "csv", "-o", tmp_path / "x.csv").stderr == f"3 operations in {tmp_path / 'x.csv'}\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert [row["is_error"] for row in rows] == ["true", "true", "false"]
    one = run("export", "--format", "parquet", "--output", tmp_path / "x.parquet", "--tool", "shell")
    assert one.stderr == f"1 operation in {tmp_path / 'x.parquet'}\n"
    [row] = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert {
        name: row[name] for name in ("started_at", "duration_ms", "is_error", "outcome", "approval", "waited_ms", "user_id")
    } == {
        "started_at": OPERATIONS[1].started_at,
        "duration_ms": 61_000,
        "is_error": True,
        "outcome": "declined",
        "approval": "decline",
        "waited_ms": 2_100,
        "user_id": None,
    }
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("x")) == ["x.csv", "x.parquet"]
    piped = CliRunner().invoke(main, ["export", "--from", f"sqlite:///{tmp_path / 'log'}", "--format", "parquet", "-o", "-"])
    assert pq.read_table(io.BytesIO(piped.stdout_bytes)).num_rows == 3


def test_an_export_that_fails_leaves_no_file(run: Run, tmp_path: Path) -> None:
    result = run("export", "-o", tmp_path / "x.csv", "--cursor", "nonsense")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--cursor is not the next of a list" in result.stderr
    assert not list(tmp_path.glob("x*"))
    for path, problem in {tmp_path: "is a folder", tmp_path / "a" / "x": "would lie in a folder that is not there"}.items():
        result = run("export", "-o", path)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"Invalid value for --output: {path} {problem}. Try" in result.stderr


def test_parquet_without_its_extra_is_said_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("export", "--format", "parquet")
    assert (result.exit_code, result.stderr) == (1, "trio-oplog: Parquet needs pyarrow: pip install 'trio-oplog[parquet]'\n")


# Hostile texts, colours, real terminals


def test_a_terminal_gets_colours_unless_it_is_told_not_to(run: Run, tmp_path: Path) -> None:
    words = ["list", "--from", f"sqlite:///{tmp_path / 'log'}"]
    coloured, status = on_a_terminal(words, 120)
    assert (status, "\x1b[31mdeclined" in coloured) == (0, True)
    plain, _ = on_a_terminal(words, 120, NO_COLOR="1")
    assert plain == run("list", width=120).output
    assert "\x1b" not in plain


EVERY = [
    ["list"],
    ["list", "--json"],
    ["list", "--all", "--json"],
    ["show", "00000009"],
    ["show", "00000009", "--json"],
    ["stats"],
    ["stats", "--by", "user"],
    ["workspaces"],
    ["export"],
    ["export", "--format", "csv"],
]


def test_what_strangers_wrote_never_reaches_a_terminal_raw(fill: Callable[..., str]) -> None:
    text = json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False).encode()
    url = fill(
        operation(
            9,
            tool=HOSTILE,
            user_id=HOSTILE,
            env_id=HOSTILE,
            source=HOSTILE,
            arguments=text,
            result_summary=f"{HOSTILE}\n\t{HOSTILE}\r\x0b",
            context=Context(client=HOSTILE, server=HOSTILE),
            approval=Approval(decision=HOSTILE, by=DecidedBy.CLIENT, waited_ms=1, reason=HOSTILE),
        ),
        operation(10, id=HOSTILE),
        operation(1, workspace_id=HOSTILE),
    )
    for words in EVERY:
        written, status = on_a_terminal([words[0], "--from", url, *words[1:]], 120, NO_COLOR="1")
        assert status == 0, words
        assert not FORBIDDEN & set(written), words
        if "--json" in words:
            assert [json.loads(line) for line in written.splitlines()]


def test_parquet_is_not_for_a_terminal(fill: Callable[..., str]) -> None:
    written, status = on_a_terminal(["export", "--from", fill(), "--format", "parquet"], 80)
    assert (status, written.count("\n")) == (2, 1)
    assert "name a file with --output" in written


def test_harmless_json_has_the_same_value() -> None:
    text = json.dumps({"a": HOSTILE}, ensure_ascii=False)
    assert json.loads(harmless_json(text)) == json.loads(text)
    assert harmless_json("{}") == "{}"
    assert harmless("a\tb") == "a\ufffdb"


# Layout


def test_a_column_is_left_out_before_the_others_become_useless() -> None:
    columns = [
        Column("A", lambda row: (row, ""), 3, 9, 0),
        Column("B", lambda row: (row, ""), 3, 9, 0, rank=2),
        Column("C", lambda row: (row, ""), 3, 9, 0, rank=1),
    ]
    assert [column.header for column in Layout.of(columns, ["xxxxx"], 7, gap=1).columns] == ["A", "B"]
    [only] = Layout.of(columns, ["xxxxx"], 2, gap=1).columns
    assert (only.header, only.width) == ("A", 3)


def test_a_wide_character_is_not_cut_in_two() -> None:
    assert fit("\u6771\u4eac\u6771\u4eac", 6) == "\u6771\u4eac…"
    assert fit("\u6771\u4eac\u6771", 6) == "\u6771\u4eac\u6771"


# Endpoints, and what arrives


async def test_every_command_reads_from_a_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_OPLOG_SECRET", SECRET)
    async with open_store(f"sqlite:///{tmp_path / 'log'}") as store, serving(store) as url:
        await store.add(OPERATIONS)

        async def run(*words: str) -> bytes:
            words = (*words, "--from", url)
            result = await trio.to_thread.run_sync(lambda: CliRunner().invoke(main, words))
            assert result.exit_code == 0, result.output
            return result.stdout_bytes

        assert len(json.loads(await run("list", "--json"))["operations"]) == 3
        assert json.loads(await run("show", "00000001", "--json"))["tool"] == "shell"
        assert len(json.loads(await run("stats", "--json"))["groups"]) == 3
        assert len((await run("export")).splitlines()) == 3
        assert await run("workspaces") == b"local\ntrio-oplog\n"


async def test_what_arrives_is_shown_from_a_store_and_from_a_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_INTERVAL", 0.01)
    query = ListQuery(workspace_id="local")
    async with open_store(f"sqlite:///{tmp_path / 'log'}") as store, serving(store) as url:
        await store.add(OPERATIONS[:1])
        for number, readable in enumerate((store, ReadClient(f"{url}{DEFAULT_PATH}", SECRET))):
            new = operation(100 + number)
            with trio.fail_after(60):
                async with aclosing(follow(readable, query)) as lists:
                    assert await anext(lists) == []
                    await store.add([new])
                    arrived: list[bytes] = []
                    while not arrived:
                        arrived = await anext(lists)
            assert arrived == [_wire.encode(new)]


async def test_a_list_that_is_followed_says_that_it_waits_where_there_is_nothing_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'log'}") as store:
        shown = listing._Listing(ListQuery(workspace_id="local"), utc=True, as_json=False)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shown.follow, store)
                said = ""
                while "\n" not in said:
                    await trio.sleep(0.01)
                    said += capsys.readouterr().err
                nursery.cancel_scope.cancel()
    assert said == "nothing yet in the workspace local; waiting, until Ctrl-C\n"


async def test_a_list_that_is_followed_begins_with_the_latest_and_shows_none_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_INTERVAL", 0.01)
    async with open_store(f"sqlite:///{tmp_path / 'log'}") as store:
        await store.add(OPERATIONS)
        shown = listing._Listing(ListQuery(workspace_id="local", limit=2), utc=True, as_json=True)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shown.follow, store)
                lines: list[str] = []
                for number in (1, 2, 3):
                    while len(lines) < 1 + number:
                        await trio.sleep(0.01)
                        lines += capsys.readouterr().out.splitlines()
                    await store.add([operation(100 + number)])
                nursery.cancel_scope.cancel()
    assert [json.loads(line)["id"][:8] for line in lines] == ["00000001", "00000002", "00000065", "00000066"]


def test_a_terminal_shows_what_arrives_as_a_table(run: Run, tmp_path: Path) -> None:
    words = ["list", "--from", f"sqlite:///{tmp_path / 'log'}", "-f"]
    written, status = on_a_terminal_of_its_own(words, 120, until=b"search")
    assert status == 130
    first = [line.split()[0] for line in written.splitlines()[:4]]
    assert first == ["\x1b[1mID\x1b[0m", *(f"\x1b[2m{each.id[:12]}\x1b[0m" for each in OPERATIONS)]


class Broken(ReadClient):
    """An endpoint whose streams end as they are told to."""

    def __init__(self, *streams: list[Arrivals | Exception]) -> None:
        super().__init__("http://endpoint/", SECRET, http=httpx.AsyncClient())
        self.streams = list(streams)
        self.asked: list[str | None] = []

    async def live(self, query: ListQuery, after: str | None = None) -> Any:
        self.asked.append(after)
        for each in self.streams.pop(0):
            await trio.lowlevel.checkpoint()
            if isinstance(each, Exception):
                raise each
            yield each


async def test_an_endpoint_that_is_lost_is_asked_again_from_where_it_was(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ListError("the endpoint broke off: connection lost")
    refused = ListError("the endpoint does not accept the secret", 401)
    endpoint = Broken([Arrivals([], "1"), lost], [lost], [Arrivals([("2", b"x")], "2")], [refused])
    found: list[list[bytes]] = []
    with pytest.raises(ListError) as caught:
        async for bodies in follow(endpoint, ListQuery(workspace_id="ws")):
            found += [bodies]
    assert caught.value is refused
    assert (found, endpoint.asked) == ([[], [b"x"]], [None, "1", "1", "2"])
    assert capsys.readouterr().err.splitlines() == [
        "trio-oplog: the endpoint broke off: connection lost; trying again",
        "trio-oplog: the endpoint answers again",
        "trio-oplog: the endpoint ended the stream; trying again",
    ]
    assert trio.current_time() == 3 * following.RETRY_INTERVAL


async def test_an_endpoint_that_never_answered_is_not_asked_again() -> None:
    lost = ListError("the endpoint cannot be reached: connection refused")
    with pytest.raises(ListError) as caught:
        await anext(follow(Broken([lost]), ListQuery(workspace_id="ws")))
    assert caught.value is lost


def test_a_shell_completes_commands_and_options() -> None:
    env = {**os.environ, "_TRIO_OPLOG_COMPLETE": "bash_complete", "COMP_WORDS": "trio-oplog list --unt", "COMP_CWORD": "2"}
    program = Path(sys.executable).with_name("trio-oplog")
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "plain,--until\n"


def test_a_record_on_two_days_shows_days(fill: Callable[..., str], run: Run) -> None:
    fill(evolve(operation(7), started_at=NOON + timedelta(days=1)))
    assert "STARTED (UTC)" in run("list", width=200).stdout
    assert "02-01 12:00:00" in run("list", width=80).stdout
