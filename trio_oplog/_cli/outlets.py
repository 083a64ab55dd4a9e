"""Where a program's operations and metrics go: a Client for each destination, each with an account and a spool of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import click

from trio_oplog._cli.account import lost
from trio_oplog._cli.delivery import open_client
from trio_oplog._cli.destination import Destination, check_trust, open_destination
from trio_oplog._cli.options import Recording
from trio_oplog._cli.otlp import Receiver, read_receiver
from trio_oplog._delivery import Client, tee
from trio_oplog._errors import ConfigError, OplogError
from trio_oplog._listing import ListClient
from trio_oplog._metrics import INTERVAL, Durations, Metric, MetricsPusher, of_client
from trio_oplog._operation import Submitter
from trio_oplog._otlp import metric_interval

_METRICS_TIMEOUT: Final = 3.0


class Outlets:
    """The open clients of a program.

    Attributes:
        submitter: Feeds all of the clients.
        list_client: Asks the store; ``None`` where there is none.
        sources: Further metrics, which are asked for each time.
    """

    def __init__(self, clients: dict[str, Client], list_client: ListClient | None) -> None:
        self.submitter: Submitter = tee(*clients.values())
        self.list_client = list_client
        self.sources: list[Callable[[], Iterable[Metric]]] = []
        self._clients = clients

    def note_durations(self, place: str) -> None:
        """Note from now on how long operations took, which costs a moment for each."""
        durations = Durations(self.submitter, place)
        self.submitter = durations
        self.sources.append(lambda: [durations.collect()])

    def collect(self) -> list[Metric]:
        """The metrics of this moment."""
        accounts = of_client({name: client.statistics() for name, client in self._clients.items()})
        return [*accounts, *(metric for source in self.sources for metric in source())]

    def delivered(self) -> str:
        """How many operations were delivered, to each destination where there are several, and what was lost."""
        counts = {name: client.statistics().delivered for name, client in self._clients.items()}
        several = len(counts) > 1
        parts = [f"{count} delivered to {name}" if several else f"{count} delivered" for name, count in counts.items()]
        problem = self.lost()
        return ", ".join(parts) + (f"; {problem}" if problem else "")

    def lost(self) -> str:
        """What was lost and why, as the end of a sentence; empty when nothing was."""
        problems = {name: lost(client) for name, client in self._clients.items()}
        several = len(problems) > 1
        return "; ".join(f"{name}: {problem}" if several else problem for name, problem in problems.items() if problem)


@asynccontextmanager
async def open_outlets(
    recording: Recording,
    *,
    place: str,
    drain_timeout: float,
    shows_metrics: bool = False,
    tell: Callable[[Exception], object] | None = None,
) -> AsyncIterator[Outlets]:
    """Open a Client for each destination, and what sends metrics, for as long as the block lasts.

    Args:
        recording: What the options say.
        place: ``"client"`` or ``"server"``: on which side of the connection the calls are seen.
        drain_timeout: How long leaving the block may take for all of the clients, in seconds.
        shows_metrics: Whether somebody asks for metrics besides the receivers of them.
        tell: Is told why a destination cannot be used, which is then done without as long as there is another; ``None`` raises.

    Raises:
        click.UsageError: A destination, or what the environment says of it, is wrong.
        OplogError, OSError: It cannot be opened.
    """
    clients: dict[str, Client] = {}
    list_client: ListClient | None = None
    async with AsyncExitStack() as stack:
        receivers = [read_receiver(dest, recording, place) for dest in recording.receivers]
        takers = [receiver for receiver in receivers if receiver.protocol is not None]
        patience = drain_timeout / (len(takers) + recording.uses_store)
        if recording.uses_store:
            try:
                opened = open_destination(recording.dest, recording.secret_file, recording.ca_file)
                destination = await stack.enter_async_context(opened)
                delivering = open_client(destination, spool=recording.spool, drain_timeout=patience)
                clients[destination.name] = await stack.enter_async_context(delivering)
                list_client = destination.list_client()
            except (OplogError, click.UsageError, OSError) as error:
                if tell is None or not takers:
                    raise
                tell(error)
        for receiver in takers:
            destination = _destination(receiver, recording)
            if destination.name in clients:
                raise click.UsageError(f"The destination {destination.name} is named twice.")
            await check_trust(receiver.url, recording.ca_file)
            delivering = open_client(destination, spool=recording.spool, drain_timeout=patience)
            clients[destination.name] = await stack.enter_async_context(delivering)
        outlets = Outlets(clients, list_client)
        if shows_metrics or len(takers) < len(receivers):
            outlets.note_durations(place)
        for receiver in receivers:
            if receiver.protocol is None:
                await stack.enter_async_context(_pusher(receiver, recording, outlets))
        yield outlets


def _destination(receiver: Receiver, recording: Recording) -> Destination:
    url = receiver.url
    name = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
    return Destination(str(url), None, "", name, recording.ca_file, receiver.protocol)


def _pusher(receiver: Receiver, recording: Recording, outlets: Outlets) -> MetricsPusher:
    try:
        interval = metric_interval(os.environ, INTERVAL)
    except ConfigError as error:
        raise click.UsageError(f"The variable {error}.") from None
    return MetricsPusher(
        str(receiver.url),
        outlets.collect,
        headers=receiver.headers,
        resource=receiver.resource,
        interval=interval,
        timeout=_METRICS_TIMEOUT,
        ca_file=recording.ca_file,
    )
