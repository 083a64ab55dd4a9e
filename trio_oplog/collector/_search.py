"""What a reader may see of a record, and whether that holds a text: in the tool, the arguments or the summary."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from trio_oplog import _wire
from trio_oplog._errors import WireError

_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def holds(wanted: str, *, payload: bool = True) -> Callable[[bytes], bool]:
    """A function that says whether the bytes of a record hold a text, whatever the case.

    Arguments are searched twice: as the JSON that they are, and with the escapes in it read.

    Args:
        wanted: The text.
        payload: Whether arguments and summaries are searched, besides the tool.
    """
    wanted = _fold(wanted)
    # In a record the text stands as it is, or as JSON spells it.  Nearly every record is told by these two.
    spelled = json.dumps(wanted, ensure_ascii=False)[1:-1]
    spellings = (wanted,) if spelled == wanted else (wanted, spelled)

    def fits(body: bytes) -> bool:
        text = _fold(body.decode("utf-8", "replace"))
        # What JSON may write for a character besides the character and what our own encoder writes.
        is_odd = "\\" in text and ("\\u" in text or "\\/" in text)
        return (is_odd or any(each in text for each in spellings)) and _holds(body, wanted, payload=payload)

    return fits


def without_payload(body: bytes) -> bytes:
    """A record without its arguments and its result, without what may quote them, and without what they could be guessed by.

    What goes are the arguments, their size and digest, the summary and its digest, the title, and the reason and
    the risk of an approval.

    Args:
        body: The bytes of a record that the store has.  One that cannot be read, because a later version wrote it, or somebody by
            hand, is shown by what every record has: it must not keep a reader from the others.
    """
    try:
        operation = _wire.decode(body)
    except WireError:
        return _essence(body)
    meta, approval = operation.result_meta, operation.approval
    return _wire.encode(
        attrs.evolve(
            operation,
            arguments=None,
            arguments_meta=None,
            result_summary=None,
            result_meta=None if meta is None else attrs.evolve(meta, sha256=None, title=None),
            approval=None if approval is None else attrs.evolve(approval, reason=None, risk=None),
        )
    )


class _Essence(msgspec.Struct, omit_defaults=True):
    id: str | UnsetType = UNSET
    workspace_id: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    env_id: str | UnsetType = UNSET
    tool: str | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET
    started_at: datetime | UnsetType = UNSET
    completed_at: datetime | UnsetType = UNSET
    duration_ms: int | UnsetType = UNSET


_read_essence: Final = msgspec.json.Decoder(_Essence).decode


def _essence(body: bytes) -> bytes:
    """What every record has, of one that is none."""
    try:
        return msgspec.json.encode(_read_essence(body))
    except msgspec.MsgspecError:
        return b"{}"


def _fold(text: str) -> str:
    """A text in lower case, character by character: so a part of a text is found in it."""
    if text.isascii():
        return text.casefold()  # the same, in a third of the time
    # Python writes a sigma at the end of a word otherwise, and the end of what is looked for is none of what is looked at.
    return text.lower().replace("\N{GREEK SMALL LETTER FINAL SIGMA}", "\N{GREEK SMALL LETTER SIGMA}")


def _holds(body: bytes, wanted: str, *, payload: bool) -> bool:
    try:
        operation = _wire.decode(body)
    except WireError:
        return False
    if not payload:
        return wanted in _fold(operation.tool)
    arguments = (operation.arguments or b"").decode("utf-8", "replace")
    texts = (operation.tool, operation.result_summary or "", arguments, unescaped(arguments))
    return any(wanted in _fold(text) for text in texts)


def unescaped(text: str) -> str:
    """JSON text with the escapes in its strings read: no JSON any more, but what people see."""
    read = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else _SHORT.get(match[2], match[2]), text)
    # Two escapes that are one character.
    return read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
