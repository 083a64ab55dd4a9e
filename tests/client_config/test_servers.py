"""Which servers are put on record, and in which words; each form that a client's documentation shows, and the odd ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client_config.texts import GATEWAYS, PROGRAM
from trio_oplog._client_config import CLIENTS, Fate, UnusableError, place_of, places, read_origin
from trio_oplog._client_config.changes import Add, Insert, Remove, Replace, changed
from trio_oplog._client_config.document import plan_adoption, plan_release
from trio_oplog._client_config.jsonc import JsonDocument
from trio_oplog._client_config.servers import adopt, release
from trio_oplog._client_config.toml import TomlDocument

WRAP = ["wrap", "--env", "n", "--"]


def decided(entry: Any, name: str = "n") -> tuple[Fate, str, Any]:
    value = {"servers": {name: entry}}
    (server,) = adopt(value, [("servers",)], PROGRAM, GATEWAYS)
    return server.fate, server.reason, changed(value, server.changes)["servers"][name]


@pytest.mark.parametrize(
    ("entry", "adopted"),
    [
        ({"command": "npx", "args": ["-y"]}, {"command": PROGRAM, "args": [*WRAP, "npx", "-y"]}),
        ({"command": "npx", "args": []}, {"command": PROGRAM, "args": [*WRAP, "npx"]}),
        ({"command": "npx", "env": {"A": "b"}}, {"command": PROGRAM, "env": {"A": "b"}, "args": [*WRAP, "npx"]}),
        ({"command": ["npx", "-y"], "type": "local"}, {"command": [PROGRAM, *WRAP, "npx", "-y"], "type": "local"}),
        ({"command": {"path": "npx", "args": ["-y"]}}, {"command": {"path": PROGRAM, "args": [*WRAP, "npx", "-y"]}}),
        ({"command": {"path": "npx"}}, {"command": {"path": PROGRAM, "args": [*WRAP, "npx"]}}),
        ({"command": "/my files/x"}, {"command": PROGRAM, "args": [*WRAP, "/my files/x"]}),
        ({"command": "x", "disabled": True}, {"command": PROGRAM, "args": [*WRAP, "x"], "disabled": True}),
        ({"url": "https://mcp.example.com/mcp"}, {"url": "http://127.0.0.1:8086/mcp"}),
        ({"serverUrl": "https://MCP.example.com:443"}, {"serverUrl": "http://127.0.0.1:8086"}),
        ({"httpUrl": "https://u:p@mcp.example.com/?a#b"}, {"httpUrl": "http://u:p@127.0.0.1:8086/?a#b"}),
    ],
)
def test_a_server_in_any_form_is_put_on_record_and_taken_off_it(entry: Any, adopted: Any) -> None:
    assert decided(entry) == (Fate.ADOPTED, "", adopted)
    assert decided(adopted) == (Fate.KEPT, "", adopted)
    (server,) = adopt({"servers": {"n": entry}}, [("servers",)], PROGRAM, GATEWAYS)
    (back,) = release({"servers": {"n": adopted}}, [("servers",)], server.urls)
    was = changed({"servers": {"n": adopted}}, back.changes)["servers"]["n"]
    assert was in (entry, entry | {"args": []}, {"command": {"path": "npx", "args": []}})


@pytest.mark.parametrize("name", ["", "-n", "two\nlines", "\ud800"])
def test_a_name_that_is_no_value_for_an_option_is_not_passed_on(name: str) -> None:
    assert decided({"command": "x"}, name)[2]["args"] == ["wrap", "--", "x"]
    assert decided({"command": PROGRAM, "args": ["wrap", "--", "x"]}, name)[0] is Fate.KEPT


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"command": "npx", "args": "-y"}, "its args are no array"),
        ({"command": "npx", "args": [1]}, "its args are no array"),
        ({"command": "npx", "args": None}, "its args are no array"),
        ({"command": 1}, "its command is no string"),
        ({"command": ""}, "its command is no string"),
        ({"command": []}, "its command is no array"),
        ({"command": [1]}, "its command is no array"),
        ({"command": [""]}, "its command is no array"),
        ({"command": {}}, "its command is no string"),
        ({"command": "npx", "url": "https://mcp.example.com"}, "a command as well as a URL"),
        ({"command": "~/bin/server"}, "write the whole path"),
        ({"command": "npx -y pkg"}, "a whole command line"),
        ({"source": "extension", "settings": {}}, "neither a command nor a URL"),
        ("text", "neither a command nor a URL"),
        ({"url": "https://other.test/mcp?key=hunter2"}, "no gateway was named"),
        ({"url": "${input:url}"}, "no gateway was named"),
        ({"url": "https:///"}, "no gateway was named"),
    ],
)
def test_a_server_in_a_form_that_is_not_known_is_left_alone_with_a_reason(entry: Any, reason: str) -> None:
    fate, said, after = decided(entry)
    assert (fate, after) == (Fate.LEFT, entry)
    assert reason in said
    assert "hunter2" not in said
    assert release({"servers": {"n": entry}}, [("servers",)], {}) == []


@pytest.mark.parametrize(
    "words",
    [
        ["trio-oplog", "wrap", "--user", "ada", "--", "npx"],
        ["/usr/bin/trio-oplog", "--config", "x", "wrap", "--", "npx"],
        ["python", "-m", "trio_oplog", "wrap", "--", "npx"],
        ["uvx", "trio-oplog[cli]", "wrap", "--", "npx"],
        ["pipx", "run", "trio_oplog==1.0", "wrap", "--", "npx"],
        ["uvx", "--from", "git+https://x/y", "trio-oplog@latest", "wrap", "--", "npx"],
        [PROGRAM, "wrap", "--env", "n", "npx"],
        [PROGRAM, "wrap", "--"],
    ],
)
def test_what_somebody_has_put_on_record_by_hand_stays_as_it_is(words: list[str]) -> None:
    entry = {"command": words[0], "args": words[1:]}
    assert decided(entry) == (Fate.KEPT, "", entry)
    assert release({"servers": {"n": entry}}, [("servers",)], {}) == []


@pytest.mark.parametrize("program", ["trio-oplogger", "trio-oplog-mcp", "my-trio-oplog"])
def test_a_program_of_another_name_is_a_server_like_any_other(program: str) -> None:
    assert decided({"command": program, "args": ["wrap", "--", "x"]})[0] is Fate.ADOPTED


def test_the_agents_that_zed_starts_are_adopted() -> None:
    place = place_of(Path("/h/.config/zed/settings.json"), places(Path("/h"), {}, "linux"))
    value = {"agent_servers": {"a": {"type": "custom", "command": "gemini"}, "claude": {"default_mode": "plan"}}}
    assert [server.fate for server in adopt(value, place.places, PROGRAM, {})] == [Fate.ADOPTED, Fate.LEFT]


def test_another_command_of_ours_is_a_server_like_any_other() -> None:
    assert decided({"command": "trio-oplog", "args": ["list"]})[0] is Fate.ADOPTED


def test_another_trio_oplog_makes_way_for_this_one() -> None:
    entry = {"command": ["/old/trio-oplog", *WRAP, "x"]}
    assert decided(entry) == (Fate.MOVED, "", {"command": [PROGRAM, *WRAP, "x"]})


def test_servers_are_found_in_every_table_and_a_table_is_no_server() -> None:
    value = {
        "mcpServers": {"a": {"command": "x"}},
        "projects": {"/p": {"mcpServers": {"b": {"command": "x"}}}, "/q": {}, "/r": 1},
        "mcp": {"c": {"command": ["x"]}, "servers": {"d": {"command": "x"}}},
    }
    tables = [("mcpServers",), ("projects", "*", "mcpServers"), ("mcp",), ("mcp", "servers")]
    assert [server.name for server in adopt(value, tables, PROGRAM, {})] == ["a", "b", "c", "d"]
    assert adopt([], tables, PROGRAM, {}) == []


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.com/x", "https://example.com"),
        ("http://u:p@h:80?x", "http://h"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("ws://h", None),
        ("https:///x", None),
        ("", None),
    ],
)
def test_an_origin_is_a_scheme_and_a_host(url: str, origin: str | None) -> None:
    assert read_origin(url) == origin


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"s":{"n":{"command":"x"}}}', '{"s":{"n":{"command":"P","args": ["wrap", "--env", "n", "--", "x"]}}}'),
        (
            '{"s":{"n":{\n\t"command":"x" // c\n}}}',
            '{"s":{"n":{\n\t"command":"P",\n\t"args": ["wrap", "--env", "n", "--", "x"] // c\n}}}',
        ),
        (
            '{"s":{"n":{"command":"x","args":[\n  "a", /* b */\n  "c",\n]}}}',
            '{"s":{"n":{"command":"P","args":[\n  "wrap",\n  "--env",\n  "n",\n  "--",\n  "x",\n  "a", /* b */\n  "c",\n]}}}',
        ),
        (
            '{"s":{"n":{"command":"x","args":[ // none\n]}}}',
            '{"s":{"n":{"command":"P","args":["wrap", "--env", "n", "--", "x" // none\n]}}}',
        ),
    ],
)
def test_json_is_changed_in_the_style_of_its_author(before: str, after: str) -> None:
    after = after.replace('"P"', f'"{PROGRAM}"')
    assert plan_adoption("x.json", before.encode(), [("s",)], PROGRAM, {}).data.decode() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[s.n]\ncommand = 'x' # c", "[s.n]\ncommand = 'P' # c\nargs = ['wrap', '--env', 'n', '--', 'x']"),
        ("[s.n]\r\n\tcommand = 'x'\r\ny=1", "[s.n]\r\n\tcommand = 'P'\r\n\targs = ['wrap', '--env', 'n', '--', 'x']\r\ny=1"),
        ("s . 'm'.n.command='x'\n", "s . 'm'.n.command='P'\ns . 'm'.n.args = ['wrap', '--env', 'n', '--', 'x']\n"),
        ("s={n={command='x',y=1}}", "s={n={command='P', args = ['wrap', '--env', 'n', '--', 'x'],y=1}}"),
        ("s.n={command='x',args=['a' , ]}", "s.n={command='P',args=['wrap', '--env', 'n', '--', 'x', 'a' , ]}"),
        (
            "[s.n]\ncommand='''x'''\nargs=[ # c\n 'a', # d\n]\n",
            "[s.n]\ncommand='P'\nargs=[ # c\n 'wrap',\n '--env',\n 'n',\n '--',\n 'x',\n 'a', # d\n]\n",
        ),
        (
            '[[t]]\nk="""\n[s.n]\\"""""\nd=1979-05-27 07:32:00 # x\n[t.u]\n[[t]]\n["s".n]\ncommand="x"\n',
            '[[t]]\nk="""\n[s.n]\\"""""\nd=1979-05-27 07:32:00 # x\n[t.u]\n[[t]]\n["s".n]\ncommand=\'P\'\nargs = [WORDS]\n',
        ),
    ],
)
def test_toml_is_changed_in_the_style_of_its_author(before: str, after: str) -> None:
    words = [PROGRAM, "wrap", "--env", "n", "--"]
    after = after.replace("WORDS", "'wrap', '--env', 'n', '--', 'x'")
    for word in words:
        after = after.replace(f"'{word}'", f'"{word}"')
    after = after.replace("'P'", f'"{PROGRAM}"').replace(", 'x'", ', "x"').replace("\n 'x'", '\n "x"')
    assert plan_adoption("x.toml", before.encode(), [("s",), ("s", "m")], PROGRAM, {}).data.decode() == after


def test_a_trailing_comma_goes_with_the_elements_before_it() -> None:
    text = f'{{"s": {{"n": {{"command": "{PROGRAM}", "args": ["wrap", "--env", "n", "--", "x" , /* c */]}}}}}}'
    assert plan_release("x.json", text.encode(), [("s",)], {}).data == b'{"s": {"n": {"command": "x", "args": [  /* c */]}}}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{} {}", "goes on behind its end"),
        ("[1 2]", "lacks a comma or the end of an array"),
        ('{"a": 1 "b": 2}', "lacks a comma or the end of an object"),
        ('{"a" 1}', "lacks a colon"),
        ("{a: 1}", "lacks a key"),
        ('\n\n{"a": }', r"lacks a value \(line 3\)"),
        ('{"hunter2}', "has a string without an end"),
        ('"\\x"', "has a value that is none of JSON"),
        ("NaN", "has a value that is none of JSON"),
        ("[01]", "has a value that is none of JSON"),
        ("/* ", "lacks a value"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_json_is_said_with_the_line_and_without_a_word_of_it(text: str, problem: str) -> None:
    with pytest.raises(UnusableError, match=problem) as caught:
        JsonDocument(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = hunter2", r"is no TOML \(at line 1, column 5\)"),
        ("a = 1\na = 2", r"is no TOML \(at .*\)"),
        ("a = " + "[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_toml_is_said_with_the_line_and_without_a_word_of_it(text: str, problem: str) -> None:
    with pytest.raises(UnusableError, match=f"^{problem}$"):
        TomlDocument(text)


def test_a_text_of_white_space_is_a_configuration_without_servers() -> None:
    assert JsonDocument(" \n").value == {}


def test_a_change_that_would_change_more_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a key that is there twice the last one counts, for everybody but a reader with a fault.
    monkeypatch.setattr(JsonDocument, "edited", lambda self, changes: "{}")
    with pytest.raises(UnusableError, match="without changing more"):
        plan_adoption("x.json", b'{"s": {"n": {"command": "x"}}}', [("s",)], PROGRAM, {})


def test_of_a_repeated_key_the_last_one_counts_and_is_changed() -> None:
    text = b'{"s": 1, "s": {"n": {"command": "no", "command": "x"}}}'
    data = plan_adoption("x.json", text, [("s",)], PROGRAM, {}).data
    assert data.startswith(b'{"s": 1, "s": {"n": {"command": "no", "command": "/opt')


def test_changes_of_a_value_leave_the_value_itself_as_it_is() -> None:
    value = {"a": ["x"], "c": "d"}
    changes = [Insert(("a",), ["w"]), Replace(("a", 1), "y"), Add(("b",), ["z"], "c"), Remove(("b",), 1), Replace(("c",), "e")]
    assert changed(value, changes) == {"a": ["w", "y"], "b": [], "c": "e"}
    assert value == {"a": ["x"], "c": "d"}


@pytest.mark.parametrize(
    ("platform", "environment", "client", "path"),
    [
        ("linux", {}, "Claude Desktop", "/h/.config/Claude/claude_desktop_config.json"),
        ("linux", {"XDG_CONFIG_HOME": "/c"}, "VS Code", "/c/Code/User/mcp.json"),
        ("darwin", {}, "Claude Desktop", "/h/Library/Application Support/Claude/claude_desktop_config.json"),
        ("darwin", {}, "Zed", "/h/.config/zed/settings.json"),
        ("linux", {}, "Codex", "/h/.codex/config.toml"),
        ("darwin", {"CODEX_HOME": "/x"}, "Codex", "/x/config.toml"),
        ("linux", {"COPILOT_HOME": ""}, "GitHub Copilot CLI", "/h/.copilot/mcp-config.json"),
        ("linux", {}, "Claude Code", "/h/.claude.json"),
    ],
)
def test_each_client_keeps_its_configuration_where_its_documentation_says(
    platform: str, environment: dict[str, str], client: str, path: str
) -> None:
    found = places(Path("/h"), environment, platform)
    assert len(found) == len(CLIENTS)
    assert next(place.path for place in found if place.client == client) == Path(path)


def test_a_file_of_a_client_is_known_by_its_place_also_through_a_link(tmp_path: Path) -> None:
    known = places(tmp_path, {})
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor" / "mcp.json").write_text("{}")
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / ".cursor" / "mcp.json")
    assert place_of(link, known) == ("Cursor", link, (("mcpServers",),))
    other = place_of(tmp_path / "other.json", known)
    assert other.client == ""
    assert {("servers",), ("mcp", "servers"), ("projects", "*", "mcpServers")} <= set(other.places)
