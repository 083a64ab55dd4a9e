"""A naive interceptor that keeps every law, and a gateway of several of them.

``raw`` reads JSON, ``calls`` is what is remembered, ``core`` is frames, ids, results and records; ``mcp``, ``codex`` and ``acp``
are the dialects.  Its methods are there to be broken, one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.testing.faulty.reference.acp import Acp
from tests.testing.faulty.reference.calls import Call, Question, Table
from tests.testing.faulty.reference.codex import Codex
from tests.testing.faulty.reference.core import Core, _now
from tests.testing.faulty.reference.mcp import Mcp
from tests.testing.faulty.reference.raw import Raw, elements, inside, members, present, text_of, typed


class Reference(Acp, Codex, Mcp, Core):
    """All of it."""


class ReferenceGateway:
    """Connections whose calls wait in one table."""

    kind: type[Reference] = Reference

    def __init__(
        self,
        submitter: Any,
        config: Any,
        *,
        kind: type[Reference] | None = None,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.make = lambda: (kind or self.kind)(submitter, config, suspended=self.table, clock=clock, monotonic=monotonic)
        self.table = Table(config.max_suspended, config.max_suspended_age, monotonic)

    def connect(self) -> Reference:
        return self.make()

    def close(self) -> None:
        self.table.close()


__all__ = [
    "Call",
    "Question",
    "Raw",
    "Reference",
    "ReferenceGateway",
    "Table",
    "elements",
    "inside",
    "members",
    "present",
    "text_of",
    "typed",
]
