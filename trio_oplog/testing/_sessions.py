"""The strategies of whole sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from attrs import evolve, frozen
from hypothesis import strategies as st

from trio_oplog._operation import Config
from trio_oplog.testing._acp_scenarios import ACP_SCENARIOS
from trio_oplog.testing._approval_scenarios import APPROVAL_SCENARIOS
from trio_oplog.testing._asking_scenarios import ASKING_SCENARIOS
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._byte_scenarios import BYTE_SCENARIOS
from trio_oplog.testing._call_scenarios import (
    CALL_SCENARIOS,
    HOSTILE_CALL_SCENARIOS,
    Scenario,
    answered_call,
    handshake,
    unanswered_call,
)
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._execution_scenarios import EXECUTION_SCENARIOS
from trio_oplog.testing._item_scenarios import (
    HOSTILE_ITEM_SCENARIOS,
    ITEM_SCENARIOS,
    other_items,
    unannounced_item,
    unfinished_item,
    whole_item,
)
from trio_oplog.testing._noise_scenarios import NOISE_SCENARIOS, QUIET_SCENARIOS, broken_json
from trio_oplog.testing._review_scenarios import REVIEW_SCENARIOS
from trio_oplog.testing._round_scenarios import ROUND_SCENARIOS
from trio_oplog.testing._session import Direction, Feature, FrameData, Session
from trio_oplog.testing._shared_scenarios import SHARED_SCENARIOS
from trio_oplog.testing._task_scenarios import TASK_SCENARIOS
from trio_oplog.testing._turn_scenarios import TURN_SCENARIOS

_BYTES: Final = 32  # of a scenario, of a schedule, of knobs and of a configuration
_JOINS_FROM: Final = 208

_OF_CODEX: Final[tuple[Scenario, ...]] = (*APPROVAL_SCENARIOS, *REVIEW_SCENARIOS, *TURN_SCENARIOS, *EXECUTION_SCENARIOS)
_OF_MCP: Final[tuple[Scenario, ...]] = (*TASK_SCENARIOS, *ROUND_SCENARIOS, *ASKING_SCENARIOS, *ASKING_SCENARIOS[:2])
# What peers do that only began after calls, items and noise were told of: these are half of all.
_LATER: Final = (*_OF_CODEX, *_OF_MCP, *ACP_SCENARIOS)
_FRIENDLY: Final[tuple[Scenario, ...]] = (*CALL_SCENARIOS, *ITEM_SCENARIOS, *QUIET_SCENARIOS, handshake, *_LATER)
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
    *_LATER,
    *BYTE_SCENARIOS,
)
_SHARED: Final[tuple[Scenario, ...]] = (
    *(SHARED_SCENARIOS * 4),
    *CALL_SCENARIOS,
    *ITEM_SCENARIOS,
    *HOSTILE_CALL_SCENARIOS,
    *_LATER,
    *BYTE_SCENARIOS,
)
# What an MCP server does instead of speaking of items, and Codex instead of tasks and rounds.
_WITHOUT_ITEMS: Final[Mapping[Scenario, Scenario]] = dict.fromkeys(
    (*ITEM_SCENARIOS, *HOSTILE_ITEM_SCENARIOS, *_OF_CODEX), answered_call
) | {other_items: handshake}
_WITHOUT_MCP: Final[Mapping[Scenario, Scenario]] = dict.fromkeys(_OF_MCP, whole_item)
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
    connections: int = 1


def perform(plan: _Plan) -> Session:
    """Let the scenarios of a plan take turns, and write down what is said."""
    session = SessionBuilder(plan.config, ChoiceSource(plan.knobs), hostile=plan.hostile, connections=plan.connections)
    running: list[tuple[int, Iterator[None]]] = []
    for data in plan.scenarios:
        choices = ChoiceSource(data)
        scenario = choices.pick(plan.table)
        for dialect, instead in ((Feature.CODEX, _WITHOUT_ITEMS), (Feature.MCP, _WITHOUT_MCP)):
            scenario = scenario if dialect in session.dialects else instead.get(scenario, scenario)
        home = choices.number(plan.connections) if plan.connections > 1 else 0
        running.append((home, scenario(session, choices)))
    turns = ChoiceSource(plan.schedule)
    while running:
        turn = turns.number(256)
        session.joins = turn >= _JOINS_FROM
        home, story = running[turn % len(running)]
        session.connection = home
        # A scenario that has nothing left to say is over.
        if next(story, story) is story:
            running.remove((home, story))
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
        max_pending=choices.pick((1024, 1024, 3, 2, 1024, 1, 1024, 1024)),
        record_items=not choices.chance(8),
        transport=choices.pick((None, None, "stdio", "http")),
        max_suspended=choices.pick((1024, 1024, 1024, 1024, 1024, 1024, 1, 2)),
    )


def sessions(
    *, hostile: bool = True, max_acts: int = 10, config: Config | None = None, connections: int = 1
) -> st.SearchStrategy[Session]:
    """Whole two-way sessions, each with the operations that must come of it.

    A session is made of scenarios (a call and its answer, an item that its turn leaves behind, a broken frame) that take turns.
    Shrinks to few scenarios, one after the other, each in its plainest form: at best one call of ``echo`` and its answer.

    Args:
        hostile: Whether everything may occur that ``Feature`` lists, or only what well-behaved peers do.
        max_acts: How many scenarios take turns, at most.
        config: What the implementation is to be made with; ``None`` draws one, with small limits where it is hostile.
        connections: Over how many connections they take turns.  With more than one, calls wait for tasks and rounds in a table
            that the connections share, and some sessions open more for a while; ``play()`` needs a gateway for these.

    Returns:
        A strategy of ``Session``.
    """
    return _sessions(hostile=hostile, max_acts=max_acts, config=config, connections=connections)


# Hypothesis would put one drawn part of a session in the place of another, up to five times before it draws a new session, and
# most would be alike.  It lets be what must be unique (as these are, whatever they hold) and what is drawn as one.
_SCENARIOS: Final = partial(st.lists, st.binary(min_size=_BYTES, max_size=_BYTES), unique_by=lambda _: object())


def _parts(count: int) -> st.SearchStrategy[tuple[bytes, ...]]:
    drawn = st.binary(min_size=count * _BYTES, max_size=count * _BYTES)
    return drawn.map(lambda data: tuple(data[at : at + _BYTES] for at in range(0, len(data), _BYTES)))


@st.composite
def _sessions(draw: st.DrawFn, *, hostile: bool, max_acts: int, config: Config | None, connections: int) -> Session:
    scenarios = draw(_SCENARIOS(max_size=max_acts))
    schedule, knobs, some = draw(_parts(3))
    made = config or _some_config(some, hostile=hostile)
    table = _SHARED if connections > 1 else _HOSTILE if hostile else _FRIENDLY
    return perform(_Plan(made, table, tuple(scenarios), schedule, knobs, hostile, connections))


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
