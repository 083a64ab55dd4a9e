"""``check_interceptor``: holds anything with the Interceptor's methods to the laws."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Final

import hypothesis
from hypothesis import Phase, Verbosity, given, settings
from hypothesis import strategies as st

from trio_oplog._operation import Config, Operation
from trio_oplog._recording import FrameObserver
from trio_oplog.testing._examples import Example, examples, shared_examples, stories
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._recording import RecordingSubmitter
from trio_oplog.testing._replaying import GatewayFactory, InterceptorFactory, close, play, show, takes_clocks
from trio_oplog.testing._session import Direction, FrameData, Session
from trio_oplog.testing._sessions import sessions

DEFAULT_EXAMPLES: Final = 100

_PLAIN: Final = Config(source="sdk", workspace_id="ws-1")
_OPEN_CALLS: Final = 12
_FRAME_BYTES: Final = 65_536
_HELD_PER_CALL: Final = 8_192
_SMALL: Final = Config(source="sdk", workspace_id="ws-1", args_max_bytes=1_024)
_FLOOD: Final = 500
_LEFT_BEHIND: Final = 32_768
# Tables that remember what is over may have about a thousand entries: they are full before anything is measured.
_REMEMBERED: Final = 1_100
_NEWS: Final = 300
_BLOCKS: Final = 200
_WAIT: Final = 0.03


def check_interceptor(
    factory: InterceptorFactory,
    *,
    gateway: GatewayFactory | None = None,
    max_examples: int = DEFAULT_EXAMPLES,
    seed: int | None = None,
) -> None:
    """Hold an interceptor to the laws of recording.

    It plays the smallest session that shows each law, then ``max_examples`` hostile sessions drawn by ``sessions()``, then
    half as many of arbitrary frames; and it measures what is held in memory, and the clock.  A session that fails is shrunk.

    Args:
        factory: Called with a ``Submitter`` and a ``Config``; makes an interceptor on the real clock.  One that has the
            parameters ``clock`` and ``monotonic`` too, functions without arguments, is given clocks that are set for each frame:
            then all times are compared exactly, else only what can be known of them.
        gateway: Called like ``factory``; makes something with ``connect()``, which returns an interceptor, and ``close()``:
            several connections whose calls wait for tasks and rounds in one table of ``Config.max_suspended`` calls.  With it
            the laws of such tables are checked too, with half as many sessions of up to three connections.
        max_examples: How many sessions are drawn, at least 1.
        seed: Makes the draw repeatable; ``None`` leaves it to Hypothesis.

    Raises:
        LawBroken: The interceptor breaks a law; the error names it and shows a session that does.
    """
    for number, example in enumerate(examples()):
        _check_named(example, factory)
        _check_form(example, factory, 1 + number % 3)
    for example in stories():
        _check_named(example, factory)
    if gateway is not None:
        for example in shared_examples():
            _check_named(example, factory, gateway)
    _check_clock(factory)
    _check_executions(factory)
    _check_memory(factory)
    search(_sessions_hold(factory), max_examples=max_examples, seed=seed)
    if gateway is not None:
        search(_shared_sessions_hold(gateway), max_examples=max(max_examples // 2, 1), seed=seed)
    search(_arbitrary_frames_hold(factory), max_examples=max(max_examples // 2, 1), seed=seed)


def search(test: Callable[[], None], *, max_examples: int, seed: int | None, shrinks: bool = True) -> None:
    """Run a Hypothesis test with a budget, saying nothing but its failure.  What takes long does not shrink."""
    profile = settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if shrinks else [])],
    )
    test = profile(test)
    if seed is not None:
        test = hypothesis.seed(seed)(test)
    test()


# What breaks one of these breaks it whatever the example is about.
_ALWAYS_NAMED: Final = {Law.NEVER_RAISES, Law.FRAMES_UNTOUCHED, Law.UNIQUE_IDS}


def _check_named(example: Example, factory: InterceptorFactory, gateway: GatewayFactory | None = None) -> None:
    if example.takes_time and not takes_clocks(factory if gateway is None else gateway):
        return
    try:
        play(example.session, factory, gateway=gateway)
    except LawBroken as error:
        if example.law is None or error.law in _ALWAYS_NAMED:
            raise
        raise LawBroken(example.law, error.detail) from error


def _check_form(example: Example, factory: InterceptorFactory, form: int) -> None:
    try:
        play(example.session, factory, form=form)
    except LawBroken as error:
        if error.law is Law.FRAMES_UNTOUCHED:
            raise
        raise LawBroken(Law.FRAME_TYPES, f"as {_FORMS[form]} at first: {error}") from error


_FORMS: Final = ("str", "bytes", "bytearray", "memoryview")
_FORM: Final = st.integers(min_value=0, max_value=len(_FORMS) - 1)


def _sessions_hold(factory: InterceptorFactory) -> Callable[[], None]:
    @given(session=sessions(), form=_FORM)
    def holds(session: Session, form: int) -> None:
        play(session, factory, form=form)

    return holds


def _shared_sessions_hold(gateway: GatewayFactory) -> Callable[[], None]:
    @given(session=st.integers(min_value=2, max_value=3).flatmap(lambda count: sessions(connections=count)), form=_FORM)
    def holds(session: Session, form: int) -> None:
        play(session, gateway=gateway, form=form)

    return holds


_ARBITRARY: Final = st.one_of(
    st.binary(max_size=64),
    st.text(max_size=64),
    st.sampled_from(('{"method":"tools/call","id":', '{"id":1,"result":', '{"method":"item/completed","params":{"item":{')),
)


def _arbitrary_frames_hold(factory: InterceptorFactory) -> Callable[[], None]:
    frames = st.lists(st.tuples(st.sampled_from(Direction), _ARBITRARY, st.integers(min_value=0, max_value=3)), max_size=6)

    @given(frames=frames, session=sessions(max_acts=3), cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=4))
    def holds(frames: list[tuple[Direction, FrameData, int]], session: Session, cuts: list[int]) -> None:
        interceptor = factory(RecordingSubmitter(), session.config)
        for direction, frame, form in frames:
            show(interceptor, direction, frame, form)
        # What is cut off somewhere, or has a piece taken out, is almost JSON.
        for number, shown in enumerate(session.frames):
            at = cuts[number % len(cuts)] if cuts else 0
            show(interceptor, shown.direction, _without(shown.data, at, 1 + number), number)
        close(interceptor)

    return holds


def _without(data: FrameData, at: int, count: int) -> FrameData:
    if isinstance(data, str):
        return data[:at] + data[at + count :]
    return data[:at] + data[at + count :]


def _check_clock(factory: InterceptorFactory) -> None:
    recorder = RecordingSubmitter()
    interceptor = factory(recorder, _PLAIN)
    began = time.monotonic()
    show(interceptor, Direction.CLIENT_TO_SERVER, '{"method":"tools/call","id":1,"params":{"name":"slow"}}', 0)
    asked = time.monotonic()
    time.sleep(_WAIT)
    waited_ms = (time.monotonic() - asked) * 1000
    show(interceptor, Direction.SERVER_TO_CLIENT, '{"id":1,"result":{}}', 0)
    lasted_ms = (time.monotonic() - began) * 1000
    close(interceptor)
    (operation,) = recorder.operations
    spread_ms = (operation.completed_at - operation.started_at).total_seconds() * 1000
    if not int(waited_ms) - 1 <= operation.duration_ms <= lasted_ms + 1 or spread_ms < waited_ms / 2:
        seen = f"lasted {operation.duration_ms} ms, its times are {spread_ms} ms apart"
        detail = f"a call of {waited_ms:.1f} to {lasted_ms:.1f} ms {seen}"
        raise LawBroken(Law.TIMES, detail)


_ITEM: Final = (
    '{{"method":"item/completed","params":{{"item":{{"type":"webSearch","id":"{}","query":"q","startedAtMs":{},"completedAtMs":9}},'
    '"threadId":"t1","turnId":"u1"}}}}'
)


def _check_executions(factory: InterceptorFactory) -> None:
    """Two connections watch one thread."""
    seen: list[list[str]] = []
    for config in (_PLAIN, _PLAIN, Config(source="tui", workspace_id="ws-2")):
        recorder = RecordingSubmitter()
        interceptor = factory(recorder, config)
        for frame in (_ITEM.format("a", 1), _ITEM.format("a", 2), _ITEM.format("b", 1)):
            show(interceptor, Direction.SERVER_TO_CLIENT, frame, 0)
        close(interceptor)
        seen.append([operation.id for operation in recorder.operations])
    if seen[0] != seen[1]:
        raise LawBroken(Law.EXECUTION_IDS, f"two connections that saw the same items gave them other ids: {seen[:2]}")
    if set(seen[0]) & set(seen[2]):
        raise LawBroken(Law.EXECUTION_IDS, f"two workspaces share ids: {seen[0]} and {seen[2]}")


class _Forgetful:
    """A Submitter that keeps nothing, so that what is held is held by the interceptor."""

    def submit(self, operation: Operation, /) -> None:
        """Forget it."""


def _check_memory(factory: InterceptorFactory) -> None:
    interceptor = factory(_Forgetful(), _SMALL)
    held = _growth(lambda: _open_big_calls(interceptor))
    close(interceptor)
    if held > _OPEN_CALLS * _HELD_PER_CALL:
        raise LawBroken(Law.MEMORY, f"{_OPEN_CALLS} open calls with arguments of {_FRAME_BYTES} bytes each hold {held} bytes")
    interceptor = factory(_Forgetful(), _PLAIN)
    _flood(interceptor, 0, 100)
    held = _growth(lambda: _flood(interceptor, 100, _FLOOD))
    close(interceptor)
    if held > _LEFT_BEHIND:
        raise LawBroken(
            Law.MEMORY, f"{_FLOOD} calls, cancellations, turns and stray answers that ended leave {held} bytes behind"
        )
    interceptor = factory(_Forgetful(), _PLAIN)
    _leave(interceptor, 0, _REMEMBERED)
    # Twice, because something may be made in advance, and what leaks does so both times.
    held = min(_blocks(partial(_leave, interceptor, _REMEMBERED + more, _NEWS)) for more in (0, _NEWS))
    close(interceptor)
    if held > _BLOCKS:
        detail = (
            f"after {_REMEMBERED} items, ACP calls, reviews and requests that nobody answers, {_NEWS} more hold {held} blocks"
        )
        raise LawBroken(Law.MEMORY, detail)


def _blocks(work: Callable[[], None]) -> int:
    """How many more blocks of memory are in use after some work: no measure of bytes, but one that costs no time."""
    gc.collect()
    before = sys.getallocatedblocks()
    work()
    gc.collect()
    return sys.getallocatedblocks() - before


def _growth(work: Callable[[], None]) -> int:
    """How much more memory is in use after some work, in bytes."""
    mine = not tracemalloc.is_tracing()
    if mine:
        tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        if mine:
            tracemalloc.stop()
    return after - before


def _open_big_calls(interceptor: FrameObserver) -> None:
    for number in range(_OPEN_CALLS):
        blob = "x" * _FRAME_BYTES
        frame = f'{{"method":"tools/call","id":{number},"params":{{"name":"write","arguments":{{"blob":"{blob}"}}}}}}'
        show(interceptor, Direction.CLIENT_TO_SERVER, frame, number)


def _flood(interceptor: FrameObserver, start: int, count: int) -> None:
    for number in range(start, start + count):
        call = f'{{"method":"tools/call","id":"f{number}","params":{{"name":"echo"}}}}'
        answer = f'{{"id":"f{number}","result":{{}}}}'
        cancel = f'{{"method":"notifications/cancelled","params":{{"requestId":"f{number}"}}}}'
        turn = f'{{"method":"turn/completed","params":{{"threadId":"t{number}","turn":{{"id":"u{number}"}}}}}}'
        show(interceptor, Direction.CLIENT_TO_SERVER, call, 1)
        if number % 2:
            show(interceptor, Direction.CLIENT_TO_SERVER, cancel, 1)
        show(interceptor, Direction.SERVER_TO_CLIENT, answer, 1)
        show(interceptor, Direction.SERVER_TO_CLIENT, answer, 1)
        show(interceptor, Direction.CLIENT_TO_SERVER, cancel, 1)
        show(interceptor, Direction.SERVER_TO_CLIENT, turn, 1)


# Each of these is remembered for a while, or waits for what never comes; %d is a number.
_LEAVINGS: Final = (
    (
        Direction.SERVER_TO_CLIENT,
        """{"method":"session/update","params":{"sessionId":"s","update":
        {"sessionUpdate":"tool_call_update","toolCallId":"c%d","status":"completed"}}}""",
    ),
    (
        Direction.SERVER_TO_CLIENT,
        """{"method":"hook/started","params":{"threadId":"t1","run":
        {"id":"h:%d","eventName":"preToolUse","status":"running"}}}""",
    ),
    (
        Direction.SERVER_TO_CLIENT,
        """{"method":"item/autoApprovalReview/started","params":
        {"threadId":"t1","reviewId":"r","targetItemId":"x%d","review":{"status":"inProgress"}}}""",
    ),
    (Direction.SERVER_TO_CLIENT, '{"method":"elicitation/create","id":%d,"params":{"message":"?"}}'),
    (Direction.SERVER_TO_CLIENT, '{"method":"item/fileChange/requestApproval","id":%d,"params":{"threadId":"t1","itemId":"n"}}'),
    (Direction.SERVER_TO_CLIENT, '{"method":"notifications/tasks/status","params":{"taskId":"k%d","status":"completed"}}'),
    (Direction.CLIENT_TO_SERVER, '{"method":"tasks/get","id":"g%d","params":{"taskId":"k"}}'),
    (Direction.CLIENT_TO_SERVER, '{"method":"session/prompt","id":"p%d","params":{"sessionId":"s"}}'),
    (Direction.CLIENT_TO_SERVER, '{"method":"session/load","id":"l","params":{"sessionId":"l%d"}}'),
    (Direction.CLIENT_TO_SERVER, '{"method":"initialize","id":"i%d","params":{}}'),
)


def _leave(interceptor: FrameObserver, start: int, count: int) -> None:
    for number in range(start, start + count):
        show(interceptor, Direction.SERVER_TO_CLIENT, _ITEM.format(f"i{number}", number), 1)
        for direction, text in _LEAVINGS:
            show(interceptor, direction, text % number, 1)
