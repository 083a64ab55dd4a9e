"""Scenarios in which Codex asks its client whether the model's call may run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from trio_oplog.testing._approval_texts import (
    ACTIONS,
    COMMAND,
    DECISIONS,
    ELICITATION,
    FILE_CHANGE,
    GRANTS,
    LEGACY,
    OLD_DECISIONS,
    PERMISSIONS,
    USER_INPUT,
    Answer,
)
from trio_oplog.testing._builder import SERVER, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall, Question
from trio_oplog.testing._item_scenarios import complete_item, complete_turn, open_item, start_item, whole_item
from trio_oplog.testing._item_texts import ItemKey, item_text
from trio_oplog.testing._json_text import an_object, quoted
from trio_oplog.testing._laws import Law


class Asked:
    """A request of the server's about an item, and the question that it is, if the item is open."""

    def __init__(self, session: SessionBuilder, method: str, params: str, call: OpenCall | None, **question: bool | str) -> None:
        self.spelled = session.ask(method, params, Law.APPROVAL_LINK, spelled=str(1_000 + session.fresh()))
        self.call = call
        self.question: Question | None = None if call is None else session.oracle.ask(call, **question)  # type: ignore[arg-type]

    def answer(self, session: SessionBuilder, answer: Answer, *, refuses: bool | None = None) -> None:
        """The client answers."""
        session.reply(self.spelled, answer.member, answer.value, Law.APPROVALS)
        if self.call is not None and self.question is not None:
            refuses = answer.refuses if refuses is None else refuses
            session.oracle.decide(self.call, self.question, answer.decision, refuses=refuses, reason=answer.reason)

    def resolve(self, session: SessionBuilder, thread_id: str) -> None:
        """The server says that the request is settled: after our answer, or without one."""
        params = an_object([("threadId", quoted(thread_id)), ("requestId", self.spelled)], session.gap)
        session.notify("serverRequest/resolved", params, Law.APPROVALS)
        if self.call is not None and self.question is not None:
            session.oracle.withdraw(self.call, self.question)


def own_item(session: SessionBuilder, item_type: str) -> ItemKey:
    """An item whose id, thread and turn nobody else uses."""
    number = session.fresh()
    return ItemKey(f"thread-{number}", f"turn-{number}", f"item-{number}", item_type)


def found(session: SessionBuilder, key: ItemKey) -> OpenCall | None:
    """The open item."""
    return session.oracle.item(key.thread_id, key.item_id)


def ask_item(
    session: SessionBuilder, key: ItemKey, method: str, *, reason: str | None = None, kind: str | None = None, **question: bool
) -> Asked:
    """The server asks about an item that it names."""
    names = ("conversationId", "callId") if method in LEGACY.values() else ("threadId", "itemId")
    members: list[tuple[str, str | None]] = [
        ("kind", None if kind is None else quoted(kind)),
        (names[0], quoted(key.thread_id)),
        ("turnId", quoted(key.turn_id)),
        (names[1], quoted(key.item_id)),
        ("reason", None if reason is None else quoted(reason)),
    ]
    more: dict[str, bool | str] = dict(question) if reason is None else {**question, "reason": reason}
    return Asked(session, method, an_object(members, session.gap), found(session, key), **more)


def approval(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A command or a file change that the client allows or refuses, in all words that there are; then it completes, or not."""
    item_type = choices.pick(("commandExecution", "fileChange"))
    key, at = own_item(session, item_type), session.fresh_ms()
    start_item(session, choices, key, at)
    yield
    for _ in range(1 + choices.number(2)):
        method, answers = choices.pick(
            (
                (COMMAND if item_type == "commandExecution" else FILE_CHANGE, DECISIONS),
                (LEGACY[item_type], OLD_DECISIONS),
                (PERMISSIONS, GRANTS),
            )
        )
        answer = choices.pick(answers)
        reason = choices.pick((None, "to see", "ü" * 600)) if answer.member == "result" else None
        asked = ask_item(session, key, method, reason=reason)
        yield
        asked.answer(session, answer)
        if choices.chance(2):
            asked.resolve(session, key.thread_id)
        yield
    if choices.chance(4):
        complete_turn(session, key.thread_id, key.turn_id)
    else:
        complete_item(session, choices, key, at)


def unanswered_approval(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Nobody of ours answers: another connection does, or the turn ends, or the item, or the connection."""
    item_type = choices.pick(("commandExecution", "fileChange"))
    key, at = own_item(session, item_type), session.fresh_ms()
    start_item(session, choices, key, at)
    yield
    asked = ask_item(session, key, COMMAND if item_type == "commandExecution" else FILE_CHANGE)
    yield
    kind = choices.number(4)
    if kind == 0:
        asked.resolve(session, key.thread_id)
        yield
        if choices.chance(2):  # what is answered too late is not heard
            asked.answer(session, DECISIONS[0])
        complete_item(session, choices, key, at)
    elif kind == 1:
        complete_turn(session, key.thread_id, key.turn_id)
        asked.resolve(session, key.thread_id)
        complete_item(session, choices, key, at)
    elif kind == 2:
        complete_item(session, choices, key, at)


def written_to(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A terminal that is allowed to run, and asks before something is written to it: no answer to that refuses the command."""
    key, at = own_item(session, "commandExecution"), session.fresh_ms()
    start_item(session, choices, key, at)
    yield
    ask_item(session, key, COMMAND).answer(session, DECISIONS[0])
    yield
    ask_item(session, key, COMMAND, kind="writeStdin").answer(session, choices.pick(DECISIONS[2::-1]), refuses=False)
    yield
    complete_item(session, choices, key, at)


def overlapping_waits(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two questions about one item are open at once: the time is counted once, and only one of them is an approval."""
    key, at = own_item(session, "commandExecution"), session.fresh_ms()
    start_item(session, choices, key, at)
    yield
    asked = ask_item(session, key, COMMAND)
    other = ask_item(session, key, USER_INPUT, approves=False)
    yield
    first, second = choices.pick(((asked, other), (other, asked)))
    answers = {asked: DECISIONS[0], other: Answer("result", '{"answers":{"q1":{"answers":["A"]}}}')}
    first.answer(session, answers[first])
    yield
    second.answer(session, answers[second])
    complete_item(session, choices, key, at)


def mcp_item(session: SessionBuilder, key: ItemKey, method: str, tool: str, arguments: str, *, at: int, more: str = "") -> None:
    """An ``mcpToolCall`` of a chosen tool and chosen arguments; ``more`` are members of its completion."""
    members: list[tuple[str, str | None]] = [("server", '"demo"'), ("tool", quoted(tool)), ("arguments", arguments)]
    members += [("startedAtMs", str(at)), ("status", '"completed"' if more else '"inProgress"'), ("result", more or None)]
    session.say(SERVER, item_text(session, method, key, members), Law.APPROVAL_LINK)
    if not session.config.record_items:
        return
    facts = CallFacts(
        source="llm",
        tool=tool,
        request_id=key.item_id,
        thread_id=key.thread_id,
        server="demo",
        arguments=Arguments(text=arguments),
    )
    call = open_item(session, key, facts, at)
    if more:
        session.oracle.complete(call, Ending(text="ok", execution=(key, at)))
    else:
        session.oracle.begin_item(call)


def ask_mcp(
    session: SessionBuilder, thread_id: str, tool: str, params: str, call: OpenCall | None, server: str = "demo"
) -> Asked:
    """Codex asks for the approval of an MCP call, which it does not name."""
    meta = an_object(
        [("codex_approval_kind", '"mcp_tool_call"'), ("tool_name", quoted(tool)), ("tool_params", params)], session.gap
    )
    members = [("threadId", quoted(thread_id)), ("serverName", quoted(server)), ("mode", '"form"'), ("_meta", meta)]
    return Asked(session, ELICITATION, an_object(members, session.gap), call)


_OK: Final = '{"content":[{"type":"text","text":"ok"}]}'


def mcp_approval(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two MCP calls, alike or not: the approvals are told apart by the tool and its arguments, else the oldest is asked first."""
    one = own_item(session, "mcpToolCall")
    other = ItemKey(one.thread_id, one.turn_id, f"item-{session.fresh()}", one.item_type)
    tools = choices.pick((("slow", "slow"), ("slow", "fail")))
    arguments = choices.pick((('{"ms":20}', '{"ms":20}'), ('{"ms":20}', '{"ms":30}')))
    items = list(zip((one, other), tools, arguments, (session.fresh_ms(), session.fresh_ms()), strict=True))
    for key, tool, raw, at in items:
        mcp_item(session, key, "item/started", tool, raw, at=at)
        yield
    alike = tools[0] == tools[1] and arguments[0] == arguments[1]
    asked = []
    for key, tool, raw, _ in items if alike or choices.chance(2) else reversed(items):
        asked.append(ask_mcp(session, one.thread_id, tool, raw.replace(":", ": "), found(session, key)))
        yield
    for each in asked:
        each.answer(session, choices.pick(ACTIONS))
        yield
    for key, tool, raw, at in items:
        mcp_item(session, key, "item/completed", tool, raw, at=at, more=_OK)


def elicitation_of_a_server(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """The MCP server itself asks something in the middle of an item: no answer to that refuses the call."""
    key, at = own_item(session, "mcpToolCall"), session.fresh_ms()
    mcp_item(session, key, "item/started", "ask", "{}", at=at)
    yield
    members = [("threadId", quoted(key.thread_id)), ("serverName", '"demo"'), ("mode", '"form"'), ("message", '"Name?"')]
    asked = Asked(session, ELICITATION, an_object(members, session.gap), found(session, key))
    yield
    asked.answer(session, choices.pick((ACTIONS[0], ACTIONS[2], ACTIONS[3])), refuses=False)
    yield
    mcp_item(session, key, "item/completed", "ask", "{}", at=at, more=_OK)


def approval_of_nothing(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Approvals of what is no item, or of another thread, tool or server, leave nothing, not even with the item that is open."""
    key, at = own_item(session, "mcpToolCall"), session.fresh_ms()
    mcp_item(session, key, "item/started", "slow", '{"ms":1}', at=at)
    yield
    stranger = ItemKey(f"thread-{session.fresh()}", key.turn_id, key.item_id, key.item_type)
    nobody = own_item(session, "mcpToolCall")
    options: tuple[Callable[[], Asked], ...] = (
        lambda: ask_item(session, nobody, PERMISSIONS),
        lambda: ask_item(session, stranger, COMMAND),
        lambda: ask_mcp(session, key.thread_id, "slow", '{"ms":2}', None),
        lambda: ask_mcp(session, key.thread_id, "fast", '{"ms":1}', None),
        lambda: ask_mcp(session, stranger.thread_id, "slow", '{"ms":1}', None),
        lambda: ask_mcp(session, key.thread_id, "slow", '{"ms":1}', None, server="other"),
    )
    asked = choices.pick(options)()
    yield
    asked.answer(session, choices.pick((ACTIONS[2], DECISIONS[2], GRANTS[2])))
    yield
    mcp_item(session, key, "item/completed", "slow", '{"ms":1}', at=at, more=_OK)


def in_room(scenario: Scenario, instead: Scenario = whole_item) -> Scenario:
    """A scenario that needs all the room there is; where there is less, a plainer one."""

    def in_room_or_less(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
        yield from (scenario if session.roomy else instead)(session, choices)

    in_room_or_less.__name__ = scenario.__name__
    return in_room_or_less


APPROVAL_SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    in_room(scenario)
    for scenario in (
        approval,
        unanswered_approval,
        mcp_approval,
        approval,
        written_to,
        overlapping_waits,
        elicitation_of_a_server,
        approval_of_nothing,
    )
)
