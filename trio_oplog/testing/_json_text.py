"""JSON written by hand, so that its spelling is a choice: gaps, escapes, repeated keys, and what only Python's json reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import TypeAlias

from attrs import frozen

IdKey: TypeAlias = tuple[str, str | Decimal]

_SURROGATE = re.compile("[\ud800-\udfff]")


def quoted(text: str, *, escaped: bool = False) -> str:
    """A JSON string; with ``escaped`` all of it ASCII.  A surrogate is always an escape."""
    return json.dumps(text, ensure_ascii=escaped or _SURROGATE.search(text) is not None)


def an_object(members: Iterable[tuple[str, str | None]], gap: str = "") -> str:
    """A JSON object of members whose values are JSON texts; ``None`` leaves a member out."""
    comma, colon = f",{gap}", f":{gap}"
    inside = comma.join(f"{quoted(name)}{colon}{value}" for name, value in members if value is not None)
    return f"{{{inside}}}"


def an_array(values: Iterable[str], gap: str = "") -> str:
    """A JSON array of JSON texts."""
    return f"[{f',{gap}'.join(values)}]"


def clean(text: str) -> str:
    """The text with U+FFFD for each lone surrogate: what has a UTF-8 form."""
    return _SURROGATE.sub("\ufffd", text)


def cut(text: str, limit: int) -> str:
    """The longest beginning that fits into ``limit`` bytes of UTF-8."""
    return text.encode()[:limit].decode("utf-8", "ignore")


@frozen
class SpelledId:
    """A JSON-RPC id as one side spells it.

    Attributes:
        text: Its JSON text.
    """

    text: str

    @property
    def key(self) -> IdKey:
        """Two ids are the same when their keys are: by type and exact value."""
        if self.text.startswith('"'):
            return ("string", str(json.loads(self.text)))
        return ("number", Decimal(self.text))

    @property
    def as_text(self) -> str:
        """What ``request_id`` says: a string as it is, a number in its JSON spelling."""
        kind, value = self.key
        return str(value) if kind == "string" else self.text

    def looks_like(self, other: SpelledId) -> bool:
        """Whether a careless reader takes them for one, though they are two."""
        return self.key != other.key and (self.as_text == other.as_text or self._as_float() == other._as_float())

    def _as_float(self) -> float | str:
        kind, value = self.key
        return float(value) if kind == "number" else str(value)
