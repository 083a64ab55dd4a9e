"""``trio-oplog spool``: look into a client's spool, and give what was rejected another chance."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
import click

from trio_oplog._delivery import spool_file

_path = click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


@click.group("spool")
def command() -> None:
    """Look into a client's spool, also while the client runs."""


@command.command("status")
@_path
@_json
def status(path: Path, *, as_json: bool) -> None:
    """Say how many operations wait, and how many were given up."""
    found = spool_file.status(path)
    if as_json:
        _print_json(found)
        return
    click.echo(f"waiting      {found.waiting} ({found.waiting_bytes} bytes)")
    click.echo(f"dead         {found.dead}")
    click.echo(f"ever spooled {found.last_number}")
    click.echo(f"in use       {'yes' if found.in_use else 'no'}")


@command.command("dead")
@_path
@_json
def dead(path: Path, *, as_json: bool) -> None:
    """List the operations that were given up, oldest first: number, id, reason, time, size."""
    for record in spool_file.dead(path):
        if as_json:
            _print_json(record)
        else:
            died = record.died_at.isoformat(timespec="seconds").replace("+00:00", "Z")
            click.echo(f"{record.number}  {record.id!r}  {record.reason}  {died}  {record.size_bytes} bytes")


@command.command("requeue")
@_path
def requeue(path: Path) -> None:
    """Let everything that was given up wait for delivery again; no client may be running."""
    click.echo(f"requeued {spool_file.requeue(path)}")


@command.command("export")
@_path
@click.option("--dead", "of_the_dead", is_flag=True, help="What was given up instead of what waits.")
def export(path: Path, *, of_the_dead: bool) -> None:
    """Print the operations that wait, whole, one JSON document a line; the file stays as it is."""
    out = sys.stdout.buffer
    for body in spool_file.export(path, of_the_dead=of_the_dead):
        # A newline in a document is white space between its tokens: JSON strings hold none.
        out.write(body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
    out.flush()


def _print_json(record: Any) -> None:
    click.echo(json.dumps(attrs.asdict(record), default=lambda moment: moment.isoformat().replace("+00:00", "Z")))
