"""How wide the columns of a table are, and its rows, which may come one after another without an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Self, TypeAlias, TypeVar

from attrs import define, field
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

Row = TypeVar("Row")

Cell: TypeAlias = tuple[str, str]
"""A harmless text, and its style."""

_ELLIPSIS = "…"


@define
class Column(Generic[Row]):
    """A column.

    Attributes:
        header: Its name.
        show: What it shows of a row.
        least: How narrow it may become, in cells; a narrower one is left out.
        most: How wide it may become.
        usual: How wide it is at least where rows are still to come, if there is room.
        rank: Where the console is too narrow, the column with the lowest rank is left out first; 0 never.
        share: How much of what is left it gets, beside others that have a share; 0 for one that takes what it needs first.
        is_right: Whether its texts stand on the right.
        is_whole: Whether its texts are of no use where they are cut.
        is_optional: Whether it is left out where no row has a text for it.
        width: How wide it is.
    """

    header: str
    show: Callable[[Row], Cell]
    least: int
    most: int
    usual: int
    rank: int = field(default=0, kw_only=True)
    share: int = field(default=0, kw_only=True)
    is_right: bool = field(default=False, kw_only=True)
    is_whole: bool = field(default=False, kw_only=True)
    is_optional: bool = field(default=False, kw_only=True)
    width: int = field(default=0, init=False)


@define
class Layout(Generic[Row]):
    """The columns that there is room for, each with its width; made by ``of``."""

    columns: list[Column[Row]]
    gap: int

    @classmethod
    def of(cls, columns: Sequence[Column[Row]], rows: Sequence[Row], room: int, *, gap: int, goes_on: bool = False) -> Self:
        """Give each column its width.

        Args:
            columns: All that there may be.
            rows: What decides how wide they have to be.
            room: How wide a row may be, in cells.
            gap: The space between two columns.
            goes_on: Whether further rows are still to come.
        """
        wanted = {}
        kept = []
        for column in columns:
            widths = [cell_len(column.show(row)[0]) for row in rows]
            if column.is_optional and not any(widths):
                continue
            need = max([cell_len(column.header), *widths, column.usual if goes_on else 0])
            wanted[column.header] = min(need, column.most) if not (goes_on and column.share) else column.most
            column.width = wanted[column.header] if column.is_whole else min(wanted[column.header], column.least)
            kept.append(column)
        while (left := room - _width(kept, gap)) < 0 and any(column.rank for column in kept):
            kept.remove(min((column for column in kept if column.rank), key=lambda column: column.rank))
        for column in kept:
            if not column.share:
                more = max(0, min(wanted[column.header] - column.width, left))
                column.width += more
                left -= more
        _share(kept, wanted, left)
        return cls(kept, gap)

    def print_header(self, console: Console) -> None:
        """Print the names of the columns."""
        self._print([(column.header, "bold") for column in self.columns], console)

    def print_rows(self, rows: Iterable[Row], console: Console) -> None:
        """Print rows, each on a line."""
        for row in rows:
            self._print([column.show(row) for column in self.columns], console)

    def _print(self, cells: Sequence[Cell], console: Console) -> None:
        line = Text(no_wrap=True, end="")
        for column, (text, style) in zip(self.columns, cells, strict=True):
            if line.plain:
                line.append(" " * self.gap)
            shown = fit(text, column.width)
            space = " " * (column.width - cell_len(shown))
            line.append(space if column.is_right else "")
            line.append(shown, style)
            line.append("" if column.is_right else space)
        line.rstrip()
        # Wider than the console only where it is narrower than what is never left out.
        console.print(line, overflow="crop", crop=True, no_wrap=True)


def fit(text: str, width: int) -> str:
    """A text that takes so many cells at most, with an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + _ELLIPSIS


def _width(columns: Sequence[Column[Row]], gap: int) -> int:
    return sum(column.width + gap for column in columns) - gap


def _share(columns: Sequence[Column[Row]], wanted: dict[str, int], left: int) -> None:
    """Give what is left to the columns with a share: the one that needs less first, so that the others get what it leaves."""
    sharing = sorted((column for column in columns if column.share), key=lambda column: wanted[column.header])
    total = sum(column.share for column in sharing)
    for column in sharing:
        more = min(wanted[column.header] - column.width, max(left, 0) * column.share // total)
        column.width += more
        left -= more
        total -= column.share
