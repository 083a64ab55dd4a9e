"""``trio-oplog wrap``: a stdio server behind our own standard input and output, every call on record."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import click
import trio

from trio_oplog._cli.account import lost
from trio_oplog._cli.delivery import make_config, open_client
from trio_oplog._cli.destination import Destination, open_destination
from trio_oplog._cli.options import Recording, recording_options
from trio_oplog._cli.recorded import open_captures
from trio_oplog._delivery import Client
from trio_oplog._errors import OplogError
from trio_oplog._listing import ListClient
from trio_oplog._operation import Config
from trio_oplog._recording import Interceptor
from trio_oplog.gateway import GRACE, KILL_AFTER, OperationsList, wrap

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""What a shell leaves with when it cannot start a command."""

# A client of the MCP SDKs kills us two seconds after its SIGTERM, and the server has had KILL_AFTER of them.
_DRAIN_TIMEOUT: Final = 3.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("wrap", context_settings={"allow_interspersed_args": False})
@recording_options("mcp")
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=GRACE,
    show_default=True,
    help="How long the server may go on after the end of its input; then it gets SIGTERM.",
)
@click.option(
    "--kill-after",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=KILL_AFTER,
    show_default=True,
    help="How long it may go on after a signal; then it is killed.",
)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(words: tuple[str, ...], recording: Recording, grace: float, kill_after: float) -> int:
    """Run a stdio server (an MCP server, an ACP agent) and record every tool call.

    Put it in front of the command in an MCP client's configuration.  The client notices nothing: bytes pass as they came,
    errors of the server are its own, and so is the exit status.
    """
    return trio.run(_wrap, words, recording, grace, kill_after)


async def _wrap(words: Sequence[str], recording: Recording, grace: float, kill_after: float) -> int:
    async with AsyncExitStack() as stack:
        client: Client | None = None
        interceptor: Interceptor | None = None
        operations: OperationsList | None = None
        captures = stack.enter_context(open_captures(recording.capture))
        opened = await _open(stack, recording)
        # While the server runs signals are for it; after that nothing may keep the records from being delivered.
        stack.enter_context(_deaf())
        if opened is not None:
            destination, config = opened
            client = await stack.enter_async_context(
                open_client(destination, spool=recording.spool, drain_timeout=_DRAIN_TIMEOUT)
            )
            list_client = ListClient(destination.url, destination.secret, http=destination.http)
            operations = OperationsList(list_client=list_client, workspace_id=config.workspace_id)
            interceptor = Interceptor(client, config)
        observer = interceptor if captures is None else captures.watch(interceptor)
        try:
            status, _ = await wrap(words, observer, operations=operations, grace=grace, kill_after=kill_after)
        except OSError as error:
            click.echo(f"trio-oplog: {words[0]} cannot be started: {error.strerror}", err=True)
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    if client is not None and (problem := lost(client)):
        click.echo(f"trio-oplog: {problem}", err=True)
    return status


async def _open(stack: AsyncExitStack, recording: Recording) -> tuple[Destination, Config] | None:
    """What recording needs; ``None`` where it cannot be: the server is somebody's tool, and this is only its log."""
    if recording.is_off:  # which was said
        return None
    try:
        config = make_config(recording, "stdio")
        return await stack.enter_async_context(open_destination(recording.dest, recording.secret_file)), config
    except click.UsageError as error:
        problem = error.format_message().rstrip(".")
    except OplogError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror} (name another place with --to)"
    click.echo(f"trio-oplog: {problem}; the server runs, and nothing is recorded", err=True)
    return None


@contextmanager
def _deaf() -> Iterator[None]:
    before = {signum: signal.signal(signum, lambda *_: None) for signum in _SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
