"""``trio-oplog workspaces``: whose operations there are."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import trio

from trio_oplog._cli.destination import open_readable
from trio_oplog._cli.options import from_option, json_option
from trio_oplog._cli.output import harmless, print_json


@click.command("workspaces")
@from_option
@json_option
def command(
    *,
    source_of: str | None,
    secret_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Show the names of the workspaces that ever had a record."""
    names = trio.run(_fetch, source_of, secret_file, ca_file)
    if as_json:
        print_json(msgspec.json.encode({"workspaces": names}))
        return
    for name in names:
        click.echo(harmless(name))


async def _fetch(source_of: str | None, secret_file: Path | None, ca_file: Path | None) -> list[str]:
    async with open_readable(source_of, secret_file, ca_file) as readable:
        return await readable.workspaces()
