"""``trio-oplog stats``: how many operations there were, and how long they took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import click
import trio

from trio_oplog._cli.destination import open_readable
from trio_oplog._cli.filters import Filters, filter_options
from trio_oplog._cli.layout import Cell, Column, Layout
from trio_oplog._cli.options import Origin, from_options, json_option, utc_option, workspace_option
from trio_oplog._cli.output import harmless, make_console, on_one_line, print_json
from trio_oplog._cli.table import as_duration
from trio_oplog._cli.times import in_zone
from trio_oplog._listing import LIMIT_MAX, STATISTICS_GROUPS, Counted, Statistics, StatisticsQuery

_GROUP_OF: Final = {name.removesuffix("_id"): name for name in STATISTICS_GROUPS}
_KEPT: Final = {"hour": "newest", "day": "newest"}
_VALUE_MAX: Final = 40
_BAR_LEAST, _BAR_MOST = 8, 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


@click.command("stats")
@from_options
@workspace_option
@click.option("--by", type=click.Choice(list(_GROUP_OF)), default="tool", show_default=True, help="What to count by.")
@filter_options(counts=True)
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_MAX,
    show_default=True,
    help="At most so many: the most frequent, or the newest hours or days.",
)
@utc_option
@json_option
def command(
    *,
    origin: Origin,
    workspace: str,
    by: str,
    filters: Filters,
    limit: int,
    utc: bool,
    as_json: bool,
) -> None:
    """Count operations: how many there were and how many failed, and how long they took and waited for people.

    Counts are kept by the hour: --since and --until take in the whole hours that they are in.  Users are counted apart, so that
    --user and '--by user' go with times and --errors only.
    """
    query = filters.statistics_query(utc=utc, workspace_id=workspace, by=_GROUP_OF[by], limit=limit)
    counted = trio.run(_fetch, query, origin)
    if as_json:
        print_json(counted.document(query.by))
    elif counted.groups:
        _print(counted.groups, by, utc=utc)
        if not counted.is_whole:
            click.echo(f"there are more; these are the {_KEPT.get(by, 'most frequent')} {len(counted.groups)}", err=True)
    else:
        click.echo(f"there is nothing to count in the workspace {harmless(workspace)}", err=True)


async def _fetch(query: StatisticsQuery, origin: Origin) -> Counted:
    async with open_readable(origin) as readable:
        return await readable.statistics(query)


def _print(groups: Sequence[Statistics], by: str, *, utc: bool) -> None:
    most = max(group.count for group in groups)
    header, show_value = _values(groups, by, utc=utc)

    def errors(group: Statistics) -> Cell:
        return f"{group.errors} ({group.errors / group.count:.0%})" if group.errors else "0", "red" if group.errors else ""

    console = make_console()
    columns = [
        Column(header, lambda group: (show_value(group.value), "bold"), 20, _VALUE_MAX, 0),
        Column("CALLS", lambda group: (str(group.count), ""), 5, 20, 0, is_right=True),
        Column("", lambda group: (bar(group.count, most, drawn.width), "cyan"), _BAR_LEAST, _BAR_MOST, 0, rank=3, share=1),
        Column("ERRORS", errors, 6, 28, 0, is_right=True, is_whole=True, rank=6),
        *(_percentile(name, f"{name.lower()}_ms", rank) for name, rank in (("P50", 5), ("P95", 4), ("P99", 2))),
        Column("WAITED", lambda group: (_waited(group), ""), 6, 30, 0, is_right=True, is_whole=True, rank=1, is_optional=True),
    ]
    drawn = columns[2]
    drawn.width = _BAR_MOST
    layout = Layout.of(columns, groups, console.width, gap=2)
    layout.print_header(console)
    layout.print_rows(groups, console)


def _percentile(header: str, field: str, rank: int) -> Column[Statistics]:
    def show(group: Statistics) -> Cell:
        measured = getattr(group, field)
        return "" if measured is None else as_duration(measured), ""

    return Column(header, show, 4, 12, 0, is_right=True, is_whole=True, rank=rank)


def _waited(group: Statistics) -> str:
    """How many waited for a person, and half of them no longer than what."""
    if group.waited_p50_ms is None:
        return ""
    return f"{group.waits}, p50 {as_duration(group.waited_p50_ms)}"


def _values(groups: Sequence[Statistics], by: str, *, utc: bool) -> tuple[str, Callable[[str | datetime | None], str]]:
    """The header of the first column, and how it shows what a group has in common."""
    zones = {in_zone(group.value, utc=utc).tzname() for group in groups if isinstance(group.value, datetime)}
    # A day is one of UTC, whatever the hour is here.  Where the clocks were changed, each hour says which zone it is of.
    zone = "UTC" if by == "day" else zones.pop() if len(zones) == 1 else None
    form = "%Y-%m-%d %H:%M" if zone else "%Y-%m-%d %H:%M %Z"

    def show(value: str | datetime | None) -> str:
        if isinstance(value, datetime):
            return value.date().isoformat() if by == "day" else in_zone(value, utc=utc).strftime(form)
        return "(none)" if value is None else on_one_line(value, _VALUE_MAX * 4)

    return f"{by.upper()} ({zone})" if zone else by.upper(), show


def bar(count: int, most: int, width: int) -> str:
    """A bar that is as long as a count, where the largest one takes the whole width; in eighths of a cell, and never empty."""
    eighths = max(1, count * width * 8 // most)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
