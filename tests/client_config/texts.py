"""Configurations as people and programs write them, rendered by other code than reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

PROGRAM = "/opt/oplog/bin/trio-oplog"
GATEWAYS = {"https://mcp.example.com": "http://127.0.0.1:8086"}

NAMES = st.sampled_from(
    ["files", "git-hub", "a b", "ünï", "", "-x", "tab\tname", "\u2028", "mcpServers", "servers", "env"]
) | st.text(st.characters(codec="utf-8"), max_size=4)
WORDS = st.sampled_from(
    ["-y", "--", "wrap", "--env", "pkg@1", "/srv/my files", "${workspaceFolder}", "", 'say "hi"', "\\d\n"]
) | st.text(st.characters(codec="utf-8"), max_size=6)
COMMANDS = st.sampled_from(
    ["npx", "/usr/bin/uvx", "./server", "trio-oplog", PROGRAM, "/old/bin/trio-oplog", "~/x", "npx -y x", ""]
)
URLS = st.sampled_from(
    [
        "https://mcp.example.com/mcp?key=1",
        "HTTPS://u:p@MCP.example.com:443",
        "http://127.0.0.1:8086/mcp",
        "https://other.test/",
        "x",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2), max_leaves=3
)
ADOPTED = st.lists(WORDS, min_size=1, max_size=3).map(lambda words: ["wrap", "--env", "x", "--", *words])


def entries(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Entries of a table of servers, right ones and odd ones."""
    arguments = st.lists(WORDS, max_size=3) | ADOPTED
    stdio = st.fixed_dictionaries(
        {"command": COMMANDS},
        optional={"args": arguments, "env": st.dictionaries(NAMES, WORDS, max_size=2), "type": st.just("stdio")},
    )
    listed = st.fixed_dictionaries({"command": st.builds(lambda first, rest: [first, *rest], COMMANDS, arguments)})
    nested = st.fixed_dictionaries({"command": st.fixed_dictionaries({"path": COMMANDS}, optional={"args": arguments})})
    url = st.dictionaries(st.sampled_from(["url", "serverUrl", "httpUrl"]), URLS, min_size=1, max_size=2)
    odd = st.dictionaries(st.sampled_from(["command", "args", "url", "settings"]), values, max_size=3)
    return stdio | listed | nested | url | odd


PLACES = [("mcpServers",), ("projects", "*", "mcpServers"), ("mcp",), ("mcp", "servers"), ("context_servers",)]


def tables(values: st.SearchStrategy[Any], servers: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """Whole configurations."""
    table = st.dictionaries(NAMES, entries(values) if servers is None else servers, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "theme": values,
            "mcpServers": table | values,
            "projects": st.dictionaries(
                NAMES, st.fixed_dictionaries({}, optional={"mcpServers": table, "x": values}), max_size=2
            ),
            "mcp": st.fixed_dictionaries({}, optional={"servers": table, "inputs": values, "local": entries(values)}),
            "context_servers": table,
        },
    )


@st.composite
def json_texts(draw: st.DrawFn) -> tuple[str, Any]:
    """A JSON text with comments, trailing commas and any white space; and what it says."""
    value = draw(tables(VALUES))
    spaces = st.sampled_from(["", "", " ", "\n", "\r\n\t", "\n    ", "// “why”, [\n", '/* , ] } " **/', "//\r\n"])

    def space() -> str:
        return draw(spaces)

    def string(text: str) -> str:
        return json.dumps(text, ensure_ascii=draw(st.booleans()))

    def joined(opening: str, parts: list[Callable[[], str]], closing: str) -> str:
        text = opening + space()
        for at, part in enumerate(parts):
            text += ("," + space() if at else "") + part() + space()
        return text + ("," + space() if parts and draw(st.booleans()) else "") + closing

    def render(value: Any) -> str:
        if isinstance(value, dict):
            return joined("{", [lambda k=k, v=v: f"{string(k)}{space()}:{space()}{render(v)}" for k, v in value.items()], "}")  # type: ignore[misc]
        if isinstance(value, list):
            return joined("[", [lambda v=v: render(v) for v in value], "]")  # type: ignore[misc]
        return string(value) if isinstance(value, str) else json.dumps(value)

    text = f"{space()}{render(value)}{space()}"
    return draw(st.sampled_from(["", "\ufeff"])) + text, value


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    """A TOML text with comments and any white space: tables, dotted keys and inline tables, in any order."""
    plain = st.integers(-9, 10**18) | st.booleans() | WORDS | st.just(1.5)
    values = plain | st.lists(plain, max_size=3)
    end = draw(st.sampled_from(["\n", "\r\n"]))

    def key(name: str) -> str:
        bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        return name if bare and draw(st.booleans()) else string(name)

    def string(text: str) -> str:
        if draw(st.booleans()) and "'" not in text and text.isprintable():
            return f"'{text}'"
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

    def note() -> str:
        return draw(st.sampled_from(["", "  ", " # why [", "\t#"]))

    def array(parts: list[str]) -> str:
        if draw(st.booleans()) or not parts:
            return "[" + draw(st.sampled_from(["", " "])) + ", ".join(parts) + draw(st.sampled_from(["", " "])) + "]"
        lines = "".join(f"    {part},{note()}{end}" for part in parts)
        return f"[{note()}{end}{lines}]"

    def render(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key(k)} = {render(v)}" for k, v in value.items()) + " }"
        if isinstance(value, list):
            return array([render(v) for v in value])
        return string(value) if isinstance(value, str) else json.dumps(value)

    lines = [f"# “top”{note()}"] if draw(st.booleans()) else []
    lines += [
        f"{key(k)} = {render(v)}{note()}" for k, v in draw(st.dictionaries(st.sampled_from(["model", "x-y"]), values)).items()
    ]
    servers = draw(st.dictionaries(NAMES, entries(values), max_size=3))
    form = draw(st.sampled_from(["tables", "dotted", "inline"]))
    if form == "dotted":
        lines += [f"mcp_servers.{key(n)}.{key(k)} = {render(v)}{note()}" for n, e in servers.items() for k, v in e.items()]
    elif form == "inline":
        lines += [f"[mcp_servers]{note()}", *(f"{key(n)} = {render(e)}{note()}" for n, e in servers.items())]
    for name, entry in servers.items() if form == "tables" else ():
        lines.append(f"[ mcp_servers.{key(name)} ]{note()}" if draw(st.booleans()) else f"[mcp_servers.{key(name)}]")
        below = {k: v for k, v in entry.items() if k == "env" and isinstance(v, dict) and draw(st.booleans())}
        lines += [f"{key(k)}={render(v)}{note()}" for k, v in entry.items() if k not in below]
        lines += [
            line
            for k, v in below.items()
            for line in (f"[mcp_servers.{key(name)}.{key(k)}]", *(f"{key(a)} = {render(b)}" for a, b in v.items()))
        ]
        if draw(st.booleans()):
            lines += ["", f"[[other]]{note()}", "x = 1", f"{note()}"]
    return "".join(line + end for line in lines)
