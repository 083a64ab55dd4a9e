"""``trio-oplog show``: everything that is stored of one operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import click
import msgspec
import trio
from attrs import evolve
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from trio_oplog._cli.destination import Readable, open_readable
from trio_oplog._cli.filters import usage_error
from trio_oplog._cli.options import Origin, from_options, json_option, utc_option
from trio_oplog._cli.output import harmless, harmless_json, make_console, print_json
from trio_oplog._cli.table import as_duration, read_record
from trio_oplog._cli.times import in_zone
from trio_oplog._errors import ListError, QueryError
from trio_oplog._json import members
from trio_oplog._listing import ListQuery, read_time

_NAMED: Final = 3
"""So many operations are named where several ids begin alike."""
_NOT_FOUND: Final = 404
_COLOURED_MAX: Final = 65_536
"""Longer JSON gets no colours, which would take seconds."""
_APART: Final = frozenset({"arguments", "result_summary"})
_TIMES: Final = frozenset({"started_at", "completed_at"})
_FIRST: Final = ("id", "started_at", "completed_at", "duration_ms", "tool", "is_error", "user_id", "env_id", "source")


class _Found(NamedTuple):
    """An operation whose id begins as was asked for."""

    workspace_id: str
    id: str
    body: bytes


@click.command("show")
@click.argument("operation_id", metavar="ID")
@from_options
@click.option("--workspace", metavar="ID", help="Whose operation; else that of any workspace that you may see.")
@utc_option
@json_option
def command(
    *,
    operation_id: str,
    origin: Origin,
    workspace: str | None,
    utc: bool,
    as_json: bool,
) -> None:
    """Show everything that is stored of one operation.

    Of the ID its beginning is enough, as 'trio-oplog list' shows it.
    """
    problem: click.UsageError | None = None
    try:
        body = trio.run(_find, operation_id, workspace, origin)
    except QueryError as error:
        problem = click.UsageError(f"The ID {error.problem}.") if error.field == "id_prefix" else usage_error(error)
    if problem is not None:
        raise problem
    if as_json:
        print_json(body)
    else:
        _print(body, make_console(), utc=utc)


async def _find(name: str, workspace: str | None, origin: Origin) -> bytes:
    async with open_readable(origin) as readable:
        workspaces = await _workspaces(readable) if workspace is None else [workspace]
        found = [each for one in workspaces for each in await _find_in(readable, one, name)]
    found = [each for each in found if each.id == name] or found
    if len(found) == 1:
        return found[0].body
    if not found:
        who = "no workspace has an" if workspace is None else f"the workspace {harmless(workspace)} has no"
        raise click.ClickException(f"{who} operation {harmless(name)}")
    are_apart = len({each.workspace_id for each in found}) > 1
    some = ", ".join(harmless(f"{each.id} in {each.workspace_id}" if are_apart else each.id) for each in found[:_NAMED])
    remedy = "name the workspace" if len({each.id for each in found}) == 1 else "say more of it"
    raise click.ClickException(f"several operations begin with {harmless(name)}, such as {some}: {remedy}")


async def _workspaces(readable: Readable) -> list[str]:
    try:
        return await readable.workspaces()
    except ListError as error:
        if error.status != _NOT_FOUND:
            raise
        problem = click.UsageError("The endpoint does not say which workspaces there are: name one with --workspace.")
    raise problem


async def _find_in(readable: Readable, workspace: str, name: str) -> list[_Found]:
    """The operation of a workspace that is called so, or some that begin so."""
    query = ListQuery(workspace_id=workspace, id_prefix=name, limit=_NAMED + 1)
    page = await readable.page(query)
    some = [_Found(workspace, read_record(body).id, body) for body in page.bodies]
    found = [each for each in some if each.id.startswith(name)]
    if page.next is None and len(found) == len(some):
        return found
    # There are more; or it is an endpoint of another make, which passes over what it does not know.
    exact = (await readable.page(evolve(query, id=name, id_prefix=None))).bodies
    return [_Found(workspace, name, body) for body in exact] or found


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
