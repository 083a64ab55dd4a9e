"""Operations as a table that a person can read.

Everything in it was written by strangers: what could move the cursor or turn the text around is shown as a replacement mark.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from attrs import define, frozen
from msgspec import Raw, Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trio_oplog._errors import ListError
from trio_oplog._json import ABSENT, Reader, elements

_WIDE: Final = 110
"""From so many columns on, arguments and result stand beside each other; below, one takes the other's place."""
_PIPE_WIDTH: Final = 240
_CELL_MAX: Final = 400
_RESULT_MIN: Final = 10
_APPROVED_MAX: Final = 24
_APPROVED_ENOUGH: Final = 18
"""As wide as most decisions are; what is left beyond goes to how long the call waited."""


class _ArgumentsMeta(Struct):
    size_bytes: int | None = None


class _ResultMeta(Struct):
    outcome: str | None = None
    waited_ms: int | None = None


class _Approval(Struct):
    decision: str | None = None
    by: str | None = None
    waited_ms: int | None = None


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


@frozen(kw_only=True)
class Shown:
    """What the table shows of a record; see ``Operation``.

    Attributes:
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
    return [_show(_record.read(record)) for record in records]


def _show(record: _Record | None) -> Shown:
    if record is None or not record.id or not record.started_at:
        raise ListError("the endpoint's answer lists something that is no operation")
    outcome = record.result_meta.outcome if record.result_meta else None
    arguments = bytes(record.arguments).decode("utf-8", "replace")
    if record.arguments_meta:
        arguments = f"({record.arguments_meta.size_bytes} bytes)"
    return Shown(
        id=record.id,
        started_at=plain(record.started_at),
        source=plain(record.source or ""),
        env_id=plain(record.env_id or ""),
        tool=plain(record.tool or ""),
        duration_ms=record.duration_ms or 0,
        is_error=bool(record.is_error),
        outcome=plain(outcome or ("error" if record.is_error else "ok")),
        arguments=plain(arguments),
        result=plain(record.result_summary or ""),
        approved=plain(_approved(record.approval)) if record.approval else "",
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


def make_console(width: int | None = None) -> Console:
    """Where tables go.  In a pipe lines are long enough for what is on them, unless ``COLUMNS`` says otherwise."""
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    if width is None and not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _PIPE_WIDTH
    return console


def print_operations(operations: Sequence[Shown], console: Console) -> None:
    """Print a table, in the order given."""
    wide = console.width >= _WIDE
    gap = 2 if wide else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    columns = _wide_columns(operations) if wide else _narrow_columns(operations)
    room = console.width - sum(column.width + gap for column in columns)
    reserved = 2 * _RESULT_MIN if wide else _RESULT_MIN
    for column in _approval_columns(operations, room - reserved, gap):
        columns.append(column)
        room -= column.width + gap
    if wide:
        columns.append(_Column("ARGUMENTS", [Text(o.arguments) for o in operations], room * 2 // 5, "dim"))
        room -= columns[-1].width + gap
    columns.append(_Column("RESULT", [Text(o.result) for o in operations], max(room, _RESULT_MIN)))
    for column in columns:
        table.add_column(
            column.header,
            no_wrap=True,
            overflow="ellipsis",
            width=column.width,
            justify="right" if column.header in ("TOOK", "WAITED") else "left",
            style=column.style,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    console.print(table)


@define
class _Column:
    """A column, as wide as its widest cell, up to ``width``."""

    header: str
    cells: list[Text]
    width: int
    style: str = ""

    def __attrs_post_init__(self) -> None:
        self.width = min(self.width, max(len(self.header), *(cell.cell_len for cell in self.cells)))


def _wide_columns(operations: Sequence[Shown]) -> list[_Column]:
    day = _only_day(operations)
    times = [o.started_at[11:23].rstrip("Z") if day else o.started_at[:19].replace("T", " ") for o in operations]
    return _columns(operations, f"{day} UTC" if day else "STARTED (UTC)", times, env_width=16, tool_width=28)


def _narrow_columns(operations: Sequence[Shown]) -> list[_Column]:
    day = _only_day(operations)
    times = [o.started_at[11:19] if day else o.started_at[5:19].replace("T", " ") for o in operations]
    return _columns(operations, f"{day[5:]} UTC" if day else "STARTED (UTC)", times, env_width=8, tool_width=16)


def _columns(
    operations: Sequence[Shown], time_header: str, times: Sequence[str], *, env_width: int, tool_width: int
) -> list[_Column]:
    return [
        _Column(time_header, [Text(time) for time in times], 19, "dim"),
        _Column("SOURCE", [Text(o.source) for o in operations], 8),
        _Column("ENV", [Text(o.env_id) for o in operations], env_width),
        _Column("TOOL", [Text(o.tool) for o in operations], tool_width, "bold"),
        _Column("TOOK", [Text(_duration(o.duration_ms)) for o in operations], 12),
        _Column("OUTCOME", [Text(o.outcome, "red" if o.is_error else "green") for o in operations], 14),
    ]


def _approval_columns(operations: Sequence[Shown], room: int, gap: int) -> list[_Column]:
    """Who allowed the calls and how long they waited: each where any call has it and where there is room for it.

    Args:
        operations: The rows.
        room: How wide the columns may be together.
        gap: The space after each.
    """
    columns = []
    approved = _Column("APPROVED", [Text(o.approved) for o in operations], _APPROVED_MAX)
    waits = [Text("" if o.waited_ms is None else _duration(o.waited_ms)) for o in operations]
    waited = _Column("WAITED", waits, 12)
    has_approved, has_waited = any(o.approved for o in operations), any(waits)
    least = min(approved.width, _APPROVED_ENOUGH) + gap if has_approved else 0
    if has_waited and least + waited.width + gap <= room:
        columns.append(waited)
        room -= waited.width + gap
    if has_approved and room - gap >= len(approved.header):
        approved.width = min(approved.width, room - gap)
        columns.insert(0, approved)
    return columns


def _only_day(operations: Sequence[Shown]) -> str:
    """The day on which all of them began, if they did."""
    days = {operation.started_at[:10] for operation in operations}
    return days.pop() if len(days) == 1 else ""


def _duration(milliseconds: int) -> str:
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    if milliseconds < 3_600_000:
        return f"{milliseconds // 60_000} min {milliseconds // 1_000 % 60} s"
    return f"{milliseconds // 3_600_000} h {milliseconds // 60_000 % 60} min"


def plain(text: str) -> str:
    """One line of text that only shows what it says."""
    line = " ".join(text[:_CELL_MAX].split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
