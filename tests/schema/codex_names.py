"""Read the names of a Codex app-server out of its generated schema, and compare them with the table of what is recorded.

``python -m tests.schema.codex_names SCHEMA VERSION`` reads the folder that ``codex app-server generate-json-schema
--experimental --out SCHEMA`` wrote.  It prints what the table lacks and what it has too much, and fails when it lacks
something.  With ``--update`` it also replaces the list of names that is checked in.  Only the standard library is used here,
and the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trio_oplog._recording.dialects.coverage import CODEX, Entry, Kind

CAPTURES = Path(__file__).parents[1] / "captures"

METHODS = {
    "ClientRequest.json": Kind.CLIENT_REQUEST,
    "ClientNotification.json": Kind.CLIENT_NOTIFICATION,
    "ServerRequest.json": Kind.SERVER_REQUEST,
    "ServerNotification.json": Kind.SERVER_NOTIFICATION,
}
ITEMS = ("ServerNotification.json", "ThreadItem")

Names = Mapping[str, list[str]]
"""The sorted names of each kind."""


def read_names(schema: Path) -> dict[str, list[str]]:
    """The names in a folder that ``generate-json-schema`` wrote."""
    names = {kind.value: sorted(_tags(_read(schema / file), "method")) for file, kind in METHODS.items()}
    file, definition = ITEMS
    names[Kind.ITEM.value] = sorted(_tags(_read(schema / file)["definitions"][definition], "type"))
    return names


def names_of(table: Iterable[Entry]) -> dict[str, list[str]]:
    """The names in a table."""
    entries = list(table)
    kinds = sorted({entry.kind for entry in entries}, key=list(Kind).index)
    return {kind.value: sorted(entry.name for entry in entries if entry.kind is kind) for kind in kinds}


def difference(names: Names, other: Names) -> list[str]:
    """The names that the other lacks, each with its kind."""
    return [f"{kind}: {name}" for kind, those in names.items() for name in those if name not in other.get(kind, ())]


def checked_in(protocol: str) -> tuple[str, dict[str, list[str]]]:
    """The version and the names of the one list of a protocol that is checked in."""
    (path,) = CAPTURES.glob(f"{protocol}-*-names.json")
    content = _read(path)
    return content["version"], content["names"]


def check_in(version: str, names: Names) -> Path:
    """Replace the list of the names of Codex."""
    for old in CAPTURES.glob("codex-*-names.json"):
        old.unlink()
    path = CAPTURES / f"codex-{'.'.join(version.split('.')[:2])}-names.json"
    path.write_text(json.dumps({"version": version, "names": names}, indent=1) + "\n", encoding="utf-8")
    return path


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _tags(schema: dict[str, Any], tag: str) -> Iterator[str]:
    """The values of the member that tells the alternatives of a schema apart."""
    for alternative in schema["oneOf"]:
        value = alternative["properties"][tag]
        yield from [value["const"]] if "const" in value else value["enum"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.schema.codex_names", description="Compare a schema with the table.")
    parser.add_argument("schema", type=Path, help="the folder that generate-json-schema wrote")
    parser.add_argument("version", help="the version of Codex that wrote it")
    parser.add_argument("--update", action="store_true", help="replace the list of names that is checked in")
    options = parser.parse_args(arguments)
    names, known = read_names(options.schema), names_of(CODEX)
    lacking, unknown = difference(names, known), difference(known, names)
    print(f"Codex {options.version} has {sum(map(len, names.values()))} names, the table has {sum(map(len, known.values()))}.")
    for title, found in (("The table lacks", lacking), ("The table has, and this Codex has not", unknown)):
        if found:
            print(f"{title}:", *found, sep="\n  ")
    if options.update:
        print(f"Wrote {check_in(options.version, names).name}.")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
