"""Step 5: the Interceptor pairs the beginnings of tool calls with their ends and hands each Operation to a Submitter.

Sans-IO: it does no I/O, starts no task and knows no event loop.  It sits on every frame, so the way of a frame that is none
of its business is short: one decode that skips everything but the envelope, one look into a table.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from os import urandom
from types import TracebackType
from typing import Final, Self

from attrs import frozen
from msgspec import Struct

from trio_oplog._dialects import (
    FROM_CLIENT,
    FROM_SERVER,
    Call,
    CallKey,
    Cancelled,
    Completed,
    End,
    Event,
    Greeting,
    ReadEvent,
    TurnCompleted,
    read_answer,
    read_server_name,
)
from trio_oplog._envelope import Frame, Message, RequestKey, is_sound, read, read_id, reread
from trio_oplog._limits import cut
from trio_oplog._operation import Config, Operation, Outcome, ResultMeta, Submitter

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
        internal_errors: Messages lost to a mistake in this package; please report it.
    """

    client_frames: int
    server_frames: int
    unreadable_frames: int
    open_calls: int
    recorded: int
    evicted: int
    unanswered: int
    submit_errors: int
    internal_errors: int


class _Open(Struct, eq=False, gc=False):
    """A call that has begun and not ended."""

    call: Call
    began_at: float
    began: float
    shares_key: bool = False


def new_operation_id() -> str:
    """A random UUID (RFC 9562, version 4) as text, in a third of the time that ``str(uuid.uuid4())`` takes."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Interceptor:
    """Watches one connection and records every tool call on it: each call that began yields exactly one Operation.

    Show it each frame before it is forwarded.  It never blocks, never raises and never keeps or alters a frame, whatever the
    peers send; what it could not make sense of is counted in ``statistics()``.  One for each connection, used from one thread.
    Leaving it as a ``with`` block is ``close()``.

    Args:
        submitter: Takes the operations.  One that raises is counted and logged, and costs that operation only.
        config: What to write into every operation, and the limits.
        clock: The time of day in seconds since the epoch.
        monotonic: A clock for durations, in seconds.
        new_id: Makes the id of an operation: UUID text.
    """

    def __init__(
        self,
        submitter: Submitter,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_operation_id,
    ) -> None:
        self._submitter = submitter
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id
        self._from_server: Mapping[str, ReadEvent] = FROM_SERVER if config.record_items else {}
        self._args_max_bytes = config.args_max_bytes
        # In the order of their beginning, so that the first is the oldest.
        self._open: dict[_Open, None] = {}
        self._by_key: dict[CallKey, list[_Open]] = {}
        self._greeting: RequestKey | None = None
        self._server_name: str | None = None
        self._closed = False
        self._client_frames = 0
        self._server_frames = 0
        self._unreadable_frames = 0
        self._recorded = 0
        self._evicted = 0
        self._unanswered = 0
        self._submit_errors = 0
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
        for message in self._relevant(frame, FROM_CLIENT, answers=False):
            self._act_on(message, FROM_CLIENT)

    def on_server_frame(self, frame: Frame) -> None:
        """Look at a frame from the server to the client, before it is forwarded.

        Args:
            frame: Text, or UTF-8 in any bytes-like object.  Not kept.
        """
        self._server_frames += 1
        answers = bool(self._open) or self._greeting is not None
        for message in self._relevant(frame, self._from_server, answers=answers):
            self._act_on(message, self._from_server)

    def close(self) -> None:
        """The connection ended: every open call is recorded as ``unanswered``.  Later frames are ignored; safe to repeat."""
        self._closed = True
        while self._open:
            self._abandon(next(iter(self._open)), Outcome.UNANSWERED)
            self._unanswered += 1

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
            internal_errors=self._internal_errors,
        )

    def _relevant(self, frame: Frame, methods: Mapping[str, ReadEvent], *, answers: bool) -> Sequence[Message]:
        """The messages of a frame when one of them may matter, else none."""
        messages = read(frame)
        for message in messages:
            if message.method in methods if message.method is not None else answers:
                break
        else:
            self._unreadable_frames += not messages
            return ()
        return messages if is_sound(frame) else reread(frame)

    def _act_on(self, message: Message, methods: Mapping[str, ReadEvent]) -> None:
        if self._closed:
            return
        try:
            if message.method is None:
                if methods is not FROM_CLIENT:
                    self._on_answer(message)
            elif read_event := methods.get(message.method):
                self._on_event(read_event(message, self._args_max_bytes))
        except Exception as error:  # noqa: BLE001  # the promise to the gateway; counted, and the traceback may hold payloads
            self._internal_errors += 1
            _log.error("a message was lost to a mistake in trio_oplog: %s", type(error).__name__)

    def _on_event(self, event: Event | None) -> None:
        match event:
            case Call():
                self._begin(event)
            case Completed():
                self._complete(event)
            case Cancelled():
                if found := self._take(event.key):
                    self._record(found, found.call, End(is_error=True, outcome=Outcome.CANCELLED))
            case TurnCompleted():
                for found in [open_call for open_call in self._open if open_call.call.turn == event.turn]:
                    self._abandon(found, Outcome.INTERRUPTED)
            case Greeting():
                self._greeting = event.key
            case None:
                pass

    def _on_answer(self, message: Message) -> None:
        identity = read_id(message.id)
        if identity is None:
            return
        if identity.key in self._by_key:
            end = read_answer(message.result, message.error)
            if end is not None and (found := self._take(identity.key)):
                self._record(found, found.call, end)
        elif identity.key == self._greeting:
            self._greeting = None
            self._server_name = read_server_name(message.result) or self._server_name

    def _begin(self, call: Call) -> None:
        beginning = _Open(call, self._clock(), self._monotonic())
        same = self._by_key.setdefault(call.key, [])
        same.append(beginning)
        if len(same) > 1:
            same[0].shares_key = beginning.shares_key = True
        self._open[beginning] = None
        if len(self._open) > self._config.max_pending:
            self._abandon(next(iter(self._open)), Outcome.EVICTED)
            self._evicted += 1

    def _complete(self, event: Completed) -> None:
        found = self._take(event.call.key)
        if found is None:  # nothing announced it: it begins and ends here
            found = _Open(event.call, self._clock(), self._monotonic())
        operation_id = self._item_id(event.identity) if event.identity else None
        self._record(found, event.call, event.end, operation_id)

    def _take(self, key: CallKey) -> _Open | None:
        """End the oldest open call with a key."""
        same = self._by_key.get(key)
        if same is None:
            return None
        found = same.pop(0)
        if not same:
            del self._by_key[key]
        del self._open[found]
        return found

    def _abandon(self, open_call: _Open, outcome: Outcome) -> None:
        """End an open call that will not end by itself."""
        key = open_call.call.key
        same = self._by_key[key]
        same.remove(open_call)
        if not same:
            del self._by_key[key]
        del self._open[open_call]
        self._record(open_call, open_call.call, End(is_error=True, outcome=outcome))

    def _record(self, beginning: _Open, call: Call, end: End, operation_id: str | None = None) -> None:
        config = self._config
        elapsed_ms = int((self._monotonic() - beginning.began) * 1000)
        summary, total_bytes, sha256 = cut(end.text, config.result_max_bytes) if end.text else (None, None, None)
        operation = Operation(
            id=operation_id or self._new_id(),
            workspace_id=config.workspace_id,
            source=LLM_SOURCE if call.is_item else config.source,
            env_id=call.env_id or end.server_name or self._server_name or config.default_env_id,
            tool=call.tool,
            is_error=end.is_error,
            started_at=datetime.fromtimestamp(beginning.began_at, UTC),
            completed_at=datetime.fromtimestamp(self._clock(), UTC),
            duration_ms=min(max(elapsed_ms, 0), DURATION_MAX_MS),
            user_id=config.user_id or call.user_id,
            thread_id=call.thread_id,
            request_id=call.request_id,
            arguments=call.arguments,
            arguments_meta=call.arguments_meta,
            result_summary=summary,
            result_meta=_result_meta(end, total_bytes, sha256, shares_key=beginning.shares_key),
        )
        self._recorded += 1
        try:
            self._submitter.submit(operation)
        except Exception as error:  # noqa: BLE001  # somebody else's mistake must not reach the gateway
            self._submit_errors += 1
            _log.error("the submitter raised %s; operation %s is lost", type(error).__name__, operation.id)

    def _item_id(self, identity: tuple[str | int | None, ...]) -> str:
        """The id that every connection watching this execution derives alike."""
        return str(uuid.uuid5(_ITEM_NAMESPACE, json.dumps([self._config.workspace_id, *identity])))


def _result_meta(end: End, total_bytes: int | None, sha256: str | None, *, shares_key: bool) -> ResultMeta | None:
    if not (
        shares_key
        or total_bytes is not None
        or end.outcome is not None
        or end.exit_code is not None
        or end.content_types is not None
        or end.reported_duration_ms is not None
    ):
        return None
    return ResultMeta(
        truncated=None if total_bytes is None else True,
        total_bytes=total_bytes,
        sha256=sha256,
        outcome=end.outcome,
        error_code=end.error_code,
        exit_code=end.exit_code,
        content_types=end.content_types,
        reported_duration_ms=end.reported_duration_ms,
        duplicate_id=True if shares_key else None,
    )
