"""``trio-oplog collect``: serve the collector."""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Never

import click
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from trio_oplog._cli.destination import default_store, read_secret
from trio_oplog._cli.durations import Duration
from trio_oplog._cli.options import secret_option
from trio_oplog._errors import ConfigError
from trio_oplog.collector import DEFAULT_PATH, Store, create_app, open_store

_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}", re.ASCII)
_GRACE = 5.0
"""How long requests may take to finish after a signal, in seconds: as long as a Client waits for them."""
_HEADERS_MAX_BYTES = 64 * 1024
"""Room for a list request with every filter as long as it may be, each byte of it percent-encoded."""


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
@secret_option
def command(
    *, listen: str, url: str | None, keep: timedelta | None, keep_statistics: timedelta, secret_file: Path | None
) -> None:
    """Serve the collector until SIGTERM or Ctrl-C: take operations over HTTP and store them.

    Whoever sends or lists operations must know the secret.
    """
    if not _ADDRESS.fullmatch(listen) or int(listen.rpartition(":")[2]) > 0xFFFF:
        raise click.BadParameter("must be HOST:PORT, such as 127.0.0.1:8088.", param_hint="--listen")
    secret = read_secret(secret_file)
    try:
        store = open_store(url or default_store())
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--store") from None
    problem = ""
    try:
        retain = partial(store.retain, keep, keep_statistics=keep_statistics) if keep else None
        trio.run(_collect, listen, store, secret, retain)
    except* OSError as group:
        problem = f"cannot listen on {listen}: {_first(group).strerror}"
    if problem:
        raise click.ClickException(problem)


async def _collect(listen: str, store: Store, secret: str, retain: Callable[[], Awaitable[Never]] | None) -> None:
    config = Config()
    config.bind = [listen]
    config.loglevel = "WARNING"
    config.graceful_timeout = _GRACE
    config.h11_max_incomplete_size = _HEADERS_MAX_BYTES
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def signalled() -> None:
            await anext(signals)

        async with store, trio.open_nursery() as background:
            if retain is not None:
                background.start_soon(retain)
            async with trio.open_nursery() as nursery:
                app = create_app(store, secret)
                binds = await nursery.start(partial(serve, app, config, shutdown_trigger=signalled))  # type: ignore[arg-type]
                click.echo(f"collecting on {binds[0]}{DEFAULT_PATH} into {store.url}", err=True)
            background.cancel_scope.cancel()


def _first(group: BaseExceptionGroup[OSError]) -> OSError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
