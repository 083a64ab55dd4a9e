"""What the results of tool calls say, in both dialects and in items."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from trio_oplog._json import ABSENT, Reader
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.events import End
from trio_oplog._recording.dialects.shapes import Block, Error, Result, ResultMeta, ServerMessage
from trio_oplog._recording.limits import name

CONTENT_TYPES_MAX: Final = 64
"""How many content types of one result are kept."""

_TEXT_TYPES: Final = frozenset({"text", "inputText"})
_INT64: Final = 1 << 63

_error = Reader(Error)
_NO_ERROR: Final = Error()


def read_answer(message: ServerMessage) -> End | None:
    """How a request ended, from its response; ``None`` when the message is no response."""
    if message.error is not ABSENT:
        problem = read_error(message.error)
        if problem is not None:
            rpc_notes = {"outcome": Outcome.RPC_ERROR, "error_code": int64(problem.code)}
            return End(is_error=True, text=problem.message, notes=rpc_notes)
    result = message.result
    if result is None:
        return End()
    if not isinstance(result, Result):
        return None
    text, content_types = read_content(result.content)
    notes: dict[str, Any] | None = {"content_types": content_types} if content_types else None
    if result.is_error:
        notes = (notes or {}) | {"outcome": Outcome.TOOL_ERROR}
    elif result.result_type == "input_required":
        notes = (notes or {}) | {"outcome": Outcome.INPUT_REQUIRED}
    return End(result.is_error is True, text, notes, _name_in(result.meta) if result.meta else None)


def read_error(raw: Raw) -> Error | None:
    """An error; ``None`` for null or nothing, an empty one for what is there and no object."""
    if raw is ABSENT or bytes(raw) == b"null":
        return None
    return _error.read(raw) or _NO_ERROR


def read_content(blocks: list[Block] | None) -> tuple[str | None, tuple[str, ...] | None]:
    """The text of content blocks joined, and their types where not all of them are text."""
    if not blocks:
        return None, None
    if len(blocks) == 1 and blocks[0].type == "text":  # nearly every result
        return blocks[0].text, None
    texts = [block for block in blocks if block.type in _TEXT_TYPES]
    text = "".join([block.text for block in texts if block.text])
    if len(texts) == len(blocks):
        return text, None
    return text, tuple([name(block.type or "unknown") for block in blocks[:CONTENT_TYPES_MAX]])


def read_server_name(result: Result | object | None) -> str | None:
    """The name a server gives itself in its answer to ``initialize`` or ``server/discover``."""
    if not isinstance(result, Result):
        return None
    if result.server_info and result.server_info.name:
        return name(result.server_info.name)
    return _name_in(result.meta) if result.meta else None


def int64(number: int | None) -> int | None:
    """A number that every store can hold, else nothing."""
    return number if number is not None and -_INT64 <= number < _INT64 else None


def _name_in(meta: ResultMeta) -> str | None:
    return name(meta.server_info.name) if meta.server_info and meta.server_info.name else None
