"""Lengths of time on the command line: ``90d``, ``2y``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import click

_FORM: Final = re.compile(r"(\d{1,5})([hdwy])", re.ASCII)
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365.25)}
_LONGEST: Final = timedelta(days=365_000)


class Duration(click.ParamType[timedelta]):
    """A length of time such as ``12h``, ``90d``, ``8w`` or ``2y``; above 0, and at most a thousand years."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it.

        Raises:
            click.BadParameter: It is none.
        """
        match = _FORM.fullmatch(value)
        found = _UNITS[match[2]] * int(match[1]) if match else timedelta(0)
        if not timedelta(0) < found <= _LONGEST:
            self.fail("must be a length of time, such as 12h, 90d, 8w or 2y.", param, ctx)
        return found
