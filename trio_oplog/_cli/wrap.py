"""``trio-oplog wrap``: a stdio server, or one with a URL, behind our own standard input and output, every call on record."""

from __future__ import annotations

import sys
from socket import socket
from typing import Final

import click
from click.core import ParameterSource

from trio_oplog._cli.options import Recording, UpstreamServer, recording_options, upstream_options
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
@upstream_options(
    "Instead of a COMMAND: an MCP server that has a URL, http(s)://.../mcp.",
    "Headers for the server that has a URL, such as its token; one a line, 'Name: value'.",
)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    recording: Recording,
    grace: float | None,
    kill_after: float,
    upstream: UpstreamServer,
) -> int:
    """Run a stdio server (an MCP server, an ACP agent) and record every tool call.

    Put it in front of the command in an MCP client's configuration.  The client notices nothing: bytes pass as they come,
    errors of the server are its own, and so is the way in which it ends.

    With --upstream a client that only speaks to stdio servers reaches an MCP server that has a URL.
    """
    if words:  # they go before the configuration file, where the options are a gateway's as well
        names = ("upstream", "upstream_header_file", "upstream_ca_file")
        upstream = UpstreamServer(*(None if _is_from_file(context, name) else context.params[name] for name in names))
    if (upstream.url is None) == (not words):
        raise click.UsageError("Name one server: -- COMMAND, or --upstream URL.")
    if upstream.url is not None:
        from trio_oplog._cli.remote import run_remote  # noqa: PLC0415 - it is heavy, and only needed here

        return run_remote(upstream, recording, grace)
    if upstream.files:
        raise click.UsageError(f"{upstream.files[0]} is for an --upstream.")

    def record(line: socket) -> None:
        # In the recorder's process, while the server starts: here is everything heavy.  But for the command line of httpx, which
        # brings rich along where that is installed: 4 MiB.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        from trio_oplog._cli.recording import record  # noqa: PLC0415

        record(line, recording)

    launched: Launched | None = context.obj
    if launched is None:
        try:
            launched = launch(words)
        except OSError as error:
            click.echo(f"trio-oplog: {words[0]} cannot be started: {error.strerror}", err=True)
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return run_tap(launched, record, kill_after=kill_after, grace=grace)


def _is_from_file(context: click.Context, parameter: str) -> bool:
    return context.get_parameter_source(parameter) is ParameterSource.DEFAULT_MAP
