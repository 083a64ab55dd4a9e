"""``trio-oplog wrap``: a stdio server behind our own standard input and output, every call on record."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import click
import trio

from trio_oplog._cli.account import lost
from trio_oplog._cli.delivering import default_spool, open_client
from trio_oplog._cli.destination import Destination, open_destination, secret_option, workspace_option
from trio_oplog._delivery import Client
from trio_oplog._errors import StoreError
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
@click.option("--to", "dest", metavar="DEST", help="http(s)://... or sqlite:///path; else your own store.")
@workspace_option
@secret_option
@click.option("--user", metavar="ID", help="Who calls; else whom the client claims to be.")
@click.option("--source", metavar="NAME", default="mcp", show_default=True, help="What kind of client calls.")
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
def command(
    words: tuple[str, ...],
    dest: str | None,
    workspace: str,
    secret_file: Path | None,
    user: str | None,
    source: str,
    grace: float,
    kill_after: float,
) -> int:
    """Run a stdio server (an MCP server, an ACP agent) and record every tool call.

    Put it in front of the command in an MCP client's configuration.  The client notices nothing: bytes pass as they came,
    errors of the server are its own, and so is the exit status.
    """
    config = Config(source=source, workspace_id=workspace, user_id=user, transport="stdio")
    return trio.run(_wrap, words, dest, secret_file, config, grace, kill_after)


async def _wrap(
    words: Sequence[str], dest: str | None, secret_file: Path | None, config: Config, grace: float, kill_after: float
) -> int:
    async with AsyncExitStack() as stack:
        client: Client | None = None
        operations: OperationsList | None = None
        destination = await _open(stack, dest, secret_file)
        # While the server runs signals are for it; after that nothing may keep the records from being delivered.
        stack.enter_context(_deaf())
        if destination is not None:
            opened = open_client(destination, spool=default_spool(), drain_timeout=_DRAIN_TIMEOUT)
            client = await stack.enter_async_context(opened)
            list_client = ListClient(destination.url, destination.secret, http=destination.http)
            operations = OperationsList(list_client=list_client, workspace_id=config.workspace_id)
        interceptor = None if client is None else Interceptor(client, config)
        try:
            status, _ = await wrap(words, interceptor, operations=operations, grace=grace, kill_after=kill_after)
        except OSError as error:
            click.echo(f"trio-oplog: {words[0]} cannot be started: {error.strerror}", err=True)
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    if client is not None and (problem := lost(client)):
        click.echo(f"trio-oplog: {problem}", err=True)
    return status


async def _open(stack: AsyncExitStack, dest: str | None, secret_file: Path | None) -> Destination | None:
    try:
        return await stack.enter_async_context(open_destination(dest, secret_file))
    except StoreError as error:
        # The server is somebody's tool, and this is only its log.
        click.echo(f"trio-oplog: {error}; the server runs, and nothing is recorded", err=True)
        return None


@contextmanager
def _deaf() -> Iterator[None]:
    before = {signum: signal.signal(signum, lambda *_: None) for signum in _SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
