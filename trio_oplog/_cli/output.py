"""What reaches the terminal: of what strangers wrote, nothing that could move the cursor or turn the text around."""

from __future__ import annotations

import os
import re
import sys
from typing import Final

import click
from rich.console import Console

_PIPE_WIDTH: Final = 240
_BLANKS: Final = re.compile(r"\s+")
_MARK: Final = "\N{REPLACEMENT CHARACTER}"


def make_console(width: int | None = None) -> Console:
    """Where tables go.  In a pipe lines are long enough for what is on them, unless ``COLUMNS`` says otherwise.

    There are colours on a terminal only, and none with ``NO_COLOR``.
    """
    colours: Final = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(highlight=False, markup=False, emoji=False, width=width, color_system=colours)
    if width is None and not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _PIPE_WIDTH
    return console


def on_one_line(text: str, most: int) -> str:
    """The beginning of a text as one line that only shows what it says.

    Args:
        text: The text.
        most: How many characters are looked at.
    """
    return harmless(_BLANKS.sub(" ", text[:most]).strip())


def harmless(text: str) -> str:
    """A text with a replacement mark for each character that is not shown as itself, line ends among them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _MARK for c in text)


def harmless_json(text: str) -> str:
    """JSON with the same value, in which such characters are escapes.  Line ends and tabs stay: they stand between its parts."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def print_json(document: bytes) -> None:
    """Print a JSON document on a line of its own: in a pipe byte for byte, but for line ends between its parts.

    Args:
        document: The document.  Its strings hold no line end: JSON has an escape for that.
    """
    line = document.replace(b"\n", b" ").replace(b"\r", b" ")
    click.echo(harmless_json(line.decode("utf-8", "replace")) if sys.stdout.isatty() else line)
