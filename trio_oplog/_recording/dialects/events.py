"""What a message can mean for the log, as data: the dialects make these, the Interceptor acts on them."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

from trio_oplog._operation import ArgumentsMeta
from trio_oplog._recording.envelope import RequestKey

UNKNOWN_TOOL: Final = "unknown"
"""The tool of a call that names none."""


NEVER: Final = datetime.min.replace(tzinfo=UTC)


class ItemKey(NamedTuple):
    """What an item is known by.  Item ids repeat, also within a turn and at once."""

    thread_id: str | None
    turn_id: str | None
    item_id: str | None
    item_type: str


CallKey: TypeAlias = RequestKey | ItemKey
"""What an open call is found by."""


class Call(Struct, eq=False, gc=False):
    """A call began: everything that its beginning says of it.  Holds copies only, never a frame.

    The last group of fields is the Interceptor's, while the call is open.
    """

    key: CallKey
    tool: str
    env_id: str | None
    request_id: str | None
    thread_id: str | None = None
    user_id: str | None = None
    arguments: bytes | None = None
    arguments_meta: ArgumentsMeta | None = None
    is_item: bool = False
    turn: tuple[str | None, str | None] | None = None
    """Thread and turn that the call cannot outlive; ``None`` when it can."""

    began_at: datetime = NEVER
    began: float = 0.0
    shares_key: bool = False
    later: deque[Call] | None = None
    """Of the oldest call with a key: the others with it.  They end in the order in which they began."""


class End(Struct, gc=False):
    """How a call ended.  ``text`` is the whole text of the result, not yet cut; ``notes`` are what ``ResultMeta`` is to say."""

    is_error: bool = False
    text: str | None = None
    notes: dict[str, Any] | None = None
    server_name: str | None = None


class Completed(Struct, gc=False):
    """An item ended.  ``call`` is the completed item's own account, which replaces that of its beginning."""

    call: Call
    end: End
    identity: tuple[str | int | None, ...] | None = None
    """What makes this execution the same one on every connection that watches it; ``None`` where it does not say."""


class Cancelled(Struct, gc=False):
    """The client took a request back."""

    key: RequestKey


class TurnCompleted(Struct, gc=False):
    """A turn ended, and with it every open call that cannot outlive it."""

    turn: tuple[str | None, str | None]


class Handshake(Struct, gc=False):
    """The client asked the server who it is; the answer has its name."""

    key: RequestKey


Event: TypeAlias = Call | Completed | Cancelled | TurnCompleted | Handshake
