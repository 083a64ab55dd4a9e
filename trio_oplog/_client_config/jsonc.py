"""JSON with comments and trailing commas, as editors keep their settings: read with the place of each value, changed in place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from trio_oplog._client_config.changes import Add, Change
from trio_oplog._client_config.errors import UnusableError
from trio_oplog._client_config.spans import Edit, Member, Node, edited

_SPACE: Final = re.compile(r"(?:[ \t\r\n]|//[^\r\n]*|/\*.*?\*/)*+", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*+"')
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z]+")


class JsonDocument:
    """A JSON text and its value.

    Args:
        text: The text; one of white space alone counts as an empty object.

    Attributes:
        value: What it says.

    Raises:
        UnusableError: It is no JSON, even with comments and trailing commas.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        if not text.strip():
            self.value: Any = {}
            return
        try:
            self._root = _Reader(text).read()
        except RecursionError:
            raise UnusableError("is nested too deeply") from None
        self.value = self._root.value

    def edited(self, changes: Iterable[Change]) -> str:
        """The text with the changes in it; every other character stays as it is."""
        return edited(self._text, self._root, changes, _literal, self._add)

    def _add(self, member: Member, change: Add) -> Edit:
        before = self._text[: member.start]
        gap = before[len(before.rstrip(" \t\r\n")) :]
        words = ", ".join(map(_literal, change.words))
        return (member.node.end, member.node.end, f",{gap}{_literal(str(change.keys[-1]))}: [{words}]")


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python would read


class _Reader:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Node:
        self._skip()
        node = self._value()
        self._skip()
        if self._at != len(self._text):
            raise self._problem("goes on behind its end")
        return node

    def _problem(self, what: str) -> UnusableError:
        return UnusableError(f"{what} (line {self._text.count(chr(10), 0, self._at) + 1})")

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        assert space is not None  # noqa: S101 -- for the type checker: it matches nothing, too
        self._at = space.end()

    def _takes(self, character: str) -> bool:
        if self._text[self._at : self._at + 1] != character:
            return False
        self._at += 1
        return True

    def _value(self) -> Node:
        start = self._at
        if self._takes("{"):
            return self._object(start)
        if self._takes("["):
            return self._array(start)
        if self._text[start : start + 1] == '"':
            value: Any = self._string()
            return Node(start, self._at, value=value)
        scalar = _SCALAR.match(self._text, start)
        if scalar is None:
            raise self._problem("lacks a value")
        self._at = scalar.end()
        return Node(start, self._at, value=self._loads(scalar.group()))

    def _string(self) -> str:
        string = _STRING.match(self._text, self._at)
        if string is None:
            raise self._problem("has a string without an end")
        self._at = string.end()
        text = self._loads(string.group())
        assert isinstance(text, str)  # noqa: S101 -- for the type checker
        return text

    def _loads(self, literal: str) -> Any:
        try:
            return json.loads(literal, parse_constant=_refuse)
        except ValueError:
            raise self._problem("has a value that is none of JSON") from None

    def _object(self, start: int) -> Node:
        value: dict[str, Any] = {}
        members: dict[str, Member] = {}
        self._skip()
        while not self._takes("}"):
            key_start = self._at
            if self._text[self._at : self._at + 1] != '"':
                raise self._problem("lacks a key")
            key = self._string()
            self._skip()
            if not self._takes(":"):
                raise self._problem("lacks a colon")
            self._skip()
            node = self._value()
            value[key], members[key] = node.value, Member(key_start, key_start, node)
            self._skip()
            if not self._takes(",") and self._text[self._at : self._at + 1] != "}":
                raise self._problem("lacks a comma or the end of an object")
            self._skip()
        return Node(start, self._at, members, value=value)

    def _array(self, start: int) -> Node:
        items: list[Node] = []
        comma: int | None = None
        self._skip()
        while not self._takes("]"):
            items.append(self._value())
            self._skip()
            comma = self._at
            if not self._takes(","):
                comma = None
                if self._text[self._at : self._at + 1] != "]":
                    raise self._problem("lacks a comma or the end of an array")
            self._skip()
        return Node(start, self._at, items=items, comma=comma, value=[item.value for item in items])
