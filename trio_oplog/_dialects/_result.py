"""What the results of tool calls have in common, in both dialects and in items.

Source: MCP 2025-11-25 and 2026-07-28, ``CallToolResult``; JSON-RPC 2.0, section 5.1 (error object).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Raw, Struct, field

from trio_oplog._dialects._events import End
from trio_oplog._json import ABSENT, Reader
from trio_oplog._limits import name
from trio_oplog._operation import Outcome

CONTENT_TYPES_MAX: Final = 64
"""How many content types of one result are kept."""

_TEXT_TYPES: Final = frozenset({"text", "inputText"})
_INT64: Final = 1 << 63


class Block(Struct, gc=False):
    """One content block."""

    type: str | None = None
    text: str | None = None


class _ServerInfo(Struct, gc=False):
    name: str | None = None


class _Meta(Struct, gc=False):
    server_info: _ServerInfo | None = field(name="io.modelcontextprotocol/serverInfo", default=None)


class ToolResult(Struct, gc=False):
    """The ``result`` of a tool call."""

    content: list[Block] | None = None
    is_error: bool | None = field(name="isError", default=None)
    result_type: str | None = field(name="resultType", default=None)
    meta: _Meta | None = field(name="_meta", default=None)


class ErrorObject(Struct, gc=False):
    """An ``error``, of JSON-RPC or of an item."""

    code: int | None = None
    message: str | None = None


class _Greeted(Struct, gc=False):
    server_info: _ServerInfo | None = field(name="serverInfo", default=None)
    meta: _Meta | None = field(name="_meta", default=None)


_result = Reader(ToolResult)
_error = Reader(ErrorObject)
_greeted = Reader(_Greeted)

_NO_RESULT: Final = ToolResult()
_NO_ERROR: Final = ErrorObject()


def read_result(raw: Raw) -> ToolResult:
    """The result of a tool call; an empty one for what is no object."""
    return _result.read(raw) or _NO_RESULT


def read_error(raw: Raw) -> ErrorObject:
    """An error; an empty one for what is no object."""
    return _error.read(raw) or _NO_ERROR


def is_given(raw: Raw) -> bool:
    """Whether a raw value is there and not null."""
    return raw is not ABSENT and bytes(raw) != b"null"


def read_answer(result: Raw, error: Raw) -> End | None:
    """How a request ended, from its response; ``None`` when the message is no response."""
    if is_given(error):
        problem = read_error(error)
        return End(is_error=True, text=problem.message, outcome=Outcome.RPC_ERROR, error_code=int64(problem.code))
    if result is ABSENT:
        return None
    given = read_result(result)
    text, content_types = read_content(given.content)
    end = End(text=text, content_types=content_types, server_name=_server_name(given.meta))
    if given.is_error:
        end.is_error = True
        end.outcome = Outcome.TOOL_ERROR
    elif given.result_type == "input_required":
        end.outcome = Outcome.INPUT_REQUIRED
    return end


def read_content(blocks: Iterable[Block] | None) -> tuple[str | None, tuple[str, ...] | None]:
    """The text of content blocks joined, and their types where not all of them are text."""
    if not blocks:
        return None, None
    text = "".join([block.text for block in blocks if block.text and block.type in _TEXT_TYPES])
    if all(block.type in _TEXT_TYPES for block in blocks):
        return text, None
    types = tuple(name(block.type or "unknown") for block in blocks)
    return text, types[:CONTENT_TYPES_MAX]


def read_server_name(result: Raw) -> str | None:
    """The name a server gives itself in its answer to ``initialize`` or ``server/discover``."""
    greeted = _greeted.read(result)
    if greeted is None:
        return None
    if greeted.server_info and greeted.server_info.name:
        return name(greeted.server_info.name)
    return _server_name(greeted.meta)


def int64(number: int | None) -> int | None:
    """A number that every store can hold, else nothing."""
    return number if number is not None and -_INT64 <= number < _INT64 else None


def _server_name(meta: _Meta | None) -> str | None:
    return name(meta.server_info.name) if meta and meta.server_info and meta.server_info.name else None
