"""``trio-oplog gateway``: a WebSocket front that puts every client through to a server, every call on record."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio

from trio_oplog._cli.account import lost
from trio_oplog._cli.delivery import make_config, open_client
from trio_oplog._cli.destination import open_destination
from trio_oplog._cli.listening import name_of, open_listeners, read_address, stop_when_told
from trio_oplog._cli.options import Recording, recording_options
from trio_oplog._cli.recorded import Captures, open_captures
from trio_oplog._delivery import Client
from trio_oplog._errors import ConfigError, TokenFileError
from trio_oplog.gateway import (
    GRACE,
    HANDSHAKE_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_FRAME,
    Anyone,
    Authenticator,
    ChildUpstream,
    Gateway,
    Identity,
    TokenFile,
    Upstream,
    WebSocketUpstream,
)

_DRAIN_TIMEOUT: Final = 10.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@click.command("gateway", context_settings={"allow_interspersed_args": False})
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8086", show_default=True, help="Where; port 0 for any.")
@click.option("--upstream", metavar="URL", help="The server that clients are put through to: ws://... or wss://...")
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who may connect: a TOML file of hashed bearer tokens (see 'trio-oplog token').  Without it, anyone on this machine.",
)
@recording_options("gateway")
@click.option("--origin", "origins", metavar="URL", multiple=True, help="A web page that may connect; else none.  Repeatable.")
@click.option(
    "--max-connections",
    metavar="N",
    type=click.IntRange(min=1),
    default=MAX_CONNECTIONS,
    show_default=True,
    help="More clients are refused.",
)
@click.option(
    "--max-frame", metavar="BYTES", type=click.IntRange(min=1), default=MAX_FRAME, show_default=True, help="Longest message."
)
@click.option(
    "--handshake-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=HANDSHAKE_TIMEOUT,
    show_default=True,
    help="How long a client may take to say what it wants.",
)
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=GRACE,
    show_default=True,
    help="How long a connection may go on after one side has ended.",
)
@click.argument("words", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def command(
    listen: str,
    upstream: str | None,
    tokens: Path | None,
    recording: Recording,
    origins: tuple[str, ...],
    max_connections: int,
    max_frame: int,
    handshake_timeout: float,
    grace: float,
    words: tuple[str, ...],
) -> None:
    """Put WebSocket clients through to a server and record every tool call on its way.

    Each client gets a server of its own: a connection to --upstream, or a COMMAND that speaks on its standard input and
    output.  SIGTERM or Ctrl-C closes every connection with 1001 and delivers what is on record; a second one does not wait for
    the connections.  SIGHUP reads the file of tokens again.
    """
    host, port = read_address(listen, example="127.0.0.1:8086")
    authenticator = _authenticator(host, tokens, recording)
    config = make_config(recording, "websocket")
    servers = _upstream(upstream, words, max_frame, grace)

    async def serve(captures: Captures | None) -> None:
        with ExitStack() as stack:
            async with (
                open_destination(recording.dest, recording.secret_file, recording.ca_file) as destination,
                open_client(destination, spool=recording.spool, drain_timeout=_DRAIN_TIMEOUT) as client,
            ):
                gateway = Gateway(
                    servers,
                    authenticator,
                    client,
                    config,
                    list_client=destination.list_client(),
                    max_connections=max_connections,
                    max_frame=max_frame,
                    handshake_timeout=handshake_timeout,
                    grace=grace,
                    origins=origins,
                    observe=None if captures is None else captures.watch,
                )
                # From here on no signal keeps the records from being delivered, or the account from being shown.
                stack.enter_context(_deaf())
                await _serve(gateway, host, port, partial(_reload, authenticator, tokens))
            click.echo(_summary(gateway, client), err=True)

    with open_captures(recording.capture) as captures:
        trio.run(serve, captures)


@contextmanager
def _deaf() -> Iterator[None]:
    before = {signum: signal.signal(signum, lambda *_: None) for signum in _SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _authenticator(host: str, tokens: Path | None, recording: Recording) -> Authenticator:
    if tokens is not None:
        try:
            return TokenFile.read(tokens)
        except TokenFileError as error:
            raise click.BadParameter(f"{error}.", param_hint="--tokens") from None
    if not _is_loopback(host):
        raise click.UsageError(
            f"Whoever reaches {host} could connect: name a file of tokens with --tokens, or listen on 127.0.0.1."
        )
    return Anyone(Identity(workspace_id=recording.workspace, user_id=recording.user))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: nobody knows what it means tomorrow
        return False


def _upstream(url: str | None, words: Sequence[str], max_frame: int, grace: float) -> Upstream:
    if (url is None) == (not words):
        raise click.UsageError("Name one server: --upstream URL, or -- COMMAND.")
    if url is None:
        return ChildUpstream(words, max_frame=max_frame, grace=grace)
    try:
        return WebSocketUpstream(url, max_frame=max_frame, close_timeout=grace)
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--upstream") from None


async def _serve(gateway: Gateway, host: str, port: int, reload: Callable[[], object]) -> None:
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        listeners = await open_listeners(host, port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_told, gateway, signals, nursery.cancel_scope, reload)
            async with trio.open_nursery() as serving:
                await serving.start(gateway.serve, listeners)
                for listener in listeners:
                    click.echo(f"listening on ws://{name_of(listener)}", err=True)
            nursery.cancel_scope.cancel()


def _reload(authenticator: Authenticator, tokens: Path | None) -> None:
    """Read the file of tokens again; one that is broken changes nothing."""
    if tokens is None or not isinstance(authenticator, TokenFile):
        click.echo("SIGHUP: there is no file of tokens to read again", err=True)
        return
    try:
        authenticator.replace(TokenFile.read(tokens))
    except TokenFileError as error:
        click.echo(f"SIGHUP: {error}; the tokens stay as they were", err=True)
    else:
        click.echo("SIGHUP: the tokens were read again", err=True)


def _summary(gateway: Gateway, client: Client) -> str:
    done, account = gateway.statistics(), client.statistics()
    parts = [
        f"{done.accepted} connections",
        f"{done.unauthenticated + done.refused} refused",
        f"{done.recorded} operations",
        f"{account.delivered} delivered",
    ]
    problem = lost(client)
    return ", ".join(parts) + (f"; {problem}" if problem else "")
