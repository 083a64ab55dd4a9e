"""Step 5: what must not be kept: functions from Operation to Operation for ``Config.redact``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import attrs

from trio_oplog._errors import ConfigError
from trio_oplog._operation import Operation, shrink


class Payload(StrEnum):
    """How much of a tool's arguments and result is kept."""

    FULL = "full"
    """All of it."""
    TRUNCATED = "truncated"
    """At most 256 bytes of each; longer arguments become size and digest, a longer result its beginning."""
    KEYS = "keys"
    """The arguments' keys, with ``null`` for every value; of the result, size and digest."""
    DIGEST = "digest"
    """Size and digest."""
    NONE = "none"
    """Nothing."""


TRUNCATED_BYTES: Final = 256

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def redact_keys(
    *names: str, tools: Mapping[str, str] | None = None, otherwise: str = "full", digests: bool = True
) -> Callable[[Operation], Operation]:
    """Make a function that takes values out of operations, for ``Config.redact``.

    The value of each key of these names, at any depth of the arguments, is replaced by
    ``{"redacted": true, "size_bytes": …, "sha256": …}``: the length and digest of its JSON text.  Everything else in the
    arguments stays as it was, byte for byte.  The text of results is not looked into; ``tools`` decides what is kept of it.

    Args:
        names: Keys, compared without regard to case.
        tools: How much is kept of a tool's arguments and result, by its name: ``"full"``, ``"truncated"``, ``"keys"``,
            ``"digest"`` or ``"none"``.
        otherwise: The same for every other tool.
        digests: Whether a redacted value leaves its digest.  Whoever sees that of a short secret can find the secret by trying.

    Returns:
        The function.

    Raises:
        ConfigError: A value is wrong; the error names it.
    """
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigError("names", "must be non-empty strings")
    policies = {tool: _policy("tools", policy) for tool, policy in (tools or {}).items()}
    default = _policy("otherwise", otherwise)
    folded = frozenset(name.casefold() for name in names)

    def redact(operation: Operation) -> Operation:
        policy = policies.get(operation.tool, default)
        if folded and operation.arguments is not None and policy in (Payload.FULL, Payload.TRUNCATED):
            operation = attrs.evolve(operation, arguments=_without(operation.arguments, folded, digests=digests))
        return _reduced(operation, policy)

    return redact


def _policy(field: str, policy: object) -> Payload:
    for known in Payload:
        if policy == known:
            return known
    raise ConfigError(field, f"must be one of {', '.join(Payload)}")


def _reduced(operation: Operation, policy: Payload) -> Operation:
    match policy:
        case Payload.FULL:
            return operation
        case Payload.TRUNCATED:
            return _truncated(operation)
        case Payload.KEYS:
            keys = None if operation.arguments is None else _keys_of(operation.arguments)
            return attrs.evolve(shrink(operation), arguments=keys)
        case Payload.DIGEST:
            return shrink(operation)
        case _:
            nothing = attrs.evolve(operation, arguments=None, arguments_meta=None, result_summary=None)
            meta = operation.result_meta
            if meta is not None:
                nothing = attrs.evolve(nothing, result_meta=attrs.evolve(meta, truncated=None, total_bytes=None, sha256=None))
            return shrink(nothing)  # of what is left, a title or a reason may quote the payload


def _truncated(operation: Operation) -> Operation:
    small = shrink(operation)
    changes: dict[str, object] = {}
    if operation.arguments is not None and len(operation.arguments) <= TRUNCATED_BYTES:
        changes |= {"arguments": operation.arguments, "arguments_meta": operation.arguments_meta}
    if operation.result_summary is not None:
        text = operation.result_summary.encode("utf-8", "replace")
        if len(text) <= TRUNCATED_BYTES:
            changes |= {"result_summary": operation.result_summary, "result_meta": operation.result_meta}
        else:
            changes["result_summary"] = text[:TRUNCATED_BYTES].decode("utf-8", "ignore")
    return attrs.evolve(small, **changes)  # type: ignore[arg-type]  # names and values come in pairs above


def _values(text: bytes) -> Iterator[tuple[bytes | None, int, int]]:
    """Every value of a JSON text, outer ones after what is in them: its key if it has one, where it begins and where it ends."""
    open_values: list[tuple[bytes | None, int]] = []
    inside: list[int] = []  # b"{" or b"[", as they nest
    key: bytes | None = None
    expects_key = False
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in b"{[":
            open_values.append((key, token.start()))
            inside.append(first)
            key, expects_key = None, first == ord("{")
        elif first in b"}]":
            inside.pop()
            name, start = open_values.pop()
            yield name, start, token.end()
            key, expects_key = None, False
        elif first == ord(","):
            key, expects_key = None, inside[-1] == ord("{")
        elif first == ord(":"):
            expects_key = False
        elif expects_key:
            key = token[0]
        else:
            yield key, token.start(), token.end()


def _without(text: bytes, names: frozenset[str], *, digests: bool) -> bytes:
    """The same text with the values of these keys replaced; of two that lie in each other, the outer one."""
    spans: list[tuple[int, int]] = []
    for key, start, end in _values(text):
        if key is not None and json.loads(key).casefold() in names:
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, end))
    parts: list[bytes] = []
    at = 0
    for start, end in spans:
        parts += [text[at:start], mark(text[start:end], digests=digests)]
        at = end
    return b"".join([*parts, text[at:]])


def mark(value: bytes, *, digests: bool) -> bytes:
    """What stands in the place of a value.

    Args:
        value: Its JSON text.
        digests: Whether to leave its digest.
    """
    mark: dict[str, object] = {"redacted": True, "size_bytes": len(value)}
    if digests:
        mark["sha256"] = hashlib.sha256(value).hexdigest()
    return json.dumps(mark, separators=(",", ":")).encode()


def _keys_of(text: bytes) -> bytes:
    """The same text with ``null`` for every value that is no object and no array."""
    parts: list[bytes] = []
    at = 0
    for _, start, end in _values(text):
        if text[start] not in b"{[":
            parts += [text[at:start], b"null"]
            at = end
    return b"".join([*parts, text[at:]])
