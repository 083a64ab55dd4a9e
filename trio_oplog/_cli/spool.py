"""``trio-oplog spool``: look into a client's spool, and give what was rejected another chance."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import click

from trio_oplog._cli.options import default_spool
from trio_oplog._cli.output import harmless
from trio_oplog._delivery import spool_inspect

_path = click.argument(
    "path", required=False, type=click.Path(path_type=Path), callback=lambda _ctx, _param, path: path or default_spool()
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


@click.group("spool")
def command() -> None:
    """Look into a client's spool, or a folder of spools, also while clients run.

    Without a PATH it is the folder of 'trio-oplog wrap' and 'trio-oplog gateway', in your state folder.
    """


@command.command("status")
@_path
@_json
def status(path: Path, *, as_json: bool) -> None:
    """Say how many operations wait and how many were given up.

    Also since when they wait, and whether a client has the file.
    """
    files = spool_inspect.files(path)
    if not files:
        click.echo(f"there is no spool in {harmless(str(path))}", err=True)
    for number, file in enumerate(files):
        found = spool_inspect.status(file)
        if as_json:
            _print_json(found)
            continue
        if number:
            click.echo()
        if path.is_dir():
            click.echo(f"file         {harmless(file.name)}")
            click.echo(f"destination  {harmless(found.destination)}")
        click.echo(f"waiting      {found.waiting} ({found.waiting_bytes} bytes)")
        if found.oldest is not None:
            click.echo(f"oldest       {_time(found.oldest)}")
        click.echo(f"dead         {found.dead}")
        click.echo(f"ever spooled {found.last_number}")
        click.echo(f"in use       {'yes' if found.in_use else 'no'}")


@command.command("dead")
@_path
@_json
def dead(path: Path, *, as_json: bool) -> None:
    """List the operations that were given up, the oldest first.

    Each with its number, id, reason, time and size.
    """
    for file in spool_inspect.files(path):
        for record in spool_inspect.dead(file):
            if as_json:
                _print_json(record)
            else:
                reason, died_at = harmless(record.reason), _time(record.died_at)
                click.echo(f"{record.number}  {record.id!r}  {reason}  {died_at}  {record.size_bytes} bytes")


@command.command("requeue")
@_path
def requeue(path: Path) -> None:
    """Let everything that was given up wait for delivery again.

    No client may have the file.
    """
    click.echo(f"requeued {sum(map(spool_inspect.requeue, spool_inspect.files(path)))}")


@command.command("export")
@_path
@click.option("--dead", "of_the_dead", is_flag=True, help="What was given up instead of what waits.")
def export(path: Path, *, of_the_dead: bool) -> None:
    """Print the operations that wait, one JSON document a line.

    They are whole, and the file stays as it is.
    """
    out = sys.stdout.buffer
    for file in spool_inspect.files(path):
        for body in spool_inspect.export(file, of_the_dead=of_the_dead):
            # A newline in a document is white space between its tokens: JSON strings hold none.
            out.write(body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
    out.flush()


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _print_json(record: Any) -> None:
    click.echo(json.dumps(attrs.asdict(record), default=_plain))


def _plain(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
