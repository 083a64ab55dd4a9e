"""``trio-oplog gateway``: a WebSocket front that puts every client through to a server, every call on record."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import trio

from trio_oplog._cli.account import lost
from trio_oplog._cli.destination import open_destination, secret_option, workspace_option
from trio_oplog._cli.listening import name_of, open_listeners, read_address, stop_when_told
from trio_oplog._delivery import Client
from trio_oplog._errors import ConfigError, TokenFileError
from trio_oplog._listing import ListClient
from trio_oplog._operation import Config
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


@click.command("gateway", context_settings={"allow_interspersed_args": False})
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8086", show_default=True, help="Where; port 0 for any.")
@click.option("--upstream", metavar="URL", help="The server that clients are put through to: ws://... or wss://...")
@click.option("--to", "dest", metavar="DEST", help="http(s)://... or sqlite:///path; else your own store.")
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who may connect: a TOML file of hashed bearer tokens (see 'trio-oplog token').  Without it, anyone on this machine.",
)
@workspace_option
@secret_option
@click.option("--source", metavar="NAME", default="gateway", show_default=True, help="What kind of client calls.")
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
    dest: str | None,
    tokens: Path | None,
    workspace: str,
    secret_file: Path | None,
    source: str,
    origins: tuple[str, ...],
    max_connections: int,
    max_frame: int,
    handshake_timeout: float,
    grace: float,
    words: tuple[str, ...],
) -> None:
    """Put WebSocket clients through to a server and record every tool call on its way.

    Each client gets a server of its own: a connection to --upstream, or a COMMAND that speaks on its standard input and
    output.  SIGTERM or Ctrl-C closes every connection with 1001 and delivers what is on record; a second one does not wait.
    """
    host, port = read_address(listen, example="127.0.0.1:8086")
    authenticator = _authenticator(host, tokens, workspace)
    servers = _upstream(upstream, words, max_frame, grace)

    async def serve() -> None:
        async with open_destination(dest, secret_file) as (url, http, secret):
            async with Client(url, secret, http=http, drain_timeout=_DRAIN_TIMEOUT) as client:
                gateway = Gateway(
                    servers,
                    authenticator,
                    client,
                    Config(source=source, workspace_id=workspace, transport="websocket"),
                    list_client=ListClient(url, secret, http=http),
                    max_connections=max_connections,
                    max_frame=max_frame,
                    handshake_timeout=handshake_timeout,
                    grace=grace,
                    origins=origins,
                )
                await _serve(gateway, host, port)
            click.echo(_summary(gateway, client), err=True)

    trio.run(serve)


def _authenticator(host: str, tokens: Path | None, workspace: str) -> Authenticator:
    if tokens is not None:
        try:
            return TokenFile.read(tokens)
        except TokenFileError as error:
            raise click.BadParameter(f"{error}.", param_hint="--tokens") from None
    if not _is_loopback(host):
        raise click.UsageError(
            f"Whoever reaches {host} could connect: name a file of tokens with --tokens, or listen on 127.0.0.1."
        )
    return Anyone(Identity(workspace_id=workspace))


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


async def _serve(gateway: Gateway, host: str, port: int) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        listeners = await open_listeners(host, port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_told, gateway, signals, nursery.cancel_scope)
            async with trio.open_nursery() as serving:
                await serving.start(gateway.serve, listeners)
                for listener in listeners:
                    click.echo(f"listening on ws://{name_of(listener)}", err=True)
            nursery.cancel_scope.cancel()


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
