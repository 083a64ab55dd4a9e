"""Render the tables of what is recorded as ``docs/coverage.md``: ``python -m tests.schema.render`` rewrites the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.schema.codex_names import checked_in
from trio_oplog._recording.dialects.coverage import ACP, CODEX, MCP, Entry, Kind, Treatment

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"

INTRODUCTION = """\
# What is recorded, method by method

This page lists every method, every notification and every item type of the protocols, and what
becomes of it:

- **recorded**: it is a call, and becomes a record of its own;
- **evidence**: it pairs, ends, approves, times or names a call, and is no record of its own;
- **excluded**: it is passed over, for the reason given.

A name that is not on this page is passed over, too. [The design](design.md) says when a call begins
and ends, and what a record holds.

The page is rendered from one table in the code, and a test holds it to that table
(`python -m tests.schema.render` rewrites it). `nox -s schema` asks the newest Codex for its schema
and says what the table lacks.
"""

PROTOCOLS = {
    "codex": (CODEX, "Codex app-server", "All names of the experimental schema of Codex {version}."),
    "mcp": (MCP, "Model Context Protocol", "All names of the versions {version}, and of the tasks extension of the latter."),
    "acp": (
        ACP,
        "Agent Client Protocol",
        "All names of version {version}, with those that are still unstable. The agent is the server.",
    ),
}

HEADINGS = {
    Treatment.RECORDED: ("recorded", "What a record is of"),
    Treatment.EVIDENCE: ("evidence", "What it is used for"),
    Treatment.EXCLUDED: ("excluded", "Why it is passed over"),
}


def render() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(line for protocol in PROTOCOLS for line in _section(protocol))]).rstrip("\n") + "\n"


def _section(protocol: str) -> Iterator[str]:
    table, title, description = PROTOCOLS[protocol]
    version, _ = checked_in(protocol)
    yield f"## {title}\n\n{description.format(version=version)}\n"
    for treatment, (word, column) in HEADINGS.items():
        entries = [entry for entry in table if entry.treatment is treatment]
        yield f"### {title}: {word} ({len(entries)})\n"
        yield f"| kind | names | {column.lower()} |\n|---|---|---|"
        yield from _rows(entries)
        yield ""


def _rows(entries: Iterable[Entry]) -> Iterator[str]:
    """A row for each group of names that share a kind and a reason."""

    def group(entry: Entry) -> tuple[Kind, str]:
        return entry.kind, entry.reason

    for (kind, reason), members in groupby(entries, key=group):
        yield f"| {kind.value} | {', '.join(f'`{entry.name}`' for entry in members)} | {reason} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
