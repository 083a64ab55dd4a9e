"""What ``wrap`` and ``gateway`` make of their options about recording: a ``Config``, and a ``Client`` with a spool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import click

from trio_oplog._cli.destination import Destination
from trio_oplog._cli.options import Recording
from trio_oplog._delivery import Client, Spool
from trio_oplog._errors import SpoolError, SpoolInUseError
from trio_oplog._operation import Config
from trio_oplog._recording import redact_secrets

_SPOOLS_MAX: Final = 64
"""More programs at once with one destination share no more spools; the last ones do without."""


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

    Args:
        destination: Where it delivers to.
        spool: The folder of its spool, which is made; ``None`` for none.  A spool that cannot be used is said in one line, and
            done without.
        drain_timeout: How long leaving the block may take, in seconds.

    Yields:
        The client.
    """
    async with AsyncExitStack() as stack:
        client: Client | None = None
        for path in _paths(destination, spool):
            try:
                client = await stack.enter_async_context(_client(destination, drain_timeout, Spool(path)))
            except SpoolInUseError:
                continue
            except SpoolError as error:
                click.echo(f"trio-oplog: {error}; what cannot be delivered is lost: name a folder with --spool", err=True)
            break
        if client is None:
            client = await stack.enter_async_context(_client(destination, drain_timeout, None))
        yield client


def _client(destination: Destination, drain_timeout: float, spool: Spool | None) -> Client:
    url, secret, http = destination.url, destination.secret, destination.http
    return Client(url, secret, http=http, drain_timeout=drain_timeout, spool=spool)


def _paths(destination: Destination, spool: Path | None) -> list[Path]:
    """The files that a client may have, the first that is free: what an earlier one left is then delivered by the next."""
    if spool is None:
        return []
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the spool {spool} cannot be made ({error.strerror})"
        click.echo(f"trio-oplog: {problem}; what cannot be delivered is lost: name another folder with --spool", err=True)
        return []
    # What is meant for one destination must not reach another.
    name = sha256(destination.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return [spool / f"{name}-{number}.sqlite3" for number in range(_SPOOLS_MAX)]
