"""``trio-oplog wrap``: a stdio server behind our own standard input and output, every call on record."""

from __future__ import annotations

import sys
from pathlib import Path
from socket import socket
from typing import Final

import click

from trio_oplog._cli.options import secret_option, workspace_option
from trio_oplog._tap import KILL_AFTER, run_tap

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""What a shell leaves with when it cannot start a command."""

_DESTINATIONS: Final = ("http://", "https://", "sqlite:///")


@click.command("wrap", context_settings={"allow_interspersed_args": False})
@click.option("--to", "dest", metavar="DEST", help="http(s)://... or sqlite:///path; else your own store.")
@workspace_option
@secret_option
@click.option("--user", metavar="ID", help="Who calls; else whom the client claims to be.")
@click.option("--source", metavar="NAME", default="mcp", show_default=True, help="What kind of client calls.")
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="How long the server may go on when its input has ended and nobody reads its output; then it gets SIGTERM.",
)
@click.option(
    "--kill-after",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=KILL_AFTER,
    show_default=True,
    help="How long it may go on after SIGTERM; then it is killed.",
)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    words: tuple[str, ...],
    dest: str | None,
    workspace: str,
    secret_file: Path | None,
    user: str | None,
    source: str,
    grace: float | None,
    kill_after: float,
) -> int:
    """Run a stdio server (an MCP server, an ACP agent) and record every tool call.

    Put it in front of the command in an MCP client's configuration.  The client notices nothing: bytes pass as they come,
    errors of the server are its own, and so is the way in which it ends.
    """
    if dest is not None and not dest.startswith(_DESTINATIONS):
        raise click.UsageError("The destination must be http://..., https://... or sqlite:///path.")

    def record(line: socket) -> None:
        # In the recorder's process, while the server starts: here is everything heavy.  But for the command line of httpx, which
        # brings rich along where that is installed: 4 MiB.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        from trio_oplog._cli.recording import record  # noqa: PLC0415
        from trio_oplog._operation import Config  # noqa: PLC0415

        record(line, dest, secret_file, Config(source=source, workspace_id=workspace, user_id=user, transport="stdio"))

    try:
        return run_tap(words, record, kill_after=kill_after, grace=grace)
    except OSError as error:
        click.echo(f"trio-oplog: {words[0]} cannot be started: {error.strerror}", err=True)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
