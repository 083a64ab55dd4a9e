"""``trio-oplog list``: show stored operations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
import trio

from trio_oplog._cli.destination import open_destination
from trio_oplog._cli.options import ca_file_option, secret_option, workspace_option
from trio_oplog._cli.table import make_console, plain, print_operations, read_reply
from trio_oplog._errors import QueryError
from trio_oplog._json import Reader
from trio_oplog._listing import LIMIT_DEFAULT, LIMIT_MAX, ListQuery, read_time

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
@click.option("--until", metavar="TIME", callback=_read_since, help="Only from before then, spelled likewise.")
@click.option("--user-id", metavar="ID", help="Only calls of this user.")
@click.option("--thread", "thread_id", metavar="ID", help="Only calls of this conversation.")
@click.option("--outcome", metavar="NAME", help="Only what ended so, such as failed or declined.")
@click.option("--client", metavar="NAME", help="Only calls of this client, as name/version.")
@click.option("--approval", metavar="NAME", help="Only what was decided so, such as accept; or any.")
@click.option("--search", "q", metavar="TEXT", help="Only with this text in the tool, the arguments or the result.")
@click.option("--cursor", metavar="NEXT", help="Only what comes after an earlier page, which names its next.")
@click.option("--id", "operation_id", metavar="ID", help="Only this one.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT_DEFAULT, show_default=True, help="At most so many.")
@workspace_option
@secret_option
@ca_file_option
@click.option("--json", "as_json", is_flag=True, help="Print the endpoint's answer as it is.")
def command(
    *,
    source_of: str | None,
    env: str | None,
    tool: str | None,
    source: str | None,
    errors: bool | None,
    since: datetime | None,
    until: datetime | None,
    user_id: str | None,
    thread_id: str | None,
    outcome: str | None,
    client: str | None,
    approval: str | None,
    q: str | None,
    cursor: str | None,
    operation_id: str | None,
    limit: int,
    workspace: str,
    secret_file: Path | None,
    ca_file: Path | None,
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
            until=until,
            user_id=user_id,
            thread_id=thread_id,
            outcome=outcome,
            client=client,
            approval=approval,
            q=q,
            cursor=cursor,
            id=operation_id,
            limit=limit,
        )
    except QueryError as error:
        raise click.UsageError(f"The value of {error}.") from None
    reply = trio.run(_fetch, source_of, secret_file, ca_file, query)
    if as_json:
        click.echo(reply)
        return
    operations = read_reply(reply)
    if operations:
        print_operations(operations, make_console())
    click.echo(_summary(len(operations), query, _read_reply(reply) or _Reply()), err=True)


async def _fetch(dest: str | None, secret_file: Path | None, ca_file: Path | None, query: ListQuery) -> bytes:
    async with open_destination(dest, secret_file, ca_file, must_exist=True) as destination:
        return await destination.list_client().fetch(query)


class _Reply(msgspec.Struct):
    """What an answer says besides its operations.  An endpoint of another make says none of it."""

    next: str = ""
    searched_to: str = ""


_read_reply = Reader(_Reply).read


def _summary(count: int, query: ListQuery, reply: _Reply) -> str:
    found = "1 operation" if count == 1 else f"{count} operations"
    where = f"in the workspace {query.workspace_id}"
    if reply.next:
        reached = f"; searched back to {plain(reply.searched_to)}" if reply.searched_to else ""
        return f"{found} {where}{reached}; there may be more: --cursor {plain(reply.next)}"
    if count < query.limit or query.limit == 1:
        return f"{found} {where}"
    return f"the newest {found} {where}; there may be more"
