"""``trio-oplog list``: show stored operations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import trio

from trio_oplog._cli.destination import open_destination
from trio_oplog._cli.options import secret_option, workspace_option
from trio_oplog._cli.table import make_console, print_operations, read_reply
from trio_oplog._errors import QueryError
from trio_oplog._listing import LIMIT_DEFAULT, LIMIT_MAX, ListClient, ListQuery, read_time

_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _read_since(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return read_time(value)
    except (QueryError, OverflowError):
        problem = "must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as 90s, 15m, 2h or 7d."
    raise click.BadParameter(problem, ctx, param)


@click.command("list")
@click.option("--from", "source_of", metavar="DEST", help="http(s)://... or sqlite:///path; else your own store.")
@click.option("--env", metavar="ID", help="Only what ran there.")
@click.option("--tool", metavar="NAME", help="Only calls of this tool.")
@click.option("--source", metavar="NAME", help="Only calls from there, such as llm.")
@click.option("--errors/--no-errors", default=None, help="Only what failed; or only what did not.")
@click.option("--since", metavar="TIME", callback=_read_since, help="Only from then on: RFC 3339, or 90s, 15m, 2h, 7d ago.")
@click.option("--id", "operation_id", metavar="ID", help="Only this one.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT_DEFAULT, show_default=True, help="At most so many.")
@workspace_option
@secret_option
@click.option("--json", "as_json", is_flag=True, help="Print the endpoint's answer as it is.")
def command(
    *,
    source_of: str | None,
    env: str | None,
    tool: str | None,
    source: str | None,
    errors: bool | None,
    since: datetime | None,
    operation_id: str | None,
    limit: int,
    workspace: str,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Show stored operations, the newest first."""
    try:
        query = ListQuery(
            workspace_id=workspace,
            env_id=env,
            tool=tool,
            source=source,
            is_error=errors,
            since=since,
            id=operation_id,
            limit=limit,
        )
    except QueryError as error:
        raise click.UsageError(f"The value of {error}.") from None
    reply = trio.run(_fetch, source_of, secret_file, query)
    if as_json:
        click.echo(reply)
        return
    operations = read_reply(reply)
    if operations:
        print_operations(operations, make_console())
    click.echo(_summary(len(operations), query), err=True)


async def _fetch(dest: str | None, secret_file: Path | None, query: ListQuery) -> bytes:
    async with open_destination(dest, secret_file, must_exist=True) as destination:
        return await ListClient(destination.url, destination.secret, http=destination.http).fetch(query)


def _summary(count: int, query: ListQuery) -> str:
    found = "1 operation" if count == 1 else f"{count} operations"
    if count < query.limit or query.limit == 1:
        return f"{found} in the workspace {query.workspace_id}"
    return f"the newest {found} in the workspace {query.workspace_id}; there may be more"
