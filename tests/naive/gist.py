"""What results and errors say, who says it, and in whose trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.naive.reading import Message, integer, name


def blocks_of(content: Any) -> list[dict[str, Any]]:
    """Content as a list of blocks: one object is a list of it, and what is no object is a block of which nothing is known."""
    blocks = [content] if isinstance(content, dict) else content if isinstance(content, list) else []
    return [block if isinstance(block, dict) else {} for block in blocks]


def is_text(block: dict[str, Any]) -> bool:
    return block.get("type") in ("text", "inputText")


def types_of(blocks: list[dict[str, Any]]) -> list[str] | None:
    """The types of blocks, unless all are text."""
    if all(map(is_text, blocks)):
        return None
    return [name(block.get("type")) or "unknown" for block in blocks[:64]]


def texts_of(blocks: list[dict[str, Any]]) -> Iterator[str]:
    """The text of text blocks joined; that of embedded resources joined.  One that there is none of is left out."""
    texts = [block.get("text") for block in blocks if is_text(block)]
    if texts:
        yield "".join(text for text in texts if isinstance(text, str))
    resources = [block.get("resource") for block in blocks if block.get("type") == "resource"]
    embedded = [resource.get("text") for resource in resources if isinstance(resource, dict)]
    if any(isinstance(text, str) for text in embedded):
        yield "".join(text for text in embedded if isinstance(text, str))


def links_of(blocks: list[dict[str, Any]]) -> str | None:
    """The addresses of resource links, one a line."""
    uris = [block.get("uri") for block in blocks if block.get("type") == "resource_link"]
    return "\n".join(uri for uri in uris if isinstance(uri, str)) or None


def said(message: Message, *path: str | int) -> tuple[str | None, list[str] | None]:
    """The gist of the result at a place of a message, and the types of its content where not all of it is text."""
    result = message.get(*path)
    if isinstance(result, str):
        return result, None
    if not isinstance(result, dict):
        return None, None
    if isinstance(result.get("content"), str):
        return result["content"], None
    blocks = blocks_of(result.get("content"))
    for text in texts_of(blocks):
        return text, types_of(blocks)
    for member in ("structuredContent", "toolResult"):
        if result.get(member) is not None:
            return message.exact(*path, member), types_of(blocks)
    return links_of(blocks), types_of(blocks)


def is_failed(result: Any) -> bool:
    """Whether a result says ``isError``."""
    mark = result.get("isError") if isinstance(result, dict) else None
    return mark is True or (isinstance(mark, str) and mark.lower() == "true")


def fault(message: Message, *path: str | int) -> tuple[str | None, int | None] | None:
    """The message and the code of the error at a place of a message; ``None`` when there is no error, as null is none."""
    error = message.get(*path)
    if error is None:
        return None
    if isinstance(error, str):
        return error, None
    if not isinstance(error, dict):
        return message.exact(*path), None
    text = error.get("message")
    if text is not None and not isinstance(text, str):
        text = message.exact(*path, "message")
    return text, integer(error.get("code"))


# Who is who


def implementation(info: Any) -> str | None:
    """``name/version`` of a client or a server; only the name where there is no version."""
    if not isinstance(info, dict) or not name(info.get("name")):
        return None
    version = info.get("version")
    return name(f"{info['name']}/{version}" if isinstance(version, str) and version else info["name"])


def trace_of(*candidates: Any) -> dict[str, str]:
    """The first W3C ``traceparent`` that is well-formed, as fields of a context."""
    for candidate in candidates:
        if not isinstance(candidate, str):
            continue
        read = re.fullmatch(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", candidate, re.DOTALL)
        if not read:
            continue
        version, trace_id, span_id, more = read.groups()
        if version != "ff" and (version != "00" or more is None) and trace_id.strip("0") and span_id.strip("0"):
            return {"trace_id": trace_id, "parent_span_id": span_id}
    return {}
