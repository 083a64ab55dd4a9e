"""Examples that are stories: the shortest tellings of what calls wait for, and of who decides on them.

Each is told by the same words as the scenarios of ``sessions()``, with nothing left to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import evolve

from trio_oplog.testing import _task_scenarios as tasks
from trio_oplog.testing._approval_scenarios import (
    ask_item,
    ask_mcp,
    found,
    mcp_item,
    own_item,
)
from trio_oplog.testing._approval_texts import (
    ACTIONS,
    COMMAND,
    DECISIONS,
    FILE_CHANGE,
    GRANTS,
    LEGACY,
    OLD_DECISIONS,
    PERMISSIONS,
    USER_INPUT,
    Answer,
)
from trio_oplog.testing._asking_scenarios import elicit, take_back
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Ending
from trio_oplog.testing._item_scenarios import complete_item, complete_turn, start_item
from trio_oplog.testing._item_texts import ItemKey
from trio_oplog.testing._json_text import SpelledId
from trio_oplog.testing._laws import Law
from trio_oplog.testing._review_scenarios import FINDINGS, hook, review
from trio_oplog.testing._round_scenarios import Dialogue, ask_for_input, finish, retry

Story: TypeAlias = Callable[[SessionBuilder], Iterable[object] | None]
Row: TypeAlias = tuple[Law, dict[str, Any], Story]

_PLAIN: Final = b""
_TALK: Final = Dialogue("book", '{"n":1,"to":"Oslo"}')
_OK: Final = '{"content":[{"type":"text","text":"ok"}]}'


def call(session: SessionBuilder, spelled: SpelledId | None = None) -> SpelledId:
    return tasks.call_tool(session, "echo", "{}", spelled=spelled)


def answer(session: SessionBuilder, spelled: SpelledId, result: str = _OK, **ending: Any) -> None:
    session.respond(spelled, "result", result)
    session.oracle.answer(spelled.key, Ending(**{"text": "ok", **ending}))


# -- tasks and rounds ----------------------------------------------------------------------------------------------------


def _task(end: Callable[[SessionBuilder, str, str], None], version: str, *, early: bool = False) -> Story:
    return lambda session: end(session, tasks.begin_task(session, version, early_status=early), version)


def _two_tasks(end: Callable[[SessionBuilder, str, str], None], *, later: float = 0.0) -> Story:
    """The first one has to go when the second one comes: for want of room, or because it has waited for too long."""

    def story(session: SessionBuilder) -> None:
        first = tasks.begin_task(session, tasks.OLD)
        tasks.poll(session, first, "working")
        spelled = tasks.call_tool(session, "job", '{"ms":9}')
        session.pass_time(later)
        tasks.hand_out(session, spelled, second := "task-2", tasks.NEW)
        end(session, second, tasks.NEW)
        tasks.fetch(session, first, "result", _OK, Ending(text="ok"))

    return story


def _round(*requests: str | None, states: tuple[str | None, ...] = ("s1", "s2"), **retried: Any) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = tasks.call_tool(session, _TALK.tool, _TALK.arguments)
        for asked, state in zip(requests, states, strict=False):
            ask_for_input(session, spelled, _TALK, requests=asked, state=state)
            spelled = retry(session, _TALK, requests=asked, state=state, **retried)
        finish(session, spelled)

    return story


_ELICITS: Final = '{"who":{"method":"elicitation/create","params":{"message":"Who?"}}}'
_SAMPLES: Final = '{"sum":{"method":"sampling/createMessage","params":{"messages":[]}}}'


def _never_retried(other: Dialogue | None = None, state: str = "s1") -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = tasks.call_tool(session, _TALK.tool, _TALK.arguments)
        ask_for_input(session, spelled, _TALK)
        if other is not None:
            finish(session, retry(session, other, state=state))

    return story


def _twins(*states: str) -> Story:
    """Two equal calls whose retries come the other way round."""

    def story(session: SessionBuilder) -> None:
        ids = [tasks.call_tool(session, _TALK.tool, _TALK.arguments) for _ in states]
        for spelled, state in zip(ids, states, strict=True):
            ask_for_input(session, spelled, _TALK, state=state)
        for spelled in [retry(session, _TALK, state=state) for state in reversed(states)]:
            finish(session, spelled)

    return story


def _round_then_task(session: SessionBuilder) -> None:
    spelled = tasks.call_tool(session, _TALK.tool, _TALK.arguments)
    ask_for_input(session, spelled, _TALK)
    tasks.hand_out(session, retry(session, _TALK), "task-1", tasks.NEW)
    tasks.ends_well(session, "task-1", tasks.NEW)


def _task_over_there(end: Callable[[SessionBuilder, str, str], None], *, hangs_up: bool) -> Story:
    def story(session: SessionBuilder) -> None:
        task_id = tasks.begin_task(session, tasks.OLD)
        if hangs_up:
            session.hang_up()
        session.connection = 1
        end(session, task_id, tasks.OLD)

    return story


def _round_over_there(session: SessionBuilder) -> None:
    spelled = tasks.call_tool(session, _TALK.tool, _TALK.arguments)
    ask_for_input(session, spelled, _TALK)
    session.connection = 1
    finish(session, retry(session, _TALK))


def _watched_twice(session: SessionBuilder) -> None:
    key = own_item(session, "webSearch")
    for session.connection in range(2):
        complete_item(session, ChoiceSource(_PLAIN), key, 5)


def _one_id_over_there(session: SessionBuilder) -> None:
    spelled = SpelledId("1")
    call(session, spelled)
    session.connection = 1
    call(session, spelled)
    answer(session, spelled)


_TASKS: Final[tuple[Row, ...]] = (
    *((Law.TASKS, {}, _task(end, version)) for end in tasks.QUIET_ENDS for version in (tasks.OLD, tasks.NEW)),
    (Law.TASKS, {}, _task(tasks.ends_well, tasks.OLD, early=True)),
    *(
        (Law.TASKS, {}, lambda session, end=end, version=version: end(session, "unknown", version))
        for end in (tasks.ends_well, tasks.asks_a_person)
        for version in (tasks.OLD, tasks.NEW)
    ),
    *((Law.SUSPENDED, {}, _task(end, version)) for end in tasks.UNFETCHED for version in (tasks.OLD, tasks.NEW)),
    (Law.SUSPENDED_BOUNDED, {"max_suspended": 1}, _two_tasks(tasks.ends_well)),
    (Law.SUSPENDED_BOUNDED, {"max_suspended_age": 60.0}, _two_tasks(tasks.ends_well, later=61.0)),
    (Law.ROUNDS, {}, _round(_ELICITS)),
    (Law.ROUNDS, {}, _round(_ELICITS, _ELICITS)),
    (Law.ROUNDS, {}, _round(_ELICITS, _ELICITS, states=("s", "s"))),
    (Law.ROUNDS, {}, _round(_ELICITS, states=(None,))),
    (Law.ROUNDS, {}, _round(None)),
    (Law.ROUNDS, {}, _round(_SAMPLES)),
    (Law.ROUNDS, {}, _round(_ELICITS, spelling='{ "to": "Oslo",  "n" :1}')),
    (Law.ROUNDS, {}, _never_retried(_TALK, "damaged")),
    (Law.ROUNDS, {}, _never_retried(Dialogue("cancel", _TALK.arguments))),
    (Law.ROUNDS, {}, _never_retried(Dialogue(_TALK.tool, '{"to":"Oslo"}'))),
    (Law.ROUNDS, {}, _twins("s1", "s2")),
    (Law.ROUNDS, {}, _twins("s", "s")),
    (Law.ROUNDS, {}, _round_then_task),
    (Law.SUSPENDED, {}, _never_retried()),
    (Law.APPROVAL_LINK, {}, _task(tasks.asks_a_person, tasks.OLD)),
    (Law.WAITS, {}, _task(tasks.asks_a_person, tasks.NEW)),
    (Law.WAITS, {}, _task(tasks.is_cancelled_while_it_asks, tasks.NEW)),
)
SHARED_STORIES: Final[tuple[Row, ...]] = (
    *(
        (Law.SUSPENDED_ELSEWHERE, {}, _task_over_there(end, hangs_up=hangs_up))
        for end in (tasks.ends_well, tasks.is_cancelled, tasks.is_never_fetched)
        for hangs_up in (False, True)
    ),
    (Law.SUSPENDED_ELSEWHERE, {}, _round_over_there),
    (Law.SUSPENDED_ELSEWHERE, {}, _one_id_over_there),
    (Law.EXECUTION_IDS, {}, _watched_twice),
    (
        Law.SUSPENDED_BOUNDED,
        {"max_suspended": 1},
        lambda session: [tasks.begin_task(session, tasks.OLD) for _ in range(2)] and None,
    ),
)

# -- who decides ---------------------------------------------------------------------------------------------------------


def item(
    item_type: str, story: Callable[[SessionBuilder, ItemKey], Iterable[object] | None], *, end: bytes | None = _PLAIN
) -> Story:
    """An item that is open while something is asked about it; ``end`` are the choices of its completion."""

    def told(session: SessionBuilder) -> Iterator[object]:
        key, at = own_item(session, item_type), session.fresh_ms()
        start_item(session, ChoiceSource(_PLAIN), key, at)
        yield from story(session, key) or ()
        if end is not None:
            complete_item(session, ChoiceSource(end), key, at)

    return told


def _asked(method: str, answer: Answer, **about: Any) -> Callable[[SessionBuilder, ItemKey], None]:
    return lambda session, key: ask_item(session, key, method, **about).answer(session, answer)


def _asked_twice(session: SessionBuilder, key: ItemKey) -> None:
    ask_item(session, key, COMMAND).answer(session, DECISIONS[2])
    ask_item(session, key, COMMAND, reason="please").answer(session, DECISIONS[0])


def _asked_in_vain(session: SessionBuilder, key: ItemKey) -> None:
    ask_item(session, key, COMMAND)


def _asked_for_input(session: SessionBuilder, key: ItemKey) -> None:
    ask_item(session, key, USER_INPUT, approves=False)


def _resolved(session: SessionBuilder, key: ItemKey) -> None:
    asked = ask_item(session, key, COMMAND)
    asked.resolve(session, key.thread_id)
    asked.answer(session, DECISIONS[0])


def ask_at_the_end_of_its_turn(session: SessionBuilder, key: ItemKey) -> None:
    ask_item(session, key, COMMAND)
    complete_turn(session, key.thread_id, key.turn_id)


def _refused_at_the_end_of_its_turn(session: SessionBuilder, key: ItemKey) -> None:
    ask_item(session, key, FILE_CHANGE).answer(session, DECISIONS[2])
    complete_turn(session, key.thread_id, key.turn_id)


def _written_to(session: SessionBuilder, key: ItemKey) -> None:
    ask_item(session, key, COMMAND, kind="writeStdin").answer(session, DECISIONS[2], refuses=False)


def _overlapping(session: SessionBuilder, key: ItemKey) -> None:
    first, second = ask_item(session, key, COMMAND), ask_item(session, key, USER_INPUT, approves=False)
    first.answer(session, DECISIONS[0])
    second.answer(session, Answer("result", '{"answers":{}}'))


def _mcp_approval(tools: tuple[str, str], arguments: tuple[str, str], *asked: int, ends: tuple[Answer, ...]) -> Story:
    """Two MCP calls, of which some are asked about, by number."""

    def story(session: SessionBuilder) -> None:
        one = own_item(session, "mcpToolCall")
        keys = (one, evolve(one, item_id="other"))
        items = list(zip(keys, tools, arguments, (session.fresh_ms(), session.fresh_ms()), strict=True))
        for key, tool, raw, at in items:
            mcp_item(session, key, "item/started", tool, raw, at=at)
        for number, answer in zip(asked, ends, strict=True):
            key, tool, raw, _ = items[number]
            ask_mcp(session, key.thread_id, tool, raw, found(session, key)).answer(session, answer)
        for key, tool, raw, at in items:
            mcp_item(session, key, "item/completed", tool, raw, at=at, more=_OK)

    return story


def _about_nothing(session: SessionBuilder, key: ItemKey) -> None:
    for stranger in (evolve(key, thread_id="elsewhere"), evolve(key, item_id="nobody")):
        ask_item(session, stranger, COMMAND).answer(session, DECISIONS[2])
    ask_mcp(session, key.thread_id, "rm", "{}", None).answer(session, ACTIONS[2])


def _elicited(member: str = "result", value: str = '{"action":"accept"}', spelled: str | None = None) -> Story:
    def story(session: SessionBuilder) -> None:
        asked = call(session, SpelledId("0"))
        elicit(session, session.oracle.lone_mcp_call(), member, value, spelled=spelled)
        answer(session, asked)

    return story


def _taken_back(spelled: str) -> Story:
    """The server takes its question back, whatever its id is; or names a call, which means nothing."""

    def story(session: SessionBuilder) -> None:
        called = call(session, SpelledId("0"))
        asked = session.oracle.lone_mcp_call()
        if asked is not None and spelled:
            session.ask("elicitation/create", '{"message":"Sure?"}', spelled=spelled)
            question = session.oracle.ask(asked)
            take_back(session, spelled)
            session.oracle.withdraw(asked, question)
        if spelled != "0":
            take_back(session, "0")
        answer(session, called)

    return story


def _sampled(session: SessionBuilder) -> None:
    called = call(session)
    session.reply(session.ask("sampling/createMessage", '{"messages":[]}'), "result", '{"role":"assistant"}')
    answer(session, called)


def _asked_without_a_call(session: SessionBuilder) -> None:
    elicit(session, None)
    answer(session, call(session))


def _reviewed(status: str, *, refuses: bool) -> Callable[[SessionBuilder, ItemKey], Iterable[object]]:
    return lambda session, key: review(session, key, status, refuses=refuses)


def _before(story: Callable[[SessionBuilder, ItemKey], Iterable[object]], *, announced: bool = True) -> Story:
    """Something is decided about an item before the server tells of it."""

    def told(session: SessionBuilder) -> Iterator[object]:
        key, at = own_item(session, "fileChange"), session.fresh_ms()
        yield from story(session, key)
        if announced:
            start_item(session, ChoiceSource(_PLAIN), key, at)
        complete_item(session, ChoiceSource(_PLAIN), key, at)

    return told


def _hook_then_asked(session: SessionBuilder, key: ItemKey) -> Iterator[object]:
    yield from hook(session, key)
    ask_item(session, key, COMMAND).answer(session, DECISIONS[0])


_APPROVALS: Final[tuple[Row, ...]] = (
    *((Law.APPROVALS, {}, item("commandExecution", _asked(COMMAND, answer))) for answer in DECISIONS if not answer.refuses),
    *((Law.APPROVALS, {}, item("fileChange", _asked(PERMISSIONS, answer))) for answer in GRANTS),
    *((Law.APPROVALS, {}, item(item_type, _asked(method, OLD_DECISIONS[0]))) for item_type, method in LEGACY.items()),
    (Law.APPROVALS, {}, item("fileChange", _asked(FILE_CHANGE, DECISIONS[0], reason="é" * 600))),
    (Law.APPROVALS, {}, item("commandExecution", _asked_twice)),
    (Law.APPROVALS, {}, item("commandExecution", _resolved)),
    (Law.APPROVALS, {}, item("commandExecution", _asked_in_vain)),
    (Law.APPROVALS, {}, item("commandExecution", _asked_in_vain, end=None)),
    *((Law.REFUSED, {}, item("commandExecution", _asked(COMMAND, answer))) for answer in DECISIONS if answer.refuses),
    *((Law.REFUSED, {}, item("fileChange", _asked(LEGACY["fileChange"], answer))) for answer in OLD_DECISIONS if answer.refuses),
    (Law.REFUSED, {}, item("fileChange", _refused_at_the_end_of_its_turn, end=None)),
    (Law.REFUSED, {}, item("commandExecution", _asked(COMMAND, DECISIONS[2]), end=None)),
    (Law.REFUSED, {}, item("commandExecution", _written_to)),
    (Law.WAITS, {}, item("commandExecution", _overlapping)),
    (Law.WAITS, {}, item("fileChange", _asked_for_input)),
    (Law.WAITS, {}, _sampled),
    (Law.APPROVAL_LINK, {}, _mcp_approval(("slow", "slow"), ("{}", "{}"), 0, 1, ends=(ACTIONS[1], ACTIONS[2]))),
    (Law.APPROVAL_LINK, {}, _mcp_approval(("slow", "fast"), ("{}", "{}"), 1, ends=(ACTIONS[0],))),
    (Law.APPROVAL_LINK, {}, _mcp_approval(("slow", "slow"), ("{}", '{"ms":1}'), 1, ends=(ACTIONS[3],))),
    (Law.APPROVAL_LINK, {}, item("commandExecution", _about_nothing)),
    (Law.APPROVAL_LINK, {}, _elicited()),
    (Law.APPROVAL_LINK, {}, _elicited(spelled="0")),
    (Law.APPROVAL_LINK, {}, _asked_without_a_call),
    (Law.APPROVALS, {}, _elicited(value='{"action":"decline"}')),
    (Law.APPROVALS, {}, _elicited("error", '{"code":-1,"message":"no screen"}')),
    *((Law.ONLY_REQUESTER_CANCELS, {}, _taken_back(spelled)) for spelled in ("", "7", "0")),
    (Law.APPROVALS, {}, item("commandExecution", _reviewed("approved", refuses=False))),
    *((Law.REFUSED, {}, item("fileChange", _reviewed(status, refuses=True))) for status, refuses in FINDINGS if refuses),
    (Law.APPROVAL_LINK, {}, lambda session: hook(session, own_item(session, "fileChange"), "preToolUse", "blocked")),
    (Law.APPROVALS, {}, _before(_reviewed("approved", refuses=False))),
    (Law.APPROVALS, {}, _before(_reviewed("approved", refuses=False), announced=False)),
    (Law.APPROVALS, {}, _before(hook)),
    (Law.APPROVALS, {}, item("fileChange", _hook_then_asked)),
    (Law.APPROVALS, {}, item("fileChange", partial(hook, event="preToolUse"))),
    (Law.REFUSED, {}, _before(partial(hook, status="blocked", reasons=("not on", "a Friday")))),
)

STORIES: Final[tuple[Row, ...]] = (*_APPROVALS, *_TASKS)
