"""``trio-oplog workspaces``: whose operations there are."""

from __future__ import annotations

import click
import msgspec
import trio

from trio_oplog._cli.destination import open_readable
from trio_oplog._cli.options import Origin, from_options, json_option
from trio_oplog._cli.output import harmless, print_json


@click.command("workspaces")
@from_options
@json_option
def command(
    *,
    origin: Origin,
    as_json: bool,
) -> None:
    """Show the names of the workspaces that ever had a record."""
    names = trio.run(_fetch, origin)
    if as_json:
        print_json(msgspec.json.encode({"workspaces": names}))
        return
    for name in names:
        click.echo(harmless(name))
    if not names:
        click.echo("there is no workspace yet: one appears with its first record", err=True)


async def _fetch(origin: Origin) -> list[str]:
    async with open_readable(origin) as readable:
        return await readable.workspaces()
