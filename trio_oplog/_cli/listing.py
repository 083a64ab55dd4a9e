"""``trio-oplog list``: show stored operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import click
import trio
from attrs import evolve

from trio_oplog._cli.account import counted
from trio_oplog._cli.destination import Readable, open_readable
from trio_oplog._cli.filters import Filters, filter_options, usage_error
from trio_oplog._cli.following import follow
from trio_oplog._cli.layout import Layout
from trio_oplog._cli.options import Origin, from_options, json_option, utc_option, workspace_option
from trio_oplog._cli.output import harmless, make_console, print_json
from trio_oplog._cli.table import Shown, lay_out, print_operations, read_record
from trio_oplog._cli.times import in_zone
from trio_oplog._errors import QueryError
from trio_oplog._listing import LIMIT_DEFAULT, LIMIT_MAX, ListQuery, Page

_FOLLOWED: Final = 10
"""So many of the latest operations ``--follow`` shows first, unless ``--limit`` says otherwise."""


@click.command("list")
@from_options
@workspace_option
@filter_options()
@click.option("--id", "operation_id", metavar="ID", help="Only this one, by its whole ID; 'show' takes a beginning.")
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), help=f"At most so many, {LIMIT_DEFAULT} unless said; a page of --all."
)
@click.option("--cursor", metavar="TEXT", help="Go on where an earlier list ended, which said this.")
@click.option("--all", "everything", is_flag=True, help="Go on to the end, page after page.")
@click.option("--follow", "-f", "follow_them", is_flag=True, help="Show the latest, and then each as it arrives, until Ctrl-C.")
@utc_option
@json_option
def command(
    *,
    origin: Origin,
    workspace: str,
    filters: Filters,
    operation_id: str | None,
    limit: int | None,
    cursor: str | None,
    everything: bool,
    follow_them: bool,
    utc: bool,
    as_json: bool,
) -> None:
    """Show stored operations, the newest first.

    With --json it is one document as the endpoint has it; with --all or --follow one operation a line.
    """
    if follow_them and (everything or cursor or filters.since or filters.until):
        raise click.UsageError("--follow goes on from now: leave --all, --cursor, --since and --until out.")
    size = limit or (_FOLLOWED if follow_them else LIMIT_DEFAULT)
    query = filters.list_query(utc=utc, workspace_id=workspace, id=operation_id, limit=size, cursor=cursor)
    listing = _Listing(query, utc=utc, as_json=as_json)
    show = listing.follow if follow_them else listing.show_all if everything else listing.show_page
    problem: click.UsageError | None = None
    try:
        trio.run(_run, show, origin)
    except QueryError as error:
        problem = usage_error(error)
    if problem is not None:
        raise problem


async def _run(show: Callable[[Readable], Awaitable[None]], origin: Origin) -> None:
    async with open_readable(origin) as readable:
        await show(readable)


class _Listing:
    """What is listed, and how it is printed."""

    def __init__(self, query: ListQuery, *, utc: bool, as_json: bool) -> None:
        self._query = query
        self._utc = utc
        self._as_json = as_json
        self._console = make_console()
        self._layout: Layout[Shown] | None = None

    async def show_page(self, readable: Readable) -> None:
        """One page, and where the next one begins."""
        page = await readable.page(self._query)
        if self._as_json:
            print_json(page.document())
            return
        operations = [read_record(body) for body in page.bodies]
        if operations:
            print_operations(operations, self._console, utc=self._utc)
        self._conclude(len(operations), page)

    async def show_all(self, readable: Readable) -> None:
        """Page after page, each as it comes."""
        count, query = 0, self._query
        while True:
            page = await readable.page(query)
            self._print(page.bodies)
            count += len(page.bodies)
            if page.next is None:
                break
            query = evolve(query, cursor=page.next)
        if not self._as_json:
            self._conclude(count, page)

    async def follow(self, readable: Readable) -> None:
        """The latest, the oldest of them first, and then what arrives."""
        async with aclosing(follow(readable, self._query)) as lists:
            await anext(lists)  # from here on nothing is missed
            page = await readable.page(self._query)
            seen = {read_record(body).id for body in page.bodies}
            self._print(page.bodies[::-1])
            if not page.bodies:
                click.echo(f"nothing yet in the workspace {harmless(self._query.workspace_id)}; waiting, until Ctrl-C", err=True)
            async for bodies in lists:
                # What arrived in between may be in both.
                self._print([body for body in bodies if read_record(body).id not in seen])

    def _print(self, bodies: Sequence[bytes]) -> None:
        if self._as_json:
            for body in bodies:
                print_json(body)
        elif bodies:
            operations = [read_record(body) for body in bodies]
            if self._layout is None:
                self._layout = lay_out(operations, self._console, utc=self._utc, goes_on=True)
                self._layout.print_header(self._console)
            self._layout.print_rows(operations, self._console)

    def _conclude(self, count: int, page: Page) -> None:
        said = f"{counted(count, 'operation')} in the workspace {harmless(self._query.workspace_id)}"
        if page.searched_to is not None:
            said += f", searched back to {in_zone(page.searched_to, utc=self._utc).isoformat(' ', 'seconds')}"
        if page.next is not None:
            said += f"; there is more: --all, or --cursor {harmless(page.next)}"
        if not count and self._query == ListQuery(workspace_id=self._query.workspace_id, limit=self._query.limit):
            said += "; 'trio-oplog workspaces' shows which there are"
        click.echo(said, err=True)
