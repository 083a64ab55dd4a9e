"""A body of ``application/x-ndjson``: one Operation a line; a bad line never sinks its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from trio_oplog._errors import WireError
from trio_oplog._json import Reader
from trio_oplog._recording import name
from trio_oplog.collector._lines import Line, read_line

LINES_MAX: Final = 20_000
"""The most lines in one body.  A record takes some 300 bytes; more lines than this are rubbish that would cost an answer each."""


class Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line that is no Operation.

    Attributes:
        line: Which one, from 1.
        id: Its ``id``, where at least that can be read.
        error: What is wrong with it; never quotes a value.
        field: The path of the wrong field, such as ``result_meta.outcome``; left out when it is the whole line.
    """

    line: int
    id: str | None
    error: str
    field: str | None = None


class Batch(NamedTuple):
    """What the lines hold."""

    lines: list[Line]
    refused: list[Refused]


class _Named(msgspec.Struct):
    id: str | None = None


_named = Reader(_Named)


def read_batch(body: bytes, check: Callable[[str], None]) -> Batch | None:
    """Read every line; blank ones are passed over.

    Args:
        body: The lines.
        check: Raises ``WireError`` for a workspace whose operations are not to be taken.

    Returns:
        The operations and the refused lines, each in order; ``None`` when there are more than ``LINES_MAX`` lines.
    """
    batch = Batch([], [])
    if body.count(b"\n") > LINES_MAX:
        return None
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line or line.isspace():
            continue
        try:
            read = read_line(line)
            check(read.workspace_id)
            batch.lines.append(read)
        except WireError as error:
            batch.refused.append(Refused(number, _id(line), str(error), error.field or None))
    return batch


def _id(line: bytes) -> str | None:
    named = _named.read(line)
    return name(named.id) if named is not None and named.id else None
