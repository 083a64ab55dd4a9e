"""The strategies of whole sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from attrs import evolve, frozen
from hypothesis import strategies as st

from trio_oplog._operation import Config
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._call_scenarios import (
    CALL_SCENARIOS,
    HOSTILE_CALL_SCENARIOS,
    Scenario,
    answered_call,
    handshake,
    unanswered_call,
)
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._item_scenarios import (
    HOSTILE_ITEM_SCENARIOS,
    ITEM_SCENARIOS,
    other_items,
    unannounced_item,
    unfinished_item,
    whole_item,
)
from trio_oplog.testing._noise_scenarios import NOISE_SCENARIOS, QUIET_SCENARIOS, broken_json
from trio_oplog.testing._session import Direction, Feature, FrameData, Session

_BYTES: Final = 32  # of an scenario, of a schedule, of knobs and of a configuration
_JOINS_FROM: Final = 208

_FRIENDLY: Final[tuple[Scenario, ...]] = (*CALL_SCENARIOS, *ITEM_SCENARIOS, *QUIET_SCENARIOS, handshake)
_HOSTILE: Final[tuple[Scenario, ...]] = (
    *CALL_SCENARIOS,
    *ITEM_SCENARIOS,
    *QUIET_SCENARIOS,
    *NOISE_SCENARIOS,
    *HOSTILE_CALL_SCENARIOS,
    *HOSTILE_ITEM_SCENARIOS,
    *CALL_SCENARIOS,
    handshake,
    broken_json,
)
# What an MCP server does instead of speaking of items.
_WITHOUT_ITEMS: Final[Mapping[Scenario, Scenario]] = dict.fromkeys((*ITEM_SCENARIOS, *HOSTILE_ITEM_SCENARIOS), answered_call) | {
    other_items: handshake
}
_SINGLE: Final[tuple[Scenario, ...]] = (answered_call, whole_item, unannounced_item, unanswered_call, unfinished_item)


@frozen
class _Plan:
    """What a session is made from; the same scenarios can take turns in another order."""

    config: Config
    table: tuple[Scenario, ...]
    scenarios: tuple[bytes, ...]
    schedule: bytes
    knobs: bytes
    hostile: bool


def perform(plan: _Plan) -> Session:
    """Let the scenarios of a plan take turns, and write down what is said."""
    session = SessionBuilder(plan.config, ChoiceSource(plan.knobs), hostile=plan.hostile)
    running: list[Iterator[None]] = []
    for data in plan.scenarios:
        choices = ChoiceSource(data)
        scenario = choices.pick(plan.table)
        running.append(
            (_WITHOUT_ITEMS.get(scenario, scenario) if Feature.CODEX not in session.dialects else scenario)(session, choices)
        )
    turns = ChoiceSource(plan.schedule)
    while running:
        turn = turns.number(256)
        session.joins = turn >= _JOINS_FROM
        story = running[turn % len(running)]
        # An scenario that has nothing left to say is over.
        if next(story, story) is story:
            running.remove(story)
    return session.finish(plan)


def _some_config(data: bytes, *, hostile: bool) -> Config:
    choices = ChoiceSource(data)
    if not hostile:
        return Config(source="sdk", workspace_id="ws-1")
    return Config(
        source=choices.pick(("sdk", "tui")),
        workspace_id=choices.pick(("ws-1", "ws-é")),
        args_max_bytes=choices.pick((64, 64, 16, 0)),
        result_max_bytes=choices.pick((16, 7, 1, 0)),
        user_id=choices.pick((None, None, "pinned")),
        default_env_id=choices.pick(("local", "box")),
        max_pending=choices.pick((1024, 1024, 3, 2, 1024, 1)),
        record_items=not choices.chance(6),
    )


def sessions(*, hostile: bool = True, max_acts: int = 10, config: Config | None = None) -> st.SearchStrategy[Session]:
    """Whole two-way sessions, each with the operations that must come of it.

    A session is made of scenarios (a call and its answer, an item that its turn leaves behind, a broken frame) that take turns.
    Shrinks to few scenarios, one after the other, each in its plainest form: at best one call of ``echo`` and its answer.

    Args:
        hostile: Whether everything may occur that ``Feature`` lists, or only what well-behaved peers do.
        max_acts: How many scenarios take turns, at most.
        config: What the implementation is to be made with; ``None`` draws one, with small limits where it is hostile.

    Returns:
        A strategy of ``Session``.
    """
    return _sessions(hostile=hostile, max_acts=max_acts, config=config)


# Hypothesis would put one drawn part of a session in the place of another, up to five times before it draws a new session, and
# most would be alike.  It lets be what must be unique (as these are, whatever they hold) and what is drawn as one.
_SCENARIOS: Final = partial(st.lists, st.binary(min_size=_BYTES, max_size=_BYTES), unique_by=lambda _: object())


def _parts(count: int) -> st.SearchStrategy[tuple[bytes, ...]]:
    drawn = st.binary(min_size=count * _BYTES, max_size=count * _BYTES)
    return drawn.map(lambda data: tuple(data[at : at + _BYTES] for at in range(0, len(data), _BYTES)))


@st.composite
def _sessions(draw: st.DrawFn, *, hostile: bool, max_acts: int, config: Config | None) -> Session:
    scenarios = draw(_SCENARIOS(max_size=max_acts))
    schedule, knobs, some = draw(_parts(3))
    made = config or _some_config(some, hostile=hostile)
    table = _HOSTILE if hostile else _FRIENDLY
    return perform(_Plan(made, table, tuple(scenarios), schedule, knobs, hostile))


def tool_calls(*, hostile: bool = True, config: Config | None = None) -> st.SearchStrategy[Session]:
    """Sessions of exactly one call: Codex, MCP or an item of the model's.

    Shrinks to one call of ``echo`` and its answer.

    Args:
        hostile: Whether ids, names, arguments and results may be odd.
        config: What the implementation is to be made with; ``None`` draws one.

    Returns:
        A strategy of ``Session`` with one expected operation.
    """
    return _tool_calls(hostile=hostile, config=config)


@st.composite
def _tool_calls(draw: st.DrawFn, *, hostile: bool, config: Config | None) -> Session:
    scenario, knobs, some = draw(_parts(3))
    made = evolve(config or _some_config(some, hostile=hostile), record_items=True)
    return perform(_Plan(made, _SINGLE, (scenario,), b"", knobs, hostile))


def frames(*, direction: Direction | None = None, hostile: bool = True) -> st.SearchStrategy[FrameData]:
    """Single frames as they may arrive: requests, answers, notifications, and (hostile) what is none of these.

    Shrinks to a plain call of ``echo`` from the client, to a plain answer from the server.

    Args:
        direction: Which way the frame goes; ``None`` for either.
        hostile: Whether a frame may be broken, oddly spelled or oddly encoded.

    Returns:
        A strategy of ``bytes`` and ``str``.
    """
    return _frames(direction=direction, hostile=hostile)


@st.composite
def _frames(draw: st.DrawFn, *, direction: Direction | None, hostile: bool) -> FrameData:
    session = draw(sessions(hostile=hostile, max_acts=2))
    fitting = [frame.data for frame in session.frames if direction in {None, frame.direction}]
    if fitting:
        return draw(st.sampled_from(fitting))
    plain = {"c2s": '{"method":"ping","id":1}', "s2c": '{"id":1,"result":{}}'}
    return plain[direction or Direction.CLIENT_TO_SERVER]


def interleavings(session: Session, /) -> st.SearchStrategy[Session]:
    """The same scenarios in another order: whatever one scenario says stays in its order, and the oracle is told anew.

    Shrinks to one scenario after the other.

    Args:
        session: A session from ``sessions()`` or ``tool_calls()``.  One made by hand has one order only: its own.

    Returns:
        A strategy of ``Session``.
    """
    plan = session.plan
    if not isinstance(plan, _Plan):
        return st.just(session)
    turns = st.binary(min_size=_BYTES, max_size=_BYTES)
    return turns.map(lambda schedule: perform(evolve(plan, schedule=schedule)))
