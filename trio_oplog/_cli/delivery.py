"""What ``wrap`` and ``gateway`` make of their options about recording: a ``Config``, and a ``Client`` that delivers.

They deliver in batches, and through a folder of spools unless they are told otherwise.  A file gets a spool as well, although
both are on one disk.  The store may be damaged, or locked for longer than a program can wait at its end.  And what has not
reached it when the program is killed is in the spool, from where the next program delivers it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import click

from trio_oplog._cli.destination import Destination
from trio_oplog._cli.options import Recording
from trio_oplog._delivery import Client, SpoolFolder
from trio_oplog._errors import SpoolError
from trio_oplog._operation import Config
from trio_oplog._recording import redact_secrets

_BATCH_SIZE: Final = 100
# What the bytes of the queue have room for at most: thousands of calls that end at once are none too many.
_CAPACITY: Final = 65_536


def make_config(recording: Recording, transport: str) -> Config:
    """What to write into every operation.

    Args:
        recording: What the options say.
        transport: How the frames travel.

    Raises:
        ConfigError: A value is wrong; the error names it.
    """
    redact = None
    if recording.redact or not recording.redact_none:
        redact = redact_secrets(*recording.redact, defaults=not recording.redact_none)
    return Config(
        source=recording.source,
        workspace_id=recording.workspace,
        user_id=recording.user,
        default_env_id=recording.env,
        args_max_bytes=recording.args_max or 0,
        result_max_bytes=recording.result_max or 0,
        redact=redact,
        transport=transport,
    )


@asynccontextmanager
async def open_client(destination: Destination, *, spool: Path | None, drain_timeout: float) -> AsyncIterator[Client]:
    """Open a client for as long as the block lasts.

    A folder that cannot be used costs the spool and not the records: one line on standard error says so.

    Args:
        destination: Where to deliver.
        spool: The folder of spools; it is made where there is none.  ``None`` for no spool.
        drain_timeout: How long leaving the block may take, in seconds.
    """

    def client(folder: SpoolFolder | None) -> Client:
        return Client(
            destination.url,
            destination.secret or None,
            None if folder is not None else _CAPACITY,
            protocol=destination.protocol,
            http=destination.http,
            ca_file=destination.ca_file,
            drain_timeout=drain_timeout,
            batch_size=_BATCH_SIZE,
            spool=folder,
        )

    async with AsyncExitStack() as stack:
        if spool is not None:
            try:
                opened = await stack.enter_async_context(client(SpoolFolder(spool, destination=destination.name)))
            except SpoolError as error:
                click.echo(
                    f"trio-oplog: {error}; operations are kept in memory only (name another folder with --spool)", err=True
                )
                opened = await stack.enter_async_context(client(None))
        else:
            opened = await stack.enter_async_context(client(None))
        yield opened
