"""``trio-oplog collect``: serve the collector."""

from __future__ import annotations

import signal
import ssl
from functools import partial
from pathlib import Path

import click
import trio

from trio_oplog._cli.destination import default_store, read_secret
from trio_oplog._cli.listening import name_of, open_listeners, read_address, stop_when_told
from trio_oplog._cli.options import secret_option
from trio_oplog._errors import ConfigError
from trio_oplog._serving import HTTPServer, tls_context
from trio_oplog.collector import DEFAULT_PATH, Store, create_app, open_store


@click.command("collect")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8088", show_default=True, help="Where; port 0 for any.")
@click.option("--store", "url", metavar="URL", help="sqlite:///path or postgresql://...; else your own store.")
@secret_option
@click.option(
    "--tls-certificate", "certificate", metavar="FILE", type=click.Path(path_type=Path), help="Serve https: the chain, as PEM."
)
@click.option("--tls-key", "key", metavar="FILE", type=click.Path(path_type=Path), help="Its private key, as PEM.")
def command(listen: str, url: str | None, secret_file: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Serve the collector until SIGTERM or Ctrl-C: take operations over HTTP and store them.

    Whoever sends or lists operations must know the secret.  A second signal does not wait for requests that have begun.
    """
    host, port = read_address(listen, example="127.0.0.1:8088")
    if (certificate is None) != (key is None):
        raise click.UsageError("TLS needs both --tls-certificate and --tls-key.")
    tls = None
    try:
        if certificate is not None and key is not None:
            tls = tls_context(certificate, key)
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--tls-certificate") from None
    secret = read_secret(secret_file)
    try:
        store = open_store(url or default_store())
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--store") from None
    trio.run(_collect, host, port, store, secret, tls)


async def _collect(host: str, port: int, store: Store, secret: str, tls: ssl.SSLContext | None) -> None:
    server = HTTPServer(create_app(store, secret))
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with store:
            listeners = await open_listeners(host, port)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop_when_told, server, signals, nursery.cancel_scope)
                async with trio.open_nursery() as serving:
                    await serving.start(partial(server.serve, listeners, tls=tls))
                    for listener in listeners:
                        where = f"{'http' if tls is None else 'https'}://{name_of(listener)}{DEFAULT_PATH}"
                        click.echo(f"collecting on {where} into {store.url}", err=True)
                nursery.cancel_scope.cancel()
