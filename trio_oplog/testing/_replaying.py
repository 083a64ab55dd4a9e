"""Plays a session to an interceptor, and compares what comes of it, frame by frame, with what must."""

from __future__ import annotations

import inspect
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias

from attrs import asdict

from trio_oplog._operation import Config, Operation, Submitter
from trio_oplog._recording import FrameObserver
from trio_oplog.testing._expecting import NAME_MAX_BYTES
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._recording import RecordingSubmitter
from trio_oplog.testing._session import Direction, Expected, FrameData, Session, SessionFrame

LONGEST_DURATION_MS: Final = 2**31 - 1
# Wall clocks are set back and forth while they run; a time taken from elsewhere is off by much more.
_CLOCK_SLACK: Final = timedelta(seconds=5)

AnyFrame: TypeAlias = bytes | bytearray | memoryview | str
InterceptorFactory: TypeAlias = Callable[[Submitter, Config], FrameObserver]


class Gateway(Protocol):
    """Several connections whose calls wait for tasks and rounds in one table."""

    def connect(self) -> FrameObserver:
        """A new connection."""
        ...

    def close(self) -> None:
        """All connections are closed: what waits in the table is recorded.  Safe to repeat."""
        ...


GatewayFactory: TypeAlias = Callable[[Submitter, Config], Gateway]

_FIELD_LAWS: Final = {
    "workspace_id": Law.WORKSPACE,
    "source": Law.SOURCE,
    "request_id": Law.REQUEST_ID,
    "tool": Law.TOOL,
    "thread_id": Law.THREAD,
    "env_id": Law.ENV,
    "user_id": Law.USER,
    "arguments": Law.ARGUMENTS,
    "arguments_meta": Law.ARGUMENTS_LIMIT,
    "is_error": Law.OUTCOME,
    "result_summary": Law.RESULT_TEXT,
    "result_meta": Law.RESULT_META,
    "context": Law.CONTEXT,
    "approval": Law.APPROVALS,
    "started_at": Law.TIMES,
    "completed_at": Law.TIMES,
    "duration_ms": Law.TIMES,
}
# Where nothing but these differs within a field, another law is broken than that of the field.
_PART_LAWS: Final = {
    "waited_ms": Law.WAITS,
    "rounds": Law.ROUNDS,
    "task_id": Law.TASKS,
    "title": Law.ACP_CALLS,
    "id_respelled": Law.RESPELLED_IDS,
    "replaced": Law.REPLACED_BYTES,
    "trace_id": Law.TRACE,
    "parent_span_id": Law.TRACE,
}
_RESULT_FIELDS: Final = {"is_error", "result_summary", "result_meta"}
# Where one of these laws is at stake, it is the one that a wrong value of these fields breaks.
_COVERS: Final = {
    Law.NULL_ERROR: _RESULT_FIELDS,
    Law.RESULT_CUT: {"result_summary", "result_meta"},
    Law.ARGUMENTS_LIMIT: {"arguments", "arguments_meta"},
    Law.NAMES: {"tool", "request_id", "thread_id", "env_id", "user_id"},
    Law.CANCELLED: _RESULT_FIELDS,
    Law.EVICTED: _RESULT_FIELDS,
    Law.INTERRUPTED: _RESULT_FIELDS,
    Law.UNANSWERED: _RESULT_FIELDS,
    Law.UNANNOUNCED_ITEMS: set[str](),
    Law.WHAT_JSON_READS: {"result_summary"},
    Law.REFUSED: _RESULT_FIELDS,
    Law.ROUNDS: set[str](),
    Law.TASKS: _RESULT_FIELDS,
    Law.SUSPENDED: {"result_summary", "result_meta", "completed_at", "duration_ms"},
    Law.SUSPENDED_BOUNDED: {*_RESULT_FIELDS, "completed_at", "duration_ms"},
    Law.TURN_ENDS: _RESULT_FIELDS,
    Law.CANCEL_REASON: {"result_summary"},
    Law.RESPELLED_IDS: _RESULT_FIELDS,
    Law.REPLACED_BYTES: {*_RESULT_FIELDS, "arguments", "arguments_meta"},
    Law.GIST: _RESULT_FIELDS,
}

_EPOCH: Final = datetime(2030, 1, 1, tzinfo=UTC)


class VirtualTime:
    """Two clocks that stand still until they are set.

    Attributes:
        now: Seconds since the session began.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> datetime:
        """The time of day."""
        return _EPOCH + timedelta(seconds=self.now)

    def monotonic(self) -> float:
        """A clock for durations."""
        return 1_000.0 + self.now


def takes_clocks(factory: Callable[..., object]) -> bool:
    """Whether a factory has the parameters ``clock`` and ``monotonic``, as ``Interceptor`` has."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False
    return {"clock", "monotonic"} <= parameters.keys()


class _OneConnection:
    """An interceptor by itself, as a gateway of one connection."""

    def __init__(self, interceptor: FrameObserver) -> None:
        self._interceptor = interceptor

    def connect(self) -> FrameObserver:
        """The only one."""
        return self._interceptor

    def close(self) -> None:
        """Its connection has been closed."""


def play(
    session: Session, factory: InterceptorFactory | None = None, *, form: int = 0, gateway: GatewayFactory | None = None
) -> list[Operation]:
    """Play a session to a new interceptor, or to several of one gateway.

    What it is made by may have the parameters ``clock`` and ``monotonic``, functions without arguments, as ``Interceptor`` has:
    then each frame is shown at exactly its time, and all times are compared.

    Args:
        session: The session.
        factory: Makes the interceptor; only one with a ``gateway`` can play a session of several connections.
        form: Which type the first frame has, of str, bytes, bytearray and memoryview; the next has the next one.
        gateway: Makes the gateway instead.

    Returns:
        The operations that came of it.

    Raises:
        LawBroken: They are not those that the session expects, or a method raised.
        TypeError: There is nothing that could play it.
    """
    make: Callable[..., Any] | None = factory if gateway is None else gateway
    if make is None or (gateway is None and session.connections > 1):
        raise TypeError(f"a gateway is needed to play a session of {session.connections} connections")
    return Replayer(session, make, alone=gateway is None).play(form)


class Replayer:
    """Plays one session.

    Args:
        session: The session.
        make: Makes the interceptor, or the gateway.
        alone: Which of them it makes.
    """

    def __init__(self, session: Session, make: Callable[..., Any], *, alone: bool) -> None:
        self._session = session
        self._recorder = RecordingSubmitter()
        self._time = VirtualTime() if takes_clocks(make) else None
        clocks = {} if self._time is None else {"clock": self._time.clock, "monotonic": self._time.monotonic}
        made = make(self._recorder, session.config, **clocks)
        self._gateway: Gateway = _OneConnection(made) if alone else made
        self._connections: dict[int, FrameObserver] = {0: self._gateway.connect()}
        self._began = datetime.now(UTC)
        self._began_monotonic = time.monotonic()
        self._operations: list[Operation] = []

    def play(self, form: int) -> list[Operation]:
        """Play it to its end."""
        for number, frame in enumerate(self._session.frames):
            self._set_time(frame.at)
            connection = self._connections.get(frame.connection)
            if connection is None:
                connection = self._connections[frame.connection] = self._gateway.connect()
            try:
                show(connection, frame.direction, frame.data, form + number)
            except LawBroken as error:
                raise self._broken(error.law, f"frame {number}: {error.detail}") from error.__cause__
            self._compare(f"after frame {number}", frame.due, frame)
            if frame.closing is not None:
                close(connection)
                self._compare(f"after the end of connection {frame.connection}", frame.closing, None)
        self._set_time(self._session.ended_at)
        self._close()
        self._compare("after close()", self._session.unanswered, None)
        self._close()
        if surplus := self._recorder.take():
            raise self._broken(Law.UNANSWERED, f"a second close() yields {_shown(surplus[0])}")
        self._compare_executions()
        return self._operations

    def _set_time(self, now: float) -> None:
        if self._time is not None:
            self._time.now = now

    def _close(self) -> None:
        for connection in self._connections.values():
            close(connection)
        close(self._gateway)

    def _compare(self, when: str, due: Sequence[Expected], frame: SessionFrame | None) -> None:
        taken = self._recorder.take()
        self._operations += taken
        for operation in taken:
            self._check_by_itself(when, operation)
        missing, surplus = list(due), list(taken)
        for expected in due:
            same = next((operation for operation in surplus if not self._differences(expected, operation)), None)
            if same is not None:
                missing.remove(expected)
                surplus.remove(same)
        if missing and surplus:
            raise self._different(when, missing, surplus)
        if missing:
            law = missing[0].laws[0] if missing[0].laws else Law.EVERY_CALL_ONCE
            raise self._broken(law, f"{when} this operation is missing: {missing[0]}")
        if surplus:
            twice = any(not self._differences(each, surplus[0]) for each in due)
            law = frame.laws[0] if frame and frame.laws and not twice else Law.EVERY_CALL_ONCE
            raise self._broken(law, f"{when} there is an operation too many: {_shown(surplus[0])}")

    def _different(self, when: str, missing: list[Expected], surplus: list[Operation]) -> LawBroken:
        pairs = [(expected, operation) for expected in missing for operation in surplus]
        expected, operation = min(pairs, key=lambda pair: len(self._differences(*pair)))
        differences = self._differences(expected, operation)
        law = next((law for law in expected.laws if differences.keys() & _COVERS.get(law, differences.keys())), None)
        lines = [f"    {name}: must be {wanted!r}, is {got!r}" for name, (wanted, got) in differences.items()]
        return self._broken(law or _law_of(differences), "\n".join((f"{when} an operation is wrong:", *lines)))

    def _differences(self, expected: Expected, operation: Operation) -> dict[str, tuple[Any, Any]]:
        return expected.differences(operation, epoch=None if self._time is None else _EPOCH)

    def _check_by_itself(self, when: str, operation: Operation) -> None:
        for law, problem in _problems(operation, self._session.config):
            raise self._broken(law, f"{when} {problem}")
        if self._time is None:
            self._check_by_real_time(when, operation)

    def _check_by_real_time(self, when: str, operation: Operation) -> None:
        now, slack = datetime.now(UTC), _CLOCK_SLACK
        for name in ("started_at", "completed_at"):
            if not self._began - slack <= getattr(operation, name) <= now + slack:
                raise self._broken(Law.TIMES, f"{when} {name} is {getattr(operation, name)}, and it is {now}")
        elapsed_ms = (time.monotonic() - self._began_monotonic) * 1000
        waits = [each.waited_ms or 0 for each in (operation.result_meta, operation.approval) if each is not None]
        for law, name, value in (
            (Law.TIMES, "duration_ms", operation.duration_ms),
            *((Law.WAITS, "waited_ms", wait) for wait in waits),
        ):
            if value > elapsed_ms + 1:
                raise self._broken(law, f"{when} {name} is {value}, and the session is only {elapsed_ms:.3f} ms old")

    def _compare_executions(self) -> None:
        """As many operations share an id as are one execution: no more, no less."""
        executions = Counter(each.execution or ("one of its own", number) for number, each in enumerate(self._session.expected))
        ids = Counter(operation.id for operation in self._operations)
        wanted, got = sorted(executions.values()), sorted(ids.values())
        if wanted != got:
            law = (
                Law.EXECUTION_IDS if max(wanted) > 1 or any(each.execution for each in self._session.expected) else Law.UNIQUE_IDS
            )
            raise self._broken(law, f"ids are shared by {got} operations each; executions are seen {wanted} times each")

    def _broken(self, law: Law, detail: str) -> LawBroken:
        return LawBroken(law, f"{detail}\nin {self._session!r}")


def show(interceptor: FrameObserver, direction: Direction, data: FrameData, form: int) -> None:
    """Show one frame to an interceptor, in one of its forms, and use its buffer for something else afterwards.

    Raises:
        LawBroken: It raises, or alters the frame, or holds on to it.
    """
    look = interceptor.on_client_frame if direction is Direction.CLIENT_TO_SERVER else interceptor.on_server_frame
    kind = form % 4
    if isinstance(data, str) and (kind == 0 or _has_no_utf8(data)):
        _call(look, data)
        return
    exact = data.encode() if isinstance(data, str) else data
    if kind in {0, 1}:
        _call(look, exact)
        return
    buffer = bytearray(exact)
    view = memoryview(buffer) if kind == 3 else None
    _call(look, buffer if view is None else view)
    if buffer != exact:
        raise LawBroken(Law.FRAMES_UNTOUCHED, "the frame was altered")
    try:
        if view is not None:
            view.release()
        buffer[:] = b"\0" * len(buffer)
        buffer.clear()
    except BufferError as error:
        raise LawBroken(Law.FRAMES_UNTOUCHED, "something still looks into the buffer of the frame") from error


def close(interceptor: FrameObserver | Gateway) -> None:
    """Close it.

    Raises:
        LawBroken: It raises.
    """
    try:
        interceptor.close()
    except Exception as error:
        raise LawBroken(Law.NEVER_RAISES, f"close() raised {error!r}") from error


def _call(look: Callable[[AnyFrame], object], frame: AnyFrame) -> None:
    try:
        look(frame)
    except Exception as error:
        raise LawBroken(Law.NEVER_RAISES, f"{error!r} came out") from error


def _has_no_utf8(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _law_of(differences: dict[str, tuple[Any, Any]]) -> Law:
    name, (wanted, got) = next(iter(differences.items()))
    if name in {"result_meta", "context", "approval"}:
        one, other = ({} if each is None else asdict(each) for each in (wanted, got))
        parts = {_PART_LAWS.get(part) for part in one | other if one.get(part) != other.get(part)}
        if len(parts) == 1 and (law := parts.pop()) is not None:
            return law
    return _FIELD_LAWS[name]


def _problems(operation: Operation, config: Config) -> list[tuple[Law, str]]:
    """What is wrong with an operation whatever call it belongs to."""
    found: list[tuple[Law, str]] = []
    try:
        canonical = str(uuid.UUID(operation.id)) == operation.id
    except (ValueError, AttributeError, TypeError):
        canonical = False
    if not canonical:
        found.append((Law.UNIQUE_IDS, f"an id is no UUID: {operation.id!r}"))
    for name in ("tool", "env_id", "request_id", "thread_id", "user_id"):
        text = getattr(operation, name)
        if text is not None and (_has_no_utf8(text) or (name != "user_id" and len(text.encode()) > NAME_MAX_BYTES)):
            found.append((Law.NAMES, f"{name} is no short Unicode text: {text[:100]!r}"))
    summary = operation.result_summary or ""
    if _has_no_utf8(summary) or len(summary.encode()) > config.result_max_bytes:
        found.append((Law.RESULT_CUT, f"result_summary has no UTF-8, or too much: {summary[:100]!r}"))
    if operation.arguments is not None and not _is_strict_json(operation.arguments):
        found.append((Law.ARGUMENTS_LIMIT, f"arguments are no strict JSON: {operation.arguments[:100]!r}"))
    found += [
        (Law.TIMES, f"{name} is not UTC")
        for name in ("started_at", "completed_at")
        if getattr(operation, name).utcoffset() != timedelta(0)
    ]
    if type(operation.duration_ms) is not int or not 0 <= operation.duration_ms <= LONGEST_DURATION_MS:
        found.append((Law.TIMES, f"duration_ms is {operation.duration_ms!r}"))
    return found


def _is_strict_json(text: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


def _shown(operation: Operation) -> str:
    return f"{operation.source} {operation.tool} {operation.request_id!r} {operation.result_meta}"
