"""Serving an app over HTTP until the program is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.types import ASGIApp

_GRACE = 5.0
"""How long requests may take to finish after a signal, in seconds: as long as a Client waits for them."""
_HEADERS_MAX_BYTES = 64 * 1024
"""Room for a list request with every filter as long as it may be, each byte of it percent-encoded."""


async def serve_until_signal(app: ASGIApp, listen: str, started: Callable[[str], object]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have begun are finished.

    Args:
        app: What to serve.
        listen: ``HOST:PORT``; port 0 for any that is free.
        started: Called with the URL once it listens.

    Raises:
        OSError: It cannot listen there; in a group.
    """
    config = Config()
    config.bind = [listen]
    config.loglevel = "WARNING"
    config.graceful_timeout = _GRACE
    config.h11_max_incomplete_size = _HEADERS_MAX_BYTES
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def signalled() -> None:
            await anext(signals)

        async with trio.open_nursery() as nursery:
            binds = await nursery.start(partial(serve, app, config, shutdown_trigger=signalled))  # type: ignore[arg-type]
            started(binds[0])


def first_os_error(group: BaseExceptionGroup[OSError]) -> OSError:
    """Why it could not listen."""
    error = group.exceptions[0]
    return first_os_error(error) if isinstance(error, BaseExceptionGroup) else error
