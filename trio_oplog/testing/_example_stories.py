"""Examples that are stories: the shortest tellings of what calls wait for, who decides on them, and what else is new to the log.

Each is told by the same words as the scenarios of ``sessions()``, with nothing left to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import evolve

from trio_oplog._operation import Outcome
from trio_oplog.testing import _acp_scenarios as acp
from trio_oplog.testing import _task_scenarios as tasks
from trio_oplog.testing._answers import LINK
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
from trio_oplog.testing._builder import CLIENT, SessionBuilder
from trio_oplog.testing._byte_scenarios import DAMAGED, answer_in_bytes, call_in_bytes
from trio_oplog.testing._call_scenarios import acp_handshake, codex_handshake, mcp_handshake
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._context_texts import BAD_TRACEPARENTS, GOOD_TRACEPARENTS, PROTOCOL, TRACED
from trio_oplog.testing._execution_scenarios import EXECUTIONS, execute, exit_process, exited, respond
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall, Said
from trio_oplog.testing._item_scenarios import complete_item, complete_turn, start_item
from trio_oplog.testing._item_texts import ITEM_TYPES, ItemKey
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._review_scenarios import FINDINGS, hook, review
from trio_oplog.testing._round_scenarios import Dialogue, ask_for_input, finish, retry
from trio_oplog.testing._session import Feature
from trio_oplog.testing._turn_scenarios import close_thread, start_turn

Story: TypeAlias = Callable[[SessionBuilder], Iterable[object] | None]
Row: TypeAlias = tuple[Law, dict[str, Any], Story]

_PLAIN: Final = b""
_TALK: Final = Dialogue("book", '{"n":1,"to":"Oslo"}')
_OK: Final = '{"content":[{"type":"text","text":"ok"}]}'


def _call(session: SessionBuilder, spelled: SpelledId | None = None) -> SpelledId:
    return tasks.call_tool(session, "echo", "{}", spelled=spelled)


def _answer(session: SessionBuilder, spelled: SpelledId, result: str = _OK, **ending: Any) -> None:
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


def _one_id_over_there(session: SessionBuilder) -> None:
    spelled = SpelledId("1")
    _call(session, spelled)
    session.connection = 1
    _call(session, spelled)
    _answer(session, spelled)


_TASKS: Final[tuple[Row, ...]] = (
    *((Law.TASKS, {}, _task(end, version)) for end in tasks.QUIET_ENDS for version in (tasks.OLD, tasks.NEW)),
    (Law.TASKS, {}, _task(tasks.ends_well, tasks.OLD, early=True)),
    (Law.TASKS, {}, lambda session: tasks.ends_well(session, "unknown", tasks.NEW)),
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
    (
        Law.SUSPENDED_BOUNDED,
        {"max_suspended": 1},
        lambda session: [tasks.begin_task(session, tasks.OLD) for _ in range(2)] and None,
    ),
)

# -- who decides ---------------------------------------------------------------------------------------------------------


def _item(
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


def _resolved(session: SessionBuilder, key: ItemKey) -> None:
    asked = ask_item(session, key, COMMAND)
    asked.resolve(session, key.thread_id)
    asked.answer(session, DECISIONS[0])


def _asked_at_the_end_of_its_turn(session: SessionBuilder, key: ItemKey) -> None:
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
        asked = _call(session, SpelledId("0"))
        elicit(session, session.oracle.lone_mcp_call(), member, value, spelled=spelled)
        _answer(session, asked)

    return story


def _taken_back(spelled: str) -> Story:
    """The server takes its question back, whatever its id is; or names a call, which means nothing."""

    def story(session: SessionBuilder) -> None:
        called = _call(session, SpelledId("0"))
        call = session.oracle.lone_mcp_call()
        if call is not None and spelled:
            session.ask("elicitation/create", '{"message":"Sure?"}', spelled=spelled)
            question = session.oracle.ask(call)
            take_back(session, spelled)
            session.oracle.withdraw(call, question)
        take_back(session, "0") if spelled != "0" else None
        _answer(session, called)

    return story


def _sampled(session: SessionBuilder) -> None:
    called = _call(session)
    session.reply(session.ask("sampling/createMessage", '{"messages":[]}'), "result", '{"role":"assistant"}')
    _answer(session, called)


def _asked_without_a_call(session: SessionBuilder) -> None:
    elicit(session, None)
    _answer(session, _call(session))


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
    *((Law.APPROVALS, {}, _item("commandExecution", _asked(COMMAND, answer))) for answer in DECISIONS if not answer.refuses),
    *((Law.APPROVALS, {}, _item("fileChange", _asked(PERMISSIONS, answer))) for answer in GRANTS),
    *((Law.APPROVALS, {}, _item(item_type, _asked(method, OLD_DECISIONS[0]))) for item_type, method in LEGACY.items()),
    (Law.APPROVALS, {}, _item("fileChange", _asked(FILE_CHANGE, DECISIONS[0], reason="é" * 600))),
    (Law.APPROVALS, {}, _item("commandExecution", _asked_twice)),
    (Law.APPROVALS, {}, _item("commandExecution", _resolved)),
    (Law.APPROVALS, {}, _item("commandExecution", _asked_in_vain)),
    (Law.APPROVALS, {}, _item("commandExecution", _asked_in_vain, end=None)),
    *((Law.REFUSED, {}, _item("commandExecution", _asked(COMMAND, answer))) for answer in DECISIONS if answer.refuses),
    *((Law.REFUSED, {}, _item("fileChange", _asked(LEGACY["fileChange"], answer))) for answer in OLD_DECISIONS if answer.refuses),
    (Law.REFUSED, {}, _item("fileChange", _refused_at_the_end_of_its_turn, end=None)),
    (Law.REFUSED, {}, _item("commandExecution", _asked(COMMAND, DECISIONS[2]), end=None)),
    (Law.REFUSED, {}, _item("commandExecution", _written_to)),
    (Law.WAITS, {}, _item("commandExecution", _overlapping)),
    (Law.WAITS, {}, _item("fileChange", lambda session, key: ask_item(session, key, USER_INPUT, approves=False) and None)),
    (Law.WAITS, {}, _sampled),
    (Law.APPROVAL_LINK, {}, _mcp_approval(("slow", "slow"), ("{}", "{}"), 0, 1, ends=(ACTIONS[1], ACTIONS[2]))),
    (Law.APPROVAL_LINK, {}, _mcp_approval(("slow", "fast"), ("{}", "{}"), 1, ends=(ACTIONS[0],))),
    (Law.APPROVAL_LINK, {}, _mcp_approval(("slow", "slow"), ("{}", '{"ms":1}'), 1, ends=(ACTIONS[3],))),
    (Law.APPROVAL_LINK, {}, _item("commandExecution", _about_nothing)),
    (Law.APPROVAL_LINK, {}, _elicited()),
    (Law.APPROVAL_LINK, {}, _elicited(spelled="0")),
    (Law.APPROVAL_LINK, {}, _asked_without_a_call),
    (Law.APPROVALS, {}, _elicited(value='{"action":"decline"}')),
    (Law.APPROVALS, {}, _elicited("error", '{"code":-1,"message":"no screen"}')),
    *((Law.ONLY_REQUESTER_CANCELS, {}, _taken_back(spelled)) for spelled in ("", "7", "0")),
    (Law.APPROVALS, {}, _item("commandExecution", _reviewed("approved", refuses=False))),
    *((Law.REFUSED, {}, _item("fileChange", _reviewed(status, refuses=True))) for status, refuses in FINDINGS if refuses),
    (Law.APPROVAL_LINK, {}, lambda session: hook(session, own_item(session, "fileChange"), "preToolUse", "blocked")),
    (Law.APPROVALS, {}, _before(_reviewed("approved", refuses=False))),
    (Law.APPROVALS, {}, _before(_reviewed("approved", refuses=False), announced=False)),
    (Law.APPROVALS, {}, _before(hook)),
    (Law.APPROVALS, {}, _item("fileChange", _hook_then_asked)),
    (Law.APPROVALS, {}, _item("fileChange", partial(hook, event="preToolUse"))),
    (Law.REFUSED, {}, _before(partial(hook, status="blocked", reasons=("not on", "a Friday")))),
)

# -- items, turns and what clients run ------------------------------------------------------------------------------------


def _repeated(session: SessionBuilder, key: ItemKey) -> None:
    at = session.fresh_ms()
    for each in (start_item, start_item, complete_item, complete_item, start_item):
        each(session, ChoiceSource(_PLAIN), key, at)


def _again_later(session: SessionBuilder) -> None:
    key = own_item(session, "webSearch")
    for at in (5, 6):
        start_item(session, ChoiceSource(_PLAIN), key, at)
        complete_item(session, ChoiceSource(_PLAIN), key, at)


def _left(how: Callable[[SessionBuilder, ItemKey], None], item_type: str = "mcpToolCall") -> Story:
    return _item(item_type, lambda session, key: how(session, key))


def _new_turn(session: SessionBuilder, key: ItemKey) -> None:
    start_turn(session, key.thread_id, "another")


def _same_turn(session: SessionBuilder, key: ItemKey) -> None:
    start_turn(session, key.thread_id, key.turn_id)


def _other_thread(session: SessionBuilder, _key: ItemKey) -> None:
    start_turn(session, "another", "turn")
    close_thread(session, "yet another")


def _closed(session: SessionBuilder, key: ItemKey) -> None:
    close_thread(session, key.thread_id)


def _execution(method: str) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = execute(session, method)
        error = '{"code":-32600,"message":"no"}'
        respond(session, spelled, "error", error, Ending(text="no", outcome=Outcome.RPC_ERROR, error_code=-32600))

    return story


def _command(code: int) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = execute(session, "command/exec")
        result = f'{{"exitCode":{code},"stdout":"out","stderr":"err"}}'
        respond(session, spelled, "result", result, exited(code, "outerr"))

    return story


def _process(session: SessionBuilder) -> None:
    ids = {handle: execute(session, "process/spawn", ("processHandle", quoted(handle))) for handle in ("a", "b", "c")}
    for spelled in ids.values():
        session.respond(spelled, "result", "{}")
    exit_process(session, "b", ids["b"], 4)
    exit_process(session, "a", ids["a"], 0)


def _resource(session: SessionBuilder) -> None:
    contents = '{"contents":[{"uri":"demo://a","text":"one"},{"uri":"demo://b","text":" two"}]}'
    respond(session, execute(session, "mcpServer/resource/read"), "result", contents, Ending(text="one two"))


_ITEMS: Final[tuple[Row, ...]] = (
    *((Law.SAME_EXECUTION, {}, lambda session, kind=kind: _repeated(session, own_item(session, kind))) for kind in ITEM_TYPES),
    (Law.SAME_EXECUTION, {}, _again_later),
    *((Law.TURN_ENDS, {}, _left(how)) for how in (_new_turn, _same_turn, _other_thread, _closed)),
    *((Law.TURN_ENDS, {}, _left(how, "commandExecution")) for how in (_new_turn, _closed, _asked_at_the_end_of_its_turn)),
    (Law.TURN_ENDS, {}, _left(lambda session, key: complete_turn(session, key.thread_id, key.turn_id))),
    (Law.SOURCE, {}, lambda session: complete_item(session, ChoiceSource(b"\0\2"), own_item(session, "commandExecution"), 5)),
    *((Law.CLIENT_EXECUTIONS, {}, _execution(method)) for method in EXECUTIONS),
    *((Law.CLIENT_EXECUTIONS, {}, _command(code)) for code in (0, 3)),
    (Law.CLIENT_EXECUTIONS, {}, _process),
    (Law.CLIENT_EXECUTIONS, {}, _resource),
)

# -- ACP -----------------------------------------------------------------------------------------------------------------


def _said(session: SessionBuilder, status: str | None = None, **said: str) -> tuple[list[tuple[str, str | None]], Said]:
    known = Said(**said)
    meta = None if known.name is None else f'{{"claudeCode":{{"toolName":{quoted(known.name)}}}}}'
    texts = None if known.text is None else (known.text,)
    output = None if known.output is None else quoted(known.output)
    told = acp.members(session, status, known, meta=meta, raw_input=known.raw_input, texts=texts, raw_output=output)
    return told, known


def _agent(*updates: tuple[str | None, dict[str, str]], first: str = "tool_call") -> Story:
    """A call of an agent's, from update to update: the status, and what is said."""

    def story(session: SessionBuilder) -> None:
        for number, (status, said) in enumerate(updates):
            update = "tool_call_update" if number else first
            acp.tell(session, "sess-1", "tool-1", _said(session, status, **said), status, update=update)

    return story


def _repeated_call(session: SessionBuilder) -> None:
    for status, title in (("pending", "one"), ("in_progress", "two"), ("completed", "three"), ("completed", "four")):
        said = _said(session, status, title=title)
        acp.tell(session, "sess-1", "tool-1", said, status, update="tool_call")


def _two_agents(session: SessionBuilder) -> None:
    for session_id in ("sess-1", "sess-2"):
        acp.tell(session, session_id, "tool-1", _said(session, "pending"), "pending", update="tool_call")
    acp.tell(session, "sess-2", "tool-1", _said(session, "completed", text="ok"), "completed")


def _permission(outcome: str, decision: str, *, refuses: bool, announced: bool, ends: bool) -> Story:
    def story(session: SessionBuilder) -> None:
        prompted = acp.prompt(session, "sess-1")
        said = _said(session, "pending", title="rm", raw_input='{"a":1}')
        if announced:
            acp.tell(session, "sess-1", "tool-1", said, "pending", update="tool_call")
        asked = acp.ask_permission(session, "sess-1", "tool-1", said)
        acp.choose(session, asked, outcome, decision, refuses=refuses)
        if ends:
            acp.tell(session, "sess-1", "tool-1", _said(session, "completed", text="ok"), "completed")
        acp.end_prompt(session, prompted, "sess-1")

    return story


def _unanswered_permission(session: SessionBuilder) -> None:
    prompted = acp.prompt(session, "sess-1")
    acp.ask_permission(session, "sess-1", "tool-1", _said(session, kind="execute"))
    acp.end_prompt(session, prompted, "sess-1", fails=True)
    acp.tell(session, "sess-1", "tool-1", _said(session, "completed"), "completed")


def _prompt_of_another_session(session: SessionBuilder) -> None:
    prompted = acp.prompt(session, "sess-2")
    acp.tell(session, "sess-1", "tool-1", _said(session, "pending"), "pending", update="tool_call")
    acp.end_prompt(session, prompted, "sess-2")


def _loaded(session: SessionBuilder) -> None:
    loading = session.request("session/load", '{"sessionId":"sess-1","cwd":"/","mcpServers":[]}')
    session.oracle.history.add("sess-1")
    for call_id, status in (("old-1", "completed"), ("old-2", "pending")):
        acp.tell(session, "sess-1", call_id, _said(session, status), status, update="tool_call")
    session.respond(loading, "result", "{}")
    session.oracle.history.discard("sess-1")
    acp.tell(session, "sess-1", "new-1", _said(session, "completed", text="ok"), "completed", update="tool_call")


_ACP: Final[tuple[Row, ...]] = (
    (Law.ACP_CALLS, {}, _agent(("pending", {"kind": "execute", "title": "ls"}), ("completed", {"text": "ok"}))),
    (
        Law.ACP_CALLS,
        {},
        _agent(("pending", {"raw_input": "{}"}), (None, {"raw_input": '{ "p":1}'}), ("failed", {"output": "no"})),
    ),
    (Law.ACP_CALLS, {}, _agent(("pending", {"kind": "read"}), (None, {"name": "Read", "text": "early"}), ("completed", {}))),
    (Law.ACP_CALLS, {}, _agent(("pending", {"output": "early"}), ("completed", {"text": "late", "output": "raw"}))),
    (Law.ACP_CALLS, {}, _agent(("pending", {}), ("completed", {}), ("completed", {}))),
    (Law.ACP_CALLS, {}, _agent(("completed", {"text": "ok"}), first="tool_call_update")),
    (Law.ACP_CALLS, {}, _agent(("pending", {}))),
    (Law.ACP_CALLS, {"record_items": False}, _agent(("pending", {}), ("completed", {}))),
    (Law.ACP_CALLS, {}, _repeated_call),
    (Law.ACP_CALLS, {}, _two_agents),
    (Law.ACP_CALLS, {}, _prompt_of_another_session),
    (Law.ACP_CALLS, {}, _unanswered_permission),
    *(
        (
            Law.REFUSED if refuses else Law.APPROVALS,
            {},
            _permission(outcome, decision, refuses=refuses, announced=announced, ends=ends),
        )
        for outcome, decision, refuses in acp.CHOICES
        for announced, ends in ((False, True), (True, False))
    ),
    (Law.ACP_HISTORY, {}, _loaded),
)

# -- who is who, ids, bytes and gists ----------------------------------------------------------------------------------------


def _introduced(hello: Callable[[SessionBuilder], None]) -> Story:
    def story(session: SessionBuilder) -> None:
        hello(session)
        _answer(session, _call(session))
        complete_item(session, ChoiceSource(_PLAIN), own_item(session, "webSearch"), 5)

    return story


def _with_meta(meta: str, *, beside: str = "", method: str = "tools/call", **said: str) -> Story:
    """A call that says in its ``_meta``, or beside its params, where it comes from."""

    def story(session: SessionBuilder) -> None:
        name = "name" if method == "tools/call" else "tool"
        text = f'{{"method":{quoted(method)},"id":1{beside},"params":{{"{name}":"echo","_meta":{meta}}}}}'
        session.say(CLIENT, text)
        facts = CallFacts(source="sdk", tool="echo", request_id="1", arguments=Arguments(), **said)
        dialect = Feature.MCP if method == "tools/call" else Feature.CODEX
        session.oracle.begin(OpenCall(key=SpelledId("1").key, facts=facts, began=0, dialect=dialect))
        _answer(session, SpelledId("1"))

    return story


def _named_by_its_answer(session: SessionBuilder) -> None:
    result = '{"content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"named","version":"2"}}}'
    _answer(session, _call(session), result, text="", server="named", server_version="2")


def _parent(traceparent: str) -> str:
    return an_object([("traceparent", quoted(traceparent))])


def _other_type(asked: str, answered: str, *others: str) -> Story:
    def story(session: SessionBuilder) -> None:
        for text in (asked, *others):
            _call(session, SpelledId(text))
        _answer(session, SpelledId(answered))

    return story


def _damaged_call(damaged: tuple[bytes, str], *, in_arguments: bool) -> Story:
    return lambda session: _answer(session, call_in_bytes(session, damaged, in_arguments=in_arguments))


def _damaged_answer(damaged: tuple[bytes, str], *, in_text: bool) -> Story:
    return lambda session: answer_in_bytes(session, _call(session), damaged, in_text=in_text)


def _gist(result: str, text: str, **ending: Any) -> Story:
    return lambda session: _answer(session, _call(session), result, text=text, **ending)


def _wrong(error: str, text: str, code: int | None = None) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = _call(session)
        session.respond(spelled, "error", error)
        session.oracle.answer(spelled.key, Ending(text=text, outcome=Outcome.RPC_ERROR, error_code=code))

    return story


def _cancelled(reason: str, text: str) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = _call(session)
        params = an_object([("requestId", spelled.text), ("reason", reason)])
        session.notify("notifications/cancelled", params, direction=CLIENT)
        session.oracle.end(session.oracle.with_key(spelled.key)[0], Ending(text=text, outcome=Outcome.CANCELLED))

    return story


_EMBEDDED: Final = '{"type":"resource","resource":{"uri":"demo://a","text":"inside"}}'
_CLIENT_META: Final = f'{{"io.modelcontextprotocol/protocolVersion":"{PROTOCOL}","io.modelcontextprotocol/clientInfo":{{"name":"cli","version":"2"}}}}'
_FIELDS: Final[tuple[Row, ...]] = (
    *(
        (Law.CONTEXT, {}, _introduced(hello))
        for hello in (
            codex_handshake,
            acp_handshake,
            lambda session: mcp_handshake(session, "initialize", "everything"),
            lambda session: mcp_handshake(session, "server/discover", "everything", None),
        )
    ),
    (Law.CONTEXT, {"transport": "stdio"}, lambda session: _answer(session, _call(session))),
    (Law.CONTEXT, {}, _with_meta(_CLIENT_META, client="cli/2", protocol=PROTOCOL)),
    (Law.CONTEXT, {}, _named_by_its_answer),
    *((Law.TRACE, {}, _with_meta(_parent(good), **TRACED)) for good in GOOD_TRACEPARENTS),
    *((Law.TRACE, {}, _with_meta(_parent(bad))) for bad in BAD_TRACEPARENTS),
    (
        Law.TRACE,
        {},
        _with_meta(
            _parent(f"00-{'1' * 32}-{'2' * 16}-01"),
            beside=f',"trace":{_parent(GOOD_TRACEPARENTS[0])}',
            method="mcpServer/tool/call",
            **TRACED,
        ),
    ),
    (Law.RESPELLED_IDS, {}, _other_type("7", '"7"')),
    (Law.RESPELLED_IDS, {}, _other_type('"7"', "7")),
    (Law.RESPELLED_IDS, {}, _other_type("9007199254740993", '"9007199254740993"', "9007199254740992")),
    (Law.RESPELLED_IDS, {}, _other_type("7", '"7"', "7")),
    (Law.RESPELLED_IDS, {}, _other_type("1.5", '"1.5"')),
    (Law.RESPELLED_IDS, {}, _other_type("7", '"07"')),
    *((Law.REPLACED_BYTES, {}, _damaged_call(each, in_arguments=inside)) for each in DAMAGED for inside in (True, False)),
    *((Law.REPLACED_BYTES, {}, _damaged_answer(each, in_text=inside)) for each in DAMAGED for inside in (True, False)),
    (Law.GIST, {}, _gist(f'{{"content":[{_EMBEDDED},{LINK}]}}', "inside", content_types=("resource", "resource_link"))),
    (Law.GIST, {}, _gist('{"content":[],"structuredContent":{ "a":1.0}}', '{ "a":1.0}')),
    (Law.GIST, {}, _gist('{"toolResult":[1]}', "[1]")),
    (Law.GIST, {}, _gist(f'{{"content":[{LINK},{LINK}]}}', "file:///a\nfile:///a", content_types=("resource_link",) * 2)),
    (Law.GIST, {}, _gist('{"content":[{"type":"text","text":""}],"structuredContent":{"a":1}}', "")),
    (Law.GIST, {}, _gist('{"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1}}', "t")),
    (Law.GIST, {}, _gist('{"content":"plain"}', "plain")),
    (Law.GIST, {}, _gist('{"content":{"type":"text","text":"alone"}}', "alone")),
    (Law.GIST, {}, _gist('"bare"', "bare")),
    (Law.GIST, {}, _gist('{"content":[],"isError":"True"}', "", outcome=Outcome.TOOL_ERROR)),
    (Law.GIST, {}, _wrong('"broken"', "broken")),
    (Law.GIST, {}, _wrong("[1, 2]", "[1, 2]")),
    (Law.GIST, {}, _wrong('{"code":7,"message":{"why": 1}}', '{"why": 1}', 7)),
    (Law.GIST, {}, _wrong('{"code":"7","message":"m"}', "m")),
    (Law.CANCEL_REASON, {}, _cancelled('"pressed stop"', "pressed stop")),
    (Law.CANCEL_REASON, {}, _cancelled("7", "")),
)

STORIES: Final[tuple[Row, ...]] = (*_APPROVALS, *_TASKS, *_ITEMS, *_ACP, *_FIELDS)
