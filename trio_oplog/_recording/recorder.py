"""Step 5: a call and its end become an Operation, which is handed to the Submitter."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from msgspec import Struct

from trio_oplog._operation import Config, Context, Draft, Operation, Outcome, ResultMeta, Submitter, shrink
from trio_oplog._recording.consent import DURATION_MAX_MS, milliseconds
from trio_oplog._recording.dialects.events import Call, End, Facts, ServerKnown
from trio_oplog._recording.dialects.results import introduction
from trio_oplog._recording.dialects.shapes import Implementation
from trio_oplog._recording.limits import cut, optional_name
from trio_oplog._wire import converter, decode, encode

_log = logging.getLogger("trio_oplog")

LLM_SOURCE: Final = "llm"


class Summary(NamedTuple):
    """A text, cut; of one that did not fit also its size in bytes and its SHA-256."""

    text: str
    total_bytes: int | None
    sha256: str | None
    replaced: bool
    """Whether U+FFFD in it may stand for bytes that are no UTF-8."""


class Moment(NamedTuple):
    """When something happened."""

    seconds: float
    """On the monotonic clock."""
    date: datetime
    """Aware, UTC."""


class Tally(Struct):
    """What there is to count besides frames.  Several connections may share one."""

    recorded: int = 0
    evicted: int = 0
    unanswered: int = 0
    unreadable_frames: int = 0
    forgotten_approvals: int = 0
    submit_errors: int = 0
    redact_errors: int = 0
    internal_errors: int = 0


class Recorder:
    """Makes the operations of one connection.

    It outlives its connection where a call goes on as a task on another one.

    Args:
        submitter: Takes the operations.  One that raises is counted and logged, and costs that operation only.
        config: What to write into every operation, and the limits.
        clock: The time of day, as an aware datetime in UTC.
        monotonic: A clock for durations, in seconds.
        new_id: Makes the id of an operation: UUID text.
        tally: Where to count; ``None``: one of its own.
    """

    def __init__(
        self,
        submitter: Submitter,
        config: Config,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        tally: Tally | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.monotonic = monotonic
        self.tally: Tally = tally if tally is not None else Tally()
        self._submitter = submitter
        self._new_id = new_id
        self._client: str | None = None
        self._server = ServerKnown()
        self._session: str | None = None
        self._protocol: str | None = None
        self._context = Context(transport=config.transport) if config.transport is not None else None
        # What the last call told of itself besides, and what came of it.
        self._told: tuple[Facts | None, str | None, Implementation | None] | None = None
        self._told_context: Context | None = None
        if config.redact is not None:
            converter()  # now, not under the first call

    def now(self) -> Moment:
        """What the clocks show."""
        return Moment(self.monotonic(), self.clock())

    def transport_says(self, *, session: str | None = None, protocol: str | None = None) -> None:
        """What is known from outside of the messages.  The protocol that a handshake names goes before this one."""
        self._session, self._protocol = session or self._session, protocol or self._protocol
        self._context, self._told = self._connection(), None

    def client_is(self, client: str | None) -> None:
        """The client said who it is."""
        self._client = client
        self._context, self._told = self._connection(), None

    def server_is(self, known: ServerKnown) -> None:
        """The server said who it is."""
        old = self._server
        self._server = ServerKnown(known.name or old.name, known.server or old.server, known.protocol or old.protocol)
        self._context, self._told = self._connection(), None

    def summary(self, text: str, *, replaced: bool) -> Summary:
        """A text as a summary, for a call whose end may say no more."""
        return Summary(*cut(text, self.config.result_max_bytes), replaced)

    def keep(self, end: End) -> End:
        """An end that may have to wait: its text is cut now, so that no more than that is held."""
        if end.text is not None:
            end.summary, end.text = self.summary(end.text, replaced=end.replaced), None
        return end

    def record(
        self,
        call: Call,
        end: End,
        ended: float,
        ended_at: datetime,
        operation_id: str | None = None,
    ) -> None:
        """Make the operation of a call that has ended, and hand it on.

        Args:
            call: The call.
            end: How it ended.
            ended: When, on the monotonic clock.
            ended_at: When, as an aware datetime in UTC.
            operation_id: Its id; ``None`` makes a new one.
        """
        config = self.config
        elapsed_ms = int((ended - call.began) * 1000)
        notes = end.notes
        summary = None
        if end.text:
            summary, notes = _with_text(*cut(end.text, config.result_max_bytes), end.replaced, notes)
        elif end.summary is not None:
            summary, notes = _with_text(*end.summary, notes)
        if call.notes is not None:
            notes = call.notes | notes if notes else call.notes
        approval = None
        is_error = end.is_error
        consent = call.consent
        if consent is not None:
            approval = consent.approval(ended)
            if (waited_ms := consent.waited_ms(ended)) is not None:
                notes = (notes or {}) | {"waited_ms": waited_ms}
            if consent.refused:
                is_error = True
                notes = (notes or {}) | {"outcome": Outcome.DECLINED}
        context = self._context
        if call.facts is not None or call.session is not None or end.server is not None:
            told = call.facts, call.session, end.server
            if told != self._told:  # most calls on a connection tell the same
                self._told, self._told_context = told, self._with_facts(call.facts or _NO_FACTS, call.session, end.server)
            context = self._told_context
        # By position, which takes half the time that keywords do.
        operation: Any = Draft(
            operation_id or self._new_id(),
            config.workspace_id,
            LLM_SOURCE if call.is_model else config.source,
            call.env_id or self._server_of(call, end) or config.default_env_id,
            call.tool,
            is_error,
            call.began_at,
            ended_at,
            elapsed_ms if 0 <= elapsed_ms <= DURATION_MAX_MS else milliseconds(ended - call.began),
            config.user_id or call.user_id,
            call.thread_id,
            call.request_id,
            call.arguments,
            call.arguments_meta,
            summary,
            ResultMeta(**notes) if notes else None,
            context,
            approval,
        )
        operation.__class__ = Operation
        if config.redact is not None:
            operation = self._redacted(operation, config.redact)
        self.tally.recorded += 1
        try:
            self._submitter.submit(operation)
        except Exception as error:  # noqa: BLE001  # somebody else's mistake must not reach the gateway
            self.tally.submit_errors += 1
            _log.error("the submitter raised %s; operation %s is lost", type(error).__name__, operation.id)

    def _server_of(self, call: Call, end: End) -> str | None:
        """The name of the server that ran a call.  What is no request to it, an agent's own tool, is not its."""
        if end.server is not None:
            return optional_name(end.server.name)
        return None if call.answer is None else self._server.name

    def _connection(self) -> Context | None:
        """What is known of the connection, for every call on it; ``None`` where nothing is."""
        context = Context(
            client=self._client,
            server=self._server.server,
            protocol=self._server.protocol or self._protocol,
            session=self._session,
            transport=self.config.transport,
        )
        return None if context == Context() else context

    def _with_facts(self, facts: Facts, session: str | None, server: Implementation | None) -> Context:
        """What is known of one call besides."""
        known = self._context or Context()
        return Context(
            client=introduction(facts.client) or known.client,
            server=introduction(server) or known.server,
            protocol=facts.protocol or known.protocol,
            session=session or known.session,
            transport=known.transport,
            trace_id=facts.trace_id,
            parent_span_id=facts.parent_span_id,
        )

    def _redacted(self, operation: Operation, redact: Callable[[Operation], Operation]) -> Operation:
        """What a redactor makes of an operation.  One that fails costs the payload, never the record, and never leaks it."""
        try:
            return decode(encode(redact(operation)))
        except Exception as error:  # noqa: BLE001  # its message may quote the payload
            self.tally.redact_errors += 1
            _log.error("the redactor failed with %s; operation %s goes without its payload", type(error).__name__, operation.id)
            return shrink(operation)


_NO_FACTS: Final = Facts()


def _with_text(
    text: str,
    total_bytes: int | None,
    sha256: str | None,
    replaced: bool,  # noqa: FBT001  # the members of a Summary: making one for each text costs 5 % of a recorded pair
    notes: dict[str, Any] | None,
) -> tuple[str | None, dict[str, Any] | None]:
    """A text that was cut, and what is to be noted of it.  One of which nothing fits is not the same as none."""
    if total_bytes is not None:
        notes = {"truncated": True, "total_bytes": total_bytes, "sha256": sha256} | (notes or {})
    elif not text:
        return None, notes
    if replaced and "\ufffd" in text:
        notes = (notes or {}) | {"replaced": True}
    return text, notes
