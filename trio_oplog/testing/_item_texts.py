"""What Codex items may say: their beginnings and completions, each text beside what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from attrs import evolve, frozen

from trio_oplog._operation import Outcome
from trio_oplog.testing._answers import IMAGE
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Arguments, CallFacts, Ending
from trio_oplog.testing._json_text import an_array, an_object, quoted
from trio_oplog.testing._session import Feature

Members: TypeAlias = list[tuple[str, str | None]]

ITEM_TYPES: Final = (
    *("mcpToolCall", "commandExecution", "fileChange", "dynamicToolCall", "collabAgentToolCall", "webSearch"),
    *("imageView", "imageGeneration", "sleep", "subAgentActivity"),
)
OTHER_ITEM_TYPES: Final = ("agentMessage", "userMessage", "reasoning", "plan", "contextCompaction", "enteredReviewMode")
_WITHOUT_STATUS: Final = {"webSearch", "imageView", "sleep", "subAgentActivity"}


@frozen
class ItemKey:
    """What tells one item from another, as far as the protocol goes."""

    thread_id: str
    turn_id: str
    item_id: str
    item_type: str


def item_text(session: SessionBuilder, method: str, key: ItemKey, body: Members, *, request_id: str | None = None) -> str:
    """The text of an item notification, or of a request that looks like one."""
    item = an_object([("type", quoted(key.item_type)), ("id", quoted(key.item_id)), *body], session.gap)
    params = an_object([("item", item), ("threadId", quoted(key.thread_id)), ("turnId", quoted(key.turn_id))], session.gap)
    return an_object([("method", quoted(method)), ("id", request_id), ("params", params), ("emittedAtMs", "5")], session.gap)


def turn_started_text(session: SessionBuilder, thread_id: str, turn_id: str) -> str:
    """The text of ``turn/started``."""
    turn = an_object([("id", quoted(turn_id)), ("items", "[]"), ("status", '"inProgress"')], session.gap)
    params = an_object([("threadId", quoted(thread_id)), ("turn", turn)], session.gap)
    return an_object([("method", '"turn/started"'), ("params", params)], session.gap)


def turn_completed_text(session: SessionBuilder, thread_id: str, turn_id: str) -> str:
    """The text of ``turn/completed``."""
    turn = an_object([("id", quoted(turn_id)), ("items", "[]"), ("status", '"interrupted"'), ("error", "null")], session.gap)
    params = an_object([("threadId", quoted(thread_id)), ("turn", turn)], session.gap)
    return an_object([("method", '"turn/completed"'), ("params", params)], session.gap)


def some_item(session: SessionBuilder, choices: ChoiceSource, key: ItemKey) -> tuple[Members, CallFacts]:
    """What an item says of its call: the members, and the facts."""
    session.features.add(Feature.ITEMS)
    members, tool, server, arguments = _MAKERS[key.item_type](session, choices)
    source = "llm"
    if key.item_type == "commandExecution":
        ran_by, source = choices.pick(((None, "llm"), ('"agent"', "llm"), ('"userShell"', session.config.source)))
        members.append(("source", ran_by))
    facts = CallFacts(
        source=source,
        tool=tool,
        request_id=key.item_id,
        thread_id=key.thread_id,
        server=server,
        arguments=arguments,
    )
    return members, facts


def some_completion(
    session: SessionBuilder, choices: ChoiceSource, key: ItemKey, started_at_ms: int | None
) -> tuple[Members, Ending]:
    """How an item completes: the members beside those of its call, and the end."""
    kind = key.item_type
    duration = choices.pick((None, 12, 0))
    members: Members = []
    ending = Ending()
    if kind == "imageGeneration":
        members, ending = _some_image(choices)
    elif kind not in _WITHOUT_STATUS:
        members, ending = _some_status(choices)
    more, ending = _some_result(session, choices, kind, ending)
    members += more
    if kind in {"mcpToolCall", "commandExecution", "dynamicToolCall"}:
        members.append(("durationMs", "null" if duration is None else str(duration)))
        ending = evolve(ending, reported_duration_ms=duration)
    if started_at_ms is not None:
        members += [("startedAtMs", str(started_at_ms)), ("completedAtMs", str(started_at_ms + 3))]
        ending = evolve(ending, execution=(key, started_at_ms))
    return members, ending


def _some_status(choices: ChoiceSource) -> tuple[Members, Ending]:
    status, outcome = choices.pick(
        (
            ("completed", None),
            ("completed", None),
            ("failed", Outcome.FAILED),
            ("declined", Outcome.DECLINED),
            ("interrupted", Outcome.INTERRUPTED),
            ("inProgress", None),
            ("exploded", Outcome.FAILED),
        )
    )
    return [("status", quoted(status))], Ending(outcome=outcome)


def _some_image(choices: ChoiceSource) -> tuple[Members, Ending]:
    status, failure, outcome = choices.pick(
        (
            ("completed", "null", None),
            ("failed", "null", Outcome.FAILED),
            ("generating", None, None),
            ("completed", '{"kind":"moderation"}', Outcome.FAILED),
        )
    )
    return [("status", quoted(status)), ("failure", failure)], Ending(outcome=outcome)


def _some_result(session: SessionBuilder, choices: ChoiceSource, kind: str, ending: Ending) -> tuple[Members, Ending]:
    text = choices.pick(("ok", "", "grün 😀", "é" * (session.config.result_max_bytes // 2 + 1)))
    shown = quoted(text, escaped=session.escaped)
    if kind == "commandExecution":
        code = choices.pick((0, None, 3))
        members: Members = [("aggregatedOutput", shown if text else "null"), ("exitCode", "null" if code is None else str(code))]
        return members, evolve(ending, text=text, exit_code=code)
    if kind == "dynamicToolCall":
        return _dynamic_result(choices, ending, text, shown)
    if kind != "mcpToolCall":
        return [], ending
    if ending.outcome is Outcome.FAILED and choices.chance(2):
        error = choices.pick((an_object([("message", shown)], session.gap), shown if text else "null"))
        return [("result", "null"), ("error", error)], evolve(ending, text=text)
    blocks = [an_object([("type", '"text"'), ("text", shown)], session.gap)]
    types = None
    if choices.chance(4):
        blocks.append(IMAGE)
        types = ("text", "image")
    result = an_object([("content", an_array(blocks, session.gap)), ("structuredContent", "null")], session.gap)
    return [("result", result), ("error", "null")], evolve(ending, text=text, content_types=types)


def _dynamic_result(choices: ChoiceSource, ending: Ending, text: str, shown: str) -> tuple[Members, Ending]:
    blocks = [f'{{"type":"inputText","text":{shown}}}']
    types = None
    if choices.chance(4):
        blocks.append('{"type":"inputImage","imageUrl":"data:,"}')
        types = ("inputText", "inputImage")
    success = choices.pick(("true", "null", "false"))
    outcome = ending.outcome
    if success == "false" and outcome is None:
        outcome = Outcome.TOOL_ERROR
    members: Members = [("contentItems", an_array(blocks)), ("success", success)]
    return members, evolve(ending, text=text, content_types=types, outcome=outcome)


def _mcp(session: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    tool = choices.pick(("echo", "slow"))
    raw, where = choices.pick(
        (
            ('{"text":"hi"}', None),
            ("null", None),
            ('{"environment_id":"env-7"}', "env-7"),
            (f'{{ "big":"{"y" * session.config.args_max_bytes}"}}', None),
        )
    )
    arguments = Arguments(text=None if raw == "null" else raw, environment_id=where)
    members: Members = [("server", '"demo"'), ("tool", quoted(tool)), ("arguments", raw)]
    return members, tool, "demo", arguments


def _dynamic(_: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    raw, where = choices.pick((('{ "q":"one"}', None), ('{"environment_id":"env-8"}', "env-8"), ("[1]", None)))
    members: Members = [("namespace", "null"), ("tool", '"client_tool"'), ("arguments", raw)]
    return members, "client_tool", None, Arguments(text=raw, environment_id=where)


def _command(session: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    command = choices.pick(('"ls"', '"echo \\"ü\\""', f'"{"z" * session.config.args_max_bytes}"'))
    members: Members = [("command", command), ("cwd", '"/srv"'), ("commandActions", "[]")]
    return members, "commandExecution", None, _composed(members[:2])


def _file_change(_: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    changes = choices.pick(("[]", '[{"path":"/srv/a","kind":{"type":"add"},"diff":"+a\\n"}]'))
    members: Members = [("changes", changes)]
    return members, "fileChange", None, _composed(members)


def _web_search(_: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    action = choices.pick(("null", '{"type":"search","query":"weather","queries":null}', None))
    members: Members = [("query", choices.pick(('"weather"', '"wëather"'))), ("action", action)]
    return members, "webSearch", None, _composed(members)


def _image_view(*_: object) -> tuple[Members, str, str | None, Arguments]:
    members: Members = [("path", '"/srv/a.png"')]
    return members, "imageView", None, _composed(members)


def _image_generation(_: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    members: Members = [("revisedPrompt", choices.pick(('"a cat"', "null"))), ("savedPath", choices.pick(('"/srv/c.png"', None)))]
    return [*members, ("result", '""')], "imageGeneration", None, _composed(members)


def _sleep(*_: object) -> tuple[Members, str, str | None, Arguments]:
    members: Members = [("durationMs", "8000")]
    return members, "sleep", None, _composed(members)


def _sub_agent(_: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    kind = choices.pick(('"started"', '"interacted"', '"interrupted"'))
    members: Members = [("kind", kind), ("agentThreadId", '"t9"'), ("agentPath", '"/root/first"')]
    return members, "subAgentActivity", None, _composed(members)


def _collab(_: SessionBuilder, choices: ChoiceSource) -> tuple[Members, str, str | None, Arguments]:
    tool = choices.pick(("spawnAgent", "wait"))
    members: Members = [("prompt", '"do it"'), ("receiverThreadIds", choices.pick(("[]", '["t9"]'))), ("tool", quoted(tool))]
    return members, tool, None, _composed(members[:2])


def _composed(members: Members) -> Arguments:
    return Arguments(text=an_object(members), composed=True)


_MAKERS: Final[Mapping[str, Callable[[SessionBuilder, ChoiceSource], tuple[Members, str, str | None, Arguments]]]] = {
    "mcpToolCall": _mcp,
    "commandExecution": _command,
    "fileChange": _file_change,
    "dynamicToolCall": _dynamic,
    "collabAgentToolCall": _collab,
    "webSearch": _web_search,
    "imageView": _image_view,
    "imageGeneration": _image_generation,
    "sleep": _sleep,
    "subAgentActivity": _sub_agent,
}
