"""``check_submitter``: holds a delivering Submitter to its promises, against a real endpoint that misbehaves."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Protocol, TypeAlias

import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_oplog._operation import Operation
from trio_oplog.testing._check_interceptor import search
from trio_oplog.testing._endpoint import Behaviour, FaultyEndpoint, Hang, Reset, Respond
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._operations import sample
from trio_oplog.testing._time import ThreadsHoldTime

DEFAULT_EXAMPLES: Final = 10

SECRET: Final = "s3cret-of-the-check"  # noqa: S105
PAYLOAD: Final = "payload-of-the-check"
CAPACITY: Final = 32
_FLOOD: Final = 400
# Some of them may meet a garbage collection or a busy machine, in seconds of real time: so the quickest burst counts.
_BURST: Final = 50
_SLOWEST_BURST: Final = 0.125
_STEPS: Final = 100
# Loopback within one process is never idle for so long: then the clock may jump.
_IDLE: Final = 0.005
_LONGEST_LEAVING: Final = 120.0
_LONGEST_REAL: Final = 20.0


# Whoever waits for ever, and shields it, cannot be cancelled: in the end the endpoint gives in.
_HANG: Final = Hang(at_most=_LONGEST_LEAVING)


class SubmitterLike(Protocol):
    """What ``check_submitter`` asks of a submitter."""

    def submit(self, operation: Operation, /) -> object:
        """Take one operation."""

    def statistics(self) -> Any:
        """The account: ``submitted``, ``delivered``, ``dropped`` (by reason, or in all), ``queued``, ``in_flight``."""


SubmitterFactory: TypeAlias = Callable[[str, str, int], AbstractAsyncContextManager[SubmitterLike]]


def check_submitter(factory: SubmitterFactory, *, max_examples: int = DEFAULT_EXAMPLES, seed: int | None = None) -> None:
    """Hold a submitter to what a gateway relies on: it never blocks, never raises and accounts for everything.

    Runs Trio itself, on a clock that jumps over waiting, against a ``FaultyEndpoint``: call it from a plain test.

    Args:
        factory: Called with a URL, a secret and a capacity; makes an async context manager, as ``Client`` does.  At most
            ``capacity`` operations may ever be ``queued``.
        max_examples: How many random scripts of faults are tried; at least 1.
        seed: Makes them repeatable.

    Raises:
        LawBroken: It breaks a promise; the error names it.
    """
    ours = sample(_FLOOD)
    for part in (
        _delivers,
        _goes_on,
        _passes_the_slow,
        _never_blocks,
        _is_fair,
        _never_raises,
        _lets_exceptions_out,
        _leaves_in_time,
        _keeps_secrets,
    ):
        run(lambda part=part: part(factory, ours))  # type: ignore[misc]
    search(_ledger_holds(factory, ours), max_examples=max_examples, seed=seed, shrinks=False)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run one part under Trio; what it waits for comes at once."""

    async def bounded() -> None:
        await work()

    clock = MockClock()
    try:
        trio.run(bounded, clock=clock, instruments=[ThreadsHoldTime(clock, _IDLE)])
    except BaseExceptionGroup as group:
        # What is under test may wrap what happens in its block; the law comes out all the same.
        raise _first_law(group) or group from None


def _first_law(error: BaseException) -> LawBroken | None:
    if isinstance(error, BaseExceptionGroup):
        return next((law for law in map(_first_law, error.exceptions) if law is not None), None)
    return error if isinstance(error, LawBroken) else None


def check_ledger(submitter: SubmitterLike, submitted: int) -> None:
    """Hold the account of this moment to the law.

    Raises:
        LawBroken: It does not balance, or counts other than was submitted.
    """
    read = getattr(submitter, "statistics", None)
    if read is None:
        raise LawBroken(Law.LEDGER, "there is no statistics()")
    account = read()
    dropped = dropped_in_all(account)
    right = account.delivered + dropped + account.queued + account.in_flight
    if account.submitted != submitted or account.submitted != right:
        parts = f"delivered {account.delivered} + dropped {dropped} + queued {account.queued} + in flight {account.in_flight}"
        raise LawBroken(Law.LEDGER, f"{submitted} were submitted, it says {account.submitted}; and {parts} is {right}")


def dropped_in_all(account: Any) -> int:
    """What an account says was dropped, whatever the reason."""
    dropped = account.dropped
    return sum(dropped.values()) if isinstance(dropped, Mapping) else int(dropped)


def _submit(submitter: SubmitterLike, operation: Operation) -> None:
    try:
        submitter.submit(operation)
    except Exception as error:
        raise LawBroken(Law.SUBMIT_RAISES, f"{error!r} came out") from error


async def _delivers(factory: SubmitterFactory, ours: list[Operation]) -> None:
    sent = ours[: CAPACITY // 2]
    async with FaultyEndpoint() as endpoint:
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            for operation in sent:
                _submit(submitter, operation)
            with trio.move_on_after(_LONGEST_LEAVING):
                await endpoint.wait_for_requests(len(sent))
            await trio.sleep(1)
            before_leaving = list(endpoint.operations)
            check_ledger(submitter, len(sent))
            for operation in ours[CAPACITY // 2 : CAPACITY]:
                _submit(submitter, operation)
        _compare_delivery(sent, before_leaving, Law.SUBMIT_DELIVERS)
        _compare_delivery(ours[:CAPACITY], endpoint.operations, Law.LEAVING_DRAINS)
        check_ledger(submitter, CAPACITY)
    if any(request.headers.get("x-internal-secret") != SECRET for request in endpoint.requests):
        raise LawBroken(Law.SUBMIT_DELIVERS, "a request came without the secret")


def _compare_delivery(sent: list[Operation], arrived: list[Operation], law: Law) -> None:
    missing = [operation for operation in sent if operation not in arrived]
    if not missing:
        return
    ids = {operation.id for operation in arrived}
    altered = [operation for operation in missing if operation.id in ids]
    if altered:
        raise LawBroken(Law.SUBMIT_DELIVERS, f"{len(altered)} arrived altered, the first of them is {altered[0]!r}")
    raise LawBroken(law, f"{len(missing)} of {len(sent)} never arrived")


async def _goes_on(factory: SubmitterFactory, ours: list[Operation]) -> None:
    unspeakable = evolve(ours[0], tool="\ud800")
    async with FaultyEndpoint() as endpoint:
        endpoint.script(Respond(status=400), Respond(status=422), Reset())
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            for operation in (*ours[1:4], unspeakable):
                _submit(submitter, operation)
            with trio.move_on_after(_LONGEST_LEAVING):
                await endpoint.wait_for_requests(3)
            await trio.sleep(30)
            for operation in ours[4:12]:
                _submit(submitter, operation)
        check_ledger(submitter, 12)
        _check_delivered(submitter, endpoint)
        _compare_delivery(ours[4:12], endpoint.operations, Law.SUBMIT_GOES_ON)


async def _passes_the_slow(factory: SubmitterFactory, ours: list[Operation]) -> None:
    async with FaultyEndpoint() as endpoint:
        endpoint.script(_HANG)
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            for operation in ours[:8]:
                _submit(submitter, operation)
            # In steps: the clock jumps at each of them only when nothing has happened, so a busy machine gets time enough.
            for _ in range(_STEPS):
                await trio.sleep(1 / _STEPS)
                if (arrived := len(endpoint.operations)) >= len(ours[:8]) - 1:
                    break
    if arrived < len(ours[:8]) - 1:
        raise LawBroken(Law.SUBMIT_GOES_ON, f"one request of 8 hangs, and after a second {arrived} others have arrived")


def _check_delivered(submitter: SubmitterLike, endpoint: FaultyEndpoint) -> None:
    delivered, arrived = submitter.statistics().delivered, len({operation.id for operation in endpoint.operations})
    if delivered > arrived:
        raise LawBroken(Law.LEDGER, f"{delivered} are counted as delivered, {arrived} arrived")


async def _never_blocks(factory: SubmitterFactory, ours: list[Operation]) -> None:
    async with FaultyEndpoint() as endpoint:
        endpoint.behaviour = _HANG
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            took = [_time_of(submitter, ours[start : start + _BURST]) for start in range(0, len(ours), _BURST)]
            if min(took) > _SLOWEST_BURST:
                shown = f"{_BURST} calls of submit() took {min(took):.2f} s at the least"
                raise LawBroken(Law.SUBMIT_BLOCKS, f"{shown}, while the endpoint hung")
            check_ledger(submitter, len(ours))
            account = submitter.statistics()
            # What was handed to tasks may count as in flight: to no more of them than there is room for.
            if account.queued > CAPACITY or account.in_flight > CAPACITY:
                seen = f"{account.queued} queued, {account.in_flight} in flight, {dropped_in_all(account)} dropped"
                raise LawBroken(Law.OVERFLOW, f"{len(ours)} submitted at once to a capacity of {CAPACITY}: {seen}")
            await trio.sleep(0.1)
            check_ledger(submitter, len(ours))
            endpoint.behaviour = Respond()


def _time_of(submitter: SubmitterLike, operations: list[Operation]) -> float:
    began = time.perf_counter()
    for operation in operations:
        _submit(submitter, operation)
    return time.perf_counter() - began


async def _is_fair(factory: SubmitterFactory, ours: list[Operation]) -> None:
    quiet = [evolve(operation, workspace_id="quiet") for operation in ours[: CAPACITY // 4]]
    flood = [evolve(operation, workspace_id="flood") for operation in ours[CAPACITY // 4 :]]
    async with FaultyEndpoint() as endpoint:
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            for operation in (*flood, *quiet):
                _submit(submitter, operation)
            check_ledger(submitter, len(ours))
        _compare_delivery(quiet, endpoint.operations, Law.FAIR)
        check_ledger(submitter, len(ours))


async def _never_raises(factory: SubmitterFactory, ours: list[Operation]) -> None:
    async with FaultyEndpoint() as endpoint:
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            await trio.lowlevel.checkpoint()
        _submit(submitter, ours[0])
        check_ledger(submitter, 1)
        await endpoint.refuse()
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            for operation in ours[:5]:
                _submit(submitter, operation)
        check_ledger(submitter, 5)


class _MineError(Exception):
    """An exception of the block."""


async def _lets_exceptions_out(factory: SubmitterFactory, ours: list[Operation]) -> None:
    group = ExceptionGroup("mine", [_MineError()])
    for mine in (_MineError(), group, KeyboardInterrupt()):
        async with FaultyEndpoint() as endpoint:
            came: BaseException | None = None
            try:
                async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
                    _submit(submitter, ours[0])
                    raise mine  # noqa: TRY301 -- the block is what is under test
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is compared
                came = error
            if came is not mine:
                raise LawBroken(Law.EXCEPTIONS, f"{mine!r} was raised, {came!r} came out")
            check_ledger(submitter, 1)


async def _leaves_in_time(factory: SubmitterFactory, ours: list[Operation]) -> None:
    async with FaultyEndpoint() as endpoint:
        endpoint.behaviour = _HANG
        began, began_real = trio.current_time(), time.monotonic()
        async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
            for operation in ours[:5]:
                _submit(submitter, operation)
            await trio.sleep(0.1)
        lasted = trio.current_time() - began
        if lasted >= _LONGEST_LEAVING or time.monotonic() - began_real > _LONGEST_REAL:
            raise LawBroken(Law.LEAVING_IS_BOUNDED, f"leaving lasted {lasted:.0f} s, until the endpoint hung no more")
        check_ledger(submitter, 5)


async def _keeps_secrets(factory: SubmitterFactory, ours: list[Operation]) -> None:
    private = evolve(ours[0], arguments=f'"{PAYLOAD}"'.encode(), result_summary=PAYLOAD, arguments_meta=None)
    with _log() as lines:
        async with FaultyEndpoint() as endpoint:
            endpoint.script(Respond(status=400, body=PAYLOAD.encode()), Reset())
            async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
                _submit(submitter, private)
                _submit(submitter, evolve(private, id=ours[1].id))
                await trio.sleep(1)
    lines.append(repr(submitter))
    told = [line for line in lines if SECRET in line or PAYLOAD in line]
    if told:
        raise LawBroken(Law.SECRETS, f"a line of the log, or the repr, says too much: {told[0].splitlines()[0][:200]}")


@contextmanager
def _log() -> Iterator[list[str]]:
    lines: list[str] = []

    class _Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    formatter, handler, root = logging.Formatter(), _Keep(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield lines
    finally:
        root.removeHandler(handler)


_BEHAVIOURS: Final[tuple[Behaviour, ...]] = (
    Respond(),
    Respond(status=200, body=b"{}"),
    Respond(status=503, headers=(("Retry-After", "1"),)),
    Respond(status=400),
    Respond(delay=2.0),
    Respond(status=500, body=b"oh no"),
    Respond(status=302, headers=(("Location", "/elsewhere"),)),
    Reset(),
    _HANG,
)


def _ledger_holds(factory: SubmitterFactory, ours: list[Operation]) -> Callable[[], None]:
    """Any script of faults, any number of operations with pauses between them."""

    @given(script=st.lists(st.sampled_from(_BEHAVIOURS), max_size=8), counts=st.lists(st.integers(0, CAPACITY), max_size=4))
    def holds(script: list[Behaviour], counts: list[int]) -> None:
        async def play() -> None:
            async with FaultyEndpoint() as endpoint:
                endpoint.script(*script)
                submitted = 0
                async with factory(endpoint.url, SECRET, CAPACITY) as submitter:
                    for count in counts:
                        for operation in ours[submitted : submitted + count]:
                            _submit(submitter, operation)
                        submitted += count
                        check_ledger(submitter, submitted)
                        await trio.sleep(0.5)
                        check_ledger(submitter, submitted)
                check_ledger(submitter, submitted)
            _check_delivered(submitter, endpoint)

        run(play)

    return holds
