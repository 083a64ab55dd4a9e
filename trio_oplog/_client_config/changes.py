"""What becomes of a configuration: changes of its value, which each format carries out on its text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, TypeAlias

Keys: TypeAlias = tuple[str | int, ...]
"""The way from the top of a configuration to a value in it: keys of tables, and indices of arrays."""


class Replace(NamedTuple):
    """Another string takes the place of the one at ``keys``."""

    keys: Keys
    text: str


class Insert(NamedTuple):
    """Strings come to the front of the array at ``keys``."""

    keys: Keys
    words: Sequence[str]


class Add(NamedTuple):
    """A table gets a new array of strings at ``keys``, behind its member ``behind``."""

    keys: Keys
    words: Sequence[str]
    behind: str


class Remove(NamedTuple):
    """The first ``number`` elements of the array at ``keys`` go; it has as many."""

    keys: Keys
    number: int


Change: TypeAlias = Replace | Insert | Add | Remove


def changed(value: Any, changes: Iterable[Change]) -> Any:
    """A copy of a configuration's value with the changes in it: what the changed text must say."""
    value = deepcopy(value)
    for change in changes:
        *way, last = change.keys
        holder = value
        for key in way:
            holder = holder[key]
        match change:
            case Replace(_, text):
                holder[last] = text
            case Insert(_, words):
                holder[last][:0] = words
            case Add(_, words, _):
                holder[last] = list(words)
            case _:
                del holder[last][: change.number]
    return value
