"""TOML, as Codex keeps its configuration: read by the standard library, and a second time for the place of each value.

No library that preserves style is behind this: tomlkit, which does for most texts, moves tables that lie apart.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any, Final

from trio_oplog._client_config.changes import Add, Change
from trio_oplog._client_config.errors import UnusableError
from trio_oplog._client_config.spans import Edit, Member, Node, edited

_WHERE: Final = re.compile(r"\(at [^()]*\)\Z")
_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*+")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r"""\"{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\])*+"|'[^']*+'""",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]*|[^\s,\]}#]+")


class TomlDocument:
    """A TOML text and its value.

    Args:
        text: The text.

    Attributes:
        value: What it says.

    Raises:
        UnusableError: It is no TOML.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self.value: Any = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            # The rest of the message may quote the text.
            where = _WHERE.search(str(error))
            raise UnusableError(f"is no TOML {where.group()}" if where else "is no TOML") from None
        except RecursionError:
            raise UnusableError("is nested too deeply") from None

    def edited(self, changes: Iterable[Change]) -> str:
        """The text with the changes in it; every other character stays as it is."""
        return edited(self._text, _Reader(self._text).read(), changes, _literal, self._add)

    def _add(self, member: Member, change: Add) -> Edit:
        text, end = self._text, member.node.end
        words = ", ".join(map(_literal, change.words))
        entry = f"{text[member.start : member.name]}{change.keys[-1]} = [{words}]"
        if not member.is_line:
            return (end, end, f", {entry}")
        line = text.rfind("\n", 0, member.start) + 1
        newline = re.compile(r"\r?\n|\Z").search(text, end)
        assert newline is not None  # noqa: S101 -- for the type checker: every text has an end
        return (newline.start(), newline.start(), f"{newline.group() or chr(10)}{text[line : member.start]}{entry}")


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table() -> Node:
    return Node(0, 0, {})


class _Reader:
    """Finds the values of a text that is known to be TOML."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Node:
        root = table = _table()
        while self._skip() < len(self._text):
            if self._text.startswith("[[", self._at):
                # Tables in an array are nobody's servers: the newest takes the place of those before.
                keys, _ = self._keys(self._at + 2)
                table = _table()
                _descend(root, keys[:-1]).members[keys[-1]] = Member(0, 0, table)
                self._at = self._text.index("]]", self._at) + 2
            elif self._text[self._at] == "[":
                keys, _ = self._keys(self._at + 1)
                table = _descend(root, keys)
                self._at = self._text.index("]", self._at) + 1
            else:
                self._entry(table, is_line=True)
        return root

    def _skip(self) -> int:
        space = _SPACE.match(self._text, self._at)
        assert space is not None  # noqa: S101 -- for the type checker: it matches nothing, too
        self._at = space.end()
        return self._at

    def _token(self, pattern: re.Pattern[str]) -> str:
        token = pattern.match(self._text, self._at)
        assert token is not None  # noqa: S101 -- for the type checker: the text is TOML
        self._at = token.end()
        return token.group()

    def _keys(self, at: int) -> tuple[list[str], int]:
        """The keys that stand here with dots in between, and where the last one begins."""
        self._at = at
        keys = []
        while True:
            last = self._skip()
            is_bare = self._text[last] not in "\"'"
            key = self._token(_BARE if is_bare else _STRING)
            keys.append(key if is_bare else next(iter(tomllib.loads(f"{key}=0"))))
            if self._text[self._skip()] != ".":
                return keys, last
            self._at += 1

    def _entry(self, table: Node, *, is_line: bool) -> None:
        start = self._at
        keys, name = self._keys(start)
        self._at += 1  # the equals sign
        _descend(table, keys[:-1]).members[keys[-1]] = Member(start, name, self._value(), is_line)

    def _value(self) -> Node:
        start = self._skip()
        opening = self._text[start]
        if opening == "[":
            return self._array(start)
        if opening == "{":
            return self._inline(start)
        self._token(_STRING if opening in "\"'" else _SCALAR)
        return Node(start, self._at)

    def _array(self, start: int) -> Node:
        items: list[Node] = []
        comma = None
        self._at += 1
        while self._text[self._skip()] != "]":
            items.append(self._value())
            comma = self._skip() if self._text[self._skip()] == "," else None
            self._at += comma is not None
        self._at += 1
        return Node(start, self._at, items=items, comma=comma)

    def _inline(self, start: int) -> Node:
        table: dict[str, Member] = {}
        self._at += 1
        while self._text[self._skip()] != "}":
            self._entry(Node(start, start, table), is_line=False)
            self._at += self._text[self._skip()] == ","
        self._at += 1
        return Node(start, self._at, table)


def _descend(table: Node, keys: list[str]) -> Node:
    for key in keys:
        if key not in table.members:
            table.members[key] = Member(0, 0, _table())
        table = table.members[key].node
    return table
