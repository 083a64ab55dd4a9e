"""Ids of operations: random ones, and those that every connection watching one execution derives alike."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from itertools import chain, repeat
from os import urandom
from typing import Final

from trio_oplog._forking import watch_forks

# Fixed for ever: the ids of items are derived in it, and stores deduplicate by them.
_ITEM_NAMESPACE: Final = uuid.UUID("5b0f2f0e-6d0c-4c55-9d4a-6a1f7f0c2b1e")

_LAYOUT: Final = b"xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx\n"
_DIGITS: Final = [place for place, digit in enumerate(_LAYOUT) if digit == ord("x")]
_AT_ONCE: Final = 256
# RFC 9562, section 4.1: the two high bits of this digit are 10.
_VARIANT: Final = bytes.maketrans(b"0123456789abcdef", b"89ab89ab89ab89ab")


class _Page(list[str]):
    """Ids that were made in advance.  A forked process takes none of them: they are its parent's."""

    __slots__ = ("__weakref__",)
    __hash__ = object.__hash__  # type: ignore[assignment]

    def after_fork(self) -> None:
        """Whoever iterates over the page goes on with the next."""
        self.clear()


def random_ids() -> Iterator[str]:
    """Random UUIDs (RFC 9562, version 4) as text; a forked process repeats none of its parent's.

    A page of them is made at a time, digit by digit for all of them at once: a tenth of what ``str(uuid.uuid4())`` costs.
    """
    return chain.from_iterable(map(_page, repeat(_AT_ONCE)))


def _page(count: int) -> _Page:
    width = len(_LAYOUT)
    page = bytearray(_LAYOUT * count)
    digits = urandom(16 * count).hex().encode()
    for number, place in enumerate(_DIGITS):
        page[place::width] = digits[number::32]
    page[19::width] = page[19::width].translate(_VARIANT)
    ids = _Page(page.decode().split())
    watch_forks(ids)
    return ids


def execution_id(workspace_id: str, identity: tuple[str | int | None, ...]) -> str:
    """The id of one execution of an item, from what the item says of itself."""
    return str(uuid.uuid5(_ITEM_NAMESPACE, json.dumps([workspace_id, *identity])))
