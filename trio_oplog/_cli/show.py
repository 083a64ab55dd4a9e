"""``trio-oplog show``: everything that is stored of one operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import trio
from attrs import evolve
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from trio_oplog._cli.destination import Readable, open_readable
from trio_oplog._cli.filters import usage_error
from trio_oplog._cli.options import from_option, json_option, utc_option, workspace_option
from trio_oplog._cli.output import harmless, harmless_json, make_console, print_json
from trio_oplog._cli.table import as_duration, read_record
from trio_oplog._cli.times import in_zone
from trio_oplog._errors import QueryError
from trio_oplog._json import members
from trio_oplog._listing import LIMIT_MAX, ListQuery, read_time

_PAGES_MAX: Final = 20
"""The beginning of an id is looked for in so many pages: it is mostly that of an operation that was just listed."""
_NAMED: Final = 3
"""So many operations are named where several ids begin alike."""
_COLOURED_MAX: Final = 65_536
"""Longer JSON gets no colours, which would take seconds."""
_APART: Final = frozenset({"arguments", "result_summary"})
_TIMES: Final = frozenset({"started_at", "completed_at"})
_FIRST: Final = ("id", "started_at", "completed_at", "duration_ms", "tool", "is_error", "user_id", "env_id", "source")


@click.command("show")
@click.argument("operation_id", metavar="ID")
@from_option
@workspace_option
@utc_option
@json_option
def command(
    *,
    operation_id: str,
    source_of: str | None,
    workspace: str,
    secret_file: Path | None,
    ca_file: Path | None,
    utc: bool,
    as_json: bool,
) -> None:
    """Show everything that is stored of one operation.

    Of the ID its beginning is enough, as 'trio-oplog list' shows it; that is looked for among the newest 20 000 operations.
    """
    try:
        query = ListQuery(workspace_id=workspace, id=operation_id)
    except QueryError as error:
        problem = usage_error(error)
    else:
        body = trio.run(_find, query, source_of, secret_file, ca_file)
        if as_json:
            print_json(body)
        else:
            _print(body, make_console(), utc=utc)
        return
    raise problem


async def _find(query: ListQuery, source_of: str | None, secret_file: Path | None, ca_file: Path | None) -> bytes:
    async with open_readable(source_of, secret_file, ca_file) as readable:
        found = {read_record(body).id: body for body in (await readable.page(query)).bodies}
        found = found or await _find_beginning(readable, query)
    if len(found) == 1:
        return found.popitem()[1]
    name = harmless(query.id or "")
    if not found:
        raise click.ClickException(f"the workspace {harmless(query.workspace_id)} has no operation {name}")
    some = ", ".join(map(harmless, list(found)[:_NAMED]))
    raise click.ClickException(f"several operations begin with {name}, such as {some}: say more of it")


async def _find_beginning(readable: Readable, query: ListQuery) -> dict[str, bytes]:
    beginning = query.id or ""
    query = evolve(query, id=None, limit=LIMIT_MAX)
    found: dict[str, bytes] = {}
    for _ in range(_PAGES_MAX):
        page = await readable.page(query)
        named = ((read_record(body).id, body) for body in page.bodies)
        found |= {name: body for name, body in named if name.startswith(beginning)}
        if page.next is None:
            break
        query = evolve(query, cursor=page.next)
    return found


def _print(body: bytes, console: Console, *, utc: bool) -> None:
    record = members(body) or {}
    names = sorted(
        (name for name in record if name not in _APART), key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)
    )
    lines = [line for name in names for line in _lines(name, json.loads(record[name]), utc=utc)]
    width = max(len(name) for name, _, _ in lines)
    for name, text, style in lines:
        _say(console, Text.assemble((f"{name:<{width}}", "bold"), "  ", (text, style)))
    if "arguments" in record:
        _say(console, Text("\narguments", "bold"))
        _say(console, _as_json(record["arguments"]))
    if "result_summary" in record:
        _say(console, Text("\nresult", "bold"))
        text = str(json.loads(record["result_summary"]))
        looks_json = text.lstrip()[:1] in ("{", "[")
        _say(console, _as_json(text) if looks_json else Text("\n".join(map(harmless, text.expandtabs().splitlines()))))


def _lines(name: str, value: Any, *, utc: bool) -> Iterator[tuple[str, str, str]]:
    """A field as names, texts and styles; one line for each member of an object."""
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from _lines(f"{name}.{member}", inner, utc=utc)
        return
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    style = ""
    if name in _TIMES:
        text = _as_time(text, utc=utc)
    elif name.endswith("_ms") and isinstance(value, int):
        text = f"{value} ({as_duration(value)})" if value >= _SECOND else as_duration(value)
    elif name == "is_error":
        style = "red" if value else "green"
    yield harmless(name), harmless(text), style


_SECOND: Final = 1_000


def _as_time(text: str, *, utc: bool) -> str:
    try:
        moment = in_zone(read_time(text), utc=utc)
    except QueryError:
        return text
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} {moment.tzname()}"


def _as_json(text: str) -> Text:
    """JSON with a line for each of its parts; what is none is shown as it is."""
    try:
        pretty = msgspec.json.format(text, indent=2)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pretty = text
    shown = Text(harmless_json(pretty))
    if len(shown) <= _COLOURED_MAX:
        JSONHighlighter().highlight(shown)
    return shown


def _say(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)
