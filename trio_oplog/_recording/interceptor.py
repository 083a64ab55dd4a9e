"""Step 5: the Interceptor pairs the beginnings of tool calls with their ends and hands each Operation to a Submitter.

Sans-IO: it does no I/O, starts no task and knows no event loop.  It sits on every frame, so the way of a frame that is none
of its business is short: one decode that skips everything but the envelope, one look into a table.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain, repeat
from os import urandom
from types import TracebackType
from typing import Any, Final, Self

from attrs import frozen

from trio_oplog._json import LONG
from trio_oplog._operation import Config, Draft, Operation, Outcome, ResultMeta, Submitter, shrink
from trio_oplog._recording.dialects import (
    FROM_CLIENT,
    FROM_SERVER,
    Call,
    CallKey,
    Cancelled,
    ClientMessage,
    Completed,
    End,
    Handshake,
    ServerMessage,
    ServerMethods,
    TurnCompleted,
    read_answer,
    read_server_name,
)
from trio_oplog._recording.envelope import Frame, FrameReader, RequestKey, peek, read_key
from trio_oplog._recording.limits import cut
from trio_oplog._wire import converter, decode, encode

_log = logging.getLogger("trio_oplog")

DURATION_MAX_MS: Final = 2**31 - 1
LLM_SOURCE: Final = "llm"

# Fixed for ever: the ids of items are derived in it, and stores deduplicate by them.
_ITEM_NAMESPACE: Final = uuid.UUID("5b0f2f0e-6d0c-4c55-9d4a-6a1f7f0c2b1e")


@frozen(kw_only=True)
class InterceptorStatistics:
    """What an Interceptor has seen so far.

    Attributes:
        client_frames: Frames shown to ``on_client_frame``.
        server_frames: Frames shown to ``on_server_frame``.
        unreadable_frames: Frames that held no JSON-RPC message.
        open_calls: Calls that have begun and not ended.
        recorded: Operations handed to the Submitter.
        evicted: Those of them that ended because too many were open.
        unanswered: Those of them that ended because the connection did.
        submit_errors: Operations that the Submitter raised on; it should not.
        redact_errors: Operations that went without their payload because ``Config.redact`` failed on them.
        internal_errors: Messages lost to a mistake: something shown that is no frame, a clock that raises, or an error in this
            package (please report it).
    """

    client_frames: int
    server_frames: int
    unreadable_frames: int
    open_calls: int
    recorded: int
    evicted: int
    unanswered: int
    submit_errors: int
    redact_errors: int
    internal_errors: int


_now = partial(datetime.now, UTC)

# A response matters only while somebody waits for one.
_read_client_frame = FrameReader(ClientMessage, FROM_CLIENT).read
_read_answers = FrameReader(ServerMessage, {None}).read
_read_items = FrameReader(ServerMessage, FROM_SERVER).read
_read_items_and_answers = FrameReader(ServerMessage, {None, *FROM_SERVER}).read
_read_nothing = FrameReader(ServerMessage, ()).read

_ID_LAYOUT: Final = b"xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx\n"
_ID_DIGITS: Final = [place for place, digit in enumerate(_ID_LAYOUT) if digit == ord("x")]
_IDS_AT_ONCE: Final = 256
# RFC 9562, section 4.1: the two high bits of this digit are 10.
_VARIANT: Final = bytes.maketrans(b"0123456789abcdef", b"89ab89ab89ab89ab")


def random_ids() -> Iterator[str]:
    """Random UUIDs (RFC 9562, version 4) as text.

    A page of them is made at a time, digit by digit for all of them at once: a tenth of what ``str(uuid.uuid4())`` costs.
    """
    return chain.from_iterable(map(_page_of_ids, repeat(_IDS_AT_ONCE)))


def _page_of_ids(count: int) -> list[str]:
    width = len(_ID_LAYOUT)
    page = bytearray(_ID_LAYOUT * count)
    digits = urandom(16 * count).hex().encode()
    for number, place in enumerate(_ID_DIGITS):
        page[place::width] = digits[number::32]
    page[19::width] = page[19::width].translate(_VARIANT)
    return page.decode().split()


class Interceptor:
    """Watches one connection and records every tool call on it: each call that began yields exactly one Operation.

    Show it each frame before it is forwarded.  It never blocks, never raises and never keeps or alters a frame, whatever the
    peers send; what it could not make sense of is counted in ``statistics()``.  One for each connection, used from one thread.
    Leaving it as a ``with`` block is ``close()``.

    Args:
        submitter: Takes the operations.  One that raises is counted and logged, and costs that operation only.
        config: What to write into every operation, and the limits.
        clock: The time of day, as an aware datetime in UTC.
        monotonic: A clock for durations, in seconds.
        new_id: Makes the id of an operation: UUID text.  ``None``: random ones.
    """

    def __init__(
        self,
        submitter: Submitter,
        config: Config,
        *,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._submitter = submitter
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id or random_ids().__next__
        self._server_methods: ServerMethods = FROM_SERVER if config.record_items else {}
        self._read_idle, self._read_waiting = (
            (_read_items, _read_items_and_answers) if config.record_items else (_read_nothing, _read_answers)
        )
        self._actions: Mapping[type, Callable[[Any], None]] = {
            Completed: self._complete,
            Cancelled: self._on_cancelled,
            TurnCompleted: self._on_turn_completed,
            Handshake: self._on_handshake,
        }
        if config.redact is not None:
            converter()  # now, not under the first call
        self._args_max_bytes = config.args_max_bytes
        self._max_pending = config.max_pending
        # In the order of their beginning, so that the first is the oldest.
        self._open: dict[Call, None] = {}
        self._by_key: dict[CallKey | None, Call] = {}  # the oldest of those with a key
        self._handshake: RequestKey | None = None
        self._server_name: str | None = None
        self._closed = False
        self._client_frames = 0
        self._server_frames = 0
        self._unreadable_frames = 0
        self._recorded = 0
        self._evicted = 0
        self._unanswered = 0
        self._submit_errors = 0
        self._redact_errors = 0
        self._internal_errors = 0

    def __repr__(self) -> str:
        return f"<Interceptor open_calls={len(self._open)} recorded={self._recorded}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def on_client_frame(self, frame: Frame) -> None:
        """Look at a frame from the client to the server, before it is forwarded.

        Args:
            frame: Text, or UTF-8 in any bytes-like object.  Not kept.
        """
        self._client_frames += 1
        try:
            # A short one is read as soon as looked at; nearly all of what a server sends is none of our business.
            if len(frame) >= LONG and (seen := peek(frame)) is not None and seen.method not in FROM_CLIENT:
                return
            found: Any = _read_client_frame(frame)
            if found.__class__ is ClientMessage:
                self._show(found, FROM_CLIENT)
            elif found != ():
                self._show_batch(found, FROM_CLIENT)
        except Exception as error:  # noqa: BLE001  # what was shown is no frame at all
            self._on_mistake(error)

    def on_server_frame(self, frame: Frame) -> None:
        """Look at a frame from the server to the client, before it is forwarded.

        Args:
            frame: Text, or UTF-8 in any bytes-like object.  Not kept.
        """
        self._server_frames += 1
        try:
            seen = peek(frame)
            if seen is not None and (
                seen.id not in self._by_key and seen.id != self._handshake
                if seen.method is None
                else seen.method not in self._server_methods
            ):
                return
            found: Any = (self._read_waiting if self._open or self._handshake is not None else self._read_idle)(frame)
            if found.__class__ is ServerMessage:
                self._show(found, self._server_methods)
            elif found != ():
                self._show_batch(found, self._server_methods)
        except Exception as error:  # noqa: BLE001  # what was shown is no frame at all
            self._on_mistake(error)

    def close(self) -> None:
        """The connection ended: every open call is recorded as ``unanswered``.  Later frames are ignored; safe to repeat."""
        self._closed = True
        while self._open:
            try:
                self._abandon(next(iter(self._open)), Outcome.UNANSWERED)
                self._unanswered += 1
            except Exception as error:  # noqa: BLE001
                self._on_mistake(error)

    def statistics(self) -> InterceptorStatistics:
        """What has been seen so far."""
        return InterceptorStatistics(
            client_frames=self._client_frames,
            server_frames=self._server_frames,
            unreadable_frames=self._unreadable_frames,
            open_calls=len(self._open),
            recorded=self._recorded,
            evicted=self._evicted,
            unanswered=self._unanswered,
            submit_errors=self._submit_errors,
            redact_errors=self._redact_errors,
            internal_errors=self._internal_errors,
        )

    def _show_batch(self, messages: Sequence[ClientMessage | ServerMessage] | None, methods: Mapping[str, Any]) -> None:
        """Look at what is not one message: several, or no JSON-RPC at all."""
        if messages is None:
            self._unreadable_frames += 1
            return
        for message in messages:
            self._show(message, methods)

    def _show(self, message: ClientMessage | ServerMessage, methods: Mapping[str, Any]) -> None:
        if self._closed:
            return
        try:
            if message.method is None:
                self._on_answer(message)
            elif message.method in methods:
                event = methods[message.method](message, self._args_max_bytes)
                if event.__class__ is Call:  # the most frequent one
                    self._begin(event)
                elif event is not None:
                    self._actions[event.__class__](event)
        except Exception as error:  # noqa: BLE001  # a mistake in one message must not cost the next one
            self._on_mistake(error)

    def _on_mistake(self, error: Exception) -> None:
        self._internal_errors += 1
        # Without its traceback, which may hold payloads.
        _log.error("a message was lost to a mistake: %s", type(error).__name__)

    def _on_answer(self, message: ClientMessage | ServerMessage) -> None:
        if not isinstance(message, ServerMessage):  # the client answers the server: none of our calls
            return
        key = read_key(message.id)
        found = self._by_key.get(key)
        if found is not None:
            end = read_answer(message)
            if end is not None:
                self._remove(found)
                self._record(found, end)
        elif key is not None and key == self._handshake and read_answer(message):
            self._handshake = None
            self._server_name = read_server_name(message.result) or self._server_name

    def _on_cancelled(self, event: Cancelled) -> None:
        if found := self._take(event.key):
            self._record(found, End(is_error=True, notes={"outcome": Outcome.CANCELLED}))

    def _on_turn_completed(self, event: TurnCompleted) -> None:
        for found in [open_call for open_call in self._open if open_call.turn == event.turn]:
            if found in self._open:  # a submitter may have closed us over the one before
                self._abandon(found, Outcome.INTERRUPTED)

    def _on_handshake(self, event: Handshake) -> None:
        self._handshake = event.key

    def _begin(self, call: Call) -> None:
        call.began_at = self._clock()
        call.began = self._monotonic()
        oldest = self._by_key.setdefault(call.key, call)
        if oldest is not call:
            oldest.shares_key = call.shares_key = True
            if oldest.later is None:
                oldest.later = deque()
            oldest.later.append(call)
        self._open[call] = None
        if len(self._open) > self._max_pending:
            self._abandon(next(iter(self._open)), Outcome.EVICTED)
            self._evicted += 1

    def _complete(self, event: Completed) -> None:
        call = event.call
        begun = self._take(call.key)
        if begun is None:  # nothing announced it: it begins and ends here
            call.began_at = self._clock()
            call.began = self._monotonic()
        else:
            call.began_at = begun.began_at
            call.began = begun.began
            call.shares_key = begun.shares_key
        self._record(call, event.end, self._item_id(event.identity) if event.identity else None)

    def _take(self, key: CallKey | None) -> Call | None:
        """End the oldest open call with a key."""
        found = self._by_key.get(key)
        if found is not None:
            self._remove(found)
        return found

    def _remove(self, call: Call) -> None:
        """End an open call.  It must be the oldest with its key."""
        del self._open[call]
        if call.later:
            oldest = self._by_key[call.key] = call.later.popleft()
            oldest.later = call.later
        else:
            del self._by_key[call.key]

    def _abandon(self, call: Call, outcome: Outcome) -> None:
        """End a call that will not end by itself.  It must be the oldest with its key."""
        self._remove(call)
        self._record(call, End(is_error=True, notes={"outcome": outcome}))

    def _record(self, call: Call, end: End, operation_id: str | None = None) -> None:
        config = self._config
        elapsed_ms = int((self._monotonic() - call.began) * 1000)
        notes = end.notes
        summary = end.text or None
        if summary is not None:
            summary, total_bytes, sha256 = cut(summary, config.result_max_bytes)
            if total_bytes is not None:
                notes = {"truncated": True, "total_bytes": total_bytes, "sha256": sha256} | (notes or {})
        if call.shares_key:
            notes = (notes or {}) | {"duplicate_id": True}
        # By position, which takes half the time that keywords do.
        operation: Any = Draft(
            operation_id or self._new_id(),
            config.workspace_id,
            LLM_SOURCE if call.is_item else config.source,
            call.env_id or end.server_name or self._server_name or config.default_env_id,
            call.tool,
            end.is_error,
            call.began_at,
            self._clock(),
            elapsed_ms if 0 <= elapsed_ms <= DURATION_MAX_MS else _clamp(elapsed_ms),
            config.user_id or call.user_id,
            call.thread_id,
            call.request_id,
            call.arguments,
            call.arguments_meta,
            summary,
            ResultMeta(**notes) if notes else None,
        )
        operation.__class__ = Operation
        if config.redact is not None:
            operation = self._redacted(operation, config.redact)
        self._recorded += 1
        try:
            self._submitter.submit(operation)
        except Exception as error:  # noqa: BLE001  # somebody else's mistake must not reach the gateway
            self._submit_errors += 1
            _log.error("the submitter raised %s; operation %s is lost", type(error).__name__, operation.id)

    def _redacted(self, operation: Operation, redact: Callable[[Operation], Operation]) -> Operation:
        """What a redactor makes of an operation.  One that fails costs the payload, never the record, and never leaks it."""
        try:
            return decode(encode(redact(operation)))
        except Exception as error:  # noqa: BLE001  # its message may quote the payload
            self._redact_errors += 1
            _log.error("the redactor failed with %s; operation %s goes without its payload", type(error).__name__, operation.id)
            return shrink(operation)

    def _item_id(self, identity: tuple[str | int | None, ...]) -> str:
        """The id that every connection watching this execution derives alike."""
        return str(uuid.uuid5(_ITEM_NAMESPACE, json.dumps([self._config.workspace_id, *identity])))


def _clamp(duration_ms: int) -> int:
    return max(0, min(duration_ms, DURATION_MAX_MS))
