"""Step 3: the Interceptor shows each frame to the dialects, and what they make of it to the pairing.

Sans-IO: it does no I/O, starts no task and knows no event loop.  It sits on every frame, so the way of a frame that is none
of its business is short: one decode that skips everything but method and id, one look into a table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from attrs import frozen
from msgspec.json import Decoder

from trio_oplog._errors import ConfigError
from trio_oplog._json import LONG, Reader
from trio_oplog._operation import Config, Submitter
from trio_oplog._recording.dialects import (
    FROM_CLIENT,
    FROM_SERVER,
    OF_THE_CLIENT,
    Call,
    CallMessage,
    Methods,
    Reply,
    Request,
    Response,
)
from trio_oplog._recording.dialects.events import End, mark_replaced
from trio_oplog._recording.envelope import (
    REFUSED,
    Envelope,
    Frame,
    RequestId,
    RequestKey,
    is_utf8,
    messages,
    peek,
    read_id,
    read_key,
)
from trio_oplog._recording.ids import random_ids
from trio_oplog._recording.pairing import Pairing
from trio_oplog._recording.recorder import Moment, Recorder
from trio_oplog._recording.suspended import UNANSWERED, SuspendedCalls

_log = logging.getLogger("trio_oplog")

# Arguments of a frame that is no UTF-8 are not what crossed: none is short enough to be kept as text.
_NONE_FITS: Final = -1


@frozen(kw_only=True)
class InterceptorStatistics:
    """What an Interceptor has seen so far.

    Attributes:
        client_frames: Frames shown to ``on_client_frame``.
        server_frames: Frames shown to ``on_server_frame``.
        unreadable_frames: Frames that held no JSON-RPC message.
        open_calls: Calls that have begun and not ended.
        suspended_calls: Calls that wait for a task to end or for another round of input, on every connection that shares the
            ``SuspendedCalls``.
        recorded: Operations handed to the Submitter.
        evicted: Those of them that ended because too many were open.
        unanswered: Those of them that ended because the connection did.
        forgotten_approvals: Requests for approval, reviews and hooks that were forgotten because too many were open.
        submit_errors: Operations that the Submitter raised on; it should not.
        redact_errors: Operations that went without their payload because ``Config.redact`` failed on them.
        internal_errors: Messages lost to a mistake: something shown that is no frame, a clock that raises, or an error in this
            package (please report it).
    """

    client_frames: int
    server_frames: int
    unreadable_frames: int
    open_calls: int
    suspended_calls: int
    recorded: int
    evicted: int
    unanswered: int
    forgotten_approvals: int
    submit_errors: int
    redact_errors: int
    internal_errors: int


utc_now = partial(datetime.now, UTC)

# Most of what a client sends that matters is a call, and most of what a server sends that is long and matters is the answer
# to one.  So short frames of the client, and long ones of the server that are as quickly read as peeked into, are read as
# these at once; those that turn out to be something else are read again.
_as_call = Decoder(CallMessage).decode
_as_response = Decoder(Response).decode
_envelope = Reader(Envelope)
_reply = Reader(Reply)


class Interceptor:
    """Watches one connection and records every tool call on it: each call that began yields exactly one Operation.

    Show it each frame before it is forwarded.  It never blocks, never raises and never keeps or alters a frame, whatever the
    peers send; what it could not make sense of is counted in ``statistics()``.  One for each connection, used from one thread.
    Leaving it as a ``with`` block is ``close()``.

    Args:
        submitter: Takes the operations.  One that raises is counted and logged, and costs that operation only.
        config: What to write into every operation, and the limits.
        suspended: Where calls wait that were answered and have not ended, if several connections to one server share it;
            whoever made it closes it.  ``None``: one of its own, which ``close()`` closes.
        clock: The time of day, as an aware datetime in UTC.
        monotonic: A clock for durations, in seconds.
        new_id: Makes the id of an operation: UUID text.  ``None``: random ones.

    Raises:
        ConfigError: The submitter has no ``submit()``, or the config is none; the error names which.
    """

    _own_suspended: SuspendedCalls | None = None

    def __init__(
        self,
        submitter: Submitter,
        config: Config,
        *,
        suspended: SuspendedCalls | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        if not callable(getattr(submitter, "submit", None)):
            raise ConfigError("submitter", "must be an object with a submit() method")
        if not isinstance(config, Config):
            raise ConfigError("config", "must be a Config")
        recorder = Recorder(submitter, config, clock, monotonic, new_id or random_ids().__next__)
        if suspended is None:
            suspended = SuspendedCalls(max_calls=config.max_suspended, max_age=config.max_suspended_age, monotonic=monotonic)
            self._own_suspended = suspended
        self._watch(recorder, suspended)

    def _watch(self, recorder: Recorder, suspended: SuspendedCalls) -> None:
        """Begin with parts that others may share."""
        self._recorder = recorder
        self._suspended = suspended
        self._pairing = Pairing(recorder, suspended)
        self._calls = self._pairing.calls
        config = recorder.config
        self._server_methods: Methods = FROM_SERVER if config.record_items else OF_THE_CLIENT
        self._args_max_bytes = config.args_max_bytes
        self._closed = False
        self._client_frames = 0
        self._server_frames = 0
        self._tally = recorder.tally

    def __repr__(self) -> str:
        return f"<Interceptor open_calls={len(self._calls)} recorded={self._tally.recorded}>"

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
            if (
                len(frame) >= LONG
                and (seen := peek(frame)) is not None
                and seen.method not in FROM_CLIENT
                and (seen.method is not None or not self._pairing.approvals.open)
            ):
                return
            try:
                message = _as_call(frame)
            except (*REFUSED, TypeError):  # several messages, no UTF-8, parts of odd types; a subclass of str
                self._show_parts(frame, from_client=True)
                return
            method = message.method
            rule = FROM_CLIENT.get(method) if method is not None else None
            if rule is None and (method is not None or not self._pairing.approvals.open):
                return
            if frame.__class__ is not str and not is_utf8(frame):
                self._show_parts(frame, from_client=True)
            elif rule is None:
                if (key := read_key(message.id)) is not None:
                    self._reply(frame, key)
            elif rule.shape is CallMessage:
                self._act(rule.interpret, message, read_id(message.id), self._args_max_bytes)
            else:
                self._act(rule.interpret, rule.read(frame), read_id(message.id), self._args_max_bytes)
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
            if seen is None:
                self._show_unpeeked(frame)
                return
            method = seen.method
            if method is None:
                awaited = self._pairing.awaited(seen.id)
                if awaited is None:
                    return
                if frame.__class__ is str or is_utf8(frame):
                    self._answer(frame, awaited, respelled_id=awaited.key != seen.id)
                else:
                    self._show_parts(frame, from_client=False)
            elif (rule := self._server_methods.get(method)) is not None:
                if not is_utf8(frame):
                    self._show_parts(frame, from_client=False)
                    return
                message = rule.read(frame)
                identity = None if seen.id is None else (seen.id, str(seen.id))
                if message is not None:
                    self._act(rule.interpret, message, identity, self._args_max_bytes)
        except Exception as error:  # noqa: BLE001  # what was shown is no frame at all
            self._on_mistake(error)

    def close(self) -> None:
        """The connection ended: every open call is recorded as ``unanswered``.  Later frames are ignored; safe to repeat.

        Calls that wait in a shared ``SuspendedCalls`` may still be ended on another connection.
        """
        self._closed = True
        self._end_calls(UNANSWERED)
        while self._own_suspended:
            try:
                self._own_suspended.close()
            except Exception as error:  # noqa: BLE001
                self._on_mistake(error)

    def _end_calls(self, end: End, at: Moment | None = None) -> None:
        """End every open call in one way; at a moment that is over, if one is given."""
        while self._calls:
            try:
                self._pairing.end_oldest(end, at)
            except Exception as error:  # noqa: BLE001
                self._on_mistake(error)

    def statistics(self) -> InterceptorStatistics:
        """What has been seen so far."""
        tally = self._tally
        return InterceptorStatistics(
            client_frames=self._client_frames,
            server_frames=self._server_frames,
            unreadable_frames=tally.unreadable_frames,
            open_calls=len(self._calls),
            suspended_calls=len(self._suspended),
            recorded=tally.recorded,
            evicted=tally.evicted,
            unanswered=tally.unanswered,
            forgotten_approvals=tally.forgotten_approvals,
            submit_errors=tally.submit_errors,
            redact_errors=tally.redact_errors,
            internal_errors=tally.internal_errors,
        )

    def _show_unpeeked(self, frame: Frame) -> None:
        """Look at a frame of the server of which a peek does not tell."""
        if len(frame) >= LONG:
            try:
                message = _as_response(frame)
            except (*REFUSED, TypeError):
                pass
            else:
                if message.method is None:
                    key = read_key(message.id)
                    awaited = self._pairing.awaited(key)
                    if awaited is None:
                        return
                    if is_utf8(frame):
                        self._answer(frame, awaited, message, respelled_id=awaited.key != key)
                        return
                elif message.method not in self._server_methods:
                    return
        self._show_parts(frame, from_client=False)

    def _show_parts(self, frame: Frame, *, from_client: bool) -> None:
        """Look at a frame of any shape, one message after the other: a batch, an odd spelling, bytes that are no UTF-8."""
        parts = messages(frame)
        if parts is None:
            self._tally.unreadable_frames += 1
            return
        for text in parts.texts:
            envelope = _envelope.read_tolerantly(text) or Envelope()
            self._show_part(text, envelope, from_client=from_client, escaped=parts.escaped)

    def _show_part(self, text: str, envelope: Envelope, *, from_client: bool, escaped: bool) -> None:
        """Look at one message of a frame.

        Args:
            text: The message.
            envelope: What is known of it.
            from_client: Whether the client sent it.
            escaped: Whether surrogates in it stand for bytes that are no UTF-8.
        """
        try:
            if envelope.method is not None:
                rule = (FROM_CLIENT if from_client else self._server_methods).get(envelope.method)
                message = rule.read_any(text, escaped=escaped) if rule is not None else None
                if rule is not None and message is not None:
                    limit = _NONE_FITS if escaped else self._args_max_bytes
                    self._act(rule.interpret, message, read_id(envelope.id), limit, escaped=escaped)
                return
            key = read_key(envelope.id)
            if from_client:
                if key is not None:
                    self._reply(text, key)
            elif (awaited := self._pairing.awaited(key)) is not None:
                self._answer(text, awaited, respelled_id=awaited.key != key, escaped=escaped)
        except Exception as error:  # noqa: BLE001  # a mistake in one message must not cost the next one
            self._on_mistake(error)

    def _reply(self, text: Frame, key: RequestKey) -> None:
        """Look at a response of the client."""
        self._pairing.approvals.reply(key, _reply.read(text))

    def _act(
        self, interpret: Callable[..., Any], message: Any, identity: RequestId | None, limit: int, *, escaped: bool = False
    ) -> None:
        if self._closed:
            return
        event = interpret(message, identity, limit)
        if escaped:
            mark_replaced(event)
        if event.__class__ is Call:  # the most frequent one
            self._pairing.begin(event)
        elif event is not None:
            self._pairing.act(event)

    def _answer(
        self,
        text: Frame,
        awaited: Call | Request,
        message: Response | None = None,
        *,
        respelled_id: bool,
        escaped: bool = False,
    ) -> None:
        """Look at a response of the server; ``message`` is what was read of it already."""
        rule = awaited.answer
        if self._closed or rule is None:
            return
        if message is None or rule.shape is not Response:
            message = rule.read_any(text, escaped=True) if escaped else rule.read(text)
        if message is not None:
            answer = rule.interpret(message, awaited.subject)
            if escaped:
                mark_replaced(answer)
            self._pairing.answer(awaited, answer, respelled_id=respelled_id)

    def _on_mistake(self, error: Exception) -> None:
        self._tally.internal_errors += 1
        # Without its traceback, which may hold payloads.
        _log.error("a message was lost to a mistake: %s", type(error).__name__)
