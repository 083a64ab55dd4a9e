"""``trio-oplog wrap``: a stdio server behind our own standard input and output, every call on record."""

from __future__ import annotations

import sys
from socket import socket
from typing import Final

import click

from trio_oplog._cli.options import Recording, recording_options
from trio_oplog._tap import KILL_AFTER, Launched, launch, run_tap

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""What a shell leaves with when it cannot start a command."""


@click.command("wrap", context_settings={"allow_interspersed_args": False})
@recording_options("mcp")
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
@click.pass_obj
def command(
    launched: Launched | None, words: tuple[str, ...], recording: Recording, grace: float | None, kill_after: float
) -> int:
    """Run a stdio server (an MCP server, an ACP agent) and record every tool call.

    Put it in front of the command in an MCP client's configuration.  The client notices nothing: bytes pass as they come,
    errors of the server are its own, and so is the way in which it ends.
    """

    def record(line: socket) -> None:
        # In the recorder's process, while the server starts: here is everything heavy.  But for the command line of httpx, which
        # brings rich along where that is installed: 4 MiB.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        from trio_oplog._cli.recording import record  # noqa: PLC0415

        record(line, recording)

    if launched is None:
        try:
            launched = launch(words)
        except OSError as error:
            click.echo(f"trio-oplog: {words[0]} cannot be started: {error.strerror}", err=True)
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return run_tap(launched, record, kill_after=kill_after, grace=grace)
