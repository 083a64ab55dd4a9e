"""What the results of tool calls say: success or failure, and the gist of it as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, MsgspecError, Raw
from msgspec.json import Decoder

from trio_oplog._json import ABSENT, Reader
from trio_oplog._operation import Outcome
from trio_oplog._recording.dialects.events import End
from trio_oplog._recording.dialects.shapes import Block, Error, Implementation, OddError, Response, Result
from trio_oplog._recording.limits import SHORT_NAME, name, optional_name

CONTENT_TYPES_MAX: Final = 64
"""How many content types of one result are kept."""

_TEXT_TYPES: Final = frozenset({"text", "inputText"})
_INT64: Final = 1 << 63

_error = Reader(Error)
_odd_error = Reader(OddError)
_string = Decoder(str).decode


def is_present(raw: Raw) -> bool:
    """Whether a raw field is there and not null."""
    return raw is not ABSENT and bytes(raw) != b"null"


def says_nothing(result: object, error: Raw) -> bool:
    """Whether what came under the id of a request is no response: it has neither a result, be it null, nor an error."""
    return (result is UNSET or result is ABSENT) and not is_present(error)


def read_text(raw: Raw) -> str | None:
    """A JSON string as the text it means, any other value as its exact JSON text; ``None`` for null or nothing."""
    if not is_present(raw):
        return None
    spelling = bytes(raw)
    if spelling[:1] != b'"':
        return spelling.decode("utf-8", "surrogateescape")
    try:
        return _string(raw)
    except (MsgspecError, UnicodeError):  # a lone surrogate
        text: str = json.loads(spelling.decode("utf-8", "surrogateescape"))
        return text


def introduction(who: Implementation | None) -> str | None:
    """Name and version of a client or server, as ``"name/version"``."""
    if who is None or not who.name:
        return None
    return name(f"{who.name}/{who.version}" if who.version else who.name)


def kept(who: Implementation | None) -> Implementation | None:
    """An introduction that may be kept: a peer writes its name and its version, of any length."""
    if who is None or not who.name:
        return None
    if len(who.name) <= SHORT_NAME and len(who.version or "") <= SHORT_NAME:
        return who
    return Implementation(name(who.name), optional_name(who.version))


def read_problem(raw: Raw) -> tuple[str | None, int | None] | None:
    """The message and the code of an error; ``None`` for no error, which is null or nothing.

    A message that is no string, and an error that is no object, are what they are as JSON text.
    """
    if not is_present(raw):
        return None
    if bytes(raw)[:1] != b"{":
        return read_text(raw), None
    problem = _error.read(raw)
    if problem is not None and problem.message:
        return problem.message, int64(problem.code)
    odd = _odd_error.read(raw) or OddError()
    return read_text(odd.message), int64(problem.code) if problem else None


def read_words(raw: Raw) -> str | None:
    """What an error says in words: its message, if that is a string, or the error itself, if it is one."""
    if bytes(raw)[:1] == b'"':
        return read_text(raw)
    problem = _error.read(raw) if bytes(raw)[:1] == b"{" else None
    return problem.message if problem is not None else None


def rpc_error(message: str | None, code: int | None) -> End:
    """A call that ended with a JSON-RPC error."""
    return End(is_error=True, text=message, notes={"outcome": Outcome.RPC_ERROR, "error_code": code})


def read_answer(message: Response) -> End | None:
    """How a request ended, from its response; ``None`` when the message is no response."""
    if message.error is not ABSENT and (problem := read_problem(message.error)) is not None:
        return rpc_error(*problem)
    result = message.result
    if isinstance(result, Result):
        return read_result(result)
    if result is None:
        return End()
    return End(text=result) if isinstance(result, str) else None


def read_result(result: Result) -> End:
    """How a call ended, from its result."""
    notes: dict[str, Any] | None = None
    content = result.content
    if isinstance(content, list) and len(content) == 1 and content[0].type == "text":  # nearly every result
        text = content[0].text
    else:
        text, content_types = read_gist(result)
        if content_types is not None:
            notes = {"content_types": content_types}
    is_error = result.is_error is True or (result.is_error.__class__ is str and is_true(result.is_error))
    if is_error:
        notes = (notes or {}) | {"outcome": Outcome.TOOL_ERROR}
    who = result.meta.server if result.meta is not None else None
    if who is None:
        return End(is_error, text, notes)
    return End(is_error, text, notes, kept(who))


def is_true(value: object) -> bool:
    """Whether a flag is set; some servers write it as a string."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def has_content(result: Result) -> bool:
    """Whether a result holds anything that a tool could have returned."""
    return result.content is not None or is_present(result.structured_content) or is_present(result.tool_result)


def read_gist(result: Result) -> tuple[str | None, tuple[str, ...] | None]:
    """The text of a result, and the types of its content blocks where not all of them are text."""
    content = result.content
    if isinstance(content, str):
        return content, None
    blocks = [content] if isinstance(content, Block) else content
    text, content_types = read_blocks(blocks or ())
    if text is None:
        text = read_raw(result.structured_content) or read_raw(result.tool_result)
    return (read_links(blocks or ()) if text is None else text), content_types


def read_blocks(blocks: Sequence[Block]) -> tuple[str | None, tuple[str, ...] | None]:
    """The text of content blocks, or of the resources embedded in them; and their types where not all of them are text.

    The text is ``None`` where there is no block of either kind.
    """
    texts = [block.text for block in blocks if block.type in _TEXT_TYPES]
    content_types = None
    if len(texts) != len(blocks):
        content_types = tuple([name(block.type or "unknown") for block in blocks[:CONTENT_TYPES_MAX]])
    if not texts:
        texts = [block.resource.text for block in blocks if block.resource is not None and block.resource.text is not None]
    return ("".join([text for text in texts if text]) if texts else None), content_types


def read_links(blocks: Sequence[Block]) -> str | None:
    """The URIs of the resources that content blocks link to, one a line; ``None`` where there are none."""
    return "\n".join([block.uri for block in blocks if block.type == "resource_link" and block.uri]) or None


def read_raw(raw: Raw) -> str | None:
    """The exact JSON text of a value; ``None`` for null or nothing."""
    return bytes(raw).decode("utf-8", "surrogateescape") if is_present(raw) else None


def int64(number: int | None) -> int | None:
    """A number that every store can hold, else nothing."""
    return number if number is not None and -_INT64 <= number < _INT64 else None
