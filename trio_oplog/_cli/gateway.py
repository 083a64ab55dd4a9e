"""``trio-oplog gateway``: a WebSocket or HTTP front that puts every client through to a server, every call on record."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click
import trio

from trio_oplog._cli.account import counted
from trio_oplog._cli.delivery import make_config
from trio_oplog._cli.listening import name_of, open_listeners, read_address, serve_until_told
from trio_oplog._cli.options import Recording, UpstreamServer, recording_options, upstream_options
from trio_oplog._cli.otlp import resource
from trio_oplog._cli.outlets import Outlets, open_outlets
from trio_oplog._cli.recorded import Captures, open_captures
from trio_oplog._cli.upstream import read_upstream
from trio_oplog._errors import ConfigError, TokenFileError
from trio_oplog._metrics import of_gateway
from trio_oplog.gateway import (
    GRACE,
    HANDSHAKE_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_FRAME,
    Anyone,
    Authenticator,
    ChildUpstream,
    Gateway,
    HTTPGateway,
    Identity,
    TokenFile,
    Upstream,
    WebSocketUpstream,
)

_DRAIN_TIMEOUT: Final = 10.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HTTP: Final = ("http://", "https://")
_SCHEMES: Final = (*_HTTP, "ws://", "wss://")


class _Limits(NamedTuple):
    """What the options say about clients."""

    origins: tuple[str, ...]
    max_connections: int
    max_frame: int
    handshake_timeout: float
    grace: float


class _Front(NamedTuple):
    """What clients connect to.

    Attributes:
        make: Makes the server.
        url: What its URL begins and ends with, around host and port.
        client: What its account counts, one of them.
    """

    make: Callable[[Outlets, Captures | None], Gateway | HTTPGateway]
    url: tuple[str, str]
    client: str


@click.command("gateway", context_settings={"allow_interspersed_args": False})
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8086", show_default=True, help="Where; port 0 for any.")
@upstream_options(
    "The server that clients are put through to: http(s)://.../mcp, ws://... or wss://...",
    "Headers for an http(s) server instead of the client's, such as its token; one a line, 'Name: value'.",
)
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who may connect: a TOML file of hashed bearer tokens (see 'trio-oplog token').  Without it, anyone on this machine.",
)
@recording_options("gateway")
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus may read metrics, at /metrics; else nowhere.")
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
    "--max-frame",
    metavar="BYTES",
    type=click.IntRange(min=1),
    default=MAX_FRAME,
    show_default=True,
    help="Longest message; over HTTP, longest request.",
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
    upstream: UpstreamServer,
    tokens: Path | None,
    recording: Recording,
    metrics: str | None,
    origins: tuple[str, ...],
    max_connections: int,
    max_frame: int,
    handshake_timeout: float,
    grace: float,
    words: tuple[str, ...],
) -> None:
    """Put clients through to a server and record every tool call on its way.

    With an http(s) --upstream this is a reverse proxy for MCP over HTTP: clients use the URL that it prints.  Else it is a
    WebSocket server, and each client gets a server of its own: a connection to --upstream, or a COMMAND that speaks on its
    standard input and output.

    SIGTERM or Ctrl-C ends every connection (WebSockets with 1001) and delivers what is on record; a second one does not wait
    for the connections.  SIGHUP reads the files of tokens and of headers again.
    """
    host, port = read_address(listen, example="127.0.0.1:8086")
    shown = None if metrics is None else read_address(metrics, option="--metrics", example="127.0.0.1:9464")
    authenticator = _authenticator(host, tokens, recording)
    limits = _Limits(origins, max_connections, max_frame, handshake_timeout, grace)
    make_front = _http_front if (upstream.url or "").startswith(_HTTP) else _websocket_front
    front = make_front(upstream, words, authenticator, recording, limits)

    async def serve(captures: Captures | None) -> None:
        with ExitStack() as stack:
            opened = open_outlets(recording, place="server", drain_timeout=_DRAIN_TIMEOUT, shows_metrics=shown is not None)
            async with opened as outlets:
                gateway = front.make(outlets, captures)
                # From here on no signal keeps the records from being delivered, or the account from being shown.
                stack.enter_context(_deaf())
                outlets.sources.append(lambda: of_gateway(gateway.statistics()))
                async with _showing_metrics(shown, outlets):
                    await _serve(gateway, host, port, front.url, partial(_reload, gateway, authenticator, tokens, upstream))
            click.echo(_summary(gateway, front.client, outlets), err=True)

    with open_captures(recording.capture) as captures:
        trio.run(serve, captures)


def _http_front(
    upstream: UpstreamServer,
    words: Sequence[str],
    authenticator: Authenticator,
    recording: Recording,
    limits: _Limits,
) -> _Front:
    if words:
        raise click.UsageError("Name one server: --upstream URL, or -- COMMAND.")
    config = make_config(recording, "http")
    url, headers = read_upstream(upstream)

    def make(outlets: Outlets, captures: Captures | None) -> HTTPGateway:
        return HTTPGateway(
            str(url),
            authenticator,
            outlets.submitter,
            config,
            list_client=outlets.list_client,
            headers=headers,
            ca_file=upstream.ca_file,
            max_connections=limits.max_connections,
            max_body=limits.max_frame,
            handshake_timeout=limits.handshake_timeout,
            grace=limits.grace,
            origins=limits.origins,
            observe=None if captures is None else captures.watch_exchanges().watch,
        )

    return _Front(make, ("http://", url.path), "request")


def _websocket_front(
    upstream: UpstreamServer,
    words: Sequence[str],
    authenticator: Authenticator,
    recording: Recording,
    limits: _Limits,
) -> _Front:
    if upstream.files:
        raise click.UsageError(f"{upstream.files[0]} is for an --upstream that is http:// or https://.")
    config = make_config(recording, "websocket")
    servers = _upstream(upstream.url, words, limits)

    def make(outlets: Outlets, captures: Captures | None) -> Gateway:
        return Gateway(
            servers,
            authenticator,
            outlets.submitter,
            config,
            list_client=outlets.list_client,
            max_connections=limits.max_connections,
            max_frame=limits.max_frame,
            handshake_timeout=limits.handshake_timeout,
            grace=limits.grace,
            origins=limits.origins,
            observe=None if captures is None else captures.watch,
        )

    return _Front(make, ("ws://", ""), "connection")


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


def _upstream(url: str | None, words: Sequence[str], limits: _Limits) -> Upstream:
    if (url is None) == (not words):
        raise click.UsageError("Name one server: --upstream URL, or -- COMMAND.")
    if url is None:
        return ChildUpstream(words, max_frame=limits.max_frame, grace=limits.grace)
    try:
        return WebSocketUpstream(url, max_frame=limits.max_frame, close_timeout=limits.grace)
    except ConfigError:
        problem = f"must be an address that begins with {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}."
    raise click.BadParameter(problem, param_hint="--upstream")


async def _serve(
    gateway: Gateway | HTTPGateway, host: str, port: int, url: tuple[str, str], reload: Callable[[], object]
) -> None:
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        listeners = await open_listeners(host, port)

        def started() -> None:
            for listener in listeners:
                click.echo(f"listening on {url[0]}{name_of(listener)}{url[1]}", err=True)

        await serve_until_told(gateway, partial(gateway.serve, listeners), signals, started, reload)


def _reload(gateway: Gateway | HTTPGateway, authenticator: Authenticator, tokens: Path | None, upstream: UpstreamServer) -> None:
    """Read the files of tokens and of headers again; one that is broken changes nothing."""
    said = []
    if tokens is not None and isinstance(authenticator, TokenFile):
        try:
            authenticator.replace(TokenFile.read(tokens))
        except TokenFileError as error:
            said.append(f"{error}; the tokens stay as they were")
        else:
            said.append("the tokens were read again")
    if isinstance(gateway, HTTPGateway) and upstream.header_file is not None:
        try:
            gateway.replace_headers(read_upstream(upstream)[1])
        except click.BadParameter as error:
            said.append(f"{error.message.rstrip('.')}; the headers stay as they were")
        else:
            said.append("the headers were read again")
    for each in said or ["there is no file of tokens or headers to read again"]:
        click.echo(f"SIGHUP: {each}", err=True)


@asynccontextmanager
async def _showing_metrics(shown: tuple[str, int] | None, outlets: Outlets) -> AsyncIterator[None]:
    if shown is None:
        yield
        return
    from trio_oplog._cli.metrics import showing_metrics  # noqa: PLC0415 -- few ask for it

    host, port = shown
    async with showing_metrics(host, port, outlets.collect, resource()) as port:
        click.echo(f"metrics on http://{f'[{host}]' if ':' in host else host}:{port}/metrics", err=True)
        yield


def _summary(gateway: Gateway | HTTPGateway, client: str, outlets: Outlets) -> str:
    done = gateway.statistics()
    parts = [
        counted(done.accepted, client),
        f"{done.unauthenticated + done.refused} refused",
        counted(done.recorded, "operation"),
        outlets.delivered(),
    ]
    return ", ".join(parts)
