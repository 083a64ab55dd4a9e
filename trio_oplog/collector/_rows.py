"""One operation as the tables take it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec

from trio_oplog import _wire
from trio_oplog._operation import Approval, Operation

KEY_MAX_BYTES: Final = 1_000
"""Longest text that is indexed as it is.  PostgreSQL takes index entries up to 2 704 bytes."""

NO_OUTCOME: Final = "ok"
"""The outcome of a record that has none and is no error; ``error`` is that of one that is."""
NO_OUTCOME_BUT_ERROR: Final = "error"
UNDECIDED: Final = "none"
"""The approval of a record where somebody was asked and no decision is known."""

MICROSECONDS: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Between what is shown of a text and its digest, of so many characters.
_MARK: Final = "\N{REPLACEMENT CHARACTER}"
_DIGEST_LENGTH: Final = 64
# No text of so many characters has more bytes than KEY_MAX_BYTES.
_SHORT: Final = KEY_MAX_BYTES // 4


# Without ``gc``: they hold texts and numbers alone, and the collector of garbage would look at thousands of them in each batch.
class Labels(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What many records have in common."""

    workspace: str
    tool: str
    env_id: str
    source: str
    outcome: str
    is_error: bool
    client: str | None
    approval: str | None


class Row(msgspec.Struct, frozen=True, gc=False):
    """One operation: what finds it, what is counted of it, and its bytes.

    Attributes:
        started_at: Microseconds since 1970, UTC.
        waited_ms: How long it waited for people; ``None`` where nobody was asked.
    """

    id: str
    labels: Labels
    user_id: str | None
    thread_id: str | None
    started_at: int
    duration_ms: int
    waited_ms: int | None
    body: bytes

    @classmethod
    def of(cls, operation: Operation, body: bytes | None = None) -> Row:
        """The row of an operation.

        Args:
            operation: Which one.
            body: Its bytes, where they are known.

        Raises:
            WireError: A field holds what no record can.
        """
        body = body or _wire.encode(operation)  # first: it checks
        meta, context = operation.result_meta, operation.context
        labels = Labels(
            key(operation.workspace_id),
            key(operation.tool),
            key(operation.env_id),
            key(operation.source),
            outcome_of(operation),
            operation.is_error,
            None if context is None else optional_key(context.client),
            None if operation.approval is None else approval_of(operation.approval),
        )
        return cls(
            key(operation.id),
            labels,
            optional_key(operation.user_id),
            optional_key(operation.thread_id),
            microseconds(operation.started_at),
            operation.duration_ms,
            None if meta is None else meta.waited_ms,
            body,
        )


def outcome_of(operation: Operation) -> str:
    """The outcome by which a record is found and counted."""
    if operation.result_meta is not None and operation.result_meta.outcome is not None:
        return operation.result_meta.outcome.value
    return NO_OUTCOME_BUT_ERROR if operation.is_error else NO_OUTCOME


def approval_of(approval: Approval) -> str:
    """The decision by which a record is found and counted."""
    return UNDECIDED if approval.decision is None else key(approval.decision)


def optional_key(text: str | None) -> str | None:
    """``key()`` of what may be absent; an empty text counts as absent."""
    return key(text) if text else None


def key(text: str) -> str:
    """The form in which a text is indexed and looked for: itself, where every database takes it.

    PostgreSQL knows no NUL in a text, and no index takes a text of any length.  Such a text is shown as far as it goes, and
    told from all others by a digest.  So is a text that looks like one of these: nobody can spell another's.
    """
    if len(text) <= _SHORT and "\0" not in text and _MARK not in text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= KEY_MAX_BYTES and b"\0" not in data and not text[:-_DIGEST_LENGTH].endswith(_MARK):
        return text
    return data[: KEY_MAX_BYTES // 2].replace(b"\0", b"").decode("utf-8", "ignore") + _MARK + sha256(data).hexdigest()


def digest_of(*texts: str | bool | None) -> bytes:
    """16 bytes that tell these values from all others; the order counts."""
    # Each with its length before it, so that no text can look like two.
    spelled = "".join([f"{len(text)}:{text}" if isinstance(text, str) else f"{text};" for text in texts])
    return sha256(spelled.encode("utf-8", "surrogatepass")).digest()[:16]


def microseconds(time: datetime) -> int:
    """An aware time as microseconds since 1970."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds


def as_time(microseconds: int) -> datetime:
    """Microseconds since 1970 as an aware time, UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
