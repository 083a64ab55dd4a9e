"""Which event loop runs: asked before anything else happens."""

from __future__ import annotations

import trio

from trio_oplog._errors import TrioRequiredError


def require_trio(what: str) -> None:
    """Say at once that something needs Trio, rather than fail half-way with an error of Trio's own.

    Args:
        what: What needs it, for the error.

    Raises:
        TrioRequiredError: No Trio run is going on in this thread.
    """
    if not trio.lowlevel.in_trio_run():
        raise TrioRequiredError(what)
