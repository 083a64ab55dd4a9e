"""Times as people write them: ``2026-01-31``, ``2026-01-31 12:00``, ``12:00``, ``yesterday``, ``2h``, ``1w``, or RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final

import click

from trio_oplog._listing import read_time

_AGO: Final = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CLOCK: Final = re.compile(r"(\d{1,2})(:\d\d(?::\d\d)?)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?", re.ASCII)
_DAYS: Final = {"today": 0, "yesterday": 1}


def check_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that takes such a time; ``read_moment`` reads it, which has to know the time zone.

    Raises:
        click.BadParameter: It is no time.
    """
    try:
        if value is not None:
            read_moment(value, utc=True)
    except (ValueError, OverflowError):
        problem = (
            "must be a time such as 2026-01-31, 2026-01-31T12:00:00Z, 12:00 or yesterday, or how long ago, such as 90s, 2h or 1w."
        )
    else:
        return value
    raise click.BadParameter(problem, ctx, param)


def read_moment(text: str, *, utc: bool) -> datetime:
    """The time that a text means now.

    Args:
        text: The text.
        utc: Whether days and hours without a zone are those of UTC, and not of the local time zone.

    Raises:
        ValueError, OverflowError: It means none; ``QueryError`` is a ``ValueError``.
    """
    now = datetime.now(UTC)
    if text == "now":
        return now
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    today = in_zone(now, utc=utc).date()
    if text in _DAYS:
        return _aware(datetime.combine(today - timedelta(days=_DAYS[text]), time()), utc=utc)
    if clock := _CLOCK.fullmatch(text):
        return _aware(datetime.combine(today, time.fromisoformat(clock[1].zfill(2) + clock[2])), utc=utc)
    if _DATE.fullmatch(text):
        return _aware(datetime.fromisoformat(text), utc=utc)
    return read_time(text)


def in_zone(moment: datetime, *, utc: bool) -> datetime:
    """A time in UTC or in the local time zone; one at the end of the calendar stays in UTC."""
    try:
        return moment.astimezone(UTC if utc else None)
    except (OverflowError, OSError, ValueError):
        return moment.astimezone(UTC)


def _aware(naive: datetime, *, utc: bool) -> datetime:
    return naive.replace(tzinfo=UTC) if utc else naive.astimezone()
