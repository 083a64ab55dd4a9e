"""What adopting promises, for any configuration."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.client_config.texts import GATEWAYS, PLACES, PROGRAM, json_texts, toml_texts
from trio_oplog._client_config import Backups, Fate, Place, UnusableError, adopt_file, undo_file
from trio_oplog._client_config.document import Plan, plan_adoption, plan_release
from trio_oplog._client_config.jsonc import JsonDocument

TOML_PLACES = [("mcp_servers",)]
CONFIGS = st.one_of(
    json_texts().map(lambda drawn: ("settings.json", drawn[0], drawn[1])),
    toml_texts().map(lambda text: ("config.toml", text, tomllib.loads(text))),
)
FEW = settings(max_examples=50)
STRINGS = {
    ".json": re.compile(r'(//[^\r\n]*|/\*.*?\*/)|"(?:[^"\\]|\\.)*"', re.DOTALL),
    ".toml": re.compile(r"""(\#[^\r\n]*)|'[^']*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL),
}
SECOND = """{"mcpServers": {"a": {"command": "x", "args": [ ]}, "b": {"command": "y"} /* "args": [] */,}}"""


def law(test: Callable[[tuple[str, str, Any]], None]) -> Callable[..., None]:
    """A test of any configuration."""
    return FEW(given(CONFIGS)(test))


def skeleton(name: str, text: str) -> str:
    """A text without its strings, but with its comments."""
    return STRINGS[Path(name).suffix].sub(lambda match: match[1] or "", text)


def places_of(name: str) -> list[Any]:
    return TOML_PLACES if name.endswith(".toml") else PLACES


def value_of(name: str, data: bytes) -> Any:
    text = data.decode().removeprefix("\ufeff")
    return tomllib.loads(text) if name.endswith(".toml") else JsonDocument(text).value


def adopted(name: str, data: bytes) -> Plan:
    return plan_adoption(name, data, places_of(name), PROGRAM, GATEWAYS)


def command_of(entry: Any) -> list[str] | None:
    """The words that a client starts, read as each client's documentation has it; ``None`` where it can start nothing."""
    if not isinstance(entry, dict):
        return None
    command = entry.get("command")
    if isinstance(command, dict):
        entry, command = command, command.get("path")
    words = (
        command
        if isinstance(command, list)
        else [command, *(entry.get("args") or [])]
        if isinstance(entry.get("args", []), list)
        else []
    )
    return words if words and all(isinstance(word, str) for word in words) and words[0] else None


def differences(before: Any, after: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """The smallest parts that differ, but for entries of servers, which are one part each."""
    if before == after and type(before) is type(after):
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys() and not is_server(before):
        for key in before:
            yield from differences(before[key], after[key], (*keys, key))
        return
    yield keys, before, after


def is_server(entry: dict[str, Any]) -> bool:
    return "command" in entry or any(isinstance(entry.get(key), str) for key in ("url", "serverUrl", "httpUrl"))


@FEW
@given(json_texts())
def test_any_json_with_comments_is_read_as_what_it_says(drawn: tuple[str, Any]) -> None:
    text, value = drawn
    found = JsonDocument(text.removeprefix("\ufeff")).value
    assert json.dumps(found) == json.dumps(value)


@law
@example(("settings.json", SECOND, JsonDocument(SECOND).value))
def test_only_servers_change_and_each_starts_the_same_command_behind_wrap(config: tuple[str, str, Any]) -> None:
    name, text, value = config
    plan = adopted(name, text.encode())
    for _, before, after in differences(value, value_of(name, plan.data)):
        was, now = command_of(before), command_of(after)
        if was is None:  # its URL goes to the gateway
            assert set(before) == set(after)
            for key in before:
                assert before[key] == after[key] or after[key].startswith(("http://127.0.0.1:8086", "http://u:p@127.0.0.1:8086"))
            continue
        assert now is not None
        assert now[:2] == [PROGRAM, "wrap"]
        if was[:2] == ["/old/bin/trio-oplog", "wrap"]:
            assert now[1:] == was[1:]
        else:
            start = now.index("--") + 1
            assert start in (3, 5)
            assert now[start:] == was
        kept = {key: entry for key, entry in after.items() if key not in ("command", "args")}
        assert kept == {key: entry for key, entry in before.items() if key not in ("command", "args")}


@law
def test_what_is_adopted_twice_is_as_if_adopted_once(config: tuple[str, str, Any]) -> None:
    name, text, _ = config
    once = adopted(name, text.encode())
    twice = adopted(name, once.data)
    assert twice.data == once.data
    assert all(server.fate in (Fate.KEPT, Fate.LEFT) for server in twice.servers)
    assert [server.name for server in twice.servers] == [server.name for server in once.servers]


@law
@example(("settings.json", SECOND, None))
def test_nothing_goes_but_strings_that_come_again(config: tuple[str, str, Any]) -> None:
    name, text, _ = config
    after = iter(skeleton(name, adopted(name, text.encode()).data.decode()))
    missing = [character for character in skeleton(name, text) if character not in after]
    assert not missing


@law
def test_an_adopted_file_that_was_edited_says_the_same_again_when_it_is_undone(config: tuple[str, str, Any]) -> None:
    name, text, value = config
    before = [server for server in adopted(name, text.encode()).servers if server.fate is Fate.MOVED]
    if before or plan_release(name, text.encode(), places_of(name), {}).servers:
        return  # something of the kind was there before
    plan = adopted(name, text.encode())
    urls = {new: old for server in plan.servers for new, old in server.urls.items()}
    released = plan_release(name, plan.data, places_of(name), urls)
    for _, was, now in differences(value, value_of(name, released.data)):
        if command_of(was) is None:  # two spellings of one origin come to the same URL: one of them stands
            assert set(was) == set(now)
        else:
            assert command_of(was) == command_of(now)  # an empty array of arguments is left where there was none


@law
@example(("settings.json", SECOND, None))
@example(("config.toml", "[mcp_servers.x]\ncommand = 'y' # z\n", None))
def test_any_configuration_adopted_and_undone_is_the_same_byte_by_byte(config: tuple[str, str, Any]) -> None:
    name, text, _ = config
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(text.encode())
        place, backups = Place("", path, tuple(places_of(name))), Backups(Path(folder, "backups"))
        done = adopt_file(place, backups, PROGRAM, GATEWAYS, dry_run=False)
        assert done.is_changed == (path.read_bytes() != text.encode())
        if done.is_changed:
            undone = undo_file(place, backups, dry_run=False)
            assert undone.is_restored
        assert path.read_bytes() == text.encode()
        assert backups.files() == []


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(["x.json", "x.toml"]))
@example(b"[" * 100_000, "x.json")
@example(b"a = " + b"[" * 100_000, "x.toml")
@example(b"\xff", "x.json")
def test_whatever_bytes_a_file_holds_it_is_read_or_left_alone(data: bytes, name: str) -> None:
    try:
        plan = adopted(name, data)
        problem = "" if plan.data == data else "changed"
    except UnusableError as error:
        problem = str(error)
    assert problem != "changed"
