"""Operations as rows that a person can read; see ``output`` for what strangers wrote in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen
from msgspec import Raw, Struct
from rich.console import Console

from trio_oplog._cli.layout import Cell, Column, Layout
from trio_oplog._cli.output import on_one_line
from trio_oplog._cli.times import in_zone
from trio_oplog._errors import ListError, QueryError
from trio_oplog._json import ABSENT, Reader, elements
from trio_oplog._listing import read_time

_CELL_MAX: Final = 400
_WIDE: Final = 140
"""From so many columns on, times are shown in full, and there is more room for names and between columns."""
_ID_SHORTEST: Final = 8
_ID_LONGEST: Final = 36
_ID_OF_MANY: Final = 12
"""As long as an id is shown where it is not known what else will be."""


class _ArgumentsMeta(Struct):
    size_bytes: int | None = None


class _ResultMeta(Struct):
    outcome: str | None = None
    waited_ms: int | None = None


class _Approval(Struct):
    decision: str | None = None
    by: str | None = None
    waited_ms: int | None = None


class _Context(Struct):
    client: str | None = None


class _Record(Struct):
    id: str | None = None
    started_at: str | None = None
    source: str | None = None
    env_id: str | None = None
    tool: str | None = None
    is_error: bool | None = None
    duration_ms: int | None = None
    arguments: Raw = ABSENT
    arguments_meta: _ArgumentsMeta | None = None
    result_summary: str | None = None
    result_meta: _ResultMeta | None = None
    approval: _Approval | None = None
    user_id: str | None = None
    context: _Context | None = None


@frozen(kw_only=True)
class Shown:
    """What the table shows of a record; see ``Operation``.

    Attributes:
        moment: When it began; ``None`` where that cannot be read.
        who: The user; else the client, in parentheses.
        approved: The decision and who made it, as ``"accept (client)"``; empty where nobody was asked.
        waited_ms: How long the call waited for a person or for whoever approved it; ``None`` where it did not.
    """

    id: str
    started_at: str
    source: str
    env_id: str
    tool: str
    duration_ms: int
    is_error: bool
    outcome: str
    arguments: str
    result: str
    moment: datetime | None = None
    who: str = ""
    approved: str = ""
    waited_ms: int | None = None


class _Reply(Struct):
    operations: Raw = ABSENT


_reply = Reader(_Reply)
_record = Reader(_Record)


def read_reply(reply: bytes | Raw) -> list[Shown]:
    """The operations of an endpoint's answer.

    Raises:
        ListError: It holds none.
    """
    found = _reply.read(reply)
    records = None if found is None else elements(found.operations)
    if records is None:
        raise ListError("the endpoint's answer is no list of operations")
    return [read_record(record.encode("utf-8", "surrogatepass")) for record in records]


def read_record(body: bytes) -> Shown:
    """What is shown of one record.

    Raises:
        ListError: It is none.
    """
    record = _record.read(body)
    if record is None or not record.id or not record.started_at:
        raise ListError("the endpoint's answer lists something that is no operation")
    outcome = record.result_meta.outcome if record.result_meta else None
    arguments = bytes(record.arguments).decode("utf-8", "replace")
    if record.arguments_meta:
        arguments = f"({record.arguments_meta.size_bytes} bytes)"
    return Shown(
        id=record.id,
        started_at=_short(record.started_at),
        source=_short(record.source or ""),
        env_id=_short(record.env_id or ""),
        tool=_short(record.tool or ""),
        duration_ms=record.duration_ms or 0,
        is_error=bool(record.is_error),
        outcome=_short(outcome or ("error" if record.is_error else "ok")),
        arguments=_short(arguments),
        result=_short(record.result_summary or ""),
        moment=_moment(record.started_at),
        who=_short(record.user_id or _client(record)),
        approved=_short(_approved(record.approval)) if record.approval else "",
        waited_ms=_waited_ms(record),
    )


def _approved(approval: _Approval) -> str:
    by = f"({approval.by or 'none'})"
    return f"{approval.decision} {by}" if approval.decision else by


def _waited_ms(record: _Record) -> int | None:
    waited_ms = record.result_meta.waited_ms if record.result_meta else None
    if waited_ms is None and record.approval:  # a review or a hook: nobody waited for a person
        waited_ms = record.approval.waited_ms
    return waited_ms


def _client(record: _Record) -> str:
    return f"({record.context.client})" if record.context and record.context.client else ""


def _moment(text: str) -> datetime | None:
    try:
        return read_time(text)
    except QueryError:
        return None


def _short(text: str) -> str:
    return on_one_line(text, _CELL_MAX)


def print_operations(operations: Sequence[Shown], console: Console, *, utc: bool) -> None:
    """Print a table, in the order given."""
    layout = lay_out(operations, console, utc=utc)
    layout.print_header(console)
    layout.print_rows(operations, console)


def lay_out(operations: Sequence[Shown], console: Console, *, utc: bool, goes_on: bool = False) -> Layout[Shown]:
    """How wide each column is, so that a row is as wide as the console at most.

    Args:
        operations: The rows, or the first of them.
        console: Where they go.
        utc: Whether times are in UTC, and not in the local time zone.
        goes_on: Whether rows will follow that are not known yet.
    """
    ids = _ID_OF_MANY if goes_on else _ID_SHORTEST
    while ids < _ID_LONGEST and len({each.id[:ids] for each in operations}) < len({each.id for each in operations}):
        ids += 1
    is_wide = console.width >= _WIDE
    header, show_time, width = _times(operations, utc=utc, goes_on=goes_on, is_wide=is_wide)
    eighth = console.width // 8
    columns: list[Column[Shown]] = [
        Column("ID", lambda row: (_short(row.id[:ids]), "dim"), ids, ids, ids if goes_on else 0),
        Column(header, lambda row: (show_time(row), "dim"), width, width, width),
        Column("WHO", lambda row: (row.who, ""), 8, 24 if is_wide else 16, 8, rank=8, is_optional=not goes_on),
        Column("SOURCE", lambda row: (row.source, ""), 6, 8, 6, rank=2),
        Column("ENV", lambda row: (row.env_id, ""), 8, 20, 8, rank=3),
        Column("TOOL", lambda row: (row.tool, "bold"), 16, 28, 16),
        Column("TOOK", lambda row: (as_duration(row.duration_ms), ""), 4, 12, 7, rank=7, is_right=True, is_whole=True),
        Column("OUTCOME", lambda row: (row.outcome, "red" if row.is_error else "green"), 7, 14, 10, rank=9, is_whole=True),
        Column("APPROVED", lambda row: (row.approved, ""), 16, 26, 12, rank=4, is_optional=not goes_on),
        Column("WAITED", _waited, 6, 12, 7, rank=1, is_right=True, is_whole=True, is_optional=not goes_on),
        Column("ARGUMENTS", lambda row: (row.arguments, "dim"), max(12, eighth), _CELL_MAX, 0, rank=6, share=2),
        Column("RESULT", lambda row: (row.result, ""), max(10, eighth), _CELL_MAX, 0, rank=5, share=3),
    ]
    return Layout.of(columns, operations, console.width, gap=2 if is_wide else 1, goes_on=goes_on)


def _waited(row: Shown) -> Cell:
    return ("" if row.waited_ms is None else as_duration(row.waited_ms)), ""


def _times(operations: Sequence[Shown], *, utc: bool, goes_on: bool, is_wide: bool) -> tuple[str, Callable[[Shown], str], int]:
    """The header of the column of times, what it shows of a row, and how wide that is."""
    moments = [in_zone(each.moment, utc=utc) for each in operations if each.moment is not None]
    zones = {moment.tzname() for moment in moments}
    zone = zones.pop() if len(zones) == 1 else ("UTC" if utc else "local")
    days = {moment.date() for moment in moments}
    if len(days) == 1 and not goes_on:
        day = days.pop().isoformat()
        header = f"{day if is_wide else day[5:]} {zone}"
        form, digits = ("%H:%M:%S.%f", 12) if is_wide else ("%H:%M:%S", 8)
    else:
        header, form, digits = (f"STARTED ({zone})", "%Y-%m-%d %H:%M:%S", 19) if is_wide else (f"({zone})", "%m-%d %H:%M:%S", 14)

    def show(row: Shown) -> str:
        moment = None if row.moment is None else in_zone(row.moment, utc=utc)
        return row.started_at[:digits] if moment is None else moment.strftime(form)[:digits]

    return header, show, max(digits, len(header))


def as_duration(milliseconds: float) -> str:
    """A length of time in the unit that fits."""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    if milliseconds < 3_600_000:
        return f"{milliseconds // 60_000:.0f} min {milliseconds // 1_000 % 60:.0f} s"
    return f"{milliseconds // 3_600_000:.0f} h {milliseconds // 60_000 % 60:.0f} min"
