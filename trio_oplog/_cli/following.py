"""What arrives in a store or at an endpoint, for ``list --follow``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import click
import trio

from trio_oplog._cli.destination import Readable
from trio_oplog._errors import ListError
from trio_oplog._listing import Arrivals, ListQuery, ReadClient

POLL_INTERVAL: Final = 0.5
"""How often a store is looked into, in seconds."""
RETRY_INTERVAL: Final = 2.0
"""How long to wait before an endpoint that was lost is asked again, in seconds."""


async def follow(readable: Readable, query: ListQuery) -> AsyncGenerator[list[bytes], None]:
    """The bytes of records as they arrive, without an end, from now on.  The first list is empty: from there on none is missed.

    An endpoint that is lost is asked again until it answers; that it was lost, and that it answers again, is said on standard
    error.  Close the generator when you
    leave it (``contextlib.aclosing``).

    Raises:
        ListError: The endpoint did not answer at first, or refuses to.
        StoreError: The store could not be read.
    """
    after: str | None = None
    is_lost = False
    while True:
        arrivals = readable.live(query, after) if isinstance(readable, ReadClient) else _poll(readable, query)
        problem = "the endpoint ended the stream"
        try:
            async with aclosing(arrivals):
                async for arrived in arrivals:
                    if is_lost:
                        click.echo("trio-oplog: the endpoint answers again", err=True)
                    is_lost = False
                    after = arrived.next
                    yield [body for _, body in arrived.records]
        except ListError as error:
            if after is None or error.status is not None:
                raise
            problem = str(error)
        if not is_lost:
            click.echo(f"trio-oplog: {problem}; trying again", err=True)
            is_lost = True
        await trio.sleep(RETRY_INTERVAL)


async def _poll(store: Readable, query: ListQuery) -> AsyncGenerator[Arrivals, None]:
    assert not isinstance(store, ReadClient)  # noqa: S101 -- for the type checker
    arrived = await store.arrivals(query)
    while True:
        yield arrived
        last = arrived.next
        arrived = await store.arrivals(query, last)
        while arrived.next == last:
            await trio.sleep(POLL_INTERVAL)
            arrived = await store.arrivals(query, last)
