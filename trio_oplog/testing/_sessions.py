"""The strategies of whole sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from attrs import evolve, frozen
from hypothesis import strategies as st

from trio_oplog._operation import Config
from trio_oplog.testing._acts import CALL_ACTS, HOSTILE_CALL_ACTS, Act, answered_call, handshake, unanswered_call
from trio_oplog.testing._dice import Dice
from trio_oplog.testing._item_acts import HOSTILE_ITEM_ACTS, ITEM_ACTS, other_items, unannounced_item, unfinished_item, whole_item
from trio_oplog.testing._noise import NOISE_ACTS, QUIET_ACTS, broken_json
from trio_oplog.testing._session import Direction, Feature, FrameData, Session
from trio_oplog.testing._stage import Stage

_BYTES: Final = 32  # of an act, of a schedule, of knobs and of a configuration
_JOINS_FROM: Final = 208

_FRIENDLY: Final[tuple[Act, ...]] = (*CALL_ACTS, *ITEM_ACTS, *QUIET_ACTS, handshake)
_HOSTILE: Final[tuple[Act, ...]] = (
    *CALL_ACTS,
    *ITEM_ACTS,
    *QUIET_ACTS,
    *NOISE_ACTS,
    *HOSTILE_CALL_ACTS,
    *HOSTILE_ITEM_ACTS,
    *CALL_ACTS,
    handshake,
    broken_json,
)
# What an MCP server does instead of speaking of items.
_WITHOUT_ITEMS: Final[Mapping[Act, Act]] = dict.fromkeys((*ITEM_ACTS, *HOSTILE_ITEM_ACTS), answered_call) | {
    other_items: handshake
}
_SINGLE: Final[tuple[Act, ...]] = (answered_call, whole_item, unannounced_item, unanswered_call, unfinished_item)


@frozen
class _Plan:
    """What a session is made from; the same acts can take turns in another order."""

    config: Config
    table: tuple[Act, ...]
    acts: tuple[bytes, ...]
    schedule: bytes
    knobs: bytes
    hostile: bool


def perform(plan: _Plan) -> Session:
    """Let the acts of a plan take turns, and write down what is said."""
    stage = Stage(plan.config, Dice(plan.knobs), hostile=plan.hostile)
    running: list[Iterator[None]] = []
    for data in plan.acts:
        dice = Dice(data)
        act = dice.pick(plan.table)
        running.append((_WITHOUT_ITEMS.get(act, act) if Feature.CODEX not in stage.dialects else act)(stage, dice))
    turns = Dice(plan.schedule)
    while running:
        turn = turns.number(256)
        stage.joins = turn >= _JOINS_FROM
        story = running[turn % len(running)]
        # An act that has nothing left to say is over.
        if next(story, story) is story:
            running.remove(story)
    return stage.finish(plan)


def _some_config(data: bytes, *, hostile: bool) -> Config:
    dice = Dice(data)
    if not hostile:
        return Config(source="sdk", workspace_id="ws-1")
    return Config(
        source=dice.pick(("sdk", "tui")),
        workspace_id=dice.pick(("ws-1", "ws-é")),
        args_max_bytes=dice.pick((64, 64, 16, 0)),
        result_max_bytes=dice.pick((16, 7, 1, 0)),
        user_id=dice.pick((None, None, "pinned")),
        default_env_id=dice.pick(("local", "box")),
        max_pending=dice.pick((1024, 1024, 3, 2, 1024, 1)),
        record_items=not dice.chance(6),
    )


def sessions(*, hostile: bool = True, max_acts: int = 10, config: Config | None = None) -> st.SearchStrategy[Session]:
    """Whole two-way sessions, each with the operations that must come of it.

    A session is made of acts (a call and its answer, an item that its turn leaves behind, a broken frame) that take turns.
    Shrinks to few acts, one after the other, each in its plainest form: at best one call of ``echo`` and its answer.

    Args:
        hostile: Whether everything may occur that ``Feature`` lists, or only what well-behaved peers do.
        max_acts: How many acts take turns, at most.
        config: What the implementation is to be made with; ``None`` draws one, with small limits where it is hostile.

    Returns:
        A strategy of ``Session``.
    """
    return _sessions(hostile=hostile, max_acts=max_acts, config=config)


# Hypothesis would put one drawn part of a session in the place of another, up to five times before it draws a new session, and
# most would be alike.  It lets be what must be unique (as these are, whatever they hold) and what is drawn as one.
_ACTS: Final = partial(st.lists, st.binary(min_size=_BYTES, max_size=_BYTES), unique_by=lambda _: object())


def _parts(count: int) -> st.SearchStrategy[tuple[bytes, ...]]:
    drawn = st.binary(min_size=count * _BYTES, max_size=count * _BYTES)
    return drawn.map(lambda data: tuple(data[at : at + _BYTES] for at in range(0, len(data), _BYTES)))


@st.composite
def _sessions(draw: st.DrawFn, *, hostile: bool, max_acts: int, config: Config | None) -> Session:
    acts = draw(_ACTS(max_size=max_acts))
    schedule, knobs, some = draw(_parts(3))
    made = config or _some_config(some, hostile=hostile)
    table = _HOSTILE if hostile else _FRIENDLY
    return perform(_Plan(made, table, tuple(acts), schedule, knobs, hostile))


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
    act, knobs, some = draw(_parts(3))
    made = evolve(config or _some_config(some, hostile=hostile), record_items=True)
    return perform(_Plan(made, _SINGLE, (act,), b"", knobs, hostile))


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
    """The same acts in another order: whatever one act says stays in its order, and the oracle is told anew.

    Shrinks to one act after the other.

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
