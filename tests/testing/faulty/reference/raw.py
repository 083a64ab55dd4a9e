"""JSON whose exact text matters, read with nothing but ``json``."""

from __future__ import annotations

import json
import re
from typing import Any

Raw = dict[str, str]

_value_end = json.JSONDecoder().raw_decode
_blank = re.compile(r"[ \t\n\r]*")


def members(text: str) -> Raw:
    """The exact texts of the members of an object; of a repeated name the last."""
    found, at = {}, _skip(text, _skip(text, 0) + 1)
    while text[at] != "}":
        name, at = _value_end(text, at)
        at = _skip(text, _skip(text, at) + 1)
        _, end = _value_end(text, at)
        found[name] = text[at:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def elements(text: str) -> list[str]:
    found, at = [], _skip(text, _skip(text, 0) + 1)
    while text[at] != "]":
        _, end = _value_end(text, at)
        found.append(text[at:end])
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def _skip(text: str, at: int) -> int:
    found = _blank.match(text, at)
    assert found is not None
    return found.end()


def typed(raw: str | None, kind: type) -> Any:
    """The value, where it has the type."""
    value = None if raw is None else json.loads(raw)
    return value if type(value) is kind else None


def inside(raw: str | None) -> Raw:
    return members(raw) if typed(raw, dict) is not None else {}  # type: ignore[arg-type]


def text_of(raw: str | None) -> str | None:
    return typed(raw, str)


def present(raw: str | None) -> bool:
    return raw is not None and raw != "null"


def an_object(found: Raw, names: tuple[str, ...]) -> str:
    """An object of some of the members, in this order and in their exact texts."""
    return "{" + ",".join(f'"{name}":{found[name]}' for name in names if name in found) + "}"


def same_json(one: str | None, other: str | None) -> bool:
    return (one and json.loads(one)) == (other and json.loads(other))
