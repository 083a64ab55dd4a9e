"""A session: a two-way stream of frames, and the operations that must come of it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import asdict, evolve, field, frozen

from trio_oplog._operation import Approval, ArgumentsMeta, Config, Context, Operation, ResultMeta
from trio_oplog.testing._laws import Law

FrameData: TypeAlias = bytes | str

_LONGEST_SHOWN = 300


class Direction(StrEnum):
    """Which way a frame goes; the values are those of the captures' format."""

    CLIENT_TO_SERVER = "c2s"
    SERVER_TO_CLIENT = "s2c"

    @property
    def arrow(self) -> str:
        """How a transcript shows it."""
        return "-->" if self is Direction.CLIENT_TO_SERVER else "<--"


class Feature(StrEnum):
    """What a session holds that an implementation may stumble over; ``Session.features`` says which occur."""

    CODEX = "a direct call of Codex app-server"
    MCP = "a call of MCP"
    ITEMS = "a call of the model's, as items"
    CONCURRENCY = "two calls open at once"
    OUT_OF_ORDER = "an answer that overtakes the answer to an earlier call"
    DUPLICATED_ID = "two open calls with one id"
    ALIKE_IDS = "two open calls whose ids look alike: 1 and '1', 2**53 and 2**53 + 1"
    SERVER_REUSES_ID = "a request of the server's with the id of an open call"
    CLIENT_BATCH = "a batch from the client"
    SERVER_BATCH = "a batch from the server"
    CANCELLATION = "a call that the client takes back"
    INTERRUPTION = "an item that its turn leaves behind"
    UNANSWERED = "a call that is open at the end"
    EVICTION = "more open calls than the limit"
    BIG_ARGUMENTS = "arguments over the limit"
    BIG_RESULT = "a result over the limit"
    NON_TEXT_RESULT = "a result that is not all text"
    LONE_SURROGATE = "a lone surrogate in a call"
    DEEP_NESTING = "deeply nested JSON"
    BROKEN_JSON = "a frame that is not JSON"
    NULL_ERROR = "a null error beside a result"
    UNANNOUNCED_ITEM = "a completed item without a beginning"
    ODD_SPELLING = "JSON that only Python's json reads, or UTF-16, or a byte order mark"
    RESPELLED_ID = "an answer whose id is that of its call in the other type: 7 for '7'"
    REPLACED_BYTES = "a frame that is no UTF-8"
    GIST = "a result that says what it says in other ways than text blocks"
    CONTEXT = "a client or a server that says who it is"
    TRACE = "a call that belongs to a trace"
    TASK = "a call that becomes a task, and ends with it"
    ROUND = "a call that goes on with another request"
    SUSPENDED = "a task or a round that nobody ends"
    ELSEWHERE = "a task or a round that goes on over another connection"
    WAIT = "a call that waits for a person"
    APPROVAL = "a call that somebody or something approved, or did not"
    REFUSAL = "a call that was refused"
    SERVER_CANCELS = "a cancellation of the server's"
    REPEATED_ITEM = "an item that is announced or completed again"
    CLIENT_EXECUTION = "something that a client of Codex runs, writes or reads"
    ACP = "a tool call of an ACP agent's"
    HISTORY = "an ACP session that is loaded"


@frozen(kw_only=True)
class Expected:
    """What is determined of one operation before it exists: all but its id, its times and its duration.

    Attributes:
        workspace_id: As in ``Operation``, and so are the following down to ``result_meta``.
        source: See ``Operation``.
        env_id: See ``Operation``.
        tool: See ``Operation``.
        is_error: See ``Operation``.
        user_id: See ``Operation``.
        thread_id: See ``Operation``.
        request_id: See ``Operation``.
        arguments: See ``Operation``.
        arguments_meta: See ``Operation``.
        result_summary: See ``Operation``.
        result_meta: See ``Operation``.
        context: See ``Operation``.
        approval: See ``Operation``.
        composed: True where the arguments are put together from several fields of an item, so that their JSON value is
            determined but not their spelling (nor, when they are over the limit, their size and digest).
        execution: What makes it one and the same execution wherever it is seen; ``None`` where nothing does.
        began: The index of the frame with which the call began.
        began_at: When that frame was seen, in seconds since the session began.
        ended_at: When the call ended, in seconds since the session began.
        laws: The laws that this operation puts to the test more than others; the first is named when its fields are wrong.
    """

    workspace_id: str
    source: str
    env_id: str
    tool: str
    is_error: bool
    user_id: str | None = None
    thread_id: str | None = None
    request_id: str | None = None
    arguments: bytes | None = None
    arguments_meta: ArgumentsMeta | None = None
    result_summary: str | None = None
    result_meta: ResultMeta | None = None
    context: Context | None = None
    approval: Approval | None = None
    composed: bool = False
    execution: Hashable | None = None
    began: int = 0
    began_at: float = 0.0
    ended_at: float = 0.0
    laws: tuple[Law, ...] = ()

    def differences(self, operation: Operation, *, epoch: datetime | None = None) -> dict[str, tuple[Any, Any]]:
        """Compare with what was recorded.

        Args:
            operation: The operation.
            epoch: When the session began, where each frame was shown at exactly its time.  ``None`` where it was not: then the
                times are not compared, and of a wait only whether there was one.

        Returns:
            For each field that differs the expected and the recorded value, in the order of the fields.
        """
        found: dict[str, tuple[Any, Any]] = {}
        pairs = [(name, getattr(self, name), getattr(operation, name)) for name in _COMPARED]
        if epoch is None:
            pairs = [(name, _with_wait_of(wanted, got), got) for name, wanted, got in pairs]
        else:
            seconds = self.ended_at - self.began_at
            pairs += [
                ("started_at", epoch + timedelta(seconds=self.began_at), operation.started_at),
                ("completed_at", epoch + timedelta(seconds=self.ended_at), operation.completed_at),
                ("duration_ms", int(seconds * 1000), operation.duration_ms),
            ]
        for name, wanted, got in pairs:
            # Equal is not enough: True == 1, and a str is no Outcome.
            if (wanted != got or type(wanted) is not type(got)) and not (self.composed and _same_value(name, wanted, got)):
                found[name] = (wanted, got)
        return found

    def __str__(self) -> str:
        return " ".join(f"{name}={_shown(getattr(self, name))}" for name in _COMPARED if getattr(self, name) is not None)


_COMPARED = (
    "workspace_id",
    "source",
    "request_id",
    "tool",
    "thread_id",
    "env_id",
    "user_id",
    "arguments",
    "arguments_meta",
    "is_error",
    "result_summary",
    "result_meta",
    "context",
    "approval",
)


def _with_wait_of(wanted: Any, got: Any) -> Any:
    """What is wanted, with the other's wait where both have one: no two clocks agree."""
    waits = (getattr(wanted, "waited_ms", None), getattr(got, "waited_ms", None))
    if None in waits or type(waits[1]) is not int or waits[1] < 0:
        return wanted
    return evolve(wanted, waited_ms=waits[1])


def _same_value(name: str, wanted: Any, got: Any) -> bool:
    if name == "arguments_meta":
        return isinstance(wanted, ArgumentsMeta) and isinstance(got, ArgumentsMeta)
    if name == "arguments" and isinstance(got, bytes) and wanted is not None:
        try:
            return bool(json.loads(got) == json.loads(wanted))
        except ValueError:
            return False
    return False


@frozen(kw_only=True)
class SessionFrame:
    """One frame of a session.

    Attributes:
        direction: Which way it goes.
        data: The frame: ``str``, or ``bytes`` where it has no equal ``str`` or came as bytes.
        due: The operations that must have come once this frame was seen, and not before.
        laws: The laws that this frame puts to the test; the first is named when it does what it must not.
        connection: Which of the session's connections it goes over.
        at: When it is seen, in seconds since the session began.
        closing: Where its connection ends with this frame, the operations that must come of that; else ``None``.
    """

    direction: Direction
    data: FrameData
    due: tuple[Expected, ...] = ()
    laws: tuple[Law, ...] = ()
    connection: int = 0
    at: float = 0.0
    closing: tuple[Expected, ...] | None = None

    def __str__(self) -> str:
        shown = self.data if isinstance(self.data, str) and self.data.isprintable() else repr(self.data)
        return f"{self.direction.arrow} {_shortened(shown)}"


@frozen(kw_only=True, repr=False)
class Session:
    """A whole two-way stream with its oracle.  Its repr is a transcript.

    Attributes:
        config: What the implementation under test is to be made with.
        frames: The frames in the order in which a gateway between both sides sees them.
        unanswered: The operations that must come when everything ends: what is open, and what waits for a task or a round.
        ended_at: When that is, in seconds since the session began.
        features: What occurs in it.
    """

    config: Config
    frames: tuple[SessionFrame, ...] = ()
    unanswered: tuple[Expected, ...] = ()
    ended_at: float = 0.0
    features: frozenset[Feature] = frozenset()
    # How it was made: whoever made the session can play the same calls in another order.
    plan: Any = field(default=None, eq=False, repr=False)

    @property
    def expected(self) -> tuple[Expected, ...]:
        """Every operation that must come of it, in the order in which the calls end."""
        return (*(each for frame in self.frames for each in (*frame.due, *(frame.closing or ()))), *self.unanswered)

    @property
    def connections(self) -> int:
        """How many connections it goes over."""
        return max((frame.connection for frame in self.frames), default=0) + 1

    def __repr__(self) -> str:
        return "\n".join(("Session(", *(f"    {line}" for line in self._lines()), ")"))

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001  (IPython's protocol, which Hypothesis speaks)
        """Hypothesis shows the transcript too."""
        for number, line in enumerate(repr(self).splitlines()):
            if number:
                printer.break_()
            printer.text(line)

    def _lines(self) -> Iterator[str]:
        yield _shown_config(self.config)
        several = self.connections > 1
        for number, frame in enumerate(self.frames):
            yield f"{number:3} {f'[{frame.connection}] ' if several else ''}{frame}"
            yield from _shown_due(frame.due)
            if frame.closing is not None:
                yield f"    [{frame.connection}] close()"
                yield from _shown_due(frame.closing)
        yield "    close()"
        yield from _shown_due(self.unanswered)


def _shown(value: object) -> str:
    if isinstance(value, ResultMeta | Context | Approval):
        known = asdict(value, filter=lambda _, each: each is not None)
        return f"{type(value).__name__}({', '.join(f'{name}={each!s}' for name, each in known.items())})"
    return _shortened(repr(value))


def _shown_due(due: Sequence[Expected]) -> Iterator[str]:
    for each in due:
        yield f"      => {each}"


def _shown_config(config: Config) -> str:
    plain = Config(source=config.source, workspace_id=config.workspace_id)
    names = (
        *("args_max_bytes", "result_max_bytes", "user_id", "default_env_id", "max_pending", "record_items"),
        *("transport", "max_suspended", "max_suspended_age"),
    )
    changed = [f"{name}={getattr(config, name)!r}" for name in names if getattr(config, name) != getattr(plain, name)]
    return f"Config({', '.join([f'source={config.source!r}', f'workspace_id={config.workspace_id!r}', *changed])})"


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_SHOWN:
        return text
    half = _LONGEST_SHOWN // 2
    return f"{text[:half]} ...{len(text) - _LONGEST_SHOWN} more... {text[-half:]}"
