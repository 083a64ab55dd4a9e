"""Where the values of a text are, and changes of the text there: every other character stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from trio_oplog._client_config.changes import Add, Change, Insert, Keys, Replace

Edit: TypeAlias = tuple[int, int, str]
"""What lies between two places of a text gives way to another text."""


class Node(NamedTuple):
    """A value and its place in a text.

    Attributes:
        start: Where it begins.
        end: Where it has ended.
        members: For a table: its members; of a repeated key the last one.
        items: For an array: its elements.
        comma: For an array: where its trailing comma is.
        value: The value, where the reader makes it.
    """

    start: int
    end: int
    members: dict[str, Member] = {}  # noqa: RUF012 -- readers that fill it bring one
    items: Sequence[Node] = ()
    comma: int | None = None
    value: Any = None


class Member(NamedTuple):
    """A member of a table.

    Attributes:
        start: Where its key begins, with all the keys before it that stand there.
        name: Where the last key begins.
        node: Its value.
        is_line: Whether it is a line by itself, as in a table of TOML.
    """

    start: int
    name: int
    node: Node
    is_line: bool = False


def edited(
    text: str, root: Node, changes: Iterable[Change], literal: Callable[[str], str], add: Callable[[Member, Add], Edit]
) -> str:
    """A text with changes in it.

    Args:
        text: The text.
        root: Its values.
        changes: The changes; no two concern the same place.
        literal: Writes a string.
        add: Adds an array behind a member.
    """
    edits = [edit for change in changes for edit in _edits(text, root, change, literal, add)]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _find(node: Node, keys: Keys) -> Node:
    for key in keys:
        node = node.items[key] if isinstance(key, int) else node.members[key].node
    return node


def _edits(
    text: str, root: Node, change: Change, literal: Callable[[str], str], add: Callable[[Member, Add], Edit]
) -> Iterable[Edit]:
    if isinstance(change, Add):
        return [add(_find(root, change.keys[:-1]).members[change.behind], change)]
    node = _find(root, change.keys)
    match change:
        case Replace(_, word):
            return [(node.start, node.end, literal(word))]
        case Insert(_, words):
            return [_insertion(text, node, [literal(word) for word in words])]
        case _:
            return _removal(node, change.number)


def _insertion(text: str, node: Node, literals: Sequence[str]) -> Edit:
    if not node.items:
        return (node.start + 1, node.start + 1, ", ".join(literals))
    first = node.items[0].start
    lead = text[node.start + 1 : first]
    blank = lead[len(lead.rstrip(" \t\r\n")) :]
    comma = "," + (blank if "\n" in blank else " ")  # where each element has a line, each of these gets one
    return (first, first, "".join(word + comma for word in literals))


def _removal(node: Node, number: int) -> Iterable[Edit]:
    first = node.items[0].start
    if number < len(node.items):
        return [(first, node.items[number].start, "")]
    comma = [] if node.comma is None else [(node.comma, node.comma + 1, "")]
    return [(first, node.items[-1].end, ""), *comma]
