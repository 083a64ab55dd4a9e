"""``--metrics HOST:PORT``: a program's metrics for Prometheus, on a port of their own.  Needs ``prometheus-client``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import click
import trio
from prometheus_client import start_http_server

from trio_oplog._metrics import Metric, prometheus


@asynccontextmanager
async def showing_metrics(
    host: str, port: int, collect: Callable[[], Iterable[Metric]], resource: Mapping[str, str]
) -> AsyncIterator[int]:
    """Serve metrics for as long as the block lasts, by Prometheus's own server, which runs in threads.

    Args:
        host: Where to listen.
        port: The port; 0 for any.
        collect: The metrics of the moment in which it is called, in Trio's thread.
        resource: Who has them, as attributes of OpenTelemetry.

    Yields:
        The port.

    Raises:
        click.ClickException: Nobody can listen there.
    """
    token = trio.lowlevel.current_trio_token()

    def collect_in_trio() -> list[Metric]:
        return trio.from_thread.run_sync(lambda: list(collect()), trio_token=token)

    try:
        server, thread = start_http_server(port, host, prometheus.registry(collect_in_trio, resource))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
    try:
        yield server.server_port
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
            server.server_close()
            await trio.to_thread.run_sync(thread.join)
