"""``trio-oplog collect``: serve the collector."""

from __future__ import annotations

import logging
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Never

import click
import trio

from trio_oplog._cli.destination import default_store, has_secret, read_secret
from trio_oplog._cli.durations import Duration
from trio_oplog._cli.listening import name_of, open_listeners, read_address, serve_until_told, take_listeners
from trio_oplog._cli.options import secret_option
from trio_oplog._errors import ConfigError, TokenFileError
from trio_oplog._serving import HTTPServer, tls_context
from trio_oplog.collector import DEFAULT_PATH, Access, Store, create_app, open_store


@click.command("collect")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8088", show_default=True, help="Where; port 0 for any.")
@click.option("--store", "url", metavar="URL", help="sqlite:///path or postgresql://...; else your own store.")
@click.option("--keep", type=Duration(), metavar="TIME", help="Delete operations that are older: such as 90d, 8w or 2y.")
@click.option(
    "--keep-statistics",
    type=Duration(),
    metavar="TIME",
    default="2y",
    show_default=True,
    help="With --keep, delete what was counted of older ones.",
)
@click.option("--tokens", metavar="FILE", type=click.Path(path_type=Path), help="Who else may do what; see 'trio-oplog token'.")
@click.option(
    "--old-secret-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where the secret is that clients change over from.",
)
@click.option("--access-log", is_flag=True, help="Write a line for each request to standard error.")
@secret_option
@click.option(
    "--tls-certificate", "certificate", metavar="FILE", type=click.Path(path_type=Path), help="Serve https: the chain, as PEM."
)
@click.option("--tls-key", "key", metavar="FILE", type=click.Path(path_type=Path), help="Its private key, as PEM.")
def command(
    *,
    listen: str,
    url: str | None,
    keep: timedelta | None,
    keep_statistics: timedelta,
    tokens: Path | None,
    old_secret_file: Path | None,
    access_log: bool,
    secret_file: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Serve the collector until SIGTERM or Ctrl-C: take operations over HTTP, store them, and show them on a page.

    Whoever sends or lists operations must know the secret, or have a token from --tokens.  SIGHUP reads both again.  A second
    SIGTERM does not wait for requests that have begun.  Where systemd hands over sockets, these are listened on instead of
    --listen.
    """
    host, port = read_address(listen, example="127.0.0.1:8088")
    tls = _read_certificate(certificate, key)
    read = partial(_read_access, secret_file, old_secret_file, tokens)
    access = read()
    try:
        store = open_store(url or default_store())
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--store") from None
    retain = partial(store.retain, keep, keep_statistics=keep_statistics) if keep else None
    with _logging(access_log=access_log):
        trio.run(_collect, host, port, tls, store, access, read, retain)


def _read_certificate(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if (certificate is None) != (key is None):
        raise click.UsageError("TLS needs both --tls-certificate and --tls-key.")
    if certificate is None or key is None:
        return None
    try:
        return tls_context(certificate, key)
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--tls-certificate") from None


def _read_access(secret_file: Path | None, old_secret_file: Path | None, tokens: Path | None) -> Access:
    """Who may use the collector.

    Raises:
        click.UsageError: Nobody may, or a file is wrong.
    """
    secrets = [read_secret(secret_file)] if tokens is None or has_secret(secret_file) else []
    if old_secret_file is not None:
        secrets.append(read_secret(old_secret_file))
    try:
        return Access(secrets) if tokens is None else Access.read(tokens, secrets=secrets)
    except TokenFileError as error:
        raise click.BadParameter(f"{error}.", param_hint="--tokens") from None


@contextmanager
def _logging(*, access_log: bool) -> Iterator[None]:
    """Write what the collector logs to standard error, with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    ours, accesses = logging.getLogger("trio_oplog.collector"), logging.getLogger("trio_oplog.collector.access")
    ours.addHandler(handler)
    before = accesses.level
    accesses.setLevel(logging.INFO if access_log else logging.WARNING)
    try:
        yield
    finally:
        accesses.setLevel(before)
        ours.removeHandler(handler)


def _reload(access: Access, read: Callable[[], Access]) -> None:
    """Read secrets and tokens again; what is broken changes nothing."""
    try:
        access.replace(read())
    except click.UsageError as error:
        click.echo(f"SIGHUP: {error.format_message()} Secrets and tokens stay as they were.", err=True)
    else:
        click.echo("SIGHUP: secrets and tokens were read again", err=True)


async def _collect(
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    store: Store,
    access: Access,
    read: Callable[[], Access],
    retain: Callable[[], Awaitable[Never]] | None,
) -> None:
    server = HTTPServer(create_app(store, access))
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with store:
            listeners = take_listeners() or await open_listeners(host, port)

            def started() -> None:
                for listener in listeners:
                    where = f"{'http' if tls is None else 'https'}://{name_of(listener)}{DEFAULT_PATH}"
                    click.echo(f"collecting on {where} into {store.url}", err=True)

            async with trio.open_nursery() as background:
                if retain is not None:
                    background.start_soon(retain)
                serve = partial(server.serve, listeners, tls=tls)
                await serve_until_told(server, serve, signals, started, partial(_reload, access, read))
                background.cancel_scope.cancel()
