"""``trio-oplog adopt``: ``wrap`` in front of every server in the configurations of MCP clients."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click
from platformdirs import user_state_path

from trio_oplog._cli.account import counted
from trio_oplog._cli.output import harmless
from trio_oplog._client_config import (
    PROGRAM_NAME,
    Backups,
    Done,
    Fate,
    Place,
    Server,
    UnusableError,
    adopt_file,
    place_of,
    places,
    read_origin,
    undo_file,
)

_SUMMARY: Final = {
    Fate.ADOPTED: "put on record",
    Fate.MOVED: "on record by this trio-oplog from now on",
    Fate.RELEASED: "taken off the record",
    Fate.KEPT: "on record already",
    Fate.LEFT: "left alone",
}


class _Result(NamedTuple):
    """What became of a file: what was done, or why it was left alone."""

    place: Place
    done: Done | None
    problem: str = ""


def _gateways(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``SERVER=GATEWAY``, an origin each."""
    gateways: dict[str, str] = {}
    for value in values:
        server, gateway = (_only_origin(part) for part in value.partition("=")[::2])
        if server is None or gateway is None:
            raise click.BadParameter(
                "must be two origins without a path, such as https://mcp.example.com=http://127.0.0.1:8086.", ctx, param
            )
        if gateway in gateways.values() or server in gateways:
            raise click.BadParameter("names a server or a gateway twice; each gateway is in front of one server.", ctx, param)
        gateways[server] = gateway
    return gateways


def _only_origin(url: str) -> str | None:
    return read_origin(url) if not url.partition("://")[2].rstrip("/").count("/") and not set("?#@") & set(url) else None


@click.command("adopt")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--http-gateway",
    "gateways",
    metavar="SERVER=GATEWAY",
    multiple=True,
    callback=_gateways,
    help="The origin of a server with a URL, and that of the HTTP gateway in front of it.  Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--undo", is_flag=True, help="Take the servers off the record again.")
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], gateways: dict[str, str], *, dry_run: bool, undo: bool) -> None:
    """Put the MCP servers of your agents and editors on record.

    Puts 'trio-oplog wrap' in front of every server in the configurations of MCP clients that it finds in your home, or in the
    FILEs.  All else in a file stays as it is, and what it held is kept: --undo restores it.  A file that is broken or being
    edited is left alone.  Twice changes nothing.
    """
    backups = Backups(user_state_path(PROGRAM_NAME, appauthor=False) / "client-config")
    found = _find(files, backups, undo=undo)
    if undo:
        results = [_try(place, lambda place: undo_file(place, backups, dry_run=dry_run)) for place in found]
    else:
        program = _program()
        results = [_try(place, lambda place: adopt_file(place, backups, program, gateways, dry_run=dry_run)) for place in found]
    shown = [result for result in results if files or result.problem or (result.done and result.done.servers)]
    for result in shown:
        _show(result, dry_run=dry_run)
    click.echo(_summary(shown, dry_run=dry_run, undo=undo), err=True)
    if not undo and not dry_run and any(result.done and result.done.is_changed for result in shown):
        click.echo(f"then '{PROGRAM_NAME} list' and '{PROGRAM_NAME} ui' show what they call", err=True)
    if any(result.problem for result in shown):
        ctx.exit(1)


def _find(files: Iterable[Path], backups: Backups, *, undo: bool) -> list[Place]:
    """The files to look at: those named, else those of all clients that are there, and to undo those that were ever adopted."""
    known = places(Path.home(), os.environ)
    if files:
        found = [place_of(Path(os.path.abspath(file)), known) for file in files]  # not resolved: a link stays one
    else:
        found = [*known, *(place_of(file, known) for file in backups.files() if undo)]
        found = [place for place in found if os.path.lexists(place.path)]
    unique: dict[str, Place] = {}
    for place in found:
        unique.setdefault(os.path.realpath(place.path), place)
    return list(unique.values())


def _program() -> str:
    """The absolute path of this program.

    Raises:
        click.ClickException: It has none.
    """
    beside = Path(sys.executable).with_name(PROGRAM_NAME)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM_NAME)
    if found is None:
        where = f"neither beside {sys.executable} nor on your PATH"
        raise click.ClickException(f"{PROGRAM_NAME} is {where}, so no client could start it.")
    if not found.isprintable():
        raise click.ClickException(f"The path of {PROGRAM_NAME} has characters that no configuration can hold.")
    return os.path.abspath(found)  # not resolved: a link survives an update


def _try(place: Place, act: Callable[[Place], Done]) -> _Result:
    try:
        return _Result(place, act(place))
    except UnusableError as error:
        return _Result(place, None, str(error))


def _show(result: _Result, *, dry_run: bool) -> None:
    place, done, problem = result
    path = _short(place.path)
    click.echo(f"{place.client}: {path}" if place.client else path)
    for line in _lines(done, dry_run=dry_run) if done else [f"left alone: it {problem}"]:
        click.echo(f"  {line}")


def _short(path: Path) -> str:
    """A path as people write it: with ``~`` for the home."""
    shown, home = harmless(str(path)), f"{Path.home()}/"
    return f"~/{shown.removeprefix(home)}" if shown.startswith(home) else shown


def _lines(done: Done, *, dry_run: bool) -> Iterator[str]:
    width = max((len(harmless(server.name)) for server in done.servers), default=0)
    for server in done.servers:
        fate = f"would be{server.fate.removeprefix('is')}" if dry_run and server.changes else server.fate
        yield f"{harmless(server.name):{width}}  {fate}" + (f": {server.reason}" if server.reason else "")
    if not done.servers and not done.is_changed:
        yield "there is nothing to change"
    if done.is_restored:
        yield f"the file {'would be' if dry_run else 'is'} as it was before, byte for byte"
    if done.backup is not None:
        yield f"what it held is kept in {_short(done.backup)}"


def _summary(results: Iterable[_Result], *, dry_run: bool, undo: bool) -> str:
    results = list(results)
    if not results:
        what = "server that was adopted" if undo else "server in the configuration of an MCP client"
        return f"there is no {what} in your home; name a file: {PROGRAM_NAME} adopt{' --undo' if undo else ''} FILE"
    servers: list[Server] = [server for result in results if result.done for server in result.done.servers]
    counts = {fate: sum(server.fate is fate for server in servers) for fate in _SUMMARY}
    parts = [f"{counted(count, 'server')} {_SUMMARY[fate]}" for fate, count in counts.items() if count]
    left = sum(bool(result.problem) for result in results)
    parts += [f"{counted(left, 'file')} left alone"] if left else []
    if any(result.done and result.done.is_changed for result in results):
        parts.append("nothing was written (--dry-run)" if dry_run else "restart the clients for it to take effect")
    return "; ".join(parts) or "nothing to change"
