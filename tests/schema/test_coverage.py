from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mcp_types import methods as mcp_methods

from tests.schema import codex_names
from tests.schema.codex_names import checked_in, difference, names_of, read_names
from tests.schema.render import PAGE, render
from trio_oplog._recording.dialects import FROM_CLIENT, FROM_SERVER
from trio_oplog._recording.dialects.codex_items import ITEM_CALLS
from trio_oplog._recording.dialects.coverage import ACP, CODEX, MCP, Entry, Kind, Treatment

TABLES = {"codex": CODEX, "mcp": MCP, "acp": ACP}
EVERYTHING = CODEX + MCP + ACP


def union(tag: str, *values: str) -> list[dict[str, Any]]:
    return [{"properties": {tag: {"type": "string", "enum": [value]}, "params": {"type": "object"}}} for value in values]


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """A folder like those that Codex generates, with a few names."""
    items = {"ThreadItem": {"oneOf": union("type", "plan", "fileChange")}}
    for file, content in {
        "ClientRequest": {"oneOf": union("method", "turn/start", "initialize")},
        "ClientNotification": {"oneOf": [{"properties": {"method": {"const": "initialized"}}}]},
        "ServerRequest": {"oneOf": union("method", "item/tool/call")},
        "ServerNotification": {"oneOf": union("method", "item/started"), "definitions": items},
    }.items():
        (tmp_path / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def add_request(schema: Path, name: str) -> None:
    path = schema / "ClientRequest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["oneOf"] += union("method", name)
    path.write_text(json.dumps(content), encoding="utf-8")


# The tables and the schemas


@pytest.mark.parametrize("protocol", TABLES)
def test_a_table_has_every_name_of_its_protocol_and_no_other(protocol: str) -> None:
    _, names = checked_in(protocol)
    known = names_of(TABLES[protocol])
    assert difference(names, known) == []
    assert difference(known, names) == []


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_the_table_has_every_method_that_the_python_sdk_knows_of_mcp(version: str) -> None:
    surfaces = {
        Kind.CLIENT_REQUEST: mcp_methods.CLIENT_REQUESTS,
        Kind.CLIENT_NOTIFICATION: mcp_methods.CLIENT_NOTIFICATIONS,
        Kind.SERVER_REQUEST: mcp_methods.SERVER_REQUESTS,
        Kind.SERVER_NOTIFICATION: mcp_methods.SERVER_NOTIFICATIONS,
    }
    names = {kind.value: sorted(name for name, since in surface if since == version) for kind, surface in surfaces.items()}
    assert names["client request"]
    assert difference(names, names_of(MCP)) == []


@pytest.mark.parametrize("protocol", TABLES)
def test_a_name_has_one_entry_of_each_kind(protocol: str) -> None:
    counts = Counter((entry.kind, entry.name) for entry in TABLES[protocol])
    assert [key for key, count in counts.items() if count > 1] == []


def test_every_reason_is_a_sentence() -> None:
    assert [entry for entry in EVERYTHING if not (entry.reason[0].isupper() and entry.reason.endswith("."))] == []


# The tables and the dialects


def names_used(*kinds: Kind) -> set[str]:
    return {entry.name for entry in EVERYTHING if entry.kind in kinds and entry.treatment is not Treatment.EXCLUDED}


def test_the_dialects_read_exactly_what_is_not_excluded() -> None:
    assert set(FROM_CLIENT) == names_used(Kind.CLIENT_REQUEST, Kind.CLIENT_NOTIFICATION)
    assert set(FROM_SERVER) == names_used(Kind.SERVER_REQUEST, Kind.SERVER_NOTIFICATION)


def test_the_items_that_the_codex_dialect_reads_are_those_recorded() -> None:
    recorded = {entry.name for entry in CODEX if entry.kind is Kind.ITEM and entry.treatment is Treatment.RECORDED}
    assert set(ITEM_CALLS) == recorded


# The page


def test_the_page_says_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.schema.render"


def test_the_page_has_a_row_for_every_reason_and_every_name() -> None:
    page = render()
    assert [entry for entry in EVERYTHING if f"`{entry.name}`" not in page or f"| {entry.reason} |" not in page] == []


# Reading a schema


def test_names_are_read_from_a_generated_schema(schema: Path) -> None:
    assert read_names(schema) == {
        "client request": ["initialize", "turn/start"],
        "client notification": ["initialized"],
        "server request": ["item/tool/call"],
        "server notification": ["item/started"],
        "item": ["fileChange", "plan"],
    }


def test_names_are_read_from_a_table() -> None:
    table = [
        Entry("b", Kind.ITEM, Treatment.EXCLUDED, "Why."),
        Entry("c", Kind.CLIENT_REQUEST, Treatment.RECORDED, "Why."),
        Entry("a", Kind.ITEM, Treatment.RECORDED, "Why."),
    ]
    assert list(names_of(table).items()) == [("client request", ["c"]), ("item", ["a", "b"])]


def test_a_name_that_is_lacking_is_said_with_its_kind() -> None:
    assert difference({"item": ["a", "b"], "client request": ["a"]}, {"item": ["b"]}) == ["item: a", "client request: a"]


def test_a_schema_without_a_new_name_passes(schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert codex_names.main([str(schema), "0.1.0"]) == 0
    printed = capsys.readouterr().out
    assert "Codex 0.1.0 has 7 names" in printed
    assert "lacks" not in printed
    assert "The table has, and this Codex has not:" in printed
    assert "  client request: thread/start\n" in printed


def test_a_schema_with_a_new_name_fails(schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_request(schema, "fs/shred")
    assert codex_names.main([str(schema), "99.0.0"]) == 1
    assert "The table lacks:\n  client request: fs/shred\n" in capsys.readouterr().out


def test_the_list_that_is_checked_in_is_replaced(
    schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "captures"
    folder.mkdir()
    (folder / "codex-0.1-names.json").touch()
    (folder / "acp-1-names.json").touch()
    monkeypatch.setattr(codex_names, "CAPTURES", folder)
    codex_names.main([str(schema), "0.2.3", "--update"])
    assert sorted(path.name for path in folder.iterdir()) == ["acp-1-names.json", "codex-0.2-names.json"]
    assert checked_in("codex") == ("0.2.3", read_names(schema))
    assert capsys.readouterr().out.endswith("Wrote codex-0.2-names.json.\n")
