"""``trio-oplog export``: operations as a file."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, Final

import click
import trio

from trio_oplog._cli.account import counted
from trio_oplog._cli.destination import open_readable
from trio_oplog._cli.filters import Filters, filter_options, usage_error
from trio_oplog._cli.options import Origin, from_options, utc_option, workspace_option
from trio_oplog._cli.output import harmless, harmless_json
from trio_oplog._errors import QueryError
from trio_oplog._listing import LIMIT_MAX, ListQuery

FORMATS: Final = ("ndjson", "csv", "parquet")
_STDOUT: Final = Path("-")

Lists = AsyncGenerator[list[bytes], None]


@click.command("export")
@from_options
@workspace_option
@filter_options()
@click.option("--format", "chosen", type=click.Choice(FORMATS), default="ndjson", show_default=True, help="How it is written.")
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True), help="Where to; else the standard output."
)
@click.option("--cursor", metavar="TEXT", help="Go on where an earlier list ended.")
@utc_option
def command(
    *,
    origin: Origin,
    workspace: str,
    filters: Filters,
    chosen: str,
    output: Path | None,
    cursor: str | None,
    utc: bool,
) -> None:
    """Write operations to a file, the newest first, however many there are.

    A FILE is there when all of it is; until then its name ends in .part.  Parquet needs the extra 'parquet'.
    """
    path = None if output in (None, _STDOUT) else output
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        problem = "is a folder" if path.is_dir() else "would lie in a folder that is not there"
        raise click.BadParameter(f"{path} {problem}.", param_hint="--output")
    if path is None and chosen == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: name a file with --output.")
    if chosen == "parquet":
        _check_parquet()
    query = filters.list_query(utc=utc, workspace_id=workspace, limit=LIMIT_MAX, cursor=cursor)
    mistake: click.UsageError | None = None
    try:
        with _open(path) as file:
            count = trio.run(_export, query, origin, file, chosen)
    except QueryError as error:
        mistake = usage_error(error)
    if mistake is not None:
        raise mistake
    if path is not None:
        click.echo(f"{counted(count, 'operation')} in {path}", err=True)


def _check_parquet() -> None:
    try:
        import pyarrow  # noqa: F401, PLC0415 -- only this format needs it
    except ModuleNotFoundError:
        problem = "Parquet needs pyarrow: pip install 'trio-oplog[parquet]'"
    else:
        return
    raise click.ClickException(problem)


@contextmanager
def _open(path: Path | None) -> Iterator[IO[bytes]]:
    """The file, which gets its name when the block was left without an error."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


async def _export(query: ListQuery, origin: Origin, file: IO[bytes], chosen: str) -> int:
    async with open_readable(origin) as readable, aclosing(readable.export(query)) as lists:
        watched = _Counted()
        await _WRITERS[chosen](watched.watch(lists), file)
        return watched.count


class _Counted:
    """How many records went by."""

    def __init__(self) -> None:
        self.count = 0

    async def watch(self, lists: Lists) -> Lists:
        """The same lists."""
        async for bodies in lists:
            self.count += len(bodies)
            yield bodies


async def _write_ndjson(lists: Lists, file: IO[bytes]) -> None:
    from trio_oplog.collector._streams import as_ndjson  # noqa: PLC0415 -- brings the database along

    await _write(as_ndjson(lists), file, harmless_json)


async def _write_csv(lists: Lists, file: IO[bytes]) -> None:
    from trio_oplog.collector._streams import as_csv  # noqa: PLC0415

    await _write(as_csv(lists), file, lambda text: "\n".join(map(harmless, text.split("\r\n"))))


async def _write(chunks: AsyncGenerator[bytes, None], file: IO[bytes], tamed: Callable[[str], str]) -> None:
    is_shown = file.isatty()
    async with aclosing(chunks):
        async for chunk in chunks:
            file.write(tamed(chunk.decode("utf-8", "replace")).encode() if is_shown else chunk)


async def _write_parquet(lists: Lists, file: IO[bytes]) -> None:
    from trio_oplog._cli.parquet import write_parquet  # noqa: PLC0415 -- needs the extra

    await write_parquet(lists, file)


_WRITERS: Final = {"ndjson": _write_ndjson, "csv": _write_csv, "parquet": _write_parquet}
