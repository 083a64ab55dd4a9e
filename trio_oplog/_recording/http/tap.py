"""The tap: the exchanges of one upstream, and the sessions that they belong to."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Final, NamedTuple, Self

import attrs
from attrs import frozen
from msgspec import Struct

from trio_oplog._errors import ConfigError
from trio_oplog._operation import Config, Outcome, Submitter
from trio_oplog._recording.dialects.events import Call, End
from trio_oplog._recording.envelope import RequestKey
from trio_oplog._recording.http.exchange import HttpExchange, Identity
from trio_oplog._recording.http.head import Headers, RequestHead, ResponseHead, read_request_head, resolve, session_in
from trio_oplog._recording.http.holding import Budget
from trio_oplog._recording.http.messages import Part
from trio_oplog._recording.http.session import RequestGroup, Session, read_cancellation
from trio_oplog._recording.ids import random_ids
from trio_oplog._recording.interceptor import utc_now
from trio_oplog._recording.limits import name, optional_name
from trio_oplog._recording.pairing import EVICTED
from trio_oplog._recording.recorder import Moment, Recorder, Tally
from trio_oplog._recording.suspended import UNANSWERED, SuspendedCalls

_log = logging.getLogger("trio_oplog")

MAX_MESSAGE: Final = 64 * 2**20
MAX_HELD: Final = 256 * 2**20
MAX_SESSIONS: Final = 1_024
MAX_EXCHANGES: Final = 4_096
MAX_SESSION_AGE: Final = 3_600.0

_REDIRECTED_MAX: Final = 1_024
_REDIRECTED_AGE: Final = 60.0
_CANCELLATIONS_MAX: Final = 256
_IDENTITIES_MAX: Final = 1_024


@frozen(kw_only=True)
class HttpTapStatistics:
    """What an ``HttpTap`` has seen so far.

    Attributes:
        exchanges: Exchanges that began.
        open_exchanges: Those of them that have not ended.
        sessions: Sessions that are open.
        evicted_exchanges: Exchanges that were given up because too many were open.
        evicted_sessions: Sessions that were given up because too many were open.
        passed_over: Bodies and events that were not read, or not all of them: too long, no room left, a coding that is not known,
            more than 1 024 answers and cancellations in one body.
        unreadable: Bodies and events that held no JSON-RPC message.
        open_calls: Calls that have begun and not ended.
        suspended_calls: Calls that wait for a task to end or for another round of input.
        recorded: Operations handed to the Submitter.
        evicted: Those of them that ended because too many calls, exchanges or sessions were open.
        unanswered: Those of them that ended because their exchange or their session did.
        forgotten_approvals: Requests of the server that were forgotten because too many were open.
        submit_errors: Operations that the Submitter raised on; it should not.
        redact_errors: Operations that went without their payload because ``Config.redact`` failed on them.
        internal_errors: What was lost to a mistake: something shown that is no head and no bytes, a clock that raises, or an
            error in this package (please report it).
    """

    exchanges: int
    open_exchanges: int
    sessions: int
    evicted_exchanges: int
    evicted_sessions: int
    passed_over: int
    unreadable: int
    open_calls: int
    suspended_calls: int
    recorded: int
    evicted: int
    unanswered: int
    forgotten_approvals: int
    submit_errors: int
    redact_errors: int
    internal_errors: int


class _Redirected(Struct, eq=False, gc=False):
    """A call whose request was redirected: it is to be sent again, and that will be the call."""

    identity: Identity
    target: str
    call: Call
    recorder: Recorder
    at: Moment
    end: End


class _Cancellation(NamedTuple):
    """A cancellation without a session, of which several calls may be meant."""

    identity: Identity
    key: RequestKey
    end: End
    at: Moment


class HttpTap:
    """Watches the HTTP exchanges with one MCP server and records every tool call: each call that began yields one Operation.

    It understands Streamable HTTP (2025-03-26 to 2026-07-28) and the older HTTP+SSE: JSON and event streams, sessions,
    resumed streams, requests of the server.  Like an ``Interceptor`` it never blocks, never raises and never keeps or alters
    what it is shown, and it is used from one thread.  Leaving it as a ``with`` block is ``close()``.

    A session belongs to the identity that used it: the same id from somebody else is another session.

    Args:
        submitter: Takes the operations.  One that raises is counted and logged, and costs that operation only.
        config: What to write into every operation, and the limits; ``transport`` is set by the tap.
        suspended: Where calls wait that were answered and have not ended, if others share it; whoever made it closes it.
            ``None``: one of its own, which ``close()`` closes.
        max_message: The most bytes of one body, or of one event, that are read; a longer one is passed over.
        max_held: The most bytes of bodies and events that have not come whole yet, all of them together.
        max_sessions: How many sessions are known at once.  One more, and the one that is idle for longest is given up.
        max_exchanges: How many exchanges are watched at once.  One more, and the oldest is given up.
        max_session_age: For how long a session may be idle, in seconds, before it is given up.  Age is looked at when an
            exchange begins, and by ``expire()``.
        clock: The time of day, as an aware datetime in UTC.
        monotonic: A clock for durations, in seconds.
        new_id: Makes the id of an operation: UUID text.  ``None``: random ones.

    Raises:
        ConfigError: A value is wrong; the error names it.
    """

    def __init__(
        self,
        submitter: Submitter,
        config: Config,
        *,
        suspended: SuspendedCalls | None = None,
        max_message: int = MAX_MESSAGE,
        max_held: int = MAX_HELD,
        max_sessions: int = MAX_SESSIONS,
        max_exchanges: int = MAX_EXCHANGES,
        max_session_age: float = MAX_SESSION_AGE,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        if not callable(getattr(submitter, "submit", None)):
            raise ConfigError("submitter", "must be an object with a submit() method")
        if not isinstance(config, Config):
            raise ConfigError("config", "must be a Config")
        bounds = {"max_message": max_message, "max_held": max_held, "max_sessions": max_sessions, "max_exchanges": max_exchanges}
        for bound, value in bounds.items():
            if value < 1:
                raise ConfigError(bound, "must be a whole number of at least 1")
        if not max_session_age > 0:
            raise ConfigError("max_session_age", "must be a number of seconds above 0")
        self.tally: Tally = Tally()
        self.budget: Budget = Budget(max_message, max_held)
        self.passed_over: int = 0
        self._submitter = submitter
        self._config = config
        self._own_suspended = None
        if suspended is None:
            suspended = self._own_suspended = SuspendedCalls(
                max_calls=config.max_suspended, max_age=config.max_suspended_age, monotonic=monotonic
            )
        self._suspended = suspended
        self._max_sessions = max_sessions
        self._max_exchanges = max_exchanges
        self._max_session_age = max_session_age
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id or random_ids().__next__
        self._configs: dict[tuple[Identity, str], Config] = {}
        self._open: dict[HttpExchange, None] = {}  # the oldest first
        self._sessions: dict[tuple[object, ...], Session] = {}
        self._idle: dict[Session, None] = {}  # those of them without an exchange, the one that is idle for longest first
        self._redirected: dict[_Redirected, None] = {}  # the oldest first
        self._cancellations: deque[_Cancellation] = deque(maxlen=_CANCELLATIONS_MAX)
        self._closed = False
        self._exchanges = 0
        self._evicted_exchanges = 0
        self._evicted_sessions = 0

    def __repr__(self) -> str:
        return f"<HttpTap open_exchanges={len(self._open)} sessions={len(self._sessions)} recorded={self.tally.recorded}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def exchange(
        self, method: str, target: str, headers: Headers, *, workspace_id: str | None = None, user_id: str | None = None
    ) -> HttpExchange:
        """A request has begun.

        Args:
            method: Its method, such as ``"POST"``.
            target: Its target as the client sent it: path and query.
            headers: Its header fields.
            workspace_id: Whose request it is; ``None``: ``Config.workspace_id``.
            user_id: Which user's; ``None``: ``Config.user_id``.

        Returns:
            What is to be shown the rest of it.
        """
        identity = Identity(workspace_id or self._config.workspace_id, user_id or self._config.user_id)
        session = None
        try:
            head = read_request_head(method, target, headers)
            self._expire_sessions()
            session = None if self._closed else self._session_of(identity, head)
        except Exception as error:  # noqa: BLE001
            self.count_mistake(error)
            head = read_request_head("", "", ())
        exchange = HttpExchange(self, identity, head, session)
        if self._closed:
            exchange.is_over = True
            return exchange
        self._exchanges += 1
        self._open[exchange] = None
        if session is not None:
            self._enter(session)
        if len(self._open) > self._max_exchanges:
            self._evicted_exchanges += 1
            next(iter(self._open)).abandon(EVICTED)
        return exchange

    def expire(self) -> None:
        """Give up what has waited for too long: sessions, redirected calls, and what the ``SuspendedCalls`` holds."""
        try:
            self._expire_sessions()
            self._expire_redirected(self._monotonic() - _REDIRECTED_AGE)
            self._suspended.expire()
        except Exception as error:  # noqa: BLE001
            self.count_mistake(error)

    def close(self) -> None:
        """Nothing more is shown: every open call is recorded as ``unanswered``.  Safe to repeat.

        Calls that wait in a shared ``SuspendedCalls`` may still be ended by others.
        """
        self._closed = True
        for exchange in list(self._open):
            exchange.abandon(UNANSWERED)
        for session in list(self._sessions.values()):
            self.end_session(session)
        self._expire_redirected(None)
        while self._own_suspended:
            try:
                self._own_suspended.close()
            except Exception as error:  # noqa: BLE001
                self.count_mistake(error)

    def statistics(self) -> HttpTapStatistics:
        """What has been seen so far."""
        tally = self.tally
        groups = {group for session in self._sessions.values() for group in session.groups}
        groups |= {exchange.group for exchange in self._open if exchange.group is not None}
        return HttpTapStatistics(
            exchanges=self._exchanges,
            open_exchanges=len(self._open),
            sessions=len(self._sessions),
            evicted_exchanges=self._evicted_exchanges,
            evicted_sessions=self._evicted_sessions,
            passed_over=self.passed_over,
            unreadable=tally.unreadable_frames,
            open_calls=sum(len(group.calls) for group in groups) + len(self._redirected),
            suspended_calls=len(self._suspended),
            recorded=tally.recorded,
            evicted=tally.evicted,
            unanswered=tally.unanswered,
            forgotten_approvals=tally.forgotten_approvals,
            submit_errors=tally.submit_errors,
            redact_errors=tally.redact_errors,
            internal_errors=tally.internal_errors,
        )

    # For the exchanges.

    def count_mistake(self, error: Exception) -> None:
        """Something was lost to a mistake."""
        self.tally.internal_errors += 1
        # Without its traceback, which may hold payloads.
        _log.error("something of an exchange was lost to a mistake: %s", type(error).__name__)

    def leave(self, exchange: HttpExchange) -> None:
        """An exchange is over."""
        self._open.pop(exchange, None)
        if exchange.session is not None:
            self._leave(exchange.session)

    def new_session(self, identity: Identity, protocol: str | None, transport: str = "http") -> Session:
        """A session that nothing finds yet."""
        recorder = Recorder(
            self._submitter, self._config_of(identity, transport), self._clock, self._monotonic, self._new_id, self.tally
        )
        session = Session(recorder, self._suspended)
        if protocol is not None:
            recorder.transport_says(protocol=name(protocol))
            session.protocol = protocol
        session.exchanges = 1
        return session

    def begin_session(self, exchange: HttpExchange, session: Session, session_id: str) -> None:
        """The answer to ``initialize`` names the session: further exchanges belong to it."""
        self._know(session, (exchange.identity, "id", session_id))
        session.recorder.transport_says(session=name(session_id))

    def begin_stream(self, exchange: HttpExchange, endpoint: bytes) -> None:
        """A stream of HTTP+SSE says where to POST to: what is sent there is answered on it."""
        target = resolve(exchange.request.target, endpoint.decode("utf-8", "replace").strip())
        if target is None:
            return
        session = exchange.session
        if session is not None:
            self.end_session(session)
        session = exchange.session = self.new_session(exchange.identity, exchange.request.protocol, "sse")
        session.is_stream = True
        session.recorder.transport_says(session=optional_name(session_in(target)))
        self._know(session, (exchange.identity, "stream", target))

    def end_session(self, session: Session, end: End = UNANSWERED) -> None:
        """A session is over."""
        self._forget(session)
        session.end(end)

    def redirect(self, identity: Identity, response: ResponseHead, group: RequestGroup) -> None:
        """The requests of a group are to be sent again."""
        end = End(is_error=True, text=f"HTTP {response.status}", notes=UNANSWERED.notes)
        recorder = group.recorder
        at = recorder.now()
        for call in group.take_calls():
            entry = _Redirected(identity, response.location or "", call, call.recorder or recorder, at, end)
            self._redirected[entry] = None
        self._expire_redirected(at.seconds - _REDIRECTED_AGE)

    def take_redirected(self, identity: Identity, target: str, group: RequestGroup) -> None:
        """Some of these calls may be ones that were redirected: they are not begun twice."""
        waiting = [entry for entry in self._redirected if (entry.identity, entry.target) == (identity, target)]
        for call in group.calls if waiting else ():
            entry = next((entry for entry in waiting if _is_repeated(entry.call, call)), None)
            if entry is not None:
                waiting.remove(entry)
                del self._redirected[entry]
                group.put_back(entry.call, call)

    def cancel_without_session(self, identity: Identity, part: Part) -> None:
        """The client takes a request back, and does not say which exchange it was in.

        Where one call alone can be meant it ends now.  Where several can be, the one is meant whose client then leaves.
        """
        cancelled = read_cancellation(part.frame)
        if cancelled is None:
            return
        found = [
            exchange.group
            for exchange in self._open
            if exchange.identity == identity
            and not exchange.request.is_alone
            and exchange.session is not None
            and exchange.session.key is None
            and exchange.group is not None
            and exchange.group.has_request(cancelled.key)
        ]
        if len(found) == 1:
            found[0].on_client_frame(part.frame)
        elif found:
            end = End(is_error=True, text=cancelled.reason, notes={"outcome": Outcome.CANCELLED}, replaced=cancelled.replaced)
            recorder = found[0].recorder
            self._cancellations.append(_Cancellation(identity, cancelled.key, recorder.keep(end), recorder.now()))

    def settle_cancellations(self, identity: Identity, group: RequestGroup) -> None:
        """A client without a session has left: it may have taken its calls back before."""
        for call in group.calls if self._cancellations else ():
            for cancellation in self._cancellations:
                if (cancellation.identity, cancellation.key) == (identity, call.key) and call.began <= cancellation.at.seconds:
                    self._cancellations.remove(cancellation)
                    group.end_call(call, cancellation.end, cancellation.at)
                    break

    # Sessions.

    def _config_of(self, identity: Identity, transport: str) -> Config:
        key = identity, transport
        config = self._configs.get(key)
        if config is None:
            if len(self._configs) >= _IDENTITIES_MAX:
                self._configs.clear()
            config = self._configs[key] = attrs.evolve(
                self._config, workspace_id=identity.workspace_id, user_id=identity.user_id, transport=transport
            )
        return config

    def _session_of(self, identity: Identity, head: RequestHead) -> Session | None:
        """The session that a request belongs to, which may have begun before the tap did."""
        session = self._sessions.get((identity, "stream", head.target)) if head.method == "POST" else None
        if session is not None or head.session is None or head.is_alone:
            return session
        key = identity, "id", head.session
        session = self._sessions.get(key)
        if session is None:
            session = self.new_session(identity, head.protocol)
            session.exchanges = 0
            session.recorder.transport_says(session=name(head.session))
            self._know(session, key)
        elif session.protocol is None and head.protocol is not None:
            session.protocol = head.protocol
            session.recorder.transport_says(protocol=name(head.protocol))
        return session

    def _know(self, session: Session, key: tuple[object, ...]) -> None:
        old = self._sessions.get(key)
        if old is not None:
            self.end_session(old)
        session.key = key
        self._sessions[key] = session
        if len(self._sessions) > self._max_sessions:
            self._evicted_sessions += 1
            self.end_session(next(iter(self._idle), None) or next(iter(self._sessions.values())), EVICTED)

    def _forget(self, session: Session) -> None:
        if session.key is not None and self._sessions.get(session.key) is session:
            del self._sessions[session.key]
        self._idle.pop(session, None)

    def _enter(self, session: Session) -> None:
        session.exchanges += 1
        self._idle.pop(session, None)

    def _leave(self, session: Session) -> None:
        session.exchanges -= 1
        if session.key is None or session.is_ended:
            return
        if not session.exchanges:
            session.idle_since = self._monotonic()
            self._idle[session] = None

    def _expire_sessions(self) -> None:
        oldest_allowed = self._monotonic() - self._max_session_age if self._idle else 0.0
        while self._idle and (session := next(iter(self._idle))).idle_since < oldest_allowed:
            self.end_session(session)

    def _expire_redirected(self, oldest_allowed: float | None) -> None:
        """Record the redirected calls that were not sent again: those from before a time, or all of them."""
        while self._redirected:
            entry = next(iter(self._redirected))
            is_old = oldest_allowed is None or entry.at.seconds < oldest_allowed
            if not is_old and len(self._redirected) <= _REDIRECTED_MAX:
                return
            del self._redirected[entry]
            self.tally.unanswered += 1
            try:
                entry.recorder.record(entry.call, entry.end, *entry.at)
            except Exception as error:  # noqa: BLE001
                self.count_mistake(error)


def _is_repeated(call: Call, again: Call) -> bool:
    """Whether a request is one that was sent before."""
    return (call.key, call.tool, call.arguments, call.arguments_meta) == (
        again.key,
        again.tool,
        again.arguments,
        again.arguments_meta,
    )
