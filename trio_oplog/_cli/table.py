"""Operations as a table that a person can read.

Everything in it was written by strangers: what could move the cursor or turn the text around is shown as a replacement mark.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from attrs import define
from msgspec import Raw
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 110
"""From so many columns on, arguments and result stand beside each other; below, one takes the other's place."""
_PIPE_WIDTH: Final = 240
_CELL_MAX: Final = 400
_RESULT_MIN: Final = 10


class Shown(msgspec.Struct):
    """The fields of a record that the table shows; see ``Operation``."""

    id: str
    started_at: str
    source: str
    env_id: str
    tool: str
    is_error: bool
    duration_ms: int
    arguments: Raw = Raw(b"")
    arguments_meta: dict[str, Any] | None = None
    result_summary: str | None = None
    result_meta: dict[str, Any] | None = None


class _Reply(msgspec.Struct):
    operations: list[Raw]


_read_reply = msgspec.json.Decoder(_Reply).decode
_read_shown = msgspec.json.Decoder(Shown).decode


def read_reply(reply: bytes) -> list[Shown]:
    """The operations of an endpoint's answer.

    Raises:
        msgspec.MsgspecError: It holds none, or some that are none.
    """
    return [_read_shown(record) for record in _read_reply(reply).operations]


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
    if wide:
        columns.append(_Column("ARGUMENTS", [Text(_arguments(o)) for o in operations], room * 2 // 5, "dim"))
        room -= columns[-1].width + gap
    columns.append(_Column("RESULT", [Text(_plain(o.result_summary or "")) for o in operations], max(room, _RESULT_MIN)))
    for column in columns:
        table.add_column(
            column.header,
            no_wrap=True,
            overflow="ellipsis",
            width=column.width,
            justify="right" if column.header == "TOOK" else "left",
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
        _Column("SOURCE", [Text(_plain(o.source)) for o in operations], 8),
        _Column("ENV", [Text(_plain(o.env_id)) for o in operations], env_width),
        _Column("TOOL", [Text(_plain(o.tool)) for o in operations], tool_width, "bold"),
        _Column("TOOK", [Text(_duration(o.duration_ms)) for o in operations], 12),
        _Column("OUTCOME", [Text(_outcome(o), "red" if o.is_error else "green") for o in operations], 14),
    ]


def _only_day(operations: Sequence[Shown]) -> str:
    """The day on which all of them began, if they did."""
    days = {operation.started_at[:10] for operation in operations}
    return days.pop() if len(days) == 1 else ""


def _outcome(operation: Shown) -> str:
    outcome = (operation.result_meta or {}).get("outcome")
    return _plain(str(outcome)) if outcome else "error" if operation.is_error else "ok"


def _arguments(operation: Shown) -> str:
    meta = operation.arguments_meta
    if meta is not None:
        return f"({meta.get('size_bytes', '?')} bytes)"
    return _plain(bytes(operation.arguments).decode("utf-8", "replace"))


def _duration(milliseconds: int) -> str:
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    if milliseconds < 3_600_000:
        return f"{milliseconds // 60_000} min {milliseconds // 1_000 % 60} s"
    return f"{milliseconds // 3_600_000} h {milliseconds // 60_000 % 60} min"


def _plain(text: str) -> str:
    """One line of text that only shows what it says."""
    line = " ".join(text[:_CELL_MAX].split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
